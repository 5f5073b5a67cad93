"""What tests of the examples share: where they are, and what they leave behind."""

import json
from pathlib import Path
from typing import Any

__all__ = ["EXAMPLES", "ROOT", "assert_png", "read"]

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def assert_png(*paths: Path) -> None:
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG"), path
        assert path.stat().st_size > 10_000  # an empty canvas of this size takes a few thousand
