"""The loop of `fit`: objectives, schedules, validation, early stopping."""

import random
from functools import partial

import numpy as np
import pytest
import torch
from objective_models import HELD_OUT, Codes, Line, Regression, X, Y, fit_full, same_fit
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro_programs import Autoencoder, NormalMean
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, ReduceLROnPlateau
from torch.utils.data import DataLoader, TensorDataset

import probact.inference as pi

quick_fit = partial(pi.fit, epochs=3, device="cpu", progress=False)
plain = partial(SGD, lr=0.1)


@pytest.fixture
def line():
    """x (10,) and y (10,) with least squares slope 3."""
    x = torch.linspace(0.5, 2.0, 10, dtype=torch.float64)
    return x, 3.0 * x


def test_gradient_descent_on_the_objective(line):
    x, _ = line
    model = Line()
    fit = quick_fit(model, line, epochs=5, optimizer=plain)
    # w_{t+1} = w_t + lr m (3 - w_t), m = mean x^2; the loss before a step is m (3 - w)^2 / 2
    m, w, losses = float((x**2).mean()), 0.0, []
    for _ in range(5):
        losses.append(0.5 * m * (3 - w) ** 2)
        w += 0.1 * m * (3 - w)
    assert fit.losses.tolist() == pytest.approx(losses, rel=1e-12)
    assert float(model.w.detach()) == pytest.approx(w, rel=1e-12)
    assert (fit.validation_losses, fit.best_epoch, fit.recipe) == (None, None, "none")
    with pytest.raises(ValueError, match="Line has no guide to draw from"):
        fit.to_arviz()


def test_losses_are_means_over_rows(line):
    class Frozen(Line):
        def objective(self, x, y, epoch=None):
            return super().objective(x, y, epoch).detach() + 0.0 * self.w

    x, y = line
    fit = quick_fit(Frozen(1.0), line, batch_size=4)  # batches of 4, 4 and 2 rows
    mean = float(0.5 * (y - x).square().mean())
    assert fit.losses.tolist() == pytest.approx([mean] * 3, rel=1e-12)


def test_the_objective_is_told_the_epoch_and_validation_that_there_is_none(line):
    model = Line()
    quick_fit(model, line, batch_size=5, epochs=2, validation=line)
    epochs = (None, None, 0, 0, None, None, 1, 1, None, None)  # both are tried before
    assert model.seen == [(e, 5, e is not None) for e in epochs]


@pytest.mark.parametrize(
    ("rows", "parts"), [(2500, [834, 833, 833]), (1001, [501, 500]), (1000, [1000])]
)
def test_validation_data_without_a_batch_size_come_in_even_parts(line, rows, parts):
    model = Line()
    held_out = tuple(v.repeat(250)[:rows] for v in line)
    quick_fit(model, line, epochs=1, validation=held_out)
    assert [n for e, n, _ in model.seen[2:] if e is None] == parts


def test_the_models_rate_is_that_of_adam(line):
    """Adam's first step is the rate, up to its epsilon."""
    for rate, model in ((0.01, Line()), (0.125, Line())):
        if rate != 0.01:
            model.learning_rate = rate
        quick_fit(model, line, epochs=1)
        assert float(model.w.detach()) == pytest.approx(rate, rel=1e-6)


def test_a_schedule_is_stepped_once_an_epoch(line):
    rates = []

    def factor(epoch):
        rates.append(epoch)
        return 0.0 if epoch else 1.0

    model = Line()
    fit = quick_fit(
        model, line, batch_size=5, optimizer=plain, schedule=partial(LambdaLR, lr_lambda=factor)
    )
    assert rates == [0, 1, 2, 3]
    assert fit.losses[1] == pytest.approx(float(fit.losses[2]), rel=1e-12)  # the rate is zero


class Noise(Line):
    """Counts its calls in a buffer and draws from all streams, in evaluation where `always`."""

    def __init__(self, always):
        super().__init__()
        self.always = always
        self.register_buffer("calls", torch.tensor(0))

    def objective(self, x, y, epoch=None):
        if epoch is None and not self.always:
            return super().objective(x, y, epoch)
        self.calls = self.calls + 1
        noise = torch.rand(()) + np.random.rand() + random.random()  # noqa: NPY002
        return super().objective(x, y, epoch) + noise


def test_the_call_before_the_training_leaves_no_trace(line):
    one, two = (quick_fit(Noise(always), line, batch_size=4, epochs=2) for always in (False, True))
    assert torch.equal(one.losses, two.losses)
    assert int(one.model.calls) == int(two.model.calls) == 6


def test_an_objective_may_differentiate(line):
    class Steep(Line):
        def objective(self, x, y, epoch=None):
            loss = super().objective(x, y, epoch)
            (slope,) = torch.autograd.grad(loss, self.w, create_graph=True)
            return loss + slope.square()

    assert quick_fit(Steep(), line).losses.isfinite().all()


def test_arrays_are_data_as_tensors_are(line):
    arrays = tuple(v.numpy() for v in line)
    for options in ({}, {"batch_size": 4}):
        one = quick_fit(Line(), line, validation=line, **options)
        two = quick_fit(Line(), arrays, validation=arrays, **options)
        assert torch.equal(one.losses, two.losses)
        assert torch.equal(one.validation_losses, two.validation_losses)


class Wave(nn.Module):
    """Its validation losses are `values`, by epoch; its parameter and its buffer count epochs."""

    def __init__(self, values, warm_up=0):
        super().__init__()
        self.values, self.warm_up = values, warm_up
        self.w = nn.Parameter(torch.tensor(0.0))
        self.register_buffer("count", torch.tensor(0), persistent=False)

    def objective(self, x, epoch=None):
        if epoch is None:
            return torch.tensor(self.values[int(self.count) - 1])
        self.count += 1
        return -self.w


@pytest.mark.parametrize(
    ("schedule", "losses"),
    [
        (partial(ExponentialLR, gamma=0.5), [0.0, -1.0, -1.5, -1.75]),
        # the second and third validation losses are no better
        (partial(ReduceLROnPlateau, factor=0.5, patience=0), [0.0, -1.0, -2.0, -2.5]),
    ],
)
def test_the_rate_of_every_epoch(schedule, losses):
    """Gradient descent on a linear loss moves by the rate."""
    model, unit = Wave([5.0, 6.0, 6.0, 6.0]), partial(SGD, lr=1.0)
    fit = quick_fit(model, X, optimizer=unit, schedule=schedule, epochs=4, validation=X)
    assert fit.losses.tolist() == losses


@pytest.mark.parametrize(
    ("values", "warm_up", "epochs", "best"),
    [
        ([5.0, 4.0, 4.0, 9.0, 0.0], 0, 4, 1),  # equal is no improvement
        ([5.0, 6.0, 4.0, 5.0, 3.0, 9.0, 9.0], 0, 7, 4),
        ([1.0, 6.0, 4.0, 5.0, 3.0, 9.0, 0.0], 3, 5, 0),  # from epoch 3 on
        ([9.0, 8.0, 7.0, 6.0, 5.0], 0, 5, 4),
    ],
)
def test_patience_and_the_best_epoch(values, warm_up, epochs, best):
    model = Wave(values, warm_up)
    fit = quick_fit(
        model, X, validation=X, patience=2, epochs=len(values), optimizer=partial(SGD, lr=1.0)
    )
    assert fit.validation_losses.tolist() == values[:epochs]
    assert (len(fit.losses), fit.best_epoch) == (epochs, best)
    # the parameters and buffers after the best epoch, in which the parameter grew by one as well
    assert (float(model.w.detach()), int(model.count)) == (best + 1, best + 1)


def test_validation_does_not_disturb_the_training():
    one, two = (
        fit_full(validation=v, patience=None, schedule=None, epochs=4) for v in (None, HELD_OUT)
    )
    assert torch.equal(one.losses, two.losses)


def test_validation_uses_the_same_random_numbers_every_time():
    class Noise(Line):
        def objective(self, x, y, epoch=None):
            noise = torch.rand((), dtype=torch.float64) + np.random.rand()  # noqa: NPY002
            return noise + 0.0 * self.w

    fit = quick_fit(Noise(), (X, Y), validation=HELD_OUT, batch_size=5)
    assert len(set(fit.validation_losses.tolist())) == 1
    assert len(set(fit.losses.tolist())) == 3


def test_a_shuffled_loader_of_validation_data_is_the_same_every_time():
    class First(Line):
        def objective(self, x, y, epoch=None):
            return x[0, 0] + 0.0 * self.w

    noise = torch.Generator().manual_seed(0)
    rows = TensorDataset(X, Y)
    loader = DataLoader(rows, batch_size=20, shuffle=True, generator=noise)
    fit = quick_fit(First(), loader, validation=loader)
    assert len(set(fit.validation_losses.tolist())) == 1
    alone = quick_fit(
        First(), DataLoader(rows, 20, shuffle=True, generator=torch.Generator().manual_seed(0))
    )
    assert torch.equal(fit.losses, alone.losses)


def test_every_part_gets_its_own_mode_back():
    model = Regression()
    model.net[1].eval()
    fit_full(model)
    assert [part.training for part in model.net] == [True, False, True, True]


def test_an_elbo_with_validation(x):
    fit = quick_fit(NormalMean(), x, epochs=5, validation=x[:7])
    assert fit.validation_losses.shape == (5,)
    fit = quick_fit(Autoencoder(), X, epochs=5, validation=X, patience=1, batch_size=8)
    assert fit.best_epoch is not None


def test_an_elbo_is_minimised_where_one_is_given():
    data = (X, torch.zeros(20))
    fit = quick_fit(Codes(), data, loss=Trace_ELBO())
    other = quick_fit(Codes(), data, loss=Trace_ELBO(), guide=AutoNormal)
    assert (fit.recipe, other.recipe) == ("model", "AutoNormal")


def test_a_fit_of_images_and_labels_keeps_few_rows_and_opens_again(tmp_path):
    data = (X.repeat(10, 1), torch.arange(200.0))
    fit = quick_fit(Codes(), data, validation=data)
    assert [len(part) for part in fit.batch] == [100, 100]
    assert not fit.whole
    assert fit.to_arviz(5).posterior["z"].shape == (1, 5, 100, 2)
    fit.save(tmp_path)
    back = pi.load(tmp_path, model=Codes(), device="cpu")
    assert torch.equal(back.validation_losses, fit.validation_losses)
    assert back.best_epoch == fit.best_epoch
    assert np.array_equal(back.to_arviz(5).posterior["z"], fit.to_arviz(5).posterior["z"])
    small = quick_fit(Codes(), (X, torch.zeros(20)))
    assert small.whole
    assert small.to_arviz(2).observed_data["x"].shape == (20, 3)


def test_a_model_without_a_guide_is_saved_too(line, tmp_path):
    fit = quick_fit(Line(), line)
    fit.save(tmp_path)
    back = pi.load(tmp_path, model=Line(), device="cpu")
    assert torch.equal(back.losses, fit.losses)
    assert (back.guide, back.validation_losses, back.best_epoch) == (None, None, None)


def test_same_seed_same_bits_with_everything():
    assert same_fit(fit_full(), fit_full())
    assert not torch.equal(fit_full().losses, fit_full(seed=4).losses)
