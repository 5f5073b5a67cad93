r"""Likelihoods of a linear layer's targets, and what may be a target.

Symbols: psi (..., N, R) linear predictors, R rows of weights; y targets; K classes or outputs.

    softmax          y (N,) labels,   p(y = k) = softmax_k(psi),            R = K
    bernoulli        y (N, K) 0/1,    p(y_k = 1) = sigmoid(psi_k),          R = K
    gaussian         y (N, K) real,   y_k ~ N(psi_k, s2_k),                 R = K
    stick_breaking   y (N,) labels,   p(y = o_j) = sigmoid(psi_j) prod_{i<j} sigmoid(-psi_i),
                     R = K - 1; o the class order; o_K takes what is left of the stick

(Linderman, Johnson & Adams 2015, eq. 3.)
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, one_hot, softplus

from probact.arrays import as_labels, as_matrix, as_tensor

__all__ = [
    "LIKELIHOODS",
    "as_features",
    "as_targets",
    "check_likelihood",
    "num_rows",
    "stick_log_probs",
    "stick_targets",
    "target_log_prob",
    "target_means",
]

LIKELIHOODS = ("softmax", "gaussian", "bernoulli", "stick_breaking")


def check_likelihood(likelihood: str, num_classes: int) -> None:
    """Refuse an unknown likelihood, and one class where they compete.

    Raises: ValueError.
    >>> check_likelihood("bernoulli", 1)
    """
    if likelihood not in LIKELIHOODS:
        raise ValueError(f"likelihood must be one of {LIKELIHOODS}, got {likelihood!r}")
    if num_classes < 2 and likelihood in ("softmax", "stick_breaking"):
        raise ValueError(
            f"num_classes must be at least 2 for {likelihood}, got {num_classes}: with one class"
            ' every label is certain; take "bernoulli" for one 0/1 target'
        )


def num_rows(likelihood: str, num_classes: int) -> int:
    """Rows R of the weight matrix.

    >>> num_rows("softmax", 10), num_rows("stick_breaking", 10)
    (10, 9)
    """
    return num_classes - (likelihood == "stick_breaking")


def as_features(x: Any, num_features: int, name: str = "x") -> Tensor:
    """x (N, p) in float64.

    Raises: TypeError for no array; ValueError for another width, no row, NaN or infinity.
    >>> as_features([[1, 2]], 2)
    tensor([[1., 2.]], dtype=torch.float64)
    """
    rows = as_matrix(x, name).double()
    if rows.shape[1] != num_features:
        raise ValueError(f"{name} must have {num_features} columns, got {rows.shape[1]}")
    return rows


def as_targets(y: Any, likelihood: str, num_classes: int, rows: int) -> Tensor:
    """y: labels (N,) int64, or targets (N, K) float64.

    Raises: TypeError for no array; ValueError for another shape, labels that are no integers in
    [0, K), bernoulli targets other than 0 and 1, NaN or infinity.
    >>> as_targets([1, 0], "softmax", 2, 2)
    tensor([1, 0])
    """
    if likelihood in ("softmax", "stick_breaking"):
        labels = as_labels(y, "y", rows)
        wrong = ((labels < 0) | (labels >= num_classes)).nonzero()
        if len(wrong):
            first = int(wrong[0])
            raise ValueError(
                f"y must be labels in [0, {num_classes}), got {int(labels[first])} at row {first}"
            )
        return labels
    if as_tensor(y, "y").shape != (rows, num_classes):
        got = tuple(as_tensor(y, "y").shape)
        raise ValueError(f"y must be ({rows}, {num_classes}) for {likelihood}, got shape {got}")
    targets = as_matrix(y, "y").double()
    if likelihood == "bernoulli":
        odd = ((targets != 0) & (targets != 1)).nonzero()
        if len(odd):
            index = tuple(odd[0].tolist())
            raise ValueError(f"y must hold 0 and 1, got {float(targets[index])!r} at {index}")
    return targets


def stick_log_probs(logits: Tensor, class_order: Tensor) -> Tensor:
    """log p(y = k), (..., N, K), of sticks psi (..., N, K-1); nats.

    >>> stick_log_probs(torch.zeros(1, 2), torch.tensor([2, 0, 1])).exp()
    tensor([[0.2500, 0.2500, 0.5000]])
    """
    left = -softplus(logits).cumsum(-1)  # log of what each break leaves
    zero = torch.zeros_like(left[..., :1])
    before = torch.cat([zero, left], -1)
    taken = torch.cat([logsigmoid(logits), zero], -1)
    ordered = before + taken  # (..., N, K) in the order of the sticks
    return ordered[..., class_order.argsort()]


def stick_targets(labels: Tensor, class_order: Tensor) -> tuple[Tensor, Tensor]:
    """(taken, reached), (..., N, K-1) 0/1 in float64: what each stick decided, and whether it did.

    >>> stick_targets(torch.tensor([1, 0]), torch.tensor([0, 1, 2]))[1]
    tensor([[1., 1.],
            [1., 0.]], dtype=torch.float64)
    """
    place = class_order.argsort()[labels]  # (..., N)
    taken = one_hot(place, len(class_order)).double()[..., :-1]
    sticks = torch.arange(len(class_order) - 1, device=labels.device)
    return taken, (sticks <= place.unsqueeze(-1)).double()


def target_log_prob(
    logits: Tensor,
    y: Tensor,
    likelihood: str,
    *,
    variance: Tensor | None = None,
    class_order: Tensor | None = None,
) -> Tensor:
    """log p(y | psi), (..., N), nats; variance s2 (..., K) for gaussian, class_order for sticks.

    >>> target_log_prob(torch.zeros(1, 2), torch.tensor([0]), "softmax")
    tensor([-0.6931])
    """
    if likelihood == "gaussian":
        assert variance is not None
        spread = variance.unsqueeze(-2)
        square = (y - logits).square() / spread
        return -0.5 * (square + (2.0 * torch.pi * spread).log()).sum(-1)
    if likelihood == "bernoulli":
        return -softplus((1.0 - 2.0 * y) * logits).sum(-1)
    if likelihood == "softmax":
        log_probs = torch.log_softmax(logits, -1)
    else:
        assert class_order is not None
        log_probs = stick_log_probs(logits, class_order)
    labels = y.expand(log_probs.shape[:-1]).unsqueeze(-1)
    return log_probs.gather(-1, labels).squeeze(-1)


def target_means(logits: Tensor, likelihood: str, class_order: Tensor | None = None) -> Tensor:
    """Probabilities (..., N, K) of classes, or means of the outputs of a gaussian layer.

    >>> target_means(torch.zeros(1, 2), "softmax")
    tensor([[0.5000, 0.5000]])
    """
    if likelihood == "gaussian":
        return logits
    if likelihood == "bernoulli":
        return torch.sigmoid(logits)
    if likelihood == "softmax":
        return torch.softmax(logits, -1)
    assert class_order is not None
    return stick_log_probs(logits, class_order).exp()
