"""The chapter's three networks, trained on the study's training images.

Symbols: x (N, C, H, W) images in [0, 1]; d the ambient dimension of codes on S^(d-1).
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from probact.inference import fit
from probact.models import SphereVAE, VMFClassifier
from probact.nn import EncoderClassifier, MLPEncoder, train_classifier
from probact.study import Study

__all__ = ["CONCENTRATION", "DIM", "Networks", "train_networks"]

DIM = 6
CONCENTRATION = 5.0  # of the prior, the paper's
_IMAGES = 90_000  # in all epochs together, but at least five epochs


class Networks(NamedTuple):
    """HVAE-L, the classifier behind its prior, and HVAE."""

    classifier: nn.Module
    learned: SphereVAE  # prior vMF(w_y / |w_y|, 5)
    uniform: SphereVAE
    epochs: int


def train_networks(study: Study) -> Networks:
    """A classifier with the encoder's architecture, then both autoencoders, on its device."""
    device = next(study.wide.net.parameters()).device
    x, y = study.train.floats().to(device), study.train.labels.to(device)
    shape = (int(x.shape[1]), int(x.shape[2]), int(x.shape[3]))
    classes = len(study.class_names)
    epochs = max(5, min(200, _IMAGES // len(x)))
    with torch.random.fork_rng():  # initial weights from the seed, the caller's stream untouched
        torch.manual_seed(study.seed)
        encoder = MLPEncoder(shape)
        net = EncoderClassifier(encoder, features=128, latent_dim=DIM, num_classes=classes)
        for _ in train_classifier(net.to(device), x, y, epochs=max(2, epochs // 4)):
            pass
        prior = VMFClassifier(net.head.weight.detach(), concentration=CONCENTRATION)
        learned = SphereVAE(DIM, prior, image_shape=shape, warm_up=epochs // 2)
        uniform = SphereVAE(DIM, image_shape=shape, warm_up=epochs // 2)
    for name, vae, data in (("HVAE-L", learned, (x, y)), ("HVAE", uniform, (x,))):
        loss = _fit(vae, data, epochs, study.seed, device)
        study.say(f"{name}: epoch {epochs} of {epochs}, loss {loss:.2f} nats an image")
    return Networks(net, learned, uniform, epochs)


def _fit(
    vae: SphereVAE, data: tuple[Tensor, ...], epochs: int, seed: int, device: torch.device
) -> float:
    """Train in place; the loss of the last epoch."""
    found = fit(
        vae,
        data,
        epochs=epochs,
        batch_size=64,
        optimizer=partial(torch.optim.Adam, lr=5e-3, fused=True),
        schedule=partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=epochs),
        seed=seed,
        device=str(device),
        progress=False,
    )
    return float(found.losses[-1])
