r"""Exactly orthogonal filters by one QR factorisation (Balestriero & Baraniuk 2019, section 5).

Symbols: W (K, D) rows w_k, the filters of a layer, a kernel (C_out, C_in, k, k) reshaped to
(C_out, C_in k k); W' = Q R; W_orth = (Q diag(R))' are the residuals of Gram-Schmidt without
normalisation, w_k minus its projection onto the rows before it: signs cancel. Orthogonal rows make
the posterior over the regions of all units of a layer the product of those of single units
(paper, Theorem 4); their lengths are free.

**Two levels.** `filters` makes the rows of the reshaped kernel orthogonal, as the paper does. The
rows of the convolution as a linear operator, one for each channel and position, are then
orthogonal only where patches share no pixel: stride at least the kernel's size, no padding.

**Precision.** The factorisation is done in float64 for float64 weights and in float32 for
float32, bfloat16 and half ones; the result has the weight's dtype. Largest cosine of two rows:
about 1e-15, 1e-6, 1e-2 and 1e-3, the last two from rounding the result.
"""

import math
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from probact.arrays import check_count, check_finite, floats

__all__ = [
    "FilterLayer",
    "Level",
    "Norm",
    "OrthogonalRows",
    "check_one_of",
    "orthogonal_rows",
    "orthogonalize",
]

Norm = Literal["residual", "learned", "unit"]
Level = Literal["filters", "operator"]
M = TypeVar("M", bound=nn.Module)
FilterLayer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


def orthogonal_rows(weight: Tensor, *, norm: Literal["residual", "unit"] = "residual") -> Tensor:
    """Rows (..., K, D) after Gram-Schmidt on those of the weight (..., K, D), K <= D.

    Args:
        norm: "residual": what is left of a row once the rows before it are projected out;
            "unit": that, scaled to length one.

    Raises: TypeError for what is no tensor; ValueError for a dtype or shape that has no such rows,
    and for rows that are combinations of the rows before them, named.

    >>> orthogonal_rows(torch.tensor([[2.0, 1.0], [3.0, 4.0]])).round(decimals=4)
    tensor([[ 2.,  1.],
            [-1.,  2.]])
    """
    check_one_of(norm, ("residual", "unit"), "norm")
    _check_weight(weight, "weight")
    num_rows, dim = weight.shape[-2:]
    if num_rows > dim:
        raise ValueError(f"{num_rows} rows of {dim} dimensions cannot be orthogonal")
    directions, residuals = _gram_schmidt(weight)
    _check_residuals(weight, residuals, limit=dim * torch.finfo(residuals.dtype).eps)
    rows = directions if norm == "unit" else directions * residuals[..., None]
    return rows.to(weight.dtype)


class OrthogonalRows(nn.Module):
    """The parametrization that `orthogonalize` registers.

    Maps a free weight (K, ...) to one with orthogonal rows in each of its blocks.

    Args:
        norm: lengths of the rows, as in `orthogonalize`.
        conv_groups: groups of a convolution: rows of different groups see different channels.
        chunks: blocks into which the rows of each such group are divided.
    """

    def __init__(self, norm: Norm, *, conv_groups: int = 1, chunks: int = 1) -> None:
        super().__init__()
        self.norm = norm
        self.conv_groups = conv_groups
        self.chunks = chunks

    def forward(self, weight: Tensor, scale: Tensor | None = None) -> Tensor:
        rows, residuals = self._factors(weight, limit=0.0)
        if self.norm == "residual":
            rows = rows * residuals[..., None]
        if scale is not None:
            rows = rows * scale.to(rows.dtype).reshape(self.conv_groups, -1, 1)
        return rows.to(weight.dtype).reshape(weight.shape)

    def _factors(self, weight: Tensor, limit: float) -> tuple[Tensor, Tensor]:
        """Directions (conv_groups, rows, D) and residuals (conv_groups, rows)."""
        grouped = weight.reshape(self.conv_groups, weight.shape[0] // self.conv_groups, -1)
        parts = [_gram_schmidt(part) for part in grouped.tensor_split(self.chunks, dim=1)]
        residuals = torch.cat([lengths for _, lengths in parts], 1)
        _check_residuals(grouped, residuals, limit=limit)
        return torch.cat([directions for directions, _ in parts], 1), residuals

    def right_inverse(self, weight: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """What to store so that `forward` gives this weight, if its rows are orthogonal.

        Called when the parametrization is registered and when a weight is assigned; refuses
        dependent rows.
        """
        wide = weight.dtype if weight.dtype == torch.float64 else torch.float32
        self._factors(weight, limit=weight[0].numel() * torch.finfo(wide).eps)
        if self.norm != "learned":
            return weight
        return weight, torch.linalg.vector_norm(weight.flatten(1), dim=1)

    def extra_repr(self) -> str:
        return f"norm={self.norm!r}, blocks={self.conv_groups * self.chunks}"


def orthogonalize(
    module: M,
    name: str = "weight",
    *,
    level: Level = "filters",
    norm: Norm = "residual",
    groups: int | Literal["auto"] | None = None,
) -> M:
    """Keep the rows of a layer's weight exactly orthogonal while it trains; returns the layer.

    The weight becomes a `torch.nn.utils.parametrize` parametrization: the free tensor that the
    optimiser moves is `module.parametrizations.weight.original` (`original0` for "learned", whose
    `original1` are the lengths (K,)), and `module.weight` is worked out from it at each use.
    `torch.nn.utils.parametrize.remove_parametrizations(module, "weight")` makes the present
    weight an ordinary parameter again.

    Dependent rows are refused here and when a weight is assigned. In training a residual may pass
    close to zero, above all that of the last row where K = D, which has one direction left: its
    row then becomes short and comes back with the other sign. With "learned" and "unit" it jumps
    to the other sign. Only a residual of exactly zero, which has no gradient, is refused then.

    Args:
        module: `Linear`, `Conv1d`, `Conv2d` or `Conv3d`; the rows of a grouped convolution are
            made orthogonal within each of its groups.
        name: the parameter.
        level: "filters" or "operator"; the latter is refused where it would not hold.
        norm: "residual": what Gram-Schmidt leaves of each row (paper); "unit": one; "learned":
            free numbers, at first the lengths of the given rows.
        groups: blocks of rows, orthogonal within a block only; "auto": as few as possible,
            ceil(K / D). None: one block, which K > D rows do not fit.

    Raises: TypeError for a module that has no filters; ValueError for an unknown option, a
    parameter that is missing, parametrized already or not finite, too many rows, rows that are
    combinations of the rows before them, and a level that cannot be had.

    >>> layer = orthogonalize(nn.Linear(8, 4))
    >>> gram = layer.weight @ layer.weight.T
    >>> bool((gram - gram.diag().diag()).abs().max() < 1e-6)
    True
    """
    weight = _filters(module, name)
    check_one_of(norm, get_args(Norm), "norm")
    check_one_of(level, get_args(Level), "level")
    if level == "operator":
        _check_operator(module)
    conv_groups = getattr(module, "groups", 1)
    chunks = _num_chunks(weight, name, conv_groups, groups)
    rows = OrthogonalRows(norm, conv_groups=conv_groups, chunks=chunks)
    rows.right_inverse(weight.detach())  # refuses dependent rows before anything is changed
    parametrize.register_parametrization(module, name, rows)
    return module


def _gram_schmidt(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal rows (..., K, D) and the lengths (..., K) of Gram-Schmidt's residuals."""
    exact = weight if weight.dtype == torch.float64 else weight.float()
    q, r = torch.linalg.qr(exact.mT)  # (..., D, K), (..., K, K)
    diagonal = r.diagonal(dim1=-2, dim2=-1)
    return (q * diagonal.sign()[..., None, :]).mT, diagonal.abs()


def _check_residuals(weight: Tensor, residuals: Tensor, *, limit: float) -> None:
    """Refuse rows of which a share of at most `limit` is left: they have no direction."""
    if torch.compiler.is_compiling():
        return  # a graph cannot branch on values
    lengths = torch.linalg.vector_norm(weight.detach().to(residuals.dtype), dim=-1)
    dependent = (residuals.detach() <= limit * lengths).flatten()
    if bool(dependent.any()):
        rows = dependent.nonzero().flatten().tolist()
        named = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
        raise ValueError(
            f"weight has {len(rows)} row{'s' * (len(rows) > 1)} of {len(dependent)} that "
            f"{'are' if len(rows) > 1 else 'is'} zero or a combination of the rows before: {named}"
        )


def _filters(module: nn.Module, name: str) -> Tensor:
    """The parameter of a layer whose first axis counts filters."""
    if not isinstance(module, FilterLayer):
        raise TypeError(
            f"{type(module).__name__} has no filters to make orthogonal: expected Linear, Conv1d, "
            "Conv2d or Conv3d"
        )
    if parametrize.is_parametrized(module, name):
        raise ValueError(f"{name} is parametrized already: remove that parametrization first")
    weight = getattr(module, name, None)
    if not isinstance(weight, nn.Parameter):
        raise ValueError(f"{type(module).__name__} has no parameter {name!r}")
    if isinstance(weight, nn.UninitializedParameter):
        raise ValueError(f"{name} has no shape yet: run the lazy module once")
    _check_weight(weight, name)
    check_finite(weight.detach(), name)
    return weight


def _check_weight(weight: Tensor, name: str) -> None:
    if not isinstance(weight, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(weight).__name__}")
    if weight.dtype not in floats:
        raise ValueError(f"{name} must be of real floats, got {weight.dtype}")
    if weight.is_meta:
        raise ValueError(f"{name} is on the meta device: it has a shape but no values")
    if weight.ndim < 2 or 0 in weight.shape:
        raise ValueError(f"{name} must be (K, D) or (C_out, C_in, ...), got {tuple(weight.shape)}")


def _num_chunks(
    weight: Tensor, name: str, conv_groups: int, groups: int | Literal["auto"] | None
) -> int:
    """Blocks within each group of a convolution, such that the rows of each fit."""
    rows, dim = weight.shape[0] // conv_groups, math.prod(weight.shape[1:])
    of_group = " in each group" if conv_groups > 1 else ""
    if groups is None or groups == "auto":
        if rows > dim and groups is None:
            raise ValueError(
                f"{name} has {rows} rows of {dim} dimensions{of_group}, which cannot be "
                'orthogonal: pass groups="auto"'
            )
        return -(-rows // dim)
    check_count(groups, "groups")
    if groups > rows or -(-rows // groups) > dim:
        raise ValueError(
            f"groups={groups} blocks of {rows} rows{of_group} must hold 1 to {dim} rows each"
        )
    return groups


def _check_operator(module: nn.Module) -> None:
    """Refuse a convolution with patches that overlap or are cut by the border."""
    if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return  # one position
    for axis, (kernel, stride, dilation) in enumerate(
        zip(module.kernel_size, module.stride, module.dilation, strict=True)
    ):
        padding = 0 if isinstance(module.padding, str) else module.padding[axis]
        # taps of two patches meet where dilation * j = stride * m, 0 < j < kernel
        if kernel > stride // math.gcd(stride, dilation):
            raise ValueError(
                f'level="operator" needs stride >= kernel, got stride {stride}, kernel {kernel}, '
                f"dilation {dilation} along axis {axis}: overlapping patches of orthogonal "
                'filters are not orthogonal; use level="filters" or a penalty of kind "conv"'
            )
        if kernel > 1 and padding:
            raise ValueError(
                f'level="operator" needs padding=0, got {padding} along axis {axis}: filters that '
                "the border cuts or repeats are not orthogonal"
            )


def check_one_of(value: str, known: tuple[str, ...], name: str) -> None:
    """Refuse an option that is not known; ValueError names it and what is.

    >>> check_one_of("unit", ("residual", "unit"), "norm")
    """
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}")
