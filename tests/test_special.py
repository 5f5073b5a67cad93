"""Bessel quantities against 45-digit tables, mpmath, scipy and finite differences."""

import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest
import scipy.special
import torch
from reference_tables import vmf_dims, vmf_rows
from torch import Tensor

from probact import special

F64 = torch.float64
DIMS = vmf_dims()
Function = Callable[[Tensor, int], Tensor]

FUNCTIONS: dict[str, Function] = {
    "log_sphere_mgf": special.log_sphere_mgf,
    "log_mgf_gap": special.log_mgf_gap,
    "bessel_ratio": special.bessel_ratio,
    "kl_to_uniform": special.kl_to_uniform,
    "bessel_deficit": special.bessel_deficit,
}


def slope(f: Function) -> Function:
    def derivative(kappa: Tensor, dim: int) -> Tensor:
        if not kappa.requires_grad:  # the outermost of nested slopes owns the leaf
            kappa = kappa.detach().requires_grad_()
        (grad,) = torch.autograd.grad(f(kappa, dim).sum(), kappa, create_graph=True)
        return grad

    return derivative


def log_norm(kappa: Tensor, dim: int) -> Tensor:
    return -special.log_sphere_mgf(kappa, dim) - special.log_sphere_area(dim)


def log_norm_by_gap(kappa: Tensor, dim: int) -> Tensor:
    """Second route: log C = (kappa - K) - kappa - log area."""
    return special.log_mgf_gap(kappa, dim) - kappa - special.log_sphere_area(dim)


def entropy(kappa: Tensor, dim: int) -> Tensor:
    return special.log_sphere_area(dim) - special.kl_to_uniform(kappa, dim)


# column of the table: function, relative tolerance, tolerance near zero is absolute
TABLE: list[tuple[str, Function, float, bool]] = [
    ("log_norm", log_norm, 1e-12, True),
    ("log_norm", log_norm_by_gap, 1e-12, True),
    ("entropy", entropy, 1e-12, True),
    ("mean_resultant", special.bessel_ratio, 1e-12, False),
    ("mean_resultant", slope(special.log_sphere_mgf), 1e-12, False),
    ("d_mean_resultant", slope(special.bessel_ratio), 1e-9, False),
    ("d_mean_resultant", slope(slope(special.log_sphere_mgf)), 1e-9, False),
    ("kl_to_uniform", special.kl_to_uniform, 1e-8, False),
]


def assert_close(got: Tensor, want: Tensor, tolerance: float, absolute: bool) -> None:
    scale = want.abs().clamp_min(1.0) if absolute else want.abs()
    error = (got.detach().double() - want).abs() / scale
    assert error.max() <= tolerance, f"error {error.max():.2e} in row {int(error.argmax())}"


@pytest.mark.parametrize(("column", "f", "tolerance", "absolute"), TABLE)
@pytest.mark.parametrize("dim", DIMS)
def test_table(column: str, f: Function, tolerance: float, absolute: bool, dim: int) -> None:
    rows = vmf_rows(dim)
    kappa, want = rows["kappa"], rows[column]
    batched = f(kappa, dim)
    assert_close(batched, want, tolerance, absolute)
    assert_close(torch.stack([f(k, dim) for k in kappa]), want, tolerance, absolute)
    assert_close(f(kappa.float(), dim), want, 1e-5, absolute)
    assert f(kappa.float(), dim).dtype == torch.float32
    assert torch.equal(f(kappa.reshape(11, 1, 1).expand(11, 2, 1), dim)[:, 1, 0], batched)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_do_not_depend_on_the_grad_mode(name: str) -> None:
    kappa = vmf_rows(3)["kappa"]
    want = FUNCTIONS[name](kappa, 3)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.equal(FUNCTIONS[name](kappa, 3), want)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dim", [2, 3, 20, 2048])
def test_vmap_gives_the_eager_values(name: str, dim: int) -> None:
    f, kappa = FUNCTIONS[name], vmf_rows(dim)["kappa"]

    def scalar(k: Tensor) -> Tensor:
        return f(k, dim)

    gradient = torch.func.grad(scalar)
    both = torch.func.vmap(torch.func.vmap(gradient))(kappa.reshape(11, 1))
    torch.testing.assert_close(torch.func.vmap(scalar)(kappa), f(kappa, dim), rtol=1e-13, atol=0)
    torch.testing.assert_close(both[:, 0], slope(f)(kappa, dim).detach(), rtol=1e-13, atol=0)
    through = torch.func.grad(lambda k: torch.func.vmap(scalar)(k).sum())(kappa)
    torch.testing.assert_close(through, slope(f)(kappa, dim).detach(), rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dim", [2, 3, 7, 50, 512])
def test_gradients_match_finite_differences(name: str, dim: int) -> None:
    kappa = torch.tensor([1e-3, 0.3, 4.0, 90.0], dtype=F64, requires_grad=True)

    def f(k: Tensor) -> Tensor:
        return FUNCTIONS[name](k, dim)

    assert torch.autograd.gradcheck(f, kappa, eps=1e-5, atol=1e-7)
    assert torch.autograd.gradgradcheck(f, kappa, eps=1e-5, atol=1e-7)


def test_third_derivative_and_no_further() -> None:
    kappa = torch.tensor([0.5, 3.0, 30.0], dtype=F64)
    third = slope(slope(slope(special.log_sphere_mgf)))
    h = 1e-4
    ratio_slope = slope(special.bessel_ratio)
    difference = (ratio_slope(kappa + h, 5) - ratio_slope(kappa - h, 5)) / (2 * h)
    torch.testing.assert_close(third(kappa, 5), difference, rtol=1e-6, atol=1e-10)
    with pytest.raises(NotImplementedError, match="differentiated too often"):
        slope(third)(kappa, 5)


@pytest.mark.parametrize("dim", [*range(2, 8), 10, 41, 42, 43, 128, 2048, 65536])
@pytest.mark.parametrize("dtype", [F64, torch.float32])
def test_nothing_is_infinite_or_nan(dim: int, dtype: torch.dtype) -> None:
    exponents = [-310, -300, -200, -150, -30, -6, 0, 3, 8, 12, 30, 100, 150, 200, 300]
    values = [0.0, *(10.0**e for e in exponents)]
    if dtype == torch.float32:
        values = [0.0, 1e-45, 1e-38, 1e-20, 1e-6, 1.0, 1e3, 1e8, 1e12, 3e38]
    kappa = torch.tensor(values, dtype=dtype)
    for name, f in FUNCTIONS.items():
        for order in range(3):
            result = f(kappa, dim)
            assert torch.isfinite(result).all(), (name, order, result)
            assert result.dtype == dtype
            f = slope(f)
    for term, column in special.sphere_terms(kappa, dim)._asdict().items():
        assert torch.isfinite(column).all(), (term, column)
    assert (special.kl_to_uniform(kappa, dim) >= 0).all()
    assert (special.bessel_ratio(kappa, dim) <= 1).all()


@pytest.mark.parametrize("dim", [2, 3, 5, 50, 65536])
def test_limits_at_both_ends(dim: int) -> None:
    zero = torch.zeros((), dtype=F64)
    assert special.log_sphere_mgf(zero, dim) == 0
    assert special.bessel_ratio(zero, dim) == 0
    assert slope(special.bessel_ratio)(zero, dim).item() == pytest.approx(1 / dim, rel=1e-14)
    tiny = torch.tensor([1e-310, 1e-300, 1e-150], dtype=F64)  # A -> kappa / d
    torch.testing.assert_close(special.bessel_ratio(tiny, dim), tiny / dim, rtol=1e-4, atol=0)
    huge = torch.tensor([1e20, 1e100, 1e300], dtype=F64)  # C (2 pi / kappa)^((d-1)/2) -> 1
    peak = special.log_mgf_gap(huge, dim) - special.log_sphere_area(dim)
    laplace = 0.5 * (dim - 1) * (huge / (2 * math.pi)).log()
    torch.testing.assert_close(peak, laplace, rtol=1e-10, atol=0)
    huge = huge[:2]  # A' underflows beyond
    gain = slope(special.kl_to_uniform)(huge, dim).detach()  # KL ~ (d-1)/2 log kappa
    torch.testing.assert_close(gain * huge, torch.full_like(huge, 0.5 * (dim - 1)))


@pytest.mark.parametrize("dim", [2, 3, 5, 50, 2048])
def test_second_derivative_of_the_ratio_where_it_cancels(dim: int) -> None:
    """A'' = -6 kappa / (d^2 (d+2)) + O(kappa^3) at zero; Riccati's equation in 60 digits."""
    curvature = slope(slope(special.bessel_ratio))
    tiny = torch.tensor([1e-300, 1e-30, 1e-9], dtype=F64)
    want = -6.0 * tiny / (dim * dim * (dim + 2.0))
    torch.testing.assert_close(curvature(tiny, dim).detach(), want, rtol=1e-12, atol=0)
    kappa, seconds = [1e-4, 3e-3, 0.02, 0.5, 5.0, 85.0], []
    with mpmath.workdps(60):
        for k in map(mpmath.mpf, kappa):
            half = mpmath.mpf(dim) / 2
            a = mpmath.besseli(half, k) / mpmath.besseli(half - 1, k)
            first = 1 - a * a - (dim - 1) * a / k
            seconds.append(float(-2 * a * first - (dim - 1) * (first / k - a / k**2)))
    got = curvature(torch.tensor(kappa, dtype=F64), dim).detach()
    torch.testing.assert_close(got, torch.tensor(seconds, dtype=F64), rtol=1e-8, atol=0)


@pytest.mark.parametrize("order", [0, 0.5, 1, 2.3, 2.5, 3, 25.5, 1000])
def test_log_bessel_against_mpmath(order: float) -> None:
    x = [1e-300, 1e-20, 1e-3, 0.5, 1.0, 7.0, 85.0, 1e3, 1e5, 1e8]
    with mpmath.workdps(40):
        want = [float(mpmath.log(mpmath.besseli(mpmath.mpf(order), v))) for v in x]
    got = special.log_bessel_i(order, torch.tensor(x, dtype=F64))
    assert_close(got, torch.tensor(want, dtype=F64), 1e-12, absolute=True)


@pytest.mark.parametrize("order", [0, 0.5, 1, 2.3, 25.5, 1000])
def test_log_bessel_against_scipy_and_its_recurrence(order: float) -> None:
    x = np.geomspace(1e-2, 1e4, 60)
    scaled = scipy.special.ive(order, x)
    seen = scaled > 1e-280  # scipy underflows below
    assert seen.sum() > 10
    want = torch.tensor(np.log(scaled[seen]) + x[seen])
    arg = torch.tensor(x[seen], requires_grad=True)
    got = special.log_bessel_i(order, arg)
    assert_close(got, want, 1e-11, absolute=True)
    (grad,) = torch.autograd.grad(got.sum(), arg)  # I' / I = I_{n+1} / I_n + n / x
    upper = special.log_bessel_i(order + 1.0, arg.detach())
    ratio = (upper - got.detach()).exp() + order / arg.detach()
    torch.testing.assert_close(grad, ratio, rtol=1e-9, atol=0)


def test_log_bessel_at_zero() -> None:
    x = torch.tensor([0.0], dtype=F64)
    assert special.log_bessel_i(0, x) == 0
    assert special.log_bessel_i(0.5, x) == -math.inf
    x = torch.tensor([0.3, 2.0, 40.0], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: special.log_bessel_i(2.3, v), x)
    assert torch.autograd.gradgradcheck(lambda v: special.log_bessel_i(2.3, v), x, atol=1e-6)


@pytest.mark.parametrize("dim", DIMS)
def test_inverse_ratio_round_trip(dim: int) -> None:
    # to the conditioning of the problem: an ulp of r moves kappa by ulp * r / (kappa A')
    kappa = torch.logspace(-8, 5, 60, dtype=F64)
    r = special.bessel_ratio(kappa, dim)
    condition = (r / (kappa * slope(special.bessel_ratio)(kappa, dim))).detach()
    error = (special.inverse_bessel_ratio(r, dim) / kappa - 1).abs()
    assert (error <= 1e-14 + 1e-15 * condition).all(), (error / (1e-14 + 1e-15 * condition)).max()
    r = torch.linspace(0.01, 0.99, 50, dtype=F64)
    there = special.bessel_ratio(special.inverse_bessel_ratio(r, dim), dim)
    torch.testing.assert_close(there, r, rtol=1e-14, atol=0)
    r32 = special.inverse_bessel_ratio(r.float(), dim)
    assert r32.dtype == torch.float32
    torch.testing.assert_close(special.bessel_ratio(r32, dim), r.float(), rtol=1e-5, atol=0)


def test_inverse_ratio_at_and_beyond_the_ends() -> None:
    r = torch.tensor([0.0, 1.0, -1e-9, 1.0 + 1e-9, math.nan], dtype=F64)
    kappa = special.inverse_bessel_ratio(r, 7)
    assert kappa[0] == 0
    assert kappa[1] == math.inf
    assert kappa[2:].isnan().all()
    r = torch.tensor([0.05, 0.5, 0.95], dtype=F64, requires_grad=True)
    for dim in (2, 3, 50):
        assert torch.autograd.gradcheck(lambda x, d=dim: special.inverse_bessel_ratio(x, d), r)
        assert torch.autograd.gradgradcheck(
            lambda x, d=dim: special.inverse_bessel_ratio(x, d), r, atol=1e-3, rtol=1e-4
        )
    batched = torch.func.vmap(lambda x: special.inverse_bessel_ratio(x, 3))(r.detach())
    torch.testing.assert_close(batched, special.inverse_bessel_ratio(r.detach(), 3))


@pytest.mark.parametrize("dim", DIMS)
def test_sphere_area(dim: int) -> None:
    want = vmf_rows(dim)["log_sphere_area"][0].item()
    assert special.log_sphere_area(dim) == pytest.approx(want, rel=1e-13)


def test_large_batches_are_cut_into_blocks_unseen() -> None:
    kappa = torch.logspace(-3, 5, 20_001, dtype=F64)
    for f in FUNCTIONS.values():
        pieces = torch.cat([f(piece, 11) for piece in kappa.split(1000)])
        torch.testing.assert_close(f(kappa, 11), pieces, rtol=1e-13, atol=0)
        assert f(kappa[:0], 11).shape == (0,)


@pytest.mark.parametrize("dim", [1, 0, -3, 2.0, True, "3", None])
def test_dim_must_be_an_integer_of_at_least_two(dim: object) -> None:
    kappa = torch.ones(2)
    for f in (*FUNCTIONS.values(), special.inverse_bessel_ratio, special.sphere_terms):
        with pytest.raises(ValueError, match="dim must be an integer >= 2, got"):
            f(kappa, dim)  # type: ignore[operator]
    with pytest.raises(ValueError, match="dim must be an integer >= 2, got"):
        special.log_sphere_area(dim)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", [-0.5, math.nan, math.inf])
def test_order_must_be_finite_and_not_negative(order: float) -> None:
    with pytest.raises(ValueError, match="order must be finite and >= 0, got"):
        special.log_bessel_i(order, torch.ones(1))


def test_arguments_must_be_real_floating_tensors() -> None:
    for bad, got in ((torch.ones(2, dtype=torch.int64), "int64"), (torch.ones(1).half(), "16")):
        for f in FUNCTIONS.values():
            with pytest.raises(TypeError, match=f"kappa must be float32 or float64, got .*{got}"):
                f(bad, 3)
        with pytest.raises(TypeError, match="r must be float32 or float64, got"):
            special.inverse_bessel_ratio(bad, 3)
        with pytest.raises(TypeError, match="x must be float32 or float64, got"):
            special.log_bessel_i(1.5, bad)
    with pytest.raises(TypeError, match="kappa must be a tensor, got float"):
        special.bessel_ratio(1.0, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="x must be a tensor, got float"):
        special.log_bessel_i(1.5, 1.0)  # type: ignore[arg-type]
