"""Speed and memory of asymmetric Laplace fits of a final layer, beside scipy's.

One thread, one run: every round fits the whole layer by `fit_asymmetric_laplace`, sorts it alone
(the floor), and fits a few of its rows by `scipy.stats.laplace_asymmetric.fit`, whose CPU seconds
are scaled up to all rows. Reported are medians over rounds, the median ratio and its range, and by
how many nats our log-likelihoods exceed scipy's. Memory is the largest resident set of a fresh
process during one fit beyond that before it, as a multiple of the layer's own (Linux).

Then the posterior, see `ald_posterior`: Gibbs sweeps of the same layers, and their ESS beside that
of Pyro's NUTS, on a real head where `--heads` names a file that holds one. Run as

    OMP_NUM_THREADS=1 python benchmarks/ald.py [--quick] [--json results.json] [--heads FILE]
    python benchmarks/ald.py --device cuda
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch
from ald_posterior import mixing, read_head, report_posterior, sweeps
from scipy import stats
from torch import Generator, Tensor

from probact.analysis.laplace_fits import (
    compare_families,
    fit_asymmetric_laplace,
    goodness_of_fit,
)
from probact.distributions import AsymmetricLaplace

SIZES = ((1000, 2048), (21841, 1024))
ROW_LAWS = ("asymmetric Laplace", "normal", "Student t, 5 degrees")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, default=12, help="rows that scipy fits in a round")
    parser.add_argument("--quick", action="store_true", help="3 rounds, 1000 x 2048 only")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--heads", type=Path, help="safetensors file with the MobileNet v2 head")
    parser.add_argument("--json", type=Path, help="also write every number to this file")
    parser.add_argument("--memory-of", nargs=2, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.device == "cpu" and os.environ.get("OMP_NUM_THREADS") != "1":
        parser.error("set OMP_NUM_THREADS=1: contestants must not differ in threads")
    torch.set_num_threads(1)
    if args.memory_of:
        print(extra_memory(layer(*args.memory_of)))
        return
    rounds, sizes = (3, SIZES[:1]) if args.quick else (args.rounds, SIZES)
    results: dict[str, Any] = {"machine": machine(), "sizes": []}
    for size in sizes:
        results["sizes"].append(measured(size, rounds, args))
    if args.device == "cpu":
        results["tests"] = other_readings(SIZES[0])
        results["posterior"] = posterior(sizes, args)
    print(report(results))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


def machine() -> dict[str, str]:
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return {**versions, "scipy": scipy.__version__, "numpy": np.__version__}


def layer(classes: int, features: int) -> Tensor:
    """float32 weights, row k from the law of number k modulo 3."""
    generator = Generator().manual_seed(0)
    kappa = torch.exp(0.3 * torch.randn(classes, generator=generator))
    law = AsymmetricLaplace(-0.01 * torch.ones(classes), 0.03 * torch.ones(classes), kappa)
    rows = law.sample((features,), generator=generator).mT.contiguous()
    rows[1::3] = 0.03 * torch.randn(rows[1::3].shape, generator=generator)
    heavy = stats.t(5, 0.0, 0.02).rvs(rows[2::3].shape, random_state=np.random.default_rng(0))
    rows[2::3] = torch.from_numpy(heavy).float()
    return rows


def measured(size: tuple[int, int], rounds: int, args: argparse.Namespace) -> dict[str, Any]:
    weights = layer(*size)
    held = weights.to(args.device)
    chosen = np.linspace(0, size[0] - 3, args.rows).astype(int)
    chosen = chosen - chosen % 3 + np.arange(args.rows) % 3  # as many rows of each law
    few = weights.double().numpy()[chosen]
    seconds: dict[str, list[float]] = {"probact": [], "sort": [], "scipy": []}
    tasks: dict[str, Callable[[], Any]] = {
        "probact": lambda: fit_asymmetric_laplace(held),
        "sort": lambda: np.sort(weights.numpy(), axis=-1),
        "scipy": lambda: [stats.laplace_asymmetric.fit(row) for row in few],
    }
    for i in range(rounds + 1):
        for name, task in tasks.items():
            spent = seconds_of(task, args.device if name == "probact" else "cpu")
            if i:
                seconds[name].append(spent * (size[0] / len(few) if name == "scipy" else 1.0))
    return {
        "size": size,
        "seconds": seconds,
        "memory": None if args.device != "cpu" else memory_of(size),
        "gains": gains(few, chosen),
    }


def seconds_of(task: Callable[[], Any], device: str) -> float:
    """CPU seconds of the process; on a GPU, seconds of wall time."""
    if device == "cpu":
        start = time.process_time()
        task()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    task()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def gains(few: np.ndarray, chosen: np.ndarray) -> dict[str, list[float]]:
    """Our maximum log-likelihood less scipy's, nats, for rows of each law."""
    ours = fit_asymmetric_laplace(few).loglik.tolist()
    found: dict[str, list[float]] = {name: [] for name in ROW_LAWS}
    for row, number, loglik in zip(few, chosen, ours, strict=True):
        theirs = stats.laplace_asymmetric.logpdf(row, *stats.laplace_asymmetric.fit(row)).sum()
        found[ROW_LAWS[number % 3]].append(loglik - float(theirs))
    return found


def other_readings(size: tuple[int, int]) -> dict[str, float]:
    """CPU seconds of the readings that go with a fit, all classes, once each."""
    weights = layer(*size)
    compare_families(weights[:70])
    return {
        "compare_families, seven families": seconds_of(lambda: compare_families(weights), "cpu"),
        "goodness_of_fit, 5 x 999 refits": seconds_of(lambda: goodness_of_fit(weights), "cpu"),
    }


def posterior(sizes: tuple[tuple[int, int], ...], args: argparse.Namespace) -> dict[str, Any]:
    """Sweeps of every size, all segments at once for the first; mixing on a head."""
    pairs = [(size, "compiled") for size in sizes] + [(sizes[0], "tensor")]
    timed = [
        {"size": size, "form": form, "seconds": sweeps(layer(*size), form, 11)}
        for size, form in pairs
    ]
    name, weights = read_head(args.heads, layer(*SIZES[0]))
    numbers = (300, 200) if args.quick else (1000, 1000)
    return {"sweeps": timed, "head": name, "mixing": mixing(weights, *numbers)}


def memory_of(size: tuple[int, int]) -> float | None:
    """In a fresh process whose allocator gives back what is freed."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    command = [sys.executable, __file__, "--memory-of", *map(str, size)]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def extra_memory(weights: Tensor) -> float:
    """Peak of a fit beyond what is held before it, as a multiple of the weights' memory."""
    fit_asymmetric_laplace(weights[:3])  # loads what is loaded lazily
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest resident set so far
    before = status("VmRSS")
    fit = fit_asymmetric_laplace(weights)
    extra = 1024.0 * (status("VmHWM") - before)
    assert len(fit.loc) == len(weights)
    return extra / (weights.numel() * weights.element_size())


def status(field: str) -> int:
    """KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def report(results: dict[str, Any]) -> str:
    lines = [", ".join(f"{k} {v}" for k, v in results["machine"].items()), ""]
    lines += ["| | probact, s | sort alone, s | scipy, s | ratio (range) | extra memory |"]
    lines += ["|---" * 6 + "|"]
    for row in results["sizes"]:
        seconds = row["seconds"]
        middle = {name: statistics.median(spent) for name, spent in seconds.items()}
        ratios = [b / a for a, b in zip(seconds["probact"], seconds["scipy"], strict=True)]
        memory = "" if row["memory"] is None else f"{row['memory']:.2f} x"
        lines.append(
            f"| {row['size'][0]} x {row['size'][1]} | {middle['probact']:.3f} | "
            f"{middle['sort']:.3f} | {middle['scipy']:.1f} | {statistics.median(ratios):.0f} "
            f"({min(ratios):.0f} to {max(ratios):.0f}) | {memory} |"
        )
    lines += ["", "log-likelihood less scipy's, nats: smallest, median, largest", ""]
    for name in ROW_LAWS:
        gain = [g for row in results["sizes"] for g in row["gains"][name]]
        lines.append(
            f"- {name}: {min(gain):+.1e}, {statistics.median(gain):+.1e}, {max(gain):+.2g}"
        )
    lines += [f"- {name}: {spent:.2f} s" for name, spent in results.get("tests", {}).items()]
    if "posterior" in results:
        lines += report_posterior(results["posterior"])
    return "\n".join(lines)


if __name__ == "__main__":
    main()
