"""Pre-activations of all gates of a network as one differentiable row per input."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from probact.analysis.patterns.gate_passes import checked_network
from probact.analysis.patterns.gates import Gate
from probact.analysis.patterns.recording import record
from probact.analysis.regions.local_affine import as_input
from probact.capturing.passes import place

__all__ = ["as_pairs", "gate_scores", "without_gradients"]


def gate_scores(net: nn.Module, x: Tensor, layers: Sequence[str] | None = None) -> Tensor:
    """Scores h - t (N, B) of inputs x (N, *input), in the layout of `Pattern.bits`.

    A bit is set where its score is positive. The choices of max-pooling are left out; `layers` are
    those of `Pattern.select`, all without.

    Raises: as `record` and `Pattern.select`; ValueError where the only gates are choices.
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU()).eval()
    >>> x = torch.ones(4, 2)
    >>> torch.equal(gate_scores(net, x), net[0](x))
    True
    """
    with record(net, keep_scores=True) as recording:
        net(x)
    pairs = zip(recording.pattern.gates, recording.scores, strict=True)
    chosen = recording.pattern.select(layers, choices=False).names
    return torch.cat([_rows(gate, score) for gate, score in pairs if gate.name in chosen], 1)


@contextmanager
def without_gradients(net: nn.Module) -> Iterator[None]:
    """No gradients of the parameters in the block.

    >>> net = nn.Linear(1, 1)
    >>> with without_gradients(net):
    ...     net(torch.ones(1, 1)).requires_grad
    False
    """
    wanted = [(p, p.requires_grad) for p in net.parameters()]
    try:
        for p, _ in wanted:
            p.requires_grad_(False)
        yield
    finally:
        for p, before in wanted:
            p.requires_grad_(before)


def as_pairs(
    net: nn.Module, x0: Any, x1: Any, names: tuple[str, str] = ("x0", "x1")
) -> tuple[Tensor, Tensor]:
    """Two batches (P, *input) of one shape, in the type and on the device of the network.

    Raises: TypeError or ValueError for what is not finite, or of different shapes, and for a
        network in training mode.
    """
    checked_network(net)
    first, second = as_input(x0, names[0]), as_input(x1, names[1])
    if first.shape != second.shape or first.ndim < 2:
        shapes = tuple(first.shape), tuple(second.shape)
        raise ValueError(f"{' and '.join(names)} must be batches of one shape, got {shapes}")
    return place(first, net), place(second, net)


def _rows(gate: Gate, score: Tensor) -> Tensor:
    if score.ndim < 1 or len(score) != len(gate.state):
        raise ValueError(f"{gate.name} has no row per input")
    return score.flatten(1)
