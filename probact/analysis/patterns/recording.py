r"""Record the pattern of a network's pass.

Symbols: N rows; a gate for each piecewise-linear call, in the order of the calls. A network is
affine where its pattern is constant; `replay` gives that affine map. Calls are seen as torch makes
them (`TorchFunctionMode`), so functions, modules that are used twice and modules that work in
place count as what they are, which hooks on modules miss.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import has_torch_function

from probact.analysis.patterns.choice_calls import AxisChoice, Pooling
from probact.analysis.patterns.gate_passes import GatePass, checked_network
from probact.analysis.patterns.gates import Gate, Pattern
from probact.analysis.patterns.kinked_calls import Kinked
from probact.analysis.patterns.known_calls import (
    Call,
    GateCall,
    batch_dependence,
    gate_input,
    read_gate,
)
from probact.analysis.patterns.module_paths import Paths, running
from probact.capturing.passes import as_written, place, run, undisturbed

__all__ = ["Recording", "Smooth", "pattern_at", "record"]

Smooth = Literal["refuse", "pass", "sign"]


class Recording(GatePass):
    """Patterns of the passes in a `record` block.

    `patterns` holds one `Pattern` per call of the network, `pattern` is the last; `scores`, with
    keep_scores, those of the last pass, one tensor per gate: differentiable pre-activations h - t
    in the layout of `Gate.bits`, positive where the bit is set, and x_j - x_s for choices.
    """

    def __init__(self, paths: Paths, net: nn.Module, smooth: Smooth, keep_scores: bool) -> None:
        super().__init__(paths, keep_scores)
        self.patterns: list[Pattern] = []
        self._net, self._smooth = net, smooth
        self._gates: list[Gate] = []
        self._curved: list[str] = []
        self._others: set[str] = set()

    @property
    def pattern(self) -> Pattern:
        """Pattern of the last pass.

        Raises: ValueError: the network has not been called.
        """
        if not self.patterns:
            raise ValueError("the network was not called in the record block")
        return self.patterns[-1]

    def begin(self) -> None:
        super().begin()
        self._gates, self._curved, self._others = [], [], set()

    def end(self, whole: bool) -> None:
        """Keep the pattern of a pass that has ended well.

        Raises: ValueError: it had no gate.
        """
        if not whole:
            return
        if not self._gates:
            raise ValueError(self._nothing())
        self.patterns.append(Pattern(tuple(self._gates), tuple(self._curved)))
        self._gates = []

    def _nothing(self) -> str:
        leaves = {type(m).__name__ for m in self._net.modules() if not any(m.children())}
        calls = {name for name in self._others if not name.startswith("__")} | set(self._curved)
        return (
            f"{type(self._net).__name__} has no piecewise-linear call, so no pattern; seen: "
            f"modules {', '.join(sorted(leaves))}; calls {', '.join(sorted(calls)) or 'none'}"
        )

    def other(self, func: Any) -> None:
        self._others.add(getattr(func, "__name__", "?"))

    def made(self, call: Call, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if call.role == "gate":
            gate = read_gate(call, args, kwargs)
            return (
                func(*args, **kwargs)
                if gate is None
                else self._gate(call, gate, func, args, kwargs)
            )
        if call.role == "random":
            why = batch_dependence(call, args, kwargs)
            if why:
                raise ValueError(f"{self.name(call)[1]}: {why}; patterns need net.eval()")
        elif call.role == "smooth":
            self._smooth_call(call, args, kwargs)
        else:
            self._curved.append(self._called(call)[2])
        return func(*args, **kwargs)

    def _gate(
        self, call: Call, gate: GateCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        path, name = self.name(call)
        plain = torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext()
        output = windows = scores = None
        with torch._C.DisableTorchFunction():  # so that other modes see the network's calls alone
            if isinstance(gate, Pooling | AxisChoice):
                state, output = gate.recorded()
                with plain:
                    state = state.clone() if state.is_inference() else state
                if isinstance(gate, Pooling):
                    windows = gate.windows(state.shape[-gate.dims :])
            else:
                with plain:
                    state = gate.state()
            if self.keep_scores:
                scores = gate.scores(state)
        if output is None or has_torch_function((gate_input(gate),)):
            output = func(*args, **kwargs)
        kind = call.name.removesuffix("_with_indices")
        state = _unwrapped(state, name)
        self._gates.append(Gate(name, path, kind, state, gate.num_choices, windows))
        if scores is not None:
            self.scores.append(scores)
        return output

    def _called(self, call: Call) -> tuple[str, str, str]:
        """Path and name, and the name with the function where it does not say it."""
        path, name = self.name(call)
        told = name.split("#")[0].endswith(call.name)
        return path, name, name if told else f"{name} ({call.name})"

    def _smooth_call(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        path, name, called = self._called(call)
        if self._smooth == "refuse":
            raise ValueError(
                f"{called} is smooth: it has no pattern. For a piecewise-linear "
                "network of the same weights use harden() of probact.nn, if it was softened; "
                "probact.nn.BetaReLU and soften() give soft patterns. smooth='sign' records the "
                "signs of what comes into it, smooth='pass' leaves it out"
            )
        self._curved.append(called)
        x = args[0] if args else kwargs.get("input")
        if self._smooth == "sign" and isinstance(x, Tensor):
            sign = Kinked(x, (0.0,), ((0.0, 0.0), (1.0, 0.0)), inplace=True)
            state = sign.state()
            self._gates.append(Gate(name, path, call.name, state, 2))
            if self.keep_scores:
                self.scores.append(sign.scores(state))


def _unwrapped(state: Tensor, name: str) -> Tensor:
    """The states under the layers of `torch.func.grad` and its like."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(state):
        if functorch.is_batchedtensor(state):
            raise ValueError(f"{name} is recorded in torch.vmap; give the network the whole batch")
        state = functorch.get_unwrapped(state)
    return state


@contextmanager
def record(
    net: nn.Module, *, smooth: Smooth = "refuse", keep_scores: bool = False
) -> Iterator[Recording]:
    """Record the pattern of every call of `net` in the block; its outputs stay as they are.

    Gates are those of relu, leaky_relu, prelu, abs, relu6, hardtanh, hardsigmoid, clamp,
    threshold, soft and hard shrinkage, maximum and minimum (of two tensors or along axes),
    comparisons such as x > 0, and max-pooling in 1, 2, 3 dimensions, adaptive as well: as
    functions, methods or modules, in place or not. At a tie, h = t, the bit is unset. Works in
    `torch.inference_mode` and under autocast, where the pattern is that of the lower precision:
    replay it under the same autocast. Custom `autograd.Function`s are seen through in the
    forward pass, TorchScript is refused.

    Args:
        net: the network, in eval mode.
        smooth: what to do with a smooth activation (GELU, SiLU, tanh, sigmoid, ELU, ...):
            refuse it; "pass" it, without a gate; or record the "sign" of its input.
        keep_scores: also keep the pre-activations of the last pass, in `Recording.scores`.

    Raises:
        TypeError: net is no module.
        ValueError: modules in training mode, batch statistics or dropout; a smooth activation;
            a pass without any gate, saying what was seen; lazy parameters or TorchScript.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).eval()
    >>> with record(net) as recording:
    ...     y = net(torch.ones(5, 2))
    >>> recording.pattern.names, recording.pattern.bits().shape
    (('1',), torch.Size([5, 3]))
    """
    if smooth not in ("refuse", "pass", "sign"):
        raise ValueError(f"smooth must be 'refuse', 'pass' or 'sign', got {smooth!r}")
    inner = checked_network(net)
    paths = Paths(inner)
    recording = Recording(paths, inner, smooth, keep_scores)
    with as_written(net), running(paths, recording.begin, recording.end), recording:
        yield recording


def pattern_at(net: nn.Module, *inputs: Tensor, smooth: Smooth = "refuse") -> Pattern:
    """Pattern of one pass on the inputs, without gradients; the network stays as it was.

    Raises: as `record`; ValueError: inputs that the network cannot take.

    >>> pattern_at(nn.ReLU().eval(), torch.tensor([[-1.0, 2.0]])).bits()
    tensor([[False,  True]])
    """
    with record(net, smooth=smooth) as recording, undisturbed(net):
        run(net, [place(x, net) for x in inputs], {}, "inputs")
    return recording.pattern
