"""Maps between bias and prior, and the report on a layer's region prior."""

import math

import numpy as np
import pytest
import torch
from mpmath import mp
from scipy import stats
from statcheck import AlphaBudget
from torch import nn

from probact.models.region_prior import (
    gauge_from_offsets,
    offsets_from_weights,
    weights_from_offsets,
)
from probact.models.spline_mixture import SplineMixture

F64 = torch.float64


@pytest.mark.parametrize("noise", [0.37, 2.0, torch.tensor([0.1, 1.0, 3.0, 0.5], dtype=F64)])
def test_bias_and_prior_round_trip(noise) -> None:
    a = torch.randn(4, 3, 5, dtype=F64)
    b = torch.randn(4, 3, dtype=F64)
    pi, g = weights_from_offsets(a, b, noise), gauge_from_offsets(a, b, noise)
    torch.testing.assert_close(pi.sum(-1), torch.ones(4, dtype=F64))
    back = offsets_from_weights(a, pi, noise, g)
    torch.testing.assert_close(back, b, rtol=1e-12, atol=1e-12)
    given = torch.softmax(torch.randn(4, 3, dtype=F64), -1)  # and from a prior, with any gauge
    for gauge in (0.0, torch.randn(4, dtype=F64)):
        b = offsets_from_weights(a, given, noise, gauge)
        torch.testing.assert_close(weights_from_offsets(a, b, noise), given, rtol=1e-12, atol=0.0)
        expected = torch.as_tensor(gauge, dtype=F64).expand(4)
        found = gauge_from_offsets(a, b, noise)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    m = SplineMixture.from_offsets(a, b, noise)
    torch.testing.assert_close(m.offsets, b, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(m.gauge(), gauge_from_offsets(a, b, noise))


def test_against_many_digits() -> None:
    """One ReLU unit with |w|^2 = 400, bias -190, noise 0.5: sixty digits."""
    a = torch.tensor([[[0.0, 0.0], [12.0, 16.0]]], dtype=F64)
    b = torch.tensor([[0.0, -190.0]], dtype=F64)
    with mp.workdps(60):
        mass = mp.exp((mp.mpf(-190) + mp.mpf(200)) / mp.mpf("0.5"))
        inactive, gauge = 1 / (1 + mass), mp.mpf("0.5") * mp.log(1 + mass)
    assert float(weights_from_offsets(a, b, 0.5)[0, 0]) == pytest.approx(
        float(inactive), rel=1e-13
    )
    assert float(gauge_from_offsets(a, b, 0.5)) == pytest.approx(float(gauge), rel=1e-13)


def test_relu_without_bias_favours_the_active_region() -> None:
    layer = nn.Linear(6, 5, bias=False).double()
    square = layer.weight.detach().square().sum(1)
    for noise in (0.25, 1.0, 4.0):
        found = SplineMixture.from_layer(layer, "relu", noise).region_prior()
        expected = torch.sigmoid(square / (2.0 * noise))
        torch.testing.assert_close(found.probs[:, 1], expected, rtol=1e-12, atol=0.0)
        assert (found.probs[:, 1] > 0.5).all()
        assert (found.gauge > 0).all()


@pytest.mark.parametrize(
    ("start", "square", "prior"),
    [
        (lambda w: w, 1.0 / 3.0, 0.542),  # torch's default
        (nn.init.xavier_uniform_, 1.0, 0.623),
        (lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"), 2.0, 0.732),
    ],
)
def test_prior_of_common_initialisations(start, square: float, prior: float) -> None:
    """256 -> 256, as printed; |w|^2 is its expectation up to 2 %, four standard errors."""
    layer = nn.Linear(256, 256, bias=False).double()
    start(layer.weight.data)
    probs = SplineMixture.from_layer(layer, "relu").region_prior().probs
    mean = probs[:, 1].mean().item()
    assert mean == pytest.approx(1.0 / (1.0 + math.exp(-square / 2.0)), abs=0.01 * square / 4.0)
    assert mean == pytest.approx(prior, abs=3e-3)
    absolute = SplineMixture.from_layer(layer, "abs").region_prior()
    torch.testing.assert_close(absolute.probs, torch.full((256, 2), 0.5, dtype=F64))
    torch.testing.assert_close(absolute.entropy, torch.full((256,), math.log(2.0), dtype=F64))


def test_k_means_bias_is_the_uniform_prior() -> None:
    a = torch.randn(4, 3, 5, dtype=F64)
    b = -0.5 * a.square().sum(-1)
    m, x = SplineMixture.from_offsets(a, b, 0.7), torch.randn(50, 5, dtype=F64)
    torch.testing.assert_close(m.weights, torch.full((4, 3), 1.0 / 3.0, dtype=F64))
    nearest = torch.stack([torch.cdist(x, centres).argmin(-1) for centres in a], -1)
    assert torch.equal(m.regions(x), nearest)


def test_extreme_priors_survive() -> None:
    """A prior beyond the smallest double: offsets and selections stay those of the layer."""
    layer, x = nn.Linear(3, 2).double(), torch.randn(9, 3, dtype=F64)
    m = SplineMixture.from_layer(layer, "relu", noise=1e-6)
    torch.testing.assert_close(m.readout(x, "hard"), layer(x).relu(), rtol=1e-9, atol=1e-9)
    back = m.at_noise(1.0)
    torch.testing.assert_close(back.readout(x), nn.functional.silu(layer(x)), rtol=1e-9, atol=1e-9)


def test_report_with_data(budget: AlphaBudget) -> None:
    """Calibrated on the model's own draws, not on others."""
    truth = SplineMixture([[[0.0, 0.0], [2.0, 1.0], [-1.0, 2.0]]], [[0.6, 0.3, 0.1]], 0.5)
    x = truth.sample(4000, seed=0).x[:, 0]
    report = truth.region_prior(x)
    assert report.partition_equal is True
    per_row = truth.selection(x).detach()[:, 0]  # (M, R)
    centred = (per_row - per_row.mean(0))[:, :2]  # rows sum to one: two free directions
    miss = (report.selection - report.probs)[0, :2]
    covariance = centred.T @ centred / len(x) ** 2
    quadratic = float(miss @ torch.linalg.solve(covariance, miss))
    budget.check("mean posterior is the prior", float(stats.chi2(2).sf(quadratic)))
    hard = np.bincount(truth.regions(x)[:, 0].numpy(), minlength=3) / len(x)
    np.testing.assert_allclose(report.frequency[0], hard)
    error = 0.5 * float((report.selection - report.probs).abs().sum())
    assert float(report.calibration_error) == pytest.approx(error)
    assert truth.region_prior(x - 3.0).calibration_error > 0.3
    frame = report.to_frame()
    assert list(frame)[:5] == ["entropy", "gauge", "prob_0", "prob_1", "prob_2"]
    assert list(frame)[5:] == ["frequency_0", "frequency_1", "frequency_2", "calibration_error"]
    assert frame.index.name == "unit"


def test_isotropic_points_do_not_follow_the_prior() -> None:
    """A ReLU layer without bias: half of isotropic points are active, the prior says more."""
    layer = nn.Linear(3, 4, bias=False).double()
    layer.weight.data *= 2.0
    x = torch.randn(500, 3, dtype=F64)
    report = SplineMixture.from_layer(layer).region_prior(torch.cat([x, -x]))
    np.testing.assert_allclose(report.frequency, 0.5)
    assert (report.probs[:, 1] > 0.5).all()


def test_ties_count_as_equal() -> None:
    m = SplineMixture.from_layer(nn.Linear(3, 2, bias=False).double(), "relu", noise=0.3)
    assert m.region_prior(torch.zeros(4, 3)).partition_equal is True


def test_one_region_has_no_entropy() -> None:
    entropy = SplineMixture(torch.ones(2, 1, 3), torch.ones(2, 1), 1.0).region_prior().entropy
    assert entropy.tolist() == [0.0, 0.0]
    assert not torch.signbit(entropy).any()  # a report of -0.0 nats puzzles


def test_report_refuses_no_points() -> None:
    m = SplineMixture.from_layer(nn.Linear(3, 2))
    with pytest.raises(ValueError, match="a point or more"):
        m.region_prior(torch.zeros(0, 3))


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("noise is a variance", {"noise": -1.0}),
        ("noise is a variance", {"noise": 0.0}),
        (r"noise must be \(\) or \(2,\)", {"noise": torch.ones(3)}),
        (r"must be \(K, R\) = \(2, 2\)", {"table": torch.full((1, 2), 0.5)}),
        ("slopes must be finite", {"slopes": torch.full((2, 2, 3), math.nan)}),
    ],
)
def test_maps_refuse(words: str, change: dict[str, object]) -> None:
    given = {"slopes": torch.ones(2, 2, 3), "table": torch.full((2, 2), 0.5), "noise": 1.0}
    for call in (weights_from_offsets, gauge_from_offsets, offsets_from_weights):
        with pytest.raises(ValueError, match=words):
            call(*(given | change).values())


def test_weights_and_gauge_are_checked() -> None:
    slopes, weights = torch.ones(1, 2, 3), torch.tensor([[0.5, 0.5]])
    for bad in ([[0.6, 0.5]], [[-0.5, 1.5]]):
        with pytest.raises(ValueError, match="weights must be >= 0 and sum to one"):
            offsets_from_weights(slopes, bad, 1.0)
    with pytest.raises(ValueError, match=r"gauge must be \(\) or \(1,\), got shape \(2,\)"):
        offsets_from_weights(slopes, weights, 1.0, torch.zeros(2))
    assert offsets_from_weights(slopes, [[0.0, 1.0]], 1.0)[0, 0] == -math.inf
