"""From the steps of a chain to the rows that are kept, in batches.

A `Recorder` serves chains of every kind: it gathers the rows of one chain, hands them on when a
batch is due, and ends the chain after the current step when it is asked to stop.
"""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from probact.inference.chains.plan import Plan
from probact.inference.chains.store import Table

__all__ = ["Batch", "Outlet", "Recorder", "Saved", "Stopped"]

Every = int | timedelta  # iterations, or time, between two batches
Words = Callable[[], Mapping[str, Any]]  # what the progress line says of a chain


class Batch(NamedTuple):
    """The rows that a chain kept since its last batch, and where it stands now.

    Names are "draws/<site>" and "stats/<statistic>"; start is how the chain began (once).
    """

    chain: int
    position: int  # steps made
    rows: Mapping[str, Table]  # "warmup" and "draws"
    state: dict[str, np.ndarray]  # all that the next step needs; empty where it cannot be saved
    start: dict[str, Any]


class Saved(NamedTuple):
    """Where a chain was left: steps made, and the arrays of the state after them."""

    position: int
    state: dict[str, np.ndarray]


class Outlet(NamedTuple):
    """Where the chains' rows go, how often, and who may stop them.

    states: whether a batch carries the state as well, without which it cannot be gone on from.
    """

    emit: Callable[[Batch], None]
    every: Every
    tick: Callable[[int, int, Words], None]  # chain, iterations made, words
    stopped: Callable[[], bool]
    states: bool = False


class Stopped(Exception):
    """The chain was asked to stop; all of its rows have been handed on."""


class Recorder:
    """The rows of one chain on their way out.

    >>> batches = []
    >>> outlet = Outlet(batches.append, 2, lambda *words: None, lambda: False)
    >>> recorder = Recorder(0, Plan(draws=2, tune=0, thin=1, save_warmup=False), outlet)
    >>> for value in (1.0, 2.0):
    ...     recorder.keep("draws", {"mu": np.array(value)}, {})
    ...     recorder.step()
    >>> batches[0].rows["draws"]
    {'draws/mu': array([1., 2.])}
    """

    def __init__(self, chain: int, plan: Plan, outlet: Outlet, position: int = 0) -> None:
        self.position = position
        self.start: dict[str, Any] = {}
        self._chain, self._plan, self._outlet = chain, plan, outlet
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._forget()

    def keep(self, part: str, draw: Mapping[str, Any], stats: Mapping[str, float]) -> None:
        """One row: the values of a draw by site, and numbers about its step.

        Raises: ValueError when names or shapes are not those of the rows before.
        """
        row = {f"draws/{name}": as_row(value) for name, value in draw.items()}
        row |= {f"stats/{name}": np.asarray(value) for name, value in stats.items()}
        self._check(part, row)
        self._rows[part].append(row)

    def step(
        self,
        steps: int = 1,
        save: Callable[[], dict[str, np.ndarray]] = dict,
        words: Words = dict,
    ) -> None:
        """Count steps; hand the rows on where that is due.

        Raises: Stopped when the chain is to end before its last step.
        """
        self.position += steps
        iteration = self._plan.iteration(self.position)
        self._outlet.tick(self._chain, iteration, words)
        ends, stopped = self.position >= self._plan.steps, self._outlet.stopped()
        if ends or stopped or self._due(iteration):
            self._hand_on(save)
        if stopped and not ends:
            raise Stopped

    def check(self) -> None:
        """Raises: Stopped when the chain is to end, before its first step."""
        if self._outlet.stopped():
            raise Stopped

    def _hand_on(self, save: Callable[[], dict[str, np.ndarray]]) -> None:
        """Emit a batch, unless there is nothing in it."""
        tables = {part: _table(rows) for part, rows in self._rows.items()}
        if self._outlet.states or any(tables.values()):
            state = save() if self._outlet.states else {}
            self._outlet.emit(Batch(self._chain, self.position, tables, state, self.start))
        self._forget()

    def _due(self, iteration: int) -> bool:
        every = self._outlet.every
        if isinstance(every, timedelta):
            return time.monotonic() - self._since >= every.total_seconds()
        return iteration - self._from >= every

    def _forget(self) -> None:
        """Begin a batch."""
        self._rows: dict[str, list[dict[str, np.ndarray]]] = {"warmup": [], "draws": []}
        self._since, self._from = time.monotonic(), self._plan.iteration(self.position)

    def _check(self, part: str, row: Mapping[str, np.ndarray]) -> None:
        """Refuse a row that does not fit under those before."""
        shapes = {f"{part}/{name}": value.shape for name, value in row.items()}
        known = {name: s for name, s in self._shapes.items() if name.startswith(f"{part}/")}
        if known and set(known) != set(shapes):
            names = sorted(name.split("/", 2)[2] for name in set(known) ^ set(shapes))
            raise ValueError(f"the kernel records {names} at some steps only")
        for name, shape in shapes.items():
            if shape != known.get(name, shape):
                index = self._plan.rows(self.position)[part]
                raise ValueError(
                    f"the kernel changed the shape of {name.split('/', 2)[2]!r} at draw {index}"
                    f" from {known[name]} to {shape}"
                )
        self._shapes |= shapes


def as_row(value: Any) -> np.ndarray:
    """A value as an array of its own on the CPU."""
    return np.array(value.detach().cpu().numpy() if isinstance(value, Tensor) else value)


def _table(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Rows (n, ...) by name."""
    return {name: np.stack([row[name] for row in rows]) for name in (rows[0] if rows else ())}
