r"""Max-affine spline operators: layers whose units are maxima of affine functions.

Symbols: x (..., D) input; A (K, R, D) slopes and B (K, R) offsets of R regions of K units; scores
a_kr = <A_kr, x> + B_kr; output z_k = max_r a_kr (eq. 1); code t_k = argmax_r a_kr, the hard
vector quantisation of x (eq. 2). Balestriero & Baraniuk, "From Hard to Soft", ICLR 2019.

NaN in x gives NaN in the scores and outputs of that row, as in torch's own layers; nothing is
checked for it at each call.
"""

import math
from typing import Any, Self

import torch
from torch import Tensor, nn

from probact.arrays import as_tensor, check_count
from probact.nn.affine.convex_pieces import Pieces, convex_pieces
from probact.nn.affine.layer_regions import LayerRegions
from probact.nn.affine.power_diagram import is_k_means, joint_cell, partition_equal, squared_radii

__all__ = ["MaxAffine"]


class MaxAffine(nn.Module):
    """z_k = max_r <A_kr, x> + B_kr.

    An `nn.Parameter` is registered as one and trained; tensors and arrays become buffers.

    Args:
        slopes: A (K, R, D).
        offsets: B (K, R), default zeros; -inf where a unit has fewer than R regions.

    Raises:
        TypeError: no tensor, array or list.
        ValueError: other shapes, two dtypes, NaN or infinity, a unit without a region.

    >>> absolute = MaxAffine([[[-1.0], [1.0]]])
    >>> absolute(torch.tensor([[-3.0], [2.0]], dtype=torch.float64)).flatten()
    tensor([3., 2.], dtype=torch.float64)
    """

    regions: nn.Module

    def __init__(self, slopes: Any, offsets: Any = None) -> None:
        super().__init__()
        self.regions = _DenseRegions(slopes, offsets)

    @classmethod
    def from_layer(
        cls,
        layer: nn.Module,
        activation: Any = "relu",
        *,
        negative_slope: float = 0.01,
        channel_pool: int | None = None,
        max_pool: nn.MaxPool2d | int | None = None,
        skip: nn.Module | None = None,
        input_shape: tuple[int, ...] | None = None,
    ) -> Self:
        """The operator of an affine layer, its activation, a pool and a skip connection.

        The layer is not copied: scores are computed by it, gradients reach it, and a convolution
        stays one, with scores (N, C', H', W', R). Its slopes are built when they are asked for.

        | layer | call | regions, in order |
        | --- | --- | --- |
        | linear, convolution, nn.AvgPool2d | `(layer, "identity")` | w |
        | ReLU | `(layer)` | 0, w |
        | leaky ReLU, slope nu <= 1 | `(layer, "leaky_relu", negative_slope=nu)` | nu w, w |
        | two slopes p <= q | `(layer, (p, q))` | p w, q w |
        | absolute value | `(layer, "abs")` | -w, w |
        | max-pool of R pixels | `(nn.Identity(), "identity", max_pool=...)` | e_1 .. e_R |
        | channel pool of R units | `(layer, "identity", channel_pool=R)` | w_1 .. w_R |
        | maxout, layer of K R units | `(layer, "maxout", channel_pool=R)` | w_1 .. w_R |
        | pool of ReLU units | `(layer, "relu", channel_pool= or max_pool=)` | 0, w_1 .. |
        | pool of absolute values | `(layer, "abs", ...)` | -w_1 .., w_1 .. |
        | skip connection | `(..., skip=nn.Linear(...) or nn.Identity())` | w + s |
        | folded BatchNorm | `(nn.Sequential(layer, norm.eval()), ...)` | g w |

        Args:
            layer: Linear, Conv2d, BatchNorm in eval mode (its running statistics are used from
                then on, whatever its mode), AvgPool2d, Flatten, Identity or a Sequential of them.
            activation: a name above, slopes (p, q), or nn.Identity, nn.ReLU, nn.LeakyReLU.
            negative_slope: nu of "leaky_relu".
            channel_pool: R consecutive units, or channels, per window.
            max_pool: nn.MaxPool2d or its kernel size; padded pixels are regions of score -inf.
            skip: affine module whose output is added.
            input_shape: (C, H, W) or (D,) of one input, for the slopes where the layer does not
                fix it.

        Raises:
            TypeError: a module that is not known to be affine.
            ValueError: an activation that is not convex and piecewise affine; pools or shapes
                that do not fit; BatchNorm in training mode.

        >>> layer = nn.Linear(3, 4)
        >>> MaxAffine.from_layer(layer, "relu").slopes.shape
        torch.Size([4, 2, 3])
        """
        if activation == "maxout" and channel_pool is None:
            raise ValueError("maxout needs channel_pool, the number of pieces of a unit")
        return cls._of_pieces(
            layer,
            convex_pieces(activation, negative_slope),
            channel_pool=channel_pool,
            max_pool=max_pool,
            skip=skip,
            input_shape=input_shape,
        )

    @classmethod
    def _of_pieces(
        cls,
        layer: nn.Module,
        pieces: Pieces,
        *,
        channel_pool: int | None = None,
        max_pool: nn.MaxPool2d | int | None = None,
        **options: Any,
    ) -> Self:
        if channel_pool is not None:
            check_count(channel_pool, "channel_pool")
        pool = _as_pool(max_pool)
        maso = cls.__new__(cls)
        nn.Module.__init__(maso)
        maso.regions = LayerRegions(
            layer, pieces, channel_pool=channel_pool, max_pool=pool, **options
        )
        return maso

    def scores(self, x: Tensor) -> Tensor:
        """a (..., K, R) of x (..., D); (N, C', H', W', R) of images x (N, C, H, W)."""
        a: Tensor = self.regions(x)
        return a

    def forward(self, x: Tensor) -> Tensor:
        """z = max_r a (..., K), the layer's own output. Eq. 1."""
        return self.scores(x).amax(-1)

    def codes(self, x: Tensor) -> Tensor:
        """Region of every unit, (..., K) int64; the first one among equal scores. Eq. 2."""
        return self.scores(x).argmax(-1)

    def matrices(self, input_shape: tuple[int, ...] | None = None) -> tuple[Tensor, Tensor]:
        """Slopes A (K, R, D) and offsets B (K, R), for a convolution with K and D flattened.

        K = C' H' W' and D = C H W of `input_shape` (C, H, W), so that A holds K R D numbers.
        They are in torch's default dtype where the layer has no parameters.

        Raises: ValueError without the input_shape that the layer needs, or with another one.

        >>> A, B = MaxAffine.from_layer(nn.Conv2d(1, 2, 3), "abs").matrices((1, 4, 4))
        >>> A.shape, B.shape
        (torch.Size([8, 2, 16]), torch.Size([8, 2]))
        """
        if isinstance(self.regions, LayerRegions):
            return self.regions.matrices(input_shape)
        assert isinstance(self.regions, _DenseRegions)
        slopes, offsets = self.regions.slopes, self.regions.offsets
        if input_shape is not None and tuple(input_shape) != (slopes.shape[-1],):
            raise ValueError(f"input_shape must be ({slopes.shape[-1]},), got {input_shape}")
        return slopes, offsets

    @property
    def slopes(self) -> Tensor:
        """A (K, R, D), the centres of the power diagram."""
        return self.matrices()[0]

    @property
    def offsets(self) -> Tensor:
        """B (K, R)."""
        return self.matrices()[1]

    @property
    def num_units(self) -> int:
        """K, of the input shape that was given."""
        return int(self.offsets.shape[0])

    @property
    def num_regions(self) -> int:
        """R."""
        if isinstance(self.regions, LayerRegions):
            return self.regions.num_regions
        return int(self.offsets.shape[1])

    @property
    def input_dim(self) -> int:
        """D, of the input shape that was given."""
        if isinstance(self.regions, LayerRegions) and self.regions.input_shape is not None:
            return math.prod(self.regions.input_shape)
        return int(self.slopes.shape[-1])

    @property
    def squared_radii(self) -> Tensor:
        """rho_kr = |A_kr|^2 + 2 B_kr (K, R): region r minimises |x - A_kr|^2 - rho_kr."""
        return squared_radii(*self.matrices())

    def joint_cell(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Centre mu_t (..., D) and rho_t (...) of the joint cells of codes (..., K)."""
        return joint_cell(*self.matrices(), codes)

    def is_k_means(self, *, rtol: float = 1e-6) -> Tensor:
        """(K,) whether the unit's cells are the Voronoi cells of its slopes (Proposition 1)."""
        return is_k_means(*self.matrices(), rtol=rtol)

    def partition_equal(self, x: Tensor, *, rtol: float = 1e-6) -> Tensor:
        """(K,) whether every point x (N, D), or (N, C, H, W), lies in its nearest slope's cell."""
        return partition_equal(*self.matrices(), x.flatten(1) if x.ndim > 1 else x, rtol=rtol)


class _DenseRegions(nn.Module):
    """a_kr = <A_kr, x> + B_kr of given A and B."""

    slopes: Tensor
    offsets: Tensor

    def __init__(self, slopes: Any, offsets: Any) -> None:
        super().__init__()
        slopes = _as_floats(slopes, "slopes")
        if slopes.ndim != 3 or 0 in slopes.shape:
            raise ValueError(f"slopes must be (K, R, D), got shape {tuple(slopes.shape)}")
        if not bool(torch.isfinite(slopes).all()):
            raise ValueError("slopes must be finite, got NaN or infinity")
        offsets = slopes.new_zeros(slopes.shape[:2]) if offsets is None else offsets
        offsets = _as_floats(offsets, "offsets")
        if offsets.shape != slopes.shape[:2] or offsets.dtype != slopes.dtype:
            raise ValueError(
                f"offsets must be {tuple(slopes.shape[:2])} of {slopes.dtype}, got "
                f"{tuple(offsets.shape)} of {offsets.dtype}"
            )
        if not bool((offsets < math.inf).all()) or not bool(torch.isfinite(offsets).any(-1).all()):
            raise ValueError("offsets must be finite, or -inf for some regions of a unit")
        for name, value in (("slopes", slopes), ("offsets", offsets)):
            if isinstance(value, nn.Parameter):
                self.register_parameter(name, value)
            else:
                self.register_buffer(name, value)

    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            got = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"x must be a floating-point tensor, got {got}")
        if x.shape[-1:] != self.slopes.shape[-1:]:
            raise ValueError(f"x must be (..., {self.slopes.shape[-1]}), got {tuple(x.shape)}")
        flat = nn.functional.linear(x, self.slopes.flatten(0, 1), self.offsets.flatten())
        a: Tensor = flat.unflatten(-1, self.offsets.shape)
        return a


def _as_floats(value: Any, name: str) -> Tensor:
    x = value if isinstance(value, Tensor) else as_tensor(value, name).double()
    if not x.is_floating_point():
        raise ValueError(f"{name} must hold floating-point numbers, got dtype {x.dtype}")
    return x


def _as_pool(pool: nn.MaxPool2d | int | None) -> nn.MaxPool2d | None:
    """A pool without index output and with whole windows."""
    if pool is None:
        return None
    if not isinstance(pool, nn.MaxPool2d):
        check_count(pool, "max_pool")
        return nn.MaxPool2d(pool)
    if pool.ceil_mode or pool.return_indices:
        raise ValueError("max_pool must have ceil_mode=False and return_indices=False")
    return pool
