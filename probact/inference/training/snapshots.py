"""Copies of all tensors of a module, and its mode, to be put back."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.parameter import is_lazy

__all__ = ["buffers_kept", "in_evaluation", "module_tensors", "put_back", "snapshot"]


def module_tensors(module: Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, those that `state_dict` leaves out too.

    >>> list(module_tensors(torch.nn.Linear(1, 1)))
    ['weight', 'bias']
    """
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def snapshot(module: Module) -> dict[str, Tensor]:
    """Copies of the tensors of the module.

    >>> snapshot(torch.nn.Linear(1, 1))["bias"].requires_grad
    False
    """
    return {name: value.detach().clone() for name, value in module_tensors(module).items()}


def put_back(module: Module, saved: Mapping[str, Tensor]) -> None:
    """Write the saved values into the tensors of the module, which stay the same objects.

    >>> net = torch.nn.Linear(1, 1)
    >>> put_back(net, {"weight": torch.ones(1, 1), "bias": torch.zeros(1)})
    >>> net(torch.ones(1)).tolist()
    [1.0]
    """
    with torch.no_grad():
        for name, value in module_tensors(module).items():
            value.copy_(saved[name])


@contextmanager
def buffers_kept(module: Module) -> Iterator[None]:
    """Every buffer is the tensor that it was, with its values, after the block.

    >>> norm = torch.nn.BatchNorm1d(2)
    >>> with buffers_kept(norm):
    ...     _ = norm(torch.ones(3, 2))
    >>> norm.running_mean.tolist()
    [0.0, 0.0]
    """
    kept = [
        (part, name, value, value.detach().clone())
        for part in module.modules()
        for name, value in part.named_buffers(recurse=False)
        if not is_lazy(value)  # has no values yet
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for part, name, value, before in kept:
                setattr(part, name, value)
                if not torch.equal(value, before):
                    value.copy_(before)


@contextmanager
def in_evaluation(module: Module) -> Iterator[None]:
    """Evaluation mode in the block; every part's own mode comes back.

    >>> net = torch.nn.Dropout()
    >>> with in_evaluation(net):
    ...     net.training
    False
    >>> net.training
    True
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
