"""
Autoencoders of faces, and a network to judge their samples
============================================================

What `vae_latents.py` measures: beta-VAEs and MMD-VAEs over a grid of beta and seeds, trained by
`probact.fit` on the first images of a JPEG archive, and the features in which new images are
compared with unseen ones.

Images are faces without labels, so no classifier of their own can judge them. The features are
those of a CIFAR-10 ResNet-20 (D = 64), which others trained: a network that has never seen a
face, an autoencoder or a pixel loss, so that none of the settings is at an advantage, and that is
the same for all of them. It stands here for the ImageNet network of the usual Frechet distance.
Pretexts on the faces themselves were not taken: a network that only tells rotations can call all
upright faces the same, and an autoencoder's features share the loss that is under trial. Images
of other sizes are resized to 32x32 for it. ``--quick`` has digits with labels, and a ConvNet
trained on them.

Every network is kept in a folder of its own, so that a run that was stopped goes on where it was.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pretrained
import torch
from runs import held_out_digits, train_convnet
from torch import Tensor, nn
from torch.nn import functional

import probact as pa
from probact.models import GaussianVAE

__all__ = ["FACES", "JUDGE", "Experiment", "Judge", "Setting", "faces_experiment",
           "quick_experiment", "train_networks"]  # fmt: skip

FACES = "CelebA/celeba_first10000_89x109_jpeg.npz"
JUDGE_DEPTH = 20
JUDGE = pretrained.cifar10_resnet_file(JUDGE_DEPTH)
PAPER_SIDE, PAPER_VARIANCE = 64, {"kl": 0.3, "mmd": 0.5}
CIFAR10_MEAN, CIFAR10_SCALE = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Setting(NamedTuple):
    """One network."""

    regulariser: Literal["kl", "mmd"]
    beta: float
    seed: int

    @property
    def slug(self) -> str:
        return f"{self.regulariser}_beta{self.beta:g}_seed{self.seed}"

    @property
    def title(self) -> str:
        kind = "beta-VAE" if self.regulariser == "kl" else "MMD-VAE"
        return f"{kind}, beta {self.beta:g}, seed {self.seed}"


class Judge(NamedTuple):
    """A network whose penultimate features images are compared in."""

    net: nn.Module
    mean: Tensor | float  # pixels are shifted and scaled as in its own training
    scale: Tensor | float
    side: int
    device: str

    def features(self, images: Tensor) -> Tensor:
        """(N, D) float64 of images (N, C, H, W) in [0, 1]."""
        batches = (self._prepared(x) for x in images.split(500))
        return pa.capture(self.net, batches, device=self.device).x.double()

    def _prepared(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.side:
            size = (self.side, self.side)
            x = functional.interpolate(x, size, mode="bilinear", antialias=True)
        return (x - self.mean) / self.scale


class Experiment(NamedTuple):
    """Images, the grid, and how a network is trained."""

    train: Tensor  # (N, C, H, W)
    unseen: Tensor  # (M, C, H, W)
    judge: Judge
    betas: tuple[float, ...]
    seeds: tuple[int, ...]
    latent_dim: int
    encoder: str
    epochs: int
    batch_size: int
    device: str

    @property
    def settings(self) -> Iterator[Setting]:
        """The grid, one seed after the other."""
        for seed in self.seeds:
            for beta in self.betas:
                yield Setting("kl", beta, seed)
                yield Setting("mmd", beta, seed)

    def build(self, setting: Setting) -> GaussianVAE:
        """A fresh model; the squared error weighs as much against beta as at the paper's side.

        The error is summed over pixels, so that an image of half the side has a fourth of it.
        """
        channels, height, breadth = self.train.shape[1:]
        share = height * breadth / PAPER_SIDE**2
        torch.manual_seed(setting.seed)
        return GaussianVAE(
            self.latent_dim,
            beta=setting.beta,
            regulariser=setting.regulariser,
            likelihood="gaussian",
            variance=PAPER_VARIANCE[setting.regulariser] * share,
            image_shape=(channels, height, breadth),
            encoder=self.encoder,
        )

    def described(self, setting: Setting) -> dict[str, Any]:
        """What makes a kept network that of this setting."""
        return {
            **setting._asdict(), "images": list(self.train.shape), "unseen": len(self.unseen),
            "latent_dim": self.latent_dim, "encoder": self.encoder, "epochs": self.epochs,
            "batch_size": self.batch_size,
        }  # fmt: skip


def quick_experiment(seed: int, device: str) -> Experiment:
    """Digits, a hundred steps a network, and a ConvNet as the judge."""
    train, unseen = held_out_digits()
    *_, last = train_convnet(train, 8, epochs=3, seed=seed)
    judge = Judge(last.net, 0.0, 1.0, side=8, device=device)
    return Experiment(
        train.floats(), unseen.floats(), judge, betas=(0.1, 100.0), seeds=(seed,), latent_dim=4,
        encoder="conv-small", epochs=6, batch_size=64, device=device,
    )  # fmt: skip


def faces_experiment(
    archive: Path, root: Path, *, full: bool, seeds: tuple[int, ...], device: str
) -> Experiment:
    """The first half of the archive's images to train on, the rest unseen."""
    net = pretrained.cifar10_resnet(root, JUDGE_DEPTH)
    mean, scale = (torch.tensor(v)[:, None, None] for v in (CIFAR10_MEAN, CIFAR10_SCALE))
    data = pa.datasets.jpeg_archive(archive, size=PAPER_SIDE if full else 32)
    images = data.floats()
    half = len(images) // 2
    size: dict[str, Any] = {
        "betas": (0.01, 1.0, 10.0, 30.0, 1000.0), "latent_dim": 32, "encoder": "conv-small",
        "epochs": 20,
    }  # fmt: skip
    if full:
        size = {
            "betas": (0.01, 0.1, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0), "latent_dim": 64,
            "encoder": "conv", "epochs": 60,
        }  # fmt: skip
    judge = Judge(net, mean, scale, side=32, device=device)
    return Experiment(
        images[:half], images[half:], judge, seeds=seeds, batch_size=64, device=device, **size
    )


def train_networks(experiment: Experiment, folder: Path) -> Iterator[tuple[Setting, GaussianVAE]]:
    """Every network of the grid, trained or from its folder."""
    for setting in experiment.settings:
        yield setting, trained(experiment, setting, folder / setting.slug)


def trained(experiment: Experiment, setting: Setting, folder: Path) -> GaussianVAE:
    """One network; what an earlier run of the same setting left is gone on with."""
    note, wanted = folder / "setting.json", experiment.described(setting)
    if note.is_file() and json.loads(note.read_text(encoding="utf-8")) != wanted:
        raise SystemExit(f"{folder} is of another setting: choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
    done, checkpoint = folder / "fit", folder / "checkpoint"
    if not (done / "config.json").is_file():
        pa.fit(
            experiment.build(setting), experiment.train, epochs=experiment.epochs,
            batch_size=experiment.batch_size, seed=setting.seed, device=experiment.device,
            checkpoint=checkpoint, progress=False,
        ).save(done)  # fmt: skip
    shutil.rmtree(checkpoint, ignore_errors=True)
    model = pa.load(done, device=experiment.device).model
    assert isinstance(model, GaussianVAE)
    return model
