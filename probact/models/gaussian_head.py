r"""Last layer with a Gaussian prior: Laplace approximation, or the exact ridge posterior.

Symbols: x (N, p) features, z = (x, 1) (N, d); theta (K, d) weight and bias of K classes or
outputs; alpha > 0 prior precision of the weights, tau that of the biases; s noise of real targets.

    theta_kj ~ N(0, 1 / alpha), j < d,   theta_kd ~ N(0, 1 / tau)
    softmax   y_i ~ Cat(softmax(theta z_i))         Laplace approximation N(theta_hat, H^-1)
                                                    at the mode (MacKay 1992; Bishop 2006, 4.4)
    gaussian  y_ik ~ N(theta_k z_i, s^2)            exact: N(A^-1 z'y_k / s^2, A^-1),
                                                    A = z'z / s^2 + diag(alpha, ..., alpha, tau)

The evidence p(y | x, alpha) is exact for Gaussian targets; for softmax it is Laplace's,

    log p(y, theta_hat) + d K / 2 log 2 pi - 1/2 log |H|.

Both are in nats. Where it is maximal in alpha is `by_evidence` (MacKay 1992). On a trained network
this is the last-layer Laplace approximation of Daxberger et al. 2021.
"""

import math
from typing import Any, Literal, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor

from probact.arrays import as_labels, as_matrix, as_number, check_count
from probact.distributions.head_likelihood import as_features, as_targets
from probact.heads import Head
from probact.models.evidence_search import largest
from probact.models.gaussian_posterior import Covariance, GaussianPosterior, check_posterior
from probact.models.softmax_map import (
    neg_log_joint,
    softmax_hessian,
    softmax_hessian_blocks,
    softmax_map,
)

__all__ = ["GaussianHead"]

FULL_LIMIT = 8192  # K d of a full covariance: 512 MiB in float64
BLOCK_LIMIT = 2**27  # K d^2 of one block a class: 1 GiB
_PRECISIONS = (1e-6, 1e6)  # where `by_evidence` looks


class GaussianHead(PyroModule):
    """Last layer whose weights have one Gaussian prior; everything in float64.

    Args:
        num_features: p.
        num_classes: K, classes or outputs.
        likelihood: "softmax", labels y (N,); or "gaussian", real targets y (N, K).
        precision: alpha, of the weights.
        bias_scale: standard deviation of the prior of the biases, tau^(-1/2).
        noise: s, of Gaussian targets only.

    Raises: TypeError, ValueError for other arguments.

    >>> x = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]])
    >>> model = GaussianHead(1, 2, precision=1.0)
    >>> posterior = model.posterior(x, torch.tensor([0, 0, 1, 1]))
    >>> model.predictive(posterior, [[1.5]], method="probit")
    tensor([[0.2206, 0.7794]], dtype=torch.float64)
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        likelihood: str = "softmax",
        *,
        precision: float = 1.0,
        bias_scale: float = 10.0,
        noise: float | None = None,
    ) -> None:
        super().__init__()
        check_count(num_features, "num_features")
        if likelihood not in ("softmax", "gaussian"):
            raise ValueError(f'likelihood must be "softmax" or "gaussian", got {likelihood!r}')
        check_count(num_classes, "num_classes", 2 if likelihood == "softmax" else 1)
        if (noise is None) != (likelihood == "softmax"):
            raise ValueError(f"noise must be given for gaussian targets only, got {noise!r}")
        self.num_features, self.num_classes = num_features, num_classes
        self.likelihood = likelihood
        self.precision = as_number(precision, "precision")
        self.bias_scale = as_number(bias_scale, "bias_scale")
        self.noise = None if noise is None else as_number(noise, "noise")

    def forward(self, x: Any, y: Any = None) -> Tensor:
        """weight (K, p), bias (K,), y (N,) labels or (N, K) targets; drawn where y is None."""
        rows = as_features(x, self.num_features)
        if y is not None:
            y = as_targets(y, self.likelihood, self.num_classes, len(rows)).to(rows.device)
        zero = rows.new_zeros(())
        with pyro.plate("class", self.num_classes):
            law = dist.Normal(zero, zero + self.precision**-0.5)
            weight = pyro.sample("weight", law.expand([1, self.num_features]).to_event(1))
            bias = pyro.sample("bias", dist.Normal(zero, zero + self.bias_scale))
        logits = rows @ weight.mT + bias.unsqueeze(-2)  # (..., N, K)
        with pyro.plate("data", len(rows)):
            if self.noise is None:
                drawn: Tensor = pyro.sample("y", dist.Categorical(logits=logits), obs=y)
            else:
                drawn = pyro.sample("y", dist.Normal(logits, self.noise).to_event(1), obs=y)
        return drawn

    def posterior(
        self, x: Any, y: Any, *, covariance: Covariance = "full", start: Head | None = None
    ) -> GaussianPosterior:
        """Laplace approximation at the mode (softmax), or the exact posterior (gaussian).

        covariance: "full" over all K d parameters; "class_blocks" or "diagonal" keep those parts
        of H, which is an approximation for softmax. Gaussian targets have independent outputs:
        blocks are exact, and come whatever is asked for but "diagonal". start: where the search
        for the mode begins; it does not move the mode.

        Raises:
            TypeError, ValueError: x, y that are no features and targets, an unknown structure, or
                one too large: K d above 8192 for full, K d^2 above 2^27 for blocks.
        """
        z, targets = self._data(x, y)
        self._check_size(covariance)
        if self.noise is not None:
            return self._ridge(z, targets, covariance)
        theta = None if start is None else self._theta(start)
        theta = softmax_map(z, targets, self.num_classes, self._columns(z), start=theta)
        return self._laplace(theta, z, targets, covariance)

    def from_head(
        self, head: Head, x: Any, y: Any, *, covariance: Covariance = "full"
    ) -> GaussianPosterior:
        """Laplace approximation about the weights of a trained head, which stay as they are.

        A head without bias has biases of zero here. The head is taken for the mode, as in
        Daxberger et al. 2021; what its gradient says is left out, also of the evidence.

        Raises: as `posterior`; ValueError for a head of another shape, or Gaussian targets.
        """
        if self.noise is not None:
            raise ValueError("from_head is for softmax heads; Gaussian targets need no expansion")
        z, labels = self._data(x, y)
        self._check_size(covariance)
        return self._laplace(self._theta(head), z, labels, covariance)

    @classmethod
    def by_evidence(
        cls,
        x: Any,
        y: Any,
        *,
        num_classes: int | None = None,
        likelihood: str = "softmax",
        bias_scale: float = 10.0,
        covariance: Covariance = "full",
        head: Head | None = None,
    ) -> Self:
        """The layer whose alpha (and s) have the largest evidence; alpha within 1e-6 and 1e6.

        num_classes: by default the largest label plus one. head: the evidence about the weights
        of this head (`from_head`), not about the mode.

        Raises: as `posterior`.

        >>> x = torch.linspace(-1, 1, 50, dtype=torch.float64)[:, None]
        >>> model = GaussianHead.by_evidence(x, 3 * x + 0.1 * x.sign(), likelihood="gaussian")
        >>> round(model.noise, 2)
        0.05
        """
        rows = as_matrix(x, "x")
        if num_classes is None and likelihood == "gaussian":
            num_classes = as_matrix(y, "y").shape[1]
        elif num_classes is None:
            num_classes = int(as_labels(y, "y", len(rows)).max()) + 1
        sizes = rows.shape[1], num_classes, likelihood

        def evidence(precision: float, noise: float | None, near: Head | None) -> Any:
            model = cls(*sizes, precision=precision, bias_scale=bias_scale, noise=noise)
            if head is not None:
                return model.from_head(head, rows, y, covariance=covariance)
            return model.posterior(rows, y, covariance=covariance, start=near)

        noise = None
        if likelihood == "gaussian":
            scale = float(as_matrix(y, "y").double().std())
            noise = scale if scale > 0.0 else 1.0
        precision, noise = largest(evidence, noise, _PRECISIONS)
        return cls(*sizes, precision=precision, bias_scale=bias_scale, noise=noise)

    def predictive(
        self,
        posterior: GaussianPosterior,
        x: Any,
        *,
        method: Literal["monte_carlo", "probit"] = "monte_carlo",
        num_draws: int = 1000,
        seed: int = 0,
    ) -> Tensor:
        """Probabilities (N, K) of classes; for Gaussian targets their means.

        Raises: ValueError for something else than a posterior of such a layer, and as
            `GaussianPosterior.class_probs`.
        """
        check_posterior(posterior, self.num_classes, self.num_features, self.likelihood)
        if self.noise is not None:
            return posterior.logits(x)[0]
        return posterior.class_probs(x, method=method, num_draws=num_draws, seed=seed)

    def _data(self, x: Any, y: Any) -> tuple[Tensor, Tensor]:
        """z (N, d) and targets."""
        rows = as_features(x, self.num_features)
        targets = as_targets(y, self.likelihood, self.num_classes, len(rows)).to(rows.device)
        return torch.cat([rows, rows.new_ones(len(rows), 1)], 1), targets

    def _columns(self, z: Tensor) -> Tensor:
        """Prior precision of each column, (d,)."""
        precision = z.new_full((self.num_features + 1,), self.precision)
        precision[-1] = self.bias_scale**-2
        return precision

    def _theta(self, head: Head) -> Tensor:
        """Weight and bias (K, d) of a head."""
        shape = self.num_classes, self.num_features
        if not isinstance(head, Head) or tuple(head.weight.shape) != shape:
            got = tuple(head.weight.shape) if isinstance(head, Head) else type(head).__name__
            raise ValueError(f"head must have a weight {shape}, got {got}; see find_head")
        weight = head.weight.double()
        bias = weight.new_zeros(len(weight)) if head.bias is None else head.bias.double()
        return torch.cat([weight, bias[:, None]], 1)

    def _check_size(self, covariance: str) -> None:
        total, dim = self.num_classes * (self.num_features + 1), self.num_features + 1
        if covariance not in ("full", "class_blocks", "diagonal"):
            raise ValueError(
                f'covariance must be "full", "class_blocks" or "diagonal", got {covariance!r}'
            )
        full = covariance == "full" and self.noise is None
        if full and total > FULL_LIMIT:
            raise ValueError(
                f"a full covariance of {total} parameters is above {FULL_LIMIT}: take"
                ' covariance="class_blocks" or "diagonal"'
            )
        if not full and covariance != "diagonal" and total * dim > BLOCK_LIMIT:
            raise ValueError(
                f"{self.num_classes} blocks of {dim} x {dim} are above {BLOCK_LIMIT} numbers:"
                ' take covariance="diagonal"'
            )

    def _laplace(
        self, theta: Tensor, z: Tensor, labels: Tensor, covariance: Covariance
    ) -> GaussianPosterior:
        theta, columns = theta.to(z), self._columns(z)
        probs = torch.softmax(z @ theta.T, 1)
        if covariance == "diagonal":
            factor = torch.sqrt((probs * (1.0 - probs)).T @ z.square() + columns)
            half_log_det = factor.log().sum()
        else:
            build = softmax_hessian if covariance == "full" else softmax_hessian_blocks
            factor = _cholesky(build(z, probs, columns))
            half_log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum()
        prior = 0.5 * self.num_classes * columns.log().sum()  # the powers of 2 pi cancel
        evidence = float(prior - half_log_det - neg_log_joint(theta, z, labels, columns))
        return self._result(theta, factor, covariance, evidence)

    def _ridge(self, z: Tensor, y: Tensor, covariance: Covariance) -> GaussianPosterior:
        assert self.noise is not None
        columns, variance = self._columns(z), self.noise**2
        factor = _cholesky(z.T @ z / variance + torch.diag(columns))
        mean = torch.cholesky_solve(z.T @ y / variance, factor)  # (d, K)
        fit = (y - z @ mean).square().sum() / variance + (columns[:, None] * mean.square()).sum()
        each = 0.5 * columns.log().sum() - factor.diagonal().log().sum()
        each = each - 0.5 * len(z) * math.log(2.0 * math.pi * variance)
        evidence = float(self.num_classes * each - 0.5 * fit)
        if covariance == "diagonal":
            roots = (factor @ factor.T).diagonal().sqrt().expand(self.num_classes, -1)
            return self._result(mean.T, roots, "diagonal", evidence)
        blocks = factor.expand(self.num_classes, -1, -1)
        return self._result(mean.T, blocks, "class_blocks", evidence)

    def _result(
        self, theta: Tensor, factor: Tensor, structure: Covariance, evidence: float
    ) -> GaussianPosterior:
        tau = self.bias_scale**-2
        return GaussianPosterior(
            theta, factor, structure, self.precision, tau, evidence, self.noise
        )


def _cholesky(matrix: Tensor) -> Tensor:
    factor: Tensor
    factor, info = torch.linalg.cholesky_ex(matrix)
    if int(info.max()) != 0:
        raise ValueError("the posterior precision is singular in float64: standardise x")
    return factor
