"""Laws of codes: densities by scipy and quadrature, marginals kept, dependence lost, refusals."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from bad_inputs import data_cases, verdict
from scipy import stats
from scipy.spatial.transform import Rotation
from statcheck import AlphaBudget, dkw_min_samples, dkw_pvalue
from torch import Tensor

from probact.analysis import total_correlation
from probact.distributions import (
    DiagonalStudentTMixture,
    NormalInverseWishart,
    PosteriorPredictive,
    SphereUniform,
    StudentTMixture,
)
from probact.models import DPGMM
from probact.models.code_densities import (
    CodeLaw,
    Gaussian,
    MarginalProduct,
    code_laws,
    gaussian,
    isotropic_gaussian,
    product_of_marginals,
)

F64 = torch.float64
WEIGHTS, DF = torch.tensor([0.5, 0.2, 0.3], dtype=F64), torch.tensor([3.5, 8.0, 40.0], dtype=F64)


def correlated(size: int, dim: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(size, dim)) @ rng.normal(size=(dim, dim)) + rng.normal(size=dim)


def tied(dim: int = 2, seed: int = 0, diagonal: bool = False) -> Any:
    """A mixture whose coordinates move together."""
    rng = np.random.default_rng(seed)
    loc = np.array([[-4.0], [0.0], [5.0]]) + 0.3 * rng.normal(size=(3, dim))
    root = np.tril(rng.normal(size=(3, dim, dim)), -1) + np.eye(dim) * rng.uniform(0.5, 1, dim)
    factors = torch.tensor(root)
    if diagonal:
        scale = factors.diagonal(dim1=-2, dim2=-1)
        return DiagonalStudentTMixture(WEIGHTS, DF, torch.tensor(loc), scale)
    return StudentTMixture(WEIGHTS, DF, torch.tensor(loc), factors)


def marginal_law(law: Any, i: int) -> Any:
    """density and distribution function of coordinate i by scipy, weights and laws written out."""
    mixtures = law.mixtures if isinstance(law, PosteriorPredictive) else [law]
    parts = [
        (w.item() / len(mixtures), stats.t(df.item(), m.item(), s.item()))
        for mixture in mixtures
        for w, df, m, s in zip(
            mixture.weights, mixture.df, mixture.loc[:, i], mixture.spread[:, i], strict=True
        )
    ]
    return (
        lambda x: sum(w * t.pdf(x) for w, t in parts),
        lambda x: sum(w * t.cdf(x) for w, t in parts),
    )


LAWS = {
    "full": tied(),
    "diagonal": tied(diagonal=True),
    "draws": PosteriorPredictive([tied(seed=1), tied(seed=2)]),
}


@pytest.mark.parametrize("name", LAWS)
def test_density_is_the_product_of_the_marginals(name: str) -> None:
    law = LAWS[name]
    x = 5.0 * torch.randn(2, 40, 2, dtype=F64)
    want = sum(np.log(marginal_law(law, i)[0](x[..., i].numpy())) for i in range(2))
    got = product_of_marginals(law).log_prob(x)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-11)


def test_density_integrates_to_one() -> None:
    angle = (torch.arange(800, dtype=F64) + 0.5) / 800 * math.pi - 0.5 * math.pi
    x, width = 4.0 * angle.tan(), 4.0 / angle.cos().square() * math.pi / 800
    grid = torch.stack(torch.meshgrid(x, x, indexing="ij"), -1)
    for law in (product_of_marginals(tied()), gaussian(correlated(30, 2))):
        mass = law.log_prob(grid).exp() * width[:, None] * width
        assert float(mass.sum()) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", LAWS)
def test_draws_keep_the_marginals_and_lose_the_dependence(name: str, budget: AlphaBudget) -> None:
    law = LAWS[name]
    size = dkw_min_samples(0.03)
    x = product_of_marginals(law).sample((size,), seed=3)
    ranks = np.empty((size, 2))
    for i in range(2):
        cdf = marginal_law(law, i)[1]
        budget.check(f"marginal {i}, {name}", dkw_pvalue(x[:, i].numpy(), cdf))
        ranks[:, i] = cdf(x[:, i].numpy())
    # independent uniform ranks fill the cells of a table evenly; the joint law's do not
    cells, _, _ = np.histogram2d(*ranks.T, bins=4, range=[[0, 1], [0, 1]])
    budget.check(f"independent, {name}", float(stats.chisquare(cells.ravel()).pvalue))
    together = law.sample((size,), seed=3).numpy()
    ranks = np.stack([marginal_law(law, i)[1](together[:, i]) for i in range(2)])
    cells, _, _ = np.histogram2d(*ranks, bins=4, range=[[0, 1], [0, 1]])
    assert stats.chisquare(cells.ravel()).pvalue < 1e-100


def test_total_correlation_is_the_distance_to_the_product(budget: AlphaBudget) -> None:
    law = tied(seed=4)
    x = law.sample((20_000,), seed=5)
    excess = (law.log_prob(x) - product_of_marginals(law).log_prob(x)).numpy()
    reading = total_correlation(law)
    error = math.hypot(excess.std() / math.sqrt(len(excess)), reading.standard_error)
    z = abs(excess.mean() - reading.mean) / error
    budget.check("KL to the product of marginals", float(2 * stats.norm.sf(z)))


@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
@pytest.mark.parametrize("name", [*LAWS, "gaussian"])
def test_shapes_and_seeds(name: str, shape: tuple[int, ...]) -> None:
    law = gaussian(correlated(30, 2)) if name == "gaussian" else product_of_marginals(LAWS[name])
    first = law.sample(shape, seed=1)
    assert first.shape == (*shape, 2)
    assert torch.equal(first, law.sample(shape, seed=1))
    stream = torch.Generator().manual_seed(1)
    assert torch.equal(first, law.sample(shape, generator=stream))
    assert not torch.equal(first, law.sample(shape, generator=stream))
    assert law.log_prob(first).shape == shape
    wider = law.expand((4,))
    assert wider.sample(shape, seed=1).shape == (*shape, 4, 2)
    assert wider.log_prob(wider.sample(shape)).shape == (*shape, 4)
    assert wider.mean.shape == wider.variance.shape == (4, 2)
    with pytest.raises(ValueError, match="generator or a seed"):
        law.sample(shape, seed=1, generator=stream)
    assert law.sample((0,)).shape == (0, 2)


def test_draws_do_not_touch_the_global_stream() -> None:
    before = torch.random.get_rng_state()
    product_of_marginals(tied()).sample((5,), seed=0)
    gaussian(correlated(30, 2)).sample((5,), seed=0)
    assert torch.equal(before, torch.random.get_rng_state())


def test_moments_are_those_of_the_mixture() -> None:
    law = LAWS["draws"]
    product = product_of_marginals(law)
    torch.testing.assert_close(product.mean, law.mean)
    torch.testing.assert_close(product.variance, law.variance)


@pytest.mark.parametrize("dim", [1, 3, 40])
def test_gaussian_of_greatest_likelihood(dim: int) -> None:
    codes = correlated(200, dim, seed=dim)
    law = gaussian(codes)
    np.testing.assert_allclose(law.loc, codes.mean(0), rtol=1e-12)
    covariance = np.cov(codes.T, bias=True).reshape(dim, dim)
    np.testing.assert_allclose(law.covariance_matrix, covariance, rtol=1e-9, atol=1e-12)
    want = stats.multivariate_normal(codes.mean(0), covariance).logpdf(codes)
    np.testing.assert_allclose(law.log_prob(torch.from_numpy(codes)), want, rtol=1e-8)


def test_gaussian_draws(budget: AlphaBudget) -> None:
    law = gaussian(correlated(50, 3, seed=9))
    x = law.sample((dkw_min_samples(0.03),), seed=2)
    white = torch.linalg.solve_triangular(law.scale_tril, (x - law.loc).mT, upper=False).mT
    turned = white.numpy() @ Rotation.random(rng=np.random.default_rng(0)).as_matrix()
    for name, rows in (("whitened", white.numpy()), ("turned", turned)):
        for i in range(3):
            budget.check(f"{name} draws {i}", dkw_pvalue(rows[:, i], stats.norm.cdf))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_units_and_origin_do_not_matter(dtype: torch.dtype) -> None:
    codes = torch.from_numpy(correlated(100, 3, seed=6)).to(dtype)
    unit = torch.tensor([1e-6, 1.0, 1e8], dtype=F64)
    moved = gaussian(codes.double() * unit)
    torch.testing.assert_close(moved.scale_tril / unit[:, None], gaussian(codes).scale_tril)
    shifted = gaussian(codes + 64.0)
    assert float((shifted.scale_tril - gaussian(codes).scale_tril).abs().max()) < 1e-4


def test_product_of_a_gaussian() -> None:
    law = gaussian(correlated(60, 4))
    product = product_of_marginals(law)
    assert isinstance(product, Gaussian)
    z = torch.randn(7, 4, dtype=F64)
    each = sum(law.marginal(i).log_prob(z[:, i : i + 1]) for i in range(4))
    torch.testing.assert_close(product.log_prob(z), each)
    both = law.marginal([2, 0]).covariance_matrix
    torch.testing.assert_close(both, law.covariance_matrix[[2, 0]][:, [2, 0]])


def test_prior() -> None:
    law = isotropic_gaussian(3, variance=2.0)
    z = torch.randn(5, 3, dtype=F64)
    want = stats.norm(scale=math.sqrt(2.0)).logpdf(z.numpy()).sum(1)
    np.testing.assert_allclose(law.log_prob(z), want, rtol=1e-12)


def test_laws_side_by_side() -> None:
    """On clustered codes: the mixture describes unseen ones best, the prior worst."""
    codes = tied(dim=3, seed=7).sample((300,), seed=8)
    fitting, unseen = codes[:200], codes[200:]
    base = NormalInverseWishart.from_data(fitting)
    mixture = DPGMM(base).mixture(fitting, (fitting[:, 0] > 2).long(), 1.0)
    laws = code_laws(fitting, mixture=mixture)
    scores = {name: float(law.log_prob(unseen).mean()) for name, law in laws.items()}
    assert max(scores, key=lambda name: scores[name]) == "mixture"
    assert min(scores, key=lambda name: scores[name]) == "prior"
    assert scores["Gaussian"] > scores["product of Gaussian marginals"]
    assert all(law.sample((4,), seed=0).shape == (4, 3) for law in laws.values())


def test_any_object_with_the_two_methods_will_do() -> None:
    class Table:
        def log_prob(self, value: Tensor) -> Tensor:
            return torch.zeros(value.shape[:-1])

        def sample(self, sample_shape: Any = (), *, seed: int | None = None) -> Tensor:
            return torch.zeros(*sample_shape, 3)

    laws = code_laws(correlated(30, 3), mixture=Table())
    assert list(laws)[-1] == "mixture"
    assert len(laws) == 4
    assert isinstance(SphereUniform(3), CodeLaw)


def test_many_components_in_many_dimensions() -> None:
    """All draws of a posterior at once: no loop over components or coordinates."""
    law = PosteriorPredictive([tied(dim=30, seed=s) for s in range(20)])
    x = product_of_marginals(law).sample((500,), seed=0)
    assert x.shape == (500, 30)
    assert bool(x.isfinite().all())


USABLE = {"plain", "float32", "big-endian", "D=1", "offset 1e8", "mixed scales", "1e30", "1e-30"}
USABLE |= {"fortran order", "strided view", "read-only", "unaligned", "1e160 (squares overflow)"}


@pytest.mark.parametrize(("name", "make", "expect"), list(data_cases()))
def test_awkward_codes(name: str, make: Any, expect: str) -> None:
    """Codes without a Gaussian are refused in words; a fitted one scores its own codes."""
    wanted = "ok" if name in USABLE else "error" if expect == "error" else "either"

    def finite(law: Gaussian) -> bool:
        codes = torch.from_numpy(np.array(make(), dtype=float))
        return bool(law.scale_tril.isfinite().all() and law.log_prob(codes).isfinite().all())

    assert verdict(lambda: gaussian(make()), wanted, finite) is None


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.c_[correlated(20, 2), np.ones(20)], r"do not vary in 1 of 3 coordinates \(first: 2\)"),
        (np.c_[correlated(20, 2), correlated(20, 2).sum(1)], "codes span 2 of 3 dimensions"),
        (
            np.c_[correlated(20, 2), correlated(20, 2).sum(1)].astype(np.float32),
            "codes span 2 of 3 dimensions",
        ),
        (correlated(3, 3), "codes must have at least 4 rows for a covariance in 3 dim.* got 3"),
        (np.full((9, 1), np.nan), "codes has 9 rows with NaN"),
        (np.zeros((4, 2, 2)), r"codes must be a matrix \(rows, columns\)"),
    ],
)
def test_refuses_codes_without_a_gaussian(codes: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gaussian(codes)


def test_refusals() -> None:
    codes = correlated(20, 2)
    with pytest.raises(TypeError, match=r"law must be a StudentTMixture.* got SphereUniform"):
        product_of_marginals(SphereUniform(3))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"law must be .* got Gaussian"):
        MarginalProduct(gaussian(codes))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="mixture must have log_prob and sample, got str"):
        code_laws(codes, mixture="dpgmm")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mixture must have 2 dimensions, got 3"):
        code_laws(codes, mixture=tied(dim=3))
    with pytest.raises(ValueError, match="variance must be finite and above 0"):
        code_laws(codes, prior_variance=0.0)
    with pytest.raises(ValueError, match="dim must be an integer"):
        isotropic_gaussian(0)
    with pytest.raises(ValueError, match="dims must"):
        gaussian(codes).marginal(2)
