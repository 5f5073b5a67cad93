"""Laws compared by PSIS-LOO: the generating law first, up to the standard error."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from probact.distributions import PowerSpherical, VonMisesFisher
from probact.inference import draws
from probact.law_comparison import PosteriorComparison, compare_by_posterior, concentration_prior

F64 = torch.float64
pytestmark = pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto")
C, D, N = 3, 6, 150
_rng = np.random.default_rng(23)
WEIGHT = torch.tensor(_rng.normal(size=(C, D)))
MU = torch.nn.functional.normalize(WEIGHT, dim=1)
FREE = torch.nn.functional.normalize(torch.tensor(_rng.normal(size=(C, D))), dim=1)
APART = torch.tensor([3.0, 15.0, 90.0], dtype=F64)
LABELS = torch.arange(N) % C
NAMES = {
    "uniform",
    "pooled vMF",
    "tied vMF",
    "tied vMF, kappa_i",
    "tied power spherical",
    "untied vMF",
}
TRUTHS = {
    "uniform": VonMisesFisher(MU, 0.0),
    "pooled vMF": VonMisesFisher(FREE[:1].expand(C, D), 15.0),
    "tied vMF": VonMisesFisher(MU, 15.0),
    "tied vMF, kappa_i": VonMisesFisher(MU, APART),
    "tied power spherical": PowerSpherical(MU, 25.0),
    "untied vMF": VonMisesFisher(FREE, APART),
}


def drawn(name: str) -> Tensor:
    return TRUTHS[name].sample((N,), seed=4)[torch.arange(N), LABELS]


@pytest.fixture(scope="module", params=TRUTHS)
def compared(request: pytest.FixtureRequest) -> tuple[str, Tensor, PosteriorComparison]:
    x = drawn(request.param)
    return request.param, x, compare_by_posterior(x, LABELS, WEIGHT, draws=200, seed=0)


def test_the_generating_law_comes_first(
    compared: tuple[str, Tensor, PosteriorComparison],
) -> None:
    """Within three standard errors of the difference where it does not lead."""
    name, _, comparison = compared
    table = comparison.table
    assert set(table.index) == set(comparison.posteriors) == NAMES
    assert table["elpd"].is_monotonic_decreasing
    np.testing.assert_allclose(table["behind"], table["elpd"].iloc[0] - table["elpd"])
    assert table["behind"][name] <= 3.0 * table["dse"][name]
    if name.startswith(("tied vMF, kappa_i", "untied")):
        assert table.index[0] == name  # far ahead of any other


def test_posteriors_hold_densities_of_every_activation(
    compared: tuple[str, Tensor, PosteriorComparison],
) -> None:
    _, x, comparison = compared
    for name, posterior in comparison.posteriors.items():
        values = posterior.log_likelihood["activation"]
        assert values.shape == (1, 200, N)
        assert np.isfinite(values.values).all()
        kappa = draws(posterior, "concentration")
        assert kappa.shape == ((200, C) if name in {"tied vMF, kappa_i", "untied vMF"} else
                               (200, 1) if name == "pooled vMF" else (200,))  # fmt: skip
    tied = comparison.posteriors["tied vMF"]
    kappa = float(draws(tied, "concentration")[7])
    expected = [stats.vonmises_fisher(MU[i].numpy(), kappa).logpdf(a) for i, a in
                zip(LABELS.tolist(), x.numpy(), strict=True)]  # fmt: skip
    found = tied.log_likelihood["activation"].values[0, 7]
    np.testing.assert_allclose(found, np.array(expected).ravel(), rtol=1e-9, atol=1e-9)
    uniform = comparison.posteriors["uniform"].log_likelihood["activation"].values
    np.testing.assert_allclose(uniform, -3.0 * np.log(np.pi), atol=1e-6)  # area of S^5: pi^3


def test_elpd_is_the_sum_of_exact_leave_one_out_densities() -> None:
    """The tied law's elpd by refitting without each activation, on a grid of log kappa."""
    x = drawn("tied vMF")[:12]
    labels = LABELS[:12]
    table = compare_by_posterior(x, labels, WEIGHT, draws=700).table
    grid = np.linspace(-3.0, 7.0, 801)
    prior = stats.norm(np.log(D), 1.5).logpdf(grid)
    at = [stats.vonmises_fisher(MU[0].numpy(), k) for k in np.exp(grid)]
    cosine = (x * MU[labels]).sum(1).numpy()
    peak = np.array([law.logpdf(MU[0].numpy()).item() for law in at])
    logs = peak[:, None] + np.exp(grid)[:, None] * (cosine - 1.0)  # (G, N)
    total = 0.0
    for n in range(12):
        rest = prior + np.delete(logs, n, axis=1).sum(1)
        weight = np.exp(rest - rest.max())
        total += np.log((weight * np.exp(logs[:, n])).sum() / weight.sum())
    assert table["elpd"]["tied vMF"] == pytest.approx(total, abs=0.2)


def test_the_seed_decides() -> None:
    x = drawn("tied vMF")[:30]
    runs = [compare_by_posterior(x, LABELS[:30], WEIGHT, draws=50, seed=k) for k in (1, 1, 2)]
    first, again, other = (draws(run.posteriors["tied vMF"], "concentration") for run in runs)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_prior_covers_what_it_says() -> None:
    prior = concentration_prior(64)
    assert float(prior.cdf(torch.tensor(64.0, dtype=F64))) == pytest.approx(0.5)
    low, high = (float(prior.cdf(torch.tensor(64 * f, dtype=F64))) for f in (0.05, 19.0))
    assert high - low == pytest.approx(0.95, abs=0.005)


@pytest.mark.parametrize(
    ("x", "labels", "weight", "message"),
    [
        (2.0 * MU, torch.arange(3), WEIGHT, "activations must be unit vectors"),
        (MU, torch.tensor([0, 1, 3]), WEIGHT, "labels must be in 0 .. 2"),
        (MU, torch.tensor([0, 1, 1]), WEIGHT, "class 2 has no activation"),
        (MU, torch.tensor([0, 1]), WEIGHT, "labels must be one per row"),
        (MU, torch.arange(3), WEIGHT[0], "weight must be a matrix"),
        (MU, torch.arange(3), 0.0 * WEIGHT, "weight has 3 zero rows"),
        (MU, torch.arange(3), WEIGHT[:, :5], "activations must be a tensor .N, 5."),
    ],
)
def test_what_is_refused(x: Tensor, labels: Tensor, weight: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare_by_posterior(x, labels, weight, draws=10)
    with pytest.raises(ValueError, match="draws must be an integer"):
        compare_by_posterior(MU, torch.arange(3), WEIGHT, draws=0)
