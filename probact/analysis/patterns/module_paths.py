r"""Where in a network a call of torch happens: the module whose forward pass makes it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

__all__ = ["Paths", "running"]


class Paths:
    """The modules of `net` that are being called, outermost first; `here` is the innermost."""

    def __init__(self, net: nn.Module) -> None:
        self._net = net
        self.modules = dict.fromkeys(net.modules())
        self._names = {id(module): path for path, module in net.named_modules()}
        self._stack: list[nn.Module] = []

    @property
    def inside(self) -> bool:
        """Whether a forward pass of the network is going on."""
        return bool(self._stack)

    @property
    def in_parametrization(self) -> bool:
        """Whether a weight is being computed, whose gates have no rows of data."""
        return any(isinstance(module, ParametrizationList) for module in self._stack)

    def site(self, function: str) -> tuple[str, str]:
        """Path of the innermost module of the network, and the name of a call made in it."""
        module = self._stack[-1]
        path = self._names[id(module)]
        activation = type(module).__module__.startswith("torch.nn.modules") and not any(
            module.children()
        )
        return path, path if activation and path else f"{path}/{function}".lstrip("/")

    def enter(self, module: nn.Module) -> bool:
        """Note the start of a call; whether it is a pass of the whole network."""
        begins = not self._stack and module is self._net
        if begins or self._stack:
            self._stack.append(module)
        return begins

    def leave(self, module: nn.Module) -> bool:
        """Note the end of a call; whether it was the pass of the whole network."""
        if not self._stack:
            return False
        self._stack.pop()
        return not self._stack


@contextmanager
def running(
    paths: Paths, begin: Callable[[], None], end: Callable[[bool], None]
) -> Iterator[None]:
    """Follow the calls of modules, by hooks that go when the block ends.

    `begin` and `end` are called around each pass of the whole network, `end` with whether it gave
    something: a pass that raises gives nothing.
    """

    def before(module: nn.Module, args: Any) -> None:
        if paths.enter(module):
            begin()

    def after(module: nn.Module, args: Any, output: Any) -> None:
        if paths.leave(module):
            end(output is not None)

    handles = []
    try:
        for module in paths.modules:
            handles.append(module.register_forward_pre_hook(before, prepend=True))
            handles.append(module.register_forward_hook(after, always_call=True))
        yield
    finally:
        for handle in handles:
            handle.remove()
