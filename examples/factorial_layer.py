"""
Do the units of a layer explain their input together?
=====================================================

A layer decides for every unit by itself. Read as one generative model of its input,
x = sum_k A_k,t_k + noise (the factorial mixture of Balestriero & Baraniuk 2019, eq. 10), its units
explain x together, and deciding by oneself is exact if and only if the units are orthogonal. What
it costs otherwise is measured here in three ways:

* Random ReLU layers, from orthogonal rows to independent ones. Coherence is the largest
  ``|<w_k, w_l>|`` over the mean ``|w_k|^2``. ``KL(q || posterior)`` in nats, by enumeration of all
  codes, for the layer (q is its sigmoids) and for mean field. On draws of the model, the share of
  units whose code is wrong and of rows with any wrong unit: for the layer, for mean field, for the
  exact marginal of each unit (which the former is least for) and for the likeliest joint code (the
  latter). Means over layers, with the standard error.
* The first layer of a small network trained on digits: plain, and with rows kept orthogonal. The
  gap on images that it was not trained on, how often the layer's code is not the likeliest one,
  and the share of wrong codes on draws of the layer's own model. The noise is one.
* Gibbs kernels where codes are too many: effective samples of the codes per sweep and per CPU
  second, by colouring, for layers made of orthogonal groups: one colour a group, or one a unit.

Full size: three minutes on one CPU core at most; no files are read. ``--quick``: seconds.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from runs import arguments, held_out_digits, markdown, save_numbers
from torch import Generator, Tensor, nn

from probact.inference import FactorialGibbs
from probact.models import FactorialMixture
from probact.nn import orthogonalize, train_classifier
from probact.plots.style import DASHES, INK, LINES, TICK_SIZE, new_row, tidy

DECIDERS = ("layer", "mean field", "marginal", "joint")


def relu_mixture(weight: Tensor, noise: float = 1.0) -> FactorialMixture:
    """Units (0, w_k) with even weights."""
    slopes = torch.stack([torch.zeros_like(weight), weight], 1)
    return FactorialMixture(slopes, torch.full((len(weight), 2), 0.5), noise)


def rows_between(share: float, units: int, dim: int, seed: int) -> Tensor:
    """Rows (K, D) of norm 1.5, a share of the way from orthogonal ones to independent ones."""
    stream = Generator().manual_seed(seed)
    square = torch.randn(dim, dim, dtype=torch.float64, generator=stream)
    frame = torch.linalg.qr(square).Q[:units]
    loose = nn.functional.normalize(
        torch.randn(units, dim, dtype=torch.float64, generator=stream), dim=1
    )
    return 1.5 * nn.functional.normalize((1.0 - share) * frame + share * loose, dim=1)


def decide(model: FactorialMixture, x: Tensor) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Codes (N, K) of each decider, and the gaps (nats) of the two factorised laws."""
    field = model.mean_field(x)
    layer = model.selection(x).argmax(-1)
    marginal = model.unit_posterior(x).argmax(-1)
    each = layer, field.codes, marginal, model.map_codes(x)
    codes = dict(zip(DECIDERS, each, strict=True))
    gaps = {
        "layer": float(model.orthogonality_gap(x).mean()),
        "mean field": float(model.orthogonality_gap(x, field.probs).mean()),
    }
    return codes, gaps


def one_layer(model: FactorialMixture, rows: int, seed: int) -> dict[str, Any]:
    """Gaps and wrong codes on draws of the model."""
    x, truth = model.sample(rows, seed=seed)
    codes, gaps = decide(model, x)
    wrong = {name: float((code != truth).double().mean()) for name, code in codes.items()}
    missed = {name: float((code != truth).any(1).double().mean()) for name, code in codes.items()}
    return {
        "coherence": float(model.coherence()),
        "gap": gaps,
        "units_wrong": wrong,
        "codes_wrong": missed,
    }


def random_layers(args: Any) -> list[dict[str, Any]]:
    """One entry per share and size: means over layers, and their standard errors."""
    shares = (0.0, 0.25, 1.0) if args.quick else (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0)
    layers, rows = (3, 100) if args.quick else (8, 500)
    found = []
    for units, dim in ((6, 12), (10, 12)):
        for share in shares:
            each = [
                one_layer(relu_mixture(rows_between(share, units, dim, s)), rows, s)
                for s in range(args.seed, args.seed + layers)
            ]
            found.append({"units": units, "dim": dim, "share": share, **summary(each)})
    return found


def summary(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """[mean, standard error] of every number over layers."""
    first, out = each[0], {}
    for name, value in first.items():
        if isinstance(value, dict):
            out[name] = summary([entry[name] for entry in each])
        else:
            column = np.array([entry[name] for entry in each])
            out[name] = [float(column.mean()), float(column.std(ddof=1) / len(column) ** 0.5)]
    return out


def trained_layers(args: Any) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Numbers of a trained layer, and the gap of each image, nats."""
    train, unseen = held_out_digits()
    images, labels = train.floats(), train.labels
    x, y = unseen.floats().flatten(1).double(), unseen.labels
    for kind in ("plain", "orthogonal"):
        torch.manual_seed(args.seed)
        layer = nn.Linear(64, 8 if args.quick else 14)
        if kind == "orthogonal":
            orthogonalize(layer, norm="learned")
        net = nn.Sequential(nn.Flatten(), layer, nn.ReLU(), nn.Linear(layer.out_features, 10))
        epochs = 5 if args.quick else 60
        *_, _ = train_classifier(net, images, labels, epochs=epochs, seed=args.seed)
        with torch.no_grad():
            accuracy = float((net(unseen.floats()).argmax(1) == y).double().mean())
        model = FactorialMixture.from_layer(layer, "relu")
        rows = x[:200] if args.quick else x
        codes, gaps = decide(model, rows)
        other = (codes["layer"] != codes["joint"]).double()
        each = model.orthogonality_gap(rows).numpy()
        own = one_layer(model, len(rows), args.seed)
        yield (
            {
                "kind": kind,
                "units": layer.out_features,
                "accuracy": accuracy,
                "coherence": own["coherence"],
                "gap": gaps,
                "gap_median": float(np.median(each)),
                "units_other": float(other.mean()),
                "codes_other": float((other.sum(1) > 0).double().mean()),
                "own_draws": own,
            },
            each,
        )


def grouped_rows(groups: int, size: int, seed: int) -> Tensor:
    """Groups of `size` orthogonal rows of norm 1.5 in `size` dimensions, (groups x size, size)."""
    stream = Generator().manual_seed(seed)
    squares = torch.randn(groups, size, size, dtype=torch.float64, generator=stream)
    return 1.5 * torch.linalg.qr(squares).Q.flatten(0, 1)


def mixing(args: Any) -> list[dict[str, Any]]:
    """Effective samples of the codes by colouring."""
    size, sweeps, rows = (8, 60, 20) if args.quick else (32, 400, 100)
    found = []
    for groups in (1, 2, 4):
        model = relu_mixture(grouped_rows(groups, size, args.seed))
        x = model.sample(rows, seed=args.seed).x
        for colours in ("auto", "sequential"):
            for form in ("compiled", "tensor"):
                kernel = FactorialGibbs(colours=colours, form=form, start="prior")
                found.append(
                    {"groups": groups, "units": groups * size, "colours": colours, "form": form}
                    | run_chain(kernel, model, x, sweeps, args.seed)
                )
    return found


def run_chain(
    kernel: FactorialGibbs, model: FactorialMixture, x: Tensor, sweeps: int, seed: int
) -> dict[str, Any]:
    """One chain a row: blocks, CPU ms a sweep, effective samples a sweep and a second."""
    generator = Generator().manual_seed(seed)
    state = kernel.init(model, x, generator)
    for _ in range(sweeps // 10):
        state = kernel.step(state, generator)
    start, kept = time.process_time(), []
    for _ in range(sweeps):
        state = kernel.step(state, generator)
        kept.append(state.codes)
    seconds = (time.process_time() - start) / sweeps
    share = 1.0 / autocorrelation_time(torch.stack(kept).double().flatten(1).numpy())
    return {
        "blocks": len(state.problem.blocks),
        "milliseconds": 1e3 * seconds,
        "ess_per_sweep": share,
        "ess_per_second": share / seconds * len(x),  # of each unit, over the rows
    }


def autocorrelation_time(series: np.ndarray) -> float:
    """1 + 2 sum rho_t of series (S, M), rho averaged over all; Geyer's positive pairs."""
    centred = series - series.mean(0)
    spectrum = np.abs(np.fft.rfft(centred, 2 * len(series), axis=0)) ** 2
    covariance = np.fft.irfft(spectrum, axis=0)[: len(series)].mean(1)
    rho = covariance / covariance[0]
    pairs = rho[: len(rho) // 2 * 2].reshape(-1, 2).sum(1)
    stop = int(np.argmax(pairs <= 0)) if (pairs <= 0).any() else len(pairs)
    return float(max(2.0 * pairs[:stop].sum() - 1.0, 1.0 / len(series)))


def draw(numbers: dict[str, Any], gaps: dict[str, np.ndarray], path: Path) -> None:
    """Gap and wrong codes against coherence, and the gaps of a trained layer's images."""
    left, middle, right = new_row(3, 10.5, 3.2)
    for (units, colour), dash in zip(((6, LINES[0]), (10, LINES[1])), DASHES, strict=False):
        table = [row for row in numbers["random"] if row["units"] == units]
        table.sort(key=lambda row: row["coherence"][0])
        across = [row["coherence"][0] for row in table]
        for ax, reading, names in (
            (left, "gap", DECIDERS[:2]),
            (middle, "units_wrong", ("layer", "marginal", "joint")),
        ):
            for name, marker in zip(names, "o^D", strict=False):
                y, error = np.array([row[reading][name] for row in table]).T
                ax.errorbar(
                    across, y, error, color=colour, linestyle=dash, marker=marker,
                    markersize=3.5, linewidth=1.1, label=f"{name}, K = {units}",
                )  # fmt: skip
    tidy(left, xlabel="coherence", ylabel="KL(q || posterior), nats", grid="y")
    tidy(middle, xlabel="coherence", ylabel="share of wrong units", grid="y")
    top = max(float(each.max()) for each in gaps.values())
    for (kind, each), colour in zip(gaps.items(), (LINES[2], LINES[0]), strict=True):
        bins = np.linspace(0.0, top, 40)
        right.hist(each, bins, color=colour, alpha=0.6, label=f"{kind} rows")
    tidy(right, xlabel="KL(layer || posterior) of an image, nats", ylabel="images", grid="y")
    for ax in (left, middle, right):
        ax.legend(fontsize=TICK_SIZE - 1, frameon=False, labelcolor=INK)
    left.figure.savefig(path, dpi=150)


def pm(pair: Sequence[float]) -> str:
    """Mean and standard error, without a minus before zero."""
    return f"{round(pair[0], 3) + 0.0:.3f} ± {pair[1]:.3f}"


def report(numbers: dict[str, Any]) -> str:
    """All numbers as markdown tables."""
    gaps, header = DECIDERS[:2], ["units", "coherence"]
    rows = []
    for row in numbers["random"]:
        pairs = [row["coherence"], *(row["gap"][name] for name in gaps)]
        pairs += [row["units_wrong"][name] for name in DECIDERS]
        pairs += [row["codes_wrong"][name] for name in ("layer", "joint")]
        rows.append([f"{row['units']} in {row['dim']}", *(pm(pair) for pair in pairs)])
    header += [f"gap: {name}" for name in gaps] + [f"units: {name}" for name in DECIDERS]
    parts = [markdown([*header, "codes: layer", "codes: joint"], rows)]
    rows = []
    for row in numbers["trained"]:
        own = row["own_draws"]["units_wrong"]
        cells = [row["accuracy"], row["coherence"], *row["gap"].values(), row["gap_median"]]
        cells += [row["units_other"], row["codes_other"], own["layer"], own["marginal"]]
        rows.append([row["kind"], *(f"{round(cell, 3) + 0.0:.3f}" for cell in cells)])
    header = ["rows", "accuracy", "coherence", "gap: layer", "gap: mean field", "median: layer"]
    header += ["units not joint", "codes not joint", "own draws: layer", "own draws: marginal"]
    parts.append(markdown(header, rows))
    rows = []
    for row in numbers["mixing"]:
        name = f"{row['units']} in {row['groups']} groups"
        cells = [name, row["colours"], row["form"], str(row["blocks"])]
        cells += [f"{row['milliseconds']:.2f}", f"{row['ess_per_sweep']:.3f}"]
        rows.append([*cells, f"{row['ess_per_second']:.0f}"])
    header = ["units", "colours", "form", "blocks", "CPU ms a sweep", "ESS a sweep", "ESS/s"]
    return "\n\n".join([*parts, markdown(header, rows)])


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(__doc__, argv, None)
    trained, gaps = [], {}
    for row, each in trained_layers(args):
        trained.append(row)
        gaps[row["kind"]] = each
    numbers = {"random": random_layers(args), "trained": trained, "mixing": mixing(args)}
    print(report(numbers))
    draw(numbers, gaps, args.out / "factorial_layer.png")
    save_numbers(args.out / "numbers.json", {"seed": args.seed, **numbers})


if __name__ == "__main__":
    main()
