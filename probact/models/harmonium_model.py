r"""The harmonium of a layer as a program: inputs, then the region of every unit.

Symbols: x (N, D); t (N, K) codes; A (K, R, D) slopes, B (K, R) offsets, s2 noise of `Harmonium`.

    x ~ Harmonium(A, B, s2),   t_k | x ~ Cat(softmax_r((<A_kr, x> + B_kr) / s2))

Given x the units are independent, so here, unlike in the factorial mixture, one site holds all.
"""

from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor

from probact.arrays import as_matrix, check_count
from probact.distributions.harmonium import Harmonium

__all__ = ["HarmoniumModel"]


class HarmoniumModel(PyroModule):
    """Inputs and codes of a layer under its harmonium, float64; the parameters are fixed.

    Args:
        slopes, offsets, noise: as in `Harmonium`.
        num_points: N, the rows that are drawn where no data are given.

    Raises: TypeError or ValueError as `Harmonium`; ValueError for num_points < 1.

    >>> model = HarmoniumModel([[[0.0], [2.0]]], [[0.0, -2.0]], 1.0, num_points=5)
    >>> model().shape
    torch.Size([5, 1])
    """

    slopes: Tensor
    offsets: Tensor
    noise: Tensor

    def __init__(self, slopes: Any, offsets: Any, noise: Any, *, num_points: int = 1) -> None:
        super().__init__()
        law = Harmonium(slopes, offsets, noise)
        check_count(num_points, "num_points")
        for name in ("slopes", "offsets", "noise"):
            self.register_buffer(name, getattr(law, name).detach().double().clone())
        self.num_points = num_points
        self.dims = {"x": ("feature",), "t": ("unit",)}

    @classmethod
    def from_layer(cls, layer: Any, noise: Any = 1.0, *, num_points: int = 1) -> Self:
        """Of a layer with slopes and offsets, such as `MaxAffine`. Raises: as `Harmonium`."""
        law = Harmonium.from_layer(layer, noise)
        return cls(law.slopes, law.offsets, law.noise, num_points=num_points)

    def law(self, **options: Any) -> Harmonium:
        """The law of one input."""
        return Harmonium(self.slopes, self.offsets, self.noise, **options)

    def forward(self, x: Tensor | None = None) -> Tensor:
        """Sites "x" (N, D) and "t" (N, K).

        Raises: ValueError or TypeError for x that is not a finite matrix with D columns.
        """
        law = self.law()
        rows = None if x is None else as_matrix(x, "x").double()
        if rows is not None and rows.shape[1] != law.dim:
            raise ValueError(f"x must have {law.dim} columns, got {rows.shape[1]}")
        with pyro.plate("data", self.num_points if rows is None else len(rows)):
            drawn: Tensor = pyro.sample("x", law, obs=rows)
            units = dist.Categorical(probs=torch.softmax(law.logits(drawn), -1)).to_event(1)
            pyro.sample("t", units)
        return drawn
