"""Passes from the images through one layer to the head, with gradients from the layer on only.

Symbols: x (N, C_in, H_in, W_in) images; A (N, C, H, W) the layer's output, reshaped; h (N, n) the
head's input. At the layer the graph is cut: what it gave becomes a leaf, and a copy of the leaf
goes on, since the next layer may work in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from probact.arrays import check_finite
from probact.capturing.passes import run
from probact.heads.search import named

__all__ = ["Cut", "Reshape", "cut_at", "frozen", "last_spatial"]

Reshape = Callable[[Tensor], Tensor]


class Cut(NamedTuple):
    """One pass: the leaf (N, ...) at the layer, its map A (N, C, H, W), the head's input h."""

    leaf: Tensor
    maps: Tensor  # without gradients
    features: Tensor  # (N, n), a function of the leaf


@contextmanager
def frozen(net: nn.Module) -> Iterator[None]:
    """Parameters that ask for no gradients meanwhile, so that no graph is kept before the cut."""
    asking = [  # inference tensors cannot be changed back
        p for p in net.parameters() if p.requires_grad and p.is_leaf and not p.is_inference()
    ]
    try:
        for parameter in asking:
            parameter.requires_grad_(False)
        with torch.enable_grad():
            yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)


def cut_at(
    net: nn.Module,
    layer: nn.Module,
    head: nn.Module,
    x: Tensor,
    *,
    reshape: Reshape | None,
    name: str,
) -> Cut:
    """One pass of x, cut at the layer; its last call counts, and so does the head's.

    Raises:
        ValueError: the layer was not called or its output is no map, or the head's input is not
            (N, n), averaged over positions, or does not depend on the layer.
    """
    leaves: list[Tensor] = []
    inputs: list[Tensor] = []

    def cut(_: nn.Module, args: Any, output: Any) -> Any:
        leaf = _tensor(output, name).detach().requires_grad_(True)
        leaves[:] = [leaf]
        inputs.clear()
        return (leaf.clone(), *output[1:]) if isinstance(output, tuple) else leaf.clone()

    with ExitStack() as hooks:
        hooks.callback(layer.register_forward_hook(cut).remove)
        hooks.callback(_on_head(head, lambda h: inputs.__setitem__(slice(None), [h])))
        run(net, [x.clone()], {}, "x")
    if not leaves:
        raise ValueError(f"layer {name!r} was not called in the pass")
    maps = _as_map(leaves[0], reshape, len(x), name)
    if not inputs or not inputs[0].requires_grad:
        raise ValueError(f"the head's input does not depend on layer {name!r}")
    return Cut(leaves[0], maps, _rows(inputs[0], head, len(x)))


def _on_head(head: nn.Module, catch: Callable[[Tensor], None]) -> Callable[[], None]:
    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        catch(args[0] if args else next(iter(kwargs.values())))

    return head.register_forward_pre_hook(before, with_kwargs=True).remove


def _tensor(output: Any, name: str) -> Tensor:
    first = output[0] if isinstance(output, tuple) and output else output
    if not isinstance(first, Tensor) or not first.is_floating_point():
        raise ValueError(f"layer {name!r} gave {type(first).__name__}, expected a float tensor")
    return first


def _as_map(leaf: Tensor, reshape: Reshape | None, rows: int, name: str) -> Tensor:
    maps = leaf.detach()
    if reshape is not None:
        maps = reshape(maps)
    if not isinstance(maps, Tensor) or maps.ndim != 4 or len(maps) != rows or 0 in maps.shape:
        shape = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
        hint = "" if reshape is not None else "; for tokens (N, T, D) give reshape='tokens'"
        raise ValueError(
            f"layer {name!r} gave {shape}, no map (N, C, H, W) of {rows} images{hint}"
        )
    check_finite(maps, f"the output of layer {name!r}")
    return maps


def _rows(value: Tensor, head: nn.Module, rows: int) -> Tensor:
    """The head's input as (N, n): maps and tokens averaged over their positions."""
    if isinstance(head, nn.Conv2d) and value.ndim == 4:
        h = value.mean((2, 3))
    else:
        h = value if value.ndim == 2 else value.flatten(1, -2).mean(1)
    if len(h) != rows:
        raise ValueError(f"the head's input has {len(h)} rows for {rows} images")
    return h


def last_spatial(
    net: nn.Module, head: nn.Module, x: Tensor, reshape: Reshape | None
) -> tuple[str, nn.Module]:
    """The last layer with a map as output, of more than one position, that the head depends on.

    Depends: the gradient of the head's input is not zero everywhere on the map. The last block of
    a transformer with a class token fails this, since nothing reads the patches that it gives.

    Raises: ValueError if there is none.
    """
    calls: list[tuple[str, nn.Module, Tensor]] = []
    seen: dict[str, Any] = {"before": 0}

    def record(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def after(module: nn.Module, _: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) and output else output
            if isinstance(first, Tensor) and _is_spatial(first, reshape):
                calls.append((name, module, first))

        return after

    def at_head(h: Tensor) -> None:
        seen.update(before=len(calls), h=h)

    with ExitStack() as hooks:
        for name, module in named(net).items():
            hooks.callback(module.register_forward_hook(record(name)).remove)
        hooks.callback(_on_head(head, at_head))
        run(net, [x.clone().requires_grad_(True).clone()], {}, "x")
    if "h" not in seen:
        raise ValueError("the head was not called in the pass")
    features = _rows(seen["h"], head, len(x))
    probe = torch.linspace(1.0, 2.0, features.shape[1]).to(features)
    for name, module, output in reversed(calls[: seen["before"]]):
        if output.requires_grad:
            (g,) = torch.autograd.grad(
                (features * probe).sum(), output, retain_graph=True, allow_unused=True
            )
            if g is not None and bool((g if reshape is None else reshape(g)).any()):
                return name, module
    hint = "" if reshape is not None else "; for a transformer give reshape='tokens'"
    raise ValueError(f"the network has no layer with a map as output before its head{hint}")


def _is_spatial(output: Tensor, reshape: Reshape | None) -> bool:
    if reshape is None:
        return output.ndim == 4 and output.shape[2] * output.shape[3] > 1
    try:
        maps = reshape(output.detach())
    except (RuntimeError, ValueError, IndexError, TypeError):
        return False  # an output of another form, which this function is not for
    return isinstance(maps, Tensor) and maps.ndim == 4 and maps.shape[2] * maps.shape[3] > 1
