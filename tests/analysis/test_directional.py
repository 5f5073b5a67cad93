"""Numbers that say where the tied von Mises-Fisher law holds."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from bad_inputs import data_cases, verdict
from scipy import integrate, stats
from statcheck import AlphaBudget, dkw_pvalue
from torch import Tensor

from probact.analysis.directional import _cosine_cdf, directional_fit
from probact.distributions import VonMisesFisher

F64 = torch.float64
C = 3


def frame(dim: int) -> Tensor:
    return torch.eye(dim, dtype=F64)[:C]


def labelled(dim: int, kappa: float, rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    labels = torch.arange(rows) % C
    return VonMisesFisher(frame(dim)[labels], kappa).sample(seed=seed), labels


def cosine_cdf(t: np.ndarray, dim: int, kappa: float) -> np.ndarray:
    """P(cosine <= t) by adaptive quadrature over the angle a, in pieces around its mode."""

    def log_density(a: float) -> float:
        ring = (dim - 2) * math.log(math.sin(a)) if dim > 2 else 0.0
        return ring - 2.0 * kappa * math.sin(0.5 * a) ** 2

    likely = 0.1  # a split on the circle, where the mode is at zero; else the mode
    if dim > 2:
        likely = math.acos(2.0 * kappa / (dim - 2.0 + math.hypot(dim - 2.0, 2.0 * kappa)))
    top = log_density(likely)
    splits = likely * np.array([0, 0.5, 0.8, 0.9, 0.95, 1, 1.05, 1.1, 1.2, 2, 5, 20])
    knots = np.concatenate([splits, np.arccos(t), [math.pi]])
    knots = np.unique(np.clip(knots, 0.0, math.pi))
    mass = [
        integrate.quad(
            lambda a: math.exp(log_density(a) - top), *ends, epsabs=1e-14, epsrel=1e-11, limit=200
        )[0]
        for ends in itertools.pairwise(knots)
    ]
    above = np.concatenate([[0.0], np.cumsum(mass)]) / np.sum(mass)
    return 1.0 - above[np.searchsorted(knots, np.arccos(t))]


@pytest.mark.parametrize("dim", [2, 3, 16, 512])
@pytest.mark.parametrize("relative", [0.0, 0.3, 10.0, 1e4])
def test_distribution_of_the_cosine(dim: int, relative: float) -> None:
    kappa = relative * dim
    law = VonMisesFisher(frame(max(dim, 3))[0, :dim], kappa)
    centre = float(law.mean_resultant_length)
    width = math.sqrt(float(1.0 - law.mean_resultant_length**2 + 1e-30)) / math.sqrt(dim)
    t = np.clip(centre + width * np.array([-3.0, -1.0, -0.3, 0.0, 0.2, 0.5, 2.0]), -1.0, 1.0)
    t = np.unique(np.concatenate([t, [-0.9, 0.99]]))
    found = _cosine_cdf(law, t)
    np.testing.assert_allclose(found, cosine_cdf(t, dim, kappa), rtol=0, atol=2e-7)
    assert np.array_equal(_cosine_cdf(law, np.array([-1.0, 1.0])).round(12), [0.0, 1.0])


@pytest.mark.parametrize(("dim", "kappa"), [(2, 1e8), (3, 1e8), (512, 1e8)])
def test_narrow_laws_are_resolved(dim: int, kappa: float, budget: AlphaBudget) -> None:
    law = VonMisesFisher(frame(max(dim, 3))[0, :dim], kappa)
    x = law.sample((20_000,), seed=1)
    t = (x @ law.loc).clamp(-1.0, 1.0).numpy()
    budget.check(f"cosines at d = {dim}", dkw_pvalue(t, lambda q: _cosine_cdf(law, q)))


@pytest.mark.parametrize(("dim", "kappa"), [(3, 5.0), (16, 40.0), (100, 85.0)])
def test_the_law_itself_fits(dim: int, kappa: float, budget: AlphaBudget) -> None:
    x, labels = labelled(dim, kappa, 3000)
    scale = torch.tensor(np.random.default_rng(0).lognormal(size=(3000, 1)))
    fit = directional_fit(scale * x, labels, 4.0 * frame(dim), kappa)
    budget.check(f"Kolmogorov-Smirnov, d = {dim}", fit.ks_pvalue)
    cosine = (x * frame(dim)[labels]).sum(1).numpy()
    assert fit.mean_cosine == pytest.approx(cosine.mean(), rel=1e-12)
    expected = [cosine[labels == i].mean() for i in range(C)]
    assert fit.class_cosine == pytest.approx(tuple(expected), rel=1e-12)
    tangent = [float((x[labels == i].mean(0) - v * frame(dim)[i]).norm()) for i, v in
               enumerate(expected)]  # fmt: skip
    angles = [math.degrees(math.atan2(s, c)) for s, c in zip(tangent, expected, strict=True)]
    assert fit.mean_angle == pytest.approx(tuple(angles), rel=1e-6)
    spearman = stats.spearmanr(scale[:, 0], cosine)
    assert fit.norm_correlation == pytest.approx(spearman.statistic, rel=1e-9)
    budget.check(f"norms say nothing, d = {dim}", float(spearman.pvalue))
    share = float((x >= 0).all(1).double().mean())
    assert fit.non_negative == share
    pooled = 0.5 * (share + fit.model_non_negative)
    error = math.sqrt(max(pooled * (1 - pooled), 1e-9) * (1 / 3000 + 1 / 1998))
    z = (share - fit.model_non_negative) / error
    budget.check(f"non-negative shares, d = {dim}", float(2 * stats.norm.sf(abs(z))))


def test_other_laws_do_not_fit() -> None:
    labels = torch.arange(3000) % C
    x, _ = labelled(16, 40.0, 3000)
    assert directional_fit(x, labels, frame(16), 60.0).ks_pvalue < 1e-6
    mixed = torch.where(labels.unsqueeze(1) == 0, labelled(16, 5.0, 3000)[0], x)
    fit = directional_fit(mixed, labels, frame(16), 40.0)
    assert fit.ks_pvalue < 1e-6
    assert fit.class_cosine[0] < 0.5 * fit.class_cosine[1]
    relu = directional_fit(x.relu() + 1e-9, labels, frame(16), 40.0)
    assert relu.non_negative == 1.0
    assert relu.model_non_negative < 0.05
    turned = frame(16).roll(1, 0)
    assert min(directional_fit(x, labels, turned, 40.0).mean_angle) > 80.0


def test_the_norm_as_a_temperature() -> None:
    x, labels = labelled(16, 40.0, 500)
    cosine = (x * frame(16)[labels]).sum(1, keepdim=True)
    for sign, expected in ((1.0, 1.0), (-1.0, -1.0), (0.0, 0.0)):
        fit = directional_fit((sign * cosine).exp() * x, labels, frame(16), 40.0)
        if sign:
            assert fit.norm_correlation == pytest.approx(expected, abs=1e-9)
    basis = frame(4)
    assert directional_fit(basis, torch.arange(C), basis, 40.0).norm_correlation == 0.0
    stretched = basis * torch.tensor([[1.0], [2.0], [3.0]])
    assert directional_fit(stretched, torch.arange(C), basis, 40.0).norm_correlation == 0.0


def test_shares_weigh_classes_as_the_data_do() -> None:
    """Class 0 lies inside the positive orthant, class 1 opposite: 90 % of the rows to 10 %."""
    weight = torch.stack([torch.ones(3), -torch.ones(3)]).double()
    labels = (torch.arange(1000) % 10 == 0).long()
    unit = weight / 3.0**0.5
    x = VonMisesFisher(unit[labels], 500.0).sample(seed=0)
    fit = directional_fit(x, labels, weight, 500.0)
    assert fit.non_negative == pytest.approx(0.9)
    assert fit.model_non_negative == pytest.approx(0.9)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_any_scale_any_type_arrays_too(dtype: torch.dtype, size: float) -> None:
    x, labels = labelled(5, 20.0, 60)
    expected = directional_fit(x, labels, frame(5), 20.0)
    scaled = (size * x).to(dtype)
    found = directional_fit(scaled, labels.to(torch.uint8), (frame(5) * size).to(dtype), 20.0)
    for a, b in zip(found[:2] + found[3:5], expected[:2] + expected[3:5], strict=True):
        assert a == pytest.approx(b, abs=1e-4 if dtype == torch.float32 else 1e-9)
    arrays: Any = directional_fit(scaled.numpy(), labels.numpy(), frame(5).numpy(), 20.0)
    assert arrays[:6] == found[:6]


@pytest.mark.parametrize(("name", "make", "expect"), list(data_cases()), ids=lambda v: str(v)[:30])
def test_catalogue_of_activations(name: str, make: Callable[[], Any], expect: str) -> None:
    def readings() -> list[float]:
        x = make()
        dim = np.shape(x)[-1] if np.ndim(x) == 2 else 4
        fit = directional_fit(x, np.zeros(len(x), dtype=np.int64), np.ones((1, dim)), 3.0)
        return [*fit[:3], *fit.mean_angle, *fit.class_cosine, *fit[5:]]

    # a direction is needed: no zero row, two columns
    expect = "error" if name in {"all zeros", "one zero row", "D=1", "N=1 D=1"} else expect
    assert verdict(readings, expect, lambda out: bool(np.isfinite(out).all())) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.tensor([0, 1, 3])}, r"labels must be in 0 .. 2, got 3 at row 2"),
        ({"labels": torch.tensor([0, 1, -1])}, r"labels must be in 0 .. 2, got -1 at row 2"),
        ({"labels": torch.tensor([0, 1])}, "one integer per row"),
        ({"labels": torch.tensor([0.0, 1.0, 2.0])}, "labels must be integers"),
        ({"labels": torch.tensor([0, 1, 1])}, "class 2 has no activation"),
        ({"weight": torch.eye(3)}, "x must be .N, D. for weight .C, D."),
        ({"weight": 0.0 * frame(4)}, "weight has 3 zero rows"),
        ({"weight": math.nan * frame(4)}, "weight has 3 rows with NaN"),
        ({"concentration": -1.0}, "concentration must be finite and >= 0"),
        ({"concentration": math.nan}, "concentration must be finite"),
        ({"concentration": math.inf}, "concentration must be finite"),
        ({"concentration": torch.ones(3)}, "concentration must be one number"),
    ],
)
def test_what_is_refused(change: dict[str, Any], message: str) -> None:
    arguments = {
        "x": frame(4) + 0.1, "labels": torch.arange(3), "weight": frame(4), "concentration": 5.0
    }  # fmt: skip
    directional_fit(**arguments)
    with pytest.raises(ValueError, match=message):
        directional_fit(**{**arguments, **change})
