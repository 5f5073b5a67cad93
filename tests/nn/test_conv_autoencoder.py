"""Convolutional encoders and decoders: the layers of the protocol, shapes, refusals."""

import pytest
import torch
from torch import nn

from probact.nn import ConvDecoder, ConvEncoder, SmallConvDecoder, SmallConvEncoder


def maps(net: nn.Module, x: torch.Tensor) -> list[tuple[int, ...]]:
    """Shape of a sample after every layer that changes it."""
    shapes = []
    for layer in net:
        x = layer(x)
        if not shapes or tuple(x.shape[1:]) != shapes[-1]:
            shapes.append(tuple(x.shape[1:]))
    return shapes


@pytest.fixture(scope="module")
def paper() -> tuple[nn.Module, nn.Module]:
    with torch.device("meta"):
        return ConvEncoder((3, 64, 64)), ConvDecoder(64, (3, 64, 64))


def test_the_papers_pair(paper: tuple[nn.Module, nn.Module]) -> None:
    encoder, decoder = paper
    down = [(128, 32, 32), (256, 16, 16), (512, 8, 8), (1024, 4, 4), (16384,)]
    assert maps(encoder, torch.zeros(2, 3, 64, 64, device="meta")) == down
    up = [(65536,), (1024, 8, 8), (512, 16, 16), (256, 32, 32), (128, 64, 64), (3, 64, 64)]
    assert maps(decoder, torch.zeros(2, 64, device="meta")) == up
    for net in paper:
        kernels = [m for m in net if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        assert {m.kernel_size for m in kernels} == {(5, 5)}
        assert [m.stride for m in kernels[:3]] == [(2, 2)] * 3
    assert decoder[-1].stride == (1, 1)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in encoder) == 4
    assert sum(isinstance(m, nn.BatchNorm2d) for m in decoder) == 3


def test_the_papers_pair_for_96_pixels() -> None:
    with torch.device("meta"):
        encoder, decoder = ConvEncoder((3, 96, 96)), ConvDecoder(64, (3, 96, 96))
    assert encoder(torch.zeros(2, 3, 96, 96, device="meta")).shape == (2, 1024 * 6 * 6)
    shapes = maps(decoder, torch.zeros(2, 64, device="meta"))
    assert (shapes[1], shapes[-1]) == ((1024, 12, 12), (3, 96, 96))


@pytest.mark.parametrize(
    ("shape", "widths"),
    [
        ((1, 8, 8), [32]),
        ((1, 28, 28), [32, 32]),
        ((3, 32, 32), [32, 32, 64]),
        ((3, 64, 64), [32, 32, 64, 64]),
        ((3, 96, 64), [32, 32, 64, 64]),
        ((3, 128, 128), [32, 32, 64, 64, 256]),
        ((3, 256, 256), [32, 32, 64, 64, 256]),
    ],
)
def test_the_small_pair(shape: tuple[int, int, int], widths: list[int]) -> None:
    with torch.device("meta"):
        encoder, decoder = SmallConvEncoder(shape), SmallConvDecoder(10, shape)
    kernels = [m for m in encoder if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in kernels] == widths
    assert {m.kernel_size + m.stride for m in kernels} == {(4, 4, 2, 2)}
    mirrored = [m for m in decoder if isinstance(m, nn.ConvTranspose2d)]
    assert [m.out_channels for m in mirrored] == [*widths[-2::-1], shape[0]]
    assert encoder(torch.zeros(2, *shape, device="meta")).shape == (2, 256)
    assert decoder(torch.zeros(2, 10, device="meta")).shape == (2, *shape)


def test_the_dense_layer_of_64_pixels_sees_a_4x4_map() -> None:
    (dense,) = (m for m in SmallConvEncoder((3, 64, 64)) if isinstance(m, nn.Linear))
    assert dense.in_features == 64 * 4 * 4


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: ConvEncoder((3, 40, 64)), "multiples of 16, got 40x64"),
        (lambda: ConvDecoder(8, (3, 28, 28)), "multiples of 8, got 28x28"),
        (lambda: ConvDecoder(0, (3, 32, 32)), "latent_dim must be"),
        (lambda: ConvEncoder((3, 32, 32), widths=()), "widths must name"),
        (lambda: ConvEncoder((3, 32, 32), widths=(4, 0)), "widths must be"),
        (lambda: SmallConvEncoder((3, 6, 64)), "at least 8, got 6x64"),
        (lambda: SmallConvDecoder(8, (3, 66, 66)), "multiples of 16, got 66x66"),
        (lambda: SmallConvDecoder(0, (3, 32, 32)), "latent_dim must be"),
        (lambda: SmallConvEncoder((32, 32)), "image_shape must be"),
    ],
)
def test_refusals(build: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build()
