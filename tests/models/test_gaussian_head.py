"""The Gaussian last layer against closed forms, quadrature and Monte Carlo of its own law."""

import math

import numpy as np
import pyro
import pyro.poutine as poutine
import pytest
import torch
from scipy import integrate, stats
from torch import Generator, Tensor

from probact.heads import Head
from probact.models import GaussianHead, LaplaceHead
from probact.models.gaussian_posterior import GaussianPosterior, probit_softmax
from probact.models.softmax_map import neg_log_joint

F64 = torch.float64


def rows(n: int = 60, p: int = 2, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    stream = Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=stream)
    centres = 1.5 * torch.randn(classes, p, dtype=F64, generator=stream)
    return centres[y] + torch.randn(n, p, dtype=F64, generator=stream), y


def with_ones(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones(len(x), 1, dtype=F64)], 1)


# ------------------------------------------------------------------ Gaussian targets


def test_ridge_posterior_is_the_conditional_of_the_joint_gaussian(generator: Generator) -> None:
    """Condition the joint normal law of (theta, y) on y, never forming the precision."""
    x = torch.randn(7, 2, dtype=F64, generator=generator)
    y = torch.randn(7, 3, dtype=F64, generator=generator)
    model = GaussianHead(2, 3, "gaussian", precision=0.5, bias_scale=2.0, noise=0.3)
    posterior = model.posterior(x, y)
    z, prior = with_ones(x), torch.diag(torch.tensor([2.0, 2.0, 4.0], dtype=F64))
    marginal = z @ prior @ z.T + 0.09 * torch.eye(7, dtype=F64)
    gain = prior @ z.T @ torch.linalg.inv(marginal)
    covariance = prior - gain @ z @ prior
    torch.testing.assert_close(posterior.mean, (gain @ y).T, rtol=1e-9, atol=1e-10)
    for block in posterior.covariance():
        torch.testing.assert_close(block, covariance, rtol=1e-9, atol=1e-10)
    law = stats.multivariate_normal(np.zeros(7), marginal.numpy())
    assert posterior.log_evidence == pytest.approx(law.logpdf(y.T.numpy()).sum(), rel=1e-10)
    new = torch.randn(4, 2, dtype=F64, generator=generator)
    mean, variance = posterior.logits(new)
    torch.testing.assert_close(mean, with_ones(new) @ gain @ y)
    expected = torch.einsum("ni,ij,nj->n", with_ones(new), covariance, with_ones(new))
    torch.testing.assert_close(variance, torch.diag_embed(expected[:, None].expand(-1, 3)))
    torch.testing.assert_close(model.predictive(posterior, new), mean)


def test_evidence_of_gaussian_targets_is_stationary(generator: Generator) -> None:
    x = torch.randn(80, 3, dtype=F64, generator=generator)
    weight = torch.tensor([[1.0, -2.0, 0.5]], dtype=F64)
    y = x @ weight.T + 0.2 * torch.randn(80, 1, dtype=F64, generator=generator)
    best = GaussianHead.by_evidence(x, y, likelihood="gaussian")
    assert best.noise == pytest.approx(0.2, rel=0.3)
    top = best.posterior(x, y).log_evidence
    for factor in (0.9, 1.1):
        for scaled in ({"precision": best.precision * factor, "noise": best.noise},
                       {"precision": best.precision, "noise": best.noise * factor}):  # fmt: skip
            other = GaussianHead(3, 1, "gaussian", **scaled).posterior(x, y).log_evidence
            assert other < top
    edge = GaussianHead.by_evidence(x, 1e10 * y, likelihood="gaussian")  # alpha at its least
    assert edge.precision == pytest.approx(1e-6, rel=0.1)


# ------------------------------------------------------------------ softmax


def test_program_has_the_density_that_the_mode_maximises() -> None:
    x, y = rows()
    model = GaussianHead(2, 3, precision=0.5, bias_scale=3.0)
    posterior = model.posterior(x, y)
    site = {"weight": posterior.weight, "bias": posterior.bias}
    trace = poutine.trace(poutine.condition(model, site)).get_trace(x, y)
    columns = torch.tensor([0.5, 0.5, 1.0 / 9.0], dtype=F64)
    constant = 0.5 * 3 * (columns / (2.0 * math.pi)).log().sum()
    expected = constant - neg_log_joint(posterior.mean, with_ones(x), y, columns)
    torch.testing.assert_close(trace.log_prob_sum(), expected, rtol=1e-12, atol=1e-10)
    for seed in range(5):  # no point nearby is better
        pyro.set_rng_seed(seed)
        near = {name: v + 0.01 * torch.randn_like(v) for name, v in site.items()}
        other = poutine.trace(poutine.condition(model, near)).get_trace(x, y)
        assert other.log_prob_sum() < trace.log_prob_sum()


def test_evidence_agrees_with_quadrature() -> None:
    """Two classes, one feature, no bias to speak of: the difference of the weights is all."""
    x = torch.linspace(-2.0, 2.0, 200, dtype=F64)[:, None]
    y = (x[:, 0] + 0.8 * torch.sin(40.0 * x[:, 0]) > 0).long()
    sign = np.where(y.numpy() == 1, 1.0, -1.0)

    def log_evidence(precision: float) -> float:  # d = w_1 - w_0 ~ N(0, 2 / precision)
        scale = math.sqrt(2.0 / precision)
        at = np.linspace(-8.0, 8.0, 2001)
        fit = -np.logaddexp(0.0, -np.outer(at, sign * x[:, 0].numpy())).sum(1)
        total = fit + stats.norm.logpdf(at, scale=scale)
        top = total.max()
        return float(top + np.log(integrate.simpson(np.exp(total - top), x=at)))

    for precision in (0.1, 1.0):
        model = GaussianHead(1, 2, precision=precision, bias_scale=1e-4)
        found = model.posterior(x, y).log_evidence
        assert found == pytest.approx(log_evidence(precision), abs=0.03)
    grid = np.exp(np.linspace(np.log(0.01), np.log(10.0), 200))
    best = grid[np.argmax([log_evidence(float(a)) for a in grid])]
    chosen = GaussianHead.by_evidence(x, y, bias_scale=1e-4)
    assert math.log(chosen.precision) == pytest.approx(math.log(best), abs=0.1)


@pytest.mark.parametrize("structure", ["full", "class_blocks", "diagonal"])
def test_logit_covariance_and_draws_follow_the_covariance(structure: str) -> None:
    x, y = rows()
    posterior = GaussianHead(2, 3).posterior(x, y, covariance=structure)
    dense = torch.zeros(9, 9, dtype=F64)
    given = posterior.covariance()
    if structure == "full":
        dense = given
    else:
        dense = torch.block_diag(
            *(given if structure == "class_blocks" else map(torch.diag, given))
        )
    z = with_ones(x[:5])
    for row, found in zip(z, posterior.logits(x[:5])[1], strict=True):
        spread = torch.kron(torch.eye(3, dtype=F64), row[None])  # (3, 9)
        torch.testing.assert_close(found, spread @ dense @ spread.T, rtol=1e-9, atol=1e-12)
    drawn = posterior.draws(20_000, seed=1)
    theta = torch.cat([drawn["weight"], drawn["bias"][..., None]], -1).flatten(1)
    sample = torch.cov(theta.T)
    limit = 5.0 * torch.sqrt((torch.outer(dense.diagonal(), dense.diagonal()) + dense**2) / 20_000)
    assert bool(((sample - dense).abs() < limit).all())
    error = (theta.mean(0) - posterior.mean.flatten()) / (dense.diagonal() / 20_000).sqrt()
    assert float(error.abs().max()) < 5.0


def test_structures_keep_parts_of_the_hessian() -> None:
    x, y = rows()
    full, blocks, diagonal = (
        GaussianHead(2, 3).posterior(x, y, covariance=c)
        for c in ("full", "class_blocks", "diagonal")
    )
    hessian = torch.linalg.inv(full.covariance())
    for k in range(3):
        part = hessian[3 * k : 3 * k + 3, 3 * k : 3 * k + 3]
        torch.testing.assert_close(torch.linalg.inv(blocks.covariance()[k]), part)
        torch.testing.assert_close(1.0 / diagonal.covariance()[k], part.diagonal())


def test_predictive_averages_the_draws() -> None:
    x, y = rows()
    model = GaussianHead(2, 3)
    posterior = model.posterior(x, y)
    draws = posterior.draws(50, seed=4)
    logits = torch.einsum("skp,np->snk", draws["weight"], x) + draws["bias"][:, None]
    expected = torch.softmax(logits, -1).mean(0)
    torch.testing.assert_close(model.predictive(posterior, x, num_draws=50, seed=4), expected)
    same = LaplaceHead(2, 3).predictive(draws, x)  # the mapping that the other layer reads
    torch.testing.assert_close(same, expected)


def test_posterior_of_a_trained_head_stands_at_its_weights() -> None:
    x, y = rows()
    model = GaussianHead(2, 3, precision=1.0)
    mode = model.posterior(x, y)
    at_mode = model.from_head(Head("h", mode.weight, mode.bias), x, y)
    torch.testing.assert_close(at_mode.covariance(), mode.covariance())
    assert at_mode.log_evidence == pytest.approx(mode.log_evidence)
    elsewhere = Head("h", torch.ones(3, 2), None)
    posterior = model.from_head(elsewhere, x, y)
    assert posterior.mean.tolist() == [[1.0, 1.0, 0.0]] * 3
    tuned = GaussianHead.by_evidence(x, y, head=Head("h", mode.weight, mode.bias))
    assert tuned.from_head(Head("h", mode.weight, mode.bias), x, y).log_evidence >= (
        at_mode.log_evidence - 1e-4
    )


# ------------------------------------------------------------------ probit


@pytest.mark.parametrize("mean", [-4.0, -1.0, 0.0, 2.0])
@pytest.mark.parametrize("sd", [0.3, 1.0, 3.0])
def test_probit_of_two_classes_against_quadrature(mean: float, sd: float) -> None:
    """MacKay's formula is within 0.02 of E sigmoid; only the variance of the difference counts."""
    value, _ = integrate.quad(
        lambda u: stats.norm.pdf(u) / (1.0 + math.exp(-(mean + sd * u))), -10, 10
    )
    shared = 50.0  # variance that both logits have in common
    covariance = torch.full((1, 2, 2), shared, dtype=F64)
    covariance[0] += torch.diag(torch.tensor([0.25, 0.75], dtype=F64)) * sd**2
    found = probit_softmax(torch.tensor([[mean + 3.0, 3.0]], dtype=F64), covariance)
    assert float(found[0, 0]) == pytest.approx(value, abs=0.02)
    assert float(found.sum()) == pytest.approx(1.0)


def test_probit_of_many_classes_against_draws(generator: Generator) -> None:
    mean = torch.randn(20, 6, dtype=F64, generator=generator) * 2.0
    root = torch.randn(20, 6, 6, dtype=F64, generator=generator) * 0.4
    covariance = root @ root.mT
    noise = torch.randn(20_000, 20, 6, 1, dtype=F64, generator=generator)
    exact = torch.softmax(mean + (root @ noise).squeeze(-1), -1).mean(0)
    found = probit_softmax(mean, covariance)
    assert float((found - exact).abs().max()) < 0.1
    plain = torch.softmax(mean, 1)
    lost, lost_plain = (float((exact * (exact / p).log()).sum()) for p in (found, plain))
    assert lost < 0.5 * lost_plain  # nats, KL(exact, .)
    none = torch.zeros(20, 6, 6, dtype=F64)
    torch.testing.assert_close(probit_softmax(mean, none), plain)


def test_layer_is_less_sure_far_from_its_rows() -> None:
    x, y = rows()
    model = GaussianHead.by_evidence(x, y)
    posterior = model.posterior(x, y)
    far = 100.0 * x[:10]
    point = torch.softmax(far @ posterior.weight.T + posterior.bias, 1).amax(1)
    for method in ("monte_carlo", "probit"):
        probs = model.predictive(posterior, far, method=method)
        assert bool((probs.amax(1) < point).all())


# ------------------------------------------------------------------ refusals

X, Y = torch.zeros(4, 2), torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 2), "num_features must be"),
        ((2, 1), "num_classes must be an integer of at least 2"),
        ((2, 2, "poisson"), "likelihood must be"),
        ((2, 2, "gaussian"), "noise must be given"),
    ],
)
def test_refuses_a_layer(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianHead(*arguments)


def test_refuses_data_sizes_and_options() -> None:
    model = GaussianHead(2, 3)
    with pytest.raises(ValueError, match="x must have 2 columns"):
        model.posterior(torch.zeros(4, 3), Y)
    with pytest.raises(ValueError, match="y must be labels in"):
        model.posterior(X, Y + 1)
    with pytest.raises(ValueError, match="NaN or infinity"):
        model.posterior(X.where(X > 0, torch.nan), Y)
    with pytest.raises(ValueError, match="covariance must be"):
        model.posterior(X, Y, covariance="kron")
    with pytest.raises(ValueError, match="head must have a weight"):
        model.from_head(Head("h", torch.zeros(2, 2), None), X, Y)
    posterior = model.posterior(X, Y)
    with pytest.raises(ValueError, match="method must be"):
        model.predictive(posterior, X, method="exact")
    with pytest.raises(ValueError, match=r"x must be \(N, 2\)"):
        model.predictive(posterior, torch.zeros(1, 5))
    gaussian = GaussianHead(2, 3, "gaussian", noise=1.0).posterior(X, X @ torch.ones(2, 3))
    for other, words in (
        ({"weight": X}, "must be a GaussianPosterior, got dict"),
        (GaussianHead(2, 4).posterior(X, Y), r"mean \(3, 3\) of softmax targets, got \(4, 3\)"),
        (gaussian, "of gaussian ones"),
    ):
        with pytest.raises(ValueError, match=words):
            model.predictive(other, X)
    with pytest.raises(ValueError, match="from_head is for softmax"):
        GaussianHead(2, 1, "gaussian", noise=1.0).from_head(Head("h", X), X, X[:, :1])
    with pytest.raises(ValueError, match="num_draws"):
        posterior.draws(0)
    with pytest.raises(ValueError, match="mean and covariance must be"):
        probit_softmax(torch.zeros(1, 2), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="full covariance of 10000 parameters is above 8192"):
        GaussianHead(999, 10).posterior(torch.zeros(2, 999), Y[:2])
    with pytest.raises(ValueError, match="take covariance="):
        GaussianHead(4095, 9).posterior(torch.zeros(1, 4095), Y[:1], covariance="class_blocks")


def test_posterior_is_a_plain_tuple() -> None:
    posterior = GaussianHead(2, 3).posterior(X, Y)
    assert isinstance(posterior, GaussianPosterior)
    assert posterior.weight.shape == (3, 2)
    assert posterior.covariance().shape == (9, 9)


@pytest.mark.gpu
def test_posterior_lives_where_its_rows_do() -> None:
    x, y = rows()
    here, there = (GaussianHead(2, 3).posterior(x.to(d), y.to(d)) for d in ("cpu", "cuda"))
    assert there.mean.device.type == "cuda"
    torch.testing.assert_close(there.mean.cpu(), here.mean)
    model = GaussianHead(2, 3)
    probs = model.predictive(there, x.cuda(), method="probit")
    torch.testing.assert_close(probs.cpu(), model.predictive(here, x, method="probit"))
    assert there.draws(5)["weight"].device.type == "cuda"
