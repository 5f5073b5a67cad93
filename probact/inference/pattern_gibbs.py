r"""Gibbs sampling of a mixture of Bernoulli products, blocked or collapsed.

Symbols: a (N, n) patterns; z (N,) labels; w (C,) weights; theta (C, n) probabilities; n_c and s_ci
the rows of component c, and those among them in which unit i is one.

    z | w, theta ~ w_c prod_i theta_ci^a_i (1 - theta_ci)^(1 - a_i)         all rows at once
    w | z ~ Dirichlet(conc + n),  theta_ci | z ~ Beta(alpha + s_ci, beta + n_c - s_ci)

The collapsed form draws z row by row with w and theta summed out, then w and theta given z. The
labels of components mean nothing: what is recorded is matched to a fixed reference, the best of a
few runs of expectation-maximisation, by the assignment with the smallest sum of |theta - ref|, so
that chains agree on names where the components are apart.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, final

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Generator, Tensor
from torch.distributions import Beta, Dirichlet

from probact.distributions.student_t import standard_gamma
from probact.inference.gibbs import GibbsKernel
from probact.inference.pattern_compiled.label_sweep import label_sweep, label_weights

__all__ = ["PatternGibbs", "PatternProblem", "PatternState"]


class PatternProblem(NamedTuple):
    """What stays the same in a chain."""

    a: Tensor  # (N, n) uint8, on the CPU for the collapsed form
    concentration: Tensor  # (C,) of the Dirichlet prior
    alpha: float
    beta: float
    reference: Tensor  # (C, n) probabilities that name the components


class PatternState(NamedTuple):
    """Labels, and parameters drawn given them."""

    z: Tensor  # (N,) int64
    weights: Tensor  # (C,)
    probs: Tensor  # (C, n)
    problem: PatternProblem


@final
class PatternGibbs(GibbsKernel):
    """One sweep over the labels, the weights and the probabilities a step.

    Args:
        form: "blocked", all labels at once given the parameters, on the device of the data; or
            "collapsed", one label after the other with the parameters summed out, on the CPU.
        restarts: runs of expectation-maximisation behind the reference and the first labels.

    Raises: ValueError for other options.
    >>> from probact import models
    >>> model, a = models.PatternMixture(2, 3), torch.tensor([[1, 1, 1], [0, 0, 0], [1, 1, 0]])
    >>> kernel, generator = PatternGibbs(), torch.Generator().manual_seed(0)
    >>> kernel.step(kernel.init(model, a, generator), generator).probs.shape
    torch.Size([2, 3])
    """

    def __init__(self, form: str = "blocked", *, restarts: int = 5) -> None:
        if form not in ("blocked", "collapsed"):
            raise ValueError(f"form must be blocked or collapsed, got {form!r}")
        if isinstance(restarts, bool) or not isinstance(restarts, int) or restarts < 1:
            raise ValueError(f"restarts must be an integer of at least 1, got {restarts!r}")
        self.form, self.restarts = form, restarts

    def init(self, model: Any, data: Any, generator: Generator) -> PatternState:
        """Labels from the prior, and parameters given them."""
        problem = self._pose(model, data)
        weights = _dirichlet(problem.concentration, generator)
        z = torch.multinomial(weights, len(problem.a), replacement=True, generator=generator)
        return _with_parameters(z, problem, generator)

    def step(self, state: PatternState, generator: Generator) -> PatternState:
        """New labels, then new parameters."""
        problem = state.problem
        if self.form == "blocked":
            logits = _log_joint(problem.a, state.weights, state.probs)
            noise = torch.rand(
                logits.shape, dtype=logits.dtype, device=logits.device, generator=generator
            )
            z = (logits - (-noise.clamp_min(1e-300).log()).log()).argmax(-1)
        else:
            z = _collapsed(state, generator)
        return _with_parameters(z, problem, generator)

    def conditional(self, state: PatternState, row: int) -> Tensor:
        """p(z_row | ...), (C,): what `step` draws it from, in either form.

        Blocked: given the parameters. Collapsed: given the other labels alone.

        Raises: ValueError for a row that is not there.
        """
        problem = state.problem
        if isinstance(row, bool) or not isinstance(row, int) or not 0 <= row < len(problem.a):
            raise ValueError(f"row must be an integer from 0 to {len(problem.a) - 1}, got {row!r}")
        if self.form == "blocked":
            one = problem.a[row : row + 1]
            law: Tensor = _log_joint(one, state.weights, state.probs)[0].softmax(-1)
            return law
        size, count = _counts(state.z, problem)
        size[state.z[row]] -= 1.0
        count[state.z[row]] -= problem.a[row].double()
        weight = np.empty(len(size))
        label_weights(
            problem.a[row].numpy(),
            size.numpy(),
            count.numpy(),
            float(problem.concentration[0]),
            problem.alpha,
            problem.beta,
            weight,
        )
        collapsed: Tensor = torch.from_numpy(weight).softmax(-1)
        return collapsed

    def log_joint(self, state: PatternState) -> Tensor:
        """log p(a, z, w, theta), nats."""
        problem, z = state.problem, state.z.unsqueeze(-1)
        rows = _log_joint(problem.a, state.weights, state.probs).gather(-1, z).sum()
        prior = Dirichlet(problem.concentration).log_prob(state.weights)
        beta = Beta(torch.full_like(state.probs, problem.alpha), problem.beta)
        total: Tensor = rows + prior + beta.log_prob(state.probs).sum()
        return total

    def record(self, state: PatternState) -> dict[str, Tensor]:
        """weights (C,), probs (C, n) and z (N,) by the names of the reference."""
        distance = torch.cdist(state.problem.reference, state.probs, p=1.0)
        found = linear_sum_assignment(distance.numpy(force=True))[1]
        order = torch.from_numpy(found).to(state.z.device)  # reference name -> label
        names = torch.empty_like(order)
        names[order] = torch.arange(len(order), device=order.device)
        values = {
            "weights": state.weights[order],
            "probs": state.probs[order],
            "z": names[state.z].to(torch.int16 if len(order) < 2**15 else torch.int32),
        }
        return {name: value.cpu().contiguous() for name, value in values.items()}

    def statistics(self, state: PatternState) -> dict[str, float]:
        """lp, and the number of components that have a row."""
        occupied = len(state.z.unique())
        return {"lp": float(self.log_joint(state)), "num_occupied": float(occupied)}

    def save(self, state: PatternState) -> dict[str, Tensor]:
        """Labels and parameters."""
        kept = {"z": state.z, "weights": state.weights, "probs": state.probs}
        return {name: value.cpu() for name, value in kept.items()}

    def restore(self, model: Any, data: Any, saved: Mapping[str, Tensor]) -> PatternState:
        """The saved state on the device of the data."""
        problem = self._pose(model, data)
        z, probs, where = saved["z"], saved["probs"], problem.a.device
        if z.shape != problem.a.shape[:1] or probs.shape != problem.reference.shape:
            was = tuple(z.shape), tuple(probs.shape)
            raise ValueError(f"the saved chain has z and probs of shapes {was}, other than here")
        return PatternState(z.to(where), saved["weights"].to(where), probs.to(where), problem)

    def _pose(self, model: Any, data: Any) -> PatternProblem:
        """The data and the prior. Raises: as `PatternMixture.bits`; TypeError: another model."""
        if not all(hasattr(model, name) for name in ("em", "bits", "prior_weights")):
            raise TypeError(f"model must be a PatternMixture, got {type(model).__name__}")
        a = model.bits(data)
        if self.form == "collapsed" and a.device.type != "cpu":
            raise ValueError(f'form "collapsed" runs on the CPU, the data are on {a.device}')
        reference = model.em(a, restarts=self.restarts).probs.to(a.device)
        concentration = model.prior_weights.to(a.device)
        alpha, beta = model.unit_prior
        return PatternProblem(a, concentration, alpha, beta, reference)


def _log_joint(a: Tensor, weights: Tensor, probs: Tensor) -> Tensor:
    """log p(a, z | w, theta) (N, C); theta never reaches 0 or 1, see `_with_parameters`."""
    on, off = probs.log(), torch.log1p(-probs)
    step = max(1, 2**24 // a.shape[1])
    parts = [part.to(probs.dtype) @ (on - off).T for part in a.split(step)]
    return torch.cat(parts) + off.sum(-1) + weights.log()


def _counts(z: Tensor, problem: PatternProblem) -> tuple[Tensor, Tensor]:
    """n_c (C,) and s_ci (C, n), float64."""
    shape = problem.reference.shape
    size = torch.bincount(z, minlength=shape[0]).double()
    count = torch.zeros(shape, dtype=torch.float64, device=z.device)
    for rows in torch.arange(len(z), device=z.device).split(max(1, 2**24 // shape[1])):
        count.index_add_(0, z[rows], problem.a[rows].double())
    return size, count


def _with_parameters(z: Tensor, problem: PatternProblem, generator: Generator) -> PatternState:
    """The state with parameters drawn given labels, inside (0, 1) by one rounding at least."""
    size, count = _counts(z, problem)
    weights = _dirichlet(problem.concentration + size, generator)
    on = _log_gamma_draws(count + problem.alpha, generator)
    off = _log_gamma_draws(size.unsqueeze(1) - count + problem.beta, generator)
    probs = (on - off).sigmoid().clamp(1e-300, 1.0 - 2.0**-53)
    return PatternState(z, weights, probs, problem)


def _dirichlet(concentration: Tensor, generator: Generator) -> Tensor:
    return _log_gamma_draws(concentration, generator).softmax(-1).clamp_min(1e-300)


def _log_gamma_draws(shape: Tensor, generator: Generator) -> Tensor:
    """Logs of Gamma draws, which underflow themselves at shapes below 0.01: G(a + 1) U^(1 / a)."""
    uniforms = torch.rand(shape.shape, dtype=shape.dtype, device=shape.device, generator=generator)
    return standard_gamma(shape + 1.0, generator).log() + torch.log1p(-uniforms) / shape


def _collapsed(state: PatternState, generator: Generator) -> Tensor:
    problem, z = state.problem, state.z.clone()
    size, count = _counts(z, problem)
    uniforms = torch.rand(len(z), dtype=torch.float64, generator=generator)
    label_sweep(
        problem.a.numpy(),
        z.numpy(),
        size.numpy(),
        count.numpy(),
        float(problem.concentration[0]),
        problem.alpha,
        problem.beta,
        uniforms.numpy(),
    )
    return z
