"""Quadrant and orthant probabilities against scipy, closed forms and enumeration of signs."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from statcheck import AlphaBudget

from probact.distributions.bivariate_normal import both_positive, correlation_for
from probact.distributions.orthant import log_orthant_probability

F64 = torch.float64


@pytest.mark.parametrize("r", [-0.9999, -0.95, -0.4, 0.0, 1e-9, 0.3, 0.9, 0.999999])
def test_quadrant_against_scipy(r):
    points = [(0.0, 0.0), (1.0, -0.5), (-2.0, -2.0), (3.0, 3.1), (-1.0, 4.0)]
    g, k = torch.tensor(points, dtype=F64).T
    found = both_positive(g, k, torch.tensor(r, dtype=F64))
    law = multivariate_normal([0.0, 0.0], [[1.0, r], [r, 1.0]])
    want = [law.cdf(np.array(p)) for p in points]
    np.testing.assert_allclose(found, want, rtol=0, atol=2e-10)  # scipy's own accuracy


def test_quadrant_identities():
    r = torch.linspace(-1.0, 1.0, 41, dtype=F64)
    zero = torch.zeros((), dtype=F64)
    want = 0.25 + torch.asin(r) / (2 * math.pi)
    torch.testing.assert_close(both_positive(zero, zero, r), want, rtol=0, atol=1e-13)
    g, k = torch.tensor([0.7, -0.3, 1.1]).double(), torch.tensor([0.2, 0.9, -2.0]).double()
    for value in (-1.0, -0.8, 0.5, 1.0):
        rho = torch.tensor(value, dtype=F64)
        total = both_positive(g, k, rho) + both_positive(g, -k, -rho)
        torch.testing.assert_close(total, torch.special.ndtr(g), rtol=0, atol=1e-12)
    ends = both_positive(g, k, torch.ones((), dtype=F64))
    smaller = torch.special.ndtr(torch.minimum(g, k))
    torch.testing.assert_close(ends, smaller, rtol=0, atol=1e-9)


def test_correlations_come_back():
    generator = torch.Generator().manual_seed(0)
    g = torch.randn(5, dtype=F64, generator=generator)
    x = torch.randn(5, 8, dtype=F64, generator=generator)
    true = torch.corrcoef(x)
    both = both_positive(g.unsqueeze(1), g.unsqueeze(0), true)
    torch.testing.assert_close(correlation_for(g, both), true, rtol=0, atol=1e-7)


def test_orthants_of_three_and_more():
    generator = torch.Generator().manual_seed(1)
    loc = torch.tensor([0.3, -0.5, 0.1, 0.8], dtype=F64)
    correlation = torch.corrcoef(torch.randn(4, 6, dtype=F64, generator=generator))
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=4)), dtype=F64)
    found = log_orthant_probability(loc, correlation, signs, 4000, generator)
    budget = AlphaBudget(1e-6, 17)
    for sign, value, error in zip(signs, found.value, found.standard_error, strict=True):
        s = sign.numpy()
        covariance = correlation.numpy() * np.outer(s, s)
        want = math.log(multivariate_normal(-s * loc.numpy(), covariance).cdf(np.zeros(4)))
        z = abs(float(value) - want) / (float(error) + 1e-4)
        budget.check(f"orthant {s}", math.erfc(z / math.sqrt(2)))
    total = found.value.exp().sum()
    error = (found.value.exp() * found.standard_error).norm()
    z = abs(float(total) - 1.0) / float(error)
    budget.check("sum over orthants", math.erfc(z / math.sqrt(2)))


def test_one_and_two_units_are_closed():
    generator = torch.Generator()
    one = log_orthant_probability(
        torch.tensor([0.4], dtype=F64),
        torch.eye(1).double(),
        -torch.ones(1, 1).double(),
        2,
        generator,
    )
    assert float(one.value.exp()) == pytest.approx(0.3445782583896758, rel=1e-12)
    correlation = torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=F64)
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=F64)
    two = log_orthant_probability(torch.zeros(2, dtype=F64), correlation, signs, 2, generator)
    torch.testing.assert_close(two.value.exp(), torch.tensor([1 / 3, 1 / 6], dtype=F64))
    assert float(two.standard_error.abs().max()) == 0.0
