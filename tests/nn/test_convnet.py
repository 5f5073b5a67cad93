"""The small convolutional classifier: shapes, training, accuracy, refusals."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from probact.nn import ConvNet, accuracy, train_classifier


def quadrants(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """8x8 images of noise with one bright quadrant out of four, which is the label."""
    generator = Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    images = 0.3 * torch.rand(count, 1, 8, 8, generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = 4 * (label // 2), 4 * (label % 2)
        image[:, row : row + 4, column : column + 4] += 0.7
    return images, labels


def small(seed: int = 0) -> ConvNet:
    torch.manual_seed(seed)
    return ConvNet((1, 8, 8), num_classes=4, penultimate_dim=3, width=4)


@pytest.mark.parametrize("in_shape", [(1, 4, 4), (3, 5, 7), (1, 8, 8), (3, 32, 32)])
@pytest.mark.parametrize("dim", [1, 2, 40])
def test_shapes(in_shape: tuple[int, int, int], dim: int) -> None:
    net = ConvNet(in_shape, num_classes=6, penultimate_dim=dim, width=4).eval()
    x = torch.rand(5, *in_shape)
    a = net.penultimate(net.features(x))
    assert a.shape == (5, dim)
    assert net.head.weight.shape == (6, dim)
    assert net.head.bias is None
    torch.testing.assert_close(net(x), a @ net.head.weight.T)
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [4, 4, 8, 8]


def test_penultimate_activations_take_both_signs() -> None:
    net = small()
    images, labels = quadrants(64)
    for _ in train_classifier(net, images, labels, epochs=3, batch_size=16):
        pass
    with torch.no_grad():
        a = net.penultimate(net.features(images))
    assert (a > 0).any()
    assert (a < 0).any()


def test_training_learns_a_separable_set() -> None:
    net = small()
    images, labels = quadrants(64)
    assert accuracy(net, *quadrants(200, seed=1)) < 0.75  # untrained: 0.25 expected
    epochs = list(train_classifier(net, images, labels, epochs=15, batch_size=16))
    assert [e.number for e in epochs] == list(range(16))
    assert all(e.net is net for e in epochs)
    assert math.isnan(epochs[0].loss)
    assert epochs[-1].loss < 0.5 * epochs[1].loss
    assert epochs[-1].loss < 0.5 * math.log(4.0)  # the loss of a guess
    assert accuracy(net, *quadrants(200, seed=1)) > 0.95


def test_the_first_epoch_is_before_training() -> None:
    net = small()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    steps = train_classifier(net, *quadrants(16), epochs=1, batch_size=8)
    assert next(steps).number == 0
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    next(steps)
    assert not torch.equal(net.head.weight, before["head.weight"])


def test_same_seed_same_bits_and_no_trace_in_the_global_stream() -> None:
    def trained(seed: int) -> tuple[Tensor, list[float]]:
        net = small()
        steps = train_classifier(net, *quadrants(50), epochs=2, batch_size=16, seed=seed)
        return net.head.weight.detach(), [e.loss for e in steps][1:]

    small()
    before = torch.get_rng_state()
    first = trained(3)
    assert torch.equal(torch.get_rng_state(), before)
    again, other = trained(3), trained(4)
    assert torch.equal(first[0], again[0])
    assert first[1] == again[1]
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize(
    ("rows", "batch_size", "sizes"), [(50, 16, 16), (10, 64, 10), (16, 16, 16)]
)
def test_batches_cover_a_shuffle(rows: int, batch_size: int, sizes: int) -> None:
    seen: list[Tensor] = []

    def watch(x: Tensor, generator: Generator) -> Tensor:
        seen.append(x)
        return x + 0.1 * torch.rand(x.shape, generator=generator)

    images, labels = quadrants(rows)
    list(
        train_classifier(small(), images, labels, epochs=2, batch_size=batch_size, transform=watch)
    )
    assert [len(x) for x in seen] == [sizes] * (2 * max(1, rows // batch_size))
    epoch = torch.cat(seen[: len(seen) // 2]).flatten(1)
    assert len(epoch.unique(dim=0)) == len(epoch)  # no row twice
    assert torch.equal(images, quadrants(rows)[0])


def test_accuracy_counts_and_restores_every_mode() -> None:
    net = small().train()
    net.features.eval()  # frozen batch statistics within a network in training
    images, labels = quadrants(37)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    modes = [m.training for m in net.modules()]
    found = accuracy(net, images, labels, batch_size=10)
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    with torch.no_grad():
        guess = net.eval()(images).argmax(1)
    assert found == float((guess == labels).double().mean())
    net.train()

    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ArithmeticError("no forward")

    broken = nn.Sequential(net, Broken())
    with pytest.raises(ArithmeticError):
        accuracy(broken, images, labels)
    assert broken.training
    assert net.training


def test_network_refuses_small_images() -> None:
    for shape in ((1, 3, 8), (1, 8, 3)):
        with pytest.raises(ValueError, match="at least 4x4 pixels"):
            ConvNet(shape, num_classes=4, penultimate_dim=2)


IMAGES, LABELS = quadrants(8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": LABELS[:7]}, "labels must be one integer per row"),
        ({"labels": LABELS.float()}, "labels must be integers"),
        ({"labels": LABELS - 1}, "labels must be in 0 .. 3, got -1 to 2"),
        ({"labels": LABELS + 1}, "labels must be in 0 .. 3, got 1 to 4"),
        ({"labels": LABELS[:1], "images": IMAGES[:1]}, "two images or more are needed, got 1"),
        ({"epochs": 0}, "epochs must be an integer of at least 1, got 0"),
        ({"epochs": -1}, "epochs must be an integer of at least 1, got -1"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
        ({"images": IMAGES * math.nan}, "loss is not finite in epoch 1"),
        ({"learning_rate": -1.0}, "learning rate"),
    ],
)
def test_what_training_refuses(change: dict[str, Any], message: str) -> None:
    arguments = {"images": IMAGES, "labels": LABELS, "epochs": 1, "batch_size": 4, **change}
    with pytest.raises(ValueError, match=message):
        list(train_classifier(small(), **arguments))


def test_what_accuracy_refuses() -> None:
    with pytest.raises(ValueError, match="one integer per row"):
        accuracy(small(), IMAGES, LABELS[:7])
    with pytest.raises(ValueError, match="at least one image"):
        accuracy(small(), IMAGES[:0], LABELS[:0])
    with pytest.raises(TypeError, match="labels must be"):
        accuracy(small(), IMAGES, None)  # type: ignore[arg-type]


def test_a_loss_of_the_users_own() -> None:
    """It gets the logits, the images as the network saw them, and the labels of each batch."""
    images, labels = quadrants(40)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def shifted(x: Tensor, generator: Generator) -> Tensor:
        return x + torch.rand(1, generator=generator)

    def loss(logits: Tensor, x: Tensor, y: Tensor) -> Tensor:
        seen.append((logits.detach(), x, y))
        return nn.functional.cross_entropy(logits, y)

    options: dict[str, Any] = {"epochs": 2, "batch_size": 10, "transform": shifted, "seed": 4}
    with_it, without = small(), small()
    own = [e.loss for e in train_classifier(with_it, images, labels, loss=loss, **options)][1:]
    usual = [e.loss for e in train_classifier(without, images, labels, **options)][1:]
    assert own == usual
    assert torch.equal(with_it.head.weight, without.head.weight)
    assert [len(y) for *_, y in seen] == [10] * 8
    for logits, x, y in seen:
        assert logits.shape == (10, 4)
        row = (x[0] - x[0].min())[None] - (images - images.amin((1, 2, 3), keepdim=True))
        match = row.abs().amax((1, 2, 3)).argmin()  # the image that a constant was added to
        assert labels[match] == y[0]


def test_schedule_of_an_optimiser_steps_once_an_epoch() -> None:
    rates: list[float] = []

    def schedule(optimiser: torch.optim.Optimizer) -> Any:
        return torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda e: rates.append(0.1**e) or 0.1**e
        )

    def sgd(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=1.0)

    net, weights = small(), []
    steps = train_classifier(
        net, *quadrants(40), epochs=3, batch_size=10, optimiser=sgd, schedule=schedule
    )
    for _ in steps:
        weights.append(net.head.weight.detach().clone())
    assert rates == [1.0, 0.1, 0.1**2, 0.1**3]
    moves = [float((b - a).abs().max()) for a, b in itertools.pairwise(weights)]
    assert moves[2] < 0.5 * moves[0]
    with pytest.raises(ValueError, match="schedule needs an optimiser"):
        next(train_classifier(small(), *quadrants(16), schedule=schedule))
