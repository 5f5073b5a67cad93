"""Penalties against loops over pairs, singular values and the operator of a convolution."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from probact.nn.orthogonal.filters import orthogonalize
from probact.nn.orthogonal.penalty import orthogonality_penalty

KINDS = ("rows", "cosine", "soft", "srip", "conv")


def seeded(layer: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in layer.double().parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return layer


def number(value: Tensor) -> float:
    return float(value.detach())


def layers() -> list[nn.Module]:
    return [
        seeded(nn.Linear(5, 4)),
        seeded(nn.Linear(2, 1)),
        seeded(nn.Conv2d(2, 3, 3)),
        seeded(nn.Conv2d(4, 6, (2, 3), stride=2, groups=2)),
    ]


def pairs(layer: Any) -> list[tuple[int, int]]:
    """Rows of one group, different ones, in both orders."""
    count = layer.weight.shape[0]
    each = count // getattr(layer, "groups", 1)
    return [
        (k, m) for k in range(count) for m in range(count) if k != m and k // each == m // each
    ]


@pytest.mark.parametrize("layer", layers())
@pytest.mark.parametrize("kind", ["rows", "cosine"])
def test_sums_over_pairs(layer: Any, kind: Any) -> None:
    rows = layer.weight.detach().flatten(1).numpy()
    expected = 0.0
    for k, m in pairs(layer):
        product = sum(a * b for a, b in zip(rows[k], rows[m], strict=True))
        length = np.hypot.reduce(rows[k]) * np.hypot.reduce(rows[m]) if kind == "cosine" else 1.0
        expected += (product / length) ** 2
    assert number(orthogonality_penalty(layer, kind)) == pytest.approx(expected, rel=1e-12)
    mean = expected / max(1, len(pairs(layer)))
    value = orthogonality_penalty(layer, kind, reduction="mean")
    assert number(value) == pytest.approx(mean, rel=1e-12)


def test_small_next_to_the_lengths() -> None:
    """Squares of 1e-10 are not lost beside those of the diagonal, in single precision."""
    layer = nn.Linear(4, 2)
    layer.weight.data = torch.tensor([[30.0, 1e-7, 0.0, 0.0], [1e-7, 30.0, 0.0, 0.0]])
    assert number(orthogonality_penalty(layer)) == pytest.approx(2 * 6e-6**2, rel=1e-5)


@pytest.mark.parametrize("layer", layers())
def test_soft_and_srip_by_singular_values(layer: Any) -> None:
    """G - I has eigenvalues s^2 - 1, and -1 for each row beyond the rank."""
    groups = getattr(layer, "groups", 1)
    blocks = np.split(layer.weight.detach().flatten(1).numpy(), groups)
    spectra = []
    for rows in blocks:
        s = np.zeros(len(rows))
        values = np.linalg.svd(rows, compute_uv=False)
        s[: len(values)] = values
        spectra.append(s**2 - 1.0)
    soft = sum((values**2).sum() for values in spectra)
    srip = max(np.abs(values).max() for values in spectra)
    assert number(orthogonality_penalty(layer, "soft")) == pytest.approx(soft, rel=1e-12)
    assert number(orthogonality_penalty(layer, "srip")) == pytest.approx(srip, rel=1e-12)


def operator_deviation(layer: nn.Conv2d, side: int) -> float:
    """Squares of C C' - I in the rows of one inner position, C the matrix of the convolution."""
    shape = (layer.in_channels, side, side)
    basis = torch.eye(int(np.prod(shape)), dtype=torch.float64).reshape(-1, *shape)
    with torch.no_grad():
        maps = nn.functional.conv2d(
            basis, layer.weight, None, layer.stride, 0, layer.dilation, layer.groups
        )
    matrix = maps.flatten(1).T.numpy()  # (C_out y x, C_in side side)
    gram = (matrix @ matrix.T - np.eye(len(matrix))).reshape(2 * maps.shape[1:])
    y, x = maps.shape[2] // 2, maps.shape[3] // 2
    each = layer.out_channels // layer.groups
    return sum(
        float((gram[c, y, x, c // each * each : (c // each + 1) * each] ** 2).sum())
        for c in range(layer.out_channels)
    )


@pytest.mark.parametrize(
    ("layer", "side"),
    [
        (nn.Conv2d(2, 3, 3), 9),
        (nn.Conv2d(2, 3, 3, padding=1), 9),
        (nn.Conv2d(2, 4, 3, stride=2), 13),
        (nn.Conv2d(2, 4, 3, stride=3), 15),
        (nn.Conv2d(1, 2, 4, stride=2), 14),
        (nn.Conv2d(2, 3, (1, 4), stride=(1, 3)), 13),
        (nn.Conv2d(4, 6, 3, groups=2), 9),
        (nn.Conv2d(2, 2, 2, dilation=2), 9),
        (nn.Conv2d(2, 2, 3, dilation=(2, 1), stride=2), 15),
        (nn.Conv2d(3, 2, 1), 3),
    ],
)
def test_conv_is_of_the_operator(layer: nn.Conv2d, side: int) -> None:
    seeded(layer)
    expected = operator_deviation(layer, side)
    assert number(orthogonality_penalty(layer, "conv")) == pytest.approx(expected, rel=1e-12)


def test_conv_without_overlap_is_soft() -> None:
    for layer in (seeded(nn.Linear(4, 3)), seeded(nn.Conv2d(2, 3, 2, stride=2))):
        for reduction in ("sum", "mean"):
            values = [
                number(orthogonality_penalty(layer, kind, reduction=reduction))
                for kind in ("conv", "soft")
            ]
            assert values[0] == pytest.approx(values[1], rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_zero_where_the_rows_are_orthonormal(kind: Any) -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.Conv2d(3, 5, 2, stride=2)).double()
    for layer in net:
        orthogonalize(layer, norm="unit")
    assert number(orthogonality_penalty(net, kind)) == pytest.approx(0.0, abs=1e-14)
    assert number(orthogonality_penalty(seeded(nn.Linear(8, 8)), kind)) > 0.1


def test_lengths_are_free_but_for_soft_srip_and_conv() -> None:
    layer = nn.Linear(3, 2, bias=False).double()
    layer.weight.data = torch.tensor([[0.5, 0.0, 0.0], [0.0, 3.0, 0.0]], dtype=torch.float64)
    values = {kind: number(orthogonality_penalty(layer, kind)) for kind in KINDS}
    assert values == {"rows": 0.0, "cosine": 0.0, "soft": 64.5625, "srip": 8.0, "conv": 64.5625}


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind: Any) -> None:
    layer = seeded(nn.Conv2d(2, 4, 2, groups=2))

    def value(weight: Tensor) -> Tensor:
        layer._parameters["weight"] = weight
        return orthogonality_penalty(layer, kind)

    weight = layer.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(value, (weight,))


def test_layers_are_summed_but_for_the_skipped() -> None:
    net = nn.Sequential(seeded(nn.Linear(3, 4)), nn.ReLU(), seeded(nn.Linear(4, 3), 1))
    net.append(nn.ModuleDict({"head": seeded(nn.Linear(3, 3), 2)}))
    parts = [number(orthogonality_penalty(part)) for part in (net[0], net[2], net[3])]
    assert number(orthogonality_penalty(net)) == pytest.approx(sum(parts))
    assert number(orthogonality_penalty(net, skip=["3"])) == pytest.approx(sum(parts[:2]))
    assert number(orthogonality_penalty(net, skip=["0", "3.head"])) == pytest.approx(parts[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.half])
def test_dtypes(dtype: torch.dtype) -> None:
    layer = seeded(nn.Conv2d(2, 3, 3)).to(dtype)
    exact = nn.Conv2d(2, 3, 3).double()
    exact.weight.data = layer.weight.detach().double()
    for kind in KINDS:
        value = orthogonality_penalty(layer, kind)
        assert value.dtype == torch.float32
        expected = number(orthogonality_penalty(exact, kind))
        assert number(value) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_takes_no_digits(kind: Any) -> None:
    layer = nn.Conv2d(2, 3, 3)
    value = number(orthogonality_penalty(layer, kind))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert number(orthogonality_penalty(layer, kind)) == value


def test_refusals() -> None:
    layer = seeded(nn.Linear(3, 4))
    with pytest.raises(ValueError, match=r"kind must be one of 'rows', .*, got 'l1'"):
        orthogonality_penalty(layer, "l1")
    with pytest.raises(ValueError, match="reduction must be one of 'sum', 'mean', got 'none'"):
        orthogonality_penalty(layer, reduction="none")
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got Tensor"):
        orthogonality_penalty(torch.eye(2))
    with pytest.raises(TypeError, match="skip must be a list of names, got 'head'"):
        orthogonality_penalty(layer, skip="head")
    with pytest.raises(ValueError, match="skip names head: the model has no such module"):
        orthogonality_penalty(layer, skip=["head"])
    empty = nn.Linear(2, 1)
    empty.weight = nn.Parameter(torch.zeros(0, 2))
    for net in (nn.ReLU(), nn.ConvTranspose2d(2, 2, 2), empty):
        with pytest.raises(ValueError, match="no linear or convolutional layer"):
            orthogonality_penalty(net)
    with pytest.raises(ValueError, match='kind="conv" is for Conv2d and Linear, got Conv1d'):
        orthogonality_penalty(nn.Conv1d(1, 2, 3), "conv")
    layer.weight.data[0, 0] = float("inf")
    with pytest.raises(ValueError, match="a layer is not finite"):
        orthogonality_penalty(layer, "srip")
    with pytest.raises(ValueError, match="run the lazy module once"):
        orthogonality_penalty(nn.LazyLinear(3))
