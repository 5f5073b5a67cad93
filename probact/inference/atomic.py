"""A file is either the old one or the new one: temporary file, fsync, replace."""

import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["write_atomically"]


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


def _flush(path: Path) -> None:
    """Force a file or directory onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
