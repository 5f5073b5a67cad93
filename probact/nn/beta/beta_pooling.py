r"""beta-VQ poolings: a softly selected number of a window, or channel of a group.

Symbols: u_i, i in P, numbers of one window or group; t = softmax(eta u); eta = beta / (1 - beta).
Balestriero & Baraniuk, "From Hard to Soft", ICLR 2019, eq. 7-9. Read-outs: max u ("hard"),
sum_i t_i u_i ("expectation"), t ("probability"), logsumexp(eta u) / eta ("free_energy").
beta -> 1 gives the maximum, beta -> 0 the average of the window's numbers, margins left out.

float16 and bfloat16 are computed in float32 and rounded once. An infinite number in a window gives
NaN, except for the hard read-out.
"""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from probact.arrays import check_count
from probact.nn.beta.beta_layer import BetaLayer, check_input
from probact.nn.beta.soft_windows import (
    Pair,
    Windows,
    soft_max_pool,
    window_free_energy,
    window_probability,
)
from probact.nn.selection.inverse_temperature import widened

__all__ = ["BetaChannelPool", "BetaMaxPool2d"]


class BetaMaxPool2d(BetaLayer):
    """Soft max-pooling of (N, C, H, W) or (C, H, W): z = sum_i u_i softmax(eta u)_i per window.

    The probability has shape (N, C, H', W', kh kw), the other read-outs (N, C, H', W').

    Args:
        kernel_size, stride, padding, dilation: integers or (rows, columns), as `nn.MaxPool2d`;
            the stride is by default the kernel size.
        ceil_mode: windows may reach beyond the input, which has no number there.
        beta: in (0, 1), a number or (num_channels,).
        readout, learnable, num_channels, detach_gate: as `BetaReLU`.

    Raises:
        TypeError, ValueError: as `BetaReLU`; sizes below one, more padding than half a window.

    >>> import torch
    >>> BetaMaxPool2d(2, learnable=False)(torch.tensor([[[0.0, 1.0], [2.0, 3.0]]]))
    tensor([[[2.4927]]])
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        ceil_mode: bool = False,
        *,
        beta: float | Tensor = 0.5,
        **options: Any,
    ) -> None:
        super().__init__(beta, **options)
        kernel = _pair(kernel_size, "kernel_size", 1)
        step = kernel if stride is None else _pair(stride, "stride", 1)
        pad = _pair(padding, "padding", 0)
        spread = _pair(dilation, "dilation", 1)
        for axis in (0, 1):
            # as torch: at most half of the window with its gaps
            if 2 * pad[axis] > spread[axis] * (kernel[axis] - 1) + 1:
                raise ValueError(
                    f"padding must be at most half of kernel_size, got {pad} and {kernel}"
                )
        self.windows = Windows(kernel, step, pad, spread, bool(ceil_mode))

    def forward(self, u: Tensor) -> Tensor:
        """The read-out of u (N, C, H, W) or (C, H, W).

        Raises:
            TypeError: u is no floating-point tensor.
            ValueError: another shape, fewer rows or columns than a window.
        """
        check_input(u)
        if u.ndim not in (3, 4):
            raise ValueError(f"the input must be (N, C, H, W), got shape {tuple(u.shape)}")
        if min(self.windows.places(*u.shape[-2:])) < 1:
            size = self.windows.kernel_size
            raise ValueError(f"the input {tuple(u.shape)} is smaller than a window {size}")
        if self.readout == "hard":
            # not max_pool2d, which `soften` takes for one of the network's own
            return F.max_pool2d_with_indices(u, *self.windows)[0]
        wide, eta = widened(u), self._eta_for(u, u.ndim - 3)
        if self.readout == "probability":
            return window_probability(wide, eta, self.windows).to(u.dtype)
        if self.readout == "free_energy":
            return window_free_energy(wide, eta, self.windows).to(u.dtype)
        return soft_max_pool(wide, eta, self.windows, detach_gate=self.detach_gate).to(u.dtype)

    def extra_repr(self) -> str:
        kernel, stride, padding, dilation, ceil = self.windows
        shape = f"kernel_size={kernel}, stride={stride}, padding={padding}, dilation={dilation}"
        return f"{shape}, ceil_mode={ceil}, {super().extra_repr()}"


def _pair(value: Any, name: str, smallest: int) -> Pair:
    if not isinstance(value, tuple | list):
        check_count(value, name, smallest)
        return value, value
    if len(value) != 2:
        raise ValueError(f"{name} must be an integer or a pair, got {value!r}")
    for each in value:
        check_count(each, f"each of {name}", smallest)
    return value[0], value[1]


class BetaChannelPool(BetaLayer):
    """Soft maximum over consecutive channels: (N, C, ...) to (N, groups, ...).

    The probability has shape (N, groups, C / groups, ...); with one group it is the softmax of an
    output layer.

    Args:
        groups: number of channels that come out.
        beta: in (0, 1), a number or (num_channels,), num_channels = groups.
        readout, learnable, num_channels, detach_gate: as `BetaReLU`.

    Raises:
        TypeError, ValueError: as `BetaReLU`; groups below one.

    >>> import torch
    >>> BetaChannelPool(1, learnable=False)(torch.tensor([[0.0, 1.0, 2.0, 3.0]]))
    tensor([[2.4927]])
    """

    def __init__(self, groups: int, *, beta: float | Tensor = 0.5, **options: Any) -> None:
        check_count(groups, "groups")
        super().__init__(beta, **options)
        if self.log_eta.ndim and len(self.log_eta) != groups:
            raise ValueError(f"num_channels must be groups={groups}, got {len(self.log_eta)}")
        self.groups = groups

    def forward(self, u: Tensor) -> Tensor:
        """The read-out of u (N, C, ...).

        Raises:
            TypeError: u is no floating-point tensor.
            ValueError: C is no multiple of groups.
        """
        check_input(u)
        if u.ndim < 2 or u.shape[1] == 0 or u.shape[1] % self.groups:
            raise ValueError(
                f"the input must have a multiple of {self.groups} channels on axis 1, "
                f"got shape {tuple(u.shape)}"
            )
        grouped: Tensor = u.unflatten(1, (self.groups, -1))  # (N, groups, C / groups, ...)
        if self.readout == "hard":
            return grouped.amax(2)
        wide, eta = widened(grouped), self._eta_for(grouped)
        if self.readout == "free_energy":
            free = (eta * wide).logsumexp(2, keepdim=True) / eta
            return free.squeeze(2).to(u.dtype)
        t = (eta * (wide.detach() if self.detach_gate else wide)).softmax(2)
        out = t if self.readout == "probability" else (t * wide).sum(2)
        return out.to(u.dtype)

    def extra_repr(self) -> str:
        return f"groups={self.groups}, {super().extra_repr()}"
