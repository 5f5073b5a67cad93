r"""Replay a pattern: the affine map that a network is where it has this pattern."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from probact.analysis.patterns.gate_passes import GatePass, checked_network
from probact.analysis.patterns.gates import Pattern
from probact.analysis.patterns.kinked_calls import Kinked
from probact.analysis.patterns.known_calls import Call, GateCall, gate_input, read_gate
from probact.analysis.patterns.module_paths import Paths, running
from probact.capturing.passes import as_written

__all__ = ["Replay", "check_affine", "frozen", "replay"]


class Replay(GatePass):
    """A pass with given gates; `scores` as in `Recording`, here affine in the input."""

    def __init__(self, paths: Paths, pattern: Pattern, keep_scores: bool) -> None:
        super().__init__(paths, keep_scores)
        self.pattern = pattern
        self._next = 0

    def begin(self) -> None:
        super().begin()
        self._next = 0

    def end(self, whole: bool) -> None:
        """Check that a pass took every gate.

        Raises: ValueError: it ended before the pattern did.
        """
        if whole and self._next < len(self.pattern.gates):
            held = self.pattern.gates[self._next]
            raise ValueError(
                f"the pass ended before {held.kind} in {held.name}: the pattern is of another "
                "network or input"
            )

    def made(self, call: Call, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if call.role == "gate":
            gate = read_gate(call, args, kwargs)
            return func(*args, **kwargs) if gate is None else self._gate(call, gate, kwargs)
        if call.role in ("smooth", "curved"):
            _, name = self.name(call)
            waiting = self.pattern.gates[self._next : self._next + 1]
            if call.role == "smooth" and waiting and waiting[0].name == name:
                self._next += 1  # recorded by its sign
                if self.keep_scores:
                    x = args[0] if args else kwargs["input"]
                    self.scores.append(x.clone())
        return func(*args, **kwargs)

    def _gate(self, call: Call, gate: GateCall, kwargs: dict[str, Any]) -> Any:
        _, name = self.name(call)
        if self._next == len(self.pattern.gates):
            raise ValueError(f"the pattern ends before the call of {call.name} in {name}")
        held = self.pattern.gates[self._next]
        kind = call.name.removesuffix("_with_indices")
        if (held.name, held.kind) != (name, kind):
            raise ValueError(
                f"call {self._next} is {kind} in {name}, but the pattern has {held.kind} in "
                f"{held.name}: it is of another network or input"
            )
        self._next += 1
        state = held.state.to(gate_input(gate).device)
        try:
            with torch._C.DisableTorchFunction():
                if self.keep_scores:
                    self.scores.append(gate.scores(state))
                output = gate.result(state)
        except (RuntimeError, IndexError) as error:
            raise ValueError(
                f"the pattern of {name} has states {tuple(held.state.shape)}, which do not fit "
                f"its input {tuple(gate_input(gate).shape)}"
            ) from error
        if isinstance(gate, Kinked) and gate.inplace:
            return gate.x.copy_(output)
        if kwargs.get("out") is not None:
            return kwargs["out"].resize_(output.shape).copy_(output)
        return output


@contextmanager
def replay(net: nn.Module, pattern: Pattern, *, keep_scores: bool = False) -> Iterator[Replay]:
    """Make every call of `net` in the block take the gates of the pattern.

    A network of affine maps and gates is then affine in its input, with the Jacobian that it has
    at the recorded points; `check_affine` tests that it is. A pattern of one row serves any
    number of inputs, one of N rows N inputs. `Replay.scores` and `Pattern.margins` tell how far
    an input is from leaving the pattern.

    Raises:
        TypeError: net is no module, or pattern no `Pattern`.
        ValueError: training mode; a pass with other calls or shapes than the pattern has.

    >>> from probact.analysis.patterns.recording import pattern_at
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU()).double().eval()
    >>> x = torch.ones(1, 2, dtype=torch.float64)
    >>> y = net(x)
    >>> with replay(net, pattern_at(net, x)):
    ...     torch.equal(net(x), y), torch.allclose(net(3 * x) - net(2 * x), y - net(0 * x))
    (True, True)
    """
    if not isinstance(pattern, Pattern):
        raise TypeError(f"pattern must be a Pattern, got {type(pattern).__name__}")
    inner = checked_network(net)
    paths = Paths(inner)
    played = Replay(paths, pattern, keep_scores)
    with as_written(net), running(paths, played.begin, played.end), played:
        yield played


def frozen(net: nn.Module, pattern: Pattern) -> Callable[..., Any]:
    """The network as a function in which every call takes the gates of the pattern.

    Serves `torch.func.jacrev` and others; raises as `replay` when it is called.

    >>> from probact.analysis.patterns.recording import pattern_at
    >>> pattern = pattern_at(nn.ReLU().eval(), torch.tensor([[-1.0, 2.0]]))
    >>> frozen(nn.ReLU().eval(), pattern)(torch.tensor([[5.0, -7.0]]))
    tensor([[ 0., -7.]])
    """

    def function(*inputs: Tensor) -> Any:
        with replay(net, pattern):
            return net(*inputs)

    return function


def check_affine(net: nn.Module, pattern: Pattern, x: Tensor, *, tolerance: float = 1e-9) -> None:
    """Refuse a network whose replay on x (N, ...) is not affine: f(u + v) + f(0) = f(u) + f(v).

    Tried at u = x and a v of the size of x that does not depend on chance. `tolerance` is relative
    to the largest output, for float64; the square root of it holds for lower precisions.

    Raises: ValueError naming the calls that may be the reason; as `replay`.

    >>> from probact.analysis.patterns.recording import pattern_at
    >>> x = torch.ones(1, 2, dtype=torch.float64)
    >>> check_affine(nn.ReLU().eval(), pattern_at(nn.ReLU().eval(), x), x)
    """
    noise = torch.Generator().manual_seed(0)
    v = torch.randn(x.shape, dtype=torch.float64, generator=noise).to(x)
    v = v * x.abs().amax().clamp_min(1.0)
    with torch.no_grad():
        f = frozen(net, pattern)
        both, first, second, none = (_flat(f(u.clone())) for u in (x + v, x, v, 0 * x))
    gap = float((both + none - first - second).abs().max())
    size = max(float(y.abs().max()) for y in (both, first, second, none))
    allowed = tolerance if x.dtype == torch.float64 else tolerance**0.5
    if not gap <= allowed * max(size, 1e-300):
        curved = ", ".join(pattern.curved) or "calls that are not known"
        raise ValueError(
            f"the replay of {type(net).__name__} is not affine: relative gap {gap / size:.2g}; it "
            f"has {curved}"
        )


def _flat(y: Any) -> Tensor:
    if not isinstance(y, Tensor):
        raise ValueError(f"the network must give a tensor, got {type(y).__name__}")
    return y.flatten()
