r"""Soft max-affine layers: one selection of the regions, five ways to read it out.

Symbols: a (..., K, R) scores of the inner operator; t (..., K, R) selection; z = sum_r t_r a_r
expectation; F free energy; eta inverse temperature. With Shannon's selection dz/d eta = Var_t(a),
max a - log(R) / eta <= z <= max a <= F <= max a + log(R) / eta. Balestriero & Baraniuk, "From
Hard to Soft", ICLR 2019, section 4.
"""

from typing import Literal, get_args

import torch
from torch import Generator, Tensor, nn

from probact.nn.affine.max_affine import MaxAffine
from probact.nn.selection.selections import Sampled, Selection, Shannon, straight_through
from probact.nn.selection.tempered_selection import Readout

__all__ = ["SampledReadout", "SoftMaxAffine"]

SampledReadout = Literal[Readout, "sample"]


class SoftMaxAffine(nn.Module):
    """A max-affine layer with a soft selection.

    | read-out | value | ReLU unit, Shannon, eta = 1 |
    | --- | --- | --- |
    | "hard" | max_r a (..., K) | relu |
    | "expectation" | z (..., K) | silu |
    | "probability" | t (..., K, R) | 1 - sigmoid, sigmoid |
    | "free_energy" | F (..., K) | softplus |
    | "sample" | a of one region drawn from t (..., K) | u or 0 |

    The probabilities of an absolute value unit differ by tanh(eta u). A sampled unit has mean z
    and variance Var_t(a); its gradient is that of z (straight-through).

    Args:
        inner: the operator; its parameters are shared.
        selection: default Shannon().
        readout: a name above.
        detach_gate: no gradient through t, so that a unit's own slope is that of its regions.

    Raises:
        TypeError: inner is no MaxAffine, selection no selection.
        ValueError: an unknown read-out.

    >>> layer, x = nn.Linear(3, 4), torch.randn(5, 3)
    >>> soft = SoftMaxAffine(MaxAffine.from_layer(layer, "relu"))
    >>> torch.allclose(soft(x), nn.functional.silu(layer(x)), atol=1e-6)
    True
    """

    def __init__(
        self,
        inner: MaxAffine,
        selection: Selection | None = None,
        readout: SampledReadout = "expectation",
        *,
        detach_gate: bool = False,
    ) -> None:
        super().__init__()
        selection = Shannon() if selection is None else selection
        if not isinstance(inner, MaxAffine):
            raise TypeError(f"inner must be a MaxAffine, got {type(inner).__name__}")
        if not isinstance(selection, Selection):
            raise TypeError(f"selection must be a selection, got {type(selection).__name__}")
        if readout not in get_args(SampledReadout):
            names = ", ".join(get_args(SampledReadout))
            raise ValueError(f"readout must be one of {names}, got {readout!r}")
        self.inner, self.selection = inner, selection
        self.readout, self.detach_gate = readout, detach_gate

    def forward(self, x: Tensor, *, generator: Generator | None = None) -> Tensor:
        """The read-out of x; `generator` is for draws, by default torch's global stream."""
        scores = self.inner.scores(x)
        if self.readout == "hard":
            return scores.amax(-1)
        if self.readout == "free_energy":
            return self.selection.free_energy(scores)
        t = self._select(scores, generator)
        if self.readout == "probability":
            return t
        return expected_score(t.detach() if self.detach_gate else t, scores)

    def _select(self, scores: Tensor, generator: Generator | None) -> Tensor:
        if isinstance(self.selection, Sampled):
            drawn: Tensor = self.selection(scores, generator=generator)
            return drawn
        t: Tensor = self.selection(scores)
        return straight_through(t, generator) if self.readout == "sample" else t

    def probabilities(self, x: Tensor) -> Tensor:
        """t (..., K, R), whatever the read-out; those that a `Sampled` selection draws from."""
        selection = self.selection
        selection = selection.selection if isinstance(selection, Sampled) else selection
        t: Tensor = selection(self.inner.scores(x))
        return t

    def extra_repr(self) -> str:
        return f"readout={self.readout!r}, detach_gate={self.detach_gate}"


def expected_score(t: Tensor, scores: Tensor) -> Tensor:
    """sum_r t_r a_r (...); an absent region, of score -inf and t = 0, adds 0."""
    return (t * scores.masked_fill(torch.isneginf(scores), 0.0)).sum(-1)
