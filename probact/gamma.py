"""Ratios of gamma functions in log space, which keep their digits at large arguments.

lgamma(x + s) - lgamma(x) has five right digits at x = 1e10. Here the difference of two Stirling
expansions is taken term by term, so that only small things are subtracted.
"""

import torch
from torch import Tensor

__all__ = ["log_gamma_ratio", "log_multigamma_ratio"]

_LARGE = 16.0  # from here on Stirling's series to 1/x^9 is exact to 1e-16
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)


def log_gamma_ratio(x: Tensor, step: Tensor | float) -> Tensor:
    """log Gamma(x + step) - log Gamma(x) for x > 0, step >= 0; shapes broadcast.

    >>> log_gamma_ratio(torch.tensor(4.0), 2.0).exp()  # 4 * 5
    tensor(20.)
    """
    large = x.clamp_min(_LARGE)
    end = large + step
    stirling = (large - 0.5) * torch.log1p(step / large) + step * (end.log() - 1.0)
    stirling = stirling + (_series(end) - _series(large))
    return torch.where(x < _LARGE, torch.lgamma(x + step) - torch.lgamma(x), stirling)


def log_multigamma_ratio(x: Tensor, step: Tensor | float, dim: int) -> Tensor:
    """log Gamma_D(x + step) - log Gamma_D(x) for D = dim and x > (D - 1)/2; shapes broadcast.

    Gamma_D is the multivariate gamma function (Muirhead 1982, definition 2.1.10).

    >>> log_multigamma_ratio(torch.tensor(4.0), 1.0, 1).exp()
    tensor(4.)
    """
    half = 0.5 * torch.arange(dim, dtype=x.dtype, device=x.device)  # (D,)
    if isinstance(step, Tensor):
        step = step.unsqueeze(-1)
    return log_gamma_ratio(x.unsqueeze(-1) - half, step).sum(-1)


def _series(x: Tensor) -> Tensor:
    """log Gamma(x) - (x - 1/2) log x + x - log(2 pi)/2 for x >= 16."""
    inverse = 1.0 / x
    square = inverse * inverse
    total = torch.zeros_like(x)
    for coefficient in reversed(_STIRLING):
        total = total * square + coefficient
    return total * inverse
