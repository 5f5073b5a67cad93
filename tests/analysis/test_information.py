"""Complexity of mixtures against closed forms, quadrature of SciPy's densities, plain draws."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from sklearn.datasets import load_digits
from statcheck import AlphaBudget
from torch import Tensor

from probact.analysis import Reading, complexity, relative_entropy, total_correlation
from probact.distributions import (
    DiagonalStudentTMixture,
    NormalInverseWishart,
    PosteriorPredictive,
    StudentTMixture,
)

F64 = torch.float64
FEW = torch.tensor([[-1.0, 0.5], [1.5, 2.0], [0.0, -1.0]], dtype=F64)


def f64(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=F64)


def random_mixture(seed: int, k: int, dim: int, df: Tensor, apart: float = 2.0) -> StudentTMixture:
    g = torch.Generator().manual_seed(seed)
    weights = torch.rand(k, generator=g, dtype=F64) + 0.2
    loc = apart * torch.randn(k, dim, generator=g, dtype=F64)
    root = torch.randn(k, dim, dim, generator=g, dtype=F64) / math.sqrt(dim)
    scale = root @ root.mT + 0.3 * torch.eye(dim, dtype=F64)
    return StudentTMixture(weights / weights.sum(), df, loc, torch.linalg.cholesky(scale))


def gaussian(data: Tensor) -> tuple[np.ndarray, np.ndarray]:
    return data.mean(0).numpy(), data.std(0, correction=0).numpy()


def check(budget: AlphaBudget, name: str, reading: Reading, want: float, slack: float = 0) -> None:
    """The reading is within what its standard error allows."""
    error = math.hypot(reading.standard_error, slack)
    budget.check(name, float(2 * stats.norm.sf(abs(reading.mean - want) / error)))


@pytest.mark.parametrize("df", [1e8, 1e10])
def test_gaussians_have_closed_forms(df: float) -> None:
    law = random_mixture(0, 1, 4, f64(df))
    data = torch.randn(30, 4, generator=torch.Generator().manual_seed(1), dtype=F64) * 2.0
    mean, sd = data.mean(0), data.std(0, correction=0)
    scale = (law.scale_tril @ law.scale_tril.mT)[0]
    square = ((law.loc[0] - mean) / sd).square() + scale.diagonal() / sd.square() - 1.0
    log_det = float(torch.logdet(scale))
    both = complexity(law, data)
    want = 0.5 * float(square.sum() + sd.square().log().sum() - log_det)
    assert both.relative_entropy.mean == pytest.approx(want, rel=1e-6)
    want = 0.5 * float(scale.diagonal().log().sum() - log_det)
    assert both.total_correlation.mean == pytest.approx(want, rel=1e-6)
    assert both.total_correlation.standard_error == 0.0


@pytest.mark.parametrize("df", [2.5, 3.0, 30.0])
def test_one_student_t_against_scipy(df: float) -> None:
    law = random_mixture(2, 1, 3, f64(df))
    mean, sd = gaussian(torch.randn(9, 3, generator=torch.Generator().manual_seed(3), dtype=F64))
    scale = (law.scale_tril @ law.scale_tril.mT)[0].numpy()
    joint = stats.multivariate_t(law.loc[0].numpy(), scale, df=df).entropy()
    apart = sum(stats.t(df, scale=math.sqrt(scale[i, i])).entropy() for i in range(3))
    assert total_correlation(law).mean == pytest.approx(apart - joint, abs=1e-9)
    square = ((law.loc[0].numpy() - mean) ** 2 + df / (df - 2.0) * np.diag(scale)) / sd**2
    want = -joint + 1.5 * math.log(2.0 * math.pi) + np.log(sd).sum() + 0.5 * square.sum()
    data = torch.from_numpy(np.stack([mean - sd, mean + sd]))
    assert relative_entropy(law, data).mean == pytest.approx(want, abs=1e-9)


def mixture_density(law: StudentTMixture, i: int, x: Any) -> Any:
    """Marginal density of coordinate i by scipy."""
    scale = (law.scale_tril @ law.scale_tril.mT)[:, i, i].sqrt()
    parts = [v.tolist() for v in (law.weights, law.df, law.loc[:, i], scale)]
    return sum(w * stats.t.pdf(x, v, m, s) for w, v, m, s in zip(*parts, strict=True))


def divergence_1d(law: StudentTMixture, i: int, mean: float, sd: float) -> float:
    """KL(p_i || m_i) by adaptive quadrature."""

    def integrand(angle: float) -> float:
        x = mean + sd * math.tan(angle)
        p = mixture_density(law, i, x)
        return p * (math.log(p) - stats.norm.logpdf(x, mean, sd)) * sd / math.cos(angle) ** 2

    end = 0.5 * math.pi - 1e-9
    return float(integrate.quad(integrand, -end, end, limit=400, epsabs=1e-9)[0])


def test_relative_entropy_on_the_line(budget: AlphaBudget) -> None:
    law = random_mixture(4, 3, 1, f64(3.5, 8.0, 50.0))
    mean, sd = gaussian(FEW[:, :1])
    want = divergence_1d(law, 0, mean[0], sd[0])
    check(budget, "KL on the line", relative_entropy(law, FEW[:, :1]), want)
    check(budget, "TC on the line", total_correlation(law), 0.0)


def test_both_in_the_plane(budget: AlphaBudget) -> None:
    law = random_mixture(5, 3, 2, f64(4.0, 6.0, 20.0), apart=1.0)
    angle = (np.arange(1500) + 0.5) / 1500 * np.pi - 0.5 * np.pi  # midpoints: periodic, so exact
    x, width = 3.0 * np.tan(angle), 3.0 / np.cos(angle) ** 2 * np.pi / 1500
    grid = np.stack(np.meshgrid(x, x, indexing="ij"), -1)
    scale = (law.scale_tril @ law.scale_tril.mT).numpy()
    parts = zip(law.weights.numpy(), law.df.numpy(), law.loc.numpy(), scale, strict=True)
    p = sum(w * stats.multivariate_t(m, s, df=v).pdf(grid) for w, v, m, s in parts)
    mass = p * width[:, None] * width[None, :]
    assert mass.sum() == pytest.approx(1.0, abs=1e-6)
    first, second = (mixture_density(law, i, x) for i in range(2))
    want = float((mass * (np.log(p) - np.log(first)[:, None] - np.log(second))).sum())
    both = complexity(law, FEW, num_samples=50_000)
    check(budget, "TC in the plane", both.total_correlation, want, slack=1e-6)
    mean, sd = gaussian(FEW)
    want += sum(divergence_1d(law, i, mean[i], sd[i]) for i in range(2))  # KL = TC + sum_i KL_i
    check(budget, "KL in the plane", both.relative_entropy, want, slack=1e-6)


@pytest.mark.parametrize("diagonal", [False, True])
def test_both_against_plain_draws(diagonal: bool, budget: AlphaBudget) -> None:
    law: Any = random_mixture(6, 4, 5, f64(9.0, 12.0, 20.0, 40.0), apart=1.0)
    if diagonal:
        law = DiagonalStudentTMixture(law.weights, law.df, law.loc, law.spread)
    data = torch.randn(20, 5, generator=torch.Generator().manual_seed(7), dtype=F64) * 3.0
    x = law.sample((100_000,), seed=8)
    log_p = law.log_prob(x)
    mean, sd = data.mean(0), data.std(0, correction=0)
    both = complexity(law, data)
    for name, reading, values in [
        (
            "KL",
            both.relative_entropy,
            log_p - torch.distributions.Normal(mean, sd).log_prob(x).sum(1),
        ),
        ("TC", both.total_correlation, log_p - law.marginal_log_prob(x).sum(1)),
    ]:
        error = float(values.std()) / math.sqrt(len(x))
        check(budget, f"{name} plain, {diagonal=}", reading, float(values.mean()), slack=error)
        assert reading.standard_error < error * math.sqrt(len(x) / 20_000)  # draw for draw


def digits_mixture() -> tuple[Tensor, StudentTMixture]:
    """Digits on 16 principal components, one cluster a class, and the new-cluster term."""
    images, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(images - images.mean(0))
    x, z = x @ torch.linalg.svd(x, full_matrices=False).Vh[:16].T, torch.from_numpy(labels)
    base = NormalInverseWishart.from_data(x)
    laws = [base.posterior(x[z == k]).predictive() for k in range(10)] + [base.predictive()]
    weights = torch.cat([torch.bincount(z).double(), f64(1.0)]) / (len(x) + 1)
    df = torch.stack([torch.as_tensor(law.df, dtype=F64) for law in laws])
    factors = torch.stack([law.scale_tril for law in laws])
    return x, StudentTMixture(weights, df, torch.stack([law.loc for law in laws]), factors)


def test_digits_are_read_to_three_hundredths(budget: AlphaBudget) -> None:
    x, law = digits_mixture()
    assert float(law.df.min()) == pytest.approx(3.0)  # the square in log m has no variance
    both = [complexity(law, x, num_samples=20_000, seed=seed) for seed in range(8)]
    for readings in zip(*both, strict=True):
        values = np.array([reading.mean for reading in readings])
        errors = np.array([reading.standard_error for reading in readings])
        assert values.std(ddof=1) <= 0.03
        ratio = values.var(ddof=1) * 7 / np.mean(errors**2)
        budget.check("errors as large as said", float(stats.chi2.sf(ratio, 7)))


def test_a_predictive_is_read_draw_by_draw() -> None:
    laws = [random_mixture(seed, 3, 2, f64(5.0, 6.0, 7.0)) for seed in range(3)]
    reading = relative_entropy(PosteriorPredictive(laws), FEW, seed=1)
    alone = torch.tensor([relative_entropy(law, FEW, seed=2).mean for law in laws])
    assert reading.per_draw.shape == reading.per_draw_error.shape == (3,)
    assert bool(((reading.per_draw - alone).abs() < 5 * 1.5 * reading.per_draw_error).all())
    assert reading.mean == pytest.approx(float(reading.per_draw.mean()))
    assert (reading.minimum, reading.maximum) == tuple(reading.per_draw.aminmax())
    want = float(reading.per_draw_error.square().sum().sqrt()) / 3
    assert reading.standard_error == pytest.approx(want)
    weighted = PosteriorPredictive(laws, f64(0.5, 0.5, 0.0))
    reading = relative_entropy(weighted, FEW)
    assert reading.mean == pytest.approx(float(reading.per_draw[:2].mean()))


def test_units_and_origin_do_not_matter() -> None:
    law = random_mixture(9, 3, 2, f64(4.0, 8.0, 16.0))
    unit, origin = f64(1e-6, 1e4), f64(1e3, -1e6)
    moved = StudentTMixture(
        law.weights, law.df, law.loc * unit + origin, unit[:, None] * law.scale_tril
    )
    for got, want in zip(
        complexity(moved, FEW * unit + origin), complexity(law, FEW), strict=True
    ):
        assert got.mean == pytest.approx(want.mean, rel=1e-5)


def test_the_same_seed_gives_the_same_numbers() -> None:
    law = random_mixture(10, 3, 2, f64(4.0, 8.0, 16.0))
    both = complexity(law, FEW, seed=5)
    assert both.relative_entropy.mean == relative_entropy(law, FEW, seed=5).mean
    assert both.total_correlation.mean == total_correlation(law, seed=5).mean
    assert total_correlation(law, seed=6).mean != both.total_correlation.mean


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    law = random_mixture(10, 3, 2, f64(4.0, 8.0, 16.0))
    want = total_correlation(law, num_samples=2000)
    monkeypatch.setattr("probact.analysis.information._CHUNK", 600)
    monkeypatch.setattr("probact.analysis.student_t_entropy._CHUNK", 600)
    got = total_correlation(law, num_samples=2000)
    assert abs(got.mean - want.mean) < 7 * want.standard_error  # other draws of the same stream


def test_single_precision_and_weights_of_zero() -> None:
    law = random_mixture(11, 2, 2, f64(4.0, 8.0))
    small = StudentTMixture(
        law.weights.float(), law.df.float(), law.loc.float(), law.scale_tril.float()
    )
    padded = StudentTMixture(
        torch.cat([law.weights, f64(0.0)]),
        torch.cat([law.df, f64(1.0)]),  # without a variance, but without a weight
        torch.cat([law.loc, f64([0.0, 0.0])]),
        torch.cat([law.scale_tril, torch.eye(2, dtype=F64)[None]]),
    )
    want = relative_entropy(law, FEW)
    assert relative_entropy(padded, FEW).mean == want.mean
    assert relative_entropy(small, FEW.float()).mean == pytest.approx(want.mean, rel=1e-5)


def test_an_infinite_relative_entropy_is_said_in_words() -> None:
    law = random_mixture(12, 2, 2, f64(5.0, 2.0))
    with pytest.raises(ValueError, match="relative entropy is infinite: a component has df = 2"):
        relative_entropy(law, FEW)
    assert math.isfinite(total_correlation(law).mean)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mixture": FEW}, TypeError, "mixture must be a StudentTMixture or Post.* got Tensor"),
        ({"x": FEW[:, :1]}, ValueError, "x must have 2 columns, as mixture, got 1"),
        ({"x": f64([1.0, 2.0], [1.0, 3.0])}, ValueError, "x is constant in column 0"),
        ({"x": FEW / 0.0}, ValueError, "x has .* rows with NaN or infinity"),
        ({"num_samples": 0}, ValueError, "num_samples must be an integer of at least 1"),
        ({"seed": -1}, ValueError, "seed must lie in"),
    ],
)
def test_refuses(options: dict[str, Any], error: type[Exception], message: str) -> None:
    law = random_mixture(13, 2, 2, f64(5.0, 6.0))
    arguments = {"mixture": law, "x": FEW, **options}
    with pytest.raises(error, match=message):
        complexity(**arguments)
