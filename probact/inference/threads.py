"""How many CPU threads a chain of small steps gets."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

__all__ = ["limited_threads", "threads_for"]

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
    small = sum(arg.numel() for arg in args if isinstance(arg, Tensor)) < _SMALL
    with limited_threads(1 if small else torch.get_num_threads()):
        yield


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """`count` threads of torch and of the BLAS that compiled code calls: sums depend on both.

    >>> with limited_threads(1):
    ...     torch.get_num_threads()
    1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
