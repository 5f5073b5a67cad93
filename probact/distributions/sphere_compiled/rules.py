"""What the loops need to know of a dimension, and where they keep a row's quantities."""

import functools
import math
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from probact.bessel.debye import MIN_ORDER, debye_matrix
from probact.distributions.sphere_pathwise import gauss_legendre

__all__ = ["Floats", "Rules", "Terms", "sphere_rules"]

Floats = NDArray[np.float64]


class Rules(NamedTuple):
    """Constants of a dimension d."""

    dim: int
    nu: float  # d/2 - 1
    steps: int  # orders from N down to nu
    debye: Floats  # (terms, 3) coefficients of Q, E, E' at the order N = nu + steps
    nodes: Floats  # (4, 24): nodes and weights on (0, 1), then those clustered at 1


class Terms(NamedTuple):
    """The quantities of `probact.bessel.terms.SphereTerms` at one kappa."""

    log_mgf: float
    log_mgf_gap: float
    ratio: float  # A, not A / kappa
    deficit: float  # 1 - A, not kappa (1 - A)
    slope: float


@functools.lru_cache(maxsize=64)
def sphere_rules(dim: int) -> Rules:
    """The constants of d = dim >= 2."""
    nu = Fraction(dim, 2) - 1
    steps = max(0, math.ceil(MIN_ORDER - nu))
    kind: Any = (torch.float64, torch.device("cpu"))
    debye = np.ascontiguousarray(debye_matrix(nu + steps, *kind).numpy())
    nodes = np.stack([rule.numpy() for rule in gauss_legendre(*kind)])
    return Rules(dim, float(nu), steps, debye, nodes)
