r"""The pattern of a pass: which piece every piecewise-linear call of a network was on.

Symbols: N rows; a gate holds the states (N, *units) of one call. Bits of a gate: one per unit,
1[h > t], for a threshold t (ReLU: t = 0, h the pre-activation); two per unit for two thresholds;
for a choice among K competitors, as in max-pooling, K bits of which one is set, so that two
different choices are at Hamming distance 2.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from probact.analysis.patterns.choice_calls import Windows
from probact.arrays import as_tensor

__all__ = ["Gate", "Pattern"]


class Gate(NamedTuple):
    """States of one call in the order of the pass.

    `name` is the path of the module, or path/function for a call in the forward pass of a larger
    module, and #2, #3, .. for repeated ones; `path` the path alone; `kind` the function. `state`
    (N, *units) is bool for one threshold, uint8 (0, 1, 2) for two, int64 for a choice among
    `num_states`; `windows` turn the states of a pooling into numbers of competitors.
    """

    name: str
    path: str
    kind: str
    state: Tensor
    num_states: int
    windows: Windows | None = None

    @property
    def is_choice(self) -> bool:
        """Whether the call chooses among competitors, as max-pooling does."""
        return self.state.dtype == torch.int64

    @property
    def bit_shape(self) -> tuple[int, ...]:
        """Shape of the bits of a row: units, and an axis for more than one bit a unit."""
        units = tuple(self.state.shape[1:])
        if self.is_choice:
            return (*units, self.num_states)
        return units if self.num_states == 2 else (*units, 2)

    @property
    def num_bits(self) -> int:
        """Bits of a row."""
        return math.prod(self.bit_shape)

    def codes(self) -> Tensor:
        """Numbers of the pieces or competitors, (N, *units), in {0, .., num_states - 1}."""
        return self.state if self.windows is None else self.windows.codes(self.state)

    def bits(self) -> Tensor:
        """Bits (N, *bit_shape), bool."""
        if self.is_choice:
            return self.codes().unsqueeze(-1) == torch.arange(
                self.num_states, device=self.state.device
            )
        if self.num_states == 2:
            return self.state
        return torch.stack([self.state >= 1, self.state >= 2], -1)

    def with_bits(self, bits: Tensor) -> "Gate":
        """The gate of other bits (M, num_bits), which must be such as a pass may give."""
        shaped = bits.reshape(len(bits), *self.bit_shape)
        if not self.is_choice and self.num_states == 2:
            return self._replace(state=shaped)
        counts = shaped.sum(-1)
        if not self.is_choice:
            if bool((shaped[..., 1] & ~shaped[..., 0]).any()):
                raise ValueError(f"bits of {self.name}: the second of a pair is set alone")
            return self._replace(state=counts.byte())
        if bool((counts != 1).any()):
            raise ValueError(f"bits of {self.name}: one of {self.num_states} must be set")
        codes = shaped.byte().argmax(-1)
        if self.windows is None:
            return self._replace(state=codes)
        state = self.windows.state(codes)
        if bool((state < 0).any()):
            raise ValueError(f"bits of {self.name} choose a competitor in the padding")
        return self._replace(state=state)


class Pattern(NamedTuple):
    """Gates of a pass in the order of their calls, and the calls that no gate makes affine."""

    gates: tuple[Gate, ...]
    curved: tuple[str, ...] = ()

    @property
    def num_rows(self) -> int:
        """N: rows of the first gate."""
        return len(self.gates[0].state)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the gates."""
        return tuple(gate.name for gate in self.gates)

    def select(self, layers: Sequence[str] | None = None, *, choices: bool = True) -> "Pattern":
        """The gates of those layers: act#1, act#2 for one use, act for all, or a module above.

        Raises:
            TypeError: layers is no list of names.
            ValueError: a name that nothing has, or nothing left.

        >>> import torch
        >>> a = Gate("act", "act", "relu", torch.tensor([[True, False]]), 2)
        >>> Pattern((a, a._replace(name="act#2"))).select(["act"]).names
        ('act', 'act#2')
        """
        gates = [gate for gate in self.gates if choices or not gate.is_choice]
        if layers is not None:
            if isinstance(layers, str) or not all(isinstance(name, str) for name in layers):
                raise TypeError(f"layers must be a list of names, got {layers!r}")
            lost = [name for name in layers if not any(_is_of(gate, name) for gate in self.gates)]
            if lost:
                raise ValueError(
                    f"layers names {', '.join(map(repr, lost))}: no such gate; there are "
                    f"{', '.join(self.names)}"
                )
            gates = [gate for gate in gates if any(_is_of(gate, name) for name in layers)]
        if not gates:
            raise ValueError(
                f"only choices are left ({', '.join(self.names)}); pass choices=True to keep the "
                "gates of max-pooling"
            )
        return self._replace(gates=tuple(gates))

    def bits(self, layers: Sequence[str] | None = None, *, choices: bool = False) -> Tensor:
        """Bits (N, B), bool, gate after gate; with `choices` those of max-pooling as well.

        Raises: as `select`; ValueError for gates without one state per row.
        """
        gates = self.select(layers, choices=choices).gates
        self._check_rows(gates)
        return torch.cat([gate.bits().flatten(1) for gate in gates], 1)

    def with_bits(self, bits: Tensor) -> "Pattern":
        """A pattern with bits (M, B) in the layout of `bits`, of all gates or all but choices.

        Where choices are left out, those of the first row stay, for every row.

        Raises: ValueError: another number of bits, or bits that no pass can give.
        """
        bits = as_tensor(bits, "bits")
        totals = [sum(g.num_bits for g in self.gates if c or not g.is_choice) for c in (0, 1)]
        if bits.ndim != 2 or bits.dtype != torch.bool or bits.shape[1] not in totals:
            raise ValueError(
                f"bits must be bool (M, {totals[0]}), or (M, {totals[1]}) with choices, got "
                f"{bits.dtype} of shape {tuple(bits.shape)}"
            )
        everything, start, gates = bits.shape[1] == totals[1], 0, []
        for gate in self.gates:
            if gate.is_choice and not everything:
                first = gate.state[:1].expand(len(bits), *gate.state.shape[1:])
                gates.append(gate._replace(state=first))
                continue
            gates.append(gate.with_bits(bits[:, start : start + gate.num_bits]))
            start += gate.num_bits
        return self._replace(gates=tuple(gates))

    def rows(self, index: "int | slice | Tensor") -> "Pattern":
        """The pattern of some rows; of a single one for an integer."""
        at = slice(index, index + 1 or None) if isinstance(index, int) else index
        self._check_rows(self.gates)
        return self._replace(
            gates=tuple(gate._replace(state=gate.state[at]) for gate in self.gates)
        )

    def matches(self, other: "Pattern") -> Tensor:
        """Whether all states are equal, (N,) bool; one row of either stands for all.

        Raises: ValueError: the patterns are of different calls.
        """
        if [_signature(g) for g in self.gates] != [_signature(g) for g in other.gates]:
            raise ValueError("the patterns are not of the same calls of one network")
        same = torch.ones((), dtype=torch.bool)
        for a, b in zip(self.gates, other.gates, strict=True):
            same = same & (a.state == b.state.to(a.state.device)).flatten(1).all(1).cpu()
        return same

    def keys(self) -> list[bytes]:
        """A digest of the states of each row, for use as a key: equal for equal patterns.

        >>> import torch
        >>> gate = Gate("act", "act", "relu", torch.tensor([[True], [True], [False]]), 2)
        >>> a, b, c = Pattern((gate,)).keys()
        >>> a == b, a == c
        (True, False)
        """
        self._check_rows(self.gates)
        packed = [
            np.packbits(g.state.flatten(1).cpu().numpy(), axis=1)
            if g.state.dtype == torch.bool
            else np.ascontiguousarray(g.state.flatten(1).cpu().numpy()).view(np.uint8)
            for g in self.gates
        ]
        rows = np.concatenate(packed, 1)
        return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]

    def margins(self, scores: Sequence[Tensor]) -> Tensor:
        """Margins (M, B) of scores from `replay` in the layout of bits(choices=True).

        A point reproduces the pattern where all are positive, and does not where one is negative.
        """
        found = []
        for gate, score in zip(self.gates, scores, strict=True):
            bits = gate.bits()
            found.append(torch.where(bits, score, -score).flatten(1))
        return torch.cat(found, 1)

    def _check_rows(self, gates: Sequence[Gate]) -> None:
        counts = {len(gate.state) if gate.state.ndim else 0 for gate in gates}
        if len(counts) > 1:
            first = gates[0]
            odd = next(g for g in gates if g.state.shape[:1] != first.state.shape[:1])
            raise ValueError(
                f"gates have no common rows: {first.name} has shape {tuple(first.state.shape)}, "
                f"{odd.name} {tuple(odd.state.shape)}; name layers with the batch on axis 0"
            )


def _is_of(gate: Gate, name: str) -> bool:
    site, _, number = gate.name.partition("#")
    uses = (site, f"{site}#{number or 1}", gate.path)
    return name in uses or gate.path.startswith(f"{name}.")


def _signature(gate: Gate) -> tuple[str, str, tuple[int, ...]]:
    return gate.name, gate.kind, tuple(gate.state.shape[1:])
