"""What a checkpoint remembers of its model, data and kernel, to know them again."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module

from probact.inference.gibbs import GibbsKernel
from probact.inference.layout import Model, Site, model_table, read_sites

__all__ = ["data_fingerprint", "kernel_fingerprint", "model_fingerprint"]


def data_fingerprint(args: Sequence[Any]) -> list[Any]:
    """Shape, dtype and SHA-256 of the bytes of every tensor.

    >>> import torch
    >>> data_fingerprint((torch.zeros(2),))[0]["shape"]
    [2]
    """
    return [_described(arg) for arg in args]


def model_fingerprint(model: Model, args: tuple[Any, ...]) -> dict[str, Any]:
    """Name, tensors and constants of the program.

    The constants are the parameters of its laws that do not change with the random seed.
    """
    tensors = dict(model.state_dict()) if isinstance(model, Module) else {}
    tensors |= {f"constant {name}": v for name, v in model_table(model, "constant_data").items()}
    first, second = (_constants(read_sites(model, args, seed)) for seed in (0, 1))
    return {
        "name": _name(model),
        "tensors": {name: _described(value) for name, value in tensors.items()},
        "constants": {k: v for k, v in first.items() if second.get(k) == v},
    }


def kernel_fingerprint(kernel: GibbsKernel) -> dict[str, Any]:
    """Class and options of a kernel: its public attributes.

    >>> kernel_fingerprint.__name__
    'kernel_fingerprint'
    """
    options = {name: v for name, v in vars(kernel).items() if not name.startswith("_")}
    return {"name": _name(kernel), "options": {name: _described(v) for name, v in options.items()}}


def _constants(sites: Mapping[str, Site]) -> dict[str, Any]:
    """Class and parameters of the law of each site."""
    table: dict[str, Any] = {}
    for name, site in sites.items():
        law = site.fn
        while hasattr(law, "base_dist"):
            law = law.base_dist
        table[name] = _name(law)
        for parameter in _parameters(law):
            table[f"{name}.{parameter}"] = _described(getattr(law, parameter, None))
    return table


def _parameters(law: Any) -> list[str]:
    """Names of the parameters of a law that declares them."""
    try:
        return sorted(law.arg_constraints)
    except NotImplementedError:
        return []


def _name(value: Any) -> str:
    """Where the class or function of a value is defined."""
    kind = value if hasattr(value, "__qualname__") else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def _described(value: Any) -> Any:
    """A value in JSON: numbers and texts as they are, arrays by their bytes, others by class."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return repr(value)  # JSON has no infinity
    if isinstance(value, GibbsKernel):
        return kernel_fingerprint(value)
    if isinstance(value, list | tuple):
        return [_described(v) for v in value]
    if isinstance(value, dict):
        return {str(name): _described(v) for name, v in value.items()}
    if isinstance(value, Tensor):
        value = value.detach().cpu().contiguous()
        dtype, shape = str(value.dtype).removeprefix("torch."), list(value.shape)
        return _bytes(value.reshape(-1).view(torch.uint8).numpy(), dtype, shape)
    if isinstance(value, np.ndarray):
        return _bytes(np.ascontiguousarray(value), value.dtype.str, list(value.shape))
    return _name(value)


def _bytes(array: np.ndarray, dtype: str, shape: list[int]) -> dict[str, Any]:
    digest = hashlib.sha256(array.data).hexdigest()
    return {"shape": shape, "dtype": dtype, "sha256": digest}
