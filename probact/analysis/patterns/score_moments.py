r"""Moments of pre-activations over a data set, unit by unit, in one pass.

Symbols: h_i (N,) pre-activations of unit i, positive where its bit is set; a_i = max(h_i, 0);
c the correlation of a unit's pre-activations at two independent inputs, over the units of a layer.
Memory: six numbers a unit, and one batch.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from probact.analysis.patterns.gate_passes import checked_network
from probact.analysis.patterns.probability_law import ProbabilityLaw
from probact.analysis.patterns.recording import Smooth, record
from probact.arrays import check_count
from probact.capturing.batches import batches
from probact.capturing.passes import place, run, undisturbed, usable

__all__ = ["ScoreMoments", "score_moments"]


class ScoreMoments(NamedTuple):
    """Sums over N rows for the n units of a gate, each (n,) float64 on the CPU.

    `first`, `second` are the sums of h and h^2; `active` counts h > 0; `active_first`,
    `active_second` are the sums of a and a^2.
    """

    name: str
    num_rows: int
    first: Tensor
    second: Tensor
    active: Tensor
    active_first: Tensor
    active_second: Tensor

    @property
    def probability(self) -> Tensor:
        """p_i, (n,)."""
        return self.active / self.num_rows

    @property
    def correlation(self) -> float:
        """c: mean of h_i(x) h_i(x') over units and pairs of rows, over the mean of h_i^2.

        The numerator is unbiased, so that it may fall below zero where c is near zero.
        """
        rows = self.num_rows
        pairs = (self.first.square() - self.second).sum() / (rows * (rows - 1))
        return float(pairs / (self.second.sum() / rows))

    @property
    def law(self) -> ProbabilityLaw:
        """Law of p at the measured c, at zero where that is below."""
        return ProbabilityLaw(max(0.0, min(1.0, self.correlation)))


def score_moments(
    net: nn.Module,
    data: object,
    *,
    smooth: Smooth = "refuse",
    batch_size: int = 256,
    device: str | torch.device | None = None,
) -> list[ScoreMoments]:
    """Moments of the pre-activations of every gate, max-pooling left out, in order.

    Args:
        net, data, batch_size, device: as for `collect`.
        smooth: as in `record`.

    Raises:
        TypeError: net is no module, data of another form.
        ValueError: as `record`; fewer than two rows, or gates that change from batch to batch.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU()).eval()
    >>> [m] = score_moments(net, torch.randn(10, 2))
    >>> m.name, m.num_rows, m.active.shape
    ('1', 10, torch.Size([3]))
    """
    check_count(batch_size, "batch_size")
    checked_network(net)
    names: list[str] = []
    sums: list[Tensor] = []
    rows = 0
    with undisturbed(net, None if device is None else usable(device)):
        for batch in batches(data, net, batch_size):
            args = [place(x, net) for x in batch.args]
            kwargs = {name: place(x, net) for name, x in batch.kwargs.items()}
            with record(net, smooth=smooth, keep_scores=True) as recording:
                run(net, args, kwargs, f"data from row {rows} on")
            pairs = list(zip(recording.pattern.gates, recording.scores, strict=True))
            kept = [(gate.name, h.flatten(1)) for gate, h in pairs if not gate.is_choice]
            found = [_sums(h) for _, h in kept]
            same = not rows or [s.shape for s in sums] == [s.shape for s in found]
            if not same or any(len(h) != batch.rows for _, h in kept):
                raise ValueError(f"the gates from row {rows} on are not those before")
            names = [name for name, _ in kept]
            sums = [a + b for a, b in zip(sums, found, strict=True)] if rows else found
            rows += batch.rows
    if rows < 2:
        raise ValueError(f"data must have at least 2 rows, got {rows}")
    return [ScoreMoments(n, rows, *s.unbind()) for n, s in zip(names, sums, strict=True)]


def _sums(h: Tensor) -> Tensor:
    """Five sums over rows of h (N, n), (5, n) float64."""
    a = h.clamp_min(0.0)
    powers = (h, h.square(), h > 0, a, a.square())
    return torch.stack([x.sum(0, dtype=torch.float64) for x in powers]).cpu()
