"""The linear head of a classifier, from whatever holds it.

Symbols: weight (K, n), one row per class; bias (K,). A head is found in a network (rules in
`head_search`), a state dict, a weight file, or is given as matrices. The bias is never mixed into
the weight.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from probact.arrays import as_matrix, as_tensor, check_finite, floats
from probact.capturing.passes import unwrap
from probact.files.checkpoints import inner_state_dict, read_tensors, tensor_shapes
from probact.heads.search import CONVENTIONAL, bare_name, no_such_name, search

__all__ = ["Head", "find_head"]

Shape = tuple[int, ...]
_bias_of = {"weight": "bias", "kernel": "bias", "W": "b", "arr_0": "arr_1"}


class Head(NamedTuple):
    """Linear head: weight (K, n) and bias (K,) are detached copies; `module` is the network's."""

    name: str
    weight: Tensor
    bias: Tensor | None = None
    module: nn.Module | None = None
    labels: tuple[str, ...] | None = None


def find_head(
    obj: object,
    *,
    example: object = None,
    name: str | None = None,
    num_classes: int | None = None,
    dequantize: bool = False,
) -> Head:
    """The linear head of a network, state dict, weight file, (weight, bias) or (K, n) matrix.

    Networks: torch, torchvision, timm, transformers, wrapped or compiled; `example` is one input
    (a tuple for several, a dict for named ones) that lets the head be seen at work; without it
    names decide. `name` may point to a block, of which the last linear layer is taken. The network
    is left as it was.

    Raises:
        LookupError: no head, no unique head (candidates are listed with their shapes), or a wrong
            `name`.
        ValueError, TypeError: not finite, not 2-D, quantised without `dequantize`, unreadable or
            hostile file.
        FileNotFoundError: no such file.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 10))
    >>> head = find_head(net)
    >>> head.name, head.weight.shape, head.bias.shape
    ('2', torch.Size([10, 8]), torch.Size([10]))
    """
    if isinstance(obj, Head):
        return obj
    with torch.inference_mode(False):  # weights to compute with, whatever the caller's mode
        return _find(obj, example, name, num_classes, dequantize)


def _find(
    obj: object, example: object, name: str | None, num_classes: int | None, dequantize: bool
) -> Head:
    if isinstance(obj, nn.Module):
        return _from_network(obj, example, name, num_classes, dequantize)
    if example is not None:
        raise ValueError("example is an input for a network; obj is none")
    if isinstance(obj, str | os.PathLike):
        key, bias_key = _choose(tensor_shapes(obj), name, num_classes)
        held = read_tensors(obj, [k for k in (key, bias_key) if k is not None])
        return _from_tensors(held, key, bias_key, num_classes, dequantize)
    if isinstance(obj, Mapping):
        tensors = inner_state_dict({k: _maybe_tensor(v) for k, v in obj.items()})
        shapes = {k: tuple(v.shape) for k, v in tensors.items()}
        key, bias_key = _choose(shapes, name, num_classes)
        return _from_tensors(tensors, key, bias_key, num_classes, dequantize)
    if isinstance(obj, tuple) and len(obj) != 2:
        raise ValueError(f"a tuple must be (weight, bias), got {len(obj)} entries")
    weight, bias = obj if isinstance(obj, tuple) else (obj, None)
    if isinstance(weight, Tensor) and weight.is_quantized:
        weight = _plain(weight, "weight", dequantize)
    return _head(name or "weight", as_matrix(weight, "weight"), bias, num_classes)


def _from_network(
    net: nn.Module, example: object, name: str | None, num_classes: int | None, dequantize: bool
) -> Head:
    net = unwrap(net)
    found, module = search(net, name=name, num_classes=num_classes, example=example)
    label = f"weight of head {found!r}"
    with torch.no_grad(), _refreshed(module):
        weight, bias = (_parameter(module, part) for part in ("weight", "bias"))
        weight = _plain(weight, label, dequantize)
        matrix = as_matrix(weight.flatten(1), label)  # 1x1 convolution: (K, n, 1, 1)
        bias = None if bias is None else _plain(bias, f"bias of head {found!r}", dequantize)
        head = _head(found, matrix, bias, num_classes)
    return head._replace(module=module, labels=_labels(net, len(head.weight)))


def _parameter(module: nn.Module, part: str) -> Any:
    value = getattr(module, part)
    return value() if callable(value) and not isinstance(value, Tensor) else value


@contextmanager
def _refreshed(module: nn.Module) -> Iterator[None]:
    """The module as its forward sees it: weights that hooks rebuild before each pass are rebuilt.

    In eval mode, because spectral normalisation changes its buffers when read in train mode.
    """
    modes = [(part, part.training) for part in module.modules()]
    held = dict(vars(module))
    try:
        for part, _ in modes:
            part.training = False
        for hook in module._forward_pre_hooks.values():
            if type(hook).__module__.startswith("torch.nn.utils."):  # weight_norm, prune, ...
                hook(module, ())
        yield
    finally:
        vars(module).update({k: held[k] for k in ("weight", "bias") if k in held})
        for part, mode in modes:
            part.training = mode


def _plain(weight: Any, name: str, dequantize: bool) -> Any:
    """The weight as plain floats; quantised ones only if asked for."""
    if not isinstance(weight, Tensor):
        return weight
    if is_lazy(weight):
        raise ValueError(f"{name} is lazy and has no values yet; run the network once")
    foreign = type(weight).__module__.startswith("torchao")
    stored = weight.dtype in floats or weight.dtype == torch.bool or weight.is_complex()
    if stored and not (weight.is_quantized or foreign):
        return weight
    if not dequantize:
        raise ValueError(f"{name} is quantised ({weight.dtype}); pass dequantize=True to read it")
    if not (weight.is_quantized or foreign):
        raise ValueError(f"{name} is stored as {weight.dtype} with a scale that is not known here")
    return weight.detach().dequantize()


def _head(name: str, weight: Tensor, bias: object, num_classes: int | None) -> Head:
    """A checked head; a bias as long as the second axis only means (n, K): transpose."""
    if bias is not None:
        bias = as_tensor(bias, "bias")
        if bias.ndim == 1 and len(bias) == weight.shape[1] != weight.shape[0]:
            warnings.warn(
                f"weight {tuple(weight.shape)} of head {name!r} has the {len(bias)} classes of "
                "its bias on the second axis: transposed",
                stacklevel=4,
            )
            weight = weight.T.contiguous()
        if bias.ndim != 1 or len(bias) != len(weight):
            shapes = f"got bias {tuple(bias.shape)}, weight {tuple(weight.shape)}"
            raise ValueError(f"bias must have one entry per row of weight: {shapes}")
        check_finite(bias[:, None], "bias")
        bias = bias.clone() if bias.dtype in floats else bias.double()
    if num_classes is not None and len(weight) != num_classes:
        raise ValueError(f"weight has {len(weight)} rows, num_classes={num_classes} was asked")
    return Head(name, weight, bias)


def _labels(net: nn.Module, classes: int) -> tuple[str, ...] | None:
    """`config.id2label` or `pretrained_cfg["label_names"]`, if it names each class."""
    table = getattr(getattr(net, "config", None), "id2label", None)
    if isinstance(table, Mapping):
        names = {str(k): str(v) for k, v in table.items()}
        if set(names) == {str(k) for k in range(classes)}:
            return tuple(names[str(k)] for k in range(classes))
    settings = getattr(net, "pretrained_cfg", None)
    listed = settings.get("label_names") if isinstance(settings, Mapping) else None
    if isinstance(listed, list | tuple) and len(listed) == classes:
        return tuple(str(label) for label in listed)
    return None


def _maybe_tensor(value: object) -> object:
    numbers = isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
    return as_tensor(value, "entry of the state dict") if numbers else value


def _from_tensors(
    held: Mapping[str, Tensor],
    key: str,
    bias_key: str | None,
    num_classes: int | None,
    dequantize: bool,
) -> Head:
    weight = _plain(held[key], repr(key), dequantize)
    bias = None if bias_key is None else _plain(held[bias_key], repr(bias_key), dequantize)
    name = bare_name(key).removesuffix(".weight").removesuffix(".kernel")
    return _head(name, as_matrix(weight.flatten(1), repr(key)), bias, num_classes)


def _choose(
    shapes: Mapping[str, Shape], name: str | None, num_classes: int | None
) -> tuple[str, str | None]:
    """Keys of weight and bias: the name asked for, a conventional one, the only candidate."""
    clean = {bare_name(key): key for key in shapes}
    every = {k: shapes[key] for k, key in clean.items() if _is_head_shape(shapes[key])}
    found = [k for k in every if k.rpartition(".")[2] in _bias_of] or list(every)
    found = [k for k in found if num_classes is None or num_classes in every[k][:2]]
    found.sort(key=_by_number)
    groups = [bare_name(name)] if name is not None else list(CONVENTIONAL)
    for group in groups:
        inside = [k for k in found if k == group or k.startswith(f"{group}.")]
        if inside:
            return _with_bias(clean, inside[-1])
    if name is not None:
        parents = {k.rpartition(".")[0] for k in clean} | set(clean)
        if groups[0] in parents:
            raise LookupError(f"{name!r} holds no head matrix. {_candidates(every, num_classes)}")
        raise no_such_name("tensor or layer", name, sorted(parents))
    if len(found) != 1:
        raise LookupError(_candidates(every, num_classes))
    return _with_bias(clean, found[0])


def _by_number(key: str) -> list[tuple[int, str]]:
    """Order in which 'classifier.10' comes after 'classifier.9'."""
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in key.split(".")]


def _is_head_shape(shape: Shape) -> bool:
    return len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1) and shape[1] > 1)


def _with_bias(clean: Mapping[str, str], key: str) -> tuple[str, str | None]:
    parent, dot, last = key.rpartition(".")
    return clean[key], clean.get(f"{parent}{dot}{_bias_of.get(last, '')}")


def _candidates(every: Mapping[str, Shape], num_classes: int | None) -> str:
    if not every:
        return "no linear head: no matrix (K, n) nor 1x1 kernel (K, n, 1, 1) among the tensors"
    listed = ", ".join(f"{key} {shape}" for key, shape in list(every.items())[-12:])
    wanted = "" if num_classes is None else f" with num_classes={num_classes}"
    return f"cannot tell the head{wanted}; give name=. Candidates: {listed}"
