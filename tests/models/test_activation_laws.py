"""Rival laws of activations: they are maxima, find the truth, and win where they are true."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sphere_oracles import unit_rows
from statcheck import AlphaBudget, paired_mean_pvalue
from torch import Tensor

from probact.distributions import AngularGaussian, PowerSpherical, VonMisesFisher
from probact.models import (
    ActivationLaw,
    VMFClassifier,
    fit_activation_laws,
    held_out_log_density,
)

F64 = torch.float64
C, D, N = 3, 5, 1500
_rng = np.random.default_rng(17)
WEIGHT = torch.tensor(8.0 * unit_rows(_rng, C, D))
MU = WEIGHT / 8.0
FREE = torch.tensor(unit_rows(_rng, C, D))
ONE = torch.ones(C, dtype=F64)
APART = torch.tensor([2.0, 8.0, 30.0], dtype=F64)
SCALES = torch.tensor([0.3, 0.6, 1.0, 1.6, 3.0], dtype=F64)

CLASS_WISE = {
    "tied vMF, kappa_i",
    "untied vMF",
    "untied power spherical",
    "angular Gaussian",
    "angular Gaussian, axis scales",
}
TRUTHS: dict[str, ActivationLaw] = {
    "uniform": ActivationLaw(VonMisesFisher, (MU, 0.0 * ONE), 0),
    "pooled vMF": ActivationLaw(VonMisesFisher, (FREE[:1].expand(C, D), 12.0 * ONE), D),
    "tied vMF, kappa = |w|": ActivationLaw(VonMisesFisher, (MU, 8.0 * ONE), 0),
    "tied vMF": ActivationLaw(VonMisesFisher, (MU, 15.0 * ONE), 1),
    "tied vMF, kappa_i": ActivationLaw(VonMisesFisher, (MU, APART), C),
    "tied power spherical": ActivationLaw(PowerSpherical, (MU, 20.0 * ONE), 1),
    "untied vMF": ActivationLaw(VonMisesFisher, (FREE, APART), C * D),
    "untied power spherical": ActivationLaw(PowerSpherical, (FREE, 2.0 * APART), C * D),
    "angular Gaussian": ActivationLaw(
        AngularGaussian,
        (FREE * torch.tensor([[1.0], [2.0], [4.0]]), torch.ones(C, D).double()),
        15,
    ),
    "angular Gaussian, axis scales": ActivationLaw(
        AngularGaussian, (2.0 * FREE, (SCALES / SCALES.log().mean().exp()).expand(C, D)), 19
    ),
}


def drawn(truth: ActivationLaw, seed: int, rows: int = N) -> tuple[Tensor, Tensor]:
    labels = torch.arange(rows) % C
    return truth.at(labels).sample(seed=seed), labels


def mean_log_density(law: ActivationLaw, x: Tensor, labels: Tensor, *parameters: Tensor) -> float:
    p = parameters or law.parameters
    return float(law._replace(parameters=p).at(labels).log_prob(x).mean())


@pytest.fixture(scope="module", params=TRUTHS)
def fitted(request: pytest.FixtureRequest) -> tuple[str, dict[str, ActivationLaw]]:
    name = request.param
    return name, fit_activation_laws(*drawn(TRUTHS[name], seed=1), WEIGHT)


def test_all_laws_are_there_and_count_their_parameters(fitted: Any) -> None:
    _, laws = fitted
    assert set(laws) == set(TRUTHS)
    for other, law in laws.items():
        assert law.family is TRUTHS[other].family
        assert law.num_parameters == TRUTHS[other].num_parameters
        assert all(p.dtype == F64 and not p.requires_grad for p in law.parameters)


def test_fits_are_maxima(fitted: Any) -> None:
    """No nearby parameters are likelier: directions turned, spreads and scales stretched."""
    name, laws = fitted
    x, labels = drawn(TRUTHS[name], seed=1)
    rng = np.random.default_rng(2)
    for other, law in laws.items():
        if law.num_parameters == 0:
            continue
        best = mean_log_density(law, x, labels)
        loc, spread = law.parameters
        for size in (0.003, 0.03):
            noise = [torch.tensor(size * rng.normal(size=p.shape)) for p in law.parameters]
            moved = loc + noise[0] * loc.norm(dim=1, keepdim=True)
            if other == "pooled vMF":
                moved = (loc[:1] + noise[0][:1]).expand(C, D)
            if law.family is not AngularGaussian:
                moved = torch.nn.functional.normalize(moved, dim=1)
            shared = other in {"tied vMF", "tied power spherical", "pooled vMF"}
            stretch = noise[1][:1] if shared or spread.ndim == 2 else noise[1]
            stretched = spread * stretch.exp()
            if not other.startswith("tied"):
                assert mean_log_density(law, x, labels, moved, spread) <= best + 1e-10
            if other != "angular Gaussian":
                assert mean_log_density(law, x, labels, loc, stretched) <= best + 1e-10


def test_the_true_parameters_are_found(fitted: Any, budget: AlphaBudget) -> None:
    """Twice the log likelihood ratio to the truth is chi-square of the fitted parameters."""
    name, laws = fitted
    x, labels = drawn(TRUTHS[name], seed=1)
    gain = mean_log_density(laws[name], x, labels) - mean_log_density(TRUTHS[name], x, labels)
    count = laws[name].num_parameters
    if count == 0:
        assert gain == pytest.approx(0.0, abs=1e-12)
        return
    assert gain >= 0.0
    budget.check(f"likelihood ratio of {name}", float(stats.chi2(count).sf(2.0 * N * gain)))
    found, true = laws[name].parameters, TRUTHS[name].parameters
    for f, t in zip(found, true, strict=True):
        assert torch.isfinite(f).all()
        scale = max(1.0, float(t.abs().max()))
        assert (f - t).abs().max() / scale < 0.25  # 5 standard errors of the widest, angular m


def test_the_true_law_wins_or_ties_on_held_out_data(fitted: Any) -> None:
    name, laws = fitted
    x, labels = drawn(TRUTHS[name], seed=2, rows=3000)
    table = held_out_log_density(laws, x, labels, reference=name)
    assert [row.mean for row in table.values()] == sorted(r.mean for r in table.values())[::-1]
    for row in table.values():
        assert row.gain <= 3.0 * row.gain_error + 1e-12
    if "vMF" in name or name == "uniform":
        worse = [row for n, row in table.items() if "angular" not in n and row.gain_error > 0.005]
        assert all(row.gain < -3.0 * row.gain_error for row in worse)


def test_gains_are_paired_by_activation() -> None:
    laws = {n: TRUTHS[n] for n in ("uniform", "tied vMF", "tied power spherical")}
    x, labels = drawn(TRUTHS["tied vMF"], seed=3)
    logs = {n: law.at(labels).log_prob(x).numpy() for n, law in laws.items()}
    table = held_out_log_density(laws, x, labels)
    for name, row in table.items():
        gain = logs[name] - logs["tied vMF"]
        assert row.mean == pytest.approx(logs[name].mean(), abs=1e-12)
        assert row.standard_error == pytest.approx(stats.sem(logs[name]), rel=1e-12)
        assert row.gain == pytest.approx(gain.mean(), abs=1e-12)
        assert row.gain_error == pytest.approx(stats.sem(gain), rel=1e-12, abs=1e-15)
    assert table["tied vMF"][2:] == (0.0, 0.0)
    assert paired_mean_pvalue(logs["uniform"] - logs["tied vMF"]) < 1e-6
    spherical = table["tied power spherical"]
    assert spherical.gain_error < 0.5 * spherical.standard_error  # what the pairing buys


def laws_of(x: Any, labels: Any, weight: Tensor = WEIGHT) -> set[str]:
    laws = fit_activation_laws(torch.as_tensor(x), torch.as_tensor(labels), weight)
    for law in laws.values():
        assert all(torch.isfinite(p).all() for p in law.parameters)
        density = law.at(torch.as_tensor(labels)).log_prob(torch.as_tensor(x).double())
        assert torch.isfinite(density).all()
    return set(laws)


def test_laws_are_left_out_exactly_as_documented() -> None:
    x, labels = drawn(TRUTHS["tied vMF"], seed=5, rows=30)
    tied = set(TRUTHS) - CLASS_WISE
    assert laws_of(x, labels) == set(TRUTHS)
    assert laws_of(x[:C], labels[:C]) == tied  # one a class
    assert laws_of(x[labels > 0], labels[labels > 0]) == tied  # an empty class
    single = (labels > 0) | (torch.arange(30) == 0)
    assert laws_of(x[single], labels[single]) == tied  # one in class 0, ten in the others
    assert laws_of(x[labels], labels) == tied  # equal within each class
    wobble = torch.nn.functional.normalize(x[labels] + 1e-7 * x, dim=1)
    assert laws_of(wobble, labels) == tied  # equal up to rounding
    off = x.clone()
    off[:, 2] = 0.0
    off = torch.nn.functional.normalize(off, dim=1)
    without = set(TRUTHS) - {"angular Gaussian, axis scales"}
    assert laws_of(off, labels) == without  # a unit that is always off
    constant = off * math.sqrt(1.0 - 0.01)
    constant[:, 2] = torch.tensor([0.1, -0.1, 0.1], dtype=F64)[labels]
    assert laws_of(constant, labels) == without  # or stuck, class by class
    off[4, 2] = 0.3
    assert laws_of(torch.nn.functional.normalize(off, dim=1), labels) == set(TRUTHS)


def test_misclassified_outliers() -> None:
    x, labels = drawn(ActivationLaw(VonMisesFisher, (MU, 400.0 * ONE), 1), seed=6, rows=60)
    x[0] = torch.nn.functional.normalize(-MU[0] + 0.01 * FREE[0], dim=0)
    x[1] = MU[2]
    assert laws_of(x, labels) == set(TRUTHS)
    opposite = x.clone()
    opposite[0] = -MU[0]
    eye = torch.eye(D, dtype=F64)[:C]
    assert laws_of(opposite, labels) >= set(TRUTHS) - {"tied power spherical"}
    poles = torch.cat([eye, -eye, eye])  # density zero at -mu_i, exactly
    left = laws_of(poles, torch.arange(3).repeat(3), 8.0 * eye)
    assert left == set(TRUTHS) - {
        "tied power spherical", "untied power spherical", "angular Gaussian, axis scales"
    }  # fmt: skip


def test_single_precision_and_large_dimension() -> None:
    rng = np.random.default_rng(3)
    weight = torch.tensor(unit_rows(rng, 4, 200)).float()
    labels = torch.arange(200) % 4
    x = VMFClassifier(weight, 150.0).sample_activations(labels, 1, seed=0)[0]
    assert x.dtype == torch.float32
    assert laws_of(x, labels, weight) == set(TRUTHS)


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (2.0 * MU, torch.arange(3), "activations must be unit vectors"),
        (MU[:, :4], torch.arange(3), "activations must be a tensor"),
        (MU * math.nan, torch.arange(3), "activations has 3 rows with NaN"),
        (MU, torch.tensor([0, 1, 3]), "labels must be in 0 .. 2"),
        (MU, torch.tensor([0, 1]), "labels must be one per row"),
        (FREE[:1].expand(9, D), torch.arange(9) % 3, "rows of x are all equal"),
        (MU, torch.arange(3), "activations all equal their directions"),
    ],
)
def test_what_is_refused(x: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_activation_laws(x, labels, WEIGHT)
    if "all equal" not in message:
        with pytest.raises(ValueError, match=message):
            held_out_log_density(TRUTHS, x, labels)


def test_what_scores_refuse() -> None:
    x, labels = drawn(TRUTHS["tied vMF"], seed=5, rows=30)
    with pytest.raises(ValueError, match=r"reference must be one of uniform, .*got 'tied'"):
        held_out_log_density(TRUTHS, x, labels, reference="tied")
    with pytest.raises(ValueError, match="takes two activations, got 1"):
        held_out_log_density(TRUTHS, x[:1], labels[:1])
