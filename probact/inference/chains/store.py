"""Draws of all chains in memory, in one array per variable."""

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["Store", "Table"]

Table = Mapping[str, np.ndarray]  # variable -> rows (n, ...) of one chain


class Store:
    """Rows of `chains` chains; the memory is taken once, at the first rows of a variable.

    >>> store = Store(2, 3)
    >>> store.add(0, {"mu": np.ones(2)})
    >>> store.counts, store.trimmed(store.chains)["mu"].shape
    ([2, 0], (1, 2))
    """

    def __init__(self, chains: int, rows: int) -> None:
        self.counts = [0] * chains
        self._rows = rows
        self._arrays: dict[str, np.ndarray] = {}  # (chains, rows, ...)

    def add(self, chain: int, table: Table) -> None:
        """Rows (n, ...) after those that the chain has.

        Raises: ValueError for more rows than the store has room for.
        """
        start = self.counts[chain]
        for name, block in table.items():
            if start + len(block) > self._rows:
                raise ValueError(f"{name!r} has {start + len(block)} rows, not {self._rows}")
            array = self._array(name, block)
            array[chain, start : start + len(block)] = block
            self.counts[chain] = start + len(block)

    def trimmed(self, chains: Sequence[int]) -> dict[str, np.ndarray]:
        """Variables (chains, rows, ...) of some chains, cut to the shortest of them."""
        rows = min(self.counts[chain] for chain in chains)
        if (len(chains), rows) == (len(self.counts), self._rows):
            return dict(self._arrays)
        return {name: array[list(chains), :rows] for name, array in self._arrays.items()}

    @property
    def chains(self) -> Sequence[int]:
        """The chains that have rows."""
        return [chain for chain, count in enumerate(self.counts) if count]

    @property
    def shortest(self) -> int:
        """Rows of the shortest of them; 0 where there is none."""
        return min((count for count in self.counts if count), default=0)

    def _array(self, name: str, block: np.ndarray) -> np.ndarray:
        """The array of a variable, wide enough for the block's dtype."""
        if name not in self._arrays:
            shape = (len(self.counts), self._rows, *block.shape[1:])
            self._arrays[name] = np.empty(shape, block.dtype)
        dtype = np.result_type(self._arrays[name], block)
        if dtype != self._arrays[name].dtype:
            self._arrays[name] = self._arrays[name].astype(dtype)
        return self._arrays[name]
