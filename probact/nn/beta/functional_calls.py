r"""Activations that a network calls as functions, such as `torch.relu` in a forward pass.

They are no modules, so they are found by running the network, or by tracing it with `torch.fx`,
and softened by a mode that sends each such call of a module to a module below it.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules import module as torch_module
from torch.overrides import TorchFunctionMode

from probact.nn.beta.beta_layer import BetaLayer

__all__ = [
    "KNOWN_FUNCTIONS",
    "Found",
    "HardCall",
    "calls_when_run",
    "calls_when_traced",
    "hard_functions",
    "is_softened",
    "soft_functions",
]

_RELU = (F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)
_LEAKY = (F.leaky_relu, F.leaky_relu_)
_POOL = (F.max_pool2d, torch.max_pool2d, torch._C._nn.max_pool2d_with_indices)
_OTHERS = (
    "relu6 hardtanh hardtanh_ elu elu_ selu selu_ celu celu_ gelu prelu rrelu rrelu_ threshold "
    "threshold_ hardswish mish hardsigmoid softshrink hardshrink max_pool1d max_pool3d "
    "max_pool2d_with_indices max_pool1d_with_indices max_pool3d_with_indices adaptive_max_pool1d "
    "adaptive_max_pool2d adaptive_max_pool3d fractional_max_pool2d fractional_max_pool3d"
)
_OTHER_NAMES = _OTHERS.split()
_OTHER = {
    getattr(space, name): name
    for space in (F, torch, Tensor)
    for name in _OTHER_NAMES
    if hasattr(space, name)
}
_METHODS: dict[str, Any] = {
    name: getattr(Tensor, name)
    for name in ("relu", "relu_", *_OTHER_NAMES)
    if hasattr(Tensor, name)
}
KNOWN_FUNCTIONS = frozenset(("relu", "leaky_relu", "max_pool2d", *_OTHER_NAMES))


class HardCall(NamedTuple):
    """A function of the family, and its options beside the input."""

    name: str
    options: tuple[Any, ...] = ()

    @property
    def key(self) -> str:
        """A name for a submodule."""
        text = "_".join([self.name, *map(str, self.options)])
        return "".join(c if c.isalnum() else "_" for c in text)


def read_call(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> HardCall | None:
    """What a call computes, or None if it is no hard function of the family."""
    if function in _RELU:
        return HardCall("relu")
    if function in _LEAKY:
        slope = kwargs.get("negative_slope", args[1] if len(args) > 1 else 0.01)
        return HardCall("leaky_relu", (float(slope),))
    if function in _POOL:
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
        given = {**dict(zip(names, args[1:], strict=False)), **kwargs}
        if not given.pop("return_indices", False):
            shape = [
                given.get(n, d) for n, d in zip(names[:5], (1, None, 0, 1, False), strict=True)
            ]
            shape[1] = shape[1] or None  # torch writes () for no stride
            return HardCall(
                "max_pool2d", tuple(tuple(s) if isinstance(s, list) else s for s in shape)
            )
    return None


def _noted(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> HardCall | str | None:
    call = read_call(function, args, kwargs)
    return call if call is not None else _OTHER.get(function)


Found = list[tuple[nn.Module, HardCall | str]]


class _Watch(TorchFunctionMode):
    """Note the family's calls, with the module whose forward pass makes them."""

    def __init__(self, stack: list[nn.Module], found: Found) -> None:
        super().__init__()
        self.stack, self.found = stack, found

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        call = _noted(func, args, kwargs or {})
        if call is not None and self.stack:
            self.found.append((self.stack[-1], call))
        return func(*args, **(kwargs or {}))


@contextmanager
def _running(stack: list[nn.Module]) -> Iterator[None]:
    """Keep on the stack the modules that are being called."""
    enter = torch_module.register_module_forward_pre_hook(
        lambda module, inputs: stack.append(module)
    )
    leave = torch_module.register_module_forward_hook(
        lambda module, inputs, out: (stack.pop(), None)[1], always_call=True
    )
    try:
        yield
    finally:
        enter.remove()
        leave.remove()


def calls_when_run(net: nn.Module, inputs: tuple[Any, ...]) -> Found:
    """Calls of (module, function) in one pass over `inputs`, without gradients, as net stands."""
    stack: list[nn.Module] = []
    found: Found = []
    with torch.no_grad(), _running(stack), _Watch(stack, found):
        net(*inputs)
    return found


class _Tracer(fx.Tracer):
    """Notes the module of each call."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.stack, self.found = [net], list[tuple[nn.Module, HardCall | str]]()

    def is_leaf_module(self, m: nn.Module, path: str) -> bool:
        return isinstance(m, BetaLayer) or super().is_leaf_module(m, path)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        self.stack.append(m)
        try:
            return super().call_module(m, forward, args, kwargs)
        finally:
            self.stack.pop()

    def create_node(
        self,
        kind: str,
        target: Any,
        args: Any,
        kwargs: Any,
        name: Any = None,
        type_expr: Any = None,
    ) -> fx.Node:
        function = _METHODS.get(target) if kind == "call_method" else target
        if kind in ("call_function", "call_method") and function is not None:
            call = _noted(function, args, kwargs)
            if call is not None:
                _refuse_nodes(call)
                self.found.append((self.stack[-1], call))
        return super().create_node(kind, target, args, kwargs, name, type_expr)


def _refuse_nodes(call: HardCall | str) -> None:
    """A window of the size of an image is no number while the network is traced."""

    def refuse(node: fx.Node) -> None:
        raise TypeError(f"{node} in a call of {call[0]} is a number only when the network runs")

    if isinstance(call, HardCall):
        fx.node.map_arg(call.options, refuse)


def calls_when_traced(net: nn.Module) -> Found:
    """Calls of (module, function) in a symbolic trace in the mode that net is in.

    Raises: whatever a forward pass raises that cannot be traced.
    """
    tracer = _Tracer(net)
    tracer.trace(net)
    return tracer.found


class _Soft(TorchFunctionMode):
    """Send a module's calls to its submodules in `soft_functions`."""

    def __init__(self, soft: nn.ModuleDict) -> None:
        super().__init__()
        self.soft = soft

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        call = read_call(func, args, kwargs or {})
        if call is None:
            return func(*args, **(kwargs or {}))
        if call.key not in self.soft:
            raise RuntimeError(f"{call} is called, but was not when the network was softened")
        return self.soft[call.key](args[0] if args else kwargs["input"])


def soft_functions(module: nn.Module, soft: Mapping[str, nn.Module]) -> None:
    """Give a module submodules that take the place of functions in its forward pass.

    Its class becomes a subclass of its own, whose only base is the class it had.
    """
    module.add_module("soft_functions", nn.ModuleDict(dict(soft)))
    base = type(module)

    @functools.wraps(base.forward)  # whose argument names torch.fx and torch.export read
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _Soft(self.soft_functions):
            return base.forward(self, *args, **kwargs)

    members = {"forward": forward, "softened_from": base}
    module.__class__ = type(f"Soft{base.__name__}", (base,), members)


def is_softened(module: nn.Module) -> bool:
    """Whether `soft_functions` was done."""
    return "softened_from" in vars(type(module))


def hard_functions(module: nn.Module) -> None:
    """Undo `soft_functions`, if it was done."""
    base = vars(type(module)).get("softened_from")
    if base is not None:
        del module.soft_functions
        module.__class__ = base
