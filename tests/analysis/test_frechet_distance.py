"""Frechet distance against closed forms, SciPy, mpmath, the plain jackknife, repeated samples."""

import math
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from bad_inputs import data_cases, verdict
from numpy.typing import NDArray
from scipy import linalg, stats
from scipy.spatial.transform import Rotation
from statcheck import AlphaBudget

from probact.analysis import extrapolated_frechet_distance, frechet_distance

Array = NDArray[np.float64]


def exact_sample(mean: Array, root: Array, size: int, seed: int = 0) -> Array:
    """Rows whose mean is `mean` and whose unbiased covariance is root root', to rounding."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(size, root.shape[1]))
    q, _ = np.linalg.qr(noise - noise.mean(0))
    return mean + math.sqrt(size - 1) * q @ root.T


def by_scipy(a: Array, b: Array) -> float:
    """The textbook formula."""
    s_a, s_b = np.cov(a.T), np.cov(b.T)
    root = linalg.sqrtm(s_a @ s_b).real
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s_a + s_b - 2.0 * root))


@pytest.mark.parametrize("dim", [1, 2, 7])
def test_gaussians_with_common_axes(dim: int) -> None:
    """d^2 = |m_a - m_b|^2 + sum_i (s_i - t_i)^2 for standard deviations s, t on common axes."""
    rng = np.random.default_rng(dim)
    axes = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    s, t = rng.uniform(0.1, 3.0, (2, dim))
    m_a, m_b = rng.normal(size=(2, dim))
    a, b = exact_sample(m_a, axes * s, 40), exact_sample(m_b, axes * t, 50, seed=1)
    d = frechet_distance(a, b)
    assert d.mean_part == pytest.approx(((m_a - m_b) ** 2).sum(), rel=1e-10)
    assert d.covariance_part == pytest.approx(((s - t) ** 2).sum(), rel=1e-10)
    assert d.value == pytest.approx(d.mean_part + d.covariance_part)


def test_turned_ellipse() -> None:
    """Covariances that do not commute: tr (S_a S_b)^(1/2) in 2-d from trace and determinant."""
    turn = Rotation.from_euler("z", 0.7).as_matrix()[:2, :2]
    root = np.diag([2.0, 0.5])
    a, b = exact_sample(np.zeros(2), root, 30), exact_sample(np.zeros(2), turn @ root, 40)
    s_a, s_b = root @ root.T, turn @ root @ root.T @ turn.T
    product = s_a @ s_b
    trace_root = math.sqrt(np.trace(product) + 2.0 * math.sqrt(np.linalg.det(product)))
    want = np.trace(s_a + s_b) - 2.0 * trace_root
    assert frechet_distance(a, b).value == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize(("n", "m", "dim"), [(200, 300, 5), (400, 150, 48), (30, 40, 25)])
def test_against_scipy(n: int, m: int, dim: int) -> None:
    rng = np.random.default_rng(n)
    a = rng.normal(size=(n, dim)) @ rng.normal(size=(dim, dim))
    b = rng.normal(size=(m, dim)) @ rng.normal(size=(dim, dim)) + 1.0
    assert frechet_distance(a, b).value == pytest.approx(by_scipy(a, b), rel=1e-9)


def test_ill_conditioned_against_mpmath() -> None:
    """Standard deviations from 1 to 1e-7, of which doubles keep few digits in S_a S_b."""
    rng = np.random.default_rng(5)
    spread = np.array([1.0, 1e-2, 1e-4, 1e-7])
    a = (rng.normal(size=(12, 4)) * spread) @ np.linalg.qr(rng.normal(size=(4, 4)))[0]
    b = a + (rng.normal(size=(12, 4)) * spread) * 1e-3
    with mpmath.workdps(60):
        covariances, means = [], []
        for x in (a, b):
            rows = mpmath.matrix(x.tolist())
            ones = mpmath.ones(12, 1)
            mean = (ones.T * rows) / 12
            centred = rows - ones * mean
            means.append(mean)
            covariances.append(centred.T * centred / 11)
        s_a, s_b = covariances
        values, vectors = mpmath.eigsy(s_a)
        root = vectors * mpmath.diag([mpmath.sqrt(v) for v in values]) * vectors.T
        inner = mpmath.eigsy(root * s_b * root, eigvals_only=True)
        gap = means[0] - means[1]
        want = (gap * gap.T)[0] + sum((s_a + s_b)[i, i] for i in range(4))
        want = float(want - 2 * sum(mpmath.sqrt(v) for v in inner))
    assert want < 1e-5  # six digits of the traces cancel
    assert frechet_distance(a, b).value == pytest.approx(want, rel=1e-7)


def test_singular_covariances() -> None:
    """Fewer rows than columns; samples on one line, on lines at right angles, of equal rows."""
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(5, 9)), rng.normal(size=(4, 9)) + 1.0
    s_a, s_b = np.cov(a.T), np.cov(b.T)
    inner = np.linalg.eigvals(s_a @ s_b).real.clip(min=0.0)
    want = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s_a + s_b) - 2 * np.sqrt(inner).sum()
    assert frechet_distance(a, b).value == pytest.approx(want, rel=1e-6)
    line = np.array([[1.0], [2.0], [2.0]])
    one, three = exact_sample(np.zeros(3), line, 9), exact_sample(np.zeros(3), 3.0 * line, 9)
    assert frechet_distance(one, three).value == pytest.approx(36.0)  # (9 - 3)^2
    across = exact_sample(np.zeros(3), np.array([[2.0], [-2.0], [1.0]]), 9)
    assert frechet_distance(one, across).value == pytest.approx(18.0)  # 9 + 9
    flat = np.ones((4, 3))
    assert frechet_distance(flat, flat + 2.0) == (12.0, 0.0, 12.0, 0.0)


def test_zero_for_the_same_rows_in_another_order() -> None:
    a = 1e3 + np.random.default_rng(0).normal(size=(60, 20))
    d = frechet_distance(a, a[::-1])
    assert 0.0 <= d.value < 1e-18
    assert d.standard_error < 1e-8


def test_symmetry_and_units() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(70, 4)), rng.normal(size=(50, 4)) * 2.0
    want = frechet_distance(a, b)
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    for got in (frechet_distance(b, a), frechet_distance(a @ turn + 5.0, b @ turn + 5.0)):
        assert got == pytest.approx(want, rel=1e-9)
    for unit in (1e-60, 1e120):
        got = frechet_distance(unit * a, unit * b)
        assert got == pytest.approx(tuple(unit**2 * v for v in want), rel=1e-9)
    single = frechet_distance(a.astype(np.float32), torch.from_numpy(b).float())
    assert single == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize(("n", "m", "dim"), [(150, 200, 4), (90, 60, 20)])
def test_standard_error_is_the_jackknifes(n: int, m: int, dim: int) -> None:
    rng = np.random.default_rng(dim)
    a = rng.standard_t(9, size=(n, dim))
    b = rng.normal(size=(m, dim)) @ rng.normal(size=(dim, dim)) + 0.5
    variance = 0.0
    for size, without in (
        (n, [frechet_distance(np.delete(a, i, 0), b).value for i in range(n)]),
        (m, [frechet_distance(a, np.delete(b, i, 0)).value for i in range(m)]),
    ):
        variance += (size - 1) ** 2 / size * np.var(without, ddof=1)
    assert frechet_distance(a, b).standard_error == pytest.approx(math.sqrt(variance), rel=0.1)


def test_repeated_samples(budget: AlphaBudget) -> None:
    """Over 300 pairs: the error is as large as said; extrapolation takes most of the bias out."""
    spread = np.linspace(0.7, 1.5, 6)
    truth = 6 * 0.09 + ((1.0 - spread) ** 2).sum()
    values, errors, extrapolated = [], [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=(400, 6)), 0.3 + spread * rng.normal(size=(300, 6))
        d = frechet_distance(a, b)
        values.append(d.value)
        errors.append(d.standard_error)
        extrapolated.append(extrapolated_frechet_distance(a, b, num_splits=2).value)
    ratio = 299 * np.var(values, ddof=1) / np.mean(np.square(errors))
    budget.check(
        "Frechet error", float(2 * min(stats.chi2.cdf(ratio, 299), stats.chi2.sf(ratio, 299)))
    )
    error_of_mean = np.std(values, ddof=1) / math.sqrt(300)
    bias, left = np.mean(values) - truth, np.mean(extrapolated) - truth
    assert bias > 8 * error_of_mean  # what the bias note is about
    slack = 0.05 * bias  # its terms beyond 1/N
    z = max(0.0, abs(left) - slack) / (np.std(extrapolated, ddof=1) / math.sqrt(300))
    budget.check("extrapolated distance", float(2 * stats.norm.sf(z)))


def test_extrapolation_of_one_law_is_around_zero() -> None:
    rng = np.random.default_rng(11)
    a, b = rng.normal(size=(2, 1000, 10))
    plain, d = frechet_distance(a, b), extrapolated_frechet_distance(a, b)
    assert plain.value > 0.05
    assert abs(d.value) < 0.3 * plain.value
    assert d == extrapolated_frechet_distance(a, b, seed=0)
    assert d.value != extrapolated_frechet_distance(a, b, seed=1).value
    assert d.value == pytest.approx(d.mean_part + d.covariance_part)


@pytest.mark.parametrize(("name", "make", "expect"), list(data_cases()))
def test_awkward_features(name: str, make: Any, expect: str) -> None:
    wanted = "either" if expect == "ok" and name.startswith("N=1") else expect

    def thunk() -> Any:
        return frechet_distance(make(), make())

    assert verdict(thunk, wanted, lambda d: all(math.isfinite(v) for v in d)) is None


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((4, 2)), np.zeros((4, 3)), r"same columns, got shapes \(4, 2\) and \(4, 3\)"),
        (np.zeros((4, 2)), np.zeros((1, 2)), "b must have at least 2 rows for a cov.* got 1"),
        (np.full((4, 2), np.nan), np.zeros((4, 2)), "a has 4 rows with NaN"),
        (np.full((4, 2), 1e200), np.zeros((4, 2)), "a and b must be below 1e150"),
        (np.zeros(4), np.zeros((4, 2)), "a must be a matrix"),
    ],
)
def test_refuses(a: Array, b: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frechet_distance(a, b)


def test_refuses_to_extrapolate_from_few_rows() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 30, 15))
    with pytest.raises(ValueError, match="a must have at least 32 rows in 15 dimensions"):
        extrapolated_frechet_distance(a, b)
    with pytest.raises(ValueError, match="num_splits must be"):
        extrapolated_frechet_distance(a[:, :2], b[:, :2], num_splits=0)
    with pytest.raises(ValueError, match="seed must"):
        extrapolated_frechet_distance(a[:, :2], b[:, :2], seed=-1)
