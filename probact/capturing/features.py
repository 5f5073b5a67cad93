"""Features: rows of activations and their labels, gathered in memory or on disk.

Symbols: x (N, D) features; labels (N,) classes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from torch import Tensor

from probact.arrays import check_finite, polar_rows

__all__ = ["Features", "RowFile", "row_file"]


class Features(NamedTuple):
    """x (N, D) and labels (N,) int64 or None; a model takes both as `model(*features)`."""

    x: Tensor
    labels: Tensor | None = None

    def unit(self) -> Features:
        """Rows scaled to unit length, in float64, without overflow at either end of its range.

        Raises:
            ValueError: x is not (N, D), or a row is zero or not finite; the first one is named.

        >>> import torch
        >>> Features(torch.tensor([[3.0, 4.0]])).unit().x
        tensor([[0.6000, 0.8000]], dtype=torch.float64)
        """
        if not isinstance(self.x, Tensor):
            raise TypeError(f"x must be a tensor (N, D), got {type(self.x).__name__}")
        if self.x.ndim != 2 or self.x.shape[1] == 0:
            raise ValueError(f"x must be (N, D) with D >= 1, got shape {tuple(self.x.shape)}")
        check_finite(self.x, "x")
        return Features(polar_rows(self.x.double(), "x")[0], self.labels)


class RowFile:
    """An NPY file that grows row by row; its length is written into the header at the end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._rows = 0
        self._kind: tuple[np.dtype[np.generic], int] | None = None

    def append(self, x: Tensor) -> None:
        """Write rows x (n, D), of one D and dtype for the whole file."""
        rows = x.cpu().numpy()
        if self._kind is None:
            self._kind = rows.dtype, rows.shape[1]
            self._header()
        self._rows += len(rows)
        self._stream.write(np.ascontiguousarray(rows).data)

    def close(self) -> None:
        """Write the number of rows and flush to the disk."""
        self._stream.seek(0)
        self._header()
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def _header(self) -> None:
        # NEP 1: numpy pads the header so that the first axis may grow to 21 digits in place
        assert self._kind is not None
        dtype, columns = self._kind
        shape = (self._rows, columns)
        np.lib.format.write_array_header_1_0(
            self._stream, {"descr": dtype.str, "fortran_order": False, "shape": shape}
        )


@contextmanager
def row_file(path: str | os.PathLike[str]) -> Iterator[RowFile]:
    """A `RowFile` that becomes `path` in one step when the block ends well; else nothing stays.

    Raises:
        ValueError: `path` does not end in .npy, is a folder, or its folder does not exist.

    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with row_file(f"{folder}/x.npy") as rows:
    ...         rows.append(torch.ones(2, 3))
    ...     np.load(f"{folder}/x.npy").shape
    (2, 3)
    """
    target = Path(path)
    if target.suffix != ".npy" or target.is_dir() or not target.parent.is_dir():
        raise ValueError(f"memmap must be a file .npy in an existing folder, got {str(path)!r}")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            rows = RowFile(stream)
            yield rows
            rows.close()
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
