r"""Patterns of a whole data set, packed as the batches come.

Symbols: N rows, W words a row. Memory: the packed words, and one batch with its gates.
"""

from collections.abc import Sequence, Sized

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from probact.analysis.patterns.gate_passes import checked_network
from probact.analysis.patterns.gates import Gate
from probact.analysis.patterns.packed_patterns import PackedPatterns, PatternLayer, layers_of
from probact.analysis.patterns.packing import pack
from probact.analysis.patterns.recording import Smooth, record
from probact.arrays import check_count
from probact.capturing.batches import Batch, batches
from probact.capturing.passes import place, run, undisturbed, usable

__all__ = ["collect"]


def collect(
    net: nn.Module,
    data: object,
    layers: Sequence[str] | None = None,
    *,
    choices: bool = False,
    smooth: Smooth = "refuse",
    batch_size: int = 256,
    device: str | torch.device | None = None,
) -> PackedPatterns:
    """Patterns of every row of the data; the network stays as it was.

    Rows have to be on axis 0 of every gate. Runs without gradients, under the caller's autocast.
    The words are on the CPU: 8 N W bytes, and one batch beside them; up to twice as many where the
    data does not know its length.

    Args:
        net: the network, in eval mode.
        data: as for `probact.capture`: a tensor or array (N, ...), a pair (x, labels), a Dataset,
            a DataLoader, or batches.
        layers: names of gates, or paths of modules, as `Pattern.select`; all without.
        choices: also pack max-pooling, K bits of which one is set for each window.
        smooth: as in `record`.
        batch_size: rows a pass, where the data does not come in batches.
        device: where to run; the network moves there and back.

    Raises:
        TypeError: net is no module, data of another form.
        ValueError: as `record`; names in layers that nothing has, labels for some batches only,
            gates that change from batch to batch, or that have no row per row of the data.

    >>> net = nn.Sequential(nn.Linear(2, 70), nn.ReLU()).eval()
    >>> packed = collect(net, (torch.randn(5, 2), torch.arange(5)), batch_size=2)
    >>> packed.words.shape, packed.num_bits, packed.labels
    (torch.Size([5, 2]), 70, tensor([0, 1, 2, 3, 4]))
    """
    check_count(batch_size, "batch_size")
    checked_network(net)
    where = None if device is None else usable(device)
    found: tuple[PatternLayer, ...] | None = None
    words, labels = _Rows(_expected_rows(data)), list[Tensor | None]()
    with undisturbed(net, where):
        for batch in batches(data, net, batch_size):
            gates = _gates(net, batch, layers, choices, smooth, words.count)
            now = layers_of([(g.name, g.kind, g.bit_shape, g.num_bits) for g in gates])
            if found is not None and now != found:
                raise ValueError(_changed(found, now, words.count))
            found = now
            words.append(torch.cat([pack(gate.bits().flatten(1)).cpu() for gate in gates], 1))
            labels.append(None if batch.labels is None else batch.labels.cpu())
            if (labels[0] is None) != (labels[-1] is None):
                raise ValueError("some batches of data have labels and some have none")
    if found is None:
        raise ValueError("data has no batches")
    known = [part for part in labels if part is not None]
    return PackedPatterns(words.all(), found, torch.cat(known) if known else None)


def _gates(
    net: nn.Module,
    batch: Batch,
    layers: Sequence[str] | None,
    choices: bool,
    smooth: Smooth,
    row: int,
) -> tuple[Gate, ...]:
    """Gates of one batch, whose first row has the number `row`."""
    args = [place(x, net) for x in batch.args]
    kwargs = {name: place(x, net) for name, x in batch.kwargs.items()}
    with record(net, smooth=smooth) as recording:
        run(net, args, kwargs, f"data from row {row} on")
    gates = recording.pattern.select(layers, choices=choices).gates
    for gate in gates:
        if gate.state.ndim < 2 or len(gate.state) != batch.rows:
            raise ValueError(
                f"{gate.name} has states {tuple(gate.state.shape)} for {batch.rows} rows of data, "
                "expected (rows, ...); name the other layers in layers to leave it out"
            )
    return gates


def _changed(old: tuple[PatternLayer, ...], new: tuple[PatternLayer, ...], row: int) -> str:
    first = next((n for n, o in zip(new, old, strict=False) if n != o), None)
    what = "their number" if first is None else f"{first.name} {first.bit_shape}"
    return f"the gates from row {row} on are not those before: {what}"


class _Rows:
    """Words of rows, in a block for as many as are expected, which grows where more come."""

    def __init__(self, expected: int) -> None:
        self._held = np.empty((0, 0), np.int64)
        self._expected = expected
        self.count = 0

    def append(self, words: Tensor) -> None:
        """Add rows (n, W)."""
        need = self.count + len(words)
        if need > len(self._held):
            size = max(need, len(self._held) * 9 // 8, self._expected)
            grown = np.empty((size, words.shape[1]), np.int64)
            if self.count:
                grown[: self.count] = self._held[: self.count]
            self._held = grown
        self._held[self.count : need] = words.numpy()
        self.count = need

    def all(self) -> Tensor:
        """Every row (N, W)."""
        return torch.from_numpy(self._held[: self.count])


def _expected_rows(data: object) -> int:
    """Rows of the data where it knows them, else 0."""
    inner = data[0] if isinstance(data, tuple) and data else data
    if isinstance(inner, DataLoader):
        inner = inner.dataset
    if isinstance(inner, Tensor | np.ndarray):
        return len(inner)
    return len(inner) if isinstance(inner, Dataset) and isinstance(inner, Sized) else 0
