"""A small convolutional classifier and its training: the network of the demo and the examples.

Symbols: x (N, channels, H, W) images in [0, 1]; a (N, D) penultimate activations, without a
nonlinearity, so that they fill the whole space; W (C, D) weight of the head, without bias.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from probact.arrays import as_labels, check_count
from probact.capturing.passes import undisturbed

__all__ = ["ConvNet", "Epoch", "accuracy", "train_classifier"]


class ConvNet(nn.Sequential):
    """Four 3x3 convolutions (two poolings), a linear map to D features, and a linear head.

    The network of Seo, Lee & Han (2021), figure 1, for penultimate_dim = 2.

    Args:
        in_shape: (channels, H, W) of an image, H and W >= 4.
        num_classes: C.
        penultimate_dim: D.
        width: channels of the first two convolutions; the last two have twice as many.

    >>> ConvNet((1, 8, 8), num_classes=10, penultimate_dim=2)(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        num_classes: int,
        penultimate_dim: int,
        *,
        width: int = 16,
    ) -> None:
        channels, height, breadth = in_shape
        if min(height, breadth) < 4:
            raise ValueError(f"images must be at least 4x4 pixels, got {height}x{breadth}")
        flat = 2 * width * (height // 4) * (breadth // 4)
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(channels, width),
            *_convolution(width, width),
            nn.MaxPool2d(2),
            *_convolution(width, 2 * width),
            *_convolution(2 * width, 2 * width),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.penultimate = nn.Linear(flat, penultimate_dim)
        self.head = nn.Linear(penultimate_dim, num_classes, bias=False)


def _convolution(channels: int, width: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()


class Epoch(NamedTuple):
    """State after an epoch; number 0 is before training."""

    number: int
    loss: float  # mean cross-entropy in nats over the epoch, nan at number 0
    net: nn.Module  # the network in training, not a copy


def train_classifier(
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int = 10,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    weight_decay: float = 1e-4,
    seed: int = 0,
    transform: Callable[[Tensor, Generator], Tensor] | None = None,
    optimiser: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None,
    schedule: Callable[[torch.optim.Optimizer], LRScheduler] | None = None,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
) -> Iterator[Epoch]:
    """Train in place with AdamW and a cosine schedule, yielding before and after every epoch.

    Rows are shuffled by a generator of `seed`; `transform` augments a batch with it. The network
    stays where it is: move it and the images to one device first. An `optimiser` of the
    parameters takes the place of AdamW and its two numbers; it keeps its rate, or follows a
    `schedule` of it, stepped once an epoch. A `loss` of (logits, images, labels) of a batch, the
    images as the network saw them, takes the place of cross-entropy
    (`probact.models.distillation.teacher_loss`).

    Raises:
        TypeError, ValueError: at the first step, fewer than two images, labels that are not one
            class per image, counts below one, a schedule without an optimiser; later, a loss that
            is not finite.
    """
    labels = as_labels(labels, "labels", len(images))
    if len(images) < 2:
        raise ValueError(f"two images or more are needed, got {len(images)}")
    check_count(epochs, "epochs")
    check_count(batch_size, "batch_size")
    generator = Generator().manual_seed(seed)
    batches = max(1, len(images) // batch_size)  # the rest of a shuffle waits for the next one
    steps, each_batch, each_epoch = _optimisation(
        net, epochs * batches, learning_rate, weight_decay, optimiser, schedule
    )
    objective = _cross_entropy if loss is None else loss
    yield Epoch(0, float("nan"), net)
    for number in range(1, epochs + 1):
        net.train()
        total = 0.0
        order = torch.randperm(len(images), generator=generator).to(images.device)
        for rows in order[: batches * batch_size].tensor_split(batches):
            x = images[rows] if transform is None else transform(images[rows], generator)
            step_loss = objective(net(x), x, labels[rows])
            steps.zero_grad()
            step_loss.backward()
            steps.step()
            if each_batch is not None:
                each_batch.step()
            total += step_loss.item()
        if each_epoch is not None:
            each_epoch.step()
        if not total < float("inf"):
            raise ValueError(f"the loss is not finite in epoch {number}: lower the learning rate")
        yield Epoch(number, total / batches, net)


def _optimisation(
    net: nn.Module,
    num_steps: int,
    learning_rate: float,
    weight_decay: float,
    optimiser: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None,
    schedule: Callable[[torch.optim.Optimizer], LRScheduler] | None,
) -> tuple[torch.optim.Optimizer, LRScheduler | None, LRScheduler | None]:
    """The optimiser, and the schedules that step with each batch and with each epoch."""
    if optimiser is not None:
        steps = optimiser(net.parameters())
        return steps, None, None if schedule is None else schedule(steps)
    if schedule is not None:
        raise ValueError("schedule needs an optimiser: AdamW here has a schedule of its own")
    steps = torch.optim.AdamW(net.parameters(), learning_rate, weight_decay=weight_decay)
    return steps, OneCycleLR(steps, learning_rate, total_steps=num_steps), None


def _cross_entropy(logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
    """In nats; refuses labels that are no class of the network. It does not need the images."""
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        got = f"{int(labels.min())} to {int(labels.max())}"
        raise ValueError(f"labels must be in 0 .. {logits.shape[1] - 1}, got {got}")
    return nn.functional.cross_entropy(logits, labels)


def accuracy(net: nn.Module, images: Tensor, labels: Tensor, *, batch_size: int = 1024) -> float:
    """Share of images whose largest logit is their label's, in evaluation mode.

    Raises:
        TypeError, ValueError: no images, or labels that are not one integer per image.
    """
    labels = as_labels(labels, "labels", len(images))
    if len(images) == 0:
        raise ValueError("images must hold at least one image")
    pairs = zip(images.split(batch_size), labels.split(batch_size), strict=True)
    with undisturbed(net):
        right = sum(int((net(x).argmax(1) == y).sum()) for x, y in pairs)
    return right / len(images)
