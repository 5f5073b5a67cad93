"""Seconds of a Gibbs sweep over asymmetric Laplace weights, and its ESS beside that of NUTS.

A part of `ald.py`. Figures are CPU seconds of one thread. ESS is ArviZ's bulk effective sample
size, the least of those of m, log r and log l; tuning does not count in a chain's seconds.
"""

import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import torch
from pyro.infer import NUTS
from torch import Generator, Tensor

import probact as pa
from probact.inference import LaplaceGibbs, SamplingWarning, draws

HEAD = "mobilenet_v2_1.0_224.weight"


def sweeps(weights: Tensor, form: str, rounds: int) -> list[float]:
    """CPU seconds of each of some sweeps, after two that are not counted."""
    model, kernel = pa.models.LaplaceWeights(weights), LaplaceGibbs(form=form)
    generator, seconds = Generator().manual_seed(0), []
    state = kernel.init(model, None, generator)
    for i in range(rounds + 2):
        start = time.process_time()
        state = kernel.step(state, generator)
        if i >= 2:
            seconds.append(time.process_time() - start)
    return seconds


def read_head(path: Path | None, fallback: Tensor) -> tuple[str, Tensor]:
    """The real head of the file, else the synthetic layer, with its name."""
    if path is None:
        return "synthetic layer", fallback
    head = pa.find_head(path, name=HEAD)
    return f"{HEAD.removesuffix('.weight')} head", head.weight


def mixing(weights: Tensor, num_draws: int, nuts_draws: int) -> dict[str, dict[str, float]]:
    """ESS per draw and ESS per second and class: all classes at once, one alone, NUTS on one."""
    model = pa.models.LaplaceWeights(weights)
    one = pa.models.LaplaceWeights(weights[:1])
    table = {
        "Gibbs, all classes": gibbs(model, num_draws),
        "Gibbs, one class": gibbs(one, num_draws),
    }
    with warnings.catch_warnings(action="ignore", category=SamplingWarning):
        tune = nuts_draws // 2
        start = time.process_time()
        pa.sample(one, kernel=NUTS, draws=1, tune=tune, chains=1, progress=False)
        middle = time.process_time()
        post = pa.sample(one, kernel=NUTS, draws=nuts_draws, tune=tune, chains=1, progress=False)
        seconds = (time.process_time() - middle) - (middle - start)
    names = ("loc", "rate_right", "rate_left")
    columns = torch.stack([draws(post, name) for name in names], -1)  # (S, 1, 3)
    table["NUTS, one class"] = summary(columns, seconds)
    return table


def gibbs(model: Any, num_draws: int) -> dict[str, float]:
    """One chain of the kernel alone, after 50 steps."""
    kernel, generator, kept = LaplaceGibbs(), Generator().manual_seed(1), []
    state = kernel.init(model, None, generator)
    for _ in range(50):
        state = kernel.step(state, generator)
    start = time.process_time()
    for _ in range(num_draws):
        state = kernel.step(state, generator)
        kept.append(torch.stack(state.parameters, -1))
    return summary(torch.stack(kept), time.process_time() - start)


def summary(columns: Tensor, seconds: float) -> dict[str, float]:
    """Of draws (S, K, 3) of m, r and l."""
    values = columns.numpy().copy()
    values[..., 1:] = np.log(values[..., 1:])
    classes = range(0, values.shape[1], max(1, values.shape[1] // 50))
    least = [min(float(az.ess(values[None, :, k, j])) for j in range(3)) for k in classes]
    ess = statistics.median(least)
    return {
        "ess_per_draw": ess / len(values),
        "ess_per_second": ess / seconds * values.shape[1],
        "ms_per_draw": 1e3 * seconds / len(values),
    }


def report_posterior(results: dict[str, Any]) -> list[str]:
    """Lines of markdown."""
    lines = ["", "| Gibbs sweep | form | CPU ms, median (range) |", "|---|---|---|"]
    for row in results["sweeps"]:
        ms = [1e3 * s for s in row["seconds"]]
        size = " x ".join(map(str, row["size"]))
        middle = f"{statistics.median(ms):.1f} ({min(ms):.1f} to {max(ms):.1f})"
        lines.append(f"| {size} | {row['form']} | {middle} |")
    table = results["mixing"]
    nuts = table["NUTS, one class"]["ess_per_second"]
    lines += ["", f"{results['head']}, least ESS of m, log r, log l; median over classes", ""]
    lines += ["| | ms a draw | ESS a draw | ESS/s, all classes | ratio |", "|---" * 5 + "|"]
    for name, row in table.items():
        lines.append(
            f"| {name} | {row['ms_per_draw']:.2f} | {row['ess_per_draw']:.3f} | "
            f"{row['ess_per_second']:.3g} | {row['ess_per_second'] / nuts:.3g} |"
        )
    return lines
