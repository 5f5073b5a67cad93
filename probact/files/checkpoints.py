"""Reading weight files safely: names and shapes first, then only the tensors asked for.

Formats: `.safetensors`, sharded `*.index.json`, `.pt` `.pth` `.bin` (torch's restricted loader
only), `.npz`, `.npy`. No file is ever unpickled freely, and a failed safe load is never followed
by an unsafe one. A damaged or hostile file ends in one `ValueError` that names it, before anything
of the declared size is allocated.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from probact.arrays import as_tensor
from probact.files.headers import (
    MAX_HEADER,
    npy_shape,
    npz_shapes,
    safetensors_shapes,
    strict_json,
)

__all__ = ["inner_state_dict", "read_tensors", "tensor_shapes"]

Shape = tuple[int, ...]
SUFFIXES = (".safetensors", ".index.json", ".pt", ".pth", ".bin", ".npz", ".npy")
SOLE = "arr_0"  # the name of the only tensor of a file that names none, as numpy.savez calls it
WRAPPERS = ("state_dict", "model", "model_state_dict", "model_ema")


def tensor_shapes(path: str | os.PathLike[str]) -> dict[str, Shape]:
    """Names and shapes of the tensors in a weight file, read without their values.

    A file that holds one unnamed tensor (`.npy`, or a bare tensor in `.pt`) calls it 'arr_0'.

    Raises:
        FileNotFoundError: no such file, or a shard of the index is missing.
        ValueError: unknown suffix, damaged or hostile file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/head.npz", weight=np.ones((3, 5)), bias=np.zeros(3))
    ...     tensor_shapes(f"{folder}/head.npz")
    {'weight': (3, 5), 'bias': (3,)}
    """
    file = _existing(path)
    with _reading(file):
        match _suffix(file):
            case ".safetensors":
                return safetensors_shapes(file)
            case ".index.json":
                return {name: shape for name, (_, shape) in _index(file).items()}
            case ".npz":
                return npz_shapes(file)
            case ".npy":
                return {SOLE: npy_shape(file)}
        return {name: tuple(x.shape) for name, x in _torch_tensors(file).items()}


def read_tensors(
    path: str | os.PathLike[str], names: Iterable[str] | None = None
) -> dict[str, Tensor]:
    """The named tensors of a weight file (default: all), on the CPU in memory of their own.

    Raises:
        FileNotFoundError: no such file, or a shard of the index is missing.
        LookupError: a name that the file does not hold; close matches are listed.
        ValueError: unknown suffix, damaged or hostile file, or an array that does not hold real
            numbers.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save({"state_dict": {"fc.weight": torch.ones(1, 2)}}, f"{folder}/net.pt")
    ...     read_tensors(f"{folder}/net.pt", ["fc.weight"])
    {'fc.weight': tensor([[1., 1.]])}
    """
    if isinstance(names, str):
        raise TypeError(f"names must be a list of names, got the text {names!r}")
    file = _existing(path)
    held = tensor_shapes(file)
    wanted = list(held) if names is None else list(names)
    for name in wanted:
        if name not in held:
            near = get_close_matches(name, held, n=3) or list(held)[:5]
            raise LookupError(f"{str(file)!r} holds no tensor {name!r}; close names: {near}")
    with _reading(file):
        return _read(file, wanted)


def _read(file: Path, names: list[str]) -> dict[str, Tensor]:
    match _suffix(file):
        case ".safetensors":
            with safe_open(str(file), framework="pt", device="cpu") as handle:
                return {name: handle.get_tensor(name).clone() for name in names}
        case ".index.json":
            index = _index(file)
            found: dict[str, Tensor] = {}
            for shard in dict.fromkeys(index[name][0] for name in names):
                found |= _read(shard, [name for name in names if index[name][0] == shard])
            return {name: found[name] for name in names}
        case ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                return {name: as_tensor(arrays[name], repr(name)) for name in names}
        case ".npy":
            return {
                name: as_tensor(np.load(file, allow_pickle=False), repr(name)) for name in names
            }
    held = _torch_tensors(file)
    return {name: held[name].clone() for name in names}


def inner_state_dict(loaded: Mapping[object, object]) -> dict[str, Tensor]:
    """Tensors by name of a state dict, or of the one inside a training checkpoint.

    The tensors at the top are taken if there are any; else the first of the keys `state_dict`,
    `model`, `model_state_dict`, `model_ema` that holds some. Entries that are no tensors (epoch,
    options) are not weights.

    Raises:
        ValueError: no tensors at either place.

    >>> list(inner_state_dict({"epoch": 3, "model": {"fc.weight": torch.ones(1, 2)}}))
    ['fc.weight']
    """
    if found := _named_tensors(loaded):
        return found
    for key in WRAPPERS:
        inner = loaded.get(key)
        if isinstance(inner, Mapping):
            nested = _named_tensors(inner) or _named_tensors(inner.get("state_dict", {}))
            if nested:
                return nested
    raise ValueError(
        f"holds no tensors at its top nor under {', '.join(WRAPPERS)}; keys: {list(loaded)[:8]}"
    )


def _named_tensors(mapping: object) -> dict[str, Tensor]:
    pairs = mapping.items() if isinstance(mapping, Mapping) else ()
    return {k: v.detach() for k, v in pairs if isinstance(k, str) and isinstance(v, Tensor)}


def _torch_tensors(file: Path) -> dict[str, Tensor]:
    zipped = zipfile.is_zipfile(file)
    if (
        zipped
    ):  # torch stores its records uncompressed: anything that unpacks to more is no torch file
        with zipfile.ZipFile(file) as archive:
            declared = sum(member.file_size for member in archive.infolist())
        if declared > file.stat().st_size:
            raise ValueError(f"declares {declared} bytes of content, more than the file has")
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:
        # torch's own text advises to load unsafely, so little of it is kept
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"asks to run {asked[1]!r}" if asked else f"damaged ({type(error).__name__})"
        raise ValueError(f"not a torch file of plain tensors: {reason}") from None
    if isinstance(loaded, Tensor):
        return {SOLE: loaded.detach()}
    if not isinstance(loaded, Mapping):
        raise ValueError(f"holds a {type(loaded).__name__}, not a state dict")
    return inner_state_dict(loaded)


def _index(file: Path) -> dict[str, tuple[Path, Shape]]:
    """Shard and shape of every tensor of a sharded checkpoint (Hugging Face's `weight_map`)."""
    if file.stat().st_size > MAX_HEADER:
        raise ValueError(f"index larger than {MAX_HEADER} bytes")
    index = strict_json(file.read_bytes())
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()):
        raise ValueError("must hold 'weight_map', tensor names to file names")
    held = {shard: tensor_shapes(_shard(file, shard)) for shard in dict.fromkeys(places.values())}
    for name, shard in places.items():
        if name not in held[shard]:
            raise ValueError(f"places {name!r} in {shard!r}, which does not hold it")
    return {name: (file.parent / shard, held[shard][name]) for name, shard in places.items()}


def _shard(file: Path, shard: str) -> Path:
    """A shard lies beside its index. Links are followed: download caches are made of them."""
    bare = PurePosixPath(shard).name == shard == PureWindowsPath(shard).name
    if not bare or shard in ("", ".", "..") or "\0" in shard or shard.endswith(".json"):
        raise ValueError(f"names the shard {shard!r}, which is not a plain file name beside it")
    return file.parent / shard


def _existing(path: str | os.PathLike[str]) -> Path:
    file = Path(path)
    if not file.exists():
        raise FileNotFoundError(f"no weight file {str(file)!r}")
    if not file.is_file():  # a folder, or a pipe that would never end
        raise ValueError(f"{str(file)!r} is not a regular file; give one of {', '.join(SUFFIXES)}")
    if _suffix(file) is None:
        raise ValueError(f"{str(file)!r} has none of the suffixes {', '.join(SUFFIXES)}")
    return file


def _suffix(file: Path) -> str | None:
    return next((s for s in SUFFIXES if file.name.lower().endswith(s)), None)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Turn whatever a damaged file provokes into one ValueError that names the file."""
    try:
        yield
    except (FileNotFoundError, PermissionError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(f"cannot read {str(file)!r}: {error}") from error
