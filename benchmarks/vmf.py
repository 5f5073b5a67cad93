"""Speed and correctness of von Mises-Fisher draws and densities beside other packages.

One thread, one run: every round runs each peer once, in turn, and counts the CPU seconds of the
process, which other programs lengthen least. Reported are medians over rounds, and the median over
rounds of the ratio to the floor (d Gaussians from torch for each draw). Run as

    OMP_NUM_THREADS=1 python benchmarks/vmf.py [--quick] [--json results.json]
"""

import argparse
import json
import math
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import scipy
import torch
from torch import Tensor
from vmf_peers import Peer, Task, floor, peers

from probact.distributions import VonMisesFisher

DIMS = (3, 20, 128, 512, 2048)
KAPPAS = (85.0, 1000.0)
DTYPES = (torch.float32, torch.float64)
FLOOR = "floor: torch.randn"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="3 rounds, d = 3 and 128 only")
    parser.add_argument("--json", type=Path, help="also write every number to this file")
    args = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        parser.error("set OMP_NUM_THREADS=1: the peers use different thread pools")
    one_thread = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ.setdefault("XLA_FLAGS", one_thread)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rounds, dims = (3, (3, 128)) if args.quick else (args.rounds, DIMS)
    results = {
        "machine": machine(),
        "draws": draws(dims, rounds),
        "density": densities(dims, rounds),
        "correctness": correctness(dims),
        "gradient": gradients(rounds),
    }
    print(report(results))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


def machine() -> dict[str, str]:
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return {**versions, "scipy": scipy.__version__, "numpy": np.__version__}


def parameters(
    dim: int, kappa: float, n: int, each: bool, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """One (mu, kappa), or one for each of n draws."""
    noise = np.random.default_rng(dim).normal(size=(n, dim) if each else dim)
    mu = torch.tensor(noise / np.linalg.norm(noise, axis=-1, keepdims=True), dtype=dtype)
    return mu, torch.full((n,) if each else (), kappa, dtype=dtype)


def draws_per_call(dim: int) -> int:
    """About 2^20 numbers a call: long enough to time, short enough for many rounds."""
    return min(1 << 17, max(256, (1 << 20) // dim))


def timed(tasks: dict[str, Task], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of the process for each task in each round, after one untimed round."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for i in range(rounds + 1):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            if i:
                seconds[name].append(time.process_time() - start)
    return seconds


def draws(dims: tuple[int, ...], rounds: int) -> list[dict[str, Any]]:
    rows = []
    for dim in dims:
        n = draws_per_call(dim)
        for dtype in DTYPES:
            for each in (False, True):
                for kappa in KAPPAS:
                    mu, k = parameters(dim, kappa, n, each, dtype)
                    made = {peer.name: peer.draws(mu, k, n) for peer in peers()}
                    tasks = {FLOOR: floor(n, dim, dtype)}
                    tasks |= {name: task for name, task in made.items() if task is not None}
                    seconds = timed(tasks, rounds)
                    rows += rates(
                        seconds, n, dim=dim, kappa=kappa, each=each, dtype=str(dtype)[6:]
                    )
    return rows


def rates(seconds: dict[str, list[float]], n: int, **labels: Any) -> list[dict[str, Any]]:
    base = seconds.get(FLOOR)
    rows = []
    for name, spent in seconds.items():
        row = {**labels, "peer": name, "per_second": n / statistics.median(spent)}
        if base:
            row["of_floor"] = statistics.median(b / s for b, s in zip(base, spent, strict=True))
        rows.append(row)
    return rows


def densities(dims: tuple[int, ...], rounds: int) -> list[dict[str, Any]]:
    rows = []
    for dim in dims:
        n = draws_per_call(dim)
        for dtype in DTYPES:
            for each in (False, True):
                mu, k = parameters(dim, 85.0, n, each, dtype)
                x = VonMisesFisher(mu, k).sample(() if each else (n,))
                made = {peer.name: peer.density(mu, k, x) for peer in peers()}
                tasks = {name: task for name, task in made.items() if task is not None}
                seconds = timed(tasks, rounds)
                rows += rates(seconds, n, dim=dim, kappa=85.0, each=each, dtype=str(dtype)[6:])
    return rows


def correctness(dims: tuple[int, ...]) -> list[dict[str, Any]]:
    """Error of the mean cosine in standard errors (20,000 draws or so), each under its own law."""
    rows = []
    for dim in dims:
        n = min(20_000, 4 * draws_per_call(dim))
        for kappa in KAPPAS:
            for dtype in DTYPES:
                mu, k = parameters(dim, kappa, n, False, dtype)
                for peer in peers():
                    task = peer.draws(mu, k, n)
                    if task is None:
                        continue
                    cosine = np.asarray(task(), dtype=np.float64) @ mu.double().numpy()
                    error = cosine.mean() - mean_cosine(peer, kappa, dim)
                    z = error / (cosine.std() / math.sqrt(n))
                    labels = {"dim": dim, "kappa": kappa, "dtype": str(dtype)[6:]}
                    rows.append({**labels, "peer": peer.name, "z": float(z)})
    return rows


def mean_cosine(peer: Peer, kappa: float, dim: int) -> float:
    if peer.law == "power spherical":
        return kappa / (dim - 1.0 + kappa)
    half = mpmath.mpf(dim) / 2
    return float(mpmath.besseli(half, kappa) / mpmath.besseli(half - 1, kappa))


def gradients(rounds: int) -> list[dict[str, Any]]:
    """Milliseconds of rsample and backward for a batch of 64 directions and concentrations."""
    rows = []
    for dim in (3, 11, 128):
        for dtype in DTYPES:
            mu, k = parameters(dim, 20.0, 64, True, dtype)
            mu, k = mu.requires_grad_(), k.requires_grad_()
            tasks = {"probact": reparameterised(VonMisesFisher, mu, k)}
            if any(peer.name == "power_spherical" for peer in peers()):
                from power_spherical import PowerSpherical

                tasks["power_spherical"] = reparameterised(PowerSpherical, mu, k)
            for name, spent in timed(tasks, 20 * rounds).items():
                labels = {"dim": dim, "dtype": str(dtype)[6:], "peer": name}
                rows.append({**labels, "milliseconds": 1e3 * statistics.median(spent)})
    return rows


def reparameterised(law: Any, mu: Tensor, kappa: Tensor) -> Task:
    weight = torch.linspace(-1.0, 1.0, mu.shape[-1], dtype=mu.dtype)

    def step() -> None:
        mu.grad = kappa.grad = None
        (law(mu, kappa).rsample() @ weight).sum().backward()

    return step


def report(results: dict[str, Any]) -> str:
    parts = [", ".join(f"{k} {v}" for k, v in results["machine"].items())]
    for each in (False, True):
        which = "one (mu, kappa) for each draw" if each else "shared (mu, kappa)"
        for kind, kappas in (("draws", KAPPAS), ("density", (85.0,))):
            for kappa in kappas:
                rows = [r for r in results[kind] if r["each"] == each and r["kappa"] == kappa]
                parts += [f"### {kind} per second, {which}, kappa = {kappa:g}", grid(rows, rate)]
    parts += ["### error of the mean cosine, in standard errors"]
    for kappa in KAPPAS:
        rows = [r for r in results["correctness"] if r["kappa"] == kappa]
        parts += [f"kappa = {kappa:g}", grid(rows, lambda r: f"{r['z']:+.1f}")]
    rows = results["gradient"]
    parts += ["### rsample + backward, batch of 64, milliseconds"]
    parts += [grid(rows, lambda r: f"{r['milliseconds']:.2f}")]
    return "\n\n".join(parts)


def rate(row: dict[str, Any]) -> str:
    value = row["per_second"]
    unit, scale = ("M", 1e6) if value >= 1e6 else ("k", 1e3)
    text = f"{value / scale:.3g}{unit}"
    return f"{text} ({100 * row['of_floor']:.0f} %)" if "of_floor" in row else text


def grid(rows: list[dict[str, Any]], cell: Any) -> str:
    """A markdown table: peers and types down, dimensions across."""
    dims = sorted({row["dim"] for row in rows})
    cells = {(row["peer"], row["dtype"], row["dim"]): cell(row) for row in rows}
    lines = ["| | " + " | ".join(f"d = {d}" for d in dims) + " |", "|---" * (len(dims) + 1) + "|"]
    for name, dtype in dict.fromkeys((row["peer"], row["dtype"]) for row in rows):
        values = " | ".join(cells.get((name, dtype, d), "") for d in dims)
        lines.append(f"| {name}, {dtype} | {values} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
