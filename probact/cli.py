"""The command line: demo, report, check, info.

Exit codes: 0 done, 2 usage, 3 bad input, 4 corrupt file, 5 locked by another process, 6 disk full,
130 interrupted (143 by SIGTERM).
"""

import argparse
import errno
import signal
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import arviz as az
import torch

from probact import datasets
from probact.files.run_errors import CorruptRun, RunLocked
from probact.inference.checkpoints.run_directory import describe_run
from probact.inference.fit_result import resolve_device
from probact.inference.training.fit_config import is_fit_folder
from probact.inference.training.fit_folder import describe_fit
from probact.report import read_posterior, read_run, render, run_demo

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; errors are one line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except KeyboardInterrupt as error:
        print(str(error) or "interrupted", file=sys.stderr)
        return 128 + getattr(error, "signal", signal.SIGINT)
    except CorruptRun as error:
        print(f"probact: {error}", file=sys.stderr)
        return 4
    except RunLocked as error:
        print(f"probact: {error}", file=sys.stderr)
        return 5
    except (ValueError, OSError) as error:
        print(f"probact: {error}", file=sys.stderr)
        return 6 if isinstance(error, OSError) and error.errno == errno.ENOSPC else 3
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="probact", description=__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=metadata.version("probact"))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="train, fit, sample and report on one data set")
    demo.add_argument("--dataset", default="digits", help=f"one of {', '.join(datasets.names())}")
    demo.add_argument("--root", help="folder of the data sets (the digits need none)")
    demo.add_argument("--out", default="probact-demo", help="folder of the run")
    demo.add_argument("--seed", type=int, default=0)
    demo.add_argument(
        "--threads", type=int, default=1, help="of the CPU; more only pays on large images"
    )
    demo.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    demo.set_defaults(command=_demo)
    for name, command, what in (
        ("report", _report, "write report.html of a saved run again"),
        ("info", _info, "say what a saved run or a checkpoint holds"),
    ):
        sub = commands.add_parser(name, help=what)
        sub.add_argument("dir", metavar="DIR", help="folder of the run")
        sub.set_defaults(command=command)
    check = commands.add_parser("check", help="print versions and devices")
    check.set_defaults(command=_check)
    return parser


def _demo(options: argparse.Namespace) -> None:
    if options.threads < 1:
        raise ValueError(f"--threads must be at least 1, got {options.threads}")
    torch.set_num_threads(options.threads)
    started = time.perf_counter()

    def say(line: str) -> None:
        print(f"[{time.perf_counter() - started:6.1f} s] {line}", flush=True)

    page = run_demo(
        options.dataset,
        root=options.root,
        out=options.out,
        seed=options.seed,
        device=resolve_device(options.device),
        say=say,
    )
    say("done")
    _summarise(page.parent)
    print(f"\nOpen {page} in a browser; `probact info {page.parent}` says the same again.")


def _report(options: argparse.Namespace) -> None:
    print(render(options.dir))


def _info(options: argparse.Namespace) -> None:
    folder = Path(options.dir)
    if is_fit_folder(folder):
        _info_of_fit(folder)
        return
    if (folder / "config.json").exists() or (folder / "chain-0").exists():
        _info_of_chains(folder)
        return
    run = read_run(folder)
    made = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    print(f"{run['dataset']}, seed {run['seed']}, {run['device']}, {run['created_at']}; {made}")
    _summarise(folder)


def _info_of_chains(folder: Path) -> None:
    """How far a checkpoint of `probact.sample` got."""
    run = describe_run(folder)
    made = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    print(f"chains of {run.model} by {run.kernel}, begun {run.created_at}; {made}")
    print(", ".join(f"{name} {value}" for name, value in run.settings.items()))
    for chain, done in enumerate(run.done):
        print(f"chain {chain}: {done} of {run.steps} steps")
    if min(run.done) < run.steps:
        print(f'go on with probact.inference.resume("{folder}", model, data)')


def _info_of_fit(folder: Path) -> None:
    """How far a checkpoint of `probact.fit` got."""
    run = describe_fit(folder)
    made = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    print(f"fit of {run.model}, begun {run.created_at}; {made}")
    print(", ".join(f"{name} {value}" for name, value in run.settings.items()))
    end = " (stopped early)" if run.finished and run.epochs < run.settings["epochs"] else ""
    last = "" if run.loss is None else f", last loss {run.loss:.6g} nats"
    print(f"{run.epochs} of {run.settings['epochs']} epochs{end}{last}")
    if run.best_epoch is not None:
        print(f"best epoch {run.best_epoch}, validation loss {run.best_loss:.6g} nats")
    if not run.finished:
        print(f'go on with the same call of probact.fit(..., checkpoint="{folder}")')


def _summarise(folder: Path) -> None:
    """Words of the report, then ArviZ's summary of the posterior."""
    for chapter in read_run(folder)["chapters"]:
        print(f"\n{chapter['title']}")
        for block in chapter["blocks"]:
            if block["kind"] == "text":
                print(f"  {block['words']}")
    posterior = read_posterior(folder)
    print(f"\n{az.summary(posterior).to_string()}")


def _check(options: argparse.Namespace) -> None:
    for name in (
        "probact",
        "torch",
        "torchvision",
        "pyro-ppl",
        "arviz",
        "xarray",
        "numpy",
        "scipy",
    ):
        print(f"{name:12} {metadata.version(name)}")
    print(f"{'python':12} {sys.version.split()[0]}")
    print(f"{'threads':12} {torch.get_num_threads()}")
    if not torch.cuda.is_available():
        print(f"{'cuda':12} none")
    for index in range(torch.cuda.device_count()):
        print(f"{f'cuda:{index}':12} {torch.cuda.get_device_name(index)}")
