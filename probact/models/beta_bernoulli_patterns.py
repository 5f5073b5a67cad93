r"""Activation patterns whose units are independent: a Beta-Bernoulli model, conjugate.

Symbols: a (N, n) patterns of 0 and 1; c_i the rows in which unit i is one; p (n,) `probs`;
mu in (0, 1) `mean` and k > 0 `precision` of the Beta prior.

    p_i ~ Beta(mu k, (1 - mu) k),   a_i ~ Bernoulli(p_i)
    p_i | a ~ Beta(mu k + c_i, (1 - mu) k + N - c_i)
    log p(a) = sum_i log B(mu k + c_i, (1 - mu) k + N - c_i) - log B(mu k, (1 - mu) k)

With the p_i fixed it is the Bernoulli product, the law against which dependence shows.
"""

from collections.abc import Mapping
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from scipy.optimize import minimize
from torch import Tensor
from torch.distributions import Beta

from probact.arrays import as_bits, as_number, check_count, check_seed
from probact.models.pattern_rows import num_rows, pattern_rows
from probact.models.posterior_draws import posterior_draws

__all__ = ["BetaBernoulliPatterns"]


class BetaBernoulliPatterns(PyroModule):
    """Independent units, each with a probability of its own under one Beta prior, float64.

    Args:
        num_units: n.
        mean, precision: mu and k of the prior; (1/2, 2) is uniform.

    Raises:
        ValueError, TypeError: a count below one, a mean outside (0, 1), a precision not above 0.

    >>> model = BetaBernoulliPatterns(2)
    >>> model.posterior([[1, 0], [1, 1]]).mean  # rule of succession
    tensor([0.7500, 0.5000], dtype=torch.float64)
    """

    def __init__(self, num_units: int, *, mean: float = 0.5, precision: float = 2.0) -> None:
        super().__init__()
        check_count(num_units, "num_units")
        mu = as_number(mean, "mean")
        if not mu < 1.0:
            raise ValueError(f"mean must lie in (0, 1), got {mu!r}")
        self.num_units, self.mean, self.precision = (
            num_units,
            mu,
            as_number(precision, "precision"),
        )
        self.dims = {"probs": ("unit",), "a": ("unit",)}

    @classmethod
    def from_data(cls, a: Any) -> Self:
        """With the prior that makes the data likeliest (empirical Bayes, type-II likelihood).

        The precision ends at 1e8 where units differ by no more than chance.

        Raises: ValueError or TypeError for anything but zeros and ones; ValueError where all of
            them are the same, which no prior inside (0, 1) fits best, or for one row, which says
            nothing about the precision.
        """
        rows = as_bits(a, "a")
        on, size = rows.double().sum(0).cpu(), len(rows)
        if not 0.0 < float(on.sum()) < size * len(on):
            raise ValueError(f"a must hold zeros and ones, got only {int(rows.max())}")
        if size < 2:
            raise ValueError("a must have two rows at least, one says nothing about the precision")

        def cost(at: Any) -> tuple[float, Any]:
            with torch.inference_mode(False), torch.enable_grad():
                x = torch.tensor(at, dtype=torch.float64, requires_grad=True)
                c = on.clone()
                value = -_log_evidence(c, size, x[0].sigmoid(), x[1].exp()) / (size * len(c))
                (slope,) = torch.autograd.grad(value, x)
            return value.item(), slope.numpy()

        share = float(on.mean() / size)
        start = [torch.tensor(share).logit().item(), 0.7]
        bounds = [(-30.0, 30.0), (-9.0, 18.42)]  # a precision from 1e-4 to 1e8
        options = {"ftol": 1e-15, "gtol": 1e-10}
        best = minimize(cost, start, jac=True, bounds=bounds, method="L-BFGS-B", options=options)
        mean = torch.tensor(best.x[0], dtype=torch.float64).sigmoid().item()
        return cls(len(on), mean=mean, precision=float(torch.tensor(best.x[1]).double().exp()))

    @property
    def prior(self) -> Beta:
        """Law of the probability of a unit, batch (n,)."""
        alpha = torch.full((self.num_units,), self.mean * self.precision, dtype=torch.float64)
        beta = (1.0 - self.mean) * self.precision
        return Beta(alpha, torch.full_like(alpha, beta))

    def forward(self, a: Any = None, *, num_points: int | None = None) -> Tensor:
        """Sites "probs" (n,) and "a" (N, n). Without a, num_points patterns are drawn.

        Raises: ValueError or TypeError for anything but zeros and ones in n columns.
        """
        rows = None if a is None else self.bits(a).double()
        size, prior = num_rows(rows, num_points), self.prior
        where = prior.mean.device if rows is None else rows.device
        beta = dist.Beta(prior.concentration1.to(where), prior.concentration0.to(where))
        probs = pyro.sample("probs", beta.to_event(1))
        with pyro.plate("obs", size):
            drawn: Tensor = pyro.sample("a", dist.Bernoulli(probs).to_event(1), obs=rows)
        return drawn

    def bits(self, a: Any) -> Tensor:
        """The patterns as uint8 (N, n). Raises: as `forward`."""
        return pattern_rows(a, self.num_units)

    def posterior(self, a: Any) -> Beta:
        """Law of the probabilities given patterns, batch (n,) on the CPU. Raises: as `forward`."""
        rows = self.bits(a)
        on, prior = rows.double().sum(0).cpu(), self.prior
        return Beta(prior.concentration1 + on, prior.concentration0 + len(rows) - on)

    def log_evidence(self, a: Any) -> Tensor:
        """log p(a) with the probabilities integrated out, nats. Raises: as `forward`."""
        rows = self.bits(a)
        mu, k = torch.tensor([self.mean, self.precision], dtype=torch.float64)
        return _log_evidence(rows.double().sum(0).cpu(), len(rows), mu, k)

    def replicates(
        self, given: Any, num_points: int, *, max_draws: int = 100, seed: int = 0
    ) -> Tensor:
        """Data sets (draws, num_points, n), uint8, of the posterior predictive law.

        given: patterns, whose exact posterior is drawn from; or what `probact.sample` returned.

        Raises: ValueError for a posterior of another model, probabilities outside [0, 1], or
            counts below one.
        """
        for name, count in (("num_points", num_points), ("max_draws", max_draws)):
            check_count(count, name)
        check_seed(seed)
        stream = torch.Generator().manual_seed(int(seed))
        if hasattr(given, "posterior") or isinstance(given, Mapping):
            probs = posterior_draws(given, {"probs": (self.num_units,)}, max_draws=max_draws)
            theta = probs["probs"].cpu()
            if not bool(((theta >= 0.0) & (theta <= 1.0)).all()):
                raise ValueError("probs must lie in [0, 1] in the posterior")
        else:
            law = self.posterior(given)
            gammas = [
                torch._standard_gamma(c.cpu().expand(max_draws, -1).contiguous(), generator=stream)
                for c in (law.concentration1, law.concentration0)
            ]
            theta = gammas[0] / (gammas[0] + gammas[1])
        shape = (num_points, self.num_units)
        draws = [torch.rand(shape, dtype=theta.dtype, generator=stream) < p for p in theta]
        return torch.stack(draws).to(torch.uint8)


def _log_evidence(on: Tensor, size: int, mean: Tensor, precision: Tensor) -> Tensor:
    alpha, beta = mean * precision, (1.0 - mean) * precision
    value: Tensor = (_log_beta(alpha + on, beta + size - on) - _log_beta(alpha, beta)).sum()
    return value


def _log_beta(a: Tensor, b: Tensor) -> Tensor:
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
