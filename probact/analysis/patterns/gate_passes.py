r"""A pass through a network whose piecewise-linear calls are looked at one by one."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from probact.analysis.patterns.known_calls import CALLS, Call
from probact.analysis.patterns.module_paths import Paths
from probact.capturing.passes import unwrap

__all__ = ["GatePass", "checked_network"]


class GatePass(TorchFunctionMode):
    """What record and replay share: where a call is, which number it has, and its scores."""

    def __init__(self, paths: Paths, keep_scores: bool) -> None:
        super().__init__()
        self.paths, self.keep_scores = paths, keep_scores
        self.scores: list[Tensor] = []
        self._seen: dict[str, int] = {}

    def begin(self) -> None:
        """Start a pass of the network."""
        self.scores, self._seen = [], {}

    def name(self, call: Call) -> tuple[str, str]:
        """Path and name of the call that is being made."""
        path, site = self.paths.site(call.name.removesuffix("_with_indices"))
        count = self._seen[site] = self._seen.get(site, 0) + 1
        return path, site if count == 1 else f"{site}#{count}"

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if not self.paths.inside or self.paths.in_parametrization:
            return func(*args, **kwargs)
        call = CALLS.get(func)
        if call is None:
            self.other(func)
            return func(*args, **kwargs)
        return self.made(call, func, args, kwargs)

    def other(self, func: Any) -> None:
        """Note a call that is not listed."""

    def made(self, call: Call, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a listed call gives."""
        raise NotImplementedError


def checked_network(net: nn.Module) -> nn.Module:
    """The network inside its wrappers, if its patterns are defined."""
    if not isinstance(net, nn.Module):
        raise TypeError(f"net must be a module, got {type(net).__name__}")
    inner = unwrap(net)
    scripted = [n for n, m in inner.named_modules() if isinstance(m, torch.jit.ScriptModule)]
    if scripted:
        raise ValueError(f"{scripted[0]} is TorchScript, whose calls cannot be seen")
    modes = [n or "the network" for n, m in inner.named_modules() if m.training]
    if modes:
        raise ValueError(
            f"the network is in training mode ({len(modes)} modules, first: {modes[0]}), where "
            "patterns depend on the batch and on chance; call net.eval() first"
        )
    return inner
