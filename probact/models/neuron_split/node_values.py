"""Which weights of the head a picture is about: nodes of a tree or masks, as signed values.

Symbols: N images; M nodes; K classes; n neurons; theta (K, n) weight of the head. For image i and
node m of class k, v_imj = sign_im theta_kj if neuron j is in the node, else 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from probact.arrays import as_tensor

__all__ = ["NodeTree", "NodeValues", "image_classes", "node_values"]


class NodeTree(Protocol):
    """Anything that says which neurons are in a node of a class, as (n,) booleans."""

    def mask(self, cls: int, name: str) -> Tensor:
        """Neurons (n,) of the node."""


class NodeValues(NamedTuple):
    """Signed weights v; `single` if neither the classes nor the nodes had an axis M."""

    values: Tensor  # (N, M, n) float64
    single: bool


def node_values(
    weight: Tensor,
    cls: object,
    neurons: object,
    *,
    num_images: int,
    tree: NodeTree | None = None,
    sign: object = None,
) -> NodeValues:
    """v (N, M, n) for classes and nodes given as `node_cam` takes them.

    Raises:
        TypeError, ValueError: as `node_cam` says.

    >>> weight = torch.tensor([[1.0, -2.0, 3.0]])
    >>> node_values(weight, 0, [False, True, False], num_images=1).values
    tensor([[[0., 2., 0.]]], dtype=torch.float64)
    """
    classes = image_classes(cls, num_images, len(weight))  # (N, 1) or (N, M)
    names = _names(neurons)
    if names is None:
        masks, single = _masks(neurons, num_images, weight.shape[1])  # (N or 1, M, n)
        if tree is not None:
            raise ValueError("tree= is for names of nodes, and neurons is a mask")
        nodes = masks.shape[1]
    else:
        nodes, single = len(names), isinstance(neurons, str)
    count = max(nodes, classes.shape[1])
    if {nodes, classes.shape[1]} - {1, count}:
        raise ValueError(
            f"cls has {classes.shape[1]} classes an image for {nodes} nodes of neurons; give one "
            "class an image, or one for each node"
        )
    classes = classes.expand(-1, count)
    if names is not None:
        names = names * (count // nodes)
        masks = _tree_masks(tree, names, classes, weight.shape[1])
    _refuse_empty(masks, names)
    masks, rows = masks.to(weight.device), weight[classes.to(weight.device)].double()
    values = torch.where(masks, rows, 0.0)  # (N, M, n)
    signs = _signs(values, names) if sign is None else _given_signs(sign, num_images, count)
    signed = torch.where(masks, rows * signs.to(rows)[..., None], 0.0)
    return NodeValues(signed, single and count == 1)


def image_classes(cls: object, num_images: int, num_classes: int) -> Tensor:
    """Classes (N, 1), or (N, M) if cls has two axes, from one class, (N,) or (N, M) of them.

    Raises:
        TypeError: not whole numbers.
        ValueError: another shape, or a class that is not there.

    >>> image_classes(3, num_images=2, num_classes=10)
    tensor([[3],
            [3]])
    """
    given = torch.tensor(cls) if isinstance(cls, int | float) else as_tensor(cls, "cls")
    if given.is_floating_point() or given.dtype == torch.bool:
        raise TypeError(f"cls must be whole numbers, got {given.dtype}")
    classes = given.long().cpu()
    if classes.ndim == 0:
        classes = classes.expand(num_images)
    if classes.ndim > 2 or len(classes) != num_images or 0 in classes.shape:
        raise ValueError(
            f"cls must be one class, or (N,) or (N, M) of them for N = {num_images} images, got "
            f"shape {tuple(given.shape)}"
        )
    wrong = classes[(classes < 0) | (classes >= num_classes)]
    if len(wrong):
        raise ValueError(f"cls must lie in 0 to {num_classes - 1}, got {int(wrong[0])}")
    return classes.reshape(num_images, -1)


def _names(neurons: object) -> list[str] | None:
    if isinstance(neurons, str):
        return [neurons]
    if isinstance(neurons, Sequence) and neurons and all(isinstance(n, str) for n in neurons):
        return [str(name) for name in neurons]
    return None


def _masks(neurons: object, num_images: int, width: int) -> tuple[Tensor, bool]:
    """(N or 1, M, n) booleans, and whether there was no axis M."""
    mask = as_tensor(neurons, "neurons")
    if mask.dtype != torch.bool:
        raise TypeError(f"neurons must be booleans or names of nodes, got {mask.dtype}")
    if not 1 <= mask.ndim <= 3 or mask.shape[-1] != width:
        raise ValueError(
            f"neurons must be (n,), (M, n) or (N, M, n) for the n = {width} inputs of the head, "
            f"got shape {tuple(mask.shape)}"
        )
    if mask.ndim == 3 and len(mask) not in (1, num_images):
        raise ValueError(f"neurons are for {len(mask)} images, x has {num_images}")
    wide = mask.reshape((1,) * (3 - mask.ndim) + tuple(mask.shape))
    if wide.shape[1] == 0:
        raise ValueError("neurons hold no node")
    return wide, mask.ndim == 1


def _tree_masks(tree: NodeTree | None, names: list[str], classes: Tensor, width: int) -> Tensor:
    """(N, M, n) booleans; the empty name is the root, every neuron."""
    if tree is None:
        raise ValueError(f"neurons {names} are names of nodes: give tree=")
    known: dict[tuple[int, str], Tensor] = {}
    for row in classes.tolist():
        for key in zip(row, names, strict=True):
            if key not in known:
                every = torch.ones(width, dtype=torch.bool)
                known[key] = as_tensor(tree.mask(*key), "mask of tree") if key[1] else every
            if known[key].shape != (width,) or known[key].dtype != torch.bool:
                raise ValueError(
                    f"tree must give ({width},) booleans, one for each input of the head, got "
                    f"shape {tuple(known[key].shape)} for node {key[1]!r} of class {key[0]}"
                )
    rows = [[known[k].cpu() for k in zip(row, names, strict=True)] for row in classes.tolist()]
    return torch.stack([torch.stack(row) for row in rows])


def _refuse_empty(masks: Tensor, names: list[str] | None) -> None:
    empty = (~masks.any(2)).nonzero()
    if len(empty):
        image, node = (int(i) for i in empty[0])
        name = "" if names is None else f" ({names[node]!r})"
        raise ValueError(f"neurons: node {node}{name} of image {image} has no neuron")


def _signs(values: Tensor, names: list[str] | None) -> Tensor:
    """By the first letter of names; of masks -1 where a weight is negative and none positive."""
    if names is not None:
        return torch.tensor([-1.0 if name.startswith("-") else 1.0 for name in names])
    negative = (values < 0.0).any(2) & ~(values > 0.0).any(2)
    return torch.where(negative, -1.0, 1.0)


def _given_signs(sign: object, num_images: int, count: int) -> Tensor:
    signs = torch.tensor(sign) if isinstance(sign, int | float) else as_tensor(sign, "sign")
    try:
        signs = signs.double().expand(num_images, count)
    except RuntimeError as error:
        raise ValueError(
            f"sign must be one number, (M,) or (N, M) for N = {num_images} images and M = {count} "
            f"nodes, got shape {tuple(signs.shape)}"
        ) from error
    if bool((signs.abs() != 1.0).any()):
        raise ValueError(f"sign must be 1 or -1, got {signs.flatten().tolist()[:6]}")
    return signs
