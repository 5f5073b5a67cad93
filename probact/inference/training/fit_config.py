"""config.json of a training on disk: what was asked for, and what differs when it goes on."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from probact.files.headers import strict_json
from probact.files.run_errors import CorruptRun
from probact.inference.checkpoints.run_directory import VERSIONS
from probact.inference.checkpoints.run_files import read_json, write_json
from probact.inference.diagnosis import announce

__all__ = ["check_beginning", "compare", "is_fit_folder", "read_config", "run_of", "write_config"]

FORM = "probact-training"
FIELDS = ("settings", "model", "data", "validation", "rates")


def is_fit_folder(folder: Path) -> bool:
    """Whether a folder is a training, maybe a damaged one.

    >>> is_fit_folder(Path("no/such/folder"))
    False
    """
    if (folder / "progress.json").exists():
        return True
    try:
        sealed = strict_json((folder / "config.json").read_bytes())
        return bool(sealed["content"]["format"] == FORM)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_config(folder: Path, description: Mapping[str, Any]) -> None:
    """Begin a training that `description` (all of FIELDS) describes."""
    made = {
        "created_at": datetime.now(UTC).isoformat(),
        "versions": {name: version(name) for name in VERSIONS},
    }
    content = {"format": FORM, "version": 1, **description, **made}
    write_json(folder / "config.json", content)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json, checked.

    Raises: CorruptRun.
    """
    path = folder / "config.json"
    try:
        config = read_json(path, FORM)
    except ValueError as error:
        raise CorruptRun(str(error)) from None
    if not {*FIELDS, "created_at", "versions"} <= set(config) or not isinstance(
        config["settings"], dict
    ):
        raise CorruptRun(f"{path} is damaged: it lacks the settings of a training")
    return config


def run_of(config: Mapping[str, Any]) -> str:
    """Checksum by which progress.json knows its config."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def check_beginning(folder: Path) -> None:
    """Refuse a folder without config.json that holds more than a training leaves before it.

    Raises: ValueError; CorruptRun.
    """
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if is_fit_folder(folder):
        if "config.json" not in names:
            raise CorruptRun(f"{folder} is damaged: its config.json is missing")
    elif any(name != "lock" and not name.endswith(".part") for name in names):
        raise ValueError(f"checkpoint {str(folder)!r} holds other files; name an empty folder")


def compare(folder: Path, known: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse another training in the same folder; tell of other versions."""
    asked = json.loads(json.dumps(asked))
    if "settings" not in known["model"] and known["model"]["config"] is not None:
        del asked["model"]["settings"]  # a folder from before they were kept; config says as much
    for field, value in asked.items():
        what = _difference(known[field], value, "" if field == "settings" else field)
        if what:
            raise ValueError(
                f"checkpoint {str(folder)!r} was made with {what}; name another folder"
            )
    for name, made in known["versions"].items():
        if made != version(name):
            announce(
                f"{str(folder)!r} was begun with {name} {made} and goes on with {version(name)}:"
                " the bits may differ"
            )


def _difference(known: Any, asked: Any, name: str) -> str:
    """The first difference in words, empty where there is none."""
    if isinstance(known, dict) and isinstance(asked, dict):
        for key in [*known, *(key for key in asked if key not in known)]:
            inner = f"{name}.{key}" if name else key
            if found := _difference(known.get(key), asked.get(key), inner):
                return found
        return ""
    if isinstance(known, list) and isinstance(asked, list) and len(known) == len(asked):
        pairs = enumerate(zip(known, asked, strict=True))
        return next(filter(None, (_difference(a, b, f"{name}[{i}]") for i, (a, b) in pairs)), "")
    return "" if known == asked else f"{name}={known!r}, got {asked!r}"
