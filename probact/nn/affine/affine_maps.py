r"""Affine layers of a network, run with or without their constant term.

Symbols: x (..., D) vectors or (N, C, H, W) images; u = J x + c, the units of a chain of affine
modules. Linear, Conv2d, BatchNorm (folded: running statistics, whatever the mode), AvgPool2d,
Flatten and Identity are affine, and so is a Sequential of them. Nothing is copied: the modules'
own parameters are read at each call; their forward hooks do not run.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

__all__ = [
    "affine_steps",
    "apply_affine",
    "fold_batch_norm",
    "input_width",
    "layout",
    "open_steps",
    "output_width",
]

Layout = Literal["vector", "image", "any"]

# shapes that go in and come out
_LAYOUTS: dict[type[nn.Module], tuple[Layout, Layout]] = {
    nn.Linear: ("vector", "vector"),
    nn.BatchNorm1d: ("vector", "vector"),
    nn.Conv2d: ("image", "image"),
    nn.BatchNorm2d: ("image", "image"),
    nn.AvgPool2d: ("image", "image"),
    nn.Flatten: ("image", "vector"),
    nn.Identity: ("any", "any"),
}


def affine_steps(module: nn.Module, name: str = "layer") -> list[nn.Module]:
    """The affine modules of `module` in order, nested Sequentials opened.

    Raises:
        TypeError: no module, or one that is not known to be affine, among them subclasses with a
            forward of their own.
        ValueError: BatchNorm in training mode or without running statistics, a weight that a hook
            sets (torch.nn.utils.weight_norm, prune), a lazy module without values.

    >>> affine_steps(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2).eval()))
    [Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1)), BatchNorm2d(2, eps=1e-05, momentum=0.1, \
affine=True, bias=True, track_running_stats=True)]
    """
    for part in module.modules() if isinstance(module, nn.Sequential) else ():
        if isinstance(part, nn.Sequential):
            _check_forward(part, nn.Sequential, name)
    steps = open_steps(module)
    for step in steps:
        _check_affine(step, name)
    return steps


def open_steps(module: nn.Module) -> list[nn.Module]:
    """The modules of nested Sequentials in order, unchecked."""
    if isinstance(module, nn.Sequential):
        return [step for part in module for step in open_steps(part)]
    return [module]


def _check_forward(module: nn.Module, kind: type[nn.Module], name: str) -> None:
    """Refuse a subclass that computes something else than its base: only parameters are read."""
    if type(module).forward is not kind.forward:
        raise TypeError(
            f"{name} holds a {type(module).__name__}, a {kind.__name__} with a forward of its own"
        )
    own = not isinstance(module, nn.Linear | nn.Conv2d) or "weight" in module._parameters
    if not own and not parametrize.is_parametrized(module, "weight"):
        raise ValueError(
            f"{name} holds a {type(module).__name__} whose weight a hook sets at each forward "
            "pass; use torch.nn.utils.parametrizations, or make it permanent"
        )


def _check_affine(module: nn.Module, name: str) -> None:
    kind = next((kind for kind in _LAYOUTS if isinstance(module, kind)), None)
    if kind is None:
        known = ", ".join(kind.__name__ for kind in _LAYOUTS)
        raise TypeError(
            f"{name} must be an affine module ({known}, or a Sequential of them), got "
            f"{type(module).__name__}"
        )
    _check_forward(module, kind, name)
    if any(isinstance(p, nn.UninitializedParameter) for p in module.parameters()):
        raise ValueError(f"{name} has weights without a shape: run the lazy module once")
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        if module.running_mean is None:
            raise ValueError(f"{name} holds a {type(module).__name__} without running statistics")
        if module.training:
            raise ValueError(
                f"{name} holds a {type(module).__name__} in training mode, which is not affine; "
                "call eval() first"
            )
    if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) != (1, -1):
        raise ValueError(f"{name} holds {module}; only Flatten(1, -1) is read")


def layout(steps: list[nn.Module], name: str = "layer") -> tuple[Layout, Layout]:
    """What goes in and what comes out: "vector" (..., D), "image" (N, C, H, W) or "any".

    Raises: ValueError where a step cannot read what the step before it returns.

    >>> layout([nn.Conv2d(1, 2, 3), nn.Flatten()])
    ('image', 'vector')
    """
    first: Layout = "any"
    last: Layout = "any"
    for step in steps:
        goes_in, comes_out = next(v for k, v in _LAYOUTS.items() if isinstance(step, k))
        if goes_in == "any":
            continue
        if last not in ("any", goes_in):
            raise ValueError(f"{name} gives an {last} to {type(step).__name__}, which reads none")
        first = goes_in if first == "any" else first
        last = comes_out
    return first, last


def input_width(steps: list[nn.Module]) -> int | None:
    """Units, or channels of an image, that go in; None where the steps do not fix it.

    >>> input_width([nn.AvgPool2d(2), nn.Conv2d(3, 8, 1)])
    3
    """
    for step in steps:
        if isinstance(step, nn.Flatten):
            return None
        if isinstance(step, nn.Linear):
            return step.in_features
        if isinstance(step, nn.Conv2d):
            return step.in_channels
        if isinstance(step, nn.BatchNorm1d | nn.BatchNorm2d):
            return step.num_features
    return None


def output_width(steps: list[nn.Module]) -> int | None:
    """Units, or channels of an image, that come out; None where the steps do not fix it.

    >>> output_width([nn.Linear(3, 8), nn.BatchNorm1d(8)])
    8
    """
    for step in reversed(steps):
        if isinstance(step, nn.Flatten):
            return None
        if isinstance(step, nn.Linear):
            return step.out_features
        if isinstance(step, nn.Conv2d):
            return step.out_channels
        if isinstance(step, nn.BatchNorm1d | nn.BatchNorm2d):
            return step.num_features
    return None


def fold_batch_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Gain g (C,) and constant (C,) of BatchNorm with its running statistics.

    g = gamma / sqrt(var + eps), and u -> g u + shift - g mean.

    >>> fold_batch_norm(nn.BatchNorm1d(2, eps=0.0))
    (tensor([1., 1.], grad_fn=<DivBackward0>), tensor([0., 0.], grad_fn=<SubBackward0>))
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var + norm.eps).sqrt()
    gain = 1.0 / scale if norm.weight is None else norm.weight / scale
    shift = torch.zeros_like(scale) if norm.bias is None else norm.bias
    return gain, shift - gain * norm.running_mean


def apply_affine(steps: list[nn.Module], x: Tensor, *, constant: bool = True) -> Tensor:
    """u = J x + c, or J x without the constant term: the exact linear part.

    >>> layer = nn.Linear(2, 1)
    >>> bool(apply_affine([layer], torch.zeros(1, 2), constant=False) == 0)
    True
    """
    for step in steps:
        x = _apply_step(step, x, constant)
    return x


def _apply_step(step: nn.Module, x: Tensor, constant: bool) -> Tensor:
    if isinstance(step, nn.Linear):
        return F.linear(x, step.weight, step.bias if constant else None)
    if isinstance(step, nn.Conv2d):
        convolved: Tensor = step._conv_forward(x, step.weight, step.bias if constant else None)
        return convolved
    if isinstance(step, nn.BatchNorm1d | nn.BatchNorm2d):
        gain, shift = fold_batch_norm(step)
        if isinstance(step, nn.BatchNorm2d):
            gain, shift = gain[:, None, None], shift[:, None, None]
        return gain * x + shift if constant else gain * x
    out: Tensor = step(x)  # AvgPool2d, Flatten and Identity have no constant term
    return out
