"""A demo run on disk: trained, measured, drawn and bound into one page.

A run directory holds report.html (self-contained), figures/ (PNG and SVG), posterior.nc,
samples.npz, numbers.json and run.json, from which `render` writes the page again.
"""

import base64
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch

from probact.arrays import check_seed
from probact.chapters import all_chapters
from probact.files.run_errors import CorruptRun
from probact.inference import from_netcdf, to_netcdf
from probact.inference.atomic import write_atomically
from probact.study import Chapter, Picture, Table, Text, prepare_study

__all__ = ["read_posterior", "read_run", "render", "run_demo"]


_PNG_DPI = 130


def run_demo(
    dataset: str,
    *,
    root: str | Path | None,
    out: str | Path,
    seed: int,
    device: torch.device,
    say: Callable[[str], None],
) -> Path:
    """Make the whole run in `out` and return the path of its page.

    Raises:
        ValueError, FileNotFoundError: bad input, before any work where possible.
    """
    folder = Path(out)
    _check_writable(folder)
    check_seed(seed)
    started = time.perf_counter()
    study = prepare_study(dataset, root=root, seed=seed, device=device, say=say)
    chapters = [module.write(study) for module in all_chapters()]
    say("writing the report")
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    run = {
        "dataset": dataset,
        "seed": seed,
        "device": str(device),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: metadata.version(name) for name in ("probact", "torch", "pyro-ppl")},
        "seconds": round(time.perf_counter() - started, 1),
        "chapters": [_save_chapter(chapter, folder) for chapter in chapters],
    }
    numbers = {chapter.title: chapter.numbers for chapter in chapters}
    arrays = {name: array for chapter in chapters for name, array in chapter.arrays.items()}
    write_atomically(folder / "samples.npz", lambda part: _save_arrays(part, arrays))
    _write_text(folder / "numbers.json", json.dumps(numbers, indent=1, allow_nan=False))
    _write_text(folder / "run.json", json.dumps(run, indent=1, allow_nan=False))
    return render(folder)


def _check_writable(folder: Path) -> None:
    """Refuse a place where the run could not be written, before anything is computed."""
    if str(folder) in ("", "."):
        raise ValueError("--out must name a folder of its own, not the current one")
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise ValueError(f"--out must be a folder, {place} is a file")
    if not os.access(place, os.W_OK):
        raise ValueError(f"--out cannot be written: no permission in {place}")


def _save_chapter(chapter: Chapter, folder: Path) -> dict[str, Any]:
    """Write figures and posteriors; the rest of the chapter as JSON."""
    for stem, posterior in chapter.posteriors.items():
        to_netcdf(posterior, folder / f"{stem}.nc")
    blocks: list[dict[str, Any]] = []
    for block in chapter.blocks:
        if isinstance(block, Text):
            blocks.append({"kind": "text", "words": block.words})
        elif isinstance(block, Table):
            blocks.append({"kind": "table", **block._asdict()})
        else:
            blocks.append(_save_picture(block, folder / "figures"))
    return {"title": chapter.title, "blocks": blocks}


def _save_picture(picture: Picture, folder: Path) -> dict[str, Any]:
    for suffix in ("png", "svg"):
        path = folder / f"{picture.name}.{suffix}"
        picture.figure.savefig(
            path, dpi=_PNG_DPI, metadata={"Date": None} if suffix == "svg" else {}
        )
    return {"kind": "picture", "file": f"{picture.name}.png", "caption": picture.caption}


def _save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def read_run(folder: str | Path) -> dict[str, Any]:
    """The contents of run.json.

    Raises:
        FileNotFoundError: the folder holds no run.
        CorruptRun: run.json is damaged or not of a run.
    """
    path = Path(folder) / "run.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is not a saved run: it has no run.json")
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not JSON, or not UTF-8
        raise CorruptRun(f"{path} is damaged: {error}") from None
    wanted = {"dataset", "seed", "device", "created_at", "versions", "seconds", "chapters"}
    if not isinstance(run, dict) or not wanted <= set(run):
        raise CorruptRun(f"{path} is damaged: it lacks {sorted(wanted - set(run))}")
    return run


def read_posterior(folder: str | Path) -> Any:
    """The posterior of a saved run.

    Raises:
        FileNotFoundError: the folder holds none.
        CorruptRun: the file cannot be read.
    """
    path = Path(folder) / "posterior.nc"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no posterior.nc")
    try:
        return from_netcdf(path)
    except (OSError, ValueError, KeyError) as error:
        raise CorruptRun(f"{path} is damaged: {str(error).splitlines()[0]}") from None


def render(folder: str | Path) -> Path:
    """Write report.html of a saved run from its run.json and figures.

    Raises:
        FileNotFoundError: run.json or a figure is missing.
    """
    folder = Path(folder)
    run = read_run(folder)

    def inline(file: str) -> str:
        data = base64.b64encode((folder / "figures" / file).read_bytes()).decode()
        return f"data:image/png;base64,{data}"

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("probact"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html").render(run=run, inline=inline)
    _write_text(folder / "report.html", page)
    return folder / "report.html"
