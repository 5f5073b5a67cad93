"""Passes through a network that leave no trace in it.

During a pass the network is in eval mode and records no gradients; afterwards the mode of every
submodule, the buffers, torch's random generators and the device are what they were, also when the
pass fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import AveragedModel

__all__ = ["as_written", "device_of", "place", "run", "undisturbed", "unwrap", "usable"]

_wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


def unwrap(net: nn.Module) -> nn.Module:
    """The network inside DataParallel, DistributedDataParallel, AveragedModel and `torch.compile`.

    Raises:
        ValueError: the network is TorchScript, whose layers take no hooks.

    >>> unwrap(nn.DataParallel(nn.Linear(2, 3)))
    Linear(in_features=2, out_features=3, bias=True)
    """
    while True:
        if isinstance(net, torch.jit.ScriptModule):
            raise ValueError("the network is TorchScript; pass the module it was made from")
        inner = net.module if isinstance(net, _wrappers) else net._modules.get("_orig_mod")
        if not isinstance(inner, nn.Module):
            return net
        net = inner


def _tensors(net: nn.Module) -> list[Tensor]:
    return [*net.parameters(), *net.buffers()]


def device_of(net: nn.Module) -> torch.device:
    """Device of the first parameter or buffer; the CPU for a network without any."""
    return next((x.device for x in _tensors(net)), torch.device("cpu"))


def _try(device: torch.device) -> None:
    """Refuse a kind of device that is not there, in fewer words than torch."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, NotImplementedError, AssertionError) as error:
        raise ValueError(f"device '{device}' cannot be used here") from error


def usable(device: str | torch.device) -> torch.device:
    """The device of that name, which this machine must have.

    Raises:
        ValueError: no such kind of device, or none of it here.

    >>> usable("cpu")
    device(type='cpu')
    """
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        words = str(error).splitlines()[0]
        raise ValueError(f"device {device!r} is not a device: {words[:80]}") from error
    if found.type == "meta":
        raise ValueError("device must hold values: on meta the network's would be lost")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {device!r}: {torch.cuda.device_count()} CUDA devices here")
    if found.type not in ("cpu", "cuda"):
        _try(found)
    return found


@contextmanager
def undisturbed(net: nn.Module, device: torch.device | None = None) -> Iterator[None]:
    """Eval mode, no gradients, on `device`; everything as before at the end.

    Raises:
        ValueError: lazy or meta parameters, or `device` given for a network spread over several.
    """
    tensors = _tensors(net)
    if any(is_lazy(x) for x in tensors):
        raise ValueError("the network has lazy parameters without values; run it once first")
    if any(x.is_meta for x in tensors):
        raise ValueError("the network is on the meta device: its parameters have no values")
    home = device_of(net)
    moved = device is not None and any(x.device != device for x in tensors)
    if moved and any(x.device != home for x in tensors):
        raise ValueError("the network is spread over several devices; leave device=None")
    places = {x.device for x in tensors} | ({device} if device is not None else set())
    cuda = [p for p in places if p.type == "cuda"]
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng(cuda))
        stack.enter_context(_state_restored(net))
        stack.enter_context(as_written(net))
        if moved:
            stack.callback(net.to, home)
            net.to(device)
        yield


@contextmanager
def as_written(net: nn.Module) -> Iterator[None]:
    """Run the Python code of a network from `torch.compile`: compiled code may skip hooks."""
    with torch.compiler.set_stance("force_eager") if _compiled(net) else nullcontext():
        yield


def _compiled(net: nn.Module) -> bool:
    modules = list(net.modules())
    return any(m._compiled_call_impl is not None or "_orig_mod" in m._modules for m in modules)


@contextmanager
def _state_restored(net: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in net.modules()]
    buffers = [
        (module._buffers, name, buffer, buffer.clone())
        for module in net.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        for module, _ in modes:
            module.training = False  # the flag alone: train() may be overridden to do more
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for held, name, buffer, saved in buffers:
            if name not in held or held[name] is not buffer:
                held[name] = buffer
            if not torch.equal(buffer, saved):
                with torch.inference_mode(buffer.is_inference()):
                    buffer.copy_(saved)


def place(x: Tensor, net: nn.Module, device: torch.device | None = None) -> Tensor:
    """A copy of x on the network's device; floating values in the dtype of its parameters.

    A copy, because a network may work in place on its input. `device` serves a network without
    parameters.
    """
    tensors = _tensors(net)
    home = tensors[0].device if tensors else (device or x.device)
    dtype = next((p.dtype for p in tensors if p.is_floating_point()), x.dtype)
    return x.to(home, dtype if x.is_floating_point() else x.dtype, copy=True)


def run(net: nn.Module, args: Sequence[Tensor], kwargs: Mapping[str, Tensor], name: str) -> object:
    """net(*args, **kwargs), with the network's refusal of its input put into one ValueError.

    Raises:
        ValueError: the network raised a RuntimeError, TypeError or IndexError on this input.
    """
    try:
        return net(*args, **kwargs)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, IndexError) as error:
        given = [*args, *kwargs.values()]
        shapes = ", ".join(f"{tuple(x.shape)} {x.dtype}" for x in given)
        raise ValueError(f"the network cannot take {name} ({shapes}): {error}") from error
