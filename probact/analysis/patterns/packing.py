r"""Bits in 64-bit words.

Symbols: B bits of a row, W = ceil(B / 64) words. Bit i is bit i mod 64 of word i // 64, the
lowest first; the bits after the last are zero, so they add nothing to a Hamming distance.
"""

import sys

import numpy as np
import torch
from torch import Tensor

__all__ = ["num_words", "pack", "unpack"]

_PLACES = [1, 2, 4, 8, 16, 32, 64, 128]


def num_words(num_bits: int) -> int:
    """W, words for a row of that many bits.

    >>> num_words(64), num_words(65)
    (1, 2)
    """
    return -(-num_bits // 64)


def pack(bits: Tensor) -> Tensor:
    """Words (N, W) int64, on the device of bits (N, B) bool.

    >>> pack(torch.tensor([[True, False, True]]))
    tensor([[5]])
    """
    rows, num_bits = bits.shape
    width = 64 * num_words(num_bits)
    if bits.device.type != "cpu":
        padded = torch.nn.functional.pad(bits.byte(), (0, width - num_bits))
        places = torch.tensor(_PLACES, dtype=torch.uint8, device=bits.device)
        packed = (padded.view(rows, width // 8, 8) * places).sum(-1, dtype=torch.uint8)
        return packed.view(torch.int64)
    found = np.zeros((rows, width // 8), np.uint8)
    found[:, : -(-num_bits // 8)] = np.packbits(bits.numpy(), axis=1, bitorder="little")
    return torch.from_numpy(_native(found).view(np.int64))


def unpack(words: Tensor, num_bits: int) -> Tensor:
    """Bits (N, num_bits) bool of words (N, W); inverse of `pack`.

    >>> unpack(torch.tensor([[5]]), 3)
    tensor([[ True, False,  True]])
    """
    if words.device.type != "cpu":
        places = torch.tensor(_PLACES, dtype=torch.uint8, device=words.device)
        bytes_ = words.contiguous().view(torch.uint8)
        bits = (bytes_.unsqueeze(-1) & places) != 0
        return bits.flatten(1)[:, :num_bits]
    rows = _native(np.ascontiguousarray(words.numpy()).view(np.uint8))
    found = np.unpackbits(rows, axis=1, count=num_bits, bitorder="little")
    return torch.from_numpy(found.view(np.bool_))


def _native(rows: np.ndarray) -> np.ndarray:
    """Bytes (N, 8 W) with the lowest of each word first, on any machine."""
    if sys.byteorder == "little":
        return rows
    return np.ascontiguousarray(rows.reshape(len(rows), -1, 8)[..., ::-1]).reshape(rows.shape)
