r"""What a node of neurons sees: Smooth Grad-CAM++ of a part of a class's score.

Symbols: h (N, n) input of the head; theta (K, n) its weight; S a node of class k. The score is

    s = sign sum_{j in S} theta_kj h_j

without the bias. Grad-CAM++ keeps positive gradients only, so a node of negative weights needs
sign = -1: its map shows what lowers the class's score. Without it the map is zero wherever the
gradient keeps the sign of the weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from probact.arrays import as_number, as_tensor, check_count, check_finite, check_seed
from probact.capturing.passes import place, undisturbed, unwrap
from probact.heads import Head, find_head
from probact.heads.search import named, submodule
from probact.models.neuron_split.cam_passes import Cut, Reshape, cut_at, frozen, last_spatial
from probact.models.neuron_split.gap_cam import gap_cam, largest_one, moment_cam
from probact.models.neuron_split.node_values import NodeTree, node_values
from probact.models.neuron_split.token_grid import token_grid

__all__ = ["node_cam"]


def node_cam(
    net: nn.Module,
    x: Tensor,
    cls: object,
    neurons: object,
    *,
    tree: NodeTree | None = None,
    sign: object = None,
    layer: str | nn.Module | None = None,
    head: str | Head | None = None,
    reshape: Literal["tokens"] | Callable[[Tensor], Tensor] | None = None,
    num_samples: int = 4,
    noise: float = 0.3,
    seed: int = 0,
    closed_form: bool | None = None,
    normalize: bool = True,
) -> Tensor:
    """Maps (N, H, W) of what raises, or lowers, the part of a score that some neurons carry.

    (N, M, H, W) for M nodes at once. H, W and the dtype: the layer's map, the dtype of x.

    Args:
        x: images (N, C_in, H_in, W_in), as the network takes them.
        cls: one class, (N,) a class for each image, or (N, M) one for each image and node.
        neurons: a node's name ("+++", "" for all neurons) or a list of M names with `tree`; or
            booleans (n,), (M, n) or (N, M, n).
        tree: what `split_tree` gives, or anything with `mask(cls, name)`.
        sign: 1 or -1, or (M,) or (N, M) of them. None: -1 for names that begin with "-"; of a
            mask -1 if its weights hold a negative and no positive one, so 1 for mixed signs.
        layer: a module or its name. None: the last one with a map of more than one position as
            output that the head depends on.
        head: name of the head, as for `find_head`.
        reshape: from the layer's output to (N, C, H, W), for gradients too, so only moving and
            dropping entries; "tokens" drops class and register tokens (`token_grid`).
        num_samples, noise, seed: noisy passes, the standard deviation of the normal noise in
            units of x, and its seed.
        closed_form: one pass for all nodes, possible if the head's input is the layer's map
            averaged over positions. None: if so in this pass, gradients otherwise; True: or an
            error; False: never.
        normalize: every map over its largest value. False: maps of different nodes and images
            can be compared.

    The network is left as it was: hooks, modes, buffers, gradients, `requires_grad`.

    Raises:
        ValueError: NaN or infinity in x, a class that is not there, a node without neurons, masks
            of another width, a quantised head, no layer with a map, a layer that the head does not
            depend on, `closed_form=True` where it does not hold.
        LookupError: no head, or no such layer.
        TypeError: arguments of other kinds.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ...                     nn.Linear(4, 2))
    >>> largest = net[4].weight[1] >= net[4].weight[1].median()
    >>> node_cam(net, torch.rand(3, 1, 8, 8), 1, largest).shape
    torch.Size([3, 6, 6])
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"net must be a torch module, got {type(net).__name__}")
    check_count(num_samples, "num_samples")
    check_seed(seed)
    noise = as_number(noise, "noise", inclusive=True)
    net, x = unwrap(net), _images(x)
    found = head if isinstance(head, Head) else find_head(net, example=x[:1], name=head)
    if found.module is None:
        raise ValueError("head must be a module of the network, got weights alone")
    values, single = node_values(
        found.weight, cls, neurons, num_images=len(x), tree=tree, sign=sign
    )
    grid = _grid(reshape, x)
    with undisturbed(net), frozen(net):
        inputs = place(x, net)
        name, module = _layer(net, found.module, layer, inputs, grid)
        look = partial(cut_at, net, module, found.module, reshape=grid, name=name)
        noisy = _noisy(inputs, noise, num_samples, seed)
        maps = _maps(look, inputs, noisy, values, grid, closed_form)
    maps = (largest_one(maps) if normalize else maps).to(x.device, x.dtype)
    return maps[:, 0] if single else maps


def _maps(
    look: Callable[[Tensor], Cut],
    inputs: Tensor,
    noisy: Iterator[Tensor],
    values: Tensor,
    grid: Reshape | None,
    closed_form: bool | None,
) -> Tensor:
    """(N, M, H, W) float64, by one pass of the inputs or by noisy ones."""
    clean = look(inputs)
    averages = closed_form is not False and _is_average(clean, grid)
    if averages:
        return gap_cam(clean.maps, values)
    if closed_form:
        raise ValueError("closed_form=True: the head's input is not the layer's map averaged")
    return moment_cam(clean.maps, _moments(map(look, noisy), values, grid))


def _images(x: object) -> Tensor:
    images = as_tensor(x, "x")
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"x must be images (N, C, H, W), got shape {tuple(images.shape)}")
    if not images.is_floating_point():
        raise ValueError(f"x must be floats as the network takes them, got {images.dtype}")
    check_finite(images, "x")
    return images


def _grid(reshape: object, x: Tensor) -> Reshape | None:
    if reshape == "tokens":
        return partial(token_grid, image_size=(int(x.shape[2]), int(x.shape[3])))
    if reshape is not None and not callable(reshape):
        raise TypeError(f"reshape must be 'tokens' or a function, got {reshape!r}")
    return reshape


def _layer(
    net: nn.Module, head: nn.Module, layer: object, x: Tensor, grid: Reshape | None
) -> tuple[str, nn.Module]:
    """Name and module of the target layer."""
    if layer is None:
        return last_spatial(net, head, x[:1], grid)
    if isinstance(layer, str) and layer:
        return layer, submodule(net, layer)
    if not isinstance(layer, nn.Module):
        raise TypeError(f"layer must be a module or its name, got {layer!r}")
    name = next((name for name, module in named(net).items() if module is layer), None)
    if name is None:
        raise LookupError(f"layer ({type(layer).__name__}) is no module of the network")
    return name, layer


def _is_average(cut: Cut, grid: Reshape | None) -> bool:
    """Whether h is the map averaged over positions: its values, and the derivative of each h_j."""
    maps, h = cut.maps, cut.features
    if maps.shape[1] != h.shape[1]:
        return False
    top = maps.abs().amax((2, 3)).double()
    tolerance = 8.0 * torch.finfo(maps.dtype).eps
    if bool(((maps.double().mean((2, 3)) - h.double()).abs() > tolerance * top).any()):
        return False
    probe = torch.linspace(1.0, 2.0, h.shape[1]).to(h)
    (g,) = torch.autograd.grad((h * probe).sum(), cut.leaf, retain_graph=True)
    g = g if grid is None else grid(g)
    share = (probe.double() / (maps.shape[2] * maps.shape[3]))[:, None, None]
    return bool(((g.double() - share).abs() <= tolerance * share).all())


def _noisy(x: Tensor, noise: float, num_samples: int, seed: int) -> Iterator[Tensor]:
    generator = Generator(x.device).manual_seed(seed)
    for _ in range(num_samples if noise > 0.0 else 1):
        drawn = torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
        yield x + noise * drawn


def _moments(
    cuts: Iterable[Cut], values: Tensor, grid: Reshape | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Means over passes of the first three powers of ds / dA, each (N, M, C, H, W) float64."""
    sums: list[Tensor] = []
    count = 0
    for cut in cuts:
        count += 1
        scores = torch.einsum("nmj,nj->m", values.to(cut.features), cut.features)
        gradients = [
            torch.autograd.grad(score, cut.leaf, retain_graph=True)[0] for score in scores
        ]
        g = torch.stack([g if grid is None else grid(g) for g in gradients], 1).double()
        powers = [g, g.square(), g.pow(3)]
        sums = [a + b for a, b in zip(sums, powers, strict=True)] if sums else powers
    first, second, third = (total / count for total in sums)
    return first, second, third
