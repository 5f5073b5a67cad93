"""How the loops of the samplers are compiled."""

from collections.abc import Callable
from typing import Any

from numba import njit

__all__ = ["compiled"]


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compile on the first call; keep the machine code on disk where some folder can be written.

    The kept code is renewed when the function's own file changes, not when a compiled function
    that it calls does: after such a change delete the `*.nbi` files of `__pycache__`.
    """
    try:
        return njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no folder to keep it in
        return njit(**options)(function)  # type: ignore[no-any-return]
