r"""Penalties that pull the filters of a network towards orthogonality.

Symbols: W (K, D) the rows of a layer, kernels (C_out, C_in, k, k) reshaped to (C_out, C_in k k);
G = W W' (K, K) their Gram matrix; I the identity. Of one layer:

* "rows": sum over k != l of G_kl^2, which leaves the lengths free; eq. (11) of Balestriero &
  Baraniuk (2019) for ReLU, leaky ReLU and absolute value.
* "cosine": the same of the rows scaled to length one.
* "soft": |G - I|_F^2, which asks for length one as well (Xie, Xiong & Pu 2017).
* "srip": the spectral norm of G - I (Bansal, Chen & Wang 2018), here exact, by eigenvalues.
* "conv": |Z - I_0|^2, Z the convolution of a kernel with all kernels at every shift at which
  patches overlap, I_0 one at shift zero for a kernel with itself (Wang et al. 2020): zero where
  the convolution as an operator on large images has orthonormal rows. Of a layer whose patches do
  not overlap, and of a linear one, it is "soft".

The rows of a grouped convolution are compared within its groups. Everything is worked out in
float64 for float64 weights and in float32 for others, also under autocast.
"""

import math
from collections.abc import Callable, Collection
from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from probact.nn.orthogonal.filters import FilterLayer, check_one_of

__all__ = ["PenaltyKind", "orthogonality_penalty"]

PenaltyKind = Literal["rows", "cosine", "soft", "srip", "conv"]


def orthogonality_penalty(
    model: nn.Module,
    kind: PenaltyKind = "rows",
    *,
    skip: Collection[str] = (),
    reduction: Literal["sum", "mean"] = "sum",
) -> Tensor:
    """Sum over the linear and convolutional layers of a model, a scalar to add to its loss.

    Args:
        model: a network or a layer; parametrized weights are taken as they come out.
        kind: see the head of this file; the paper has "rows" with a coefficient of one.
        skip: names of modules that are left out with all that is inside them: the classifier,
            as a rule.
        reduction: within a layer: "sum" over pairs of rows, or "mean": a pair's part. Of "srip",
            which is no sum, nothing changes.

    Raises: TypeError if model is no module; ValueError for an unknown option, a name in `skip`
    that no module has, no layer to penalise (transposed convolutions are none), a lazy layer
    without values; with "srip", weights that are not finite; with "conv", a Conv1d or Conv3d.

    >>> layer = nn.Linear(2, 2, bias=False)
    >>> _ = layer.weight.data.copy_(torch.tensor([[1.0, 2.0], [3.0, 0.0]]))
    >>> float(orthogonality_penalty(layer).detach())  # twice 3^2
    18.0
    """
    check_one_of(kind, get_args(PenaltyKind), "kind")
    check_one_of(reduction, ("sum", "mean"), "reduction")
    layers = _layers(model, skip)
    of_layer, device = _PENALTIES[kind], next(layers[0].parameters()).device
    with torch.autocast(device.type, enabled=False):  # products of rows would lose their digits
        return torch.stack([of_layer(layer, reduction == "mean") for layer in layers]).sum()


def _layers(model: nn.Module, skip: Collection[str]) -> list[FilterLayer]:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if isinstance(skip, str):
        raise TypeError(f"skip must be a list of names, got {skip!r}")
    modules = dict(model.named_modules())
    unknown = sorted(set(skip) - set(modules))
    if unknown:
        raise ValueError(f"skip names {', '.join(unknown)}: the model has no such module")
    skipped = tuple(f"{name}." for name in skip)
    layers = [
        module
        for name, module in modules.items()
        if isinstance(module, FilterLayer) and not f"{name}.".startswith(skipped)
    ]
    if any(isinstance(p, nn.UninitializedParameter) for m in layers for p in m.parameters()):
        raise ValueError("model has weights without a shape: run the lazy module once")
    layers = [m for m in layers if min(p.numel() for p in m.parameters())]  # none is empty
    if not layers:
        raise ValueError("model has no linear or convolutional layer to penalise")
    return layers


def _rows(layer: FilterLayer) -> Tensor:
    """(groups, K / groups, D) in at least single precision."""
    weight = layer.weight.flatten(1)
    exact = weight if weight.dtype == torch.float64 else weight.float()
    groups = getattr(layer, "groups", 1)
    return exact.reshape(groups, len(exact) // groups, -1)


def _off_diagonal(rows: Tensor, mean: bool) -> Tensor:
    gram = rows @ rows.mT  # (groups, k, k)
    diagonal = torch.diag_embed(gram.diagonal(dim1=-2, dim2=-1))
    total = (gram - diagonal).square().sum()
    pairs = len(rows) * rows.shape[1] * (rows.shape[1] - 1)
    return total / max(pairs, 1) if mean else total


def _of_rows(layer: FilterLayer, mean: bool) -> Tensor:
    return _off_diagonal(_rows(layer), mean)


def _of_cosines(layer: FilterLayer, mean: bool) -> Tensor:
    return _off_diagonal(F.normalize(_rows(layer), dim=-1), mean)


def _deviation(layer: FilterLayer) -> Tensor:
    """G - I (groups, k, k)."""
    rows = _rows(layer)
    return rows @ rows.mT - torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)


def _soft(layer: FilterLayer, mean: bool) -> Tensor:
    squares = _deviation(layer).square()
    return squares.mean() if mean else squares.sum()


def _srip(layer: FilterLayer, mean: bool) -> Tensor:
    deviation = _deviation(layer)
    if not bool(torch.isfinite(deviation.detach()).all()):
        raise ValueError("weight of a layer is not finite: srip has no eigenvalues")
    eigenvalues: Tensor = torch.linalg.eigvalsh(deviation)
    return eigenvalues.abs().amax()


def _conv(layer: FilterLayer, mean: bool) -> Tensor:
    if isinstance(layer, nn.Linear):
        return _soft(layer, mean)
    if not isinstance(layer, nn.Conv2d):
        raise ValueError(f'kind="conv" is for Conv2d and Linear, got {type(layer).__name__}')
    kernels = _dilated(_rows(layer).reshape(layer.groups, -1, *layer.weight.shape[1:]), layer)
    sides = kernels.shape[-2:]
    strides = cast(tuple[int, int], layer.stride)
    padding = [(side - 1) // stride * stride for side, stride in zip(sides, strides, strict=True)]
    products = torch.stack([F.conv2d(k, k, stride=strides, padding=padding) for k in kernels])
    target = torch.zeros_like(products)  # (groups, k, k, shifts, shifts)
    middle = [p // stride for p, stride in zip(padding, strides, strict=True)]
    target[..., middle[0], middle[1]] = torch.eye(
        kernels.shape[1], dtype=kernels.dtype, device=kernels.device
    )
    total = (products - target).square().sum()
    return total / math.prod(products.shape[:3]) if mean else total


def _dilated(kernels: Tensor, layer: nn.Conv2d) -> Tensor:
    """The kernels (groups, k, C_in, h, w) with the gaps of a dilation filled by zeros."""
    down, across = layer.dilation
    if (down, across) == (1, 1):
        return kernels
    *batch, height, width = kernels.shape
    wide = kernels.new_zeros(*batch, (height - 1) * down + 1, (width - 1) * across + 1)
    wide[..., ::down, ::across] = kernels
    return wide


_PENALTIES: dict[str, Callable[[FilterLayer, bool], Tensor]] = {
    "rows": _of_rows,
    "cosine": _of_cosines,
    "soft": _soft,
    "srip": _srip,
    "conv": _conv,
}
