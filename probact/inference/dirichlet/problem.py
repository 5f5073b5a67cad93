r"""A Dirichlet-process Gaussian mixture and its data in the coordinates of a chain.

Symbols: x (N, D) data; NIW(m_0, kappa_0, nu_0, S_0) prior of a component; s factor on S_0.

The coordinates are centred at the mean of the data and divided by sqrt(diag S_0): the prior is
equivariant under affine maps, and nothing cancels there for data far from zero.
"""

import math
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.distributions import Distribution, Gamma

from probact.arrays import as_matrix

__all__ = ["MixtureModel", "Problem", "pose"]

_LARGEST_NORM = 1e150  # of x, so that sums of squares stay far inside the range of float64


@runtime_checkable
class MixtureModel(Protocol):
    """What the kernels read off a model; `probact.models.DPGMM` is one."""

    base: Any  # NormalInverseWishart: loc (D,), kappa, scale (D, D), df, diagonal
    concentration: Distribution | float  # Gamma(a, b) prior of alpha, or alpha
    scale_factor: Distribution | None  # prior of s on the positive reals; None: s = 1


class Problem(NamedTuple):
    """The model and the data in the chain's coordinates; no step changes it.

    With `diagonal` the coordinates are independent, each with nu_0 - D + 1 degrees of freedom, and
    scale is the (D,) diagonal of S_0: ones.
    """

    x: Tensor  # (N, D) float64
    loc: Tensor  # (D,) m_0
    scale: Tensor  # (D, D) S_0 with a unit diagonal, or (D,) ones
    kappa: float
    df: float
    diagonal: bool
    log_volume: float  # log density of the caller's data = density here - N log_volume
    centre: Tensor  # (D,) the caller's data are x * unit + centre
    unit: Tensor  # (D,) sqrt(diag S_0)
    concentration: Distribution | float
    scale_factor: Distribution | None


def pose(model: object, data: Any) -> Problem:
    """The problem of `model` given data (N, D).

    Raises: ValueError for another model, a prior of alpha that is no Gamma law, data that are not
    a finite matrix with as many columns as the prior, or whose spread leaves the range of float64
    in units of the prior's scale.
    """
    if not isinstance(model, MixtureModel):
        kind = type(model).__name__
        raise ValueError(f"model must be a DPGMM for this kernel, got {kind}")
    alpha = model.concentration
    if isinstance(alpha, Distribution) and not isinstance(alpha, Gamma):
        kind = type(alpha).__name__
        raise ValueError(f"concentration must be a Gamma law or a number for Gibbs, got {kind}")
    (value,) = data if isinstance(data, tuple) else (data,)
    x = as_matrix(value, "x").double()
    base = model.base
    loc, scale = base.loc.to(x), base.scale.to(x)
    if x.shape[1] != len(loc):
        raise ValueError(f"x must have {len(loc)} columns, as the prior, got {x.shape[1]}")
    unit = scale.diagonal().sqrt()  # (D,)
    centre = x.mean(0)
    x = x.sub_(centre).div_(unit)  # in memory of our own since as_matrix
    largest = max(float(x.amax()), -float(x.amin()))
    if not largest * math.sqrt(x.numel()) < _LARGEST_NORM:
        raise ValueError(
            "x is too far spread for the prior's scale: its squares overflow"
            f" (largest entry {largest:.3g} in units of sqrt(diag scale))"
        )
    return Problem(
        x=x.contiguous(),
        loc=(loc - centre) / unit,
        scale=torch.ones_like(unit) if base.diagonal else scale / torch.outer(unit, unit),
        kappa=float(base.kappa),
        df=float(base.df),
        diagonal=bool(base.diagonal),
        log_volume=float(unit.log().sum()),
        centre=centre,
        unit=unit,
        concentration=model.concentration,
        scale_factor=model.scale_factor,
    )
