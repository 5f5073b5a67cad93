"""One chain of a Pyro kernel, driven by `pyro.infer.MCMC` and measured at every step.

`MCMC` itself flattens all sites of a draw into one vector, which turns labels beside float32 sites
into float32, and it keeps the draws that thinning drops. Here every site keeps its own dtype and
only the draws asked for are stored.
"""

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.random import SeedSequence
from pyro.infer import HMC, MCMC
from pyro.infer.mcmc.mcmc_kernel import MCMCKernel
from torch import Tensor

from probact.inference.batches import as_args
from probact.inference.chains.gibbs_chain import Task
from probact.inference.chains.plan import Plan
from probact.inference.chains.recording import Recorder
from probact.inference.chains.support import outside_support_diverges
from probact.inference.randomness import seeded

__all__ = ["RecordingKernel", "run_pyro_chain"]


def run_pyro_chain(task: Task, seed: SeedSequence, recorder: Recorder) -> None:
    """The chain on a fresh copy of the kernel, so that it inherits no other chain's step size.

    Raises: Stopped when the recorder is asked to stop; ValueError when the log joint density is
    not finite anywhere that Pyro tries.
    """
    kernel, plan = task.kernel, task.plan
    inner = copy.deepcopy(kernel, {id(kernel.model): kernel.model})
    recording = RecordingKernel(inner, plan, recorder)
    run = MCMC(recording, num_samples=plan.draws, warmup_steps=plan.tune, disable_progbar=True)
    with seeded(seed), outside_support_diverges():
        try:
            run.run(*as_args(task.data))
        except ValueError as error:
            if "cannot find valid initial params" not in str(error):
                raise
            raise ValueError(
                "model has no finite log joint density at any of 100 random starts; check that the"
                " data lie in the support of their sites and that the priors do not overflow"
            ) from error


class Meter(NamedTuple):
    """Counters of an HMC kernel, read before and after a step."""

    steps: int
    mean_acceptance: float
    divergences: int
    evaluations: int


class RecordingKernel(MCMCKernel):
    """Runs `inner`, one step per iteration of the warm-up and `thin` per draw, and records."""

    def __init__(self, inner: MCMCKernel, plan: Plan, recorder: Recorder) -> None:
        self.inner, self.model = inner, inner.model
        self.transforms: dict[str, Any] = {}  # MCMC asks for it
        self._plan, self._recorder = plan, recorder
        self._params: dict[str, Tensor] = {}
        self._evaluations = self._iteration = 0

    @property
    def initial_params(self) -> dict[str, Tensor]:
        """Nothing: `MCMC` must not store what is recorded here."""
        return {}

    @initial_params.setter
    def initial_params(self, params: dict[str, Tensor]) -> None:
        self.inner.initial_params = params

    def setup(self, warmup_steps: int, *args: Any, **kwargs: Any) -> None:
        """Set the inner kernel up. Raises: ValueError where HMC has nothing to move."""
        self._recorder.check()
        self.inner.setup(warmup_steps, *args, **kwargs)
        self._params = self.inner.initial_params
        self._evaluations = self._iteration = 0
        if isinstance(self.inner, HMC):
            if not self._params:
                raise ValueError(
                    f"{type(self.inner).__name__} needs a continuous latent site, and model has"
                    " none: use its own readings of the posterior, or give another kernel="
                )
            self.inner.potential_fn = self._counted(self.inner.potential_fn)

    def sample(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """One warm-up step, or the steps of one draw, which is kept."""
        warming = self._iteration < self._plan.tune
        steps = 1 if warming else self._plan.thin
        before = self._meter(warming)
        for _ in range(steps):
            self._params = self.inner.sample(self._params)
        part = self._plan.kept_at(self._recorder.position + steps)
        if part is not None:
            self._recorder.keep(part, self._values(), self._statistics(before, steps, warming))
        self._iteration += 1
        self._recorder.step(steps, words=lambda: self.inner.logging() or {})
        return params

    def diagnostics(self) -> dict[str, Any]:
        """The inner kernel's own, with the key `divergences` that `MCMC` users expect."""
        return {"divergences": [], **self.inner.diagnostics()}

    def cleanup(self) -> None:
        """Clean the inner kernel."""
        self.inner.cleanup()

    def _values(self) -> dict[str, Tensor]:
        """The constrained values of this draw, each in its own dtype."""
        transforms = self.inner.transforms or {}
        return {
            name: transforms[name].inv(value) if transforms.get(name) else value
            for name, value in self._params.items()
        }

    def _counted(self, potential_fn: Callable[[Any], Tensor]) -> Callable[[Any], Tensor]:
        """The potential with its calls counted: one call per leapfrog step."""

        def count(params: Any) -> Tensor:
            self._evaluations += 1
            return potential_fn(params)

        return count

    def _meter(self, warming: bool) -> Meter | None:
        """Counters of an HMC kernel now; None for other kernels."""
        if not isinstance(self.inner, HMC):
            return None
        # _mean_accept_prob and the cached energy have no public name in Pyro 1.9
        tune, thin = self._plan.tune, self._plan.thin
        steps = self._iteration if warming else (self._iteration - tune) * thin
        divergences = len(self.inner._divergences)
        return Meter(steps, self.inner._mean_accept_prob, divergences, self._evaluations)

    def _statistics(self, before: Meter | None, steps: int, warming: bool) -> dict[str, float]:
        """ArviZ's sample statistics of the steps since `before`; none but for HMC kernels."""
        if before is None:
            return {}
        kernel, n = self.inner, before.steps
        # undo the running mean; it restarts by itself after warm-up, where n = 0
        total = (n + steps) * kernel._mean_accept_prob - n * before.mean_acceptance
        evaluations = self._evaluations - before.evaluations
        stats = {
            "lp": self._log_joint(),
            "acceptance_rate": min(max(total / steps, 0.0), 1.0),
            "diverging": len(kernel._divergences) > before.divergences,
            "step_size": float(kernel.step_size),
            "n_steps": evaluations,
            "tree_depth": math.ceil(math.log2(evaluations / steps + 1)),
        }
        if warming:  # during which Pyro does not count them
            del stats["diverging"]
        return stats

    def _log_joint(self) -> float:
        """Log joint density of the draw in the model's own, constrained space (nats)."""
        log_joint = -self.inner._potential_energy_last
        for name, value in self._params.items():
            transform = self.inner.transforms[name]
            log_joint = (
                log_joint + transform.log_abs_det_jacobian(transform.inv(value), value).sum()
            )
        return float(log_joint.detach())
