"""Exact posteriors of directional laws against quadrature."""

import math
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from directional_cases import F64, build, labelled, prior_of
from scipy import integrate, special, stats
from sphere_oracles import unit_rows, vmf_log_density
from statcheck import AlphaBudget, dkw_pvalue

from probact.distributions import PowerSpherical, VonMisesFisher
from probact.models.directional_model import _invert_on_grid

DRAWS = 20_000
GRID = np.linspace(-6.0, 7.0, 1301)  # log kappa


def vmf_evidence(x: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """Log likelihood (G,) on the grid."""
    total = (x @ mu - 1.0).sum()
    peaks = [vmf_log_density(mu[None], mu, k)[0] for k in np.exp(GRID)]
    return len(x) * np.array(peaks) + np.exp(GRID) * total


def power_spherical_evidence(x: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """The same for (1 + t)^kappa, normalised by quadrature over the angle from mu."""
    dim = len(mu)
    ring = 2.0 * math.pi ** (0.5 * (dim - 1)) / special.gamma(0.5 * (dim - 1))  # area of S^(d-2)
    total = np.log1p(x @ mu).sum()

    def log_norm(kappa: float) -> float:
        f = lambda a: math.cos(0.5 * a) ** (2.0 * kappa) * math.sin(a) ** (dim - 2)  # noqa: E731
        width = min(math.pi, 40.0 / math.sqrt(kappa + 1.0))
        mass = integrate.quad(f, 0.0, width, limit=200, epsabs=0.0)[0]
        return math.log(ring) + kappa * math.log(2.0) + math.log(mass)

    norms = np.array([log_norm(k) for k in np.exp(GRID)])
    return np.exp(GRID) * total - len(x) * norms


def check_marginal(
    kappa: np.ndarray, log_density: np.ndarray, budget: AlphaBudget, name: str
) -> None:
    """Draws of kappa against the law with this log density on the grid of log kappa."""
    density = np.exp(log_density - log_density.max())
    mass = integrate.cumulative_simpson(density, x=GRID, initial=0.0)
    p = dkw_pvalue(np.log(kappa), lambda g: np.interp(g, GRID, mass / mass[-1]))
    budget.check(name, p)


@pytest.mark.parametrize(
    ("family", "evidence"),
    [(VonMisesFisher, vmf_evidence), (PowerSpherical, power_spherical_evidence)],
)
@pytest.mark.parametrize("dim", [2, 3, 16])
@pytest.mark.parametrize("shared", [True, False])
def test_tied_posterior(
    family: Any, evidence: Any, dim: int, shared: bool, budget: AlphaBudget
) -> None:
    mu, x, y = labelled(dim, (1.0, 30.0), 4)
    model = build(family, prior_of(() if shared else (2,)), mu, mu.shape)
    sites = model.exact_posterior(torch.tensor(x), torch.tensor(y), draws=DRAWS, seed=1)
    assert list(sites) == list(model.site_dims) == ["concentration"]
    kappa = sites["concentration"].numpy()
    each = [evidence(x[y == i], mu[i]) for i in range(2)]
    prior = stats.norm(2.0, 1.0).logpdf(GRID)
    name = f"{family.__name__}, d = {dim}, shared {shared}"
    if shared:
        assert kappa.shape == (DRAWS,)
        check_marginal(kappa, prior + sum(each), budget, name)
    else:
        assert kappa.shape == (DRAWS, 2)
        for i in range(2):
            check_marginal(kappa[:, i], prior + each[i], budget, f"{name}, class {i}")
        assert abs(np.corrcoef(np.log(kappa).T)[0, 1]) < 5.0 / DRAWS**0.5


@pytest.mark.parametrize("shared", [True, False])
def test_untied_posterior_on_the_circle(shared: bool, budget: AlphaBudget) -> None:
    """Directions integrated out on a grid of angles."""
    mu, x, y = labelled(2, (2.0, 30.0), 4)
    model = build(VonMisesFisher, prior_of(() if shared else (2,)), None, mu.shape)
    sites = model.exact_posterior(torch.tensor(x), torch.tensor(y), draws=DRAWS, seed=1)
    assert list(sites) == list(model.site_dims) == ["concentration", "direction"]
    prior, angles = stats.norm(2.0, 1.0).logpdf(GRID), np.linspace(-np.pi, np.pi, 2001)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    marginals, conditionals = [], []  # per class: (G,), and densities over the angles (G, angles)
    for i in range(2):
        cosines = x[y == i] @ circle.T - 1.0
        norms = np.log(2.0 * math.pi * special.i0e(np.exp(GRID)))
        exponent = np.exp(GRID)[:, None] * cosines.sum(0)
        peak = exponent.max(1)
        density = np.exp(exponent - peak[:, None])
        mass = integrate.simpson(density, x=angles)
        marginals.append(peak + np.log(mass) - 4 * norms)
        conditionals.append(density / mass[:, None])
    drawn = sites["direction"].numpy()
    for i in range(2):
        log_kappa = prior + (sum(marginals) if shared else marginals[i])
        kappa = sites["concentration"].numpy() if shared else sites["concentration"][:, i].numpy()
        check_marginal(kappa, log_kappa, budget, f"untied kappa {i}, shared {shared}")
        density = np.exp(log_kappa - log_kappa.max()) @ conditionals[i]
        mass = integrate.cumulative_simpson(density, x=angles, initial=0.0)
        found = np.arctan2(drawn[:, i, 1], drawn[:, i, 0])
        p = dkw_pvalue(found, lambda a, m=mass: np.interp(a, angles, m / m[-1]))
        budget.check(f"untied direction {i}, shared {shared}", p)


def test_untied_posterior_on_the_sphere(budget: AlphaBudget) -> None:
    """Integral of exp(kappa <mu, S>) over S^2 is 4 pi sinh(kappa |S|) / (kappa |S|)."""
    mu, x, y = labelled(3, (2.0, 30.0), 5)
    model = build(VonMisesFisher, prior_of((2,)), None, mu.shape)
    sites = model.exact_posterior(torch.tensor(x), torch.tensor(y), draws=DRAWS, seed=1)
    k = np.exp(GRID)
    log_sinh = lambda s: s + np.log(-np.expm1(-2.0 * s)) - math.log(2.0) - np.log(s)  # noqa: E731
    for i in range(2):
        total = x[y == i].sum(0)
        log_density = stats.norm(2.0, 1.0).logpdf(GRID) - 5 * log_sinh(k)
        log_density += log_sinh(k * np.linalg.norm(total))
        kappa = sites["concentration"][:, i].numpy()
        check_marginal(kappa, log_density, budget, f"untied kappa {i} on the sphere")
        unit = torch.tensor(total / np.linalg.norm(total))
        rest = np.linalg.norm(total) * kappa  # given kappa, v = 1 - t has this rate, cut at 2
        v = 1.0 - (sites["direction"][:, i] @ unit).numpy()
        u = -np.expm1(-rest * v) / -np.expm1(-2.0 * rest)
        budget.check(f"untied direction {i} on the sphere", dkw_pvalue(u, lambda q: q))


@pytest.mark.parametrize("rows", [1, 30_000])
def test_posterior_at_both_ends_of_the_data_size(rows: int, budget: AlphaBudget) -> None:
    """30,000 rows at d = 64 leave log kappa a deviation of 0.001, a tenth of the first grid's."""
    mu = unit_rows(np.random.default_rng(0), 1, 64)
    x = VonMisesFisher(mu[0], 50.0).sample((rows,), seed=0)
    model = build(VonMisesFisher, prior_of(()), mu, (1, 64))
    y = torch.zeros(rows, dtype=torch.int64)
    found = model.exact_posterior(x, y, draws=DRAWS, seed=3)["concentration"].log().numpy()
    grid = np.linspace(found.min() - 0.5 * np.ptp(found), found.max() + 0.5 * np.ptp(found), 4001)
    total = float((x @ torch.tensor(mu[0]) - 1.0).sum())
    v = 31.0  # scipy's ive does not underflow at these kappa
    k = np.exp(grid)
    log_norm = v * np.log(k) - np.log(special.ive(v, k))
    log_density = stats.norm(2.0, 1.0).logpdf(grid) + rows * log_norm + k * total
    density = np.exp(log_density - log_density.max())
    mass = integrate.cumulative_simpson(density, x=grid, initial=0.0)
    p = dkw_pvalue(found, lambda g: np.interp(g, grid, mass / mass[-1]))
    budget.check(f"{rows} rows", p)


def test_quantiles_are_exact_to_the_square_of_a_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A normal law of log kappa with deviation 0.1, so that a cell is 0.004 deviations."""
    levels = torch.linspace(0.001, 0.999, 401, dtype=F64)
    monkeypatch.setattr(torch, "rand", lambda *shape, **options: levels.unsqueeze(0))
    normal = torch.distributions.Normal(torch.tensor(2.0, dtype=F64), 0.1)
    kappa = _invert_on_grid(normal.log_prob, 1, 401, torch.Generator())
    quantiles = (kappa[:, 0].log().numpy() - 2.0) / 0.1
    np.testing.assert_allclose(quantiles, stats.norm.ppf(levels), rtol=0, atol=5e-5)


def test_activations_that_cancel_leave_the_direction_free(budget: AlphaBudget) -> None:
    x = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]], dtype=F64)
    model = build(VonMisesFisher, prior_of((1,)), None, (1, 3))
    sites = model.exact_posterior(x, torch.zeros(2, dtype=torch.int64), draws=5000)
    for i in range(3):  # on S^2 every coordinate is uniform
        p = dkw_pvalue(sites["direction"][:, 0, i], lambda q: 0.5 * (q + 1.0))
        budget.check(f"free direction, axis {i}", p)


def test_a_bounded_prior() -> None:
    mu, x, y = labelled(3, (1.0, 30.0), 4)
    for prior in (dist.Uniform(0.0, 100.0), dist.Uniform(1.0, 20.0).expand([2]), dist.Beta(2, 2)):
        for directions in (mu, None):
            model = build(VonMisesFisher, prior, directions, mu.shape)
            sites = model.exact_posterior(torch.tensor(x), torch.tensor(y))
            kappa = sites["concentration"] / prior.support.upper_bound
            assert float(kappa.max()) <= 1.0 + 1e-3  # half a cell of the grid
            assert float(kappa.min()) >= 0.0


def test_same_seed_same_bits_and_no_trace_in_the_global_stream() -> None:
    mu, x, y = labelled(3, (1.0, 30.0), 4)
    model = build(VonMisesFisher, prior_of((2,)), None, mu.shape)
    before = torch.get_rng_state()
    first = model.exact_posterior(torch.tensor(x), torch.tensor(y), draws=10, seed=4)
    torch.manual_seed(1)
    again = model.exact_posterior(torch.tensor(x), torch.tensor(y), draws=10, seed=4)
    other = model.exact_posterior(torch.tensor(x), torch.tensor(y), draws=10, seed=5)
    for name, value in first.items():
        assert torch.equal(value, again[name])
        assert not torch.equal(value, other[name])
    torch.manual_seed(20260)
    assert torch.equal(torch.get_rng_state(), before)
