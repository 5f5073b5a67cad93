"""One chain on disk: its draws in segments, its last state, and two generations of a manifest.

    manifest-0.json manifest-1.json            generation g lies in manifest-(g mod 2).json
    draws-<g>.safetensors warmup-<g>...        the rows that commit g added
    state-<g>.safetensors                      all that the next step needs

A commit writes its new files, then replaces the older manifest; that replacement is the commit. So
the last commit is whole at every moment, and the one before it too. What no manifest lists is left
over from a commit that never came to be, and is removed.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from probact.files.run_errors import CorruptRun
from probact.inference.chains.plan import Plan
from probact.inference.chains.recording import Batch, Saved
from probact.inference.chains.store import Store
from probact.inference.checkpoints.run_files import (
    Entry,
    as_entry,
    check_array_file,
    read_arrays,
    read_json,
    write_arrays,
    write_json,
)

__all__ = ["ChainFolder"]

FORM = "probact-chain"
GENERATION = re.compile(r"(?:draws|warmup|state)-([0-9]{6,12})\.safetensors")


class Manifest(NamedTuple):
    """What one commit vouches for: `position` steps, the rows they left, the state after them."""

    generation: int
    position: int
    parts: dict[str, tuple[Entry, ...]]  # "warmup" and "draws"
    state: Entry
    start: dict[str, Any]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All files of the commit."""
        return (*self.parts["warmup"], *self.parts["draws"], self.state)


class ChainFolder:
    """The folder of one chain of a run; `identity` names the run and the chain.

    `complaints` says in words what was damaged and could be recovered.

    Raises: CorruptRun when neither generation is whole.
    """

    def __init__(self, path: Path, plan: Plan, identity: Mapping[str, Any]) -> None:
        self.path, self._plan, self._identity = path, plan, dict(identity)
        self.complaints: list[str] = []
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise CorruptRun(f"{path} is not a folder")
        path.mkdir(exist_ok=True)
        self._older: Manifest | None = None
        self._newest = self._find()
        self._clean()
        if self.complaints:
            self._repair()

    @property
    def position(self) -> int:
        """Steps that are safe on disk."""
        return self._newest.position if self._newest else 0

    @property
    def start(self) -> dict[str, Any]:
        """How the chain started; empty before its first commit."""
        return self._newest.start if self._newest else {}

    def saved(self) -> Saved | None:
        """Where the chain goes on; None for a chain that has not begun."""
        if self._newest is None:
            return None
        return Saved(self.position, read_arrays(self.path, self._newest.state))

    def commit(self, batch: Batch) -> None:
        """Make the steps of the batch, the rows they left and the state after them durable."""
        last = self._newest
        generation = last.generation + 1 if last else 1
        parts: dict[str, tuple[Entry, ...]] = {"warmup": (), "draws": ()}
        parts |= last.parts if last else {}
        for part, table in batch.rows.items():
            if table:
                rows = len(next(iter(table.values())))
                entry = write_arrays(self._file(part, generation), table, rows)
                parts[part] = (*parts[part], entry)
        state = write_arrays(self._file("state", generation), batch.state, 0)
        new = Manifest(generation, batch.position, parts, state, batch.start or self.start)
        write_json(self._manifest(generation), {**self._head(), **new._asdict()})
        dropped, self._older, self._newest = self._older, last, new
        if dropped and last and dropped.state != last.state:
            (self.path / dropped.state.file).unlink(missing_ok=True)

    def read_into(self, stores: Mapping[str, Store], chain: int) -> None:
        """Add all committed rows to the stores of the parts.

        Raises: CorruptRun for a file that was damaged since it was checked.
        """
        for part, store in stores.items():
            for entry in self._newest.parts[part] if self._newest else ():
                try:
                    store.add(chain, read_arrays(self.path, entry))
                except ValueError as error:
                    raise CorruptRun(str(error)) from None

    def _find(self) -> Manifest | None:
        """The newest generation that is whole."""
        found, faults = [], []
        for path in (self._manifest(0), self._manifest(1)):
            if path.is_symlink() or path.exists():
                try:
                    found.append(self._read(path))
                except ValueError as error:
                    faults.append(str(error))
        found.sort(key=lambda manifest: -manifest.generation)
        if len(found) + len(faults) < min(2, self._last_generation(found)):
            faults.append(f"{self.path} lacks a manifest")
        for i, manifest in enumerate(found):
            try:
                for entry in manifest.entries:
                    check_array_file(self.path, entry)
            except ValueError as error:
                faults.append(str(error))
                continue
            self._older = found[1] if i == 0 and len(found) == 2 else None
            if faults:
                self.complaints.append(f"{faults[0]}; continuing from step {manifest.position}")
            return manifest
        if faults:
            raise CorruptRun(faults[0])
        return None

    def _repair(self) -> None:
        """Put the newest manifest in the place of the damaged one, a generation on."""
        assert self._newest is not None
        self._older = self._newest
        self._newest = self._older._replace(generation=self._older.generation + 1)
        content = {**self._head(), **self._newest._asdict()}
        write_json(self._manifest(self._newest.generation), content)

    def _last_generation(self, found: list[Manifest]) -> int:
        """The newest generation that left any trace which the first commit would not."""
        names = [GENERATION.fullmatch(path.name) for path in self.path.iterdir()]
        left = [int(name[1]) - 1 for name in names if name]  # its own manifest may be to come
        return max([*left, *(manifest.generation for manifest in found)], default=0)

    def _read(self, path: Path) -> Manifest:
        """A manifest that fits the run, the plan and its own name."""
        content = read_json(path, FORM)
        if any(content.get(name) != value for name, value in self._head().items()):
            raise ValueError(f"{path} belongs to another run or chain")
        try:
            parts = {
                part: tuple(map(as_entry, content["parts"][part])) for part in ("warmup", "draws")
            }
            state = as_entry(content["state"])
            fields = {name: content[name] for name in ("generation", "position", "start")}
            if [type(value) for value in fields.values()] != [int, int, dict]:
                raise ValueError(f"holds {fields}")
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path} is damaged: {error}") from None
        manifest = Manifest(parts=parts, state=state, **fields)
        rows = {part: sum(entry.rows for entry in entries) for part, entries in parts.items()}
        if rows != self._plan.rows(manifest.position) or manifest.position > self._plan.steps:
            raise ValueError(f"{path} lists {rows} rows after {manifest.position} steps")
        if self._manifest(manifest.generation).name != path.name:
            raise ValueError(f"{path} holds generation {manifest.generation}")
        return manifest

    def _clean(self) -> None:
        """Remove what no commit vouches for."""
        listed = {f"manifest-{i}.json" for i in (0, 1)}
        for manifest in (self._newest, self._older):
            listed |= {entry.file for entry in manifest.entries} if manifest else set()
        for path in self.path.iterdir():
            ours = GENERATION.fullmatch(path.name) or path.name.endswith(".part")
            if ours and path.name not in listed:
                path.unlink()

    def _head(self) -> dict[str, Any]:
        return {"format": FORM, "version": 1, **self._identity}

    def _manifest(self, generation: int) -> Path:
        return self.path / f"manifest-{generation % 2}.json"

    def _file(self, part: str, generation: int) -> Path:
        return self.path / f"{part}-{generation:06d}.safetensors"
