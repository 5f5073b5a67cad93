"""States of optimisers, schedules and random streams as JSON beside a table of tensors.

Numbers, texts and None stand as they are; a container, a tensor or a float that JSON lacks is an
object with one name, its kind, so that tuples, integer keys and infinities come back as they were.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["pack", "unpack"]


def pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON; its tensors are added to the table `tensors`.

    Raises: ValueError for a value of another kind, such as a function.
    >>> pack({1: (2.0, float("inf"))}, {})
    {'dict': [[1, {'tuple': [2.0, {'float': 'inf'}]}]]}
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, np.generic):
        return pack(value.item(), tensors)
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, Tensor):
        name = f"packed.{len(tensors)}"
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, Mapping):
        kind = "counter" if isinstance(value, Counter) else "dict"
        return {kind: [[pack(k, tensors), pack(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [pack(v, tensors) for v in value]}
    raise ValueError(f"a checkpoint cannot keep a {type(value).__name__}")


def unpack(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What was packed.

    Raises: ValueError or KeyError for what `pack` does not write.
    >>> unpack(pack({1: (2.0, float("inf"))}, {}), {})
    {1: (2.0, inf)}
    """
    if not isinstance(packed, dict):
        return packed
    ((kind, content),) = packed.items()
    if kind == "float":
        return float(content)
    if kind == "tensor":
        return tensors[content]
    if kind in ("list", "tuple"):
        return {"list": list, "tuple": tuple}[kind](unpack(v, tensors) for v in content)
    table = {unpack(k, tensors): unpack(v, tensors) for k, v in content}
    return {"dict": dict, "counter": Counter}[kind](table)
