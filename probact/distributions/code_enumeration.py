r"""Sums over all codes of a layer, one region per unit, in R^K rows.

Symbols: t = (t_1 .. t_K), t_k in {0 .. R-1}; A (K, R, D) slopes; mu_t = sum_k A_k,t_k. Rows are in
lexicographic order: the last unit runs fastest. A function of a code that is a sum over units and
pairs of units is built up unit by unit, so that nothing of size R^K x D is ever held.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "MAX_CODES",
    "all_codes",
    "check_enumerable",
    "code_means",
    "code_sums",
    "draw_regions",
    "gram_of",
    "pair_marginals",
    "pair_sums",
    "unit_marginals",
]

MAX_CODES = 2**16


def check_enumerable(num_units: int, num_regions: int, max_codes: int = MAX_CODES) -> int:
    """The number of codes R^K, refused above `max_codes`.

    Raises: ValueError saying what else there is.
    >>> check_enumerable(4, 3)
    81
    """
    if num_units * math.log2(num_regions) > math.log2(max_codes) + 1e-9:
        raise ValueError(
            f"{num_units} units of {num_regions} regions have {num_regions}^{num_units} codes,"
            f" more than the {max_codes} that are enumerated; use mean_field, a Gibbs kernel or"
            " annealed importance sampling"
        )
    return int(num_regions**num_units)


def all_codes(num_units: int, num_regions: int, device: torch.device | None = None) -> Tensor:
    """Every code, (R^K, K) int64.

    Raises: ValueError as `check_enumerable`.
    >>> all_codes(2, 2).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    count = check_enumerable(num_units, num_regions)
    row = torch.arange(count, device=device).unsqueeze(1)
    place = num_regions ** torch.arange(num_units - 1, -1, -1, device=device)
    return row.div(place, rounding_mode="floor").remainder(num_regions)


def code_means(slopes: Tensor, codes: Tensor) -> Tensor:
    """mu_t (..., D) of codes (..., K) for slopes (K, R, D).

    >>> code_means(torch.eye(4).reshape(2, 2, 4), torch.tensor([0, 1]))
    tensor([1., 0., 0., 1.])
    """
    num_units, num_regions, dim = slopes.shape
    first = num_regions * torch.arange(num_units, device=codes.device)
    rows = (codes + first).reshape(-1, num_units)
    sums = F.embedding_bag(rows, slopes.reshape(-1, dim), mode="sum")
    return sums.reshape(*codes.shape[:-1], dim)


def gram_of(slopes: Tensor, *, centred: bool = False) -> Tensor:
    """<A_kr, A_ls>, (K, R, K, R); `centred` takes row and column means of each R x R block out.

    The log posterior of a code holds a pair of units only through its centred block: it vanishes
    if and only if <A_kr - A_kr', A_ls - A_ls'> = 0 for all regions.

    >>> gram_of(torch.ones(2, 2, 3), centred=True).abs().max()
    tensor(0.)
    """
    if centred:
        slopes = slopes - slopes.mean(1, keepdim=True)
    return torch.einsum("krd,lsd->krls", slopes, slopes)


def code_sums(terms: Tensor) -> Tensor:
    """sum_k terms[..., k, t_k], (..., R^K), for terms (..., K, R).

    >>> code_sums(torch.tensor([[0.0, 1.0], [0.0, 10.0]]))
    tensor([ 0., 10.,  1., 11.])
    """
    total = terms[..., 0, :]
    for k in range(1, terms.shape[-2]):
        total = (total.unsqueeze(-1) + terms[..., k, None, :]).flatten(-2)
    return total


def pair_sums(gram: Tensor) -> Tensor:
    """sum_{k<l} gram[k, t_k, l, t_l], (R^K,), for gram (K, R, K, R).

    >>> pair_sums(torch.ones(3, 2, 3, 2))
    tensor([3., 3., 3., 3., 3., 3., 3., 3.])
    """
    num_units, num_regions = gram.shape[:2]
    total = gram.new_zeros(1)
    ahead = gram.new_zeros(1, num_units, num_regions)  # of the units chosen, with those to come
    for k in range(num_units):
        total = (total.unsqueeze(1) + ahead[:, 0]).flatten()  # (R^(k+1),)
        further = gram[k, :, k + 1 :].unsqueeze(0)  # (1, R, K-k-1, R)
        ahead = (ahead[:, None, 1:] + further).flatten(0, 1)
    return total


def unit_marginals(probs: Tensor, num_units: int, num_regions: int) -> Tensor:
    """P(t_k = r), (..., K, R), for probabilities of codes (..., R^K).

    >>> unit_marginals(torch.tensor([0.1, 0.2, 0.3, 0.4]), 2, 2)
    tensor([[0.3000, 0.7000],
            [0.4000, 0.6000]])
    """
    sizes = ((num_regions**k, num_regions ** (num_units - 1 - k)) for k in range(num_units))
    lead = probs.shape[:-1]
    each = [probs.reshape(*lead, a, num_regions, b).sum((-3, -1)) for a, b in sizes]
    return torch.stack(each, -2)


def pair_marginals(probs: Tensor, num_units: int, num_regions: int) -> Tensor:
    """P(t_k = r, t_l = s), (K, R, K, R), for weights of codes (R^K,).

    >>> pair_marginals(torch.tensor([0.1, 0.2, 0.3, 0.4]), 2, 2)[0, :, 1]
    tensor([[0.1000, 0.2000],
            [0.3000, 0.4000]])
    """
    r = num_regions
    pairs = probs.new_zeros(num_units, r, num_units, r)
    for k in range(num_units):
        alone = probs.reshape(r**k, r, -1).sum((0, 2))
        pairs[k, :, k, :] = alone.diag()
        for j in range(k + 1, num_units):
            shape = (r**k, r, r ** (j - k - 1), r, r ** (num_units - 1 - j))
            both = probs.reshape(shape).sum((0, 2, 4))
            pairs[k, :, j, :], pairs[j, :, k, :] = both, both.T
    return pairs


def draw_regions(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Regions (...) with probabilities softmax(logits (..., R)), by inversion of uniforms (...).

    >>> draw_regions(torch.zeros(3, 2), torch.tensor([0.1, 0.6, 0.9])).tolist()
    [0, 1, 1]
    """
    cdf = torch.softmax(logits, -1).cumsum(-1)[..., :-1]
    return (uniforms.unsqueeze(-1) >= cdf).sum(-1)
