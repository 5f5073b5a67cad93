"""Shifts of images against torchvision's own steps, by hand, and refusals."""

import math

import pytest
import torch
from torch import Generator, Tensor
from torchvision.transforms import functional as tv

from probact.nn import downsample, photometric


def images(count: int, channels: int, side: int = 9) -> Tensor:
    return torch.rand(count, channels, side, side, generator=Generator().manual_seed(1))


@pytest.mark.parametrize("strength", [0.2, 0.8, 1.5])
@pytest.mark.parametrize("channels", [1, 3])
def test_photometric_is_torchvisions_jitter(channels: int, strength: float) -> None:
    x = images(20, channels)
    found = photometric(x, strength, Generator().manual_seed(7))
    low, high = max(0.0, 1.0 - strength), 1.0 + strength
    draws = torch.rand(3, 20, generator=Generator().manual_seed(7))
    factors = low + (high - low) * draws
    for image, got, row in zip(x, found, factors.T.tolist(), strict=True):
        expected = tv.adjust_contrast(tv.adjust_brightness(image, row[0]), row[1])
        expected = tv.adjust_saturation(expected, row[2]) if channels == 3 else expected
        torch.testing.assert_close(got, expected, rtol=0, atol=2e-6)
    assert found.min() >= 0.0
    assert found.max() <= 1.0


def test_photometric_draws() -> None:
    x = images(50, 3)
    first = photometric(x, 0.5, Generator().manual_seed(3))
    assert torch.equal(first, photometric(x, 0.5, Generator().manual_seed(3)))
    other = photometric(x, 0.5, Generator().manual_seed(4))
    assert (first != other).flatten(1).any(1).all()  # every image has factors of its own
    assert torch.equal(x, images(50, 3))
    torch.testing.assert_close(photometric(x, 0.0, Generator()), x)
    state = torch.get_rng_state()
    photometric(x, 0.5, Generator())
    assert torch.equal(torch.get_rng_state(), state)
    grey = x[:, :1].expand(-1, 3, -1, -1)  # saturation does nothing to grey images
    colour = photometric(grey, 0.5, Generator().manual_seed(5))
    single = photometric(x[:, :1], 0.5, Generator().manual_seed(5))
    torch.testing.assert_close(colour, single.expand(-1, 3, -1, -1), rtol=0, atol=1e-3)


def test_downsample_loses_detail_and_keeps_means() -> None:
    x = images(10, 2, 32)
    spreads = []
    for fraction in (1.0, 0.75, 0.5, 0.25):
        y = downsample(x, fraction)
        assert y.shape == x.shape
        torch.testing.assert_close(y.mean((2, 3)), x.mean((2, 3)), rtol=0, atol=0.02)
        spreads.append(float(y.std((2, 3)).mean()))
    assert torch.equal(downsample(x, 1.0), x)
    assert downsample(x, 1.0) is not x
    assert spreads == sorted(spreads, reverse=True)
    constant = torch.full((1, 1, 8, 8), 0.3)
    torch.testing.assert_close(downsample(constant, 0.25), constant)


def test_downsample_to_one_pixel_is_a_constant() -> None:
    y = downsample(images(4, 1, 8), 0.125)
    torch.testing.assert_close(y, y[:, :, :1, :1].expand_as(y))


@pytest.mark.parametrize("shift", [lambda x: photometric(x, 0.5, Generator()),
                                   lambda x: downsample(x, 0.5)])  # fmt: skip
@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.zeros(3, 8, 8), r"x must be a tensor \(N, channels, H, W\)"),
        (torch.zeros(0, 3, 8, 8), "none zero"),
        ([[0.0]], "got list"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "floating point, got torch.uint8"),
        (torch.full((1, 3, 8, 8), 1.5), r"within \[0, 1\], got 1.5 to 1.5"),
        (torch.full((1, 3, 8, 8), -0.5), r"within \[0, 1\]"),
        (torch.full((1, 3, 8, 8), math.nan), "x has 1 row with NaN"),
    ],
)
def test_images_are_refused(shift: object, x: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        shift(x)  # type: ignore[operator]


@pytest.mark.parametrize("size", [-0.1, math.nan, math.inf])
def test_sizes_are_refused(size: float) -> None:
    with pytest.raises(ValueError, match="strength must be"):
        photometric(images(1, 3), size, Generator())
    with pytest.raises(ValueError, match="fraction must be"):
        downsample(images(1, 3), size)


def test_other_refusals() -> None:
    with pytest.raises(ValueError, match="1 or 3 channels, got 2"):
        photometric(images(1, 2), 0.5, Generator())
    with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\]"):
        downsample(images(1, 3), 1.5)
    with pytest.raises(ValueError, match=r"fraction 0.01 leaves no pixel of 9x9"):
        downsample(images(1, 3), 0.01)
