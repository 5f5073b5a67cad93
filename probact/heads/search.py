"""Which module of a network is its linear head.

A candidate is a `Linear` or an ungrouped 1x1 `Conv2d`, quantised or not. The rules, in order: the
name asked for; `get_classifier()`; `pretrained_cfg["classifier"]`; with an example, the last
candidate whose output equals the network's, else the last that ran; conventional names; the only
candidate. None fits: `LookupError`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from probact.arrays import as_tensor
from probact.capturing.passes import place, run, undisturbed

__all__ = ["CONVENTIONAL", "bare_name", "named", "no_such_name", "search", "submodule"]

CONVENTIONAL = (
    *("fc", "head.fc", "classifier", "heads.head", "head", "last_linear", "head.linear", "head.l"),
    *("classif", "heads", "output", "logits", "lm_head", "score", "linear"),
)
Named = tuple[str, nn.Module]


def bare_name(name: str) -> str:
    """The name without what DataParallel and `torch.compile` put in front or between.

    >>> bare_name("module._orig_mod.layer4._orig_mod.0")
    'layer4.0'
    """
    return re.sub(r"^(module\.)+", "", _eager_name(name))


def _eager_name(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def named(net: nn.Module) -> dict[str, nn.Module]:
    """Submodules by bare name, the outer one where a compiled module is in the way."""
    modules: dict[str, nn.Module] = {}
    for name, module in net.named_modules():
        modules.setdefault(_eager_name(name), module)
    return modules


def no_such_name(what: str, name: str, known: Iterable[str]) -> LookupError:
    """The error for a name that is not there, with the close ones."""
    names = [n for n in known if n]
    near = get_close_matches(name, names, n=3) or names[:10]
    return LookupError(f"no {what} {name!r}; close names: {', '.join(near) or 'none'}")


def submodule(net: nn.Module, name: str) -> nn.Module:
    """The submodule of that name, wrapper prefixes aside.

    Raises:
        LookupError: none; close names are listed.
    """
    modules = named(net)
    for trial in (name, bare_name(name)):
        if trial in modules:
            return modules[trial]
        try:
            return net.get_submodule(trial)  # a shared module under its second name
        except AttributeError:
            continue
    raise no_such_name("layer", name, modules)


def _outputs(module: nn.Module) -> int | None:
    """Number of outputs K of a candidate; None for any other module."""
    # torch's quantised layers have weight(); asked of the class, as reading .weight may compute it
    read = callable(getattr(type(module), "weight", None)) and hasattr(module, "scale")
    if isinstance(module, nn.Linear) or (read and hasattr(module, "out_features")):
        return int(module.out_features)  # type: ignore[arg-type]
    if isinstance(module, nn.Conv2d) or (read and hasattr(module, "out_channels")):
        pointwise = module.kernel_size == (1, 1) and module.groups == 1
        return int(module.out_channels) if pointwise else None  # type: ignore[arg-type]
    return None


def _fits(module: nn.Module, num_classes: int | None) -> bool:
    width = _outputs(module)
    return width is not None and num_classes in (None, width)


def _last(net: nn.Module, part: object, num_classes: int | None) -> Named | None:
    """Name and module of the last candidate registered in `part` of the network."""
    inside = list(part.modules()) if isinstance(part, nn.Module) else []
    found = [module for module in inside if _fits(module, num_classes)]
    if not found:
        return None
    pairs = (pair for pair in _candidates(net, num_classes) if pair[1] is found[-1])
    return next(pairs, ("", found[-1]))


def _candidates(net: nn.Module, num_classes: int | None = None) -> list[Named]:
    """Names and modules of the candidates, in order of registration."""
    pairs = net.named_modules()
    return [(_eager_name(name), module) for name, module in pairs if _fits(module, num_classes)]


def search(net: nn.Module, *, name: str | None, num_classes: int | None, example: object) -> Named:
    """Name and module of the head, by the rules above.

    Raises:
        LookupError: no rule finds one; the candidates are listed with their shapes.
        ValueError: the head asked for by name has another number of classes.
    """
    if name is not None:
        return _by_name(net, name, num_classes)
    found = _declared(net, num_classes)
    if found is None and example is not None:
        found = _executed(net, example, num_classes)
    if found is None:
        found = _conventional(net, num_classes)
    if found is None:
        pairs = _candidates(net, num_classes)
        if len(pairs) != 1:
            raise LookupError(_listing(net, num_classes, example))
        found = pairs[0]
    return found


def _by_name(net: nn.Module, name: str, num_classes: int | None) -> Named:
    module = submodule(net, name)
    found = _last(net, module, num_classes)
    if found is None and (width := _outputs(module)) is not None:
        raise ValueError(f"head {name!r} has {width} classes, num_classes={num_classes} was asked")
    if found is None:
        kind = type(module).__name__
        raise LookupError(f"{name!r} ({kind}) is no head. {_listing(net, num_classes, None)}")
    return found


def _declared(net: nn.Module, num_classes: int | None) -> Named | None:
    """What `get_classifier()` or `pretrained_cfg["classifier"]` of the network say (timm)."""
    if callable(ask := getattr(net, "get_classifier", None)):
        part = _first(ask(), "get_classifier()")
        if isinstance(part, nn.Identity):
            raise LookupError("the network has no head: get_classifier() returned Identity")
        if found := _last(net, part, num_classes):
            return found
    settings = getattr(net, "pretrained_cfg", None)
    if isinstance(settings, Mapping):
        name = _first(settings.get("classifier"), "pretrained_cfg['classifier']")
        if isinstance(name, str) and name in (modules := named(net)):
            return _last(net, modules[name], num_classes)
    return None


def _first(declared: object, source: str) -> object:
    if not isinstance(declared, tuple | list | nn.ModuleList) or len(declared) == 0:
        return declared
    first, *others = declared
    if others:
        listed = "; ".join(str(other) for other in others)
        warnings.warn(f"{source} names several heads; took {first}, not {listed}", stacklevel=7)
    return first


def _executed(net: nn.Module, example: object, num_classes: int | None) -> Named | None:
    """The last candidate whose output is the network's; else the last that ran."""
    calls: list[tuple[nn.Module, Tensor]] = []

    def record(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor):
            calls.append((module, output))

    pairs = _candidates(net, num_classes)
    with undisturbed(net), ExitStack() as hooks:
        args, kwargs = _inputs(example, net)
        for _, module in pairs:
            hooks.callback(module.register_forward_hook(record).remove)
        output = _logits(run(net, args, kwargs, "example"))
    same = [m for m, out in calls if output is not None and _equal(out, output)]
    ran = same or [m for m, _ in calls]
    return next((pair for pair in pairs if ran and pair[1] is ran[-1]), None)


def _inputs(example: object, net: nn.Module) -> tuple[list[Tensor], dict[str, Tensor]]:
    if isinstance(example, Mapping):
        return [], {k: place(as_tensor(v, f"example[{k!r}]"), net) for k, v in example.items()}
    parts = example if isinstance(example, tuple) else (example,)
    return [place(as_tensor(part, "example"), net) for part in parts], {}


def _logits(output: object) -> Tensor | None:
    """The tensor of an answer: itself, its `.logits` or ["out"], the first of several."""
    if isinstance(output, Mapping):
        output = output.get("logits", output.get("out"))
    output = getattr(output, "logits", output)
    if isinstance(output, tuple | list) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def _equal(a: Tensor, b: Tensor) -> bool:
    same = a.numel() == b.numel() and a.device == b.device and a.dtype == b.dtype
    return same and torch.equal(a.flatten(), b.flatten())


def _conventional(net: nn.Module, num_classes: int | None) -> Named | None:
    modules = named(net)
    parts = (modules[name] for name in CONVENTIONAL if name in modules)
    return next((found for part in parts if (found := _last(net, part, num_classes))), None)


def _listing(net: nn.Module, num_classes: int | None, example: object) -> str:
    shapes = {
        name: f"{name or 'the network itself'} ({_outputs(m)}, "
        f"{getattr(m, 'in_features', None) or getattr(m, 'in_channels', None)})"
        for name, m in _candidates(net)
    }
    if not shapes:
        return "the network has no linear head: no Linear and no ungrouped 1x1 Conv2d in it"
    listed = ", ".join(list(shapes.values())[-12:])
    more = f"the last 12 of {len(shapes)} " if len(shapes) > 12 else ""
    wanted = "" if num_classes is None else f" with num_classes={num_classes}"
    hint = "name=" if example is not None else "name= or an example= input"
    return f"cannot tell the head{wanted}; give {hint}. Candidates: {more}{listed}"
