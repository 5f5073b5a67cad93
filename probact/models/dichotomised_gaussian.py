r"""Dichotomised Gaussian (Emrich & Piedmonte 1991): the signs of a normal vector.

Symbols: h (n,) ~ N(g, L) latent; g `loc`; L `correlation`, a correlation matrix; a_i = 1[h_i > 0].

    P(a_i = 1) = Phi(g_i),   P(a_i = a_j = 1) = Phi_2(g_i, g_j; L_ij)

For a linear layer w_i x + b_i with x ~ N(m, S) it is the law of the pattern itself: g_i = (w_i m +
b_i) / s_i and L = W S W' / (s s'), with s_i^2 = w_i S w_i'. At g = 0, E a_i a_j = 1/4 + asin(L_ij)
/ (2 pi).
"""

from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Generator, Tensor

from probact.arrays import as_bits, as_matrix, as_number, as_tensor, check_count, check_seed
from probact.distributions.bivariate_normal import both_positive, correlation_for
from probact.distributions.orthant import LogProbability, log_orthant_probability
from probact.distributions.sphere_parameters import as_generator
from probact.models.pattern_rows import pattern_rows

__all__ = ["DichotomisedGaussian"]

_LEAST = 1e-6  # eigenvalue of a mended correlation matrix
_PROJECTIONS = 200


class DichotomisedGaussian(PyroModule):
    """Patterns of n units, with the probabilities and pairwise dependence of a normal vector.

    Args:
        loc: g (n,).
        correlation: L (n, n), positive definite with ones on its diagonal.

    Raises:
        TypeError, ValueError: not finite, shapes that do not fit, or L no correlation matrix.

    >>> model = DichotomisedGaussian([0.0, 0.0], [[1.0, 0.5], [0.5, 1.0]])
    >>> model.pair_probs()[0, 1]  # 1/4 + asin(1/2) / (2 pi) = 1/3
    tensor(0.3333, dtype=torch.float64)
    """

    loc: Tensor
    correlation: Tensor
    factor: Tensor

    def __init__(self, loc: Any, correlation: Any) -> None:
        super().__init__()
        matrix = as_matrix(correlation, "correlation").double()
        g = as_tensor(loc, "loc").double()
        n = len(matrix)
        if matrix.shape != (n, n) or g.shape != (n,):
            shapes = tuple(g.shape), tuple(matrix.shape)
            raise ValueError(f"loc must be (n,) and correlation (n, n), got shapes {shapes}")
        if not bool(torch.isfinite(g).all()):
            raise ValueError(
                "loc must be finite: a unit that is always on or off has no threshold"
            )
        unit = (matrix.diagonal() - 1.0).abs().max() < 1e-8
        if not unit or not torch.allclose(matrix, matrix.T, rtol=0.0, atol=1e-8):
            raise ValueError("correlation must be symmetric with ones on its diagonal")
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if int(failed):
            low = float(torch.linalg.eigvalsh(matrix)[0])
            raise ValueError(f"correlation must be positive definite, least eigenvalue {low:.3g}")
        self.register_buffer("loc", g.clone())
        self.register_buffer("correlation", matrix)
        self.register_buffer("factor", factor)
        self.dims = {"h": ("unit",), "a": ("unit",)}

    @classmethod
    def from_linear(cls, weight: Any, bias: Any, mean: Any, covariance: Any) -> Self:
        """The exact law of the pattern of weight x + bias for x ~ N(mean, covariance).

        weight (n, D), bias (n,), mean (D,), covariance (D, D).

        Raises: as the class; ValueError for a unit that does not vary.
        """
        w, s = as_matrix(weight, "weight").double(), as_matrix(covariance, "covariance").double()
        b, m = as_tensor(bias, "bias").double(), as_tensor(mean, "mean").double()
        fits = s.shape == (w.shape[1], w.shape[1]) and m.shape == w.shape[1:]
        if not fits or b.shape != w.shape[:1]:
            shapes = [tuple(v.shape) for v in (w, b, m, s)]
            raise ValueError(f"weight, bias, mean and covariance of shapes {shapes} do not fit")
        if not torch.allclose(s, s.T) or bool((s.diagonal() < 0).any()):
            raise ValueError("covariance must be symmetric with variances >= 0 on its diagonal")
        law = w @ s @ w.T
        scale = law.diagonal().clamp_min(0.0).sqrt()
        if not bool((scale > 0).all()):
            raise ValueError(f"unit {int((scale <= 0).nonzero()[0])} of weight does not vary")
        correlation = (law / scale).T / scale
        correlation = 0.5 * (correlation + correlation.T)
        correlation.fill_diagonal_(1.0)
        return cls((w @ m + b) / scale, correlation)

    @classmethod
    def from_data(cls, a: Any, *, smoothing: float = 0.0) -> Self:
        """The law with the unit and pair frequencies of patterns (N, n).

        Each correlation is that of its pair alone; a matrix that is then not positive definite is
        replaced by the nearest one that is (Higham 2002), so that pairs are met less exactly.
        Compare `pair_probs` with the data's. A pair that lacks one of its four patterns gets a
        correlation of -1 or 1, and what lacks there is next to impossible: for `log_prob` of other
        patterns, smooth by that many rows of fair coins, 1 say.

        Raises: ValueError or TypeError for anything but zeros and ones, or a unit that is always
            on or off where nothing smooths, which is named: drop it first.
        """
        rows = as_bits(a, "a").double()
        extra = as_number(smoothing, "smoothing", inclusive=True)
        share = (rows.sum(0) + 0.5 * extra) / (len(rows) + extra)
        stuck = (share <= 0) | (share >= 1)
        if bool(stuck.any()):
            count, first = int(stuck.sum()), int(stuck.nonzero()[0])
            raise ValueError(
                f"a has {count} unit{'s' * (count > 1)} always on or always off "
                f"(first: unit {first}); drop them"
            )
        g = torch.special.ndtri(share)
        both = (rows.T @ rows + 0.25 * extra) / (len(rows) + extra)
        correlation = correlation_for(g, both)
        return cls(g, _nearest_correlation(correlation))

    @property
    def num_units(self) -> int:
        """n."""
        return len(self.loc)

    def forward(self, *, num_points: int = 1) -> Tensor:
        """Draws: sites "h" (N, n) and, deterministic, "a" (N, n).

        Patterns are not conditioned on here: that is `log_prob`, an integral over the cell of h.
        """
        check_count(num_points, "num_points")
        with pyro.plate("obs", num_points):
            h = pyro.sample("h", dist.MultivariateNormal(self.loc, scale_tril=self.factor))
            drawn: Tensor = pyro.deterministic("a", (h > 0).to(h.dtype), event_dim=1)
        return drawn

    @property
    def probs(self) -> Tensor:
        """P(a_i = 1), (n,)."""
        share: Tensor = torch.special.ndtr(self.loc)
        return share

    def pair_probs(self) -> Tensor:
        """P(a_i = a_j = 1), (n, n); P(a_i = 1) on the diagonal."""
        table = both_positive(self.loc.unsqueeze(1), self.loc.unsqueeze(0), self.correlation)
        return table.diagonal_scatter(self.probs)

    def log_prob(self, a: Any, *, num_samples: int = 2000, seed: int = 0) -> LogProbability:
        """log P(a) (N,) in nats: orthant probabilities of N(g, L).

        Closed for one and two units; above, and for rare pairs, the estimate of Genz,
        Hajivassiliou and Keane with its standard error.

        Raises: ValueError or TypeError for anything but zeros and ones in n columns.
        """
        rows = pattern_rows(a, self.num_units)
        check_count(num_samples, "num_samples", smallest=2)
        check_seed(seed)
        stream = torch.Generator(self.loc.device).manual_seed(int(seed))
        sign = 2.0 * rows.to(self.loc) - 1.0
        return log_orthant_probability(self.loc, self.correlation, sign, num_samples, stream)

    def sample_patterns(
        self, num_samples: int, *, generator: Generator | None = None, seed: int | None = None
    ) -> Tensor:
        """Patterns (num_samples, n), uint8."""
        check_count(num_samples, "num_samples")
        stream = as_generator(generator, seed, self.loc.device)
        shape = num_samples, self.num_units
        noise = self.loc.new_empty(shape).normal_(generator=stream)
        h: Tensor = self.loc + noise @ self.factor.T
        return (h > 0).to(torch.uint8)

    def replicates(self, num_points: int, *, num_draws: int = 100, seed: int = 0) -> Tensor:
        """Data sets (num_draws, num_points, n), uint8, of the law as it is."""
        for name, count in (("num_points", num_points), ("num_draws", num_draws)):
            check_count(count, name)
        drawn = self.sample_patterns(num_draws * num_points, seed=seed)
        return drawn.reshape(num_draws, num_points, self.num_units)


def _nearest_correlation(matrix: Tensor) -> Tensor:
    """The correlation matrix with the least sum of squared differences (Higham 2002).

    Dykstra's alternating projections on positive semidefinite matrices and on unit diagonals.
    """
    if float(torch.linalg.eigvalsh(matrix)[0]) >= _LEAST:
        return matrix
    found, correction = matrix, torch.zeros_like(matrix)
    for _ in range(_PROJECTIONS):
        shifted = found - correction
        values, vectors = torch.linalg.eigh(shifted)
        definite = (vectors * values.clamp_min(_LEAST)) @ vectors.T
        correction = definite - shifted
        before, found = found, definite.clone().fill_diagonal_(1.0)
        if float((found - before).abs().max()) < 1e-9:
            break
    least = float(torch.linalg.eigvalsh(found)[0])
    if least < 0.5 * _LEAST:  # what the last projection took from the eigenvalues
        found = (found + (_LEAST - least) * torch.eye(len(found)).to(found)) / (1 + _LEAST - least)
    symmetric: Tensor = 0.5 * (found + found.T)
    return symmetric.fill_diagonal_(1.0)
