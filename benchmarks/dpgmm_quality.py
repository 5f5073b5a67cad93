"""What a fit finds, how well a chain mixes, and seconds on a GPU; the tables that print them.

Quality: our default chain through `probact.sample`, the variational fit of scikit-learn at 50
components run to convergence, and pyrichlet for the CPU seconds that we took. Mixing: effective
sample sizes per CPU second from one state, for kernels of ours.
"""

import statistics
import time
import warnings
from typing import Any

import arviz
import numpy as np
import torch
from dpgmm_data import DataSet, load, paper_prior
from dpgmm_peers import conditional_chain, have_pyrichlet, variational_model
from sklearn.metrics import adjusted_rand_score

import probact
from probact.distributions import NormalInverseWishart
from probact.inference import CollapsedGibbs, SliceGibbs, SplitMerge, Sweep
from probact.inference.dirichlet.problem import pose
from probact.inference.dirichlet.state import DPState, log_joint
from probact.models import DPGMM

__all__ = ["KERNELS", "mixing", "mixing_table", "on_gpu", "quality", "quality_table"]

KERNELS = {
    "CollapsedGibbs alone": CollapsedGibbs(),
    "the default: with SplitMerge": Sweep([CollapsedGibbs(), SplitMerge()]),
}
_TRUNCATION = 50
_COLUMNS = ("seconds", "K", "ARI", "log density", "log joint", "that of the true labels")


def quality(name: str, seed: int) -> list[dict[str, Any]]:
    data = load(name)
    rows = [ours(data, seed)]
    rows += [truncated(data, seed)]
    if have_pyrichlet() and name != "paper":
        rows += [conditional(data, seed, rows[0]["seconds"])]
    return [{"set": name, "oracle": data.oracle, "seed": seed, **row} for row in rows]


def ours(data: DataSet, seed: int) -> dict[str, Any]:
    x = torch.from_numpy(data.x)
    model = DPGMM(NormalInverseWishart.from_data(x))
    start = time.process_time()
    with warnings.catch_warnings(action="ignore"):
        post = probact.sample(model, x, draws=100, tune=100, chains=1, seed=seed, progress=False)
    spent = time.process_time() - start
    z = np.asarray(post.posterior["z"])[0, -1].astype(np.int64)
    alpha = torch.as_tensor(float(post.posterior["alpha"][0, -1]), dtype=torch.float64)
    problem, one = pose(model, x), torch.tensor(1.0, dtype=torch.float64)
    joints = [
        float(log_joint(DPState(torch.from_numpy(labels), alpha, one, problem, {})))
        for labels in (z, np.unique(data.labels, return_inverse=True)[1])
    ]
    score = model.held_out_log_density(post, torch.from_numpy(data.held_out)).mean
    return {
        "fit": "probact.sample, 200 steps",
        "seconds": spent,
        "K": int(z.max()) + 1,
        "ARI": adjusted_rand_score(data.labels, z),
        "log density": score,
        "log joint": joints[0],
        "that of the true labels": joints[1],
    }


def truncated(data: DataSet, seed: int) -> dict[str, Any]:
    model = variational_model(paper_prior(data.x), _TRUNCATION)
    model.set_params(max_iter=1000, random_state=seed)
    start = time.process_time()
    with warnings.catch_warnings(action="ignore"):
        z = model.fit_predict(data.x)
    spent = time.process_time() - start
    return {
        "fit": f"scikit-learn, {_TRUNCATION} components, {model.n_iter_} iterations",
        "seconds": spent,
        "K": len(np.unique(z)),
        "ARI": adjusted_rand_score(data.labels, z),
        "log density": float(model.score(data.held_out)),
    }


def conditional(data: DataSet, seed: int, seconds: float) -> dict[str, Any]:
    """The second half of its steps is kept, every tenth."""
    start = time.process_time()
    model = conditional_chain(data.x, paper_prior(data.x), seed)
    count = 0
    while (spent := time.process_time() - start) < seconds:
        model._gibbs_step()
        count += 1
        if spent > seconds / 2 and count % 10 == 0:
            model.sim_params.append(model._get_run_params())
    model.gibbs_fitted = True
    density = model.gibbs_eap_density(data.held_out)
    return {
        "fit": f"pyrichlet, {count} steps",
        "seconds": spent,
        "K": len(np.unique(model.d)),
        "ARI": adjusted_rand_score(data.labels, model.d),
        "log density": float(np.log(density).mean()),
    }


def mixing(name: str, seconds: float) -> list[dict[str, Any]]:
    """All kernels from one state, after 300 steps of the default; means of two seeds."""
    x = torch.from_numpy(load(name).x)
    model, generator = DPGMM(NormalInverseWishart.from_data(x)), torch.Generator().manual_seed(1)
    first = CollapsedGibbs(start="k-means++").init(model, x, generator)
    for _ in range(300):
        first = KERNELS["the default: with SplitMerge"].step(first, generator)
    rows = []
    for label, kernel in KERNELS.items():
        runs = [_trace(kernel, first, seconds, seed) for seed in (2, 3)]
        row = {key: statistics.mean(run[key] for run in runs) for key in runs[0]}
        row["mean lp"] = [round(run["mean lp"], 1) for run in runs]
        rows.append({"set": name, "kernel": label, **row})
    return rows


def _trace(kernel: Any, state: DPState, seconds: float, seed: int) -> dict[str, Any]:
    generator, spent = torch.Generator().manual_seed(seed), 0.0
    values: dict[str, list[float]] = {"K": [], "alpha": [], "lp": []}
    while spent < seconds:
        start = time.process_time()
        state = kernel.step(state, generator)
        spent += time.process_time() - start
        values["K"].append(len(state.z.unique()))
        values["alpha"].append(float(state.alpha))
        values["lp"].append(float(log_joint(state)))
    ess = {key: float(arviz.ess(np.array(v)[None])) / spent for key, v in values.items()}
    steps = len(values["K"]) / spent
    return {"steps": steps, **ess, "mean lp": statistics.mean(values["lp"])}


def on_gpu(device: str, rounds: int) -> list[dict[str, Any]]:
    """Seconds of a sweep, and of the product of 2 N K D^2 operations that it cannot do without."""
    rows = []
    for kernel, n, d, k in (
        (CollapsedGibbs(form="speculative"), 25_600, 81, 20),
        (SliceGibbs(), 1_000_000, 64, 20),
    ):
        generator = torch.Generator(device).manual_seed(0)
        z = torch.arange(n, device=device) % k
        x = torch.randn(n, d, dtype=torch.float64, device=device, generator=generator)
        x += 2 * torch.randn(k, d, dtype=torch.float64, device=device, generator=generator)[z]
        model = DPGMM(NormalInverseWishart.from_data(x), concentration=1.0)
        one = torch.ones((), dtype=torch.float64, device=device)
        state = DPState(z, one, one, pose(model, x), {})
        seconds = []
        for _ in range(rounds + 1):
            torch.cuda.synchronize()
            start = time.perf_counter()
            state = kernel.step(state, generator)
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        count = len(state.z.unique())
        sweep, floor = statistics.median(seconds[1:]), _product_seconds(x, count, rounds)
        size = {"kernel": type(kernel).__name__, "N": n, "D": d, "K": count}
        rows.append({**size, "seconds": sweep, "of the product": sweep / floor})
    return rows


def _product_seconds(x: torch.Tensor, count: int, rounds: int) -> float:
    whiten = torch.randn(x.shape[1], count * x.shape[1], dtype=x.dtype, device=x.device)
    seconds = []
    for _ in range(rounds + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for rows in x.split(1 << 14):
            rows @ whiten
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def quality_table(rows: list[dict[str, Any]]) -> str:
    lines = ["| set | fit | " + " | ".join(_COLUMNS) + " |", "|---" * 8 + "|"]
    for row in rows:
        formats = ("{:.3g}", "{}", "{:.2f}", "{:.2f}", "{:.0f}", "{:.0f}")
        cells = [
            f.format(row[c]) if c in row else "" for c, f in zip(_COLUMNS, formats, strict=True)
        ]
        lines.append("| " + " | ".join([row["set"], row["fit"], *cells]) + " |")
    return "\n".join(lines)


def mixing_table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| set | kernel | steps/s | K | alpha | lp | mean lp of two chains |",
        "|---" * 7 + "|",
    ]
    for row in rows:
        cells = [f"{row[key]:.3g}" for key in ("steps", "K", "alpha", "lp")]
        lps = ", ".join(f"{value:.1f}" for value in row["mean lp"])
        lines.append("| " + " | ".join([row["set"], row["kernel"], *cells, lps]) + " |")
    return "\n".join(lines)
