"""Entropies against SciPy's, and against adaptive quadrature in pieces around each component."""

import itertools
import math

import numpy as np
import pytest
import torch
from mpmath import mp
from scipy import integrate, stats

from probact.analysis.student_t_entropy import marginal_entropies, student_t_entropy

F64 = torch.float64


@pytest.mark.parametrize("dim", [1, 2, 3, 16, 81])
@pytest.mark.parametrize("df", [0.1, 1.0, 3.0, 4.5, 1e3, 1999.0, 1e6, 1e10])
def test_entropy_of_one_law(df: float, dim: int) -> None:
    with mp.workdps(50):
        v, half = mp.mpf(df), mp.mpf(df + dim) / 2
        want = mp.loggamma(v / 2) - mp.loggamma(half) + mp.mpf(dim) / 2 * mp.log(mp.pi * v)
        want += half * (mp.digamma(half) - mp.digamma(v / 2))
    got = float(student_t_entropy(torch.tensor(df, dtype=F64), torch.tensor(0.7, dtype=F64), dim))
    assert got == pytest.approx(float(want) + 0.7, rel=1e-9, abs=1e-9)


def by_pieces(
    weights: list[float], df: list[float], loc: list[float], spread: list[float]
) -> float:
    """Minus the integral of p log p between breaks at the quantiles of every component."""

    def integrand(x: float) -> float:
        p = sum(
            w * stats.t.pdf(x, v, m, s)
            for w, v, m, s in zip(weights, df, loc, spread, strict=True)
        )
        return -p * math.log(p) if p > 0.0 else 0.0

    levels = np.concatenate([10.0 ** np.arange(-15, 0), [0.25, 0.5]])
    breaks = {
        float(m + sign * s * stats.t.isf(q, v))
        for v, m, s in zip(df, loc, spread, strict=True)
        for q in levels
        for sign in (-1, 1)
    }
    pieces = itertools.pairwise(sorted(breaks))
    return sum(integrate.quad(integrand, a, b, epsabs=1e-12, limit=200)[0] for a, b in pieces)


@pytest.mark.parametrize(
    ("weights", "df", "loc", "spread"),
    [
        ([1.0], [3.0], [0.0], [2.0]),
        ([0.5, 0.5], [3.0, 30.0], [-1.0, 2.0], [1.0, 0.1]),
        ([0.7, 0.3], [4.0, 3.0], [0.0, 0.0], [1e-4, 1e2]),  # a needle in a wide component
        ([0.3, 0.3, 0.4], [1e9, 5.0, 1e3], [-1e5, 1e5, 0.0], [1.0, 1.0, 1.0]),  # far apart
        ([0.999, 0.001], [50.0, 2.0], [1.0, 1.5], [0.2, 30.0]),  # a new cluster beside
    ],
)
def test_marginals_of_mixtures(
    weights: list[float], df: list[float], loc: list[float], spread: list[float]
) -> None:
    w, v, m, s = (torch.tensor(values, dtype=F64) for values in (weights, df, loc, spread))
    got = float(marginal_entropies(w, v, m[:, None], s[:, None])[0])
    assert got == pytest.approx(by_pieces(weights, df, loc, spread), abs=2e-8)


@pytest.mark.parametrize("df", [0.3, 1.0, 2.0, 7.0, 1e6])
def test_marginals_of_one_component_have_the_closed_form(df: float) -> None:
    v, s = torch.tensor([df], dtype=F64), torch.tensor([[1e-3, 1.0, 1e5]], dtype=F64)
    got = marginal_entropies(torch.ones(1, dtype=F64), v, torch.zeros_like(s) + 5.0, s)
    want = student_t_entropy(v, s[0].log(), 1)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_coordinates_do_not_touch_each_other() -> None:
    g = torch.Generator().manual_seed(0)
    w, v = torch.tensor([0.2, 0.8], dtype=F64), torch.tensor([3.0, 9.0], dtype=F64)
    loc = torch.randn(2, 4, generator=g, dtype=F64) * 10.0
    spread = torch.rand(2, 4, generator=g, dtype=F64) + 1e-3
    together = marginal_entropies(w, v, loc, spread)
    alone = [marginal_entropies(w, v, loc[:, [i]], spread[:, [i]]) for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-10, atol=1e-10)


def test_scales_that_no_panels_span_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probact.analysis.student_t_entropy._MOST_PANELS", 10)
    one = torch.ones(1, dtype=F64)
    with pytest.raises(ValueError, match="scales differ too much: 10 panels"):
        marginal_entropies(one, one, one[:, None], one[:, None])
