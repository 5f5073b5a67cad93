r"""Change every beta of a network over its training.

Symbols: beta in (0, 1), eta = beta / (1 - beta). beta towards 1 turns a soft network hard.
"""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import nn

from probact.arrays import as_number, check_count
from probact.nn.selection.inverse_temperature import InverseTemperature, as_log_eta

__all__ = ["anneal_beta", "beta_schedule"]


def anneal_beta(net: nn.Module, schedule: Iterable[float]) -> Iterator[float]:
    """Set every beta of net to each number of the schedule in turn, and yield it.

    A learned beta is set as well: anneal those that are not (`soften(net, learnable=False)`).

    Raises:
        TypeError: net is no module, schedule no sequence or, at its turn, what is no number.
        ValueError: net has no layer with a beta, or, at its turn, a number outside (0, 1).

    >>> from probact.nn.beta.beta_activations import BetaReLU
    >>> net = nn.Sequential(BetaReLU(learnable=False))
    >>> [round(float(net[0].eta), 3) for beta in anneal_beta(net, (0.5, 0.75, 0.9))]
    [1.0, 3.0, 9.0]
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"net must be a torch.nn.Module, got {type(net).__name__}")
    if not isinstance(schedule, Iterable):
        raise TypeError(f"schedule must be a sequence of numbers, got {schedule!r}")
    layers = [m for m in net.modules() if isinstance(m, InverseTemperature)]
    if not layers:
        raise ValueError(f"{type(net).__name__} has no layer with a beta: soften it first")
    return _annealed(layers, schedule)


def _annealed(layers: list[InverseTemperature], schedule: Iterable[float]) -> Iterator[float]:
    for beta in schedule:
        number = as_number(beta, "beta", -math.inf)
        for layer in layers:
            layer.set_beta(number)
        yield beta


def beta_schedule(first: float, last: float, num_steps: int) -> list[float]:
    """num_steps numbers from first to last, evenly spaced in log eta = logit(beta).

    Raises: ValueError for numbers outside (0, 1), or fewer than two steps.

    >>> [round(beta, 3) for beta in beta_schedule(0.5, 0.9, 3)]
    [0.5, 0.75, 0.9]
    """
    check_count(num_steps, "num_steps", smallest=2)
    ends = [as_log_eta(beta, None, torch.float64) for beta in (first, last)]
    steps = torch.linspace(float(ends[0]), float(ends[1]), num_steps, dtype=torch.float64)
    betas: list[float] = steps.sigmoid().tolist()
    return betas
