r"""How much of a generated sample is plausible, and how much of the real one it covers.

Symbols: x (N, D) features of real rows, y (M, D) of generated ones; B(x_i) the ball around x_i
that reaches to its k-th nearest other real row, B(y_j) likewise among the generated.

    precision   share of y_j in some B(x_i)                    Kynkaanniemi et al. 2019, eq. (1-2)
    recall      share of x_i in some B(y_j)
    density     mean number of balls B(x_i) around y_j, / k     Naeem et al. 2020, eq. (4)
    coverage    share of B(x_i) that hold some y_j              eq. (5)

An outlier among the generated rows has a large ball, which flatters recall; density and coverage
use balls around real rows only.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from probact.analysis.neighbours import as_rows, nearest, squared_distances
from probact.arrays import check_count

__all__ = ["PrecisionRecall", "Share", "precision_recall"]


class Share(NamedTuple):
    """A mean over rows and its standard error, with the other sample and the balls as given."""

    mean: float
    standard_error: float


class PrecisionRecall(NamedTuple):
    """The four readings; precision, recall and coverage in [0, 1], density around 1 at best."""

    precision: Share  # over generated rows
    recall: Share  # over real rows
    density: Share  # over generated rows; above 1 where they crowd among the real
    coverage: Share  # over real rows


def precision_recall(real: Any, generated: Any, *, k: int = 3) -> PrecisionRecall:
    """Improved precision and recall, density and coverage of generated against real rows.

    real (N, D), generated (M, D): features, such as `probact.capture(net, images).x`, or images
    (N, ...). Works in float64, and in blocks: N x M distances are never held. Balls are closed:
    distances equal up to rounding count as inside. All depend on N and M: compare at equal sizes.

    Raises:
        TypeError: no arrays.
        ValueError: not finite, different widths, or fewer than k + 1 rows; k < 1.

    >>> x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    >>> narrow = precision_recall(x, 0.1 * x)  # plausible, but one corner of what is real
    >>> narrow.precision.mean > 0.95, narrow.recall.mean < 0.15
    (True, True)
    """
    check_count(k, "k")
    x = as_rows(real, "real")
    y = as_rows(generated, "generated", x.shape[1]).to(x.device)
    for name, rows in (("real", x), ("generated", y)):
        if len(rows) <= k:
            raise ValueError(
                f"{name} must have at least {k + 1} rows for k = {k}, got {len(rows)}"
            )
    unit = 2.0 ** math.frexp(max(float(x.abs().max()), float(y.abs().max())))[1]
    centre = (x / unit).mean(0)
    x, y = x / unit - centre, y / unit - centre
    x_radius, y_radius = (nearest(rows, rows, k, same=True)[0][:, -1] for rows in (x, y))
    balls_around_y, covered = y.new_zeros(len(y)), x.new_zeros(len(x), dtype=torch.bool)
    recalled = torch.zeros_like(covered)
    for at, squared, slack in squared_distances(x, y):
        in_ball_of_x = squared <= x_radius[at, None].square() + slack  # (B, M)
        balls_around_y += in_ball_of_x.sum(0)
        covered[at] = in_ball_of_x.any(1)
        recalled[at] = (squared <= y_radius.square() + slack).any(1)
    return PrecisionRecall(
        precision=_share(balls_around_y > 0),
        recall=_share(recalled),
        density=_share(balls_around_y / k),
        coverage=_share(covered),
    )


def _share(values: Tensor) -> Share:
    values = values.double()
    return Share(float(values.mean()), float(values.std()) / len(values) ** 0.5)
