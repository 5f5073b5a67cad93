"""The states of all random streams that a training draws from."""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Generator
from torch.utils.data import DataLoader

__all__ = ["loader_generators", "random_states", "restarted", "set_random_states"]


def random_states(own: Sequence[Generator]) -> dict[str, Any]:
    """States of torch (CPU and CUDA), NumPy and Python, and of the generators `own`.

    >>> list(random_states([]))
    ['torch', 'cuda', 'numpy', 'python', 'own']
    """
    with_cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    kind, words, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.random.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if with_cuda else [],
        "numpy": (kind, torch.from_numpy(np.array(words, dtype=np.int64)), *rest),
        "python": random.getstate(),
        "own": [generator.get_state() for generator in own],
    }


def set_random_states(states: Mapping[str, Any], own: Sequence[Generator]) -> None:
    """Put the streams where they were.

    >>> states = random_states([])
    >>> first = torch.rand(())
    >>> set_random_states(states, [])
    >>> bool(torch.rand(()) == first)
    True
    """
    torch.random.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
    kind, words, *rest = states["numpy"]
    np.random.set_state((kind, words.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    random.setstate(states["python"])
    for generator, state in zip(own, states["own"], strict=True):
        generator.set_state(state)


def loader_generators(data: Any) -> list[Generator]:
    """Generators that a DataLoader was given, itself or for its sampler.

    >>> len(loader_generators(DataLoader([1, 2], shuffle=True, generator=Generator())))
    1
    """
    if not isinstance(data, DataLoader):
        return []
    batch_sampler = getattr(data, "batch_sampler", None)
    parts = [data, data.sampler, batch_sampler, getattr(batch_sampler, "sampler", None)]
    found = (getattr(part, "generator", None) for part in parts)
    return list({id(g): g for g in found if isinstance(g, Generator)}.values())


@contextmanager
def restarted(generators: Sequence[Generator], seed: int) -> Iterator[None]:
    """The generators from `seed` in the block; afterwards they are where they were.

    >>> generator = Generator().manual_seed(3)
    >>> with restarted([generator], 0):
    ...     generator.initial_seed()
    0
    >>> generator.initial_seed()
    3
    """
    states = [generator.get_state() for generator in generators]
    try:
        for generator in generators:
            generator.manual_seed(seed)
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
