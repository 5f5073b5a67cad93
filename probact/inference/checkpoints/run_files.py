"""The two kinds of file of a run, each of which can tell that it was damaged.

JSON carries the SHA-256 of its own content. Arrays lie in safetensors files whose length and
SHA-256 stand in the JSON that lists them; bytes beyond that length are cut. No pickle, and no name
that a file declares is used as a path unless it has the form that is written here.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from probact.files.headers import safetensors_shapes, strict_json
from probact.inference.atomic import write_bytes

__all__ = ["Entry", "check_array_file", "read_arrays", "read_json", "write_arrays", "write_json"]

MAX_JSON = 1 << 27  # bytes; a manifest has about 150 per commit
NAME = re.compile(r"(draws|warmup|state)-[0-9]{6,12}\.safetensors")


class Entry(NamedTuple):
    """A file of arrays as a manifest lists it; rows is how many draws it holds."""

    file: str
    bytes: int
    sha256: str
    rows: int


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file by `content`, sealed with its checksum.

    Raises: ValueError when JSON cannot hold the content.
    """
    try:
        sealed = {"sha256": _digest(_canonical(content)), "content": content}
        text = json.dumps(sealed, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path.name} cannot hold this: {error}") from error
    write_bytes(path, text.encode())


def read_json(path: Path, form: str) -> dict[str, Any]:
    """The content of a sealed file whose "format" is `form`.

    Raises: ValueError for a file that is damaged, no plain file or of another format.
    """
    try:
        sealed = strict_json(_read(path, MAX_JSON))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(sealed, dict) or set(sealed) != {"sha256", "content"}:
        raise ValueError(f"{path} is damaged: it is not of this format")
    content = sealed["content"]
    if sealed["sha256"] != _digest(_canonical(content)):
        raise ValueError(f"{path} is damaged: its checksum differs")
    if not isinstance(content, dict) or content.get("format") != form:
        raise ValueError(f"{path} is not a {form}")
    if content.get("version") != 1:
        raise ValueError(f"{path} has version {content.get('version')}, this probact reads 1")
    return content


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], rows: int) -> Entry:
    """Write arrays into a new file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as room:
    ...     entry = write_arrays(Path(room) / "draws-000001.safetensors", {"a": np.ones(2)}, 2)
    ...     read_arrays(Path(room), entry)
    {'a': array([1., 1.])}
    """
    # safetensors writes the memory as it lies, so it must lie in order
    data = save_arrays({name: np.asarray(a, order="C") for name, a in arrays.items()})
    write_bytes(path, data)
    return Entry(path.name, len(data), _digest(data), rows)


def check_array_file(folder: Path, entry: Entry) -> None:
    """Cut what lies beyond the listed length, and compare the checksum.

    Raises: ValueError for a file that is missing or damaged.
    """
    path = folder / entry.file
    if _size(path) > entry.bytes:
        os.truncate(path, entry.bytes)
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    if digest.hexdigest() != entry.sha256:
        raise ValueError(f"{path} is damaged: its checksum differs from the manifest")
    safetensors_shapes(path)


def read_arrays(folder: Path, entry: Entry) -> dict[str, np.ndarray]:
    """The arrays of a listed file, checked as they are read.

    Raises: ValueError for a file that is missing or damaged.
    """
    path = folder / entry.file
    data = _read(path, entry.bytes)
    if _digest(data) != entry.sha256:
        raise ValueError(f"{path} is damaged: its checksum differs from the manifest")
    try:
        return dict(load_arrays(data))
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def as_entry(value: Any) -> Entry:
    """A row of a manifest, checked.

    Raises: ValueError for anything that `write_arrays` would not have listed.
    >>> as_entry(["../x", 1, "", 0])
    Traceback (most recent call last):
    ValueError: lists ['../x', 1, '', 0], which is no file of arrays
    """
    if isinstance(value, list) and [type(v) for v in value] == [str, int, str, int]:
        entry = Entry(*value)
        if NAME.fullmatch(entry.file) and entry.bytes > 0 and entry.rows >= 0:
            return entry
    raise ValueError(f"lists {value!r}, which is no file of arrays")


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _size(path: Path) -> int:
    """Bytes of a plain file; links are refused."""
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"{path} is {'no plain file' if path.exists() else 'missing'}")
    return path.stat().st_size


def _read(path: Path, limit: int) -> bytes:
    """All bytes of a plain file of at most `limit`."""
    if _size(path) > limit:
        raise ValueError(f"{path} has {_size(path)} bytes, at most {limit} are expected")
    return path.read_bytes()
