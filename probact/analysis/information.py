r"""Complexity of a representation, from its mixture of Student's t laws (Jamroz et al. 2020).

Symbols: p = sum_k w_k t_k mixture of K laws in D dimensions with df v_k, location m_k and scale
matrix S_k; p_i its marginals, mixtures of t with the entries (S_k)_ii; m Gaussian with the ML mean
mu and variances sd^2 of the data, coordinates independent.

    relative entropy   KL(p || m)          = E_p[log p - log m]          (eq. 7)
    total correlation  KL(p || prod_i p_i) = E_p[log p - sum_i log p_i]  (eq. 10)

E_p[log m] is in closed form: under t_k with v_k <= 4, as for a new or a small cluster, the square
in log m has infinite variance, and no number of draws would do. E_p[log p_i] is an integral on the
line, taken by quadrature. What is left is a mean of logarithms of t densities, which have all
moments; it is taken per component, with exact weights, on the difference to what component k alone
would give, whose mean -H(t_k) is known:

    E_p[log p] = sum_k w_k ( log w_k - H(t_k) + E_k[log p / (w_k t_k)] )

For well separated components, or one, nothing is left to draw.
"""

import math
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Generator, Tensor

from probact.analysis.student_t_entropy import marginal_entropies, student_t_entropy
from probact.arrays import as_matrix, check_count, check_seed
from probact.distributions import (
    DiagonalStudentT,
    DiagonalStudentTMixture,
    MultivariateStudentT,
    PosteriorPredictive,
    StudentTMixture,
)

__all__ = ["Complexity", "Reading", "complexity", "relative_entropy", "total_correlation"]

Law: TypeAlias = StudentTMixture | DiagonalStudentTMixture
_CHUNK = 2**22  # numbers (draws, K, D) held at once


class Reading(NamedTuple):
    """A number of nats for each of S kept draws of the posterior; bars as in the paper.

    The errors are of the Monte Carlo integral alone, one standard error.
    """

    mean: float
    minimum: float
    maximum: float
    per_draw: Tensor  # (S,) float64
    standard_error: float  # of the mean over the S draws
    per_draw_error: Tensor  # (S,) float64, of each entry of per_draw


class Complexity(NamedTuple):
    """Both readings, from the same random numbers."""

    relative_entropy: Reading
    total_correlation: Reading


def relative_entropy(
    mixture: Law | PosteriorPredictive,
    x: Any,
    *,
    num_samples: int = 20_000,
    seed: int = 0,
) -> Reading:
    """KL(p || m) in nats of a mixture, or of every kept draw's, to the Gaussian m fitted to x.

    x (N, D): the data; m is fitted by maximum likelihood, its coordinates independent. About
    num_samples draws for each mixture, and at least four of each component.

    Raises: TypeError, ValueError for no mixture, data that do not fit or are constant in a
    coordinate, or a component with df <= 2, of which KL is infinite.

    >>> w, df = torch.ones(1), torch.tensor([1e8])
    >>> law = StudentTMixture(w, df, torch.zeros(1, 2), torch.eye(2)[None])
    >>> x = torch.tensor([[-1.0, 0.0], [1.0, 2.0]])  # m = N((0, 1), I)
    >>> round(relative_entropy(law, x).mean, 6)
    0.5
    """
    return complexity(mixture, x, num_samples=num_samples, seed=seed).relative_entropy


def total_correlation(
    mixture: Law | PosteriorPredictive,
    *,
    num_samples: int = 20_000,
    seed: int = 0,
) -> Reading:
    """KL(p || prod_i p_i) in nats of a mixture, or of every kept draw's. Jamroz et al., eq. (10).

    The scales of the marginals are the diagonals of the scale matrices. About num_samples draws
    for each mixture, and at least four of each component.

    Raises: TypeError, ValueError for no mixture.

    >>> w, df = torch.ones(1), torch.tensor([1e8])
    >>> law = StudentTMixture(w, df, torch.zeros(1, 2), torch.tensor([[[1.0, 0.0], [0.6, 0.8]]]))
    >>> round(total_correlation(law).mean, 6)  # correlation 0.6: -log(1 - 0.36) / 2
    0.223144
    """
    laws, weights = _mixtures(mixture)
    drawn = _neg_entropies(laws, num_samples, seed)
    return _reading(weights, drawn, [_marginal_entropy(law) for law in laws])


def complexity(
    mixture: Law | PosteriorPredictive,
    x: Any,
    *,
    num_samples: int = 20_000,
    seed: int = 0,
) -> Complexity:
    """Relative entropy and total correlation at the price of one of them.

    Raises: as `relative_entropy`.

    >>> w, df = torch.ones(1), torch.tensor([5.0])
    >>> law = StudentTMixture(w, df, torch.zeros(1, 2), torch.eye(2)[None])
    >>> both = complexity(law, torch.tensor([[-1.0, 0.0], [1.0, 2.0]]))
    >>> both.total_correlation.mean > 0  # coordinates of one t law depend on each other
    True
    """
    laws, weights = _mixtures(mixture)
    mean, variance = _fitted_gaussian(laws, x)
    drawn = _neg_entropies(laws, num_samples, seed)
    return Complexity(
        _reading(weights, drawn, [-_expected_log_gaussian(law, mean, variance) for law in laws]),
        _reading(weights, drawn, [_marginal_entropy(law) for law in laws]),
    )


def _mixtures(mixture: Any) -> tuple[list[Law], Tensor]:
    """The mixtures of the kept draws and their weights (S,)."""
    if isinstance(mixture, PosteriorPredictive):
        laws = [_occupied(law) for law in mixture.mixtures]
        return laws, mixture.weights.double().cpu()
    return [_occupied(mixture)], torch.ones(1, dtype=torch.float64)


def _occupied(law: Any) -> Law:
    """The mixture in float64, without components of weight zero."""
    if not isinstance(law, StudentTMixture | DiagonalStudentTMixture):
        kind = type(law).__name__
        raise TypeError(f"mixture must be a StudentTMixture or PosteriorPredictive, got {kind}")
    some = law.weights > 0
    scale = law.scale_tril if isinstance(law, StudentTMixture) else law.scale
    w, df, loc, scale = (v[some].double() for v in (law.weights, law.df, law.loc, scale))
    return type(law)(w / w.sum(), df, loc, scale)


def _neg_entropies(laws: list[Law], num_samples: int, seed: int) -> list[tuple[float, float]]:
    """E_p[log p] and its standard error for each law, all from one stream."""
    check_count(num_samples, "num_samples")
    check_seed(seed)
    generator = torch.Generator(laws[0].loc.device).manual_seed(int(seed))
    return [_neg_entropy(law, num_samples, generator) for law in laws]


def _neg_entropy(law: Law, num_samples: int, generator: Generator) -> tuple[float, float]:
    """E_p[log p]: exact but for E_k[log p / (w_k t_k)], by draws of each component."""
    w, k = law.weights, len(law.weights)
    value = (w * (w.log() - _component_entropies(law))).sum()
    if k == 1:
        return float(value), 0.0
    least = min(64, max(4, num_samples // (4 * k)))
    sizes = least + (w * max(0, num_samples - k * least)).round().long()
    variance = torch.zeros_like(value)
    for i, size in enumerate(sizes.tolist()):
        excess = _log_excess(law, i, size, generator)  # (size,)
        value = value + w[i] * excess.mean()
        variance = variance + w[i] ** 2 * excess.var() / size
    return float(value), float(variance.sqrt())


def _log_excess(law: Law, k: int, size: int, generator: Generator) -> Tensor:
    """log p / (w_k t_k) (size,) at draws of component k."""
    if isinstance(law, StudentTMixture):
        own: Any = MultivariateStudentT(law.df[k], law.loc[k], law.scale_tril[k])
    else:
        own = DiagonalStudentT(law.df[k], law.loc[k], law.scale[k])
    step = max(1, _CHUNK // law.loc.numel())
    parts = []
    for start in range(0, size, step):
        x = own.sample((min(step, size - start),), generator=generator)
        share = torch.log_softmax(law.weights.log() + law.component_log_prob(x), -1)
        parts.append(-share[:, k])
    return torch.cat(parts)


def _component_entropies(law: Law) -> Tensor:
    """H(t_k) (K,)."""
    if isinstance(law, StudentTMixture):
        log_scale = law.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return student_t_entropy(law.df, log_scale, law.dim)
    return student_t_entropy(law.df[:, None], law.scale.log(), 1).sum(1)


def _marginal_entropy(law: Law) -> float:
    """sum_i H(p_i)."""
    return float(marginal_entropies(law.weights, law.df, law.loc, law.spread).sum())


def _fitted_gaussian(laws: list[Law], x: Any) -> tuple[Tensor, Tensor]:
    """ML mean (D,) and variances (D,) of the data, once they fit the laws."""
    like = laws[0].loc
    data = as_matrix(x, "x").to(like)
    if data.shape[1] != like.shape[1]:
        raise ValueError(f"x must have {like.shape[1]} columns, as mixture, got {data.shape[1]}")
    mean = data.mean(0)
    variance = (data - mean).square().mean(0)
    flat = (variance == 0).nonzero()
    if len(flat):
        column = int(flat[0])
        raise ValueError(f"x is constant in column {column}: no Gaussian fits it")
    heavy = min(float(law.df.min()) for law in laws)
    if heavy <= 2.0:
        raise ValueError(
            f"relative entropy is infinite: a component has df = {heavy:g} <= 2 and no variance"
        )
    return mean, variance


def _expected_log_gaussian(law: Law, mean: Tensor, variance: Tensor) -> float:
    """E_p[log m] in closed form, finite since v_k > 2."""
    within = (law.df / (law.df - 2.0))[:, None] * law.spread.square()  # (K, D)
    square = ((law.loc - mean).square() + within) / variance
    each = -0.5 * (math.log(2.0 * math.pi) * law.dim + variance.log().sum() + square.sum(1))
    return float((law.weights * each).sum())


def _reading(weights: Tensor, drawn: list[tuple[float, float]], exact: list[float]) -> Reading:
    """Mean, range and errors of independent estimates plus what is exact."""
    values, errors = torch.tensor(drawn, dtype=torch.float64).T.contiguous()  # (S,) each
    values = values + torch.tensor(exact, dtype=torch.float64)
    return Reading(
        mean=float(weights @ values),
        minimum=float(values.min()),
        maximum=float(values.max()),
        per_draw=values,
        standard_error=float((weights * errors).square().sum().sqrt()),
        per_draw_error=errors,
    )
