"""Collapsed Gibbs: the exact sampler of the labels with the components summed out.

Neal (2000), algorithm 3, point after point in an order drawn for each sweep; then alpha and s.
"""

import math
from typing import final

import numpy as np
import torch
from torch import Generator, Tensor

from probact.arrays import check_count
from probact.inference.dirichlet.blocked_clusters import Ints
from probact.inference.dirichlet.collapsed_sweep import (
    SweepResult,
    collapsed_sweep,
    collapsed_weights,
)
from probact.inference.dirichlet.hyperparameters import resample_hyperparameters
from probact.inference.dirichlet.partition_kernel import PartitionKernel
from probact.inference.dirichlet.problem import Problem
from probact.inference.dirichlet.speculative import speculative_sweep
from probact.inference.dirichlet.state import DPState

__all__ = ["CollapsedGibbs"]


@final
class CollapsedGibbs(PartitionKernel):
    """One exact sweep over all points a step, then alpha and the scale factor.

    block: points that are whitened together (None: a number that suits most sizes); it
    changes the speed alone.
    form: "blocked" is compiled and runs on the CPU, "speculative" is tensor operations on the
    device of the data, "auto" takes the first on a CPU and the second elsewhere. All forms draw
    the same chain; diagonal covariances always take the first. start: see `PartitionKernel`.

    Raises: ValueError for a block below 1 or another form.
    >>> from probact.distributions import NormalInverseWishart
    >>> from probact.models import DPGMM
    >>> x = torch.tensor([[0.0], [0.1], [0.2], [9.0], [9.1]])
    >>> model = DPGMM(NormalInverseWishart.from_data(x), concentration=1.0)
    >>> kernel, generator = CollapsedGibbs(), torch.Generator().manual_seed(0)
    >>> state = kernel.init(model, x, generator)
    >>> state = kernel.step(state, generator)
    >>> slots, probabilities = kernel.conditional(state, 3)
    >>> round(float(probabilities.sum()), 6)
    1.0
    """

    def __init__(
        self, *, start: str | Tensor = "auto", block: int | None = None, form: str = "auto"
    ) -> None:
        super().__init__(start=start)
        if form not in ("auto", "blocked", "speculative"):
            raise ValueError(f"form must be auto, blocked or speculative, got {form!r}")
        if block is not None:
            check_count(block, "block")
        self.block, self.form = block, form

    def step(self, state: DPState, generator: Generator) -> DPState:
        """One sweep in a random order, then the hyper-parameters."""
        n, device = len(state.z), generator.device
        order = torch.randperm(n, generator=generator, device=device)
        uniforms = torch.rand(n, generator=generator, dtype=torch.float64, device=device)
        result = self._sweep(state, order, uniforms)
        names = ("num_moved", "num_born", "num_died")
        moved = {name: float(n) for name, n in zip(names, result[1:4], strict=True)}
        counts = {**state.counts, **moved}
        z = torch.from_numpy(result.z).to(state.z.device)
        return resample_hyperparameters(state._replace(z=z, counts=counts), generator)

    def _sweep(self, state: DPState, order: Tensor, uniforms: Tensor) -> SweepResult:
        speculative = self.form == "speculative" or (self.form == "auto" and state.z.is_cuda)
        if speculative and not state.problem.diagonal:
            z = state.z.unique(return_inverse=True)[1]  # no gaps, same order
            s, alpha = float(state.scale_factor), float(state.alpha)
            block = 512 if self.block is None else self.block
            return speculative_sweep(state.problem, s, alpha, z, order, uniforms, block=block)
        problem, s, alpha, labels = _on_cpu(state)
        labels = np.unique(labels, return_inverse=True)[1]
        block = 64 if self.block is None else self.block
        sites, levels = order.cpu().numpy(), uniforms.cpu().numpy()
        return collapsed_sweep(problem, s, alpha, labels, sites, levels, block=block)

    def conditional(self, state: DPState, i: int) -> tuple[Tensor, Tensor]:
        """The law of one label given all others: what `step` draws it from.

        The slots (K' + 1,) that point i can take when it is left out, the last one fresh, and
        their probabilities.

        Raises: ValueError for a point that is not there.
        """
        problem, s, alpha, z = _on_cpu(state)
        if not 0 <= i < len(z):
            raise ValueError(f"i must be a point from 0 to {len(z) - 1}, got {i}")
        weights = torch.from_numpy(collapsed_weights(problem, s, alpha, z, i))
        options = (weights > -math.inf).nonzero().squeeze(1)
        return options.to(state.z.device), weights[options].softmax(0).to(state.z.device)


def _on_cpu(state: DPState) -> tuple[Problem, float, float, Ints]:
    """The problem, s, alpha and z where the compiled sweep can read them."""
    problem = state.problem
    problem = problem._replace(x=problem.x.cpu(), loc=problem.loc.cpu(), scale=problem.scale.cpu())
    return problem, float(state.scale_factor), float(state.alpha), state.z.cpu().numpy()
