r"""What a call of torch does to a pattern: a gate, a smooth activation, or neither.

Calls come as function objects of `torch`, `torch.Tensor` and `torch.nn.functional`; one function
has several, in place or not. Whatever is not listed here is taken as affine, which
`check_affine` tests by numbers.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from probact.analysis.patterns.choice_calls import AxisChoice, Pooling, axis_choice, pooling
from probact.analysis.patterns.kinked_calls import KINKED, Comparison, Kinked, comparison

__all__ = ["CALLS", "Call", "GateCall", "batch_dependence", "gate_input", "read_gate"]

GateCall = Kinked | Comparison | Pooling | AxisChoice


class Call(NamedTuple):
    """The name without _ at its end, and the role: gate, smooth, curved or random."""

    name: str
    role: str
    inplace: bool = False


_POOLS = tuple(
    f"{kind}max_pool{d}d{end}"
    for kind in ("", "adaptive_")
    for d in (1, 2, 3)
    for end in ("", "_with_indices")
)
_AXIS = ("max", "min", "amax", "amin")
_COMPARE = {"gt": "gt", "greater": "gt", "ge": "ge", "greater_equal": "ge"}
_COMPARE |= {"lt": "lt", "less": "lt", "le": "le", "less_equal": "le"}
_SMOOTH = (
    "gelu silu tanh sigmoid softplus elu selu celu mish hardswish logsigmoid log_sigmoid "
    "softsign tanhshrink glu expit erf atan arctan"
)
_CURVED = (
    "softmax log_softmax softmin gumbel_softmax layer_norm group_norm instance_norm rms_norm "
    "local_response_norm normalize scaled_dot_product_attention multi_head_attention_forward exp "
    "log log2 log10 log1p expm1 sqrt rsqrt square pow reciprocal norm vector_norm logsumexp "
    "logaddexp var std cosine_similarity lp_pool1d lp_pool2d lp_pool3d sign sgn round floor ceil "
    "sin cos trunc frac remainder fmod topk sort argsort argmax argmin median mode kthvalue "
    "cummax cummin"
)
_RANDOM = (
    "dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout feature_dropout "
    "fractional_max_pool2d fractional_max_pool3d bernoulli batch_norm native_batch_norm"
)
_SPACES: tuple[Any, ...] = (F, torch, Tensor, torch._C._nn, torch.special, torch.linalg)


def _table() -> dict[Any, Call]:
    roles = dict.fromkeys(_SMOOTH.split(), "smooth")
    roles |= dict.fromkeys(_CURVED.split(), "curved")
    roles |= dict.fromkeys(_RANDOM.split(), "random")
    roles |= dict.fromkeys((*KINKED, *_POOLS, *_AXIS, *_COMPARE), "gate")
    found: dict[Any, Call] = {}
    for space in _SPACES:
        for name, role in roles.items():
            for spelling in (name, f"{name}_", f"_{name}", f"__{name}__"):
                function = getattr(space, spelling, None)
                if callable(function):
                    inplace = spelling.endswith("_") and not spelling.startswith("_")
                    found[function] = Call(_COMPARE.get(name, name), role, inplace)
    return found


CALLS = _table()


def read_gate(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> GateCall | None:
    """The gate of a call, or None where it has none: integers, parameters, scalars.

    Raises: ValueError for the calls whose gate depends on chance or has no fixed pieces.
    """
    x = args[0] if args else kwargs.get("input", kwargs.get("self"))
    if not isinstance(x, Tensor) or not x.is_floating_point() or isinstance(x, nn.Parameter):
        return None
    if call.name in _COMPARE:
        other = args[1] if len(args) > 1 else kwargs.get("other")
        inside = x.ndim > 0 or (isinstance(other, Tensor) and other.ndim > 0)
        return comparison(call.name, x, other) if inside and not call.inplace else None
    if call.name in _POOLS:
        return pooling(call.name, args, kwargs)
    if call.name in _AXIS:
        second = args[1] if len(args) > 1 else kwargs.get("other")
        if isinstance(second, Tensor):  # torch.max(a, b)
            name = {"max": "maximum", "min": "minimum"}[call.name]
            return KINKED[name](x, second)
        return axis_choice(call.name, args, kwargs)
    kinked = KINKED[call.name](*args, **kwargs)
    return kinked._replace(inplace=True) if call.inplace else kinked


def batch_dependence(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Why a call of role random makes a pattern depend on chance or other rows, or None."""
    if call.name.startswith("fractional"):
        return f"{call.name} draws its windows"
    if call.name == "bernoulli":
        return "bernoulli draws at random"
    norm = "batch_norm" in call.name
    names = ("input", "running_mean", "running_var", "weight", "bias", "training")
    given = {**dict(zip(names if norm else ("input", "p", "training"), args, strict=False))}
    given |= kwargs
    if not given.get("training", given.get("train", False)):
        return None
    if norm:
        return "batch_norm uses the statistics of the batch"
    return f"{call.name} draws at random" if given.get("p", 0.5) > 0 else None


def gate_input(gate: GateCall) -> Tensor:
    """The tensor that a gate is read from."""
    if isinstance(gate, Comparison):
        return gate.low if isinstance(gate.low, Tensor) else torch.as_tensor(gate.high)
    return gate.x
