"""Probabilities of chosen classes for many versions of each image, batch by batch.

Symbols: N images; V versions of each; J classes asked of an image; p (N, V, J) softmax
probabilities.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from probact.arrays import check_count, check_finite
from probact.capturing.passes import place, run, undisturbed, unwrap
from probact.models.neuron_split.node_values import image_classes

__all__ = ["class_probs"]


def class_probs(
    net: nn.Module,
    versions: Iterable[Tensor],
    cls: object,
    shape: tuple[int, int],
    batch_size: int,
) -> Tensor:
    """p (N, V, J), float64, for (N, V) = shape versions (..., C, H, W) in parts, image by image.

    J is 1 for one class or (N,) of them. The network is left as it was.

    Raises:
        TypeError: net is no module, or cls holds no whole numbers.
        ValueError: cls is not one class, (N,) or (N, J), a class is not there, the network cannot
            take the images, or gives no finite (rows, K).

    >>> asked = [[0, 1], [2, 3], [0, 3]]
    >>> p = class_probs(nn.Flatten(), [torch.zeros(6, 4, 1, 1)], asked, (3, 2), 5)
    >>> p.shape, p[0, 0, 0]
    (torch.Size([3, 2, 2]), tensor(0.2500, dtype=torch.float64))
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"net must be a torch module, got {type(net).__name__}")
    check_count(batch_size, "batch_size")
    net, (n, each) = unwrap(net), shape
    parts: list[Tensor] = []
    row = 0
    with undisturbed(net):
        for batch in _batches(versions, batch_size):
            log_p = _logits(run(net, [place(batch, net)], {}, "x"), len(batch)).log_softmax(1)
            classes = image_classes(cls, n, log_p.shape[1])
            chosen = classes[torch.arange(row, row + len(batch)) // each]  # (rows, J)
            parts.append(log_p.gather(1, chosen.to(log_p.device)).exp().to(batch.device))
            row += len(batch)
    return torch.cat(parts).reshape(n, each, -1)


def _batches(versions: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """The same rows in batches of `size`, the last one of what is left."""
    held: list[Tensor] = []
    count = 0
    for part in versions:
        for piece in part.split(size):
            held.append(piece)
            count += len(piece)
            if count >= size:
                rows = torch.cat(held)
                yield rows[:size]
                held, count = [rows[size:]], count - size
    if count:
        yield torch.cat(held)


def _logits(output: object, rows: int) -> Tensor:
    output = getattr(output, "logits", output)
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != rows:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"net must give scores ({rows}, K), got {shape}")
    check_finite(output, "the network's scores")
    return output.double()
