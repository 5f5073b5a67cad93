"""What `fit` refuses, and what it does with a loss or a gradient that is not finite."""

import re
from functools import partial

import numpy as np
import pytest
import torch
from objective_models import HELD_OUT, Line, Regression, X, Y
from pyro.infer.autoguide import AutoNormal
from torch import nn
from torch.optim import SGD
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import probact.inference as pi

quick_fit = partial(pi.fit, epochs=3, device="cpu", progress=False)
plain = partial(SGD, lr=0.1)


@pytest.fixture
def line():
    """x (10,) and y (10,) with least squares slope 3."""
    x = torch.linspace(0.5, 2.0, 10, dtype=torch.float64)
    return x, 3.0 * x


class Failing(Line):
    """Its loss or gradient is not finite at the step whose number is `at`."""

    def __init__(self, at, kind):
        super().__init__(1.0)
        self.at, self.kind, self.step = at, kind, 0

    def objective(self, x, y, epoch=None):
        loss = super().objective(x, y, epoch)
        if epoch is None:
            return loss * (float("inf") if self.kind == "validation" else 1.0)
        self.step += 1
        if self.step <= self.at:
            return loss
        if self.kind == "gradient":  # of a root at zero
            return loss + (self.w - self.w.detach()).abs().sqrt()
        return loss + float("nan")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("loss", r"the loss is nan at epoch 1, batch 2 \(step 5\)"),
        ("gradient", r"its gradient is not finite at epoch 1, batch 2 \(step 5\)"),
    ],
)
def test_what_is_not_finite_does_not_enter_the_parameters(line, kind, message):
    model, before = Failing(5, kind), Failing(99, kind)
    with pytest.raises(pi.NonFiniteLoss, match=message) as caught:
        quick_fit(model, line, batch_size=4, optimizer=plain)
    error = caught.value
    assert (error.epoch, error.batch_index, error.step) == (1, 2, 5)
    assert [len(part) for part in error.batch] == [2, 2]
    assert error.checkpoint is None
    assert "checkpoint= would have kept" in str(error)
    reached = []
    original = before.objective

    def watched(x, y, epoch):
        if epoch is not None:
            reached.append(float(before.w.detach()))
        return original(x, y, epoch)

    before.objective = watched
    quick_fit(before, line, batch_size=4, optimizer=plain)
    assert float(model.w.detach()) == reached[5]


def test_a_validation_loss_that_is_not_finite(line):
    with pytest.raises(pi.NonFiniteLoss, match="the validation loss is inf at epoch 0, batch 0"):
        quick_fit(Failing(9, "validation"), line, validation=line)


def test_gradients_that_overflow_only_in_their_norm_are_finite():
    class Steep(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.full((3,), 1e-30))

        def objective(self, x, epoch=None):
            return (self.w * 2e38).sum()

    quick_fit(Steep(), X, optimizer=partial(SGD, lr=0.0))


def test_parameters_that_overflow_are_told(line):
    wild = partial(SGD, lr=1e308)
    with pytest.raises(pi.NonFiniteLoss, match=r"no longer finite at epoch 0 \(step 0\)"):
        quick_fit(Line(), line, optimizer=wild)


class Choosy(Line):
    """Refuses its validation data, at the call of that number, by `error`."""

    def __init__(self, at, error):
        super().__init__()
        self.left, self.error = at, error

    def objective(self, x, y, epoch=None):
        self.left -= epoch is None
        if self.left == 0 and epoch is None:
            raise self.error
        return super().objective(x, y, epoch)


def test_errors_in_validation_say_so(line):
    late = r"the validation loss cannot be computed at epoch 0, batch 1 \(step 1\)"
    for at, place, note in (
        (2, "validation", "before the first epoch"),
        (4, late, r"at epoch 0, batch 1 \(step 1\)"),
    ):
        run = partial(quick_fit, data=line, batch_size=5, validation=line)
        with pytest.raises(ValueError, match=f"^{place}: bad row$"):
            run(Choosy(at, ValueError("bad row")))
        with pytest.raises(RuntimeError) as caught:
            run(Choosy(at, RuntimeError()))
        assert re.fullmatch(f"in the validation loss,? {note}", *caught.value.__notes__)
    x, y = line
    rows = DataLoader(TensorDataset(x.where(x < 1.9, float("nan")), y), 5)
    with pytest.raises(ValueError, match=r"^validation: data\[0\] has 1 rows with NaN"):
        quick_fit(Line(), line, validation=rows)


class Once(IterableDataset):
    """Rows that come only once."""

    def __init__(self, rows):
        self.rows = iter(rows)

    def __iter__(self):
        return self.rows


def test_data_that_come_only_once(line):
    rows = list(zip(*line, strict=True))
    for kept, epoch in ((10, 1), (5, 0)):  # the first batch is looked at before
        with pytest.raises(ValueError, match=f"^data gave no batches in epoch {epoch};"):
            quick_fit(Line(), DataLoader(Once(rows[:kept]), 5))
        once = DataLoader(Once(rows[:kept]), 5)
        with pytest.raises(ValueError, match=f"^validation gave no batches in epoch {epoch};"):
            quick_fit(Line(), line, validation=once)
    with pytest.raises(ValueError, match=r"^validation has no batches"):
        quick_fit(Line(), line, validation=DataLoader(Once([]), 5))


def test_the_remedy_for_a_batch_of_one_row(line):
    remedy = "one row: take another batch_size, or a DataLoader with drop_last=True$"
    data = (X[:19], Y[:19])
    for options in (
        {"data": data, "batch_size": 6},
        {"data": DataLoader(TensorDataset(*data), 9)},
    ):
        with pytest.raises(ValueError, match=f"Expected more than 1 value per .*{remedy}"):
            quick_fit(Regression(), **options)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel") as caught:
        quick_fit(Regression(), (X[:1], Y[:1]))
    assert "batch_size" not in str(caught.value)
    held_out = tuple(v[:6] for v in line)
    with pytest.raises(ValueError, match=f"the validation loss .*: bad row; .*{remedy}"):
        quick_fit(Choosy(4, ValueError("bad row")), line, batch_size=5, validation=held_out)


REFUSED = [
    ({"guide": AutoNormal}, "guide must be None for a model with an objective of its own"),
    ({"schedule": 3}, "schedule must be a function from an optimiser"),
    ({"schedule": lambda optimizer: 3}, "schedule must build a torch schedule, got int"),
    ({"patience": 2}, "patience needs validation="),
    ({"patience": 0, "validation": HELD_OUT}, "patience must be an integer of at least 1, got 0"),
    ({"validation": [1.0]}, "validation: data must be None, a tensor"),
    ({"validation": X}, r"validation must hold the kinds of rows of data"),
    ({"validation": (X[:, :2], Y)}, r"'float32 \(3,\)', 'float32 \(1,\)'\], got \['float32 \(2"),
    ({"validation": (X, Y[:5])}, r"equally many rows, got rows \[20, 5\]"),
    ({"validation": (X[:0], Y[:0])}, r"got rows \[0, 0\]"),
    ({"validation": (X * float("nan"), Y)}, r"validation: data\[0\] has 20 rows with NaN"),
    ({"validation": (X, np.array(["a"] * 20))}, r"validation\[1\] must hold real numbers"),
    ({"checkpoint": 3}, "checkpoint must be a folder or None, got int"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[str(list(c)) for c, _ in REFUSED])
def test_bad_arguments_of_the_loop_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        quick_fit(Regression(), (X, Y), **change)


def test_bad_attributes_of_the_model_are_named():
    for name, value, message in (
        ("warm_up", -1, r"model.warm_up must be an integer of at least 0, got -1"),
        ("learning_rate", 0.0, r"model.learning_rate must be a positive number, got 0.0"),
        ("objective", lambda *batch, epoch: torch.zeros(2), r"shape \(\), got \(2,\)"),
        ("objective", lambda *batch, epoch: torch.zeros(()), "does not depend on any parameter"),
    ):
        model = Regression()
        setattr(model, name, value)
        with pytest.raises((ValueError, TypeError), match=message):
            quick_fit(model, (X, Y))
