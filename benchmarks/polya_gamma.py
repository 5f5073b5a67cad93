"""Draws of the Polya-Gamma law PG(1, z) per second, beside the package polyagamma where installed.

One thread, one run: every round draws once by the compiled loop (what `PolyaGamma.sample` does on
a CPU), once by tensor operations (what it does elsewhere) and once by `random_polyagamma(1, z)`,
for tilts 2 Normal(0, 1), which a softmax layer has, and for fixed ones. Reported are medians over
rounds and the median ratio with its range, of CPU time. Run as

    OMP_NUM_THREADS=1 python benchmarks/polya_gamma.py [--quick] [--json results.json]
    python benchmarks/polya_gamma.py --device cuda
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from probact.distributions.polya_gamma_draws import draw_in_loop, draw_with_tensors

SIZES = (1797, 100_000, 1_000_000)
TILTS = (0.0, 2.5, 20.0, 80.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="3 rounds, without the largest size")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="also write every number to this file")
    args = parser.parse_args()
    if args.device == "cpu" and os.environ.get("OMP_NUM_THREADS") != "1":
        parser.error("set OMP_NUM_THREADS=1: contestants must not differ in threads")
    torch.set_num_threads(1)
    rounds, sizes = (3, SIZES[:2]) if args.quick else (args.rounds, SIZES)
    cases = {f"2 Normal, {n}": 2.0 * normal(n) for n in sizes}
    cases |= {f"z = {z:g}, {sizes[1]}": torch.full((sizes[1],), z).double() for z in TILTS}
    results = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "seconds": {name: measured(tilt, rounds, args.device) for name, tilt in cases.items()},
    }
    print(report(results, {name: len(tilt) for name, tilt in cases.items()}))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


def normal(count: int) -> Tensor:
    return torch.randn(count, dtype=torch.float64, generator=Generator().manual_seed(0))


def measured(tilt: Tensor, rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of each round by contestant; a first round is not counted."""
    own, held = Generator().manual_seed(1), tilt.to(device)
    there = Generator(device).manual_seed(1)
    tasks: dict[str, Callable[[], Any]] = {
        "loop": lambda: draw_in_loop(tilt, own),
        "tensors": lambda: draw_with_tensors(held, there),
    }
    try:
        from polyagamma import random_polyagamma
    except ImportError:
        pass
    else:
        array = tilt.numpy()
        tasks["polyagamma"] = lambda: random_polyagamma(1, array)
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for i in range(rounds + 1):
        for name, task in tasks.items():
            spent = seconds_of(task, device)
            if i:
                seconds[name].append(spent)
    return seconds


def seconds_of(task: Callable[[], Any], device: str) -> float:
    """CPU seconds of the process; beside a GPU, seconds of wall time."""
    if device == "cpu":
        start = time.process_time()
        task()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    task()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def report(results: dict[str, Any], counts: dict[str, int]) -> str:
    lines = [f"python {results['python']}, torch {results['torch']}; millions of draws a second"]
    lines += ["", "| tilts | loop | tensors | polyagamma | loop / polyagamma (range) |"]
    lines += ["|---" * 5 + "|"]
    for name, seconds in results["seconds"].items():
        speeds = {
            who: f"{counts[name] / statistics.median(spent) / 1e6:.2f}"
            for who, spent in seconds.items()
        }
        other = seconds.get("polyagamma", [])
        ratios = [theirs / ours for ours, theirs in zip(seconds["loop"], other, strict=False)]
        ratio = ""
        if ratios:
            ratio = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        row = [name, speeds["loop"], speeds["tensors"], speeds.get("polyagamma", ""), ratio]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
