"""One writer per directory: an advisory lock that says who holds it.

The system drops the lock when its holder ends, however it ends, so nothing stale stays. The file
names the holder for the message of the second writer. On a file system without locks the holder's
process number and the machine's boot decide whether it still lives; a system that is not POSIX has
no lock here.
"""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from probact.files.headers import strict_json
from probact.files.run_errors import RunLocked

fcntl: Any
try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

__all__ = ["only_writer"]

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold the lock file `path` in the block; the file itself stays.

    Raises: RunLocked naming the process that holds it.
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as room, only_writer(Path(room) / "lock"):
    ...     with only_writer(Path(room) / "lock"):
    ...         pass
    Traceback (most recent call last):
    probact.files.run_errors.RunLocked: ...
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _take(descriptor, path)
        try:
            yield
        finally:
            with suppress(OSError):  # a lock that names nobody is free as well
                os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)  # frees the lock


def _take(descriptor: int, path: Path) -> None:
    """Lock the file and write ourselves into it."""
    holder, locked = _read(descriptor), _lock(descriptor)
    if locked is False or (locked is None and _lives(holder)):
        who = f"process {holder['pid']}" if holder else "another process"
        raise RunLocked(f"{str(path.parent)!r} is written by {who}; wait for it, or end it")
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "boot": _boot()}).encode(), 0)


def _lock(descriptor: int) -> bool | None:
    """True: the lock is ours; False: another's; None: the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            return None
        raise
    return True


def _read(descriptor: int) -> dict[str, Any] | None:
    """Whom the file names, if anybody."""
    try:
        holder = strict_json(os.pread(descriptor, 4096, 0))
    except ValueError:
        return None
    known = isinstance(holder, dict) and type(holder.get("pid")) is int
    return holder if known else None


def _lives(holder: dict[str, Any] | None) -> bool:
    """Whether that process still runs, since the same boot of this machine."""
    if holder is None or holder.get("boot") != _boot() or holder["pid"] == os.getpid():
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _boot() -> str:
    """Which boot of which machine this is; empty where the system does not say."""
    return _BOOT.read_text().strip() if _BOOT.exists() else ""
