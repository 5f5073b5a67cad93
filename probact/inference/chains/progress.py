"""One line of progress for all chains, wherever they run."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm.auto import tqdm

from probact.inference.chains.recording import Words

__all__ = ["Tick", "progress_line"]

Tick = Callable[[int, int, Words], None]  # chain, iterations it has made, what to say of it

_SECONDS = 0.25  # between two looks at a chain, whose log joint density is not free


@contextmanager
def progress_line(chains: int, iterations: int, progress: bool) -> Iterator[Tick]:
    """A line on stderr, none where stderr is no terminal.

    >>> with progress_line(2, 10, progress=False) as tick:
    ...     tick(0, 1, dict)
    """
    made = [0] * chains
    told = 0.0
    with tqdm(total=chains * iterations, disable=None if progress else True) as line:

        def tick(chain: int, iteration: int, words: Words) -> None:
            nonlocal told
            if line.disable:
                return
            step, made[chain] = iteration - made[chain], iteration
            if time.monotonic() - told > _SECONDS:
                told = time.monotonic()
                line.set_description(f"chain {chain + 1}/{chains}", refresh=False)
                line.set_postfix(_shown(words()), refresh=False)
            line.update(step)

        yield tick


def _shown(words: Any) -> dict[str, Any]:
    """Numbers short enough for the line."""
    return {name: f"{v:.6g}" if isinstance(v, float) else v for name, v in words.items()}
