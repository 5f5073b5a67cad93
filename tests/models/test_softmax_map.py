"""The mode and the curvature of softmax regression, against autograd and scikit-learn."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Generator, Tensor

from probact.models import softmax_map as module
from probact.models.softmax_map import (
    neg_log_joint,
    softmax_hessian,
    softmax_hessian_blocks,
    softmax_map,
)


def problem(n: int = 40, dim: int = 3, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    stream = Generator().manual_seed(seed)
    z = torch.randn(n, dim, dtype=torch.float64, generator=stream)
    z[:, -1] = 1.0
    return z, torch.randint(classes, (n,), generator=stream)


PRECISION = torch.tensor([0.7, 0.7, 0.01], dtype=torch.float64)


def test_hessian_is_that_of_autograd(generator: Generator) -> None:
    z, y = problem()
    theta = torch.randn(4, 3, dtype=torch.float64, generator=generator)
    exact = torch.autograd.functional.hessian(
        lambda t: neg_log_joint(t.reshape(4, 3), z, y, PRECISION), theta.flatten()
    )
    probs = torch.softmax(z @ theta.T, 1)
    torch.testing.assert_close(softmax_hessian(z, probs, PRECISION), exact, rtol=1e-12, atol=1e-12)
    blocks = softmax_hessian_blocks(z, probs, PRECISION)
    for k in range(4):
        mine = exact[3 * k : 3 * k + 3, 3 * k : 3 * k + 3]
        torch.testing.assert_close(blocks[k], mine, rtol=1e-12, atol=1e-12)


def test_gradient_vanishes_at_the_mode() -> None:
    z, y = problem()
    theta = softmax_map(z, y, 4, PRECISION).requires_grad_()
    (gradient,) = torch.autograd.grad(neg_log_joint(theta, z, y, PRECISION), theta)
    assert float(gradient.abs().max()) < 1e-7


def test_mode_is_that_of_scikit_learn() -> None:
    z, y = problem(60)
    even = torch.full((3,), 2.0, dtype=torch.float64)
    theta = softmax_map(z, y, 4, even)
    other = LogisticRegression(C=0.5, fit_intercept=False, tol=1e-10, max_iter=10_000)
    weight = other.fit(z.numpy(), y.numpy()).coef_
    torch.testing.assert_close(theta, torch.from_numpy(weight), rtol=0, atol=1e-5)


def test_separable_rows_and_a_far_start_converge() -> None:
    z = torch.tensor([[-100.0, 1.0], [-50.0, 1.0], [50.0, 1.0], [100.0, 1.0]]).double()
    y, weak = torch.tensor([0, 0, 1, 1]), torch.full((2,), 1e-6).double()
    theta = softmax_map(z, y, 2, weak)
    far = softmax_map(z, y, 2, weak, start=torch.tensor([[30.0, -5.0], [-40.0, 7.0]]))
    one, two = (float(neg_log_joint(t, z, y, weak)) for t in (theta, far))
    assert two == pytest.approx(one, abs=1e-9)  # the tolerance, in nats
    assert torch.softmax(z @ theta.T, 1).argmax(1).tolist() == y.tolist()


def test_conjugate_gradients_find_the_same_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    z, y = problem(80, 6, 5, seed=3)
    precision = torch.logspace(-3, 1, 6, dtype=torch.float64)
    direct = softmax_map(z, y, 5, precision)
    monkeypatch.setattr(module, "DIRECT_LIMIT", 0)
    torch.testing.assert_close(softmax_map(z, y, 5, precision), direct, rtol=1e-4, atol=1e-5)


def test_a_class_without_rows_keeps_its_prior_mean_weight() -> None:
    z, y = problem()
    theta = softmax_map(z, y, 5, PRECISION)  # class 4 has no row
    assert torch.isfinite(theta).all()
    assert float(torch.softmax(z @ theta.T, 1)[:, 4].max()) < 0.05
