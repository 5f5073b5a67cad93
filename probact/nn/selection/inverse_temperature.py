r"""The inverse temperature of soft modules, stored as its logarithm.

Symbols: beta in (0, 1); eta = beta / (1 - beta). Only log eta = logit(beta) is stored: it is
unconstrained, and with slopes and offsets fixed beta is nothing but the noise 1 / eta = sigma^2
(Balestriero & Baraniuk 2019, section 4).
"""

import math

import torch
from torch import Tensor, nn

from probact.arrays import as_number

__all__ = ["InverseTemperature", "as_log_eta", "widened"]


class InverseTemperature(nn.Module):
    """A module with an inverse temperature: abstract; a subclass calls `_hold` once."""

    log_eta: Tensor

    def _hold(self, log_eta: Tensor, learnable: bool) -> None:
        """Register log_eta as a parameter, or as a buffer; in the state dict either way."""
        if learnable:
            self.log_eta = nn.Parameter(log_eta)
        else:
            self.register_buffer("log_eta", log_eta)

    @property
    def eta(self) -> Tensor:
        """Inverse temperature beta / (1 - beta), of the shape of log_eta."""
        return self.log_eta.exp()

    @property
    def beta(self) -> Tensor:
        """eta / (1 + eta), of the shape of log_eta."""
        return self.log_eta.sigmoid()

    def set_beta(self, beta: float | Tensor) -> None:
        """Set beta in place, one number or a tensor of the shape of log_eta.

        Raises: TypeError, ValueError as for a new module.
        """
        value = as_log_eta(beta, None)
        if value.ndim and value.shape != self.log_eta.shape:
            expected = tuple(self.log_eta.shape)
            raise ValueError(f"beta must be a number or {expected}, got {tuple(value.shape)}")
        with torch.no_grad():
            self.log_eta.copy_(value)


def widened(x: Tensor) -> Tensor:
    """x, in float32 where it is float16 or bfloat16."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def as_log_eta(
    beta: float | Tensor | None, log_eta: float | Tensor | None, dtype: torch.dtype | None = None
) -> Tensor:
    """log eta = logit(beta) in memory of its own, checked.

    >>> as_log_eta(0.75, None).exp()
    tensor(3.)
    """
    if beta is not None and log_eta is not None:
        raise ValueError("give beta or log_eta, not both")
    name, given = (
        ("beta", 0.5 if beta is None else beta)
        if log_eta is None
        else (
            "log_eta",
            log_eta,
        )
    )
    if isinstance(given, Tensor):
        value = given.detach().clone()
        if not value.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {value.dtype}")
    else:
        value = torch.tensor(as_number(given, name, -math.inf), dtype=torch.float64)
        dtype = torch.get_default_dtype() if dtype is None else dtype
    if name == "beta":
        if not bool(((value > 0.0) & (value < 1.0)).all()):
            raise ValueError(f"beta must lie in (0, 1), got {given!r}")
        value = torch.logit(value)
    value = value if dtype is None else value.to(dtype)
    eta = value.exp()
    if value.numel() == 0:
        raise ValueError(f"{name} must not be empty, got shape {tuple(value.shape)}")
    if not bool((torch.isfinite(eta) & (eta > 0.0)).all()):
        raise ValueError(f"{name} must give a finite eta above 0 in {value.dtype}, got {given!r}")
    return value
