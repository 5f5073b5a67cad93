r"""The affine map that a network is at an input: W x + b, exact wherever its pattern is the same.

Symbols: x (*input) one input, or N of them; W (O, *input), b (O,) with f(z) = W z + b for all z of
the same activation pattern as x; O outputs. The gates are recorded at x and replayed: W is then
the Jacobian of an affine map, and b its value at zero.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from probact.analysis.patterns.recording import pattern_at
from probact.analysis.patterns.replaying import check_affine, frozen
from probact.arrays import as_tensor, check_finite
from probact.capturing.passes import place

__all__ = ["LocalAffine", "as_input", "local_affine", "local_affine_maps", "network_input"]


_CHECKED = 8  # inputs: what bends does so for all


class LocalAffine(NamedTuple):
    """W (O, *input) and b (O,) of one input, or W (N, O, *input) and b (N, O) of N."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """W x + b of one input."""
        value: Tensor = self.weight.flatten(1) @ x.flatten() + self.bias
        return value


def local_affine(net: nn.Module, x: Any) -> LocalAffine:
    """The map at one input x (*input), without its batch axis.

    Use float64 for exact statements: in float32 the map is that of the recorded pattern, to the
    rounding of a pass.

    Raises:
        TypeError, ValueError: as `record`; x that is not finite or that the network does not take;
            a network that is not affine between its gates, naming the calls.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).double().eval()
    >>> x = torch.tensor([1.0, -2.0], dtype=torch.float64)
    >>> torch.allclose(local_affine(net, x)(x), net(x))
    True
    """
    point = network_input(net, x, "x")
    maps = local_affine_maps(net, point.unsqueeze(0))
    return LocalAffine(maps.weight[0], maps.bias[0])


def local_affine_maps(net: nn.Module, x: Any, *, outputs: list[int] | None = None) -> LocalAffine:
    """The maps at N inputs x (N, *input) at once, of some or all flattened outputs.

    One backward pass per output for all inputs. Holds N x O x input numbers.

    Raises: as `local_affine`; ValueError for outputs that are not there.
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4)).eval()
    >>> local_affine_maps(net, torch.randn(5, 2), outputs=[0, 3]).weight.shape
    torch.Size([5, 2, 2])
    """
    points = network_input(net, x, "x")
    pattern = pattern_at(net, points)
    some = slice(0, _CHECKED)
    check_affine(net, pattern.rows(some), points[some])
    function = frozen(net, pattern)
    with torch.inference_mode(False), torch.enable_grad():
        z = points.clone().requires_grad_()
        y = function(z.clone()).flatten(1)  # (N, O); a clone for networks that work in place
        chosen = _checked(outputs, y.shape[1])
        rows = [_gradient(y[:, o].sum(), z) for o in chosen]
        bias = function(torch.zeros_like(points)).flatten(1)[:, chosen].detach()
    return LocalAffine(torch.stack(rows, 1), bias)


def _gradient(y: Tensor, z: Tensor) -> Tensor:
    if not y.requires_grad:  # a network of comparisons alone is constant
        return torch.zeros_like(z)
    return torch.autograd.grad(y, z, retain_graph=True, materialize_grads=True)[0]


def network_input(net: nn.Module, value: Any, name: str) -> Tensor:
    """A finite floating tensor on the network's device, which must have its precision already.

    Raises: TypeError or ValueError naming the argument.
    >>> network_input(nn.Linear(2, 1), [1.0, 2.0], "x")
    Traceback (most recent call last):
    ValueError: x is torch.float64 and the network torch.float32: convert one, net.double() or ...
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"net must be a module, got {type(net).__name__}")
    x = as_input(value, name)
    with torch.inference_mode(False):
        placed = place(x, net)
    if placed.dtype != x.dtype:
        raise ValueError(
            f"{name} is {x.dtype} and the network {placed.dtype}: convert one, net.double() or "
            f"{name}.to({placed.dtype})"
        )
    return placed


def as_input(value: Any, name: str) -> Tensor:
    """A finite floating tensor.

    Raises: TypeError or ValueError naming the argument.
    >>> as_input([1.0, 2.0], "x")
    tensor([1., 2.], dtype=torch.float64)
    """
    x = as_tensor(value, name)
    if x.ndim < 1 or 0 in x.shape or not x.is_floating_point():
        raise ValueError(
            f"{name} must be floating point and not empty, got {x.dtype} of shape {tuple(x.shape)}"
        )
    check_finite(x, name)
    return x


def _checked(outputs: list[int] | None, count: int) -> list[int]:
    if outputs is None:
        return list(range(count))
    wrong = [o for o in outputs if isinstance(o, bool) or not isinstance(o, int) or o >= count]
    if wrong or not outputs or min(outputs) < 0:
        raise ValueError(f"outputs must be integers from 0 to {count - 1}, got {outputs!r}")
    return list(outputs)
