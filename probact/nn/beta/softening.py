r"""Swap a network's ReLUs and max-poolings for soft ones, and back, on the same parameters.

Symbols: beta in (0, 1), eta = beta / (1 - beta). beta -> 1 is the network as it was, beta = 1/2
the network with SiLU, beta -> 0 one without activations. Balestriero & Baraniuk, "From Hard to
Soft", ICLR 2019: the weights of a trained network serve every beta.

Checkpoints: the softened network has the keys of the original and one `log_eta` for each swapped
module. A checkpoint of the original loads by `harden(soft).load_state_dict(checkpoint)`, or into
the original: the tensors are the same. `soft.load_state_dict(checkpoint, strict=False)` works too
and reports the missing `log_eta` keys, which then keep their values.
"""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from probact.capturing.passes import device_of
from probact.nn.beta.beta_activations import BetaAbs, BetaLeakyReLU, BetaReLU
from probact.nn.beta.beta_layer import BetaLayer
from probact.nn.beta.beta_pooling import BetaChannelPool, BetaMaxPool2d
from probact.nn.beta.functional_calls import (
    KNOWN_FUNCTIONS,
    HardCall,
    calls_when_run,
    calls_when_traced,
    hard_functions,
    is_softened,
    soft_functions,
)
from probact.nn.beta.module_tree import shared_copy

__all__ = ["harden", "soften"]

# of torch.nn, by name: affine, or soft already, or of no shape of their own
_NAMES = (
    "Identity Linear Bilinear LazyLinear Conv1d Conv2d Conv3d ConvTranspose1d "
    "ConvTranspose2d ConvTranspose3d BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm "
    "InstanceNorm1d InstanceNorm2d InstanceNorm3d LayerNorm GroupNorm LocalResponseNorm "
    "RMSNorm AvgPool1d AvgPool2d AvgPool3d AdaptiveAvgPool1d AdaptiveAvgPool2d "
    "AdaptiveAvgPool3d Dropout Dropout1d Dropout2d Dropout3d AlphaDropout Flatten Unflatten "
    "Embedding EmbeddingBag Upsample UpsamplingNearest2d UpsamplingBilinear2d PixelShuffle "
    "PixelUnshuffle ZeroPad1d ZeroPad2d ZeroPad3d ReflectionPad1d ReflectionPad2d "
    "ReplicationPad1d ReplicationPad2d ConstantPad1d ConstantPad2d Fold Unfold Sequential "
    "ModuleList ModuleDict ParameterList ParameterDict SiLU Sigmoid LogSigmoid Tanh "
    "Softplus Softmax Softmax2d LogSoftmax ChannelShuffle "
)
_UNTOUCHED = frozenset(_NAMES.split())


def soften(
    net: nn.Module,
    beta: float | Tensor = 0.5,
    *,
    learnable: bool = True,
    detach_gate: bool = False,
    keep: Sequence[str | type[nn.Module]] = (),
    inputs: tuple[Any, ...] | None = None,
) -> nn.Module:
    """A network on the same parameters with ReLU, LeakyReLU and MaxPool2d swapped for soft ones.

    So are beta layers with the "hard" read-out, such as `harden` makes of BetaAbs.

    Calls of `torch.relu`, `F.relu`, `x.relu()`, `F.leaky_relu` and `F.max_pool2d` in a forward
    pass are softened as well, one beta for each such function of each module; they are found by
    `torch.fx`, or by running the network in evaluation mode on `inputs`. Not recognised are
    ReLUs written as clamp, maximum or where, absolute values, and calls in branches that neither
    sees. A kind of call that appears later in a softened module is an error when it is made.
    Modules that are not of torch.nn are known by the functions they call, nothing else. SiLU,
    sigmoid, tanh, softplus and softmax are soft and stay. `net` is unchanged;
    hooks are kept, the same callables; inplace activations leave their input alone.

    Args:
        net: the network.
        beta: in (0, 1), of every swapped module.
        learnable: whether each log_eta is a parameter; otherwise buffers.
        detach_gate: as `BetaReLU`.
        keep: names of submodules ("layer1.relu"), classes or class names ("GELU"), and names of
            functions ("gelu"), that stay as they are, with what is below them.
        inputs: arguments of one forward pass, where `torch.fx` cannot trace the network.

    Raises:
        TypeError: net is no module, or TorchScript; keep is no list, or inputs no tuple.
        ValueError: beta outside (0, 1); modules or functions that are not of the family, all
            listed, unless `keep` names them; a name in `keep` that nothing has; a forward pass
            that cannot be traced.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> soft = soften(net, 0.5, learnable=False)
    >>> soft[0].weight is net[0].weight, soft[1]
    (True, BetaReLU(beta=0.5, readout='expectation', learnable=False))
    """
    if not isinstance(net, nn.Module) or isinstance(net, torch.jit.ScriptModule):
        raise TypeError(f"net must be a Python module, got {type(net).__name__}")
    if inputs is not None and not isinstance(inputs, tuple | list):
        raise TypeError(f"inputs must be a tuple of arguments, got {type(inputs).__name__}")
    options = {"learnable": learnable, "detach_gate": detach_gate}
    device, kept = device_of(net), _kept(net, keep)
    BetaReLU(beta)  # a wrong beta is the first thing to know
    _refuse_unknown(net, kept)

    def replace(module: nn.Module) -> nn.Module | None:
        call = None if id(module) in kept else _hard_call(module)
        return None if call is None else _soft_module(call, beta, options).to(device)

    calls = _functional_calls(net, kept, keep, inputs)
    soft = shared_copy(net, replace)
    for path, found in calls.items():
        _refuse_kept_below(path, net.get_submodule(path), kept)
        made = {c.key: _soft_module(c, beta, options).to(device) for c in sorted(found)}
        soft_functions(soft.get_submodule(path), made)
    return soft


def _refuse_kept_below(path: str, module: nn.Module, kept: set[int]) -> None:
    for name, below in module.named_modules():
        if id(below) in kept and (_hard_call(below) is not None or any(below.children())):
            raise ValueError(
                f"keep cannot hold {name!r}: it lies in {path or 'net'!r}, whose forward pass "
                "calls functions that are softened"
            )


def _hard_call(module: nn.Module) -> HardCall | None:
    """What a module computes, if it is a hard function of the family."""
    if type(module) is nn.ReLU:
        return HardCall("relu")
    if type(module) is nn.LeakyReLU:
        return HardCall("leaky_relu", (module.negative_slope,))
    if type(module) is nn.MaxPool2d and not module.return_indices:
        m = module
        return HardCall(
            "max_pool2d", (m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode)
        )
    if isinstance(module, BetaLayer) and module.readout == "hard":
        return _hard_readout(module)
    return None


def _hard_readout(module: BetaLayer) -> HardCall | None:
    if isinstance(module, BetaReLU):
        return HardCall("relu")
    if isinstance(module, BetaLeakyReLU):
        return HardCall("leaky_relu", (module.negative_slope,))
    if isinstance(module, BetaAbs):
        return HardCall("abs")
    if isinstance(module, BetaChannelPool):
        return HardCall("channel_pool", (module.groups,))
    return HardCall("max_pool2d", module.windows) if isinstance(module, BetaMaxPool2d) else None


def _soft_module(call: HardCall, beta: float | Tensor, options: dict[str, Any]) -> BetaLayer:
    if call.name == "relu":
        return BetaReLU(beta, **options)
    if call.name == "leaky_relu":
        return BetaLeakyReLU(call.options[0], beta, **options)
    if call.name == "abs":
        return BetaAbs(beta, **options)
    if call.name == "channel_pool":
        return BetaChannelPool(*call.options, beta=beta, **options)
    return BetaMaxPool2d(*call.options, beta=beta, **options)


def _kept(net: nn.Module, keep: Sequence[str | type[nn.Module]]) -> set[int]:
    """Identities of the modules that stay, with all that is below them."""
    _check_keep(net, keep)
    classes = tuple(item for item in keep if isinstance(item, type))
    return {
        id(below)
        for path, module in net.named_modules()
        if path in keep or type(module).__name__ in keep or isinstance(module, classes)
        for below in module.modules()
    }


def _check_keep(net: nn.Module, keep: Sequence[str | type[nn.Module]]) -> None:
    items = keep if isinstance(keep, Collection) and not isinstance(keep, str) else [None]
    if not all(isinstance(item, str | type) for item in items):
        raise TypeError(f"keep must be a list of names and classes, got {keep!r}")
    known = {type(module).__name__ for module in net.modules()} | KNOWN_FUNCTIONS | set(dir(nn))
    known |= {path for path, _ in net.named_modules()}
    strange = sorted(item for item in keep if isinstance(item, str) and item not in known)
    if strange:
        raise ValueError(f"keep names {', '.join(strange)}: no such module, class or function")


def _refuse_unknown(net: nn.Module, kept: set[int]) -> None:
    """Refuse modules of torch.nn that are neither of the family nor known to be affine or soft."""
    unknown = [
        f"{path or 'net'} ({type(module).__name__})"
        for path, module in net.named_modules()
        if id(module) not in kept
        and type(module).__module__.startswith("torch.nn.modules")
        and type(module).__name__ not in _UNTOUCHED
        and _hard_call(module) is None
    ]
    if unknown:
        raise ValueError(
            f"soften does not know {', '.join(unknown)}; name them in keep to leave them"
        )


def _functional_calls(
    net: nn.Module,
    kept: set[int],
    keep: Sequence[str | type[nn.Module]],
    inputs: tuple[Any, ...] | None,
) -> dict[str, set[HardCall]]:
    """Functions to soften in the forward pass of each module, by its path."""
    paths = {id(module): path for path, module in net.named_modules()}
    soft: dict[str, set[HardCall]] = {}
    unknown: list[str] = []
    for module, call in _watched(net, inputs):
        if id(module) in kept or _hard_call(module) is not None:
            continue
        name = call if isinstance(call, str) else call.name
        if name in keep or isinstance(module, BetaLayer):
            continue
        path = paths.get(id(module))
        if isinstance(call, str) or path is None:
            unknown.append(f"{name} in {type(module).__name__} ({path or 'net'})")
        elif not is_softened(module):
            soft.setdefault(path, set()).add(call)
    if unknown:
        raise ValueError(
            f"soften does not know these calls: {', '.join(dict.fromkeys(unknown))}; "
            "name the functions in keep to leave them"
        )
    return soft


def _watched(net: nn.Module, inputs: tuple[Any, ...] | None) -> list[tuple[nn.Module, Any]]:
    """Calls of the family's functions, with the modules of net that make them."""
    modes = {module: module.training for module in net.modules()}
    try:
        if inputs is not None:
            net.eval()
            return calls_when_run(net, inputs)
        found = []
        for training in (True, False):
            net.train(training)
            found += calls_when_traced(net)
        return found
    except Exception as error:
        if inputs is not None:
            raise
        raise ValueError(
            f"torch.fx cannot trace {type(net).__name__} ({str(error).splitlines()[0]}): "
            "pass inputs=, the arguments of one forward pass"
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training


def harden(net: nn.Module) -> nn.Module:
    """The network on the same parameters with hard activations and poolings: undoes `soften`.

    BetaReLU becomes ReLU, BetaLeakyReLU LeakyReLU, BetaMaxPool2d MaxPool2d, softened functions
    are again those of the forward pass; BetaAbs and BetaChannelPool, which torch has no module
    for, get the "hard" read-out on a buffer. `net` is unchanged; hooks are kept.

    Raises: TypeError: net is no module, or TorchScript.

    >>> harden(soften(nn.Sequential(nn.Linear(2, 3), nn.ReLU())))[1]
    ReLU()
    """
    if not isinstance(net, nn.Module) or isinstance(net, torch.jit.ScriptModule):
        raise TypeError(f"net must be a Python module, got {type(net).__name__}")
    hard = shared_copy(net, _hard_module)
    for module in hard.modules():
        hard_functions(module)
    return hard


def _hard_module(module: nn.Module) -> nn.Module | None:
    if isinstance(module, BetaReLU):
        return nn.ReLU()
    if isinstance(module, BetaLeakyReLU):
        return nn.LeakyReLU(module.negative_slope)
    if isinstance(module, BetaMaxPool2d):
        kernel, stride, padding, dilation, ceil_mode = module.windows
        return nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil_mode)
    if isinstance(module, BetaAbs):
        return BetaAbs(readout="hard", learnable=False)
    if isinstance(module, BetaChannelPool):
        return BetaChannelPool(module.groups, readout="hard", learnable=False)
    return None
