"""Angular Gaussian against 30-digit quadrature, Pyro's projected normal and its own definition."""

import math

import mpmath
import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import integrate
from sphere_cases import direction
from statcheck import AlphaBudget, dkw_pvalue, two_sample_pvalue
from torch import Tensor

from probact.distributions import AngularGaussian

F64 = torch.float64


def log_density(m: list[float], s: list[float], x: list[float]) -> float:
    """log int_0^inf r^(d-1) N(r x; m, diag(s^2)) dr in 30 digits."""
    with mpmath.workdps(30):
        dim = len(m)
        centre = [mpmath.mpf(a) / mpmath.mpf(b) for a, b in zip(m, s, strict=True)]
        ray = [mpmath.mpf(a) / mpmath.mpf(b) for a, b in zip(x, s, strict=True)]
        square = sum(a * a for a in ray)
        along = sum(a * b for a, b in zip(ray, centre, strict=True))
        rest = sum(a * a for a in centre)

        def log_f(r: mpmath.mpf) -> mpmath.mpf:
            return (dim - 1) * mpmath.log(r) - (square * r * r - 2 * along * r + rest) / 2

        peak = (along + mpmath.sqrt(along**2 + 4 * square * dim)) / (2 * square)
        width = 1 / mpmath.sqrt(square)
        cuts = [mpmath.mpf(0)] if peak < 12 * width else [peak - 12 * width]
        cuts += [
            c for c in (peak + k * width for k in (-6, -3, -1, 0, 1, 3, 6, 14)) if c > cuts[0]
        ]
        top = log_f(peak)
        total = mpmath.quad(lambda r: mpmath.exp(log_f(r) - top) if r > 0 else mpmath.mpf(0), cuts)
        scale = sum(mpmath.log(mpmath.mpf(b)) for b in s) + dim * mpmath.log(2 * mpmath.pi) / 2
        return float(mpmath.log(total) + top - scale)


@pytest.mark.parametrize("dim", [2, 3, 10, 128])
@pytest.mark.parametrize("strength", [0.0, 0.3, 3.0, 100.0, 1e4])
def test_density_against_quadrature(dim: int, strength: float) -> None:
    rng = np.random.default_rng(dim)
    m, s = strength * rng.normal(size=dim), np.exp(0.5 * rng.normal(size=dim))
    for x in (m if strength else rng.normal(size=dim), -rng.normal(size=dim)):
        x = x / np.linalg.norm(x)
        want = log_density(m.tolist(), s.tolist(), x.tolist())
        law = AngularGaussian(torch.tensor(m), torch.tensor(s))
        assert law.log_prob(torch.tensor(x)).item() == pytest.approx(want, rel=1e-10, abs=1e-10)
        narrow = AngularGaussian(torch.tensor(m).float(), torch.tensor(s).float())
        got = narrow.log_prob(torch.tensor(x).float()).item()
        # the rounding of x alone moves x - m by 6e-8 of the strength
        assert got == pytest.approx(want, rel=1e-4, abs=1e-4 + (1e-6 * strength) ** 2 * dim)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("strength", [0.1, 2.0, 3.5])  # Pyro's 1 + erf cancels beyond
def test_equal_scales_are_the_projected_normal(dim: int, strength: float) -> None:
    m, x = strength * direction(dim), direction(dim, 30, seed=2)
    law, peer = AngularGaussian(m, torch.ones(dim, dtype=F64)), dist.ProjectedNormal(m)
    torch.testing.assert_close(law.log_prob(x), peer.log_prob(x), rtol=1e-9, atol=1e-9)
    scaled = AngularGaussian(7.0 * m, torch.full((dim,), 7.0, dtype=F64))
    torch.testing.assert_close(scaled.log_prob(x), law.log_prob(x), rtol=1e-12, atol=1e-12)


def test_the_angle_of_circle_draws(budget: AlphaBudget) -> None:
    law = AngularGaussian(
        torch.tensor([1.0, -0.3], dtype=F64), torch.tensor([0.4, 1.5], dtype=F64)
    )
    angle = torch.linspace(-math.pi, math.pi, 4001, dtype=F64)
    density = law.log_prob(torch.stack([angle.cos(), angle.sin()], -1)).exp().numpy()
    mass = integrate.cumulative_simpson(density, x=angle.numpy(), initial=0.0)
    assert mass[-1] == pytest.approx(1.0, rel=1e-9)
    x = law.sample((12_000,), seed=1)
    seen = torch.atan2(x[:, 1], x[:, 0]).numpy()
    budget.check("angular", dkw_pvalue(seen, lambda a: np.interp(a, angle.numpy(), mass)))


def test_draws_are_projections_of_gaussians(budget: AlphaBudget) -> None:
    law = AngularGaussian(direction(6), 0.2 + direction(6, seed=3).abs())
    gauss = law.loc + law.scale * torch.tensor(np.random.default_rng(8).normal(size=(8000, 6)))
    want = torch.nn.functional.normalize(gauss, dim=-1)
    x = law.sample((8000,), seed=4)
    for i in range(6):
        budget.check("projection", two_sample_pvalue(x[:, i].numpy(), want[:, i].numpy()))


def test_second_derivatives_of_the_density() -> None:
    x = direction(4, 3, seed=5)
    loc = (2.0 * direction(4)).requires_grad_()
    scale = (0.5 + direction(4, seed=6).abs()).requires_grad_()

    def f(loc: Tensor, scale: Tensor) -> Tensor:
        return AngularGaussian(loc, scale).log_prob(x)

    assert torch.autograd.gradcheck(f, (loc, scale))
    assert torch.autograd.gradgradcheck(f, (loc, scale))


def test_messages_name_the_argument_and_the_place() -> None:
    one = torch.ones(3)
    with pytest.raises(ValueError, match=r"loc must be a tensor \(..., d\) .* got \(1,\)"):
        AngularGaussian(torch.ones(1), one)
    with pytest.raises(ValueError, match=r"scale must be a tensor .* got float"):
        AngularGaussian(one, 1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"scale must be finite and positive; .* at \(1,\)"):
        AngularGaussian(one, torch.tensor([1.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match=r"loc must be finite; it is not at \(2,\)"):
        AngularGaussian(torch.tensor([0.0, 0.0, math.nan]), one)
    with pytest.raises(ValueError, match=r"loc and scale must broadcast, got \(3,\) and \(4,\)"):
        AngularGaussian(one, torch.ones(4))
