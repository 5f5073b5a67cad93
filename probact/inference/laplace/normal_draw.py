r"""Weights of a linear layer given a normal prior: draws that never divide by its variance.

Symbols: Phi (N, q) features; Omega = diag(omega), omega (..., N) >= 0; u (..., N); the posterior

    exp(-theta' Phi' Omega Phi theta / 2 + theta' Phi' u) N(theta; b0, D),   D = Z^2 diagonal.

From the Gram matrix G = Phi' Omega Phi and g = Phi' u, with A = I + Z G Z = L L',

    theta = b0 + Z A^-1 Z (g - G b0) + Z L^-T eps

which is finite at D = 0. Where N < q, the N x N form of Bhattacharya, Chakraborty & Mallick (2016)
is cheaper: v ~ N(b0, D), delta ~ N(0, I_N), Psi = Omega^(1/2) Phi, M = I + Psi D Psi',

    theta = v + D Psi' M^-1 (Omega^(-1/2) u - Psi v - delta).

A mode m ~ Uniform(low, high) of the weights, b0 = a m + b with a = 1 but 0 at the bias, is drawn
with them, theta integrated out: a normal law on an interval, of precision and linear term

    c' G c + |e|^2,   c' (g - G b),   e = A^-1 Z G a,   c = a - Z e
    a' Psi' M^-1 Psi a,   a' Psi' M^-1 (Omega^(-1/2) u - Psi b)              where N < q.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from probact.distributions.bounded_normal import NUM_UNIFORMS, bounded_normal

__all__ = ["Mode", "NormalPrior", "draw_normal", "from_gram", "from_rows", "weighted_gram"]

_BLOCK = 2**22  # numbers of weighted features, or of Gram matrices, held at once


class NormalPrior(NamedTuple):
    """Independent normal laws of theta, given the mixing variables."""

    mean: Tensor  # (..., q) b0, or b where the mode is drawn
    variance: Tensor  # (..., q) D, may be 0


class Mode(NamedTuple):
    """What draws the mode of B problems."""

    low: Tensor  # (B,)
    high: Tensor  # (B,)
    uniforms: Tensor  # (B, NUM_UNIFORMS)


def draw_normal(
    phi: Tensor,
    omega: Tensor,
    u: Tensor,
    prior: NormalPrior,
    generator: Generator,
    *,
    bounds: tuple[Tensor, Tensor] | None = None,
    square: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """theta (B, q) of B problems, and m (B,) where it has bounds (low, high), (B,) each.

    omega (B, N), or (B, 1) one number for all rows, the precision of a gaussian layer; u (B, N);
    prior (B, q); square (q, q) is Phi' Phi, where it is known.

    Raises: ValueError where the features are too large for the prior, in floating point.
    >>> phi, generator = torch.ones(4, 1).double(), torch.Generator().manual_seed(0)
    >>> one, zero = phi.new_ones(1, 4), phi.new_zeros(1, 1)
    >>> draw_normal(phi, one, one, NormalPrior(zero, zero), generator)
    (tensor([[0.]], dtype=torch.float64), None)
    """
    rows, width = phi.shape
    few = rows < width
    options = {"dtype": phi.dtype, "device": phi.device}
    count = rows + width if few else width
    eps = torch.randn(len(omega), count, generator=generator, **options)  # type: ignore[call-overload]
    columns = [omega, u, *prior, eps]
    if bounds is not None:
        shape = len(omega), NUM_UNIFORMS
        columns += [*bounds, torch.rand(shape, generator=generator, **options)]  # type: ignore[call-overload]
    each = max(1, _BLOCK // (width * max(rows, width)))
    thetas, modes = [], []
    for some in zip(*(v.split(each) for v in columns), strict=True):
        scales, sums, laws, noise = some[0], some[1], NormalPrior(*some[2:4]), some[4]
        mode = Mode(*some[5:]) if len(some) > 5 else None
        if few:
            theta, m = from_rows(phi, scales, sums, laws, noise, mode)
        else:
            gram = weighted_gram(phi, scales, square)
            theta, m = from_gram(gram, sums @ phi, laws, noise, mode)
        thetas.append(theta)
        modes.append(m)
    drawn = [m for m in modes if m is not None]
    return torch.cat(thetas), torch.cat(drawn) if drawn else None


def weighted_gram(phi: Tensor, omega: Tensor, square: Tensor | None = None) -> Tensor:
    """Phi' Omega Phi (B, q, q) of omega (B, N), or of one number for all rows (B, 1).

    square (q, q) is Phi' Phi, where it is known.

    >>> weighted_gram(torch.ones(3, 1), torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[[6.]]])
    """
    if omega.shape[1] == 1:
        return omega.unsqueeze(-1) * (phi.T @ phi if square is None else square)
    if len(omega) == 1:
        return ((phi * omega[0].unsqueeze(-1)).T @ phi).unsqueeze(0)
    return (phi.T * omega.unsqueeze(-2)) @ phi


def from_gram(
    gram: Tensor, moment: Tensor, prior: NormalPrior, eps: Tensor, mode: Mode | None = None
) -> tuple[Tensor, Tensor | None]:
    """theta (B, q) and m from G (B, q, q), g (B, q), the prior and eps (B, q) ~ N(0, 1).

    Raises: ValueError as `draw_normal`.
    """
    mean, root = prior.mean, prior.variance.sqrt()  # Z
    factor = _factor(root.unsqueeze(-1) * gram * root.unsqueeze(-2))
    rest, m = moment - _times(gram, mean), None
    if mode is not None:
        a = _direction(mean)
        pull = _times(gram, a)  # G a
        e = torch.cholesky_solve((root * pull).unsqueeze(-1), factor).squeeze(-1)
        c = a - root * e
        precision = (c * _times(gram, c)).sum(-1) + e.square().sum(-1)
        m = bounded_normal(precision, (c * rest).sum(-1), *mode)
        mean = mean + m.unsqueeze(-1) * a
        rest = rest - m.unsqueeze(-1) * pull
    half = torch.linalg.solve_triangular(factor, (root * rest).unsqueeze(-1), upper=False)
    whole = torch.linalg.solve_triangular(factor.mT, half + eps.unsqueeze(-1), upper=True)
    return mean + root * whole.squeeze(-1), m


def from_rows(
    phi: Tensor,
    omega: Tensor,
    u: Tensor,
    prior: NormalPrior,
    eps: Tensor,
    mode: Mode | None = None,
) -> tuple[Tensor, Tensor | None]:
    """theta (B, q) and m by the N x N form, from eps (B, q + N) ~ N(0, 1).

    Rows with omega = 0 must have u = 0: they say nothing.
    Raises: ValueError as `draw_normal`.
    """
    (mean, variance), width = prior, phi.shape[1]
    scale = omega.sqrt().expand_as(u)
    psi = phi * scale.unsqueeze(-1)  # (B, N, q)
    factor = _factor((psi * variance.unsqueeze(-2)) @ psi.mT)
    said = torch.where(scale > 0, u / scale, 0.0)
    m = None
    if mode is not None:
        a = _direction(mean)
        pull = _times(psi, a)  # (B, N)
        solved = torch.cholesky_solve(pull.unsqueeze(-1), factor).squeeze(-1)
        linear = (solved * (said - _times(psi, mean))).sum(-1)
        m = bounded_normal((solved * pull).sum(-1), linear, *mode)
        mean = mean + m.unsqueeze(-1) * a
    v = mean + variance.sqrt() * eps[:, :width]
    rest = said - _times(psi, v) - eps[:, width:]
    solved = torch.cholesky_solve(rest.unsqueeze(-1), factor)
    return v + variance * (psi.mT @ solved).squeeze(-1), m


def _direction(mean: Tensor) -> Tensor:
    """a (B, q): the mode moves all weights and not the bias, which is last."""
    a = torch.ones_like(mean)
    a[..., -1] = 0.0
    return a


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _factor(inner: Tensor) -> Tensor:
    """The Cholesky factor of I + inner."""
    inner.diagonal(dim1=-2, dim2=-1).add_(1.0)
    factor: Tensor
    factor, info = torch.linalg.cholesky_ex(inner)
    if bool(info.any()):
        raise ValueError(
            "x is too large for the prior of the weights: the posterior precision is singular in"
            " float64; divide x by a common factor, or take a tighter prior"
        )
    return factor
