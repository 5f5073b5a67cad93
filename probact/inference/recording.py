"""What `pyro.infer.MCMC` runs: the caller's kernel, its draws kept and its steps measured.

`MCMC` itself flattens all sites of a draw into one vector, which turns labels beside float32 sites
into float32, and it keeps the draws that thinning drops. Here every site keeps its own dtype and
only the draws asked for are stored.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from pyro.infer import HMC
from pyro.infer.mcmc.mcmc_kernel import MCMCKernel
from torch import Tensor

__all__ = ["Recording", "RecordingKernel"]


class Recording(NamedTuple):
    """One chain: draws by site (draws, *shape) on the CPU, statistics by ArviZ name (draws,)."""

    draws: dict[str, Tensor]
    stats: dict[str, np.ndarray]


class Meter(NamedTuple):
    """Counters of an HMC kernel, read before and after a step."""

    steps: int
    mean_acceptance: float
    divergences: int
    evaluations: int


class RecordingKernel(MCMCKernel):
    """Runs `inner` for `tune` steps, then `thin` steps per draw; every step calls `tick(kernel)`.

    >>> from pyro.infer import MCMC, NUTS
    >>> import pyro, pyro.distributions as dist
    >>> nuts = NUTS(lambda: pyro.sample("mu", dist.Normal(0.0, 1.0)))
    >>> kernel = RecordingKernel(nuts, draws=3, tune=2)
    >>> MCMC(kernel, 3, 2, disable_progbar=True).run()
    >>> kernel.recording().draws["mu"].shape
    torch.Size([3])
    """

    def __init__(
        self,
        inner: MCMCKernel,
        *,
        draws: int,
        tune: int,
        thin: int = 1,
        tick: Callable[[MCMCKernel], None] = lambda kernel: None,
    ) -> None:
        self.inner, self.model = inner, inner.model
        self.transforms: dict[str, Any] = {}  # MCMC asks for it
        self._draws, self._tune, self._thin, self._tick = draws, tune, thin, tick
        self._params: dict[str, Tensor] = {}
        self._store: dict[str, Tensor] = {}
        self._stats: list[dict[str, float]] = []
        self._evaluations = self._iteration = 0

    @property
    def initial_params(self) -> dict[str, Tensor]:
        """Nothing: `MCMC` must not store what is recorded here."""
        return {}

    @initial_params.setter
    def initial_params(self, params: dict[str, Tensor]) -> None:
        self.inner.initial_params = params

    def setup(self, warmup_steps: int, *args: Any, **kwargs: Any) -> None:
        """Set the inner kernel up and forget all earlier draws."""
        self.inner.setup(warmup_steps, *args, **kwargs)
        self._params = self.inner.initial_params
        self._store, self._stats = {}, []
        self._evaluations = self._iteration = 0
        if isinstance(self.inner, HMC):
            self.inner.potential_fn = self._counted(self.inner.potential_fn)

    def sample(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """One warm-up step, or the steps of one draw, which is stored."""
        warming = self._iteration < self._tune
        before = self._meter()
        for _ in range(1 if warming else self._thin):
            self._params = self.inner.sample(self._params)
        if not warming:
            self._stats.append(self._statistics(before))
            self._keep(self._iteration - self._tune)
        self._iteration += 1
        self._tick(self.inner)
        return params

    def recording(self) -> Recording:
        """The draws and statistics of the finished chain."""
        names = self._stats[0] if self._stats else {}
        stats = {name: np.array([row[name] for row in self._stats]) for name in names}
        return Recording(self._store, stats)

    def diagnostics(self) -> dict[str, Any]:
        """The inner kernel's own, with the key `divergences` that `MCMC` users expect."""
        return {"divergences": [], **self.inner.diagnostics()}

    def cleanup(self) -> None:
        """Clean the inner kernel; the recording stays."""
        self.inner.cleanup()

    def _keep(self, index: int) -> None:
        """Write the constrained values of this draw into the store, each in its own dtype."""
        for name, value in self._params.items():
            transform = (self.inner.transforms or {}).get(name)
            x = (transform.inv(value) if transform else value).detach()
            if name not in self._store:
                self._store[name] = torch.empty((self._draws, *x.shape), dtype=x.dtype)
            if x.shape != self._store[name].shape[1:]:
                raise ValueError(
                    f"the kernel changed the shape of {name!r} at draw {index} from"
                    f" {tuple(self._store[name].shape[1:])} to {tuple(x.shape)}"
                )
            self._store[name][index] = x

    def _counted(self, potential_fn: Callable[[Any], Tensor]) -> Callable[[Any], Tensor]:
        """The potential with its calls counted: one call per leapfrog step."""

        def count(params: Any) -> Tensor:
            self._evaluations += 1
            return potential_fn(params)

        return count

    def _meter(self) -> Meter | None:
        """Counters of an HMC kernel now; None for other kernels."""
        if not isinstance(self.inner, HMC):
            return None
        # _mean_accept_prob and the cached energy have no public name in Pyro 1.9
        steps = max(0, self._iteration - self._tune) * self._thin
        divergences = len(self.inner._divergences)
        return Meter(steps, self.inner._mean_accept_prob, divergences, self._evaluations)

    def _statistics(self, before: Meter | None) -> dict[str, float]:
        """ArviZ's sample statistics of the steps since `before`; none but for HMC kernels."""
        if before is None:
            return {}
        kernel, n = self.inner, before.steps
        # undo the running mean; it restarts by itself after warm-up, where n = 0
        total = (n + self._thin) * kernel._mean_accept_prob - n * before.mean_acceptance
        steps = self._evaluations - before.evaluations
        return {
            "lp": self._log_joint(),
            "acceptance_rate": min(max(total / self._thin, 0.0), 1.0),
            "diverging": len(kernel._divergences) > before.divergences,
            "step_size": float(kernel.step_size),
            "n_steps": steps,
            "tree_depth": math.ceil(math.log2(steps / self._thin + 1)),
        }

    def _log_joint(self) -> float:
        """Log joint density of the draw in the model's own, constrained space (nats)."""
        log_joint = -self.inner._potential_energy_last
        for name, value in self._params.items():
            transform = self.inner.transforms[name]
            log_joint = (
                log_joint + transform.log_abs_det_jacobian(transform.inv(value), value).sum()
            )
        return float(log_joint.detach())
