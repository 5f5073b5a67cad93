r"""Gibbs sampling of the codes of a factorial mixture, in coloured blocks.

Symbols: x (N, D) data; t (N, K) codes; m (N, D) = sum_k A_k,t_k, kept along and updated in O(D).
Units of one colour do not interact (their centred Gram blocks vanish) and are drawn at once: with
orthogonal units one colour does, and a step is an exact draw of the posterior.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, final

import torch
from torch import Generator, Tensor

from probact.arrays import as_number, check_count
from probact.distributions.code_enumeration import code_means, draw_regions
from probact.distributions.factorial_code import log_base, unit_terms
from probact.inference.factorial_sweep import (
    Colours,
    FactorialProblem,
    block_logits,
    check_colours,
    pose,
    sweep,
)
from probact.inference.gibbs import GibbsKernel

__all__ = ["FactorialGibbs", "FactorialState"]


class FactorialState(NamedTuple):
    """A code per row, and the sum of the vectors that it chooses."""

    codes: Tensor  # (N, K) int64
    mean: Tensor  # (N, D)
    sweeps: int  # made so far
    problem: FactorialProblem


@final
class FactorialGibbs(GibbsKernel):
    """One sweep over all units a step, all rows at once.

    Args:
        colours: "auto" groups units that do not interact, by their Gram matrix; "sequential"
            draws one unit at a time; or a colour per unit, such as those of `conv_colours`.
        tolerance: largest interaction that counts as none, relative to the units' own.
        refresh: sweeps after which m is computed afresh, against the drift of its updates.
        form: "compiled" goes row by row on the CPU, "tensor" block by block wherever the data
            are; "auto" takes the first on a CPU. Both draw the same chain.
        start: "units" draws every unit by itself, given x; "prior" from the weights.

    Raises: ValueError for other options.
    >>> from probact import models
    >>> slopes, weights = torch.eye(4).reshape(2, 2, 4), torch.full((2, 2), 0.5)
    >>> model = models.FactorialMixture(slopes, weights, 1.0)
    >>> kernel, generator = FactorialGibbs(), torch.Generator().manual_seed(0)
    >>> state = kernel.init(model, torch.zeros(3, 4), generator)
    >>> kernel.step(state, generator).codes.shape, len(state.problem.blocks)
    (torch.Size([3, 2]), 1)
    """

    def __init__(
        self,
        *,
        colours: Colours = "auto",
        tolerance: float = 1e-9,
        refresh: int = 100,
        form: str = "auto",
        start: str = "units",
    ) -> None:
        check_count(refresh, "refresh")
        if form not in ("auto", "compiled", "tensor"):
            raise ValueError(f"form must be auto, compiled or tensor, got {form!r}")
        if start not in ("units", "prior"):
            raise ValueError(f"start must be units or prior, got {start!r}")
        self.colours, self.refresh = check_colours(colours), refresh
        self.form, self.start = form, start
        self.tolerance = as_number(tolerance, "tolerance", 0.0, inclusive=True)

    def init(self, model: Any, data: Any, generator: Generator) -> FactorialState:
        """A first state; see `start`."""
        problem = pose(model, data, self.colours, self.tolerance)
        x, p = problem.x, problem.parameters
        logits = unit_terms(x, p) if self.start == "units" else p.log_weights
        shape = len(x), p.num_units
        uniforms = torch.rand(shape, dtype=x.dtype, device=x.device, generator=generator)
        codes = draw_regions(logits.expand(*shape, -1), uniforms)
        return FactorialState(codes, code_means(p.slopes, codes), 0, problem)

    def step(self, state: FactorialState, generator: Generator) -> FactorialState:
        """One sweep over the colours, in their order."""
        problem, p = state.problem, state.problem.parameters
        eta = 1.0 / p.noise
        codes, mean = sweep(problem, state.codes, state.mean, eta, generator, self.form)
        sweeps = state.sweeps + 1
        if sweeps % self.refresh == 0:
            mean = code_means(p.slopes, codes)
        return FactorialState(codes, mean, sweeps, problem)

    def conditional(self, state: FactorialState, unit: int) -> Tensor:
        """p(t_unit = r | the other units, x), (N, R): what `step` draws it from.

        Raises: ValueError for a unit that is not there.
        """
        problem, count = state.problem, state.codes.shape[1]
        if isinstance(unit, bool) or not isinstance(unit, int) or not 0 <= unit < count:
            raise ValueError(f"unit must be an integer from 0 to {count - 1}, got {unit!r}")
        block = next(b for b in problem.blocks if bool((b.units == unit).any()))
        eta = 1.0 / problem.parameters.noise
        logits = block_logits(problem.x, state.mean, state.codes, block, eta)
        return torch.softmax(logits[:, block.units == unit].squeeze(1), -1)

    def log_joint(self, state: FactorialState) -> Tensor:
        """log p(x, t), nats, summed over rows."""
        p, codes = state.problem.parameters, state.codes
        prior = p.log_weights.expand(*codes.shape, -1).gather(-1, codes.unsqueeze(-1))
        return log_base(state.problem.x - state.mean, p).sum() + prior.sum()

    def record(self, state: FactorialState) -> dict[str, Tensor]:
        """The sites "t_0" .. "t_{K-1}" of the program, (N,) each."""
        small = torch.int8 if state.problem.parameters.num_regions <= 128 else torch.int32
        columns = state.codes.to(small).cpu().unbind(1)
        return {f"t_{k}": column.contiguous() for k, column in enumerate(columns)}

    def save(self, state: FactorialState) -> dict[str, Tensor]:
        """Codes, m with the rounding of its updates, and the sweeps made."""
        return {
            "codes": state.codes.cpu(),
            "mean": state.mean.cpu(),
            "sweeps": torch.tensor(state.sweeps),
        }

    def restore(self, model: Any, data: Any, saved: Mapping[str, Tensor]) -> FactorialState:
        """The saved state on the device of the data."""
        problem = pose(model, data, self.colours, self.tolerance)
        codes, mean, x = saved["codes"], saved["mean"], problem.x
        if codes.shape != (len(x), problem.parameters.num_units) or mean.shape != x.shape:
            was = tuple(codes.shape)
            raise ValueError(f"the saved chain has codes of shape {was}, other than model and x")
        where = x.device
        return FactorialState(codes.to(where), mean.to(where), int(saved["sweeps"]), problem)
