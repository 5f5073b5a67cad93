r"""What the soft activations and poolings share: read-out, inverse temperature and the checks.

Symbols: beta in (0, 1); eta = beta / (1 - beta), stored as log eta = logit(beta); u (N, C, ...) or
(...) input. Balestriero & Baraniuk, "From Hard to Soft", ICLR 2019, eq. 7-9.
"""

from typing import Any, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from probact.arrays import check_count
from probact.nn.selection.inverse_temperature import InverseTemperature, as_log_eta, widened
from probact.nn.selection.tempered_selection import Readout

__all__ = ["BetaLayer", "check_input"]


class BetaLayer(InverseTemperature):
    """A layer that selects softly among regions, with its inverse temperature: abstract.

    log_eta, () or (num_channels,), is a parameter or a buffer, and part of the state dict.

    Args:
        beta: number or tensor () or (num_channels,) in (0, 1).
        readout: "hard", "expectation", "probability" or "free_energy".
        learnable: whether log_eta is a parameter, otherwise a buffer.
        num_channels: one beta for each channel, on axis 1 of the input.
        detach_gate: no gradient from the selection to the input, only through the linear factor.

    Raises:
        TypeError: beta is no number and no tensor.
        ValueError: beta outside (0, 1) or of another shape, an unknown read-out, a detached gate
            with a read-out other than the expectation.
    """

    def __init__(
        self,
        beta: float | Tensor = 0.5,
        *,
        readout: Readout = "expectation",
        learnable: bool = True,
        num_channels: int | None = None,
        detach_gate: bool = False,
    ) -> None:
        super().__init__()
        if readout not in get_args(Readout):
            names = ", ".join(get_args(Readout))
            raise ValueError(f"readout must be one of {names}, got {readout!r}")
        if detach_gate and readout != "expectation":
            raise ValueError(f"detach_gate needs the expectation read-out, got {readout!r}")
        value = as_log_eta(beta, None)
        if num_channels is not None:
            check_count(num_channels, "num_channels")
            value = value.expand(num_channels).clone() if not value.ndim else value
        expected = () if num_channels is None else (num_channels,)
        if value.shape != expected:
            raise ValueError(f"beta must be a number or {expected}, got {tuple(value.shape)}")
        self.readout, self.detach_gate = readout, detach_gate
        self._hold(value, learnable)

    def _eta_for(self, u: Tensor, channel_axis: int = 1) -> Tensor:
        """Eta that broadcasts against u, in the type of the computation."""
        eta = widened(self.log_eta).exp().to(widened(u).dtype)
        if not eta.ndim:
            return eta
        if u.ndim <= channel_axis or u.shape[channel_axis] != len(eta):
            raise ValueError(
                f"the input must have {len(eta)} channels on axis {channel_axis}, "
                f"got shape {tuple(u.shape)}"
            )
        return eta.view(-1, *(1,) * (u.ndim - channel_axis - 1))

    def extra_repr(self) -> str:
        learned = isinstance(self.log_eta, nn.Parameter)
        shape = tuple(self.log_eta.shape)
        beta = f"tensor of shape {shape}" if shape else f"{float(self.beta.detach()):.4g}"
        text = f"beta={beta}, readout={self.readout!r}, learnable={learned}"
        return text + ", detach_gate=True" * self.detach_gate


def check_input(u: Any) -> None:
    """Refuse what is not a real floating-point tensor."""
    if not isinstance(u, Tensor) or not u.is_floating_point():
        got = f"a tensor of {u.dtype}" if isinstance(u, Tensor) else type(u).__name__
        raise TypeError(f"the input must be a floating-point tensor, got {got}")


def relu(u: Tensor) -> Tensor:
    """max(u, 0), called so that `soften` does not take it for one of the network's own."""
    return F.threshold(u, 0.0, 0.0)
