"""Reading one layer while a network runs.

Symbols: n rows of a batch; D features; (n, C, H, W) maps; (n, T, D) tokens. A tap turns a batch
into features (n, D) by a hook on the layer: what the layer gave is copied at once, since the next
layer may work in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from probact.arrays import check_finite
from probact.capturing.batches import Batch
from probact.capturing.passes import place, run
from probact.heads.search import search, submodule

__all__ = ["Pool", "Tap", "tapped"]

Pool = Callable[[Any], Tensor]
Tap = Callable[[Batch, int], Tensor]


@contextmanager
def tapped(
    net: nn.Module, layer: str | None, pool: Pool | None, first: Batch, device: torch.device | None
) -> Iterator[Tap]:
    """A function from a batch and the number of its first row to features (n, D).

    The head's input without `layer`, the layer's output with it; the last call counts. The
    function raises as `capture` says; the hook goes when the block ends.

    >>> net, batch = nn.Linear(2, 3), Batch((torch.zeros(4, 2),), {}, None, 4)
    >>> with tapped(net, None, None, batch, None) as tap:
    ...     tap(batch, 0).shape
    torch.Size([4, 2])
    """
    if layer is None:
        name, module = search(net, name=None, num_classes=None, example=_example(first))
        what = f"the input of head {name!r}"
    else:
        module, what = submodule(net, layer), f"the output of layer {layer!r}"
    caught: list[Tensor] = []

    def catch(value: Any) -> None:
        caught[:] = [_rows(value, module, what, pool, of_input=layer is None)]

    def tap(batch: Batch, row: int) -> Tensor:
        caught.clear()
        args, kwargs = _placed(batch, net, device, row)
        run(net, args, kwargs, f"data from row {row} on")
        if not caught:
            raise LookupError(f"{what} never came: the module was not called in the pass")
        if len(caught[0]) != batch.rows:
            raise ValueError(f"{what} has {len(caught[0])} rows for {batch.rows} rows of data")
        check_finite(caught[0], what, offset=row)
        return caught[0]

    hook = _hooked(module, catch, on_input=layer is None)
    try:
        yield tap
    finally:
        hook.remove()


def _hooked(module: nn.Module, catch: Callable[[Any], None], *, on_input: bool) -> RemovableHandle:
    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        catch(args[0] if args else next(iter(kwargs.values())))

    def after(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        catch(output)

    if on_input:
        return module.register_forward_pre_hook(before, with_kwargs=True)
    return module.register_forward_hook(after)


def _placed(
    batch: Batch, net: nn.Module, device: torch.device | None, row: int
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Copies of the inputs as the network takes them, which must not overflow its dtype."""

    def placed(x: Tensor) -> Tensor:
        copy = place(x, net, device)
        if copy.dtype != x.dtype:
            check_finite(copy, f"data, in the network's {copy.dtype},", offset=row)
        return copy

    return [placed(x) for x in batch.args], {k: placed(x) for k, x in batch.kwargs.items()}


def _example(batch: Batch) -> tuple[Tensor, ...] | dict[str, Tensor]:
    """Two rows are enough to see which module comes last."""
    if batch.args:
        return tuple(x[:2] for x in batch.args)
    return {k: x[:2] if x.ndim else x for k, x in batch.kwargs.items()}


def _rows(
    value: Any, module: nn.Module, what: str, pool: Pool | None, *, of_input: bool
) -> Tensor:
    """Features (n, D) of one batch, in float32 or float64."""
    x = value if pool is None else pool(value)
    if not isinstance(x, Tensor):
        kind = type(x).__name__
        raise ValueError(f"{what} is a {kind}, no tensor; give pool=, a function to (N, D)")
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    if pool is None and x.ndim > 2 and _is_map(x, module, of_input=of_input):
        x = x.flatten(2).mean(2)  # (n, C)
    if x.ndim != 2 or x.shape[1] == 0 or x.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"{what} has shape {tuple(x.shape)} and dtype {x.dtype}, expected floats (N, D); give "
            "pool=, for tokens (N, T, D) for instance pool=lambda tokens: tokens.mean(1)"
        )
    return x.detach().clone()


def _is_map(x: Tensor, module: nn.Module, *, of_input: bool) -> bool:
    """Whether axis 1 of x (n, C, ...) holds channels, by the last layer that knows its width.

    Axes alone cannot tell (N, C, L) from (N, T, D): where nothing in the module knows, tokens are
    assumed, and four axes are a map unless a `Linear` or `LayerNorm` works on the last of them.
    """
    if of_input:
        return isinstance(module, nn.Conv2d)
    widths = [w for part in module.modules() if (w := _width(part)) is not None]
    if not widths:
        pooled = any("Pool1d" in type(part).__name__ for part in module.modules())
        return x.ndim > 3 or pooled
    width, of_last_axis = widths[-1]
    first, last = x.shape[1] == width, x.shape[-1] == width
    if first == last:  # a square, or a concatenation of several layers
        return not of_last_axis or (x.ndim > 3 and not last)
    return first


def _width(module: nn.Module) -> tuple[int, bool] | None:
    """Channels of the module's output, and whether they are its last axis."""
    if isinstance(module, nn.Linear):
        return module.out_features, True
    if isinstance(module, nn.LayerNorm):
        return int(module.normalized_shape[-1]), True
    for name in ("out_channels", "num_features", "num_channels"):
        if isinstance(width := getattr(module, name, None), int):
            return width, False
    return None
