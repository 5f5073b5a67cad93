r"""Distillation with and without images shown to the teacher (Seo, Lee & Han 2021, section 5).

Symbols: x (N, ...) images; y (N,) labels; z_S, z_T (N, C) logits of student and teacher; p_S =
softmax(z_S); p_T(j | i) (C, C) class relations of the teacher, `VMFClassifier.class_relations`
(eq. 7): how its final layer labels activations drawn from the law of class i, so that no image
enters; T > 0 temperature.

    label            -log p_S(y | x)                            class_wise_loss, identity matrix
    label smoothing  the same for a mixture with 1 / C          class_wise_loss, smoothed_relations
    CKD              -sum_j p_T(j | y) log p_S(j | x)           class_wise_loss (eq. 8)
    KD               T^2 KL(softmax(z_T / T) | softmax(z_S / T))  distillation_loss
    CKD + KD         (1 - weight) CKD + weight KD               combined_loss (eq. 9)

Label smoothing is thus class-wise distillation from a teacher to whom all other classes are alike.
KD in the usual form, with labels beside it, is `combined_loss` with the identity matrix.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from probact.arrays import check_count, check_finite
from probact.capturing.passes import undisturbed
from probact.models.unit_data import check_labels

__all__ = [
    "class_wise_loss",
    "combined_loss",
    "distillation_loss",
    "matched_smoothing",
    "smoothed_relations",
    "teacher_loss",
]


def class_wise_loss(student_logits: Tensor, labels: Tensor, relations: Tensor) -> Tensor:
    """Cross-entropy () in nats of the student to its label's row of p_T, mean over N (eq. 8).

    student_logits (N, C), labels int64 (N,), relations (C, C) with rows summing to one. The
    smallest value that it can take is the mean entropy of the rows, not zero.

    Raises:
        ValueError: other shapes, labels out of range, NaN or infinity, rows of
            relations that are no probabilities.

    >>> logits = torch.tensor([[2.0, 0.0, 0.0]])
    >>> class_wise_loss(logits, torch.tensor([0]), torch.eye(3))  # log(1 + 2 exp(-2))
    tensor(0.2395)
    >>> class_wise_loss(logits, torch.tensor([0]), smoothed_relations(3, 0.3))  # 0.2395 + 0.4
    tensor(0.6395)
    """
    _check_logits(student_logits, "student_logits")
    num_classes = student_logits.shape[1]
    check_labels(labels, num_classes, len(student_logits))
    _check_relations(relations, num_classes)
    targets = relations.to(student_logits)[labels]  # (N, C)
    return functional.cross_entropy(student_logits, targets)


def distillation_loss(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float
) -> Tensor:
    """T^2 KL(teacher | student) () in nats at temperature T, mean over N (Hinton et al. 2015).

    Both logits are (N, C). T^2 keeps the size of the gradient while T changes. No gradient goes
    to the teacher.

    Raises:
        ValueError: other or unequal shapes, NaN or infinity, T not positive.

    >>> logits = torch.tensor([[2.0, 0.0, 0.0]])
    >>> distillation_loss(logits, logits + 1.0, temperature=4.0)  # softmax sees no shift
    tensor(0.)
    """
    _check_logits(student_logits, "student_logits")
    _check_logits(teacher_logits, "teacher_logits")
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"teacher_logits must be {tuple(student_logits.shape)} as student_logits are, got "
            f"{tuple(teacher_logits.shape)}"
        )
    _check_temperature(temperature)
    student = functional.log_softmax(student_logits / temperature, 1)
    teacher = functional.log_softmax(teacher_logits.detach().to(student) / temperature, 1)
    gap = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return temperature**2 * gap


def combined_loss(
    student_logits: Tensor,
    labels: Tensor,
    relations: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 4.0,
    weight: float = 0.9,
) -> Tensor:
    """(1 - weight) class-wise loss + weight distillation loss, () in nats (eq. 9).

    The paper does not print its weight and temperature. The defaults are those of a published
    benchmark (Tian et al. 2020: 0.1 of the label's loss, 0.9 of the teacher's, T = 4).

    Raises:
        ValueError: as the two losses; weight not within [0, 1].

    >>> logits, labels = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])
    >>> combined_loss(logits, labels, torch.eye(3), logits)  # 0.1 x 0.2395
    tensor(0.0240)
    """
    _check_weight(weight)
    class_wise = class_wise_loss(student_logits, labels, relations)
    by_image = distillation_loss(student_logits, teacher_logits, temperature)
    return (1.0 - weight) * class_wise + weight * by_image


def smoothed_relations(num_classes: int, smoothing: float) -> Tensor:
    """Relations (C, C) of label smoothing: (1 - smoothing) I + smoothing / C; 0 gives labels.

    `class_wise_loss` of them is torch's cross-entropy with `label_smoothing`.

    Raises: ValueError for no class or a smoothing outside [0, 1].

    >>> smoothed_relations(2, 0.2)
    tensor([[0.9000, 0.1000],
            [0.1000, 0.9000]])
    """
    check_count(num_classes, "num_classes")
    if not _is_share(smoothing):
        raise ValueError(f"smoothing must be a number in [0, 1], got {smoothing!r}")
    return (1.0 - smoothing) * torch.eye(num_classes) + smoothing / num_classes


def matched_smoothing(relations: Tensor) -> float:
    """The smoothing of equal mean probability of the own class: p_T without its relations.

    A student that does better with p_T than with `smoothed_relations` of this has gained from
    which classes are alike, and not from soft targets as such.

    Raises: ValueError for relations that are no (C, C) probabilities with C >= 2, or
    whose own class has less than 1 / C in the mean.

    >>> round(matched_smoothing(smoothed_relations(10, 0.3)), 6)
    0.3
    """
    if not isinstance(relations, Tensor) or relations.ndim != 2 or len(relations) < 2:
        got = tuple(relations.shape) if isinstance(relations, Tensor) else type(relations).__name__
        raise ValueError(f"relations must be a tensor (C, C) with C >= 2, got {got}")
    num_classes = len(relations)
    _check_relations(relations, num_classes)
    own = float(relations.double().diagonal().mean())
    smoothing = (1.0 - own) * num_classes / (num_classes - 1)
    if smoothing > 1.0 + 1e-9:
        raise ValueError(f"the own class has {own:.4g} in the mean, less than 1 / {num_classes}")
    return min(smoothing, 1.0)


def teacher_loss(
    relations: Tensor,
    *,
    teacher: nn.Module | None = None,
    temperature: float = 4.0,
    weight: float = 0.9,
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The `loss` of `probact.nn.train_classifier`: a function of (logits, images, labels).

    Without a teacher it is `class_wise_loss` (labels, label smoothing and CKD, by the relations);
    with one it is `combined_loss`. The teacher sees the images that the student sees, in eval mode
    and without gradients, and is left as it was.

    Raises:
        ValueError: relations, temperature or weight as above; later, what the losses
            refuse.

    >>> loss = teacher_loss(torch.eye(3), teacher=nn.Linear(4, 3))
    >>> loss(torch.zeros(2, 3), torch.zeros(2, 4), torch.tensor([0, 2])).shape
    torch.Size([])
    """
    if not isinstance(relations, Tensor) or relations.ndim != 2:
        got = tuple(relations.shape) if isinstance(relations, Tensor) else type(relations).__name__
        raise ValueError(f"relations must be a tensor (C, C), got {got}")
    _check_relations(relations, len(relations))
    _check_temperature(temperature)
    _check_weight(weight)
    if teacher is not None and not isinstance(teacher, nn.Module):
        raise ValueError(f"teacher must be a module or None, got {type(teacher).__name__}")
    if teacher is None:
        return lambda logits, images, labels: class_wise_loss(logits, labels, relations)

    def loss(logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        with undisturbed(teacher):
            shown = teacher(images)
        return combined_loss(
            logits, labels, relations, shown, temperature=temperature, weight=weight
        )

    return loss


def _check_logits(logits: Tensor, name: str) -> None:
    if not isinstance(logits, Tensor) or logits.ndim != 2 or 0 in logits.shape:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"{name} must be a tensor (N, C) with N and C >= 1, got {got}")
    if not logits.is_floating_point():
        raise ValueError(f"{name} must be floating point, got {logits.dtype}")
    check_finite(logits.detach(), name)


def _check_relations(relations: Tensor, num_classes: int) -> None:
    shape = (num_classes, num_classes)
    if not isinstance(relations, Tensor) or relations.shape != shape:
        got = tuple(relations.shape) if isinstance(relations, Tensor) else type(relations).__name__
        raise ValueError(f"relations must be a tensor {shape}, one row per class, got {got}")
    if not relations.is_floating_point():
        raise ValueError(f"relations must be floating point, got {relations.dtype}")
    check_finite(relations.detach(), "relations")
    if (relations < 0).any():
        row = int((relations < 0).any(1).nonzero()[0])
        raise ValueError(f"relations must be >= 0, row {row} is not")
    total = relations.double().sum(1)
    wrong = (total - 1.0).abs() > 1e-4
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"rows of relations must sum to one, row {row} to {float(total[row]):.6g}"
        )


def _check_temperature(temperature: float) -> None:
    known = isinstance(temperature, float | int) and not isinstance(temperature, bool)
    if not known or not 0.0 < temperature < math.inf:
        raise ValueError(f"temperature must be a positive number, got {temperature!r}")


def _check_weight(weight: float) -> None:
    if not _is_share(weight):
        raise ValueError(f"weight must be a number in [0, 1], got {weight!r}")


def _is_share(value: float) -> bool:
    known = isinstance(value, float | int) and not isinstance(value, bool)
    return known and 0.0 <= value <= 1.0
