"""Two hundred epochs of a hyperspherical VAE: finite losses, finite parameters, and it learns."""

import math

import pytest
import torch

import probact as pa
from probact.datasets import digits
from probact.models import SphereVAE, VMFClassifier
from probact.nn import MLPDecoder, MLPEncoder

SHAPE = (1, 8, 8)
KINDS = ("HVAE", "HVAE-C", "HVAE-L", "learned prior")


def small_vae(kind: str, dim: int) -> SphereVAE:
    concat = kind == "HVAE-C"
    directions = torch.randn(10, dim, generator=torch.Generator().manual_seed(1))
    prior = None if kind in ("HVAE", "HVAE-C") else VMFClassifier(directions, 5.0)
    return SphereVAE(
        dim,
        prior,
        condition="concat" if concat else None,
        num_classes=10 if concat else None,
        image_shape=SHAPE,
        encoder=MLPEncoder(SHAPE, (64, 32)),
        decoder=MLPDecoder(dim + 10 * concat, SHAPE, (32, 64)),
        learn_prior=kind == "learned prior",
        warm_up=10,
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("kind", "dim"),
    [("HVAE", 3), ("HVAE-L", 5), ("HVAE-C", 10), ("learned prior", 20), ("HVAE", 128)]
    + [(kind, 1024) for kind in KINDS],
)
def test_two_hundred_epochs_stay_finite(kind: str, dim: int) -> None:
    """`fit` stops at the first loss that is not finite, so what is left to see is the outcome."""
    data = digits(train=True)
    images = data.floats()
    torch.manual_seed(0)
    vae = small_vae(kind, dim)
    rows = (images,) if kind == "HVAE" else (images, data.labels)
    fit = pa.fit(vae, rows, epochs=200, batch_size=64, device="cpu", progress=False)
    losses = torch.as_tensor(fit.losses)
    assert losses.isfinite().all()
    assert all(parameter.isfinite().all() for parameter in vae.parameters())
    black = (images[:200] > 0.5).float()
    estimate = vae.log_likelihood(black, *(row[:200] for row in rows[1:]), num_samples=500)
    # a pixel that is on with its mean probability, whatever the image: no code at all
    p = images.mean(0).clamp(1e-3, 1.0 - 1e-3)
    unconditional = (black * p.log() + (1.0 - black) * (1.0 - p).log()).sum((1, 2, 3)).mean()
    assert math.isfinite(estimate.mean)
    assert estimate.mean > float(unconditional)
