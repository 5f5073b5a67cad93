r"""Bayesian last layer with asymmetric Laplace weights.

Symbols: x (N, p) features; y targets; K classes; theta (R, p) weight and b (R,) bias of its R
rows (R = K, or K - 1 sticks); m, r, l (R,) mode, right and left rate of the weights of a row.

    m_k ~ U(low, high),  r_k, l_k ~ Gamma,  theta_kj ~ AL(m_k, r_k, l_k),  b_k ~ N(0, scale^2),
    y_i ~ the likelihood of psi_i = theta x_i + b

(Park & Casella 2008 for the symmetric case; Kozumi & Kobayashi 2011 for the law.) All features of
a row share one prior, so they should have like scales. They are not standardised here: the weights
are then those of the network's own head, comparable with `find_head(net).weight`. One factor for
all features only changes the unit of the weights, which the learned rates follow. Where single
columns differ by orders of magnitude, standardise them before; the weights are then others.
"""

from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule
from torch import Generator, Tensor

from probact.arrays import as_labels, as_number, as_tensor, check_count
from probact.distributions.asymmetric_laplace import AsymmetricLaplace
from probact.distributions.head_likelihood import (
    as_features,
    as_targets,
    check_likelihood,
    num_rows,
    stick_log_probs,
)
from probact.distributions.laplace_hyperprior import LaplaceHyperprior
from probact.distributions.sphere_parameters import as_generator
from probact.models.head_draws import HeadDraws, head_draws
from probact.models.head_prior import as_class_order, as_head_prior, as_noise_prior
from probact.models.head_readings import draw_targets, mean_log_prob, mean_targets

__all__ = ["LaplaceHead"]


class LaplaceHead(PyroModule):
    """Last layer whose weights have an asymmetric Laplace prior per row; everything in float64.

    `probact.sample(model, (x, y))` draws it by `LaplaceHeadGibbs`. For layers too large for that,
    `probact.fit(model, (x, y), guide=laplace_head_guide(...))`; with mini-batches, num_points.

    Args:
        num_features: p.
        num_classes: K, classes or outputs.
        likelihood: "softmax" keeps all K rows, which the prior identifies; "bernoulli" is one
            sigmoid per class, y (N, K) of 0 and 1; "gaussian" is regression on y (N, K), with a
            variance per output. "stick_breaking" has K - 1 rows, and is another model than the
            softmax: it depends on the order of the classes and its weights are not those of a
            trained head.
        prior: a `LaplaceHyperprior` of R rows, None for a weak one, under which m and the rates
            are learned; or an `AsymmetricLaplace` with batch shape () or (R,), which is fixed,
            such as `fit_asymmetric_laplace(head.weight).dist()`. Under a softmax take the fixed
            one: there a learned law has many modes, in which all weights of a row lie on one side
            of theirs, since the likelihood does not see what all rows have in common.
        bias_scale: standard deviation of the normal prior of the bias.
        noise_prior: concentration and rate of the inverse gamma prior of the gaussian variances.
        class_order: for sticks, the classes from the first to the last; see `frequency_order`.
        num_points: rows of the whole data, where `fit` takes mini-batches of them.

    Raises: TypeError, ValueError for other arguments.
    >>> model = LaplaceHead(2, 3)
    >>> point = {"weight": torch.zeros(1, 3, 2), "bias": torch.zeros(1, 3)}
    >>> model.predictive(point, torch.ones(1, 2))
    tensor([[0.3333, 0.3333, 0.3333]], dtype=torch.float64)
    """

    dims = {"weight": ("feature",)}

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        likelihood: str = "softmax",
        *,
        prior: LaplaceHyperprior | AsymmetricLaplace | None = None,
        bias_scale: float = 10.0,
        noise_prior: Sequence[float] = (1.0, 0.01),
        class_order: Any = None,
        num_points: int | None = None,
    ) -> None:
        super().__init__()
        check_count(num_features, "num_features")
        check_count(num_classes, "num_classes")
        check_likelihood(likelihood, num_classes)
        if num_points is not None:
            check_count(num_points, "num_points")
        self.num_features, self.num_classes = num_features, num_classes
        self.likelihood, self.num_points = likelihood, num_points
        self.num_rows = num_rows(likelihood, num_classes)
        self.bias_scale = as_number(bias_scale, "bias_scale")
        self.noise_prior = as_noise_prior(noise_prior)
        self.learned, values = as_head_prior(prior, self.num_rows)
        for name, value in values.items():
            self.register_buffer(name, value)
        self._prior_names = tuple(values)
        order = as_class_order(class_order, likelihood, num_classes)
        self.register_buffer("class_order", order)

    @property
    def prior(self) -> LaplaceHyperprior | AsymmetricLaplace:
        """The law of m and the rates, or of the weights where these are fixed."""
        values = [getattr(self, name).double() for name in self._prior_names]
        return LaplaceHyperprior(*values) if self.learned else AsymmetricLaplace(*values)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """loc, rate_right, rate_left (R,) where learned; weight (R, p), bias (R,); variance; y.

        Without y, targets are drawn.
        """
        rows = as_features(x, self.num_features)
        if y is not None:
            y = as_targets(y, self.likelihood, self.num_classes, len(rows)).to(rows.device)
        with pyro.plate("class", self.num_rows):
            weights = self._weight_law()
            weight = pyro.sample("weight", weights.to_event(1))
            zero = rows.new_zeros(())
            bias = pyro.sample("bias", dist.Normal(zero, zero + self.bias_scale))
            variance = self._variance(zero)
        logits = rows @ weight.mT + bias.unsqueeze(-2)  # (..., N, R)
        size = self._size(len(rows))
        with pyro.plate("data", size, subsample_size=len(rows)):
            drawn: Tensor = pyro.sample("y", self._target_law(logits, variance), obs=y)
        return drawn

    def _weight_law(self) -> TorchDistribution:
        """The law of theta, (R, p), inside the plate over rows."""
        prior = self.prior
        if isinstance(prior, LaplaceHyperprior):
            loc = pyro.sample("loc", dist.Uniform(prior.low, prior.high))
            right = pyro.sample(
                "rate_right", dist.Gamma(prior.right_concentration, prior.right_rate)
            )
            left = pyro.sample("rate_left", dist.Gamma(prior.left_concentration, prior.left_rate))
            law = AsymmetricLaplace.from_rates(*(v.unsqueeze(-1) for v in (loc, right, left)))
        else:
            law = AsymmetricLaplace(
                prior.loc[:, None], prior.scale[:, None], prior.asymmetry[:, None]
            )
        return law.expand((*law.batch_shape[:-1], self.num_features))

    def _variance(self, zero: Tensor) -> Tensor | None:
        if self.likelihood != "gaussian":
            return None
        concentration, rate = self.noise_prior
        law = dist.InverseGamma(zero + concentration, zero + rate)
        drawn: Tensor = pyro.sample("variance", law)
        return drawn

    def _target_law(self, logits: Tensor, variance: Tensor | None) -> TorchDistribution:
        """The law of y given psi (..., N, R)."""
        law: TorchDistribution
        if self.likelihood == "softmax":
            law = dist.Categorical(logits=logits)
        elif self.likelihood == "stick_breaking":
            law = dist.Categorical(logits=stick_log_probs(logits, self.class_order))
        elif variance is None:
            law = dist.Bernoulli(logits=logits).to_event(1)
        else:
            law = dist.Normal(logits, variance.unsqueeze(-2).sqrt()).to_event(1)
        return law

    def _size(self, rows: int) -> int:
        """Rows of the whole data. Raises: ValueError for more than num_points."""
        if self.num_points is not None and rows > self.num_points:
            raise ValueError(
                f"x must have at most num_points = {self.num_points} rows, got {rows}"
            )
        return self.num_points or rows

    @staticmethod
    def frequency_order(labels: Any, num_classes: int) -> Tensor:
        """Classes (K,) from the most frequent label to the rarest; ties by number.

        >>> LaplaceHead.frequency_order([2, 2, 0], 3)
        tensor([2, 0, 1])
        """
        given = as_labels(labels, "labels", as_tensor(labels, "labels").numel())
        known = as_targets(given, "softmax", num_classes, len(given))
        counts = torch.bincount(known, minlength=num_classes)
        return counts.argsort(descending=True, stable=True)

    @torch.no_grad()
    def logits(self, x: Any, weight: Any, bias: Any) -> Tensor:
        """psi (N, R) of one weight (R, p) and bias (R,)."""
        one = {"weight": as_tensor(weight, "weight")[None], "bias": as_tensor(bias, "bias")[None]}
        known = head_draws(one, self.num_rows, self.num_features)
        rows = as_features(x, self.num_features)
        return rows @ known.weight[0].T.to(rows) + known.bias[0].to(rows)

    def mean_head(self, posterior: Any) -> tuple[Tensor, Tensor]:
        """Posterior means of weight (R, p) and bias (R,).

        The layer of the means is no average of the layers: `predictive` is less sure than it.
        """
        draws = self._draws(posterior, None, noise=False)
        return draws.weight.mean(0), draws.bias.mean(0)

    @torch.no_grad()
    def predictive(self, posterior: Any, x: Any, *, max_draws: int | None = None) -> Tensor:
        """Probabilities (N, K) of classes, averaged over draws; for gaussian the means of y.

        posterior: what `probact.sample` or `Fit.to_arviz` returned, or a mapping with weight
        (S, R, p) and bias (S, R), and for gaussian variance (S, R). max_draws keeps so many draws,
        evenly spread.

        Raises: ValueError for a posterior of another layer, or x that is no (N, p).
        """
        rows, draws = as_features(x, self.num_features), self._draws(posterior, max_draws, False)
        order = self.class_order
        return mean_targets(rows, draws, self.likelihood, self.num_classes, order)

    @torch.no_grad()
    def log_predictive(
        self, posterior: Any, x: Any, y: Any, *, max_draws: int | None = None
    ) -> Tensor:
        """log p(y_i | x_i, data) (N,), nats: the density averaged over draws, then its logarithm.

        Raises: as `predictive`, and for y that are no targets.
        """
        rows = as_features(x, self.num_features)
        targets = as_targets(y, self.likelihood, self.num_classes, len(rows)).to(rows.device)
        draws = self._draws(posterior, max_draws, noise=True)
        return mean_log_prob(rows, targets, draws, self.likelihood, self.class_order)

    @torch.no_grad()
    def sample_targets(
        self,
        posterior: Any,
        x: Any,
        num_samples: int,
        *,
        seed: int | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Labels (num_samples, N) or targets (num_samples, N, K) of the posterior predictive law.

        Each set of N is drawn under one random draw of the weights.
        Raises: as `predictive`.
        """
        check_count(num_samples, "num_samples")
        rows, draws = as_features(x, self.num_features), self._draws(posterior, None, noise=True)
        stream = as_generator(generator, seed, rows.device)
        return draw_targets(rows, draws, num_samples, self.likelihood, self.class_order, stream)

    def _draws(self, posterior: Any, max_draws: int | None, noise: bool) -> HeadDraws:
        variance = noise and self.likelihood == "gaussian"
        return head_draws(
            posterior, self.num_rows, self.num_features, variance=variance, max_draws=max_draws
        )
