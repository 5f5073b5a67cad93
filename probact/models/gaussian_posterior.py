r"""Gaussian law of a last layer's weights, and what it says about class probabilities.

Symbols: theta (K, d) weight and bias of K classes, d = p + 1, bias last; theta_hat its mean; z =
(x, 1) row (d,); f = theta z logits (K,); m, C (K,), (K, K) their mean and covariance. Covariance
of theta: full (K d, K d), classes in the outer order; or a block (d, d) for each class; or
diagonal. Then C_kl = z' Cov(theta_k, theta_l) z.

Class probabilities E softmax(f) have no closed form. Monte Carlo averages draws of theta; the
probit approximation takes pairs of classes (MacKay 1992, eq. 10, for two classes; Lu, Ie & Sha
2020, mean field 2, for more), and is exact where C vanishes:

    p_k ~ 1 / (1 + sum_{l != k} exp(-(m_k - m_l) / sqrt(1 + pi/8 V_kl))),  V_kl = var(f_k - f_l)

normalised to one. For two classes it is within 0.02; for six or ten and logits of standard
deviation one it may be 0.1 off in a probability, and Monte Carlo is better. It sees differences of
logits only, as softmax does: a common shift, on which the data say nothing, does not enter.
"""

import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Generator, Tensor

from probact.arrays import as_matrix, check_count, check_seed

__all__ = ["Covariance", "GaussianPosterior", "check_posterior", "probit_softmax"]

Covariance = Literal["full", "class_blocks", "diagonal"]
_CHUNK = 2**22  # entries of a (rows, K, K) or (rows, K, d) intermediate


class GaussianPosterior(NamedTuple):
    """Gaussian law of a head: mean, precision's Cholesky factor, and how it was found.

    `factor` L with L L' the precision: (K d, K d), (K, d, d), or the roots (K, d) of a diagonal.
    """

    mean: Tensor  # (K, d), the bias last
    factor: Tensor
    structure: Covariance
    precision: float  # of the prior of the weights
    bias_precision: float
    log_evidence: float  # nats
    noise: float | None = None  # standard deviation of Gaussian targets

    @property
    def weight(self) -> Tensor:
        """Mean weight (K, p)."""
        return self.mean[:, :-1]

    @property
    def bias(self) -> Tensor:
        """Mean bias (K,)."""
        return self.mean[:, -1]

    def covariance(self) -> Tensor:
        """Covariance of theta: (K d, K d), (K, d, d), or variances (K, d); the bias last."""
        if self.structure == "diagonal":
            return self.factor.square().reciprocal()
        return torch.cholesky_inverse(self.factor)

    def draws(self, num_draws: int, *, seed: int = 0) -> dict[str, Tensor]:
        """Independent draws: "weight" (S, K, p) and "bias" (S, K), as `LaplaceHead` reads them.

        Raises: ValueError for a count below one, or a seed that is none.
        """
        theta = self._draws(num_draws, seed)
        return {"weight": theta[..., :-1], "bias": theta[..., -1]}

    def _draws(self, num_draws: int, seed: int) -> Tensor:
        """theta (S, K, d)."""
        check_count(num_draws, "num_draws")
        check_seed(seed)
        (classes, dim), device = self.mean.shape, self.mean.device
        stream = Generator(device).manual_seed(seed)
        noise = torch.randn(
            classes, dim, num_draws, generator=stream, dtype=self.mean.dtype, device=device
        )
        if self.structure == "diagonal":
            shift = noise / self.factor[..., None]
        else:
            columns = noise.flatten(0, 1) if self.structure == "full" else noise
            shift = torch.linalg.solve_triangular(self.factor.mT, columns, upper=True)
        return self.mean + shift.reshape(classes, dim, num_draws).permute(2, 0, 1)

    def logits(self, x: Any) -> tuple[Tensor, Tensor]:
        """Mean (N, K) and covariance (N, K, K) of the logits, or outputs, of features x (N, p).

        Raises: TypeError or ValueError if x is not a finite matrix with p columns.
        """
        z = self._rows(x)
        covariance = torch.cat([self._logit_covariance(rows) for rows in self._chunks(z)])
        return z @ self.mean.T, covariance

    def class_probs(
        self,
        x: Any,
        *,
        method: Literal["monte_carlo", "probit"] = "monte_carlo",
        num_draws: int = 1000,
        seed: int = 0,
    ) -> Tensor:
        """E softmax(f) (N, K) of features x (N, p), over draws of theta or by the probit formula.

        Raises: TypeError or ValueError for x that is no finite matrix with p columns, an unknown
            method, or a posterior of Gaussian targets, which has no classes.
        """
        if self.noise is not None:
            raise ValueError("class_probs needs the softmax likelihood; targets here are Gaussian")
        if method == "probit":
            return probit_softmax(*self.logits(x))
        if method != "monte_carlo":
            raise ValueError(f'method must be "monte_carlo" or "probit", got {method!r}')
        z = self._rows(x)
        total = z.new_zeros(len(z), len(self.mean))
        for draw in self._draws(num_draws, seed):
            total += torch.softmax(z @ draw.T, 1)
        return total / num_draws

    def _rows(self, x: Any) -> Tensor:
        """z (N, d): features with a column of ones."""
        rows = as_matrix(x, "x").to(self.mean)
        width = self.mean.shape[1] - 1
        if rows.shape[1] != width:
            raise ValueError(f"x must be (N, {width}), got shape {tuple(rows.shape)}")
        return torch.cat([rows, rows.new_ones(len(rows), 1)], 1)

    def _chunks(self, z: Tensor) -> Iterator[Tensor]:
        classes, dim = self.mean.shape
        yield from z.split(max(1, _CHUNK // (classes * max(classes, dim))))

    def _logit_covariance(self, z: Tensor) -> Tensor:
        """C (N, K, K) of rows z (N, d)."""
        (classes, dim), count = self.mean.shape, len(z)
        covariance = self.covariance()
        if self.structure == "diagonal":
            return torch.diag_embed(z.square() @ covariance.T)
        if self.structure == "class_blocks":
            return torch.diag_embed(torch.einsum("ni,kij,nj->nk", z, covariance, z))
        blocks = covariance.reshape(classes, dim, classes, dim)
        result = z.new_empty(count, classes, classes)
        for k in range(classes):
            for j in range(k + 1):
                value = ((z @ blocks[k, :, j, :]) * z).sum(1)
                result[:, k, j] = value
                result[:, j, k] = value
        return result


def check_posterior(posterior: Any, classes: int, num_features: int, likelihood: str) -> None:
    """Refuse what is no posterior of such a layer.

    Raises: ValueError that says what came.

    >>> check_posterior(None, 3, 2, "softmax")
    Traceback (most recent call last):
    ValueError: posterior must be a GaussianPosterior, got NoneType
    """
    if not isinstance(posterior, GaussianPosterior):
        raise ValueError(f"posterior must be a GaussianPosterior, got {type(posterior).__name__}")
    has = tuple(posterior.mean.shape), "softmax" if posterior.noise is None else "gaussian"
    wanted = (classes, num_features + 1), likelihood
    if has != wanted:
        raise ValueError(f"posterior must have a mean {wanted[0]} of {wanted[1]} targets, "
                         f"got {has[0]} of {has[1]} ones")  # fmt: skip


def probit_softmax(mean: Tensor, covariance: Tensor) -> Tensor:
    """E softmax(f) (N, K) for f ~ N(mean (N, K), covariance (N, K, K)), by the pairwise probit.

    Raises:
        ValueError: shapes that do not fit.

    >>> m = torch.tensor([[2.0, 0.0]])
    >>> probit_softmax(m, torch.zeros(1, 2, 2)), probit_softmax(m, 100.0 * torch.eye(2)[None])
    (tensor([[0.8808, 0.1192]]), tensor([[0.5558, 0.4442]]))
    """
    if mean.ndim != 2 or covariance.shape != (*mean.shape, mean.shape[1]):
        got = f"{tuple(mean.shape)} and {tuple(covariance.shape)}"
        raise ValueError(f"mean and covariance must be (N, K) and (N, K, K), got {got}")
    variance = covariance.diagonal(dim1=1, dim2=2)
    spread = variance[:, :, None] + variance[:, None, :] - 2.0 * covariance
    gap = mean[:, :, None] - mean[:, None, :]  # (N, K, K)
    scaled = gap / torch.sqrt(1.0 + math.pi / 8.0 * spread.clamp_min(0.0))
    # the term of a class with itself is exp(0) = 1, the one of the denominator
    return torch.softmax(-torch.logsumexp(-scaled, 2), 1)
