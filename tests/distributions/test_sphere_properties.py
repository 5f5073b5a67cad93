"""Properties over the whole range of d and kappa; examples are derandomised, so runs repeat."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probact.distributions import VonMisesFisher
from probact.special import bessel_deficit, bessel_ratio, inverse_bessel_ratio, kl_to_uniform

dims = st.integers(2, 3000)
log_kappas = st.floats(-12.0, 6.0)
seeds = st.integers(0, 2**32)


def kappa_of(log10: float) -> torch.Tensor:
    return torch.tensor(10.0**log10, dtype=torch.float64)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(dims, log_kappas)
def test_ratio_and_its_inverse(dim: int, log10: float) -> None:
    kappa = kappa_of(log10)
    ratio, deficit = bessel_ratio(kappa, dim), bessel_deficit(kappa, dim)
    assert 0.0 < ratio < 1.0
    # bounds of Amos (1974): k / (d/2 + hypot(k, d/2)) < A < k / (d/2 - 1 + hypot(k, d/2 + 1)).
    half = 0.5 * dim
    assert ratio >= kappa / (half + math.hypot(kappa, half)) * (1.0 - 1e-14)
    assert ratio <= kappa / (half - 1.0 + math.hypot(kappa, half + 1.0)) * (1.0 + 1e-14)
    assert math.isclose(ratio + deficit, 1.0, rel_tol=1e-15)
    # a rounding of r moves the root by its condition r / (kappa A') <= 1 / (1 - r)
    back = inverse_bessel_ratio(ratio, dim)
    assert math.isclose(back, kappa, rel_tol=4e-15 / float(deficit))


@settings(derandomize=True, max_examples=100, deadline=None)
@given(dims, log_kappas, st.floats(1e-3, 3.0))
def test_divergence_from_uniform_grows_with_kappa(dim: int, log10: float, step: float) -> None:
    kappa = kappa_of(log10)
    near, far = kl_to_uniform(torch.stack([kappa, kappa * math.exp(step)]), dim)
    assert 0.0 < near < far


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.integers(2, 64), st.floats(-3.0, 4.0), seeds)
def test_density_turns_with_the_sphere(dim: int, log10: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(
        torch.randn(dim, dim, dtype=torch.float64, generator=generator)
    ).Q  # also reflections
    mu = rotation[0]
    kappa = kappa_of(log10)
    x = VonMisesFisher(mu, kappa).sample((5,), generator=generator)
    turned = VonMisesFisher(mu @ rotation.T, kappa).log_prob(x @ rotation.T)
    expected = VonMisesFisher(mu, kappa).log_prob(x)
    torch.testing.assert_close(turned, expected, rtol=1e-11, atol=1e-12 * max(1.0, float(kappa)))
