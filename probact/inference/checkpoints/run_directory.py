"""A run on disk: what it is, one folder per chain, one writer.

config.json      settings, fingerprints of model, data and kernel, versions
lock             who writes here
chain-<c>/       see `chain_folder`
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from probact.files.run_errors import CorruptRun
from probact.inference.chains.plan import Plan
from probact.inference.checkpoints.chain_folder import ChainFolder
from probact.inference.checkpoints.locks import only_writer
from probact.inference.checkpoints.run_files import read_json, write_json
from probact.inference.diagnosis import announce

__all__ = ["RunSummary", "describe_run", "open_run", "read_settings"]

FORM = "probact-run"
SETTINGS = {
    "draws": int,
    "tune": int,
    "chains": int,
    "thin": int,
    "seed": int,
    "save_warmup": bool,
    "device": str,
}
FIELDS = ("settings", "model", "data", "kernel")
VERSIONS = ("probact", "torch", "pyro-ppl", "numpy", "scipy", "numba")  # that make the bits


class RunSummary(NamedTuple):
    """What a run on disk is and how far it got."""

    model: str  # where its class or function is defined
    kernel: str
    settings: dict[str, Any]
    versions: dict[str, str]
    created_at: str
    steps: int  # of a whole chain
    done: list[int]  # steps that each chain has committed


@contextmanager
def open_run(folder: Path, description: Mapping[str, Any]) -> Iterator[list[ChainFolder]]:
    """The chains of the run that `description` (settings, model, data, kernel) describes.

    The folder is made, or opened again when it holds the same run. Damage that could be recovered
    ends in one warning.

    Raises: ValueError for a folder with another run or other files; RunLocked; CorruptRun.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"checkpoint must be a folder, {str(folder)!r} is a file")
    config = folder / "config.json"
    _check_whole(folder)
    if not config.exists() and folder.exists() and not _is_beginning(folder):
        raise ValueError(f"checkpoint {str(folder)!r} holds other files; name an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    with only_writer(folder / "lock"):
        for part in folder.glob(".*.part"):
            part.unlink()
        if not config.exists():
            write_json(config, _new_config(description))
        known = _read_config(folder)
        _compare(folder, known, description)
        yield _chains(folder, known)


def read_settings(folder: Path) -> dict[str, Any]:
    """Arguments of `sample` with which the run was made.

    Raises: ValueError when the folder holds no run; CorruptRun.
    """
    _check_whole(folder)
    if not (folder / "config.json").exists():
        raise ValueError(f"{str(folder)!r} holds no run to resume: it has no config.json")
    settings = dict(_read_config(folder)["settings"])
    del settings["device"]
    return settings


def describe_run(folder: Path) -> RunSummary:
    """What the folder holds, all checksums verified.

    Raises: ValueError when the folder holds no run; RunLocked while it is written; CorruptRun.
    """
    settings = read_settings(folder)
    with only_writer(folder / "lock"):
        config = _read_config(folder)
        done = [chain.position for chain in _chains(folder, config)]
    plan = Plan(*(settings[name] for name in Plan._fields))
    return RunSummary(
        model=str(config["model"]["name"]),
        kernel=str(config["kernel"]["name"]),
        settings=config["settings"],
        versions=config["versions"],
        created_at=str(config["created_at"]),
        steps=plan.steps,
        done=done,
    )


def _check_whole(folder: Path) -> None:
    """Refuse a run whose config.json is gone.

    Raises: CorruptRun.
    """
    if (folder / "chain-0").exists() and not (folder / "config.json").exists():
        raise CorruptRun(f"{folder} is damaged: its config.json is missing")


def _is_beginning(folder: Path) -> bool:
    """Whether a folder holds no more than a run leaves there before its config.json."""
    names = [path.name for path in folder.iterdir()]
    return all(name == "lock" or name.endswith(".part") for name in names)


def _new_config(description: Mapping[str, Any]) -> dict[str, Any]:
    versions = {name: version(name) for name in VERSIONS}
    made = {"created_at": datetime.now(UTC).isoformat(), "versions": versions}
    return {"format": FORM, "version": 1, **description, **made}


def _read_config(folder: Path) -> dict[str, Any]:
    """config.json, checked.

    Raises: CorruptRun.
    """
    path = folder / "config.json"
    try:
        config = read_json(path, FORM)
    except ValueError as error:
        raise CorruptRun(str(error)) from None
    settings = config.get("settings")
    kinds = {k: type(v) for k, v in settings.items()} if isinstance(settings, dict) else None
    whole = {*FIELDS, "versions"} <= set(config) and isinstance(config["versions"], dict)
    if kinds != SETTINGS or not whole:
        raise CorruptRun(f"{path} is damaged: it lacks the settings of a run")
    return config


def _compare(folder: Path, known: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse another run in the same folder; tell of other versions."""
    asked = json.loads(json.dumps(asked))
    for name, value in asked["settings"].items():
        if known["settings"][name] != value:
            raise ValueError(
                f"checkpoint {str(folder)!r} was made with {name}={known['settings'][name]!r},"
                f" got {value!r}; name another folder"
            )
    for field in FIELDS[1:]:
        if known[field] != asked[field]:
            raise ValueError(
                f"checkpoint {str(folder)!r} was made with another {field}: give the same one, or"
                " name another folder"
            )
    for name, made in known["versions"].items():
        if made != version(name):
            announce(
                f"{str(folder)!r} was begun with {name} {made} and goes on with {version(name)}:"
                " the same law, but not the same bits"
            )


def _chains(folder: Path, config: Mapping[str, Any]) -> list[ChainFolder]:
    """The folders of all chains, opened."""
    settings = config["settings"]
    plan = Plan(*(settings[name] for name in Plan._fields))
    run = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    chains = [
        ChainFolder(folder / f"chain-{c}", plan, {"run": run, "chain": c})
        for c in range(settings["chains"])
    ]
    complaints = [text for chain in chains for text in chain.complaints]
    if complaints:
        more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
        announce(f"{complaints[0]}{more}")
    return chains
