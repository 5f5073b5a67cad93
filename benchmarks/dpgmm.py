"""Speed of exact collapsed Gibbs beside other ways to fit a Dirichlet-process Gaussian mixture.

One thread, one run. Our chain settles first; then every round does one sweep with each peer in
turn, all from the same labels and so at the same number of components, and counts the CPU seconds
of the process, which other programs lengthen least. Reported are medians over rounds, and the
median over rounds of the ratio to ours. Run as

    OMP_NUM_THREADS=1 python benchmarks/dpgmm.py [--quick] [--json results.json]
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
from dpgmm_peers import OURS, PEERS, Task, chain
from sklearn.metrics import adjusted_rand_score

from probact.inference.dirichlet.collapsed_gibbs import CollapsedGibbs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sweeps", type=int, default=20, help="sweeps before the clock starts")
    parser.add_argument("--quick", action="store_true", help="3 rounds, sets a and c only")
    parser.add_argument("--json", type=Path, help="also write every number to this file")
    args = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        parser.error("set OMP_NUM_THREADS=1: the peers use different thread pools")
    torch.set_num_threads(1)
    rounds, names = (3, ("a", "c")) if args.quick else (args.rounds, SETS)
    results = {"machine": machine(), "sweeps": [speed(n, rounds, args.sweeps) for n in names]}
    print(report(results))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


def machine() -> dict[str, str]:
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    versions |= {"numpy": np.__version__, "numba": numba.__version__}
    return {**versions, "scikit-learn": sklearn.__version__}


def speed(name: str, rounds: int, sweeps: int) -> dict[str, Any]:
    data = load(name)
    prior = paper_prior(data.x)
    z, burn_in, moved = settled(data.x, prior, sweeps)
    tasks = {peer: make(data.x, prior, z) for peer, make in PEERS.items()}
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


def report(results: dict[str, Any]) -> str:
    rows = results["sweeps"]
    parts = [", ".join(f"{k} {v}" for k, v in results["machine"].items())]
    lines = ["| set | N x D | K | ARI | moved | first sweeps, s |", "|---" * 6 + "|"]
    for row in rows:
        spent = f"{row['sweeps']}: {row['burn_in']:.3g}"
        cells = [row["set"], f"{row['N']} x {row['D']}", row["K"], f"{row['ari']:.2f}"]
        lines.append("| " + " | ".join(map(str, [*cells, row["moved"], spent])) + " |")
    parts += ["### the settled chain", "\n".join(lines)]
    lines = ["| | " + " | ".join(row["set"] for row in rows) + " |"]
    lines.append("|---" * (len(rows) + 1) + "|")
    for peer in PEERS:
        cells = [cell(row["peers"][peer], peer == OURS) for row in rows]
        lines.append(f"| {peer} | " + " | ".join(cells) + " |")
    parts += ["### CPU seconds of one sweep, and the ratio to ours", "\n".join(lines)]
    return "\n\n".join(parts)


def cell(timing: dict[str, float], is_ours: bool) -> str:
    text = f"{timing['seconds']:.3g}"
    return text if is_ours else f"{text} ({timing['of_ours']:.3g} x)"


if __name__ == "__main__":
    main()
