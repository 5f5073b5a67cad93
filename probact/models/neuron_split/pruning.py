r"""A head with some of its weights only: the neurons of named nodes, or what a score leaves.

Symbols: theta (K, n) weights, h (N, n) features, penultimate activations; m, r, l mode and rates
of the asymmetric Laplace law fitted to a class's weights.

    keep_only    theta_kj -> 0 outside a node; b_k -> b_k + sum_{j dropped} theta_kj mean(h_j)
    prune_head   theta_kj -> 0 where a score is low

Scores, all small where a weight is thought to matter little:

    "magnitude"            |theta|, over the whole head
    "magnitude_per_class"  the same within each class, which loses the same share of weights
    "ald"                  r (theta - m)^+ + l (m - theta)^+ = -log f up to a constant of the class
    "contribution"         |theta_kj| mean |h_j|
    "random"               uniform
"""

from typing import Any

import torch
from torch import Generator, Tensor

from probact.analysis.laplace_fits.mle import fit_asymmetric_laplace
from probact.arrays import as_matrix, as_number, as_tensor, check_seed
from probact.heads import Head, find_head

__all__ = ["PRUNING_METHODS", "keep_only", "prune_head", "pruning_scores"]

PRUNING_METHODS = ("magnitude", "magnitude_per_class", "ald", "contribution", "random")


def keep_only(head: Any, nodes: Any, *, recentre: bool = True, features: Any = None) -> Head:
    """The head with the neurons of nodes (K, n) bool alone, all other weights zero.

    With `recentre` the bias takes over what the dropped neurons of a class contribute on average
    to its score over the features; it changes how classes compare, not how a score varies.

    Args:
        head: anything `find_head` takes.
        nodes: what to keep, such as `tree.masks("+++", "---")`.
        features: (N, n) penultimate activations; only with `recentre`.

    Raises:
        TypeError: nodes are no tensor or array of booleans.
        ValueError: shapes that do not fit, a class without any neuron (the first is named),
            features missing, not finite or without use.
        LookupError: no head is found.

    >>> theta = torch.tensor([[1.0, -2.0], [3.0, 0.5]])
    >>> kept = keep_only(theta, theta > 0.9, features=torch.tensor([[1.0, 1.0], [0.0, 3.0]]))
    >>> kept.weight, kept.bias
    (tensor([[1., 0.],
            [3., 0.]]), tensor([-4.,  1.]))
    """
    found = find_head(head)
    kept = _as_nodes(nodes, found.weight)
    if recentre and features is None:
        raise ValueError("recentre needs features (N, n); pass them, or recentre=False")
    if not recentre and features is not None:
        raise ValueError("features are used by recentre only: leave them out, or recentre=True")
    weight = torch.where(kept, found.weight, 0.0)
    if not recentre:
        return found._replace(weight=weight)
    mean = _features(features, found.weight).mean(0)  # (n,)
    dropped = torch.where(kept, 0.0, found.weight.double()) @ mean  # (K,)
    bias = dropped if found.bias is None else found.bias.double() + dropped
    return found._replace(weight=weight, bias=bias.to(found.weight.dtype))


def prune_head(
    head: Any, share: float, *, method: str = "magnitude", features: Any = None, seed: int = 0
) -> Head:
    """The head without the floor(share K n) weights of the lowest score; the bias stays.

    "magnitude_per_class" removes floor(share n) of each class. Among equal scores, those of the
    first classes and neurons go first.

    Raises:
        TypeError: share is no number.
        ValueError: share outside [0, 1), and as `pruning_scores`.
        LookupError: no head is found.

    >>> prune_head(torch.tensor([[1.0, -2.0, 0.1], [3.0, 0.5, 4.0]]), 0.5).weight
    tensor([[ 0., -2.,  0.],
            [ 3.,  0.,  4.]])
    """
    found = find_head(head)
    share = as_number(share, "share", inclusive=True)
    if share >= 1.0:
        raise ValueError(f"share must lie in [0, 1), got {share}")
    scores = pruning_scores(found, method, features=features, seed=seed)
    groups = scores if method == "magnitude_per_class" else scores.reshape(1, -1)
    count = int(share * groups.shape[1] + 1e-9)  # 0.29 * 100 is just below 29
    removed = torch.zeros_like(groups, dtype=torch.bool)
    removed.scatter_(1, groups.argsort(dim=1, stable=True)[:, :count], True)
    weight = found.weight.masked_fill(removed.reshape(found.weight.shape), 0.0)
    return found._replace(weight=weight)


def pruning_scores(head: Any, method: str, *, features: Any = None, seed: int = 0) -> Tensor:
    """Scores (K, n) in float64 by which `prune_head` removes, the lowest first.

    Args:
        head: anything `find_head` takes.
        method: one of `PRUNING_METHODS`.
        features: (N, n) penultimate activations, for "contribution" alone.
        seed: of "random".

    Raises:
        ValueError: an unknown method; features missing, not (N, n), not finite or without use;
            weights without an asymmetric Laplace law ("ald", the first such row is named).
        LookupError: no head is found.

    >>> pruning_scores(torch.tensor([[1.0, -2.0]]), "magnitude")
    tensor([[1., 2.]], dtype=torch.float64)
    """
    if method not in PRUNING_METHODS:
        raise ValueError(f"method must be one of {', '.join(PRUNING_METHODS)}, got {method!r}")
    check_seed(seed)
    theta = find_head(head).weight.double()
    if (features is None) == (method == "contribution"):
        raise ValueError('features (N, n) belong to method="contribution", and it needs them')
    if method == "ald":
        return _distances(theta)
    if method == "random":
        draws = torch.rand(theta.shape, generator=Generator().manual_seed(seed)).double()
        return draws.to(theta.device)
    if method == "contribution":
        return theta.abs() * _features(features, theta).abs().mean(0)
    return theta.abs()


def _distances(theta: Tensor) -> Tensor:
    """r (theta - m)^+ + l (m - theta)^+ (K, n), by the fit of each class."""
    fit = fit_asymmetric_laplace(theta)
    fit.require_laws('method="ald"')
    offset = theta - fit.loc[:, None]
    right, left = (rate[:, None] for rate in fit.rates)
    return torch.where(offset > 0.0, right * offset, -left * offset)


def _as_nodes(nodes: Any, weight: Tensor) -> Tensor:
    kept = as_tensor(nodes, "nodes")
    if kept.dtype != torch.bool:
        raise TypeError(f"nodes must be booleans (K, n), got {kept.dtype}")
    if kept.shape != weight.shape:
        raise ValueError(
            f"nodes must be (K, n) = {tuple(weight.shape)}, got shape {tuple(kept.shape)}"
        )
    empty = (~kept.any(1)).nonzero()
    if len(empty):
        raise ValueError(f"nodes keep no neuron of class {int(empty[0])}")
    return kept.to(weight.device)


def _features(features: Any, weight: Tensor) -> Tensor:
    h = as_matrix(features, "features")
    if h.shape[1] != weight.shape[1]:
        raise ValueError(
            f"features must be (N, {weight.shape[1]}), one column per neuron, "
            f"got shape {tuple(h.shape)}"
        )
    return h.double().to(weight.device)
