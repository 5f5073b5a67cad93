r"""What selections share: the contract, the inverse temperature and the checks.

Symbols: a (..., R) scores; t (..., R) selection; beta in (0, 1); eta = beta / (1 - beta). Only
log eta = logit(beta) is stored: it is unconstrained, and with slopes and offsets fixed beta is
nothing but the noise 1 / eta = sigma^2 (Balestriero & Baraniuk 2019, section 4).
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from probact.nn.selection.inverse_temperature import InverseTemperature, as_log_eta, widened

__all__ = ["Readout", "Selection", "TemperedSelection", "check_scores"]

Readout = Literal["hard", "expectation", "probability", "free_energy"]  # of one selection


class Selection(nn.Module):
    """From scores (..., R) to t (..., R): abstract."""

    def forward(self, scores: Tensor) -> Tensor:
        """t (..., R), nonnegative, summing to one."""
        raise NotImplementedError

    def free_energy(self, scores: Tensor) -> Tensor:
        """F (...), with dF/da = t."""
        raise NotImplementedError


class TemperedSelection(InverseTemperature, Selection):
    """A selection with an inverse temperature: abstract.

    Args:
        beta: number or tensor in (0, 1); default 1/2, eta = 1.
        log_eta: logit of beta, instead of beta.
        learnable: whether log_eta is a parameter, otherwise a buffer.
        dtype: of log_eta; default that of a tensor given, or torch's default.

    Raises:
        TypeError: no number and no tensor.
        ValueError: beta outside (0, 1), an eta that is 0 or infinite in its dtype, or both given.
    """

    def __init__(
        self,
        beta: float | Tensor | None = None,
        *,
        log_eta: float | Tensor | None = None,
        learnable: bool = True,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self._hold(as_log_eta(beta, log_eta, dtype), learnable)

    def _scaled(self, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """eta (a - max a) (..., R) and max a, eta (..., 1), at least in float32."""
        check_scores(scores)
        a = widened(scores)
        self._check_units(a.shape[:-1])
        eta = self.log_eta.exp().to(a.dtype).unsqueeze(-1)
        top = a.detach().amax(-1, keepdim=True)
        top = top.masked_fill(torch.isneginf(top), 0.0)
        absent = torch.isneginf(a)  # whose products with eta have no gradient
        gap = (a.masked_fill(absent, 0.0) - top).masked_fill(absent, 0.0)
        return (eta * gap).masked_fill(absent, -math.inf), top, eta

    def _check_units(self, units: torch.Size) -> None:
        shape = self.log_eta.shape
        pairs = zip(reversed(shape), reversed(units), strict=False)
        if len(shape) > len(units) or any(m not in (1, n) for m, n in pairs):
            raise ValueError(
                f"log_eta of shape {tuple(shape)} does not broadcast with the units {tuple(units)}"
            )

    def extra_repr(self) -> str:
        shape = tuple(self.log_eta.shape)
        beta = f"{self.beta.item():.4g}" if not shape else f"tensor of shape {shape}"
        return f"beta={beta}, learnable={isinstance(self.log_eta, nn.Parameter)}"


def check_scores(scores: Any) -> None:
    """Refuse what is not a floating-point tensor (..., R) with R >= 1."""
    if not isinstance(scores, Tensor) or not scores.is_floating_point():
        got = scores.dtype if isinstance(scores, Tensor) else type(scores).__name__
        raise TypeError(f"scores must be a floating-point tensor (..., R), got {got}")
    if scores.ndim < 1 or scores.shape[-1] < 1:
        raise ValueError(f"scores must be (..., R) with R >= 1, got shape {tuple(scores.shape)}")
