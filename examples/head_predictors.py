"""
Last layers to compare
======================

Fits of a last layer on given features, for `bayesian_head.py`: point estimates, Gaussian and
asymmetric Laplace posteriors. All say the same thing about new features: class probabilities of
each draw of the weights, one draw for a point estimate.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import xarray as xr
from scipy.optimize import minimize_scalar
from torch import Generator, Tensor

import probact as pa
from probact.analysis.laplace_fits import fit_asymmetric_laplace
from probact.distributions import PolyaGamma
from probact.heads import Head
from probact.inference import laplace_head_guide
from probact.inference.arviz_bridge import convergence
from probact.models import GaussianHead, LaplaceHead
from probact.models.gaussian_posterior import GaussianPosterior
from probact.models.head_draws import head_draws

__all__ = ["Budget", "Layer", "Readings", "fit_layers", "read"]

DECAY = 1e-4  # weight decay a row of a head trained to the end, the default of `train_classifier`
SPREAD = 1.0  # standard deviation of the prior of the logarithm of a temperature
GAMMA = 1.0, 0.01  # concentration and rate of the prior of the Gaussian precision


class Budget(NamedTuple):
    """Sweeps of a chain, kept and not, and steps of variational inference."""

    draws: int
    tune: int
    steps: int
    chains: int = 2
    kept: int = 400  # draws of which class probabilities are formed


class Layer(NamedTuple):
    """Class probabilities (N, K) of features (N, p), draw by draw, chain after chain."""

    draw_probs: Callable[[Tensor], Iterator[Tensor]]
    chains: int = 0  # of dependent draws
    logits: Callable[[Tensor], Tensor] | None = None  # of a point estimate


class Readings(NamedTuple):
    """What a layer says about rows: probabilities, and scores of how foreign a row looks."""

    probs: Tensor  # (N, K)
    entropy: Tensor  # (N,) nats
    own: Tensor  # (N,) energy of a point estimate, mutual information of draws
    rhat: float | None  # of the mean log probability of the labels, over chains


def fit_layers(
    x: Tensor,
    y: Tensor,
    num_classes: int,
    trained: Head | None,
    validation: tuple[Tensor, Tensor] | None,
    budget: Budget,
    seed: int,
) -> Iterator[tuple[str, Layer]]:
    """Each layer with its name, on features x (N, p) and labels y (N,).

    trained: the network's own head; None fits one to the end with a weight decay of 1e-4. The
    temperature is fitted on `validation`, or by five-fold cross-validation on x where there is
    none.
    """
    sizes = x.shape[1], num_classes
    if trained is None:
        trained = _fitted_head(x, y, num_classes)
    point = _point(trained)
    yield "trained head", point
    scale = _temperature(point, x, y, num_classes, validation)
    yield "temperature", _point(trained, scale)
    ridge = GaussianHead.by_evidence(x, y, num_classes=num_classes)
    mode = ridge.posterior(x, y)
    yield "ridge mode", _point(Head("mode", mode.weight, mode.bias))
    about = GaussianHead.by_evidence(x, y, num_classes=num_classes, head=trained)
    at_head = about.from_head(trained, x, y)
    yield "Gaussian about the head", _drawn(LaplaceHead(*sizes), at_head.draws(budget.kept), 0)
    yield "Gaussian about the mode", _drawn(LaplaceHead(*sizes), mode.draws(budget.kept), 0)
    yield "the same, probit", _probit(mode)
    draws = gaussian_gibbs(x, y, ridge, budget, seed)
    yield "Gaussian, Gibbs", _drawn(LaplaceHead(*sizes), draws, budget.chains)
    learned = LaplaceHead(*sizes)
    yield "ALD, Gibbs", _sampled(learned, x, y, budget, seed)
    fixed = LaplaceHead(*sizes, prior=fit_asymmetric_laplace(trained.weight).dist())
    yield "ALD of the head, Gibbs", _sampled(fixed, x, y, budget, seed)
    order = LaplaceHead.frequency_order(y, num_classes)
    sticks = LaplaceHead(*sizes, "stick_breaking", class_order=order)
    yield "ALD, sticks, Gibbs", _sampled(sticks, x, y, budget, seed)
    yield "ALD, SVI", _varied(LaplaceHead(*sizes), trained, x, y, budget, seed)


def read(layer: Layer, x: Tensor, y: Tensor | None = None) -> Readings:
    """Averages over the draws of a layer, at features x (N, p)."""
    total, within, scores, size = torch.zeros(()), torch.zeros(()), [], 0
    for probs in layer.draw_probs(x):
        total, within = total + probs, within + torch.special.entr(probs).sum(1)
        size += 1
        if y is not None:
            scores.append(float(probs.gather(1, y[:, None]).log().mean()))
    probs = total / size
    entropy = pa.analysis.predictive_entropy(probs)
    own = entropy - within / size
    if layer.logits is not None:
        own = pa.analysis.energy_score(layer.logits(x))
    rhat = None
    if scores and layer.chains > 1:
        table = torch.tensor(scores).reshape(layer.chains, -1).numpy()
        data = xr.Dataset({"score": (("chain", "draw"), table)})
        rhat = float(convergence(data)[0]["score"])
    return Readings(probs, entropy, own, rhat)


def gaussian_gibbs(
    x: Tensor, y: Tensor, model: GaussianHead, budget: Budget, seed: int, *, learn: bool = True
) -> dict[str, Tensor]:
    """Draws under the prior of a `GaussianHead`, without its Laplace approximation.

    One class at a time given the others (Polson, Scott & Windle 2013; Holmes & Held 2006). The
    prior precision is drawn too, unless told not to `learn` it.
    """
    z = torch.cat([x, x.new_ones(len(x), 1)], 1)
    start, own = model.posterior(x, y), torch.nn.functional.one_hot(y, model.num_classes).to(z)
    prior = z.new_full((z.shape[1],), model.precision)
    prior[-1] = model.bias_scale**-2
    states = []
    for chain in range(budget.chains):
        stream = Generator().manual_seed(1000 * seed + chain)
        first = start.draws(1, seed=1000 * seed + chain)
        theta = torch.cat([first["weight"][0], first["bias"][0][:, None]], 1)
        for sweep in range(budget.tune + budget.draws):
            for k in range(model.num_classes):
                psi = z @ theta.T
                rest = torch.cat([psi[:, :k], psi[:, k + 1 :]], 1).logsumexp(1)
                omega = PolyaGamma(psi[:, k] - rest).sample(generator=stream)
                factor = torch.linalg.cholesky((z * omega[:, None]).T @ z + torch.diag(prior))
                target = z.T @ (own[:, k] - 0.5 + omega * rest)
                mean = torch.cholesky_solve(target[:, None], factor)
                noise = torch.randn(len(prior), 1, dtype=z.dtype, generator=stream)
                step = torch.linalg.solve_triangular(factor.T, noise, upper=True)
                theta[k] = (mean + step).squeeze(1)
            if learn:
                shape = GAMMA[0] + 0.5 * theta[:, :-1].numel()
                rate = GAMMA[1] + 0.5 * theta[:, :-1].square().sum()
                prior[:-1] = torch._standard_gamma(torch.full_like(rate, shape), stream) / rate
            if sweep >= budget.tune:
                states.append(theta.clone())
    drawn = torch.stack(states)
    found = {"weight": drawn[..., :-1], "bias": drawn[..., -1]}
    kept = head_draws(found, model.num_classes, model.num_features, max_draws=budget.kept)
    return {"weight": kept.weight, "bias": kept.bias}


def _fitted_head(x: Tensor, y: Tensor, num_classes: int) -> Head:
    decay = DECAY * len(x)
    model = GaussianHead(x.shape[1], num_classes, precision=decay, bias_scale=decay**-0.5)
    found = model.posterior(x, y, covariance="diagonal")
    return Head("fitted", found.weight, found.bias)


def _point(head: Head, temperature: float = 1.0) -> Layer:
    weight = head.weight.double() / temperature
    bias = torch.zeros(len(weight)) if head.bias is None else head.bias.double() / temperature

    def logits(x: Tensor) -> Tensor:
        return x @ weight.T + bias

    def probs(x: Tensor) -> Iterator[Tensor]:
        yield torch.softmax(logits(x), 1)

    return Layer(probs, logits=logits)


def _probit(posterior: GaussianPosterior) -> Layer:
    def probs(x: Tensor) -> Iterator[Tensor]:
        yield posterior.class_probs(x, method="probit")

    return Layer(probs)


def _temperature(
    point: Layer,
    x: Tensor,
    y: Tensor,
    num_classes: int,
    validation: tuple[Tensor, Tensor] | None,
) -> float:
    """The temperature of least held-out nll (Guo et al. 2017), its logarithm with a normal prior.

    Without the prior it goes to zero where every held-out row is right.
    """
    assert point.logits is not None
    if validation is not None:
        logits, labels = point.logits(validation[0]), validation[1]
    else:
        folds = y.argsort(stable=True).argsort() % 5  # even in each class
        parts = []
        for fold in range(5):
            inside, outside = folds != fold, folds == fold
            refitted = _point(_fitted_head(x[inside], y[inside], num_classes))
            assert refitted.logits is not None
            parts.append((refitted.logits(x[outside]), y[outside]))
        logits, labels = (torch.cat(part) for part in zip(*parts, strict=True))

    def loss(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        fit = torch.nn.functional.cross_entropy(scaled, labels, reduction="sum")
        return float(fit) + 0.5 * (log_temperature / SPREAD) ** 2

    found = minimize_scalar(loss, bounds=(-3.0, 5.0), method="bounded")
    return math.exp(float(found.x))


def _drawn(model: LaplaceHead, draws: dict[str, Tensor], chains: int) -> Layer:
    def probs(x: Tensor) -> Iterator[Tensor]:
        for weight, bias in zip(draws["weight"], draws["bias"], strict=True):
            yield model.predictive({"weight": weight[None], "bias": bias[None]}, x)

    return Layer(probs, chains)


def _sampled(model: LaplaceHead, x: Tensor, y: Tensor, budget: Budget, seed: int) -> Layer:
    """Gibbs chains; their warnings on single weights are judged on predictions instead (R-hat)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        posterior: Any = pa.sample(
            model, (x, y), draws=budget.draws, tune=budget.tune, chains=budget.chains, seed=seed,
            progress=False,
        )  # fmt: skip
    kept = head_draws(posterior, model.num_rows, model.num_features, max_draws=budget.kept)
    return _drawn(model, {"weight": kept.weight, "bias": kept.bias}, budget.chains)


def _varied(
    model: LaplaceHead, start: Head, x: Tensor, y: Tensor, budget: Budget, seed: int
) -> Layer:
    """Independent normal laws of the weights, fitted by variational inference from a head."""
    guide = laplace_head_guide(start.weight, start.bias)
    fitted = pa.fit(
        model, (x, y), guide=guide, epochs=budget.steps, seed=seed, device="cpu", progress=False,
        optimizer=lambda parameters: torch.optim.Adam(parameters, 0.02),
    )  # fmt: skip
    draws = head_draws(
        fitted.to_arviz(budget.kept), model.num_rows, model.num_features, max_draws=budget.kept
    )
    return _drawn(model, {"weight": draws.weight, "bias": draws.bias}, 0)
