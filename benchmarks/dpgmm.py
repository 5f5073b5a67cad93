"""Speed of exact collapsed Gibbs beside other ways to fit a Dirichlet-process Gaussian mixture.

One thread, one run. Our chain settles first; then every round does one sweep with each peer in
turn, all from the same labels and so at the same number of components, and counts the CPU seconds
of the process, which other programs lengthen least. Reported are medians over rounds, and the
median over rounds of the ratio to ours. Run as

    OMP_NUM_THREADS=1 python benchmarks/dpgmm.py [--quick] [--json results.json]
    OMP_NUM_THREADS=1 python benchmarks/dpgmm.py --only quality mixing [--full]
    python benchmarks/dpgmm.py --device cuda
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
import sklearn
import torch
from dpgmm_data import SETS, Floats, Ints, Prior, load, paper_prior
from dpgmm_peers import OURS, PEERS, SMALL_PEERS, Task, chain, have_pyrichlet
from dpgmm_quality import mixing, mixing_table, on_gpu, quality, quality_table
from sklearn.metrics import adjusted_rand_score

from probact.inference.dirichlet.collapsed_gibbs import CollapsedGibbs
from probact.inference.dirichlet.split_merge import SplitMerge

PARTS = ("speed", "quality", "mixing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sweeps", type=int, default=20, help="sweeps before the clock starts")
    parser.add_argument("--quick", action="store_true", help="3 rounds, sets a and c only")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--quality", action="store_true", help="the same as --only quality")
    parser.add_argument("--full", action="store_true", help="quality of the set paper, too")
    parser.add_argument("--seconds", type=float, default=10, help="CPU seconds of a mixing chain")
    parser.add_argument("--device", default="cpu", help="cuda: seconds of a sweep there, no more")
    parser.add_argument("--json", type=Path, help="also write every number to this file")
    args = parser.parse_args()
    if args.device == "cpu" and os.environ.get("OMP_NUM_THREADS") != "1":
        parser.error("set OMP_NUM_THREADS=1: the peers use different thread pools")
    results = measure(args)
    print(report(results))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    results: dict[str, Any] = {"machine": machine()}
    if args.device != "cpu":
        return {**results, "gpu": on_gpu(args.device, args.rounds)}
    torch.set_num_threads(1)
    parts = ["quality"] if args.quality else args.only
    rounds, names = (3, ("a", "c")) if args.quick else (args.rounds, SETS)
    if "speed" in parts:
        results["sweeps"] = [speed(n, rounds, args.sweeps) for n in names]
        results["default step"] = [default_step(n, rounds, args.sweeps) for n in names]
    if "quality" in parts:
        seeds = [("a", 0), ("a", 1), ("a", 2), ("c", 0)] + ([("paper", 0)] if args.full else [])
        results["quality"] = [row for name, seed in seeds for row in quality(name, seed)]
    if "mixing" in parts:
        results["mixing"] = [row for n in ("over", "c") for row in mixing(n, args.seconds)]
    return results


def machine() -> dict[str, str]:
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    versions |= {"numpy": np.__version__, "numba": numba.__version__}
    return {**versions, "scikit-learn": sklearn.__version__}


def speed(name: str, rounds: int, sweeps: int) -> dict[str, Any]:
    data = load(name)
    prior = paper_prior(data.x)
    z, burn_in, moved = settled(data.x, prior, sweeps)
    peers = PEERS | (SMALL_PEERS if name in ("a", "c") else {})
    tasks = {peer: make(data.x, prior, z) for peer, make in peers.items()}
    seconds = timed(tasks, rounds)
    row: dict[str, Any] = {"set": name, "N": data.x.shape[0], "D": data.x.shape[1]}
    row |= {"K": int(z.max()) + 1, "ari": adjusted_rand_score(data.labels, z), "moved": moved}
    row |= {"burn_in": burn_in, "sweeps": sweeps, "peers": {}}
    for peer, spent in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(spent, seconds[OURS], strict=True))
        row["peers"][peer] = {"seconds": statistics.median(spent), "of_ours": ratio}
    return row


def settled(x: Floats, prior: Prior, sweeps: int) -> tuple[Ints, float, float]:
    """Labels after some sweeps from random ones, CPU seconds of them, and the last moves."""
    z = np.random.default_rng(0).integers(0, prior.num_first, len(x))
    state, kernel = chain(x, prior, z), CollapsedGibbs()
    generator = torch.Generator().manual_seed(1)
    kernel.step(chain(x[:50], prior, z[:50]), generator)  # compiled before the clock starts
    start = time.process_time()
    for _ in range(sweeps):
        state = kernel.step(state, generator)
    spent = time.process_time() - start
    labels = np.unique(state.z.numpy(), return_inverse=True)[1]
    return labels, spent, state.counts["num_moved"]


def timed(tasks: dict[str, Task], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of a whole sweep of each task in each round, after one untimed round."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for i in range(rounds + 1):
        for name, task in tasks.items():
            start = time.process_time()
            task.run()
            if i:
                seconds[name].append((time.process_time() - start) / task.share)
    return seconds


def default_step(name: str, rounds: int, sweeps: int) -> dict[str, Any]:
    """CPU seconds of a step of SplitMerge and of the sweep before it, in a running chain."""
    data = load(name)
    prior = paper_prior(data.x)
    z, *_ = settled(data.x, prior, sweeps)
    state, generator = chain(data.x, prior, z), torch.Generator().manual_seed(1)
    gibbs, moves = CollapsedGibbs(), SplitMerge()
    spent: dict[str, list[float]] = {"sweep": [], "split-merge": []}
    for i in range(10 * rounds + 1):
        for label, kernel in zip(spent, (gibbs, moves), strict=True):
            start = time.process_time()
            state = kernel.step(state, generator)
            if i:
                spent[label].append(time.process_time() - start)
    medians = {label: statistics.median(values) for label, values in spent.items()}
    return {"set": name, "K": len(state.z.unique()), "moves": moves.moves, **medians}


def report(results: dict[str, Any]) -> str:
    parts = [", ".join(f"{k} {v}" for k, v in results["machine"].items())]
    if not have_pyrichlet():
        parts.append("pyrichlet cannot be imported: its rows are missing.")
    if "sweeps" in results:
        parts += speed_tables(results["sweeps"])
        parts += ["### CPU ms of a step in a running chain", step_table(results["default step"])]
    if "quality" in results:
        parts += ["### what a fit finds", quality_table(results["quality"])]
    if "mixing" in results:
        parts += ["### effective draws per CPU second", mixing_table(results["mixing"])]
    parts += [str(row) for row in results.get("gpu", [])]
    return "\n\n".join(parts)


def speed_tables(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["| set | N x D | K | ARI | moved | first sweeps, s |", "|---" * 6 + "|"]
    for row in rows:
        spent = f"{row['sweeps']}: {row['burn_in']:.3g}"
        cells = [row["set"], f"{row['N']} x {row['D']}", row["K"], f"{row['ari']:.2f}"]
        lines.append("| " + " | ".join(map(str, [*cells, row["moved"], spent])) + " |")
    parts = ["### the settled chain", "\n".join(lines)]
    lines = ["| | " + " | ".join(row["set"] for row in rows) + " |"]
    lines.append("|---" * (len(rows) + 1) + "|")
    for peer in PEERS | SMALL_PEERS:
        cells = [
            cell(row["peers"][peer], peer == OURS) if peer in row["peers"] else "" for row in rows
        ]
        lines.append(f"| {peer} | " + " | ".join(cells) + " |")
    return [*parts, "### CPU seconds of one sweep, and the ratio to ours", "\n".join(lines)]


def step_table(rows: list[dict[str, Any]]) -> str:
    lines = ["| set | K | CollapsedGibbs | SplitMerge | moves |", "|---" * 5 + "|"]
    for row in rows:
        times = [f"{1e3 * row[label]:.3g}" for label in ("sweep", "split-merge")]
        lines.append(
            "| " + " | ".join([row["set"], str(row["K"]), *times, str(row["moves"])]) + " |"
        )
    return "\n".join(lines)


def cell(timing: dict[str, float], is_ours: bool) -> str:
    text = f"{timing['seconds']:.3g}"
    return text if is_ours else f"{text} ({timing['of_ours']:.3g} x)"


if __name__ == "__main__":
    main()
