"""
Hyperspherical VAEs with a learned prior
========================================

Table 4 of Seo, Lee & Han (2021): three variational autoencoders whose codes lie on a sphere.

* HVAE: uniform prior (Davidson et al. 2018).
* HVAE-C: uniform prior, the decoder sees the label beside the code.
* HVAE-L: ``p(z | y) = vMF(w_y / |w_y|, 5)``, w_y the rows of the last layer of a classifier with
  the encoder's architecture.

**Dimensions.** ``dim`` is the ambient dimension: codes are unit vectors of R^dim, on S^(dim-1).
The paper does not say which of the two it counts; Davidson et al. count the sphere's.

**What is compared.** The log-likelihood by importance sampling (500 draws) and the ELBO on the
test images, binarised once from one seed, the same for all models. For HVAE-C and HVAE-L the label
is given: log p(x | y). That alone is worth up to the entropy of the label, log 10 = 2.3 nats, so
log p(x), the label summed out, is reported beside it: the number to hold against HVAE's.

The networks are the protocol's: 784-256-128, ReLU, Adam, batches of 64, dynamic binarisation,
look-ahead of 50 epochs on 10 000 held-out training images. ``--protocol`` also takes its constant
rate 0.001 and warm-up of 100 epochs; the default is a cheaper setting: 60 epochs under a cosine
schedule from 0.002, warm-up 6. Full size (``--root``): MNIST, five CPU minutes a run. ``--quick``:
digits, seconds.

Every run is a line of ``runs.jsonl`` in the output folder; a second call does only what is
missing, and goes on where a killed run stopped.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from hvae_tables import MODELS, differences, table
from runs import arguments
from torch import Tensor

import probact as pa
from probact.datasets import ImageData, stratified_split
from probact.models import ImportanceEstimate, SphereVAE, VMFClassifier
from probact.nn import EncoderClassifier, MLPEncoder, accuracy, train_classifier

DIMS = (3, 5, 10, 20)
MANY_SEEDS = (5, 10)  # dimensions with --seeds runs; the others have one
NEEDS = [f"MNIST/raw/{name}" for name in pa.datasets.IDX_FILES]


class Split(NamedTuple):
    """Images in [0, 1] and labels."""

    images: Tensor
    labels: Tensor


class Data(NamedTuple):
    """The publisher's training images in two parts, and its test images."""

    train: Split
    validation: Split
    test: Split


class Setting(NamedTuple):
    """How a network is trained."""

    batch_size: int
    learning_rate: float
    epochs: int
    warm_up: int
    cosine: bool
    patience: int = 50


PROTOCOL = Setting(64, 1e-3, 500, 100, cosine=False)
CHEAP = Setting(64, 2e-3, 60, 6, cosine=True)
QUICK = Setting(64, 2e-3, 20, 5, cosine=True)


def load(args: argparse.Namespace) -> Data:
    """MNIST, 50 000 + 10 000 + 10 000; digits in the quick run."""
    train, test = (
        pa.datasets.digits(train=t) if args.quick else pa.datasets.mnist(args.root, train=t)
        for t in (True, False)
    )
    fit, held_out = stratified_split(train.labels, test_fraction=1 / 6, seed=0)
    every = torch.arange(len(test.labels))
    return Data(split(train, fit), split(train, held_out), split(test, every))


def split(data: ImageData, rows: Tensor) -> Split:
    """Some rows."""
    return Split(data.floats(rows), data.labels[rows])


def build(
    model: str, dim: int, data: Data, setting: Setting, seed: int
) -> tuple[SphereVAE, float]:
    """An untrained model, and the test accuracy of the classifier behind its prior."""
    shape = tuple(data.train.images.shape[1:])
    share, options = float("nan"), {}
    torch.manual_seed(seed)
    if model == "HVAE-C":
        options = {"condition": "concat", "num_classes": 10}
    if model == "HVAE-L":
        net = EncoderClassifier(MLPEncoder(shape), features=128, latent_dim=dim, num_classes=10)
        for _ in train_classifier(net, *data.train, epochs=10, batch_size=128, seed=seed):
            pass
        share = accuracy(net, *data.test)
        options = {"prior": VMFClassifier(net.head.weight.detach(), concentration=5.0)}
    return SphereVAE(dim, image_shape=shape, warm_up=setting.warm_up, **options), share


def train(
    vae: SphereVAE, data: Data, setting: Setting, seed: int, folder: Path
) -> pa.inference.Fit:
    """Fit with early stopping; a killed run goes on from its last epoch."""
    columns = slice(None) if vae.num_classes else slice(1)
    cosine = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=setting.epochs)
    return pa.fit(
        vae,
        tuple(data.train[columns]),
        epochs=setting.epochs,
        batch_size=setting.batch_size,
        optimizer=partial(torch.optim.Adam, lr=setting.learning_rate, fused=True),
        schedule=cosine if setting.cosine else None,
        validation=tuple(data.validation[columns]),
        patience=setting.patience,
        checkpoint=folder,
        seed=seed,
        device="cpu",
    )


def evaluate(
    vae: SphereVAE, test: Split, samples: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Readings on the test images; log p(x | y) (N,) and log p(x) (M,) of the first M images."""
    labels = test.labels if vae.num_classes else None
    terms = vae.elbo(test.images, labels, num_samples=10)
    record = {
        "elbo": float(terms.elbo.mean()),
        "reconstruction": float(terms.reconstruction.mean()),
        "kl": float(terms.kl.mean()),
    }
    if vae.num_classes and not vae.sees_labels:  # one decoder pass serves all classes
        scores = vae.class_log_likelihood(test.images, num_samples=samples)
        own = torch.arange(len(test.labels)), test.labels
        given = ImportanceEstimate(*(part[own] for part in scores[:4]), samples)
    else:
        given = vae.log_likelihood(test.images, labels, num_samples=samples)
    each = {"given": given.log_likelihood, "marginal": given.log_likelihood}
    if vae.sees_labels:  # ten passes: on the first thousand images
        scores = vae.class_log_likelihood(test.images[:1000], num_samples=samples)
    if vae.num_classes:
        more, each["marginal"] = without_label(scores, test.labels)
        record |= more
    record |= {
        "log_likelihood": given.mean,
        "standard_error": given.standard_error,
        "monte_carlo_error": given.mean_monte_carlo_error,
        "median_effective_samples": float(given.effective_samples.median()),
    }
    return record, {name: values.numpy().astype(np.float32) for name, values in each.items()}


def without_label(scores: ImportanceEstimate, labels: Tensor) -> tuple[dict[str, float], Tensor]:
    """log p(x) (M,), what the label was worth, and how often Bayes' rule finds it."""
    by_class = scores.log_likelihood  # (M, 10)
    labels = labels[: len(by_class)]
    marginal = torch.logsumexp(by_class, 1) - np.log(10.0)
    worth = by_class[torch.arange(len(labels)), labels] - marginal
    record = {
        "marginal_images": len(labels),
        "label_worth": float(worth.mean()),
        "label_worth_error": float(worth.std()) / len(labels) ** 0.5,
        "bayes_accuracy": float((by_class.argmax(1) == labels).double().mean()),
    }
    return record, marginal


def run(
    model: str, dim: int, seed: int, data: Data, setting: Setting, args: argparse.Namespace
) -> dict[str, Any]:
    """Train and evaluate one model; its log-likelihoods go into the output folder."""
    name = f"{model}-{dim}-{seed}-{args.setting}"
    started = time.process_time()
    vae, share = build(model, dim, data, setting, seed)
    fit = train(vae, data, setting, seed, args.out / name)
    trained = time.process_time()
    record, each = evaluate(vae, data.test, args.samples)
    np.savez(args.out / f"{name}.npz", **each)
    if vae.num_classes:
        picture(vae, data.test, args.out / f"{name}.png")
    assert fit.validation_losses is not None
    return {
        "model": model, "dim": dim, "sphere": f"S^{dim - 1}", "seed": seed,
        "setting": args.setting,
        **record,
        "classifier_accuracy": share,
        "validation_loss": float(fit.validation_losses.min()),
        "best_epoch": fit.best_epoch, "epochs": len(fit.losses),
        "cpu_seconds_training": trained - started,
        "cpu_seconds_evaluation": time.process_time() - trained,
    }  # fmt: skip


def picture(vae: SphereVAE, test: Split, path: Path) -> None:
    """Test images of each class, and the decoder's means at codes of the class's prior."""
    rows = []
    for label in range(10):
        real = test.images[test.labels == label][:4]
        rows.append(torch.cat([real, vae.sample_images(label, 8, seed=label)]))
    ax = pa.plots.image_grid(
        torch.stack(rows).numpy(), groups=[("test images", 4), ("samples", 8)]
    )
    ax.figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(ax.figure)


def plan(args: argparse.Namespace) -> list[tuple[str, int, int]]:
    """Which runs, the first seed of everything first."""
    wanted = product(range(args.seeds), args.dims, args.models)
    chosen = [(m, d, s) for s, d, m in wanted if s == 0 or d in MANY_SEEDS or args.every_seed]
    return chosen[args.part :: args.parts]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--dims", nargs="+", type=int, default=list(DIMS), help="ambient d")
    parser.add_argument("--seeds", type=int, default=3, help=f"runs at {MANY_SEEDS}")
    parser.add_argument("--every-seed", action="store_true", help="all seeds at all dimensions")
    parser.add_argument("--samples", type=int, default=500, help="importance samples")
    parser.add_argument("--protocol", action="store_true", help="batches of 64, rate 0.001")
    parser.add_argument("--part", type=int, default=0, help="do every --parts-th run from here")
    parser.add_argument("--parts", type=int, default=1)
    args = arguments(__doc__, argv, NEEDS, parser)
    args.setting = "quick" if args.quick else "protocol" if args.protocol else "cheap"
    if args.quick:
        args.seeds, args.samples = 1, min(args.samples, 50)
        args.dims = [3] if args.dims == list(DIMS) else args.dims
    setting = {"quick": QUICK, "protocol": PROTOCOL, "cheap": CHEAP}[args.setting]
    log = args.out / "runs.jsonl"
    records = read(log)
    done = {(r["model"], r["dim"], r["seed"], r["setting"]) for r in records}
    data = load(args)
    for model, dim, seed in plan(args):
        if (model, dim, seed, args.setting) in done:
            continue
        record = run(model, dim, seed, data, setting, args)
        write_line(log, record)
        print(
            f"{model} on S^{dim - 1}, seed {seed}: {record['log_likelihood']:.2f} nats", flush=True
        )
    finished = [r for r in read(log) if r["setting"] == args.setting]
    tables = table(finished) + "\n\n" + differences(finished, args.out)
    (args.out / "table.md").write_text(tables + "\n", encoding="utf-8")
    print(tables)


def write_line(log: Path, record: dict[str, Any]) -> None:
    """Append a finished run; one write, so that a kill leaves a whole line or none."""
    line = json.dumps(record).encode() + b"\n"
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def read(log: Path) -> list[dict[str, Any]]:
    """Finished runs."""
    lines = log.read_text("utf-8").splitlines() if log.exists() else []
    return [json.loads(line) for line in lines]


if __name__ == "__main__":
    main()
