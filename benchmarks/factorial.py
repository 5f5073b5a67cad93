"""Speed and mixing of Gibbs sweeps over the codes of a layer, by colouring and by form.

One thread, one run: every round makes a sweep with each kernel in turn from its own chain, and
counts the CPU seconds of the process; reported are medians over rounds. Effective samples are of
the codes, from one chain per row, their autocorrelation averaged over units and rows. Layers: ReLU
units in orthogonal groups (a colour a group), a convolution (a colour a position class and
channel), and units without structure (a colour each). Run as

    OMP_NUM_THREADS=1 python benchmarks/factorial.py [--quick] [--json results.json]
    python benchmarks/factorial.py --device cuda
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from probact.inference import FactorialGibbs
from probact.models import FactorialMixture
from probact.models.apodized_patches import conv_colours, conv_factorial_mixture

FLOOR = "one unit at a time, tensor"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="100 rows, 40 rounds")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="also write every number to this file")
    args = parser.parse_args()
    if args.device == "cpu" and os.environ.get("OMP_NUM_THREADS") != "1":
        parser.error("set OMP_NUM_THREADS=1: one thread is what is measured")
    if args.quick:
        args.rows, args.rounds = 100, 40
    torch.set_num_threads(1)
    results: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__}
    results["rows"] = args.rows
    results["layers"] = {}
    for name, (model, colours) in layers().items():
        results["layers"][name] = measure(model, colours, args)
        print(report(name, results["layers"][name]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


def layers() -> dict[str, tuple[FactorialMixture, Any]]:
    """Models by name, with colours that are known beforehand."""
    stream = torch.Generator().manual_seed(0)
    double = {"dtype": torch.float64, "generator": stream}
    grouped = torch.linalg.qr(torch.randn(4, 64, 64, **double)).Q.flatten(0, 1)
    loose = torch.nn.functional.normalize(torch.randn(64, 64, **double), dim=1)
    kernels = 0.5 * torch.randn(4, 2, 1, 4, 4, **double)
    conv = conv_factorial_mixture(kernels, [[0.5, 0.5]] * 4, 1.0, (12, 12), 2)
    return {
        "256 units in 4 orthogonal groups, D = 64": (relu(1.5 * grouped), "auto"),
        "64 loose units, D = 64": (relu(1.5 * loose), "auto"),
        "convolution, 4 channels of 4 x 4, stride 2, on 12 x 12": (
            conv,
            conv_colours(4, (5, 5), 4, 2),
        ),
    }


def relu(weight: torch.Tensor) -> FactorialMixture:
    slopes = torch.stack([torch.zeros_like(weight), weight], 1)
    return FactorialMixture(slopes, torch.full((len(weight), 2), 0.5), 1.0)


def measure(
    model: FactorialMixture, colours: Any, args: argparse.Namespace
) -> list[dict[str, Any]]:
    """A row per kernel: blocks, CPU ms a sweep, effective samples a sweep and a second."""
    x = model.sample(args.rows, seed=0).x.to(args.device)
    model, kernels = model.to(args.device), kernels_for(colours, args.device)
    generators = {name: torch.Generator(args.device).manual_seed(1) for name in kernels}
    states = {name: k.init(model, x, generators[name]) for name, k in kernels.items()}
    spent: dict[str, list[float]] = {name: [] for name in kernels}
    kept: dict[str, list[Any]] = {name: [] for name in kernels}
    for i in range(args.rounds + 10):
        for name, kernel in kernels.items():
            start = clock(args.device)
            states[name] = kernel.step(states[name], generators[name])
            if i >= 10:
                spent[name].append(clock(args.device) - start)
                kept[name].append(states[name].codes[:50].cpu().numpy())
    rows = []
    for name in kernels:
        seconds = statistics.median(spent[name])
        share = 1.0 / autocorrelation_time(np.stack(kept[name]).reshape(args.rounds, -1))
        rows.append(
            {
                "kernel": name,
                "blocks": len(states[name].problem.blocks),
                "milliseconds": 1e3 * seconds,
                "ess_per_sweep": share,
                "ess_per_second": share / seconds * args.rows,
            }
        )
    return rows


def kernels_for(colours: Any, device: str) -> dict[str, FactorialGibbs]:
    """Kernels by name; compiled ones on a CPU alone."""
    kernels = {
        FLOOR: FactorialGibbs(colours="sequential", form="tensor"),
        "coloured blocks, tensor": FactorialGibbs(colours=colours, form="tensor"),
    }
    if device == "cpu":
        kernels["one unit at a time, compiled"] = FactorialGibbs(colours="sequential")
        kernels["coloured blocks, compiled"] = FactorialGibbs(colours=colours)
    return kernels


def clock(device: str) -> float:
    """CPU seconds of the process, or seconds of the wall once the device is done."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def autocorrelation_time(series: np.ndarray) -> float:
    """1 + 2 sum rho_t of series (S, M), rho averaged over all; Geyer's positive pairs."""
    centred = series - series.mean(0)
    spectrum = np.abs(np.fft.rfft(centred, 2 * len(series), axis=0)) ** 2
    covariance = np.fft.irfft(spectrum, axis=0)[: len(series)].mean(1)
    rho = covariance / covariance[0]
    pairs = rho[: len(rho) // 2 * 2].reshape(-1, 2).sum(1)
    stop = int(np.argmax(pairs <= 0)) if (pairs <= 0).any() else len(pairs)
    return float(max(2.0 * pairs[:stop].sum() - 1.0, 1.0 / len(series)))


def report(title: str, rows: list[dict[str, Any]]) -> str:
    lines = [
        f"\n{title}\n",
        "| kernel | blocks | ms a sweep | of the floor | ESS a sweep | ESS/s of a unit |",
        "|---|---|---|---|---|---|",
    ]
    floor = next(row["milliseconds"] for row in rows if row["kernel"] == FLOOR)
    for row in rows:
        cells = f"{row['milliseconds']:.2f} | {row['milliseconds'] / floor:.3f}"
        ess = f"{row['ess_per_sweep']:.3f} | {row['ess_per_second']:.0f}"
        lines.append(f"| {row['kernel']} | {row['blocks']} | {cells} | {ess} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
