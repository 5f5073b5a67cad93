r"""Patterns of many inputs, packed into bits.

Symbols: N rows; layers of B_l bits, each from a new 64-bit word on; B = sum B_l; W words a row.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from probact.analysis.patterns.packing import num_words, pack, unpack
from probact.arrays import as_labels, as_tensor, check_count

__all__ = ["PackedPatterns", "PatternLayer"]


class PatternLayer(NamedTuple):
    """Where the bits of a gate are: `num_bits` from word `word` on, of shape `bit_shape` a row."""

    name: str
    kind: str
    bit_shape: tuple[int, ...]
    num_bits: int
    word: int

    @property
    def words(self) -> slice:
        """Columns of the layer in the words."""
        return slice(self.word, self.word + num_words(self.num_bits))


class PackedPatterns(NamedTuple):
    """Bits of N rows as words (N, W) int64, the layers they belong to, labels (N,) or None.

    The bits after the last of a layer are zero. In the order of layers the bits are those of
    `Pattern.bits`.
    """

    words: Tensor
    layers: tuple[PatternLayer, ...]
    labels: Tensor | None = None

    @classmethod
    def from_bits(
        cls, bits: object, labels: object = None, *, name: str = "bits"
    ) -> "PackedPatterns":
        """Pack bits (N, B), booleans or numbers 0 and 1, as one layer.

        Raises:
            TypeError: no array.
            ValueError: not (N, B) of 0 and 1 with N, B >= 1, or labels that do not fit.

        >>> PackedPatterns.from_bits([[0, 1, 1]]).words
        tensor([[6]])
        """
        x = as_tensor(bits, "bits")
        if x.ndim != 2 or 0 in x.shape:
            raise ValueError(f"bits must be (N, B), N and B at least 1, got {tuple(x.shape)}")
        if x.dtype != torch.bool:
            if bool(((x != 0) & (x != 1)).any()):
                raise ValueError("bits must be 0 and 1")
            x = x != 0
        layer = PatternLayer(name, "bits", (x.shape[1],), x.shape[1], 0)
        found = None if labels is None else as_labels(labels, "labels", len(x))
        return cls(pack(x), (layer,), found)

    @property
    def num_rows(self) -> int:
        """N."""
        return len(self.words)

    @property
    def num_bits(self) -> int:
        """B, bits of a row."""
        return sum(layer.num_bits for layer in self.layers)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers."""
        return tuple(layer.name for layer in self.layers)

    def layer(self, *names: str) -> "PackedPatterns":
        """The patterns of some layers, by name: act#1, act#2 for one use, act for all of them.

        Raises: ValueError: no such layer.

        >>> packed = PackedPatterns.from_bits([[0, 1, 1]], name="act")
        >>> packed.layer("act").num_bits
        3
        """
        lost = [n for n in names if not any(_is_of(layer, n) for layer in self.layers)]
        if lost or not names:
            raise ValueError(f"no layer {lost or names}; there are {', '.join(self.names)}")
        kept = [layer for layer in self.layers if any(_is_of(layer, n) for n in names)]
        words = torch.cat([self.words[:, layer.words] for layer in kept], 1)
        moved, start = [], 0
        for layer in kept:
            moved.append(layer._replace(word=start))
            start += num_words(layer.num_bits)
        return PackedPatterns(words, tuple(moved), self.labels)

    def each_layer(self) -> Iterator[tuple[str, "PackedPatterns"]]:
        """Name and patterns of every layer, one after the other."""
        for layer in self.layers:
            alone = (layer._replace(word=0),)
            yield layer.name, PackedPatterns(self.words[:, layer.words], alone, self.labels)

    def rows(self, index: slice | Tensor) -> "PackedPatterns":
        """The patterns of some rows."""
        labels = None if self.labels is None else self.labels[index]
        return PackedPatterns(self.words[index], self.layers, labels)

    def bits(self, index: slice | Tensor | None = None) -> Tensor:
        """Bits (n, B) bool of some rows, or of all, layer after layer."""
        words = self.words if index is None else self.words[index]
        return torch.cat(
            [unpack(words[:, layer.words], layer.num_bits) for layer in self.layers], 1
        )

    def blocks(self, size: int | None = None) -> Iterator[tuple[slice, Tensor]]:
        """Rows and their bits (n, B), a block after the other, of 2^26 bits without `size`."""
        if size is not None:
            check_count(size, "size")
        step = size or max(1, (1 << 26) // max(1, self.num_bits))
        for start in range(0, self.num_rows, step):
            at = slice(start, min(start + step, self.num_rows))
            yield at, self.bits(at)

    def counts(self) -> Tensor:
        """Rows in which each bit is set, (B,) int64, without unpacking all of them at once.

        >>> PackedPatterns.from_bits([[0, 1, 1], [0, 0, 1]]).counts()
        tensor([0, 1, 2])
        """
        total = torch.zeros(self.num_bits, dtype=torch.int64, device=self.words.device)
        for _, bits in self.blocks():
            total += bits.sum(0)
        return total

    def split(self, values: Tensor) -> dict[str, Tensor]:
        """Values (.., B) of the bits by name of the layer, each (.., *bit_shape)."""
        if values.ndim == 0 or values.shape[-1] != self.num_bits:
            raise ValueError(
                f"values must have {self.num_bits} numbers on the last axis, got shape "
                f"{tuple(values.shape)}"
            )
        parts = values.split([layer.num_bits for layer in self.layers], -1)
        return {
            layer.name: part.reshape(*values.shape[:-1], *layer.bit_shape)
            for layer, part in zip(self.layers, parts, strict=True)
        }

    def unique(self) -> tuple["PackedPatterns", Tensor]:
        """Different patterns, without labels, and for each row the number of its pattern (N,).

        >>> distinct, number = PackedPatterns.from_bits([[1, 0], [0, 1], [1, 0]]).unique()
        >>> distinct.num_rows, bool(number[0] == number[2])
        (2, True)
        """
        rows = np.ascontiguousarray(self.words.cpu().numpy())
        keys = rows.view(np.dtype((np.void, rows.shape[1] * 8)))[:, 0]
        _, first, number = np.unique(keys, return_index=True, return_inverse=True)
        at = torch.from_numpy(first).to(self.words.device)
        return PackedPatterns(self.words[at], self.layers), torch.from_numpy(number)


def _is_of(layer: PatternLayer, name: str) -> bool:
    site, _, number = layer.name.partition("#")
    return name in (site, f"{site}#{number or 1}")


def layers_of(shapes: Sequence[tuple[str, str, tuple[int, ...], int]]) -> tuple[PatternLayer, ...]:
    """Layers, each from a new word on, of (name, kind, bit_shape, num_bits)."""
    found, word = [], 0
    for name, kind, shape, num_bits in shapes:
        found.append(PatternLayer(name, kind, shape, num_bits, word))
        word += num_words(num_bits)
    return tuple(found)
