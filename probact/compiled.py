"""How sequential loops are compiled."""

import hashlib
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit

__all__ = ["compiled"]


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compile on the first call; keep the machine code on disk where some folder can be written.

    numba renews kept code when the function's own file changes, but not when a compiled function
    that it calls does, in another file. So the stamp of the kept code is one of the whole folder:
    compiled functions call only those of their own folder.
    """
    try:
        dispatcher = njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to keep it in
        return njit(**options)(function)  # type: ignore[no-any-return]
    # what numba compares with the stamp in its index has no public name
    folder = Path(inspect.getfile(function)).parent
    dispatcher._cache._cache_file._source_stamp = source_stamp(folder)
    return dispatcher  # type: ignore[no-any-return]


@cache
def source_stamp(folder: Path) -> str:
    """SHA-256 of the sources of a folder.

    >>> len(source_stamp(Path(__file__).parent))
    64
    """
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
