"""What draws of a last layer say about new rows: blocks of draws and rows, never all at once.

Symbols: x (N, p) rows; S draws of weight (R, p) and bias (R,); psi (s, n, R) of a block.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Generator, Tensor

from probact.distributions.head_likelihood import target_log_prob, target_means
from probact.models.head_draws import HeadDraws

__all__ = ["draw_targets", "mean_log_prob", "mean_targets", "predictor_blocks"]

_BLOCK = 2**20  # numbers in a block of psi


def predictor_blocks(
    x: Tensor, draws: HeadDraws, block: int = _BLOCK
) -> Iterator[tuple[slice, slice, Tensor]]:
    """(draws, rows, psi) of consecutive blocks of at most `block` numbers, or one row.

    >>> one = HeadDraws(torch.ones(1, 2, 3), torch.zeros(1, 2), None)
    >>> [psi.shape for _, _, psi in predictor_blocks(torch.ones(5, 3), one, block=4)]
    [torch.Size([1, 2, 2]), torch.Size([1, 2, 2]), torch.Size([1, 1, 2])]
    """
    count, rows, width = len(draws.weight), len(x), draws.weight.shape[1]
    each = max(1, min(rows, block // width))
    some = max(1, block // (width * each))
    for first in range(0, rows, each):
        span = slice(first, min(first + each, rows))
        for start in range(0, count, some):
            part = slice(start, min(start + some, count))
            weight, bias = draws.weight[part].to(x), draws.bias[part].to(x)
            yield part, span, x[span] @ weight.mT + bias.unsqueeze(-2)


def mean_targets(
    x: Tensor, draws: HeadDraws, likelihood: str, num_classes: int, class_order: Tensor | None
) -> Tensor:
    """Means of y (N, K), averaged over draws.

    >>> one = HeadDraws(torch.zeros(1, 2, 3), torch.zeros(1, 2), None)
    >>> mean_targets(torch.ones(1, 3), one, "softmax", 2, None)
    tensor([[0.5000, 0.5000]])
    """
    total = x.new_zeros(len(x), num_classes)
    for _, span, psi in predictor_blocks(x, draws):
        total[span] += target_means(psi, likelihood, class_order).sum(0)
    return total / len(draws.weight)


def mean_log_prob(
    x: Tensor, y: Tensor, draws: HeadDraws, likelihood: str, class_order: Tensor | None
) -> Tensor:
    """log of the mean over draws of p(y_i | x_i), (N,), nats.

    >>> one = HeadDraws(torch.zeros(1, 2, 3), torch.zeros(1, 2), None)
    >>> mean_log_prob(torch.ones(1, 3), torch.tensor([0]), one, "softmax", None)
    tensor([-0.6931])
    """
    total = x.new_full((len(x),), -torch.inf)
    for part, span, psi in predictor_blocks(x, draws):
        variance = None if draws.variance is None else draws.variance[part].to(psi)
        density = target_log_prob(
            psi, y[span], likelihood, variance=variance, class_order=class_order
        )
        total[span] = torch.logaddexp(total[span], density.logsumexp(0))
    return total - torch.tensor(len(draws.weight)).to(total).log()


def draw_targets(
    x: Tensor,
    draws: HeadDraws,
    num_samples: int,
    likelihood: str,
    class_order: Tensor | None,
    generator: Generator | None,
) -> Tensor:
    """Targets (num_samples, N) or (num_samples, N, K), each set under one random draw.

    >>> one = HeadDraws(torch.zeros(1, 2, 3), torch.tensor([[50.0, 0.0]]), None)
    >>> draw_targets(torch.ones(1, 3), one, 2, "softmax", None, None)
    tensor([[0],
            [0]])
    """
    options: dict[str, Any] = {"generator": generator, "device": x.device}
    drawn = []
    for s in torch.randint(len(draws.weight), (num_samples,), **options).tolist():
        psi = x @ draws.weight[s].T.to(x) + draws.bias[s].to(x)
        means = target_means(psi, likelihood, class_order)
        if draws.variance is not None:
            z = torch.randn(means.shape, dtype=means.dtype, **options)
            drawn.append(means + draws.variance[s].to(x).sqrt() * z)
        elif likelihood == "bernoulli":
            drawn.append(torch.bernoulli(means, generator=generator))
        else:
            drawn.append(torch.multinomial(means, 1, generator=generator).squeeze(-1))
    return torch.stack(drawn)
