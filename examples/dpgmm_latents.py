"""
New latent codes from a mixture of old ones
===========================================

Section 5 of Jamroz, Kurdziel & Opala (2020) fits a Dirichlet-process Gaussian mixture to the
latent codes of an autoencoder and decodes draws from it instead of draws from the prior. This
script serves whoever has codes already (`vae_latents.py` trains autoencoders, and shows what they
decode): it reads them from a file (``--codes``: .npz, .npy or .safetensors; ``--name`` picks one
of several arrays), fits the mixture to a half of them, says how complex it is and how well it
holds for the other half, beside other laws of codes, and writes new codes, to be decoded by
whoever has the decoder, and their density.

``--quick`` takes the 8x8 digits of scikit-learn on 12 principal axes, seconds.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mixtures import Run, complexity, fit
from runs import arguments, markdown, save_numbers
from torch import Tensor

import probact as pa
from probact.files.checkpoints import read_tensors
from probact.models import code_laws
from probact.plots.style import INK, LABEL_SIZE, new_row, tidy

AXES = 12


def digit_codes() -> Tensor:
    """Digits on their principal axes, (N, d)."""
    images = torch.cat([pa.datasets.digits(train=t).floats() for t in (True, False)])
    x = images.flatten(1).double()
    x = x - x.mean(0)
    *_, right = torch.linalg.svd(x, full_matrices=False)
    return x @ right[:AXES].T


def read_codes(path: Path, name: str | None) -> Tensor:
    """The codes (N, D) of a file, as float64; what is wrong with it ends the run in a line."""
    try:
        arrays = read_tensors(path, None if name is None else [name])
    except (FileNotFoundError, LookupError, ValueError) as error:
        raise SystemExit(str(error)) from error
    if len(arrays) > 1:
        raise SystemExit(f"{path} holds {', '.join(arrays)}: choose one with --name")
    (codes,) = arrays.values()
    if codes.ndim != 2:
        raise SystemExit(f"{path}: codes must be (N, D), got shape {tuple(codes.shape)}")
    return codes.double()


def halves_of_rows(codes: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Two random halves."""
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed))
    return codes[order[: len(codes) // 2]], codes[order[len(codes) // 2 :]]


def scatter(codes: dict[str, Tensor], path: Path) -> None:
    """Codes on the first two principal axes of the first entry, which sets the frame."""
    first = next(iter(codes.values()))
    centre = first.mean(0)
    *_, right = torch.linalg.svd(first - centre, full_matrices=False)
    low, high = ((first - centre) @ right[:2].T).aminmax(dim=0)
    margin = 0.25 * (high - low)
    panels = new_row(len(codes), 2.6 * len(codes), 2.8)
    for ax, (title, points) in zip(panels, codes.items(), strict=True):
        across, up = ((points - centre) @ right[:2].T).T.numpy()
        ax.plot(across, up, ".", markersize=2, color=INK)
        ax.set_title(title, fontsize=LABEL_SIZE)
        tidy(ax, xlabel="first principal axis", ylabel="second" if ax is panels[0] else "")
        ax.set_xlim(float(low[0] - margin[0]), float(high[0] + margin[0]))
        ax.set_ylim(float(low[1] - margin[1]), float(high[1] + margin[1]))
    panels[0].figure.savefig(path, dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--codes", type=Path, help="file of codes (N, D)")
    parser.add_argument("--name", help="array of the file")
    parser.add_argument("--draws", type=int, default=500, help="kept steps of a chain")
    parser.add_argument("--new", type=int, default=1000, help="codes to draw")
    args = arguments(__doc__, argv, None, parser)
    run = Run(draws=args.draws, tune=args.draws, seed=args.seed)
    if args.quick:
        codes = digit_codes()
        run = Run(draws=60, tune=60, kept=10, num_samples=2000, moves=2, seed=args.seed)
    elif args.codes is None:
        parser.exit(2, f"{parser.prog}: pass --codes FILE, or --quick\n")
    else:
        codes = read_codes(args.codes, args.name)
    fitting, scoring = halves_of_rows(codes, args.seed)
    found = fit(fitting, run, progress=False)
    fresh = found.predictive.sample((args.new,), seed=args.seed)  # (new, D)
    laws = code_laws(fitting, mixture=found.predictive)
    density = {}
    for name, law in laws.items():
        scores = law.log_prob(scoring)
        density[name] = (float(scores.mean()), float(scores.std()) / len(scores) ** 0.5)
    numbers = {"num_codes": len(fitting), "dim": codes.shape[1], "log_density": density,
               **complexity(found, fitting, run)}  # fmt: skip
    rows = [[name, f"{mean:.3f} ± {error:.3f}"] for name, (mean, error) in density.items()]
    print(markdown(["law", "held-out log density, nats per code"], rows))
    for key in ("num_components", "relative_entropy", "total_correlation"):
        print(f"{key}: {numbers[key]['mean']:.3f} ({numbers[key]['min']:.3f} to "
              f"{numbers[key]['max']:.3f})")  # fmt: skip
    scores = found.predictive.log_prob(fresh)
    np.savez(args.out / "new_codes.npz", codes=fresh.numpy(), log_density=scores.numpy())
    plain = laws["Gaussian"].sample((args.new,), seed=args.seed)
    scatter({"codes": fitting, "mixture": fresh, "one Gaussian": plain}, args.out / "codes.png")
    save_numbers(args.out / "numbers.json", {"seed": args.seed, **numbers})


if __name__ == "__main__":
    main()
