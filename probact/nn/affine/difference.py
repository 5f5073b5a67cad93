r"""Differences of two max-affine operators: piecewise-affine units that are not convex.

Symbols: z = max_r a_r - max_s a'_s. A continuous piecewise-affine unit that is not convex is such
a difference, never one maximum: relu6(u) = relu(u) - relu(u - 6).
"""

from typing import Any, Self

from torch import Tensor, nn

from probact.arrays import check_count
from probact.nn.affine.convex_pieces import difference_pieces
from probact.nn.affine.max_affine import MaxAffine

__all__ = ["Difference"]


class Difference(nn.Module):
    """plus(x) - minus(x), of operators or of their soft versions.

    Raises: TypeError where one of the two is no module.

    >>> import torch
    >>> clipped = Difference.from_layer(nn.Linear(3, 4), "relu6")
    >>> bool((clipped(100.0 * torch.randn(9, 3)) <= 6.0).all())
    True
    """

    def __init__(self, plus: nn.Module, minus: nn.Module) -> None:
        super().__init__()
        for name, part in (("plus", plus), ("minus", minus)):
            if not isinstance(part, nn.Module):
                raise TypeError(f"{name} must be a module, got {type(part).__name__}")
        self.plus, self.minus = plus, minus

    @classmethod
    def from_layer(
        cls,
        layer: nn.Module,
        activation: Any,
        *,
        negative_slope: float = 0.01,
        channel_pool: int | None = None,
        max_pool: nn.MaxPool2d | int | None = None,
        input_shape: tuple[int, ...] | None = None,
    ) -> Self:
        """relu6, hardtanh, "min" (of a pool), leaky_relu with nu > 1, or slopes p > q of a layer.

        Options as in `MaxAffine.from_layer`; the layer is shared by both parts. A pool is the
        maximum of the activations, or the minimum of the units for "min".

        Raises:
            TypeError: a module that is not known to be affine.
            ValueError: another activation, or a pool of one that does not increase.

        >>> import torch
        >>> pool = Difference.from_layer(nn.Linear(3, 4), "min", channel_pool=2)
        >>> pool(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
        """
        pieces = difference_pieces(activation, negative_slope)
        pooled = channel_pool is not None or max_pool is not None
        if pooled and not pieces.pools:
            raise ValueError(f"a maximum over {activation!r} is no difference of two maxima here")
        if channel_pool is not None:
            check_count(channel_pool, "channel_pool")
        options: dict[str, Any] = {
            "channel_pool": channel_pool,
            "max_pool": max_pool,
            "input_shape": input_shape,
        }
        of_pieces = MaxAffine._of_pieces
        return cls(
            of_pieces(layer, pieces.plus, **options), of_pieces(layer, pieces.minus, **options)
        )

    def forward(self, x: Tensor) -> Tensor:
        """z (..., K)."""
        value: Tensor = self.plus(x) - self.minus(x)
        return value
