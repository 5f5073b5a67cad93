"""Error bars over images: the bootstrap of a mean."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from probact.arrays import as_number, as_tensor, check_count, check_finite, check_seed

__all__ = ["Interval", "bootstrap_mean"]


class Interval(NamedTuple):
    """A mean over images and its bootstrap interval; each (...)."""

    mean: Tensor
    low: Tensor
    high: Tensor


def bootstrap_mean(
    values: Tensor, *, level: float = 0.95, num_resamples: int = 2000, seed: int = 0
) -> Interval:
    """Mean over the N images of values (N, ...) and its percentile bootstrap interval.

    Differences between two maps of the same images are values too: their interval is narrower
    than those of the two means let expect.

    Raises: ValueError for fewer than two images, NaN, or a level outside (0, 1).

    >>> [round(float(x), 2) for x in bootstrap_mean(torch.tensor([1.0, 2.0, 3.0, 6.0]))]
    [3.0, 1.5, 5.0]
    """
    x = as_tensor(values, "values").double()
    if x.ndim == 0 or len(x) < 2:
        raise ValueError(f"values must hold two images or more, got shape {tuple(x.shape)}")
    check_finite(x, "values")
    check_count(num_resamples, "num_resamples")
    check_seed(seed)
    if not 0.0 < as_number(level, "level") < 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    generator = Generator(x.device).manual_seed(seed)
    shape = (num_resamples, len(x))
    rows = torch.randint(len(x), shape, generator=generator, device=x.device)
    means = torch.stack([x[chosen].mean(0) for chosen in rows])  # (S, ...)
    tail = 0.5 * (1.0 - level)
    return Interval(x.mean(0), means.quantile(tail, 0), means.quantile(1.0 - tail, 0))
