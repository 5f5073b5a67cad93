"""How many CPU threads a chain of small steps gets."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

__all__ = ["threads_for"]

_SMALL = 1 << 20  # elements of data; below it a second thread costs more than it computes


@contextmanager
def threads_for(args: tuple[Any, ...]) -> Iterator[None]:
    """One thread while the data are small, then the caller's number again.

    A leapfrog step is some hundred operations of microseconds: with more threads they wait for
    each other, ten times longer than they compute on a busy machine.

    >>> before = torch.get_num_threads()
    >>> with threads_for((torch.zeros(100, 2),)):
    ...     torch.get_num_threads()
    1
    >>> torch.get_num_threads() == before
    True
    """
    before = torch.get_num_threads()
    small = sum(arg.numel() for arg in args if isinstance(arg, Tensor)) < _SMALL
    torch.set_num_threads(1 if small else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
