r"""How well a score tells rows of another kind from those of the training's kind.

Symbols: u score of a row, larger where the row looks less like the training data; inside (N,) and
outside (M,) scores of rows of the same kind and of another; p (N, C) probabilities, f (N, C)
logits, p_s (S, N, C) probabilities of S posterior draws.

    1 - max_c p_c                        Hendrycks & Gimpel 2017
    H(p) = -sum_c p_c log p_c            nats
    H(mean_s p_s) - mean_s H(p_s)        mutual information of label and weights, nats (Houlsby et
                                         al. 2011): zero where the draws agree, however unsure
    -logsumexp_c f_c                     energy (Liu et al. 2020)
    -max_c f_c                           largest logit (Hendrycks et al. 2022)

AUROC is P(u_out > u_in) + P(u_out = u_in) / 2. Its standard error, and that of the difference of
two scores on the same rows, is DeLong, DeLong & Clarke-Pearson's (1988): the variance of the
placements of each row among the rows of the other kind, ties counted by half.
"""

from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from probact.analysis.prediction_scores import Estimate
from probact.arrays import as_matrix, as_number, as_tensor, check_count, check_finite, check_seed

__all__ = [
    "auroc",
    "auroc_difference",
    "energy_score",
    "false_positive_rate",
    "max_logit_score",
    "max_probability_score",
    "mutual_information",
    "predictive_entropy",
]


class _Placements(NamedTuple):
    inside: Tensor  # (N,) share of outside rows above each, ties by half
    outside: Tensor  # (M,) share of inside rows below each, ties by half


def max_probability_score(probs: Any) -> Tensor:
    """1 - max_c p_c (N,), of probabilities (N, C).

    Raises: TypeError or ValueError if probs is no finite matrix of numbers in [0, 1].

    >>> max_probability_score([[0.25, 0.75]])
    tensor([0.2500], dtype=torch.float64)
    """
    return 1.0 - _shares(probs, 2).amax(-1)


def predictive_entropy(probs: Any) -> Tensor:
    """H(p) in nats (N,), of probabilities (N, C); 0 log 0 = 0.

    Raises: TypeError or ValueError if probs is no finite matrix of numbers in [0, 1].

    >>> predictive_entropy([[0.5, 0.5], [1.0, 0.0]])
    tensor([0.6931, 0.0000], dtype=torch.float64)
    """
    return _entropy(_shares(probs, 2))


def mutual_information(draws: Any) -> Tensor:
    """Mutual information in nats (N,) of label and weights, of probabilities (S, N, C) by draw.

    With S draws it is biased downwards, to first order by (C - 1) / 2 S nats at most.

    Raises: TypeError or ValueError if draws are not finite (S, N, C) numbers in [0, 1].

    >>> mutual_information([[[1.0, 0.0]], [[0.0, 1.0]]])  # sure draws that disagree: log 2
    tensor([0.6931], dtype=torch.float64)
    """
    p = _shares(draws, 3)
    return (_entropy(p.mean(0)) - _entropy(p).mean(0)).clamp_min(0.0)  # rounding below zero


def energy_score(logits: Any) -> Tensor:
    """-logsumexp_c f_c (N,), of logits (N, C).

    Raises: TypeError or ValueError if logits are no finite matrix.

    >>> energy_score([[0.0, 0.0]])
    tensor([-0.6931], dtype=torch.float64)
    """
    return -as_matrix(logits, "logits").double().logsumexp(1)


def max_logit_score(logits: Any) -> Tensor:
    """-max_c f_c (N,), of logits (N, C).

    Raises: TypeError or ValueError if logits are no finite matrix.

    >>> max_logit_score([[1.0, 3.0]])
    tensor([-3.], dtype=torch.float64)
    """
    return -as_matrix(logits, "logits").double().amax(1)


def auroc(inside: Any, outside: Any) -> Estimate:
    """P(a row from outside scores above one from inside), ties by half; DeLong standard error.

    inside (N,), outside (M,): scores, larger for what looks foreign; N, M >= 2.

    Raises: TypeError or ValueError if either is not finite and one-dimensional with two rows.

    >>> auroc([1.0, 2.0, 3.0], [2.0, 4.0]).value
    0.75
    """
    placed = _placements(inside, outside)
    return Estimate(float(placed.outside.mean()), float(_variance(placed).sqrt()))


def auroc_difference(inside: Any, outside: Any, other_inside: Any, other_outside: Any) -> Estimate:
    """AUROC of a score minus that of another score of the same rows; paired (DeLong et al. 1988).

    Raises: as `auroc`; ValueError where the two scores have different numbers of rows.

    >>> auroc_difference([1.0, 2.0], [2.0, 4.0], [1.0, 2.0], [2.0, 4.0])
    Estimate(value=0.0, standard_error=0.0)
    """
    one, two = _placements(inside, outside), _placements(other_inside, other_outside)
    for name, a, b in zip(_Placements._fields, one, two, strict=True):
        if len(a) != len(b):
            raise ValueError(f"{name} has {len(a)} rows for one score and {len(b)} for the other")
    gap = _Placements(one.inside - two.inside, one.outside - two.outside)
    return Estimate(float(gap.outside.mean()), float(_variance(gap).sqrt()))


def false_positive_rate(
    inside: Any, outside: Any, *, tpr: float = 0.95, draws: int = 1000, seed: int = 0
) -> Estimate:
    """Share of outside rows taken for inside ones where at least `tpr` of the inside are.

    Rows are taken for inside up to the smallest score that lets in `tpr` of the inside rows, as in
    Liang, Li & Srikant 2018. The standard error is from the bootstrap over rows of both kinds.

    Raises: TypeError or ValueError as `auroc`, or for tpr outside (0, 1], fewer than two draws.

    >>> false_positive_rate([1.0, 2.0, 3.0, 4.0], [2.5, 5.0], tpr=0.75).value
    0.5
    """
    share = as_number(tpr, "tpr")
    if share > 1.0:
        raise ValueError(f"tpr must lie in (0, 1], got {share}")
    check_count(draws, "draws", 2)
    check_seed(seed)
    a, b = _scores(inside, "inside").cpu(), _scores(outside, "outside").cpu()
    generator = Generator().manual_seed(seed)
    drawn = []
    for _ in range(draws):
        i, j = (torch.randint(len(x), (len(x),), generator=generator) for x in (a, b))
        drawn.append(_accepted(a[i], b[j], share))
    return Estimate(float(_accepted(a, b, share)), float(torch.stack(drawn).std()))


def _accepted(inside: Tensor, outside: Tensor, tpr: float) -> Tensor:
    """Share of outside at or below the smallest threshold that accepts tpr of inside."""
    needed = max(1, -int(-(tpr * len(inside) - 1e-9) // 1))  # rounded up, but not by rounding
    threshold = inside.kthvalue(min(needed, len(inside))).values
    return (outside <= threshold).double().mean()


def _placements(inside: Any, outside: Any) -> _Placements:
    a = _scores(inside, "inside")
    b = _scores(outside, "outside").to(a.device)
    return _Placements(1.0 - _share_below(b, a), _share_below(a, b))


def _share_below(rows: Tensor, at: Tensor) -> Tensor:
    """P(row < at) + P(row = at) / 2 for each entry of `at`."""
    ordered = rows.sort().values
    below = torch.searchsorted(ordered, at)
    upto = torch.searchsorted(ordered, at, right=True)
    return (below + upto).double() / (2 * len(rows))


def _variance(placed: _Placements) -> Tensor:
    inside, outside = placed
    return inside.var() / len(inside) + outside.var() / len(outside)


def _scores(values: Any, name: str) -> Tensor:
    x = as_tensor(values, name).double()
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(f"{name} must be (N,) with two rows or more, got {tuple(x.shape)}")
    check_finite(x, name)
    return x


def _shares(values: Any, ndim: int) -> Tensor:
    name, shape = ("probs", "(N, C)") if ndim == 2 else ("draws", "(S, N, C)")
    x = as_tensor(values, name).double()
    if x.ndim != ndim or 0 in x.shape:
        raise ValueError(f"{name} must be {shape}, got shape {tuple(x.shape)}")
    check_finite(x, name)
    if bool((x < 0.0).any()) or bool((x > 1.0 + 1e-6).any()):
        raise ValueError(f"{name} must lie in [0, 1], got {float(x.min())} to {float(x.max())}")
    return x


def _entropy(p: Tensor) -> Tensor:
    terms: Tensor = torch.special.entr(p)
    return terms.sum(-1)
