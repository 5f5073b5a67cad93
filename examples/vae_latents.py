"""
What a VAE's regulariser does to its codes, and better samples from them
========================================================================

Section 5 of Jamroz, Kurdziel & Opala (2020). beta-VAEs and MMD-VAEs (`probact.models.GaussianVAE`)
are trained on faces over a grid of beta; a Dirichlet-process Gaussian mixture is fitted to the
codes of images that they were not trained on, one draw of the encoder an image. Four claims of the
paper are put to the test, each by a number:

* collapse: beyond beta = 10 the codes of a beta-VAE are one Gaussian (relative entropy near 0);
* structure: an MMD-VAE keeps structure in its codes at large beta;
* marginals: images decoded from the product of the mixture's marginals are worse than those from
  the mixture, so that the dependence between coordinates (total correlation) matters;
* mixture: images of an MMD-VAE are better from the mixture than from the prior.

Worse and better are Frechet distances to unseen images in the features of one network that judges
all settings (`vae_networks.py` tells which and why), with precision, recall and a check that
samples are no copies. One Gaussian with full covariance stands beside the mixture: what the
mixture adds to that is what its components know.

No sampler is measured against what it was fitted to. There are three sets of images:

* those that the networks are trained on;
* the fitting half of the unseen ones. The Gaussian, the mixture and its marginals are fitted to
  their codes; relative entropy and total correlation are of that one mixture and those codes;
* the scoring half of the unseen ones, which neither networks nor laws have seen. Distances,
  precision and recall of every sampler, the prior included, are against these images, or against
  what the decoder makes of their codes.

Copies are looked for among the first two sets together: what is decoded from a fitted law can copy
either, and a copy of one is as bad as of the other. The scoring half says how near new images are.

The default size is for one CPU core and about an hour: 10 000 CelebA images reduced to 32x32
(``--root``; ``--archive`` for another archive of JPEGs), half to train on and half unseen, a small
convolutional network, 32 latent dimensions, 20 epochs, two seeds. ``--full`` is the paper's
size, for a GPU: 64x64, its network, 64 latent dimensions, 60 epochs. ``--quick``: digits, seconds.
Networks and numbers are kept in ``--out``: start the same command again to go on.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mixtures import Run, complexity, fit, rhat_in_words
from runs import arguments, kept_numbers, markdown, save_numbers
from torch import Tensor
from vae_claims import by_beta, claims, tables
from vae_networks import (
    FACES,
    JUDGE,
    Experiment,
    Setting,
    faces_experiment,
    quick_experiment,
    train_networks,
)

import probact as pa
from probact.models import GaussianVAE, code_laws
from probact.plots.style import new_row

SHOWN = 14  # images of a row
SPLIT_SEED = 0  # one split of the unseen images for all runs
LAWS = {"prior": "prior", "Gaussian": "Gaussian", "mixture": "DP-GMM",
        "product of its marginals": "product of marginals"}  # fmt: skip


def experiment(args: argparse.Namespace) -> tuple[Experiment, Run, int]:
    """What to train, how long to sample the mixture, and how many images to draw."""
    if args.quick:
        run = Run(draws=20, tune=20, chains=1, kept=5, num_samples=1000, moves=1, seed=args.seed)
        return quick_experiment(args.seed, args.device), run, 200
    seeds = tuple(args.seed + i for i in range(args.seeds))
    plan = faces_experiment(
        args.archive or args.root / FACES, args.root, full=args.full, seeds=seeds,
        device=args.device,
    )  # fmt: skip
    if args.full:
        return plan, Run(draws=500, tune=500, kept=50, seed=args.seed), 5000
    run = Run(draws=100, tune=100, kept=20, num_samples=5000, moves=2, seed=args.seed)
    return plan, run, 1000


def split(num_images: int) -> tuple[Tensor, Tensor]:
    """Indices of two random halves of the unseen images: to fit laws on, to score samples by.

    >>> fitting, scoring = split(5)
    >>> len(fitting), len(scoring), sorted([*fitting.tolist(), *scoring.tolist()])
    (2, 3, [0, 1, 2, 3, 4])
    """
    order = torch.randperm(num_images, generator=torch.Generator().manual_seed(SPLIT_SEED))
    middle = num_images // 2
    return order[:middle].sort().values, order[middle:].sort().values


class Measurer:
    """Reads networks of one experiment; the features of the real images are taken once."""

    def __init__(self, plan: Experiment, run: Run, count: int, out: Path) -> None:
        self.plan, self.run, self.out = plan, run, out
        self.fitting, self.scoring = split(len(plan.unseen))
        self.count = min(count, len(self.fitting))
        self.train = plan.judge.features(plan.train)
        unseen = plan.judge.features(plan.unseen)
        self.held_out = unseen[self.scoring]
        self.seen = torch.cat([self.train, unseen[self.fitting]])  # by the networks or the laws

    def __call__(self, setting: Setting, vae: GaussianVAE) -> dict[str, Any]:
        codes = vae.codes(self.plan.unseen, seed=setting.seed).double()
        codes, held_out = codes[self.fitting], codes[self.scoring]
        found = fit(codes, self.run._replace(seed=setting.seed), progress=False)
        laws = code_laws(codes, mixture=found.predictive, prior_variance=vae.prior_variance)
        drawn = {"decoded codes": codes[: self.count]}
        for law, title in LAWS.items():
            drawn[title] = laws[law].sample((self.count,), seed=setting.seed)
        images = {title: decoded(vae, z) for title, z in drawn.items()}
        unseen = {"unseen": self.plan.unseen[self.fitting[: self.count]]}
        show(unseen | images, self.out / f"samples_{setting.slug}.png")
        reference = self.plan.judge.features(decoded(vae, held_out))
        return {
            **setting._asdict(),
            **self.network(vae),
            **complexity(found, codes, self.run),
            "linear_relative_entropy": linear_part(codes),
            "quality": {
                title: self.quality(self.plan.judge.features(x), reference)
                for title, x in images.items()
            },
        }

    def network(self, vae: GaussianVAE) -> dict[str, float]:
        """How well it reconstructs, and how much a code tells (nats an image)."""
        x = self.plan.unseen
        laws = [vae.encode(rows).base_dist for rows in x.split(1000)]
        loc, scale = torch.cat([q.loc for q in laws]), torch.cat([q.scale for q in laws])
        s = vae.prior_variance
        kl = 0.5 * ((loc.square() + scale.square()) / s - 1.0 - 2.0 * scale.log()).sum(1)
        return {
            "squared_error": float((vae.reconstruct(x) - x).square().mean()),
            "divergence_of_a_code": float(kl.mean() + 0.5 * loc.shape[1] * np.log(s)),
            "active_coordinates": int((loc.var(0) > 0.01).sum()),
        }

    def quality(self, x: Tensor, decoded: Tensor) -> dict[str, Any]:
        """Readings of features x (n, D) of images against the scoring half and against `decoded`.

        The latter are what the decoder makes of the codes of the scoring half, blurred as x are:
        that distance is of the law of the codes alone. Of decoded codes of the fitting half, it
        is what finite samples give by themselves.
        """
        against = {"frechet": self.held_out, "frechet_to_decoded_codes": decoded}
        distances = {name: pa.analysis.frechet_distance(x, y) for name, y in against.items()}
        shares = pa.analysis.precision_recall(self.held_out[: self.count], x)
        copies = pa.analysis.memorisation(x, self.seen, self.held_out)
        return {
            **{name: [d.value, d.standard_error] for name, d in distances.items()},
            "precision": list(shares.precision),
            "recall": list(shares.recall),
            "copies_z": copies.z_score,
            "near_share": copies.near_share,
            "near_p_value": copies.near_p_value,
        }

    def floors(self) -> dict[str, Any]:
        """What the readings give where there is nothing to find.

        Real images against real ones; and the mixture of as many draws of a standard Gaussian as
        there are codes to fit.
        """
        generator = torch.Generator().manual_seed(self.run.seed)
        shape = (len(self.fitting), self.plan.latent_dim)
        z = torch.randn(shape, dtype=torch.float64, generator=generator)
        real = pa.analysis.frechet_distance(self.train[: self.count], self.held_out)
        return {
            "frechet_of_training_images": [real.value, real.standard_error],
            **complexity(fit(z, self.run, progress=False), z, self.run),
        }


def decoded(vae: GaussianVAE, codes: Tensor) -> Tensor:
    """Images (N, C, H, W) of codes (N, d)."""
    return torch.cat([vae.decode(z) for z in codes.split(500)])


def linear_part(codes: Tensor) -> float:
    """Relative entropy, nats, of the Gaussian fitted to the codes: what correlation makes of it.

    KL(N(m, S) || N(m, diag S)) = -log det(correlation matrix) / 2.
    """
    return float(-0.5 * torch.linalg.slogdet(torch.corrcoef(codes.T)).logabsdet)


def show(images: dict[str, Tensor], path: Path) -> None:
    """A row a title, of the first images (n, C, H, W) of each."""
    rows = torch.stack([x[:SHOWN] for x in images.values()])
    names = [title.removeprefix("product of ") for title in images]
    ax = pa.plots.image_grid(rows.numpy(), row_names=names, xlabel="", ylabel="images from")
    ax.figure.savefig(path, dpi=150)


def draw_curves(table: Sequence[dict[str, Any]], path: Path) -> None:
    """Relative entropy and total correlation against beta, bars over draws and seeds."""
    readings = {"relative_entropy": "relative entropy (nats)",
                "total_correlation": "total correlation (nats)"}  # fmt: skip
    panels = new_row(2, 8.4, 3.4)
    for ax, (reading, label) in zip(panels, readings.items(), strict=True):
        series = {}
        for kind, title in (("kl", "beta-VAE"), ("mmd", "MMD-VAE")):
            rows = [by_beta(table, kind, beta) for beta in betas_of(table)]
            series[title] = [
                [np.mean([n[reading]["mean"] for n in row]) for row in rows],
                [min(n[reading]["min"] for n in row) for row in rows],
                [max(n[reading]["max"] for n in row) for row in rows],
            ]
        pa.plots.plot_complexity(
            betas_of(table), series, xlabel="beta", ylabel=label, log_x=True, ax=ax
        )
        top = max(n[reading]["max"] for n in table)
        ax.set_ylim(-0.04 * top, 1.5 * top)  # room for the legend
    panels[0].figure.savefig(path, dpi=150)


def betas_of(table: Sequence[dict[str, Any]]) -> list[float]:
    return sorted({n["beta"] for n in table})


def in_words(numbers: dict[str, float]) -> str:
    """Mean, and the smallest and largest draw."""
    return f"{numbers['mean']:.2f} ({numbers['min']:.2f} to {numbers['max']:.2f})"


def report(setting: Setting, numbers: dict[str, Any]) -> str:
    """One network in two tables."""
    rows = [
        ["squared error of a pixel", f"{numbers['squared_error']:.4f}"],
        ["divergence of a code from the prior, nats", f"{numbers['divergence_of_a_code']:.2f}"],
        ["active coordinates", str(numbers["active_coordinates"])],
        ["relative entropy, nats", in_words(numbers["relative_entropy"])],
        ["total correlation, nats", in_words(numbers["total_correlation"])],
        ["components", in_words(numbers["num_components"])],
        ["R-hat of the components", rhat_in_words(numbers["rhat"])],
    ]
    quality = [
        [title, "{:.3f} ± {:.3f}".format(*q["frechet"]), f"{q['precision'][0]:.3f}",
         f"{q['recall'][0]:.3f}", f"{q['copies_z']:.1f}"]
        for title, q in numbers["quality"].items()
    ]  # fmt: skip
    header = ["images from", "Frechet distance", "precision", "recall", "z of copies"]
    return f"\n{setting.title}\n\n{markdown(['reading', 'value'], rows)}\n\n" + markdown(
        header, quality
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true", help="the paper's size, for a GPU")
    parser.add_argument("--archive", type=Path, help="JPEG archive of faces instead of CelebA")
    parser.add_argument("--seeds", type=int, default=2, help="networks a setting")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--train-only", action="store_true", help="stop before the mixtures")
    args = arguments(__doc__, argv, [JUDGE], parser)
    try:
        plan, run, count = experiment(args)
    except FileNotFoundError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    networks = train_networks(plan, args.out / "networks")
    if args.train_only:
        for setting, _ in networks:
            print(f"trained: {setting.title}", flush=True)
        return
    measure = Measurer(plan, run, count, args.out)
    readings = args.out / "readings"
    readings.mkdir(exist_ok=True)
    floors = kept_numbers(readings / "floors.json", measure.floors)
    table: list[dict[str, Any]] = []
    for setting, vae in networks:
        path = readings / f"{setting.slug}.json"
        table.append(kept_numbers(path, lambda s=setting, v=vae: measure(s, v)))
        print(report(setting, table[-1]), flush=True)
    draw_curves(table, args.out / "complexity.png")
    pages = "\n\n".join(tables(table)) + "\n"
    (args.out / "tables.md").write_text(pages, encoding="utf-8")
    found = claims(table, floors)
    for name, claim in found.items():
        print(f"\n{name}: {'confirmed' if claim['holds'] else 'refuted'}, {claim['words']}")
    images = {"trained": len(plan.train), "fitted": len(measure.fitting),
              "scored": len(measure.scoring)}  # fmt: skip
    numbers = {"seed": args.seed, "images": images, "floors": floors, "networks": table,
               "claims": found}  # fmt: skip
    save_numbers(args.out / "numbers.json", numbers)


if __name__ == "__main__":
    main()
