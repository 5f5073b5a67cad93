"""Asymmetric Laplace penalty against its density, its proximal map against scipy's minimisers."""

import doctest
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import Generator, Tensor, nn

from probact import datasets
from probact.distributions import AsymmetricLaplace
from probact.nn import ald_penalty, ald_prox

F64 = torch.float64
LOC = torch.tensor([-0.2, 0.0, 0.4], dtype=F64)
RIGHT = torch.tensor([0.5, 3.0, 0.0], dtype=F64)
LEFT = torch.tensor([2.0, 0.1, 1.0], dtype=F64)


@pytest.fixture
def weight() -> Tensor:
    return torch.randn(3, 40, dtype=F64, generator=Generator().manual_seed(0))


def test_penalty_is_the_negative_log_density_less_its_constant(weight: Tensor) -> None:
    right, left = RIGHT + 0.1, LEFT
    law = AsymmetricLaplace.from_rates(LOC[:, None], right[:, None], left[:, None])
    constant = (1.0 / right + 1.0 / left).log()[:, None]
    penalty = ald_penalty(weight, LOC, right, left, "none")
    torch.testing.assert_close(penalty, -law.log_prob(weight) - constant)
    total = ald_penalty(weight, LOC, right, left)
    torch.testing.assert_close(total, penalty.sum())
    torch.testing.assert_close(ald_penalty(weight, LOC, right, left, "mean"), penalty.mean())


def test_proximal_map_against_scipy(weight: Tensor) -> None:
    step = 0.3
    got = ald_prox(weight, LOC, RIGHT, LEFT, step)
    for k in range(3):
        m, r, left = (float(p[k]) for p in (LOC, RIGHT, LEFT))
        for w, v in zip(weight[k, :8].tolist(), got[k, :8].tolist(), strict=True):

            def objective(v: float, w: float = w, m: float = m, r: float = r, s: float = left):
                return r * max(v - m, 0) + s * max(m - v, 0) + (v - w) ** 2 / (2 * step)

            found = optimize.minimize_scalar(
                objective, bounds=(-8, 8), method="bounded", options={"xatol": 1e-10}
            )
            assert objective(v) <= found.fun + 1e-12
            assert v == pytest.approx(found.x, abs=1e-5)


def test_proximal_map_solves_the_subgradient_equation(weight: Tensor) -> None:
    """(w - v) / t lies in the subdifferential of P at v."""
    for step in (0.0, 0.05, 1.0, torch.tensor([0.1, 0.0, 2.0], dtype=F64)):
        v = ald_prox(weight, LOC, RIGHT, LEFT, step)
        pull, t = weight - v, torch.as_tensor(step, dtype=F64).reshape(-1, 1)
        m, right, left = (p[:, None] for p in (LOC, RIGHT, LEFT))
        low = torch.where(v > m, right, -left) * t
        high = torch.where(v < m, -left, right) * t
        assert (pull >= low - 1e-14).all()
        assert (pull <= high + 1e-14).all()
        assert ((v - m) * (weight - m) >= 0).all()  # never past m


def test_gradients(weight: Tensor) -> None:
    inputs = [p.clone().requires_grad_() for p in (weight, LOC, RIGHT + 0.1, LEFT)]
    assert torch.autograd.gradcheck(lambda *p: ald_penalty(*p), inputs)
    assert torch.autograd.gradcheck(lambda *p: ald_prox(*p, 0.3), inputs)
    at_mode = LOC[:, None].clone().requires_grad_()
    ald_penalty(at_mode, LOC, RIGHT, LEFT).backward()
    assert not at_mode.grad.any()


def test_shapes_and_types(weight: Tensor) -> None:
    kernel = torch.randn(3, 2, 5, 5, generator=Generator().manual_seed(1))
    whole = ald_penalty(kernel, LOC.float(), 1.0, LEFT.float())
    parts = [ald_penalty(kernel[k], float(LOC[k]), 1.0, float(LEFT[k])) for k in range(3)]
    torch.testing.assert_close(whole, torch.stack(parts).sum())
    assert ald_prox(kernel, 0.0, 1.0, 1.0).shape == kernel.shape
    assert ald_penalty(kernel, 0, 1, 1).dtype == torch.float32
    square = weight[:, :3]  # K = n: parameters belong to rows
    assert ald_penalty(square, 0.0, RIGHT, 0.0, "none")[2].sum() == 0.0  # r of class 2 is zero
    lasso = ald_prox(weight, 0.0, 1.0, 1.0, 0.5)
    torch.testing.assert_close(lasso, nn.functional.softshrink(weight, 0.5))


def train(steps: int, rate: float, proximal: bool) -> tuple[nn.Linear, float, float]:
    """Softmax regression on digits under the prior m = 0, r = 3, l = 1.5: loss and accuracy."""
    data = datasets.digits(train=True)
    x, y = data.floats().flatten(1)[:500], data.labels[:500]
    torch.manual_seed(0)
    head = nn.Linear(x.shape[1], 10)
    prior = (0.0, 3.0, 1.5)
    optimiser = torch.optim.SGD(head.parameters(), lr=rate)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(head(x), y)
        if not proximal:
            loss = loss + ald_penalty(head.weight, *prior) / len(x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if proximal:
            with torch.no_grad():
                head.weight.copy_(ald_prox(head.weight, *prior, step=rate / len(x)))
    with torch.no_grad():
        loss = nn.functional.cross_entropy(head(x), y) + ald_penalty(head.weight, *prior) / len(x)
        test = datasets.digits(train=False)
        hit = head(test.floats().flatten(1)).argmax(1) == test.labels
    return head, loss.item(), hit.double().mean().item()


def test_training_with_the_penalty_and_by_proximal_steps() -> None:
    smooth, loss, accuracy = train(100, 1.0, proximal=False)
    sparse, loss_proximal, accuracy_proximal = train(100, 1.0, proximal=True)
    assert min(accuracy, accuracy_proximal) > 0.85
    assert loss_proximal < loss + 1e-3  # they minimise the same function
    assert (sparse.weight == 0).double().mean() > 0.1  # rest at the mode, exactly
    assert not (smooth.weight == 0).any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0.0, -1.0, 1.0), "rate_right must be finite and >= 0, got -1.0"),
        ((0.0, 1.0, math.nan), "rate_left must be finite"),
        ((math.inf, 1.0, 1.0), "loc must be finite"),
        ((torch.zeros(40), 1.0, 1.0), r"loc must be a number or of shape \(3,\)"),
        ((0.0, torch.ones(3, 1), 1.0), "rate_right must be a number or of shape"),
    ],
)
def test_refused_parameters(weight: Tensor, arguments: tuple, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ald_penalty(weight, *arguments)
    with pytest.raises(ValueError, match=words):
        ald_prox(weight, *arguments)


def test_other_refusals(weight: Tensor) -> None:
    with pytest.raises(ValueError, match="reduction"):
        ald_penalty(weight, 0.0, 1.0, 1.0, "max")
    with pytest.raises(ValueError, match="step must be finite and >= 0"):
        ald_prox(weight, 0.0, 1.0, 1.0, -0.1)
    with pytest.raises(ValueError, match="axis of classes"):
        ald_penalty(torch.tensor(1.0), 0.0, 1.0, 1.0)
    for wrong in (np.ones((2, 2)), torch.ones(2, 2, dtype=torch.int64)):
        with pytest.raises(TypeError, match="weight must be a floating tensor"):
            ald_penalty(wrong, 0.0, 1.0, 1.0)
    for wrong in ("1", True, [1.0], torch.ones(3, dtype=torch.int64)):
        with pytest.raises(TypeError, match="rate_left must be a number"):
            ald_penalty(weight, 0.0, 1.0, wrong)


def test_the_page_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "laplace_penalty.md").read_text(encoding="utf-8")
    assert "```python\n>>> psi" in page
    names: dict = {}
    runner = doctest.DocTestRunner()
    test = doctest.DocTestParser().get_doctest(
        page.replace("```", ""), names, "laplace_penalty.md", None, 0
    )
    assert runner.run(test).failed == 0
