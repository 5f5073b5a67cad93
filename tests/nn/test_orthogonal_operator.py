"""Orthogonal filters in blocks, and as rows of the operator of a convolution."""

import numpy as np
import pytest
import torch
from orthogonal_layers import draw
from torch import Tensor, nn
from torch.nn.utils import parametrize

from probact.nn.orthogonal.filters import orthogonalize


@pytest.mark.parametrize(
    ("layer", "blocks"),
    [
        (nn.Conv1d(3, 5, 4), [range(5)]),
        (nn.Conv2d(2, 18, 3), [range(18)]),
        (nn.Conv3d(2, 6, 2), [range(6)]),
        (nn.Conv2d(1, 10, 2), [range(4), range(4, 7), range(7, 10)]),  # 10 rows of 4: 3 blocks
        (nn.Conv2d(4, 8, 3, groups=4), [range(i, i + 2) for i in range(0, 8, 2)]),
        (nn.Conv2d(2, 10, 2, groups=2), [range(3), range(3, 5), range(5, 8), range(8, 10)]),
    ],
)
def test_blocks(layer: nn.Conv2d, blocks: list[range]) -> None:
    orthogonalize(layer.double(), groups="auto", norm="unit")
    rows = layer.weight.flatten(1)
    for block in blocks:
        own = rows[list(block)]
        torch.testing.assert_close(own @ own.T, torch.eye(len(block), dtype=torch.float64))
    assert f"blocks={len(blocks)}" in repr(layer)


@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 3), (3, 3), (4, 3)])
def test_filters_and_the_operator(stride: int, kernel: int) -> None:
    """Orthogonal filters make an orthogonal operator iff patches do not overlap."""
    layer = nn.Conv2d(2, 3, kernel, stride, bias=False, dtype=torch.float64)
    layer.weight.data = draw(3, 2, kernel, kernel)
    orthogonalize(layer)
    matrix = operator(layer, (2, 9, 9))
    gram = matrix @ matrix.T
    largest = float((gram - gram.diagonal().diag()).abs().max())
    if stride < kernel:
        assert largest > 1.0
    else:
        assert largest < 1e-12


def operator(layer: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """The matrix of a layer without bias, column by column."""
    basis = torch.eye(int(np.prod(shape)), dtype=torch.float64).reshape(-1, *shape)
    with torch.no_grad():
        return layer(basis).flatten(1).T


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(6, 4, bias=False), (6,)),
        (nn.Conv2d(2, 3, 3, stride=3, bias=False), (2, 9, 9)),
        (nn.Conv2d(8, 4, 1, padding=1, bias=False), (8, 3, 3)),
        (nn.Conv2d(1, 5, (1, 5), stride=(1, 6), bias=False), (1, 2, 17)),
        (nn.Conv1d(1, 3, 3, stride=3, dilation=2, bias=False), (1, 14)),  # patches interleave
        (nn.Conv2d(4, 4, 2, stride=2, groups=2, padding="valid", bias=False), (4, 4, 4)),
    ],
)
def test_operator_level(layer: nn.Module, shape: tuple[int, ...]) -> None:
    matrix = operator(orthogonalize(layer.double(), level="operator"), shape)
    gram = matrix @ matrix.T
    assert float((gram - gram.diagonal().diag()).abs().max()) < 1e-14


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.Conv2d(2, 3, 3), "needs stride >= kernel, got stride 1, kernel 3"),
        (nn.Conv2d(2, 3, 3, stride=(3, 2)), "stride 2, kernel 3, dilation 1 along axis 1"),
        (nn.Conv1d(1, 3, 3, stride=4, dilation=2), "stride 4, kernel 3, dilation 2"),
        (nn.Conv2d(2, 3, 3, padding="same"), "stride >= kernel"),
        (nn.Conv2d(2, 3, 2, stride=2, padding=1), "padding=0, got 1 along axis 0"),
    ],
)
def test_operator_level_is_refused_with_the_reason(layer: nn.Module, words: str) -> None:
    layer.double()
    with pytest.raises(ValueError, match=words):
        orthogonalize(layer, level="operator")
    assert not parametrize.is_parametrized(layer)


def test_refused_operators_are_not_orthogonal() -> None:
    """The refusals are no mere caution: with level="filters" the operator fails."""
    for layer, shape in (
        (nn.Conv1d(1, 3, 3, stride=4, dilation=2, bias=False), (1, 14)),
        (nn.Conv2d(2, 3, 2, stride=2, padding=1, bias=False), (2, 6, 6)),
    ):
        matrix = operator(orthogonalize(layer.double()), shape)
        gram = matrix @ matrix.T
        assert float((gram - gram.diagonal().diag()).abs().max()) > 1e-3
