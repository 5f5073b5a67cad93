"""Seeds: one spawned stream per chain, and the caller's streams put back afterwards.

Symbols: seed >= 0, one integer per run; child seeds from `numpy.random.SeedSequence.spawn`, so
that chain 1 of seed 0 is not chain 0 of seed 1 (Pyro's own `seed + chain` makes them equal).
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.random import SeedSequence

from probact.arrays import check_seed

__all__ = ["seeded", "spawn_seeds"]


def spawn_seeds(seed: int, count: int) -> list[SeedSequence]:
    """Independent child seeds (count,) of one seed; the first k do not depend on count.

    Raises: ValueError for a seed that is not an integer in [0, 2^63).
    >>> [child.spawn_key for child in spawn_seeds(0, 2)]
    [(0,), (1,)]
    """
    check_seed(seed)
    return SeedSequence(seed).spawn(count)


@contextmanager
def seeded(seed: SeedSequence) -> Iterator[None]:
    """Run a block on random streams of `seed`; the caller's (torch, numpy, python) come back.

    >>> before = torch.random.get_rng_state()
    >>> with seeded(SeedSequence(0)):
    ...     first = torch.rand(())
    >>> torch.equal(before, torch.random.get_rng_state())
    True
    """
    with_cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    devices = range(torch.cuda.device_count()) if with_cuda else []
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    torch_word, numpy_word, python_word = (int(w) for w in seed.generate_state(3, np.uint64))
    try:
        with torch.random.fork_rng(devices=devices):
            # not torch.manual_seed, which also reseeds a CUDA that starts later
            torch.default_generator.manual_seed(torch_word >> 1)
            if with_cuda:
                torch.cuda.manual_seed_all(torch_word >> 1)
            random.seed(python_word)
            np.random.seed(numpy_word >> 32)  # noqa: NPY002
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
