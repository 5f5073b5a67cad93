r"""Bessel quantities of the unit sphere S^(d-1), in log space, for any d >= 2 and kappa >= 0.

Symbols: d ambient dimension; nu = d/2 - 1 the Bessel order; kappa >= 0 the argument; t = <mu, x>
under the uniform law on the sphere. All comes from the log moment generating function of t,

    K(kappa) = log E exp(kappa t) = log 0F1(; d/2; kappa^2 / 4),  A = K' = I_{d/2} / I_{d/2-1}.

One scheme serves every (d, kappa): the logarithm of Debye's uniform expansion at the order
N = nu + m >= 20, then m steps down in the order through I_{n-1} = 2n/kappa I_n + I_{n+1}. Every
term vanishes at kappa = 0 and none cancels, so small kappa keeps full relative accuracy.
Largest relative errors in float64 on d = 2..65536, kappa = 1e-6..1e6 against 45-digit tables:
K 2e-15, A 6e-16, KL 9e-15, A' 3e-13; A'' loses a factor of about kappa / d when kappa > d.
float32 is computed in float64 and rounded, except on devices that have no float64.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from probact.bessel.terms import SphereTerms, bessel_terms

__all__ = [
    "SphereTerms",
    "bessel_deficit",
    "bessel_ratio",
    "inverse_bessel_ratio",
    "kl_to_uniform",
    "log_bessel_i",
    "log_mgf_gap",
    "log_sphere_area",
    "log_sphere_mgf",
    "sphere_terms",
    "widen",
]

_NEWTON_STEPS = 12  # the start is within 40 % of the root; 6 suffice, the rest is idle


def log_sphere_area(dim: int) -> float:
    """Log of the surface area 2 pi^(d/2) / Gamma(d/2) of the sphere S^(dim-1) in R^dim.

    >>> round(log_sphere_area(3), 6)  # log 4 pi
    2.531024
    """
    return math.log(2.0) + 0.5 * _checked(dim) * math.log(math.pi) - math.lgamma(0.5 * dim)


def log_bessel_i(order: float, x: Tensor) -> Tensor:
    """Log of the modified Bessel function I_order(x) for order >= 0 and x >= 0, any shape.

    Twice differentiable in x; -inf at x = 0 unless the order is 0.

    Raises:
        ValueError: the order is negative or not finite.
        TypeError: x is not a float32 or float64 tensor.

    >>> log_bessel_i(0.5, torch.tensor([1.0], dtype=torch.float64))  # log(sqrt(2/pi) sinh 1)
    tensor([-0.0644], dtype=torch.float64)
    """
    if not (math.isfinite(order) and order >= 0):
        raise ValueError(f"order must be finite and >= 0, got {order!r}")
    log_mgf = _quantity("K", _floating(x, "x"), Fraction(order))
    return log_mgf if order == 0 else log_mgf + order * (x / 2).log() - math.lgamma(order + 1.0)


def log_sphere_mgf(kappa: Tensor, dim: int) -> Tensor:
    """K(kappa) = log of the mean of exp(kappa <mu, x>) over the uniform law on S^(dim-1).

    >>> log_sphere_mgf(torch.tensor([0.0, 1.0]), 3)  # log(sinh(1) / 1)
    tensor([0.0000, 0.1614])
    """
    return _quantity("K", _floating(kappa, "kappa"), _order(dim))


def log_mgf_gap(kappa: Tensor, dim: int) -> Tensor:
    """kappa - K(kappa), without the cancellation at large kappa.

    >>> log_mgf_gap(torch.tensor([1e8]), 3)  # log(2 kappa)
    tensor([19.1138])
    """
    return _quantity("kappa - K", _floating(kappa, "kappa"), _order(dim))


def bessel_ratio(kappa: Tensor, dim: int) -> Tensor:
    """A_dim(kappa) = I_{dim/2} / I_{dim/2-1}: mean resultant length of a vMF law, in [0, 1).

    >>> bessel_ratio(torch.tensor([0.0, 2.0]), 3)  # coth 2 - 1/2
    tensor([0.0000, 0.5373])
    """
    return _quantity("A", _floating(kappa, "kappa"), _order(dim))


def bessel_deficit(kappa: Tensor, dim: int) -> Tensor:
    """1 - A_dim(kappa) in (0, 1], without the cancellation at large kappa.

    >>> bessel_deficit(torch.tensor([0.0, 1e12]), 3)  # (d - 1) / (2 kappa)
    tensor([1.0000e+00, 1.0000e-12])
    """
    return _quantity("1 - A", _floating(kappa, "kappa"), _order(dim))


def inverse_bessel_ratio(r: Tensor, dim: int) -> Tensor:
    """The kappa with A_dim(kappa) = r, for r in [0, 1]: inf at 1, nan outside.

    Newton steps in log kappa from the start of Banerjee et al. (2005), r (d - r^2) / (1 - r^2).

    >>> inverse_bessel_ratio(bessel_ratio(torch.tensor([85.0]), 128), 128)
    tensor([85.])
    """
    kappa: Tensor = _InverseRatio.apply(_floating(r, "r"), _order(dim))
    return kappa


def kl_to_uniform(kappa: Tensor, dim: int) -> Tensor:
    """KL(vMF(kappa) || uniform) = kappa A - K in nats, to full relative accuracy at both ends.

    >>> kl_to_uniform(torch.tensor([0.0, 1e-6], dtype=torch.float64), 2)  # kappa^2 / (2 d)
    tensor([0.0000e+00, 2.5000e-13], dtype=torch.float64)
    """
    return _quantity("KL", _floating(kappa, "kappa"), _order(dim))


def sphere_terms(kappa: Tensor, dim: int) -> SphereTerms:
    """All quantities that share the expansion at (kappa, dim), without gradients."""
    with torch.no_grad():
        return bessel_terms(widen(_floating(kappa, "kappa")), _order(dim))


def _curvature(kappa: Tensor, terms: SphereTerms, nu: float) -> Tensor:
    """A'' = -2 A A' - (d-1) (A' - A/kappa) / kappa, the derivative of Riccati's identity."""
    d = 2.0 * nu + 2.0
    excess = (terms.slope - terms.ratio_over_kappa) / kappa.clamp_min(1e-150)
    riccati = -2.0 * kappa * terms.ratio_over_kappa * terms.slope - (d - 1.0) * excess
    # A' - A/kappa cancels at small kappa: two terms of the power series there
    scaled = (kappa / d) * (kappa / (d + 4.0))
    series = kappa / (d * d * (d + 2.0)) * (40.0 * scaled - 6.0)
    return torch.where(scaled < 1e-6, series, riccati)


def _kl(kappa: Tensor, terms: SphereTerms, nu: float) -> Tensor:
    small = kappa * (kappa * terms.ratio_over_kappa) - terms.log_mgf
    return torch.where(kappa < nu + 1.0, small, terms.log_mgf_gap - terms.defect)


def _deficit(kappa: Tensor, terms: SphereTerms, nu: float) -> Tensor:
    small = 1.0 - kappa * terms.ratio_over_kappa
    return torch.where(kappa < 1.0, small, terms.defect / kappa.clamp_min(1.0))


# name: (formula in kappa, its terms and nu; name of its derivative in kappa)
_QUANTITIES: dict[str, tuple[Callable[[Tensor, SphereTerms, float], Tensor], str]] = {
    "K": (lambda k, t, nu: t.log_mgf, "A"),
    "A": (lambda k, t, nu: k * t.ratio_over_kappa, "A'"),
    "A'": (lambda k, t, nu: t.slope, "A''"),
    "A''": (_curvature, ""),
    "kappa - K": (lambda k, t, nu: t.log_mgf_gap, "1 - A"),
    "1 - A": (_deficit, "-A'"),
    "-A'": (lambda k, t, nu: -t.slope, "-A''"),
    "-A''": (lambda k, t, nu: -_curvature(k, t, nu), ""),
    "KL": (_kl, "KL'"),
    "KL'": (lambda k, t, nu: k * t.slope, "KL''"),
    "KL''": (lambda k, t, nu: t.slope + k * _curvature(k, t, nu), ""),
}
_OF_SLOPE = {"A'", "A''", "-A'", "-A''", "KL'", "KL''"}  # those that read the slope


class _Quantity(torch.autograd.Function):
    """One named quantity and its derivative, which the same expansion yields at no cost."""

    generate_vmap_rule = True

    @staticmethod
    def forward(kappa: Tensor, nu: Fraction, name: str) -> tuple[Tensor, Tensor]:
        wide = widen(kappa)
        formula, derivative = _QUANTITIES[name]
        wanted = name in _OF_SLOPE or derivative in _OF_SLOPE
        terms = bessel_terms(wide, nu, with_slope=wanted)
        slope = (
            _QUANTITIES[derivative][0](wide, terms, float(nu)) if derivative else wide * math.nan
        )
        return formula(wide, terms, float(nu)).to(kappa.dtype), slope.to(kappa.dtype)

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Fraction, str], output: tuple[Tensor, Tensor]
    ) -> None:
        kappa, ctx.nu, name = inputs
        ctx.derivative = _QUANTITIES[name][1]
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(kappa, output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        kappa, slope = ctx.saved_tensors
        if not ctx.derivative:
            raise NotImplementedError("this Bessel quantity is differentiated too often")
        if torch.is_grad_enabled():  # a second derivative is wanted
            slope = _quantity(ctx.derivative, kappa, ctx.nu)
        return grad * slope, None, None


def _quantity(name: str, kappa: Tensor, nu: Fraction) -> Tensor:
    if torch.is_grad_enabled():
        value: Tensor = _Quantity.apply(kappa, nu, name)[0]
        return value
    wide = widen(kappa)
    terms = bessel_terms(wide, nu, with_slope=name in _OF_SLOPE)
    return _QUANTITIES[name][0](wide, terms, float(nu)).to(kappa.dtype)


class _InverseRatio(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(r: Tensor, nu: Fraction) -> Tensor:
        wide = widen(r)
        d = 2.0 * float(nu) + 2.0
        kappa = wide * (d - wide * wide) / ((1.0 - wide) * (1.0 + wide)).clamp_min(1e-300)
        for _ in range(_NEWTON_STEPS):
            terms = bessel_terms(kappa, nu)
            # 1 - A from its own sum: r - A cancels when both are close to one
            near_one = terms.defect / kappa.clamp_min(1e-300) - (1.0 - wide)
            miss = torch.where(wide < 0.5, wide - kappa * terms.ratio_over_kappa, near_one)
            step = miss / (kappa * terms.slope).clamp_min(1e-300)
            kappa = kappa * step.clamp(-1.4, 1.4).exp()
        kappa = torch.where(wide == 1.0, math.inf, kappa)
        return torch.where((wide >= 0.0) & (wide <= 1.0), kappa, math.nan).to(r.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Fraction], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.nu = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (r,) = ctx.saved_tensors
        kappa: Tensor = _InverseRatio.apply(r, ctx.nu)
        return grad / _quantity("A'", kappa, ctx.nu), None


def widen(x: Tensor) -> Tensor:
    """x in float64, where its device has it."""
    return x if x.device.type == "mps" else x.double()


def _order(dim: int) -> Fraction:
    return Fraction(_checked(dim), 2) - 1


def _checked(dim: int) -> int:
    if isinstance(dim, bool) or not isinstance(dim, int) or dim < 2:
        raise ValueError(f"dim must be an integer >= 2, got {dim!r}")
    return dim


def _floating(x: Tensor, name: str) -> Tensor:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(x).__name__}")
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name} must be float32 or float64, got {x.dtype}")
    return x
