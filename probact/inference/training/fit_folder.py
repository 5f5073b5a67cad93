"""A training on disk, after its last whole epoch.

config.json                   what was asked for: settings, model, data, rates
progress.json                 epochs made, losses, and the state files that count
state-<epochs>.safetensors    tensors of the module, of the optimiser and of the random streams
non-finite-batch.safetensors  the batch that ended the training, where one did
lock                          who writes here

A commit writes a state, then replaces progress.json; that replacement is the commit. Two states
stay: the last one, and that after the best epoch.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from probact.files.run_errors import CorruptRun
from probact.inference.atomic import write_bytes
from probact.inference.checkpoints.locks import only_writer
from probact.inference.checkpoints.run_files import (
    Entry,
    as_entry,
    check_array_file,
    read_json,
    write_json,
)
from probact.inference.training.fit_config import (
    check_beginning,
    compare,
    read_config,
    run_of,
    write_config,
)
from probact.inference.training.stopping import best_epoch, is_over

__all__ = ["FitFolder", "FitSummary", "Progress", "describe_fit", "open_fit"]

FORM = "probact-training-progress"
STATE = re.compile(r"state-([0-9]{6,12})\.safetensors")
BATCH = "non-finite-batch.safetensors"


class Progress(NamedTuple):
    """What is known after so many epochs; packed is JSON whose tensors lie in the state file."""

    epochs: int
    steps: int
    losses: list[float]
    validation_losses: list[float]
    seconds: float
    packed: dict[str, Any]
    state: Entry
    best: Entry | None


class FitSummary(NamedTuple):
    """What a training on disk is and how far it got; losses in nats."""

    model: str  # where its class is defined
    settings: dict[str, Any]
    versions: dict[str, str]
    created_at: str
    epochs: int  # made
    loss: float | None  # of the last of them
    best_epoch: int | None
    best_loss: float | None  # on the validation data
    finished: bool


class FitFolder:
    """The folder of one training; `run` is the checksum of its config.

    Raises: CorruptRun when progress.json or a file that it lists is missing or damaged.
    """

    def __init__(self, path: Path, run: str) -> None:
        self.path, self._head = path, {"format": FORM, "version": 1, "run": run}
        self.progress = self._find()
        self._clean()

    def commit(
        self, content: Mapping[str, Any], tensors: Mapping[str, Tensor], best: int | None
    ) -> None:
        """Make the state durable: the fields of a `Progress` but its files, and its tensors.

        best is the number of epochs made when the best state was committed, maybe this one.
        """
        # clones: safetensors refuses tensors that share memory
        data = save_tensors({k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()})
        path = self._file(content["epochs"])
        write_bytes(path, data)
        entry = Entry(path.name, len(data), hashlib.sha256(data).hexdigest(), 0)
        before = (self.progress.state, self.progress.best) if self.progress else ()
        named = {e.file: e for e in (*before, entry) if e is not None}
        kept = None if best is None else named[self._file(best).name]
        new = Progress(**content, state=entry, best=kept)
        write_json(self.path / "progress.json", {**self._head, **new._asdict()})
        self.progress = new
        self._clean()

    def tensors(self, entry: Entry) -> dict[str, Tensor]:
        """The tensors of a state file.

        Raises: CorruptRun.
        """
        path = self.path / entry.file
        try:
            check_array_file(self.path, entry)
            return dict(load_tensors(path.read_bytes()))
        except (ValueError, KeyError, SafetensorError) as error:
            raise CorruptRun(f"{path}: {error}") from None

    def keep_batch(self, batch: tuple[Any, ...]) -> Path:
        """Write the tensors of a batch, by position."""
        tensors = {str(i): a for i, a in enumerate(batch) if isinstance(a, Tensor)}
        data = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
        write_bytes(self.path / BATCH, save_tensors(data))
        return self.path / BATCH

    def _find(self) -> Progress | None:
        """The last commit; None before the first."""
        path = self.path / "progress.json"
        if not path.exists() and not path.is_symlink():
            if any(STATE.fullmatch(p.name) and p != self._file(0) for p in self.path.iterdir()):
                raise CorruptRun(f"{self.path} is damaged: its progress.json is missing")
            return None
        try:
            content = read_json(path, FORM)
            if content.get("run") != self._head["run"]:
                raise ValueError(f"{path} belongs to another training")
            progress = _as_progress(content)
            for entry in (progress.state, progress.best):
                if entry is not None:
                    check_array_file(self.path, entry)
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptRun(str(error)) from None
        return progress

    def _clean(self) -> None:
        """Remove states that no commit vouches for."""
        known = self.progress
        listed = {e.file for e in (known.state, known.best) if e} if known else set()
        for path in self.path.iterdir():
            if STATE.fullmatch(path.name) and path.name not in listed:
                path.unlink()

    def _file(self, epochs: int) -> Path:
        return self.path / f"state-{epochs:06d}.safetensors"


def _as_progress(content: Mapping[str, Any]) -> Progress:
    """progress.json, checked.

    Raises: ValueError, KeyError or TypeError.
    """
    fields = {name: content[name] for name in Progress._fields}
    best = fields.pop("best")
    state = as_entry(fields.pop("state"))
    progress = Progress(**fields, state=state, best=None if best is None else as_entry(best))
    lengths = {len(progress.losses), len(progress.validation_losses) or progress.epochs}
    if lengths != {progress.epochs}:
        raise ValueError(f"progress.json lists {lengths} losses after {progress.epochs} epochs")
    return progress


@contextmanager
def open_fit(folder: Path, description: Mapping[str, Any]) -> Iterator[FitFolder]:
    """The training that `description` describes, new or begun.

    Raises: ValueError for a folder with another training or other files; RunLocked; CorruptRun.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"checkpoint must be a folder, {str(folder)!r} is a file")
    config = folder / "config.json"
    check_beginning(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with only_writer(folder / "lock"):
        for part in folder.glob(".*.part"):
            part.unlink()
        if not config.exists():
            write_config(folder, description)
        known = read_config(folder)
        compare(folder, known, description)
        yield FitFolder(folder, run_of(known))


def describe_fit(folder: Path) -> FitSummary:
    """What the folder holds, all checksums verified.

    Raises: RunLocked while it is written; CorruptRun.
    """
    with only_writer(folder / "lock"):
        config = read_config(folder)
        progress = FitFolder(folder, run_of(config)).progress
    plan = config["settings"]
    limits = [plan[name] for name in ("epochs", "patience", "warm_up")]
    losses = progress.losses if progress else []
    values = progress.validation_losses if progress else []
    return FitSummary(
        model=str(config["model"]["name"]),
        settings=plan,
        versions=config["versions"],
        created_at=str(config["created_at"]),
        epochs=len(losses),
        loss=losses[-1] if losses else None,
        best_epoch=best_epoch(values),
        best_loss=min(values, default=None),
        finished=is_over(len(losses), values, *limits),
    )
