"""Distillation losses against torch's own, by hand, by finite differences; refusals."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from probact.models import VMFClassifier
from probact.models.distillation import (
    class_wise_loss,
    combined_loss,
    distillation_loss,
    matched_smoothing,
    smoothed_relations,
    teacher_loss,
)
from probact.nn import train_classifier

F64 = torch.float64


def logits(rows: int, classes: int, seed: int, scale: float = 3.0) -> Tensor:
    generator = Generator().manual_seed(seed)
    return scale * torch.randn(rows, classes, dtype=F64, generator=generator)


def relations(classes: int, seed: int) -> Tensor:
    generator = Generator().manual_seed(seed)
    return VMFClassifier(torch.randn(classes, 6, generator=generator), 20.0).class_relations(500)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7, 1.0])
@pytest.mark.parametrize(("rows", "classes"), [(1, 2), (7, 10), (40, 100)])
def test_smoothed_relations_are_torchs_label_smoothing(
    rows: int, classes: int, smoothing: float
) -> None:
    z, labels = logits(rows, classes, rows), torch.arange(rows) % classes
    found = class_wise_loss(z, labels, smoothed_relations(classes, smoothing).double())
    expected = functional.cross_entropy(z, labels, label_smoothing=smoothing)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)  # a float32 matrix


def test_class_wise_loss_by_hand() -> None:
    """Plain sums over a table of probabilities, in numpy."""
    z, labels, table = logits(9, 4, 1), torch.arange(9) % 4, relations(4, 2).double()
    p = np.exp(z.numpy())
    p /= p.sum(1, keepdims=True)
    rows = [-(table[y].numpy() * np.log(q)).sum() for q, y in zip(p, labels.tolist(), strict=True)]
    assert float(class_wise_loss(z, labels, table)) == pytest.approx(np.mean(rows), rel=1e-12)


def test_class_wise_loss_is_least_at_the_row_of_the_label() -> None:
    table = relations(5, 3).double()
    labels = torch.arange(5)
    least = class_wise_loss(table.log(), labels, table)
    entropy = torch.special.entr(table).sum(1).mean()
    torch.testing.assert_close(least, entropy)
    for seed in range(5):
        assert class_wise_loss(table.log() + 0.3 * logits(5, 5, seed), labels, table) > least


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20])
def test_distillation_loss_is_torchs_kl(temperature: float) -> None:
    student, teacher = logits(11, 6, 4), logits(11, 6, 5)
    found = distillation_loss(student, teacher, temperature)
    kl = nn.KLDivLoss(reduction="batchmean")
    expected = temperature**2 * kl(
        functional.log_softmax(student / temperature, 1), torch.softmax(teacher / temperature, 1)
    )
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(distillation_loss(student + 5.0, teacher, temperature), found)
    same = distillation_loss(student, student - 3.0, temperature)
    assert abs(float(same)) < 1e-12


def test_high_temperature_compares_centred_logits() -> None:
    """T^2 KL tends to half the mean square of the logits' centred gap (Hinton 2015, eq. 4)."""
    student, teacher = logits(20, 7, 6), logits(20, 7, 7)
    gap = student - teacher
    gap = gap - gap.mean(1, keepdim=True)
    limit = 0.5 * gap.square().mean(1).mean()
    far = [float(distillation_loss(student, teacher, t)) for t in (1e2, 1e3, 1e4)]
    errors = [abs(value / float(limit) - 1.0) for value in far]
    assert errors[2] < 1e-3
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 1])
def test_combined_loss_and_its_ends(weight: float) -> None:
    student, teacher, labels = logits(8, 5, 8), logits(8, 5, 9), torch.arange(8) % 5
    table = relations(5, 10).double()
    found = combined_loss(student, labels, table, teacher, temperature=3.0, weight=weight)
    own = class_wise_loss(student, labels, table)
    other = distillation_loss(student, teacher, 3.0)
    torch.testing.assert_close(found, own + weight * (other - own))


def test_gradients() -> None:
    student = logits(4, 3, 11).requires_grad_()
    teacher = logits(4, 3, 12).requires_grad_()
    labels, table = torch.tensor([0, 2, 1, 2]), relations(3, 13).double()
    assert torch.autograd.gradcheck(lambda z: class_wise_loss(z, labels, table), student)
    assert torch.autograd.gradcheck(lambda z: distillation_loss(z, teacher, 2.0), student)
    assert torch.autograd.gradcheck(lambda z: combined_loss(z, labels, table, teacher), student)
    combined_loss(student, labels, table, teacher).backward()
    assert teacher.grad is None  # nothing is taught to the teacher
    # of the class-wise part: (softmax - row of the label) / N
    student.grad = None
    class_wise_loss(student, labels, table).backward()
    expected = (torch.softmax(student.detach(), 1) - table[labels]) / 4
    torch.testing.assert_close(student.grad, expected)


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_far_logits_stay_finite(size: float) -> None:
    student = (size * torch.tensor([[1.0, -1.0, 0.0]])).requires_grad_()
    teacher = size * torch.tensor([[-1.0, 1.0, 0.0]])
    loss = combined_loss(student, torch.tensor([0]), smoothed_relations(3, 0.1), teacher)
    loss.backward()
    assert math.isfinite(loss.item())
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, F64])
def test_dtype_of_the_student_is_kept(dtype: torch.dtype) -> None:
    student, labels = logits(4, 3, 14).to(dtype), torch.tensor([0, 1, 2, 0])
    loss = combined_loss(student, labels, relations(3, 15), logits(4, 3, 16).float())
    assert loss.dtype == dtype


def test_matched_smoothing() -> None:
    table = relations(7, 17).double()
    smooth = smoothed_relations(7, matched_smoothing(table)).double()
    assert float(smooth.diagonal().mean()) == pytest.approx(float(table.diagonal().mean()))
    assert matched_smoothing(torch.eye(4)) == 0.0
    assert matched_smoothing(torch.full((4, 4), 0.25)) == 1.0
    with pytest.raises(ValueError, match="less than 1 / 3"):
        matched_smoothing(torch.eye(3).roll(1, 0))
    for wrong in (torch.ones(1, 1), torch.ones(3), [[1.0, 0.0], [0.0, 1.0]]):
        with pytest.raises(ValueError, match=r"relations must be a tensor \(C, C\)"):
            matched_smoothing(wrong)  # type: ignore[arg-type]


def network(seed: int, *, dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(dropout), nn.Linear(8, 3))


def test_teacher_loss_leaves_the_teacher_as_it_was() -> None:
    teacher = network(0, dropout=0.5).train()
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    x, labels, z = torch.randn(6, 4), torch.arange(6) % 3, torch.randn(6, 3, requires_grad=True)
    loss = teacher_loss(torch.eye(3), teacher=teacher, temperature=2.0, weight=0.4)
    random = torch.get_rng_state()
    value = loss(z, x, labels)
    assert torch.equal(torch.get_rng_state(), random)
    assert teacher.training
    value.backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    with torch.no_grad():
        shown = teacher.eval()(x)  # without dropout
    expected = combined_loss(z, labels, torch.eye(3), shown, temperature=2.0, weight=0.4)
    torch.testing.assert_close(value, expected)


def test_without_a_teacher_the_images_do_not_count() -> None:
    z, labels, table = torch.randn(6, 3), torch.arange(6) % 3, relations(3, 18)
    loss = teacher_loss(table)
    nothing = torch.full((6, 4), float("nan"))
    assert torch.equal(loss(z, nothing, labels), class_wise_loss(z, labels, table))


def training_set() -> tuple[Tensor, Tensor]:
    labels = torch.arange(120) % 3
    noise = torch.randn(120, 4, generator=Generator().manual_seed(1))
    return 3.0 * torch.eye(3, 4)[labels] + 0.3 * noise, labels


def fitted(net: nn.Module, labels: Tensor, loss: Any) -> Tensor:
    x, _ = training_set()
    for _ in train_classifier(net, x, labels, epochs=40, batch_size=30, loss=loss):
        pass
    with torch.no_grad():
        return torch.softmax(net.eval()(x), 1)


def test_students_learn_what_each_loss_names() -> None:
    x, labels = training_set()
    teacher = network(0)
    fitted(teacher, labels, None)
    with torch.no_grad():
        shown = torch.softmax(teacher.eval()(x), 1)
    # a teacher knows the labels where the given ones are noise
    noise = torch.randint(3, (120,), generator=Generator().manual_seed(2))
    by_image = fitted(network(1), noise, teacher_loss(torch.eye(3), teacher=teacher, weight=1.0))
    assert (by_image - shown).abs().mean() < 0.05
    # class relations are what the student says of a class in the mean
    table = torch.tensor([[0.6, 0.3, 0.1], [0.3, 0.6, 0.1], [0.2, 0.2, 0.6]])
    by_class = fitted(network(1), labels, teacher_loss(table))
    means = torch.stack([by_class[labels == i].mean(0) for i in range(3)])
    assert (means - table).abs().max() < 0.06


GOOD = (torch.zeros(2, 3), torch.tensor([0, 2]), torch.eye(3))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (0, torch.zeros(3), r"student_logits must be a tensor \(N, C\)"),
        (0, torch.zeros(0, 3), r"student_logits must be .* got \(0, 3\)"),
        (0, [[0.0, 1.0, 2.0]], "student_logits must be .* got list"),
        (0, torch.zeros(2, 3, dtype=torch.int64), "student_logits must be floating point"),
        (0, torch.tensor([[0.0, 1.0, math.inf]] * 2), "student_logits has 2 rows with NaN"),
        (1, torch.tensor([0, 3]), r"labels must be in 0 \.\. 2, got 3 at row 1"),
        (1, torch.tensor([-1, 0]), "got -1 at row 0"),
        (1, torch.tensor([0.0, 1.0]), "labels must be an int64 tensor"),
        (1, torch.tensor([0]), "1 labels for 2 rows"),
        (1, None, "labels must be an int64 tensor"),
        (2, torch.eye(4), r"relations must be a tensor \(3, 3\), one row per class"),
        (2, torch.eye(3).long(), "relations must be floating point"),
        (2, 0.9 * torch.eye(3), "rows of relations must sum to one, row 0 to 0.9"),
        (2, torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, -0.5, 1.5]]), "row 2 is not"),
        (2, torch.eye(3) * math.nan, "relations has 3 rows with NaN"),
        (2, np.eye(3), "relations must be a tensor .* got ndarray"),
    ],
)
def test_class_wise_loss_refuses(place: int, value: Any, words: str) -> None:
    arguments = [*GOOD[:place], value, *GOOD[place + 1 :]]
    with pytest.raises(ValueError, match=words):
        class_wise_loss(*arguments)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan, "hot", None, True])
def test_temperature_is_refused(temperature: Any) -> None:
    for call in (
        lambda: distillation_loss(GOOD[0], GOOD[0], temperature),
        lambda: teacher_loss(GOOD[2], temperature=temperature),
    ):
        with pytest.raises(ValueError, match="temperature must be a positive number"):
            call()


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan, "half"])
def test_weight_and_smoothing_are_refused(weight: Any) -> None:
    with pytest.raises(ValueError, match=r"weight must be a number in \[0, 1\]"):
        combined_loss(*GOOD, GOOD[0], weight=weight)
    with pytest.raises(ValueError, match=r"weight must be a number in \[0, 1\]"):
        teacher_loss(GOOD[2], weight=weight)
    with pytest.raises(ValueError, match=r"smoothing must be a number in \[0, 1\]"):
        smoothed_relations(3, weight)


def test_other_refusals() -> None:
    with pytest.raises(ValueError, match=r"teacher_logits must be \(2, 3\) as student_logits are"):
        distillation_loss(GOOD[0], torch.zeros(2, 4), 1.0)
    with pytest.raises(ValueError, match="teacher_logits has 1 row with NaN"):
        distillation_loss(GOOD[0], torch.tensor([[0.0, 0, 0], [math.nan, 0, 0]]), 1.0)
    with pytest.raises(ValueError, match="num_classes must be an integer of at least 1"):
        smoothed_relations(0, 0.1)
    for wrong in (torch.ones(3), torch.ones(2, 3) / 3, np.eye(2)):
        with pytest.raises(ValueError, match="relations must be a tensor"):
            teacher_loss(wrong)  # type: ignore[arg-type]


@pytest.mark.gpu
def test_on_cuda() -> None:
    cuda = torch.device("cuda")
    z, labels = logits(6, 3, 20).to(cuda), (torch.arange(6) % 3).to(cuda)
    teacher, table = network(0).to(cuda), relations(3, 21)
    loss = teacher_loss(table.to(cuda), teacher=teacher)
    x = torch.randn(6, 4)
    expected = teacher_loss(table, teacher=network(0))(z.cpu(), x, labels.cpu())
    torch.testing.assert_close(loss(z, x.to(cuda), labels).cpu(), expected, rtol=1e-5, atol=1e-6)
