"""What is done to a batch of images, or to labels, before training sees them.

Symbols: x (N, channels, H, W) images; labels (N,).
"""

import torch
from torch import Generator, Tensor
from torch.nn import functional

from probact.arrays import as_labels, check_count

__all__ = ["crop_and_flip", "permuted_labels"]


def crop_and_flip(x: Tensor, generator: Generator, *, padding: int = 4) -> Tensor:
    """A random crop of each image, padded with zeros, of its own size, and a flip of every other.

    Each image of x (N, channels, H, W) is shifted by up to `padding` pixels along both axes
    and mirrored from left to right with probability 1/2. All draws come from `generator`.

    Raises: ValueError if x is not (N, channels, H, W) or the padding is no integer from zero up.

    >>> crop_and_flip(torch.ones(2, 1, 4, 4), Generator().manual_seed(0), padding=1).shape
    torch.Size([2, 1, 4, 4])
    """
    check_count(padding, "padding", 0)
    if x.ndim != 4:
        raise ValueError(f"x must be (N, channels, H, W), got shape {tuple(x.shape)}")
    count, _, height, width = x.shape

    def draw(high: int) -> Tensor:
        place = generator.device
        return torch.randint(high, (count, 1), generator=generator, device=place).to(x.device)

    rows = draw(2 * padding + 1) + torch.arange(height, device=x.device)  # (N, H)
    columns = draw(2 * padding + 1) + torch.arange(width, device=x.device)  # (N, W)
    columns = torch.where(draw(2).bool(), columns, columns.flip(1))
    padded = functional.pad(x, (padding,) * 4).movedim(1, -1)  # (N, H + 2p, W + 2p, channels)
    image = torch.arange(count, device=x.device)[:, None, None]
    return padded[image, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def permuted_labels(labels: Tensor, *, seed: int) -> Tensor:
    """The labels (N,) in one random order: class counts stay, what they say of the images goes.

    Zhang et al. 2017, "Understanding deep learning requires rethinking generalization".

    Raises: TypeError, ValueError if the labels are not integers (N,).

    >>> permuted_labels(torch.tensor([0, 0, 1, 2]), seed=0).sort().values
    tensor([0, 0, 1, 2])
    """
    labels = as_labels(labels, "labels", len(labels))
    order = torch.randperm(len(labels), generator=Generator().manual_seed(seed))
    return labels[order.to(labels.device)]
