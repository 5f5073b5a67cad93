"""What a weight file declares about itself, checked against what it holds.

Formats: safetensors (8-byte little-endian length, JSON header, data); NPY and NPZ (NEP 1). Only
headers are read here. Every rule broken is a `ValueError`; the declared sizes are compared in
exact integers before any allocation.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

__all__ = ["MAX_HEADER", "npy_shape", "npz_shapes", "safetensors_shapes", "strict_json"]

MAX_HEADER = 100_000_000  # bytes, the limit of the safetensors format
MAX_AXES = 64
MAX_UNPACKED = 1 << 30  # bytes that a compressed array may unpack to ...
MAX_RATIO = 100  # ... unless that is less than so many times its compressed size

_bits = {"BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32}
_bits |= {"U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4}
_bits |= {"F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8}
_bits |= {"F6_E2M3": 6, "F6_E3M2": 6}


def strict_json(text: bytes) -> Any:
    """JSON without repeated names, NaN or infinities.

    >>> strict_json(b'{"a": 1, "a": 2}')
    Traceback (most recent call last):
    ValueError: JSON names 'a' twice
    """
    try:
        return json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for name, value in pairs:
        if name in names:
            raise ValueError(f"JSON names {name!r} twice")
        names[name] = value
    return names


def _no_constant(text: str) -> None:
    raise ValueError(f"JSON holds {text}")


def safetensors_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes from a safetensors header whose offsets tile the file exactly."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(MAX_HEADER, size - 8):
            raise ValueError(
                f"header of {length} bytes in a file of {size} (at most {MAX_HEADER})"
            )
        header = strict_json(stream.read(length))
    if not isinstance(header, dict):
        raise ValueError("the header is not a JSON object")
    header.pop("__metadata__", None)
    spans = sorted((*_span(name, entry), name) for name, entry in header.items())
    end = 0
    for start, stop, name in spans:
        if start != end:
            raise ValueError(f"{name!r} starts at byte {start} of the data, expected {end}")
        end = stop
    if end != size - 8 - length:
        raise ValueError(f"declares {end} bytes of data, the file holds {size - 8 - length}")
    return {name: tuple(entry["shape"]) for name, entry in header.items()}


def _span(name: str, entry: Any) -> tuple[int, int]:
    """(start, stop) in bytes of one tensor, whose dtype and shape must fill them."""
    if not isinstance(entry, dict) or {*entry} != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name!r} must declare dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _bits:
        raise ValueError(f"{name!r} has the unknown dtype {dtype!r}")
    if not _sizes(shape) or not _sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"{name!r} has the shape {shape!r} and the offsets {offsets!r}")
    start, stop = offsets
    if (stop - start) * 8 != math.prod(shape) * _bits[dtype]:
        raise ValueError(
            f"{name!r}: {dtype} of shape {shape} does not fill bytes {start} to {stop}"
        )
    return start, stop


def _sizes(value: Any) -> bool:
    if not isinstance(value, list) or len(value) > MAX_AXES:
        return False
    return all(type(v) is int and 0 <= v < 1 << 63 for v in value)


def npy_shape(file: Path) -> tuple[int, ...]:
    """Shape of the array in an NPY file, after checking that the file holds all of it."""
    with file.open("rb") as stream:
        return _npy(stream, file.stat().st_size, file.name)


def npz_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the arrays in an NPZ file; members that unpack too far are refused."""
    shapes: dict[str, tuple[int, ...]] = {}
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name in shapes or name == member.filename:
                raise ValueError(f"member {member.filename!r} is no array, or there twice")
            if member.file_size > max(MAX_UNPACKED, MAX_RATIO * member.compress_size):
                raise ValueError(
                    f"{name!r} unpacks {member.compress_size} bytes to {member.file_size}"
                )
            with archive.open(member) as stream:
                shapes[name] = _npy(stream, member.file_size, name)
    return shapes


def _npy(stream: IO[bytes], size: int, name: str) -> tuple[int, ...]:
    head = io.BytesIO(stream.read(1 << 16))  # numpy refuses headers above 10 kB
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(head)
    if version not in readers:
        raise ValueError(f"{name!r} has NPY version {version}, expected 1.0 or 2.0")
    shape, _, dtype = readers[version](head)
    held = size - head.tell()
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize != held:
        raise ValueError(f"{name!r}: {dtype} of shape {shape} does not fill its {held} bytes")
    return tuple(shape)
