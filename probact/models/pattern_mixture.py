r"""Latent classes of activation patterns, after Lazarsfeld & Henry (1968).

Symbols: a (N, n) patterns of 0 and 1; z (N,) components, C of them; w (C,) `weights`; theta (C, n)
`probs`.

    w ~ Dirichlet(c, ..., c),  theta_ci ~ Beta(alpha, beta)
    z ~ Cat(w),                a_i | z ~ Bernoulli(theta_zi)

Units are independent given the component and dependent without it: the simplest law under which
patterns gather in groups.
"""

from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Generator, Tensor

from probact.arrays import as_number, as_tensor, check_count, check_seed
from probact.distributions.sphere_parameters import as_generator
from probact.models.pattern_rows import num_rows, pattern_rows
from probact.models.posterior_draws import posterior_draws

__all__ = ["PatternFit", "PatternMixture"]

_CHUNK = 2**24  # entries of a table (rows, components, units)


class PatternFit(NamedTuple):
    """A maximum of the posterior density found by expectation-maximisation."""

    weights: Tensor  # (C,)
    probs: Tensor  # (C, n)
    log_density: float  # log p(a, w, theta) per row, nats, z summed out
    converged: bool


class PatternMixture(PyroModule):
    """Mixture of C Bernoulli products over n units, float64.

    Args:
        num_components, num_units: C and n.
        concentration: c of the Dirichlet prior of the weights.
        unit_prior: alpha and beta of the Beta prior of every probability.

    Raises:
        ValueError, TypeError: counts below one, or a prior parameter that is not positive.

    >>> model = PatternMixture(2, 3)
    >>> a = torch.tensor([[1, 1, 1], [0, 0, 0], [1, 1, 1]])
    >>> model.log_prob(a, [0.5, 0.5], [[0.5] * 3, [0.5] * 3]).exp()
    tensor([0.1250, 0.1250, 0.1250], dtype=torch.float64)
    """

    def __init__(
        self,
        num_components: int,
        num_units: int,
        *,
        concentration: float = 1.0,
        unit_prior: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        super().__init__()
        check_count(num_components, "num_components")
        check_count(num_units, "num_units")
        if not isinstance(unit_prior, tuple | list) or len(unit_prior) != 2:
            raise ValueError(f"unit_prior must be a pair (alpha, beta), got {unit_prior!r}")
        self.num_components, self.num_units = num_components, num_units
        self.concentration = as_number(concentration, "concentration")
        alpha, beta = (as_number(v, "unit_prior") for v in unit_prior)
        self.unit_prior = alpha, beta
        self.dims = {"weights": ("component",), "probs": ("unit",), "a": ("unit",)}

    def forward(self, a: Any = None, *, num_points: int | None = None) -> Tensor:
        """Sites "weights" (C,), "probs" (C, n), "z" (N,), "a" (N, n); z is marked for enumeration.

        Without a, num_points patterns are drawn.

        Raises: ValueError or TypeError for anything but zeros and ones in n columns.
        """
        rows = None if a is None else self.bits(a).double()
        size = num_rows(rows, num_points)
        prior = self.prior_weights if rows is None else self.prior_weights.to(rows.device)
        weights = pyro.sample("weights", dist.Dirichlet(prior))
        alpha, beta = (prior.new_full((self.num_units,), v) for v in self.unit_prior)
        with pyro.plate("component", self.num_components):
            probs = pyro.sample("probs", dist.Beta(alpha, beta).to_event(1))
        with pyro.plate("obs", size):
            z = pyro.sample("z", dist.Categorical(weights), infer={"enumerate": "parallel"})
            drawn: Tensor = pyro.sample("a", dist.Bernoulli(probs[z]).to_event(1), obs=rows)
        return drawn

    @property
    def prior_weights(self) -> Tensor:
        """(c, ..., c), (C,)."""
        return torch.full((self.num_components,), self.concentration, dtype=torch.float64)

    def bits(self, a: Any) -> Tensor:
        """The patterns as uint8 (N, n). Raises: as `forward`."""
        return pattern_rows(a, self.num_units)

    def log_joint(self, a: Any, weights: Any, probs: Any) -> Tensor:
        """log p(a, z | w, theta) of every component (N, C), nats.

        Raises: ValueError or TypeError for a, or for weights and probs that are not those of C
        components.
        """
        rows = self.bits(a).double()
        return _log_joint(rows, *(v.to(rows.device) for v in self._checked(weights, probs)))

    def log_prob(self, a: Any, weights: Any, probs: Any) -> Tensor:
        """log p(a | w, theta) (N,), nats. Raises: as `log_joint`."""
        return self.log_joint(a, weights, probs).logsumexp(-1)

    def component_posterior(self, a: Any, weights: Any, probs: Any) -> Tensor:
        """p(z | a, w, theta), (N, C). Raises: as `log_joint`."""
        return self.log_joint(a, weights, probs).softmax(-1)

    def em(
        self,
        a: Any,
        *,
        seed: int = 0,
        restarts: int = 5,
        steps: int = 500,
        tolerance: float = 1e-9,
    ) -> PatternFit:
        """The best of several runs of expectation-maximisation from random responsibilities.

        Maximises the posterior density with every prior parameter raised by one, so that no
        probability ends at 0 or 1; with the default priors that is Laplace's rule of succession.

        Raises: as `forward`.
        """
        check_seed(seed)
        for name, count in (("restarts", restarts), ("steps", steps)):
            check_count(count, name)
        least = as_number(tolerance, "tolerance", inclusive=True)
        rows = self.bits(a).double().cpu()
        generator = torch.Generator().manual_seed(int(seed))
        runs = [self._run_em(rows, generator, steps, least) for _ in range(restarts)]
        return max(runs, key=lambda run: run.log_density)

    def sample_patterns(
        self,
        num_samples: int,
        weights: Any,
        probs: Any,
        *,
        generator: Generator | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """Patterns (num_samples, n), uint8. Raises: as `log_joint`."""
        check_count(num_samples, "num_samples")
        w, theta = self._checked(weights, probs)
        stream = as_generator(generator, seed, w.device)
        z = torch.multinomial(w, num_samples, replacement=True, generator=stream)
        uniforms = torch.rand(
            num_samples, self.num_units, dtype=w.dtype, device=w.device, generator=stream
        )
        return (uniforms < theta[z]).to(torch.uint8)

    def replicates(
        self, posterior: Any, num_points: int, *, max_draws: int = 100, seed: int = 0
    ) -> Tensor:
        """Data sets (draws, num_points, n), uint8, under draws of what `probact.sample` returned.

        Raises: ValueError for a posterior of another model, or counts below one.
        """
        check_seed(seed)
        shapes = {
            "weights": (self.num_components,),
            "probs": (self.num_components, self.num_units),
        }
        found = posterior_draws(posterior, shapes, max_draws=max_draws)
        stream = torch.Generator().manual_seed(int(seed))
        pairs = zip(found["weights"], found["probs"], strict=True)
        return torch.stack(
            [self.sample_patterns(num_points, w / w.sum(), p, generator=stream) for w, p in pairs]
        )

    def _run_em(self, a: Tensor, generator: Generator, steps: int, tolerance: float) -> PatternFit:
        alpha, beta = self.unit_prior
        shape = len(a), self.num_components
        share = torch.rand(shape, dtype=a.dtype, generator=generator)
        share = share.clamp_min(1e-300).square().log().softmax(-1)
        before, converged = -torch.inf, False
        for _ in range(steps):
            size = share.sum(0)
            on = share.T @ a
            weights = (size + self.concentration) / (size + self.concentration).sum()
            probs = (on + alpha) / (size.unsqueeze(1) + alpha + beta)
            table = _log_joint(a, weights, probs)
            prior = self.concentration * weights.log().sum()
            prior = prior + (alpha * probs.log() + beta * torch.log1p(-probs)).sum()
            value = float((table.logsumexp(-1).sum() + prior) / len(a))
            share = table.softmax(-1)
            if value - before <= tolerance:
                converged = True
                break
            before = value
        return PatternFit(weights, probs, value, converged)

    def _checked(self, weights: Any, probs: Any) -> tuple[Tensor, Tensor]:
        w, theta = (
            (v if isinstance(v, Tensor) else as_tensor(v, name)).double()
            for v, name in ((weights, "weights"), (probs, "probs"))
        )
        c, n = self.num_components, self.num_units
        if w.shape != (c,) or not bool((w >= 0).all()) or not abs(float(w.sum()) - 1.0) < 1e-6:
            raise ValueError(f"weights must be {c} shares that sum to one, got {weights!r}")
        if theta.shape != (c, n) or not bool(((theta >= 0) & (theta <= 1)).all()):
            raise ValueError(f"probs must be ({c}, {n}) in [0, 1], got {tuple(theta.shape)}")
        return w, theta


def _log_joint(a: Tensor, weights: Tensor, probs: Tensor) -> Tensor:
    """log p(a, z | w, theta), (N, C); a in float64."""
    on, off = probs.log(), torch.log1p(-probs)
    if bool((torch.isfinite(on) & torch.isfinite(off)).all()):
        return a @ (on - off).T + off.sum(-1) + weights.log()
    step = max(1, _CHUNK // probs.numel())  # 0 log 0: chosen, not multiplied
    parts = [torch.where(part.bool().unsqueeze(1), on, off).sum(-1) for part in a.split(step)]
    return torch.cat(parts) + weights.log()
