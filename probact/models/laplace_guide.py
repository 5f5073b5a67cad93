r"""Variational law of the parameters of asymmetric Laplace laws, for `probact.fit`.

Symbols: m_k mode in (low, high), r_k and l_k rates of class k; y_k = (logit of m_k's place between
the bounds, log r_k, log l_k). The law of each y_k is normal with a full covariance. It starts at
the maximum-likelihood fit with the covariance of its asymptotics (Kotz, Kozubowski & Podgorski
2001, 3.5), and its parameters are counted in those: y_k = start + factor (shift + tril e).

Where rates share a law, their regression has independent normal factors beside these: then the
standard deviations are too small, those of rates too where classes inform each other.
"""

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, PyroParam
from torch import Tensor
from torch.distributions import constraints

from probact.analysis.laplace_fits import ALDFit, asymptotic_covariance
from probact.distributions.laplace_hyperprior import LaplaceHyperprior

__all__ = ["LaplaceGuide"]

_INSIDE = 1e-3  # of the distance between the bounds, kept by the starting modes


class LaplaceGuide(PyroModule):
    """Independent normal laws of the y_k, and of each tail's (b0, b1, log a) where regressed.

    Args:
        fit: of the weights, none of whose rows is constant.
        spread: (K,) mean distance of each row from its median, the scale of degenerate rows.
        hyperprior: bounds of the modes.
        log_frequency: z (K,), zeros where the frequencies are not known; None without regression.
    """

    start: Tensor
    factor: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self,
        fit: ALDFit,
        spread: Tensor,
        hyperprior: LaplaceHyperprior,
        log_frequency: Tensor | None,
    ) -> None:
        super().__init__()
        low, high = hyperprior.low, hyperprior.high
        scale = torch.where(fit.degenerate, spread, fit.scale)
        asymmetry = torch.where(fit.degenerate, 1.0, fit.asymmetry)
        share = ((fit.loc - low) / (high - low)).clamp(_INSIDE, 1.0 - _INSIDE)
        logs = (asymmetry / scale).log(), -(asymmetry * scale).log()
        for name, value in (
            ("low", low),
            ("high", high),
            ("start", torch.stack([share.logit(), *logs], 1)),
            ("factor", _factor(scale, asymmetry, fit.num_weights, share, high - low)),
        ):
            self.register_buffer(name, value)
        self.shift = PyroParam(torch.zeros_like(self.start))  # (K, 3)
        self.tril = PyroParam(
            torch.eye(3).to(self.start).repeat(len(self.start), 1, 1), constraints.lower_cholesky
        )
        self.regressed, self.sloped = log_frequency is not None, False
        if log_frequency is not None:
            self.sloped = bool((log_frequency != 0).any())
            self._start_regression(log_frequency)

    def _start_regression(self, z: Tensor) -> None:
        """Least squares of the log rates; (2, 3) in the order b0, b1, log a."""
        logs = self.start[:, 1:].mT  # (2, K)
        squares = z.square().sum()
        slope = logs @ z / squares if self.sloped else 0.0 * logs[:, 0]
        residual = logs - logs.mean(1, keepdim=True) - slope.unsqueeze(1) * z
        variance = residual.square().mean(1).clamp(min=1e-4)
        log_a = -variance.log()
        classes = torch.full_like(variance, float(len(z)))
        width = torch.stack(
            [
                (variance / classes).sqrt(),
                (variance / squares).sqrt() if self.sloped else 1.0 + 0.0 * variance,
                (2.0 / classes).sqrt(),
            ],
            1,
        )
        self.register_buffer("regression_start", torch.stack([logs.mean(1), slope, log_a], 1))
        self.register_buffer("regression_width", width)
        self.regression_shift = PyroParam(torch.zeros_like(width))
        self.regression_scale = PyroParam(torch.ones_like(width), constraints.positive)

    def forward(self) -> None:
        """Draw all sites of the program."""
        if self.regressed:
            self._draw_regression()
        auxiliary = {"is_auxiliary": True}
        with pyro.plate("class", len(self.start), dim=-1):
            law = dist.MultivariateNormal(self.shift, scale_tril=self.tril)
            noise = pyro.sample("whitened", law, infer=auxiliary)  # (K, 3)
            y = self.start + (self.factor @ noise.unsqueeze(-1)).squeeze(-1)
            volume = self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
            share, width = y[..., 0].sigmoid(), self.high - self.low
            log_slope = torch.nn.functional.logsigmoid(y[..., 0]) * 2.0 - y[..., 0] + width.log()
            loc = self.low + width * share
            pyro.sample("rate_right", dist.Delta(y[..., 1].exp(), log_density=-y[..., 1]))
            pyro.sample("rate_left", dist.Delta(y[..., 2].exp(), log_density=-y[..., 2]))
            pyro.sample("loc", dist.Delta(loc, log_density=-log_slope - volume))

    def _draw_regression(self) -> None:
        law = dist.Normal(self.regression_shift, self.regression_scale).to_event(2)
        noise = pyro.sample("whitened_regression", law, infer={"is_auxiliary": True})
        width = self.regression_width
        y = self.regression_start + width * noise  # (2, 3)
        for i, side in enumerate(("right", "left")):
            volumes = -width[i].log()
            pyro.sample(f"intercept_{side}", dist.Delta(y[i, 0], log_density=volumes[0]))
            if self.sloped:
                pyro.sample(f"slope_{side}", dist.Delta(y[i, 1], log_density=volumes[1]))
            a = y[i, 2].exp()
            log_density = volumes[2] - y[i, 2]
            pyro.sample(f"concentration_{side}", dist.Delta(a, log_density=log_density))


def _factor(scale: Tensor, asymmetry: Tensor, num: int, share: Tensor, width: Tensor) -> Tensor:
    """Cholesky factor (K, 3, 3) of the asymptotic covariance of y."""
    one, zero = torch.ones_like(scale), torch.zeros_like(scale)
    inner = 1.0 / (width * share * (1.0 - share))  # of the logit, in the mode
    jacobian = torch.stack(
        [
            torch.stack([inner * scale, zero, zero], -1),
            torch.stack([zero, one, one], -1),
            torch.stack([zero, one, -one], -1),
        ],
        -2,
    )
    covariance = asymptotic_covariance(one, asymmetry, num)  # at the scale one: well conditioned
    factor: Tensor = torch.linalg.cholesky(jacobian @ covariance @ jacobian.mT)
    return factor
