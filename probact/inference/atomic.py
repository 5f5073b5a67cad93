"""A file is either the old one or the new one: temporary file, fsync, replace."""

import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["write_atomically", "write_bytes"]

_CHUNK = 1 << 20  # bytes per call of the system


def write_atomically(target: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `target`, flush it, then put it in place.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as room:
    ...     write_atomically(Path(room) / "a", lambda part: part.write_text("b"))
    ...     os.listdir(room)
    ['a']
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        write(part)
        _flush(part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    if os.name == "posix":  # only there can a directory be opened
        _flush(target.parent)


def write_bytes(target: Path, data: bytes) -> None:
    """Replace `target` by data, or leave it as it was.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as room:
    ...     write_bytes(Path(room) / "a", b"abc")
    ...     (Path(room) / "a").read_bytes()
    b'abc'
    """
    write_atomically(target, lambda part: _fill(part, data))


def _fill(part: Path, data: bytes) -> None:
    """Write data into a new file."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
    descriptor = os.open(part, flags, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest[:_CHUNK]) :]
    finally:
        os.close(descriptor)


def _flush(path: Path) -> None:
    """Force a file or directory onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
