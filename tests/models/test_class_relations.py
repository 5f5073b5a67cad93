"""Class relations against quadrature on the circle and brute force on spheres."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from sphere_oracles import softmax, unit_rows, vmf_draws
from statcheck import AlphaBudget

from probact.models import VMFClassifier
from probact.models.class_relations import ClassRelations

F64 = torch.float64


def on_the_circle(weight: np.ndarray, kappa: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """E softmax(W x + b) (C, C) over the von Mises density: periodic trapezoid, exact to 1e-14."""
    angle = np.linspace(0.0, 2.0 * np.pi, 4000, endpoint=False)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    probs = softmax(x @ weight.T + bias)
    rows = []
    for w, k in zip(weight, kappa, strict=True):
        density = np.exp(k * (x @ w / np.linalg.norm(w) - 1.0))
        rows.append(density @ probs / density.sum())
    return np.stack(rows)


def largest_departure(found: ClassRelations, expected: np.ndarray, error: np.ndarray) -> float:
    """Bonferroni p-value of the largest z-score over all entries, of combined standard errors."""
    combined = np.hypot(found.standard_error.numpy(), error)
    z = np.abs(found.probs.numpy() - expected) / combined
    return float(min(1.0, z.size * 2.0 * stats.norm.sf(z.max())))


def case(dim: int, num_classes: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(dim)
    weight = scale * rng.uniform(0.5, 1.5, (num_classes, 1)) * unit_rows(rng, num_classes, dim)
    return weight, rng.normal(size=num_classes)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("kappa", [0.0, 2.0, 300.0, "norm", (0.1, 1.0, 10.0, 100.0, 1000.0)])
def test_exact_on_the_circle(kappa: object, with_bias: bool, budget: AlphaBudget) -> None:
    weight, bias = case(2, 5, 6.0)
    values = np.linalg.norm(weight, axis=1) if kappa == "norm" else np.broadcast_to(kappa, (5,))
    given = torch.tensor(kappa, dtype=F64) if isinstance(kappa, tuple) else kappa
    model = VMFClassifier(weight, given, bias=bias if with_bias else None)
    found = model.estimate_class_relations(6000, seed=1)
    exact = on_the_circle(weight, values, bias * with_bias)
    name = f"circle, kappa {kappa}, bias {with_bias}"
    budget.check(name, largest_departure(found, exact, np.zeros_like(exact)))
    assert torch.equal(model.class_relations(6000, seed=1), found.probs)


@pytest.mark.parametrize(
    ("dim", "kappa", "scale"), [(3, 4.0, 5.0), (16, 30.0, 8.0), (100, 85.0, 9)]
)
@pytest.mark.parametrize("per_class", [False, True])
def test_brute_force(
    dim: int, kappa: float, scale: float, per_class: bool, budget: AlphaBudget
) -> None:
    weight, bias = case(dim, 4, scale)
    kappas = kappa * np.array([0.2, 0.5, 1.0, 2.0]) if per_class else np.full(4, kappa)
    rng = np.random.default_rng(dim + per_class)
    means, errors = np.empty((4, 4)), np.empty((4, 4))
    for i, k in enumerate(kappas):
        x = vmf_draws(weight[i] / np.linalg.norm(weight[i]), k, 5000, rng)
        h = softmax(x @ weight.T + bias)
        means[i], errors[i] = h.mean(0), h.std(0, ddof=1) / np.sqrt(5000)
    given = torch.tensor(kappas) if per_class else kappa
    found = VMFClassifier(weight, given, bias=bias).estimate_class_relations(8000)
    name = f"brute force, d = {dim}, per class {per_class}"
    budget.check(name, largest_departure(found, means, errors))
    # pairs and regression earn their keep: no worse than as many plain draws
    assert (found.standard_error.numpy() <= 1.1 * errors * (5000 / 8000) ** 0.5).all()


@pytest.mark.parametrize(("dim", "per_class"), [(2, False), (3, True), (16, False)])
def test_standard_errors_are_calibrated(dim: int, per_class: bool, budget: AlphaBudget) -> None:
    """(S-1) spread^2 / error^2 over S seeds is chi-square, up to a bias of 3 % in the errors."""
    weight, bias = case(dim, 3, 4.0)
    kappa = torch.tensor([1.0, 5.0, 25.0]) if per_class else 5.0
    model = VMFClassifier(weight, kappa, bias=bias)
    runs = [model.estimate_class_relations(1000, seed=s) for s in range(300)]
    spread = torch.stack([run.probs for run in runs]).std(0).numpy()
    reported = torch.stack([run.standard_error.square() for run in runs]).mean(0).sqrt().numpy()
    ratio = spread / reported
    p = 2.0 * np.minimum(*(f(299 * (ratio / a) ** 2, 299) for f, a in (
        (stats.chi2.sf, 1.03), (stats.chi2.cdf, 0.97)
    )))  # fmt: skip
    budget.check(f"standard errors, d = {dim}", float(min(1.0, p.min() * p.size)))
    assert abs(ratio.mean() - 1.0) < 0.1


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("dim", [2, 3, 9, 40])
@pytest.mark.parametrize("num_samples", [4, 5, 7, 30, 1000])
def test_rows_are_probabilities(dtype: torch.dtype, dim: int, num_samples: int) -> None:
    weight, bias = case(dim, 6, 30.0)
    for kappa in (0.0, 3.0, 500.0):
        model = VMFClassifier(torch.tensor(weight).to(dtype), kappa, bias=bias)
        for seed in range(3):
            found = model.estimate_class_relations(num_samples, seed=seed)
            assert found.probs.dtype == found.standard_error.dtype == dtype
            tolerance = 1e-6 if dtype == torch.float32 else 1e-10  # two pairs regress steeply
            assert (found.probs.sum(1) - 1.0).abs().max() <= tolerance
            assert (found.probs >= 0).all()
            assert torch.isfinite(found.standard_error).all()


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("dim", [2, 3, 16, 100])
def test_large_kappa_is_the_network_at_its_own_rows(dtype: torch.dtype, dim: int) -> None:
    """Draws shrink onto mu: within |W| sqrt(d / kappa) of softmax(W mu_i + b)."""
    weight, bias = case(dim, 4, 5.0)
    mu = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    expected = softmax(mu @ weight.T + bias)
    for kappa in (1e8, 1e10, 1e12, 1e15, 1e20):
        model = VMFClassifier(torch.tensor(weight).to(dtype), kappa, bias=bias)
        found = model.class_relations(100).numpy()
        tolerance = 20.0 * dim / kappa + (5e-6 if dtype == torch.float32 else 1e-12)
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def test_rows_are_equal_for_the_uniform_law() -> None:
    weight, bias = case(3, 4, 5.0)
    found = VMFClassifier(weight, 0.0, bias=bias).estimate_class_relations(40_000)
    assert ((found.probs - found.probs[0]).abs() < 6.0 * 2**0.5 * found.standard_error).all()


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch, budget: AlphaBudget) -> None:
    """With one, with many, and with a ragged last block the estimate has the same law."""
    weight, bias = case(2, 5, 6.0)
    exact = on_the_circle(weight, np.full(5, 3.0), bias)
    for block in (60, 335, 1 << 20):
        monkeypatch.setattr("probact.models.class_relations._BLOCK", block)
        found = VMFClassifier(weight, 3.0, bias=bias).estimate_class_relations(1001, seed=block)
        p = largest_departure(found, exact, np.zeros_like(exact))
        budget.check(f"blocks of {block} logits", p)


def test_noise_along_a_mean_direction_is_no_division_by_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the circle this happens once in 10^8 draws: here always."""
    monkeypatch.setattr(torch, "randn", lambda n, d, **options: torch.ones(n, d, dtype=F64))
    weight = np.ones((3, 2)) * np.array([[1.0], [3.0], [0.7]])
    found = VMFClassifier(weight, 5.0).estimate_class_relations(100)
    assert torch.isfinite(found.probs).all()
    assert torch.isfinite(found.standard_error).all()


def test_draws_of_kappa_are_refused_and_one_kappa_is_taken() -> None:
    weight, _ = case(3, 4, 5.0)
    model = VMFClassifier(weight, dist.LogNormal(2.0, 1.0))
    with pytest.raises(ValueError, match="is a prior here"):
        model.class_relations(100)
    with pytest.raises(ValueError, match="not draws of it"):
        model.class_relations(100, concentration=torch.ones(7))
    one = model.class_relations(100, concentration=torch.tensor(5.0))
    assert torch.equal(one, VMFClassifier(weight, 5.0).class_relations(100))
    kappa = torch.tensor([1.0, 2.0, 3.0, 4.0])
    many = VMFClassifier(weight, dist.LogNormal(torch.zeros(4), 1.0))
    found = many.class_relations(100, concentration=kappa)
    assert torch.equal(found, VMFClassifier(weight, kappa).class_relations(100))


def test_weights_whose_logits_overflow_are_refused() -> None:
    weight, _ = case(3, 4, 5.0)
    for huge in (torch.tensor(1e37 * weight).float(), torch.tensor(1e306 * weight)):
        dtype = torch.float32 if huge.dtype == torch.float32 else F64
        wide = torch.cat([huge, torch.zeros(4, 20, dtype=dtype)], dim=1)
        with pytest.raises(ValueError, match="logits overflow"):
            VMFClassifier(wide, 5.0).class_relations(100)
