"""Crops, flips and permuted labels."""

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from probact.nn import crop_and_flip, permuted_labels


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def every_crop(image: Tensor, padding: int) -> list[tuple[int, int, int, Tensor]]:
    """All crops of one image (channels, H, W), by row, column and flip, through numpy."""
    _, height, width = image.shape
    padded = np.pad(image.numpy(), ((0, 0), (padding, padding), (padding, padding)))
    found = []
    for row in range(2 * padding + 1):
        for column in range(2 * padding + 1):
            crop = padded[:, row : row + height, column : column + width]
            found.append((row, column, 0, torch.from_numpy(crop.copy())))
            found.append((row, column, 1, torch.from_numpy(crop[:, :, ::-1].copy())))
    return found


def test_every_image_gets_a_crop_or_its_mirror_image() -> None:
    count, padding = 600, 1
    image = torch.rand(2, 4, 5, generator=seeded(1))
    crops = every_crop(image, padding)
    drawn = crop_and_flip(image.expand(count, -1, -1, -1), seeded(2), padding=padding)
    which = [[i for i, crop in enumerate(crops) if torch.equal(crop[3], x)] for x in drawn]
    assert all(len(matches) == 1 for matches in which)
    counts = np.bincount([matches[0] for matches in which], minlength=len(crops))
    assert len(counts) == 18
    expected = count / 18
    statistic = float(((counts - expected) ** 2 / expected).sum())
    assert statistic < 49.0  # chi-squared with 17 degrees of freedom, upper tail 6e-5


def test_no_padding_only_flips() -> None:
    x = torch.rand(40, 1, 3, 3, generator=seeded(1))
    drawn = crop_and_flip(x, seeded(), padding=0)
    same = (drawn == x).flatten(1).all(1)
    mirrored = (drawn == x.flip(-1)).flatten(1).all(1)
    assert bool((same | mirrored).all())
    assert 0 < int(same.sum()) < 40


def test_augmentation_is_set_by_the_generator_and_leaves_the_images() -> None:
    x = torch.rand(9, 3, 8, 8, generator=seeded(1))
    before, stream = x.clone(), torch.get_rng_state()
    first, again, other = (crop_and_flip(x, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), stream)
    assert first.shape == x.shape
    assert first.dtype == x.dtype


@pytest.mark.parametrize(
    ("x", "padding", "message"),
    [
        (torch.zeros(2, 4, 4), 1, r"x must be \(N, channels, H, W\), got shape \(2, 4, 4\)"),
        (torch.zeros(2, 1, 4, 4), -1, "padding must be an integer of at least 0, got -1"),
        (torch.zeros(2, 1, 4, 4), 0.5, "padding must be an integer"),
    ],
)
def test_what_augmentation_refuses(x: Tensor, padding: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        crop_and_flip(x, seeded(), padding=padding)


def test_permuted_labels_keep_the_counts_and_lose_the_order() -> None:
    labels = torch.arange(500) % 10
    first, again, other = (permuted_labels(labels, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(first.bincount(), labels.bincount())
    share = float((first == labels).double().mean())
    assert abs(share - 0.1) < 5 * (0.09 / 500) ** 0.5  # matches by chance, five standard errors
    assert torch.equal(labels, torch.arange(500) % 10)


def test_permuted_labels_refuse_what_is_no_label() -> None:
    with pytest.raises(ValueError, match="labels must be integers"):
        permuted_labels(torch.zeros(3), seed=0)
