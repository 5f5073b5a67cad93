"""A fit on disk: config.json and one safetensors file named by its own checksum; no pickle.

Replacing config.json is the commit: it names the tensors file and its SHA-256, so a crash at any
moment leaves the earlier fit readable. The file that it replaced is removed afterwards.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from probact.inference.atomic import write_atomically

__all__ = ["read_fit", "write_fit"]

FORMAT, VERSION = "probact-fit", 2  # 1 had no validation
MAX_CONFIG_BYTES = 2**20
TENSORS = re.compile(r"tensors-[0-9a-f]{16}\.safetensors")
FIELDS = {"model": dict, "guide": str, "batch": list, "whole": bool, "seed": int, "seconds": float}


def write_fit(directory: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Path:
    """Write a fit into `directory`, over an earlier one.

    Raises: ValueError when JSON cannot hold config, or the directory holds another program's
    config.json.
    """
    if (directory / "config.json").exists():
        _read_config(directory / "config.json")
    # clones: safetensors refuses tensors that share memory
    data = save_tensors({k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()})
    digest = hashlib.sha256(data).hexdigest()
    name = f"tensors-{digest[:16]}.safetensors"
    head = {"format": FORMAT, "version": VERSION, "file": name, "sha256": digest}
    try:
        text = json.dumps({**head, **config}, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the model's config or arguments do not fit into JSON: {error}"
        ) from error
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / name, lambda part: part.write_bytes(data))
    write_atomically(directory / "config.json", lambda part: part.write_text(text, "utf-8"))
    for old in directory.glob("tensors-*.safetensors"):
        if old.name != name:
            old.unlink()
    return directory


def read_fit(directory: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and tensors of a fit, checked against the checksum.

    Raises: ValueError for files that are missing, damaged, of another format or of a newer
    version.
    """
    config = _read_config(directory / "config.json")
    for field, kind in FIELDS.items():
        if not isinstance(config.get(field), kind):
            raise ValueError(f"{directory}/config.json: {field} must be a {kind.__name__}")
    name = config.get("file")
    if not isinstance(name, str) or not TENSORS.fullmatch(name):
        raise ValueError(f"{directory}/config.json names no tensors file of probact: {name!r}")
    data = _read_bytes(directory / name)
    if hashlib.sha256(data).hexdigest() != config.get("sha256"):
        raise ValueError(f"{directory / name} is damaged: its checksum differs from config.json")
    try:
        tensors = load_tensors(data)
    except SafetensorError as error:
        raise ValueError(f"{directory / name} is damaged: {error}") from error
    _check_complete(directory, config, tensors)
    return config, tensors


def _check_complete(directory: Path, config: dict[str, Any], tensors: Any) -> None:
    """Refuse a config that does not fit its tensors."""
    model, marks = config["model"], enumerate(config["batch"])
    if not isinstance(model.get("class"), str) or not isinstance(model.get("config"), dict | None):
        raise ValueError(f"{directory}/config.json: model must hold a class and a config")
    wanted = ["losses", *(f"batch.{i}" for i, mark in marks if mark is None)]
    missing = [name for name in wanted if name not in tensors]
    values = [mark for mark in config["batch"] if mark is not None]
    if missing or not all(isinstance(v, dict) and v.keys() == {"value"} for v in values):
        raise ValueError(f"{directory}/config.json: batch does not match the tensors file")
    best, losses = config.setdefault("best_epoch", None), tensors.get("validation_losses", ())
    known = type(best) is int and 0 <= best < len(losses)
    if not known and (best is not None or len(losses)):
        raise ValueError(f"{directory}/config.json: best_epoch does not match the tensors file")


def _read_config(path: Path) -> dict[str, Any]:
    """The strict JSON object of a fit: no duplicate names, no NaN, no excess size."""
    data = _read_bytes(path)
    if len(data) > MAX_CONFIG_BYTES:
        raise ValueError(f"{path} has {len(data)} bytes, at most {MAX_CONFIG_BYTES} are allowed")
    try:
        config = json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not the JSON of a fit: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ValueError(f"{path} is not a fit of probact")
    version = config.get("version")
    if version not in (1, VERSION) or isinstance(version, bool):
        raise ValueError(f"{path} has version {version}, this probact reads 1 and {VERSION}")
    return config


def _read_bytes(path: Path) -> bytes:
    """A plain file's content; links are refused."""
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"{path} is not a file")
    return path.read_bytes()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without duplicate names."""
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError(f"duplicate names among {[name for name, _ in pairs]}")
    return table


def _no_constant(name: str) -> Any:
    """Refuse NaN and infinities, which are no JSON."""
    raise ValueError(f"{name} is not JSON")
