r"""Maximum likelihood of the laws of a ReLU's output, for thousands of units at once.

Symbols: a (N, n) values >= 0 of n units; N_0 zeros, N_+ others with sums S_1, S_2 of values and of
squares; g = loc / scale, e = 1 / scale. These five numbers are all that two of the laws need.

rectified         the Tobit log-likelihood N_+ log e - sum (e y - g)^2 / 2 + N_0 log Phi(-g) is
                  concave in (g, e) (Olsen 1978). Best e, (g S_1 + sqrt(g^2 S_1^2 + 4 N_+ S_2)) /
                  (2 S_2), leaves a root of a decreasing function of g.
hurdle truncated  p = N_+ / N, and the truncated normal whose mean and variance are those of y. It
                  exists where the variance is below the squared mean; else the supremum is that of
                  the exponential law, its limit as loc goes to minus infinity.
hurdle folded     p = N_+ / N, and loc > 0 where the kurtosis mean y^4 / (mean y^2)^2 is below 3,
                  else loc = 0: the half-normal, scale^2 = mean y^2.
"""

import math
from typing import Any, NamedTuple

import torch
from scipy import stats
from torch import Tensor

from probact.arrays import as_matrix, as_tensor
from probact.distributions.normal_tail import excess_moments

__all__ = ["ActiveSums", "RectifiedFit", "RectifiedTest", "active_sums", "fit_hurdle_folded",
           "fit_hurdle_truncated", "fit_rectified", "rectified_test"]  # fmt: skip

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
_HALVINGS = 100  # of an interval, down to the rounding of its middle


class ActiveSums(NamedTuple):
    """Sufficient numbers of n units, each (n,) float64: N_+, S_1, S_2; of N rows.

    `probact.analysis.patterns.score_moments` collects them over a data set of any size.
    """

    num_rows: int
    active: Tensor
    first: Tensor
    second: Tensor

    @property
    def spread(self) -> Tensor:
        """Variance of the active values over their squared mean, (n,)."""
        return (self.second * self.active / self.first.square() - 1.0).clamp_min(0.0)


class RectifiedFit(NamedTuple):
    """Estimates (n,) and log-likelihood (n,) in nats; NaN where none exists, see `exists`.

    `exponential` marks truncated fits at their limit, the exponential law: loc is -inf, scale inf,
    and log_likelihood the supremum. `half_normal` marks folded fits with loc = 0.
    """

    prob: Tensor
    loc: Tensor
    scale: Tensor
    log_likelihood: Tensor
    exists: Tensor
    exponential: Tensor
    half_normal: Tensor


class RectifiedTest(NamedTuple):
    """Likelihood ratio of the rectified law in the hurdle truncated one, each (n,).

    `statistic` is twice the difference in nats, `p_value` its chi-square tail with one degree of
    freedom.
    Both are NaN for units without zeros or with one value. `exponential` marks units of which the
    larger law is at its limit, where the chi-square tail is no p-value: NaN too.
    """

    statistic: Tensor
    p_value: Tensor
    exponential: Tensor


def active_sums(a: Any) -> ActiveSums:
    """N_+, S_1 and S_2 of values a (N, n) or (N,).

    Raises:
        TypeError: no array.
        ValueError: values below zero or not finite.

    >>> active_sums([[0.0], [1.0], [2.0]]).second
    tensor([5.], dtype=torch.float64)
    """
    x = _values(a)
    return ActiveSums(len(x), (x > 0).sum(0).double(), x.sum(0), x.square().sum(0))


def fit_rectified(sums: ActiveSums) -> RectifiedFit:
    """Tobit estimates of `RectifiedNormal` (Tobin 1958).

    None exists for units that are zero on all rows, or have one value and no zero.

    Raises: TypeError: no `ActiveSums`.

    >>> fit = fit_rectified(active_sums([0.0, 0.0, 1.0, 2.0]))
    >>> fit.loc, fit.scale
    (tensor([0.1892], dtype=torch.float64), tensor([1.4887], dtype=torch.float64))
    """
    ones, first, second = _checked(sums)
    zeros = sums.num_rows - ones
    exists = (ones > 0) & ((zeros > 0) | (sums.spread > 1e-14))
    slope = torch.where(exists, first, 1.0)
    square = torch.where(exists, second, 2.0)
    count = torch.where(exists, ones, 1.0)

    def inverse_scale(g: Tensor) -> Tensor:
        root = (g.square() * slope.square() + 4.0 * count * square).sqrt()
        return torch.where(
            g > 0, (g * slope + root) / (2.0 * square), 2.0 * count / (root - g * slope)
        )

    def score(g: Tensor) -> Tensor:
        hazard = g + excess_moments(g)[0]  # phi(g) / Phi(-g)
        return inverse_scale(g) * slope - count * g - zeros * hazard

    g = _root(score, torch.zeros_like(slope))
    e = inverse_scale(g)
    inside = -0.5 * (e.square() * second - 2.0 * e * g * first + ones * g.square())
    outside = torch.where(zeros > 0, zeros * torch.special.log_ndtr(-g), 0.0)
    log_likelihood = ones * (e.log() - _HALF_LOG_TWO_PI) + inside + outside
    return _fit(torch.special.ndtr(g), g / e, 1.0 / e, log_likelihood, exists)


def fit_hurdle_truncated(sums: ActiveSums) -> RectifiedFit:
    """Estimates of `HurdleTruncatedNormal`.

    None exists for units with no active row, or one active value.

    Raises: TypeError: no `ActiveSums`.

    >>> fit = fit_hurdle_truncated(active_sums([0.0, 1.0, 2.0, 3.0]))
    >>> fit.loc, fit.scale
    (tensor([1.9785], dtype=torch.float64), tensor([0.8424], dtype=torch.float64))
    """
    ones, first, second = _checked(sums)
    exists = (ones > 0) & (sums.spread > 1e-14)
    spread = torch.where(exists, sums.spread, 0.5)
    exponential = exists & (spread >= 1.0)
    inner = spread.clamp_max(1.0 - 1e-12)

    def gap(t: Tensor) -> Tensor:
        mean, variance = excess_moments(t)
        return inner - variance / mean.square()  # which rises to 1 with t

    t = _root(gap, torch.zeros_like(inner))
    excess = excess_moments(t)[0]
    scale = torch.where(exists, first / ones / excess, torch.nan)
    loc = -t * scale
    k, e = -t, 1.0 / scale
    inside = -0.5 * (e.square() * second - 2.0 * e * k * first + ones * k.square())
    truncated = ones * (e.log() - _HALF_LOG_TWO_PI - torch.special.log_ndtr(k)) + inside
    limit = -ones * ((first / ones).log() + 1.0)
    log_likelihood = _hurdle(sums) + torch.where(exponential, limit, truncated)
    loc = torch.where(exponential, -torch.inf, loc)
    scale = torch.where(exponential, torch.inf, scale)
    return _fit(ones / sums.num_rows, loc, scale, log_likelihood, exists, exponential)


def fit_hurdle_folded(a: Any) -> RectifiedFit:
    """Estimates of `HurdleFoldedNormal` for values a (N, n) or (N,), loc >= 0.

    None exists for units with no active row, or one active value.

    Raises: as `active_sums`.

    >>> fit = fit_hurdle_folded([0.0, 0.1, 0.1, 0.1, 0.2, 3.0])
    >>> fit.loc, fit.half_normal
    (tensor([0.], dtype=torch.float64), tensor([True]))
    """
    x = _values(a)
    sums = active_sums(x)
    ones, second = sums.active, sums.second / sums.active
    exists = (ones > 0) & (sums.spread > 1e-14)
    folded = x.pow(4).sum(0) / ones < 3.0 * second.square()
    active = x > 0
    low, high = torch.zeros_like(ones), torch.where(exists, sums.first / ones, 1.0)
    for _ in range(_HALVINGS):  # of m with mean of y tanh(m y / s^2) = m, s^2 = mean y^2 - m^2
        m = 0.5 * (low + high)
        tangent = torch.tanh(x * (m / (second - m.square())))
        above = (x * tangent).sum(0) / ones > m
        low, high = torch.where(above, m, low), torch.where(above, high, m)
    loc = torch.where(folded, 0.5 * (low + high), 0.0)
    variance = second - loc.square()
    both = torch.logaddexp(-0.5 * (x - loc).square() / variance,
                           -0.5 * (x + loc).square() / variance)  # fmt: skip
    inside = (both * active).sum(0) - ones * (0.5 * variance.log() + _HALF_LOG_TWO_PI)
    prob, log_likelihood = ones / len(x), _hurdle(sums) + inside
    return _fit(prob, loc, variance.sqrt(), log_likelihood, exists, half_normal=exists & ~folded)


def rectified_test(sums: ActiveSums) -> RectifiedTest:
    """Is the mass at zero what the normal law of the pre-activations predicts? (Cragg 1971)

    Raises: TypeError: no `ActiveSums`.

    >>> generator = torch.Generator().manual_seed(0)
    >>> h = torch.randn(1000, 1, generator=generator, dtype=torch.float64)
    >>> bool(rectified_test(active_sums(h.relu())).p_value > 0.05)
    True
    """
    small, large = fit_rectified(sums), fit_hurdle_truncated(sums)
    usable = small.exists & large.exists & (sums.active < sums.num_rows)
    statistic = 2.0 * (large.log_likelihood - small.log_likelihood).clamp_min(0.0)
    statistic = torch.where(usable, statistic, torch.nan)
    p_value = torch.from_numpy(stats.chi2.sf(statistic.numpy(), 1))
    p_value = torch.where(large.exponential, torch.nan, p_value)
    return RectifiedTest(statistic, p_value, large.exponential)


def _hurdle(sums: ActiveSums) -> Tensor:
    """Log-likelihood of which rows are active, at p = N_+ / N."""
    p = sums.active / sums.num_rows
    zeros = sums.num_rows - sums.active
    chosen: Tensor = torch.special.xlogy(sums.active, p) + torch.special.xlogy(zeros, 1.0 - p)
    return chosen


def _root(function: Any, start: Tensor) -> Tensor:
    """Root of a decreasing function of each unit, between +-1e8, by halving in asinh."""
    low, high = start - 20.0, start + 20.0
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        positive = function(torch.sinh(middle)) > 0
        low, high = torch.where(positive, middle, low), torch.where(positive, high, middle)
    return torch.sinh(0.5 * (low + high))


def _fit(
    prob: Tensor,
    loc: Tensor,
    scale: Tensor,
    log_likelihood: Tensor,
    exists: Tensor,
    exponential: Tensor | None = None,
    half_normal: Tensor | None = None,
) -> RectifiedFit:
    kept = [torch.where(exists, x, torch.nan) for x in (prob, loc, scale, log_likelihood)]
    none = torch.zeros_like(exists)
    flags = (none if exponential is None else exponential, none if half_normal is None else
             half_normal)  # fmt: skip
    return RectifiedFit(kept[0], kept[1], kept[2], kept[3], exists, *flags)


def _values(a: Any) -> Tensor:
    x = as_tensor(a, "a")
    x = as_matrix(x[:, None] if x.ndim == 1 else x, "a").double().cpu()
    if bool((x < 0).any()):
        raise ValueError(f"a must not be negative, got {float(x.min()):g}")
    return x


def _checked(sums: ActiveSums) -> tuple[Tensor, Tensor, Tensor]:
    if not isinstance(sums, ActiveSums):
        raise TypeError(f"sums must be ActiveSums, got {type(sums).__name__}")
    return sums.active, sums.first, sums.second
