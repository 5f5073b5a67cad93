"""Bugs to seed, one at a time, and the tests that must catch each: a proof that the suite sees.

A row replaces `old`, which stands once in `file`, by `new`; then one of `tests` must fail.
"""

from typing import NamedTuple

__all__ = ["Bug", "seeded"]


class Bug(NamedTuple):
    """One wrong edit; the paths are relative to the root of the repository."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def seeded(file: str, tests: str, *edits: tuple[str, str, str]) -> list[Bug]:
    """Bugs (name, old, new) of probact/`file`, caught by tests/`tests` (separated by blanks)."""
    paths = tuple(f"tests/{test}" for test in tests.split())
    return [Bug(name, f"probact/{file}", old, new, paths) for name, old, new in edits]
