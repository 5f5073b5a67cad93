"""Max-affine operators against torch's own layers, whose Jacobians are the slopes."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from probact.nn.affine.difference import Difference
from probact.nn.affine.max_affine import MaxAffine

N, D, K = 12, 6, 8


def real(module: nn.Module) -> nn.Module:
    return module.double().eval()


def batch_norm(kind: type[nn.Module], width: int) -> nn.Module:
    norm = kind(width)
    for value in (norm.weight.data, norm.bias.data, norm.running_mean):
        value.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    return norm


def case(
    layer: nn.Module,
    phi: Callable[[Tensor], Tensor],
    shape: tuple[int, ...],
    regions: int,
    *a,
    **k,
) -> tuple[MaxAffine, Callable[[Tensor], Tensor], tuple[int, ...], int]:
    """The operator, what torch computes, the shape of one input and the number of regions."""
    layer = real(layer)
    return MaxAffine.from_layer(layer, *a, **k), lambda x: phi(layer(x)), shape, regions


def linear_cases() -> dict[str, tuple]:
    line, skip = nn.Linear(D, K), real(nn.Linear(D, K))
    normed = nn.Sequential(nn.Linear(D, K, bias=False), batch_norm(nn.BatchNorm1d, K))

    def pooled(u: Tensor) -> Tensor:
        return F.max_pool1d(u[:, None], 4)[:, 0]

    base = case(line, F.relu, (D,), 2, "relu", skip=skip)
    return {
        "linear": case(line, lambda u: u, (D,), 1, "identity"),
        "relu": case(line, F.relu, (D,), 2, nn.ReLU()),
        "leaky": case(line, lambda u: F.leaky_relu(u, 0.1), (D,), 2, nn.LeakyReLU(0.1)),
        "two slopes": case(
            line, lambda u: torch.where(u > 0, 1.5 * u, -0.3 * u), (D,), 2, (-0.3, 1.5)
        ),
        "abs": case(line, torch.abs, (D,), 2, "abs"),
        "maxout": case(line, pooled, (D,), 4, "maxout", channel_pool=4),
        "channel pool": case(line, pooled, (D,), 4, "identity", channel_pool=4),
        "pool of relu": case(line, lambda u: pooled(u.relu()), (D,), 5, "relu", channel_pool=4),
        "pool of abs": case(line, lambda u: pooled(u.abs()), (D,), 8, "abs", channel_pool=4),
        "skip": (base[0], lambda x: skip(x) + base[1](x), (D,), 2),
        "batch norm": case(normed, F.relu, (D,), 2),
        "identity skip": (
            MaxAffine.from_layer(sq := real(nn.Linear(D, D)), "abs", skip=nn.Identity()),
            lambda x: x + sq(x).abs(),
            (D,),
            2,
        ),
    }


def image_cases() -> dict[str, tuple]:
    conv = nn.Conv2d(2, 4, 3, padding=1, stride=2)
    circular = nn.Conv2d(2, 3, (3, 2), padding=1, padding_mode="circular")
    normed = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), batch_norm(nn.BatchNorm2d, 4))
    padded = nn.MaxPool2d(3, stride=2, padding=1)
    dilated = nn.MaxPool2d((2, 3), stride=1, dilation=(2, 1))
    skip, image = real(nn.Conv2d(2, 4, 1, stride=2)), (2, 6, 6)
    base = case(conv, F.relu, image, 2, "relu", skip=skip)

    def over_channels(u: Tensor) -> Tensor:
        return u.unflatten(1, (2, 2)).amax(2)

    return {
        "conv relu": case(conv, F.relu, image, 2),
        "conv circular abs": case(circular, torch.abs, image, 2, "abs"),
        "average pool": case(nn.AvgPool2d(2), lambda u: u, image, 1, "identity"),
        "max pool": case(
            nn.Identity(), nn.MaxPool2d(2), image, 4, "identity", max_pool=nn.MaxPool2d(2)
        ),
        "padded max pool": case(nn.Identity(), padded, image, 9, "identity", max_pool=padded),
        "pool of abs": case(conv, lambda u: padded(u.abs()), image, 18, "abs", max_pool=padded),
        "pool of relu": case(conv, lambda u: F.max_pool2d(u.relu(), 2), image, 5, max_pool=2),
        "dilated": case(circular, dilated, image, 6, "identity", max_pool=dilated),
        "channel pool": case(
            conv, lambda u: over_channels(u.relu()), image, 3, "relu", channel_pool=2
        ),
        "skip": (base[0], lambda x: skip(x) + base[1](x), image, 2),
        "batch norm": case(normed, F.relu, image, 2),
        "flattened": case(
            nn.Sequential(conv, nn.Flatten(), nn.Linear(36, 5)),
            F.relu,
            image,
            2,
            input_shape=image,
        ),
    }


def cases() -> dict[str, tuple]:
    torch.manual_seed(3)
    return linear_cases() | {f"image {name}": c for name, c in image_cases().items()}


@pytest.mark.parametrize("name", list(cases()))
def test_layer_table(name: str) -> None:
    """Outputs, slopes and offsets of every layer, from torch's layer and its Jacobian."""
    maso, torch_layer, shape, regions = cases()[name]
    x = torch.randn(N, *shape, dtype=torch.float64)
    expected = torch_layer(x)
    torch.testing.assert_close(maso(x), expected, rtol=0, atol=1e-9)
    assert maso.num_regions == regions == maso.scores(x).shape[-1]

    A, B = (value.double() for value in maso.matrices(shape))  # (K, R, D), (K, R)
    flat = x.flatten(1)
    assert A.shape == (expected[0].numel(), regions, flat.shape[1])
    rows = torch.autograd.functional.jacobian(lambda v: torch_layer(v).flatten(1).sum(0), x)
    jacobian = rows.flatten(2).transpose(0, 1)  # (N, K, D): no point depends on another
    code = maso.codes(x).flatten(1)  # (N, K)
    unit = torch.arange(A.shape[0])
    torch.testing.assert_close(A[unit, code], jacobian, rtol=0, atol=1e-9)
    intercept = expected.flatten(1) - (jacobian @ flat.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(B[unit, code], intercept, rtol=0, atol=1e-9)
    # and every region, chosen or not: the operator of A and B alone has the same scores
    dense = MaxAffine(A.detach(), B.detach())
    own = maso.scores(x).flatten(1, -2)
    torch.testing.assert_close(dense.scores(flat), own, rtol=0, atol=1e-9)


def test_written_table() -> None:
    """Slopes and offsets as the table writes them, region by region."""
    layer = real(nn.Linear(D, K))
    w, b, nu = layer.weight, layer.bias, 0.2
    zero, none = torch.zeros_like(w), torch.zeros_like(b)
    table = {
        "relu": ((zero, w), (none, b)),
        "leaky_relu": ((nu * w, w), (nu * b, b)),
        "abs": ((-w, w), (-b, b)),
        "identity": ((w,), (b,)),
    }
    for name, (slopes, offsets) in table.items():
        maso = MaxAffine.from_layer(layer, name, negative_slope=nu)
        assert torch.equal(maso.slopes, torch.stack(slopes, 1)), name
        assert torch.equal(maso.offsets, torch.stack(offsets, 1)), name
        assert (maso.num_units, maso.input_dim) == (K, D)
    pooled = MaxAffine.from_layer(layer, "abs", channel_pool=2)
    assert torch.equal(pooled.slopes, torch.cat([-w.view(4, 2, D), w.view(4, 2, D)], 1))


def test_weights_are_shared() -> None:
    for layer, x in (
        (real(nn.Linear(D, K)), torch.randn(N, D, dtype=torch.float64)),
        (real(nn.Conv2d(2, 3, 3)), torch.randn(N, 2, 5, 5, dtype=torch.float64)),
    ):
        maso = MaxAffine.from_layer(layer, "relu", input_shape=tuple(x.shape[1:]))
        (weight, bias) = maso.parameters()
        assert weight.data_ptr() == layer.weight.data_ptr()
        assert bias is layer.bias
        before = maso.slopes.detach()
        with torch.no_grad():
            layer.weight.mul_(2.0)
        assert torch.equal(maso.slopes, 2.0 * before)
        for value in (maso(x), maso.slopes, maso.offsets + maso.slopes.sum(-1)):
            layer.zero_grad()
            value.square().sum().backward()
            assert layer.weight.grad.abs().max() > 0
        rebuilt = MaxAffine.from_layer(type(layer)(*_shape(layer)).double(), "relu")
        rebuilt.load_state_dict(maso.state_dict())
        assert torch.equal(rebuilt(x), maso(x))


def _shape(layer: nn.Module) -> tuple[int, ...]:
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    return layer.in_channels, layer.out_channels, layer.kernel_size[0]


def test_scores_of_a_convolution_build_no_matrix() -> None:
    """An operator matrix of this size would need 32 TB."""
    conv = nn.Conv2d(1, 2, 3, padding=1)
    x = torch.randn(1, 1, 1024, 1024)
    scores = MaxAffine.from_layer(conv, "relu").scores(x)
    assert scores.shape == (1, 2, 1024, 1024, 2)
    torch.testing.assert_close(scores[..., 1], conv(x))


def test_codes_take_the_first_of_equal_scores() -> None:
    maso = MaxAffine(torch.zeros(1, 3, 2))
    assert maso.codes(torch.ones(4, 2)).tolist() == [[0]] * 4


def test_parameters_and_gradients() -> None:
    slopes = nn.Parameter(torch.randn(2, 3, 4, dtype=torch.float64))
    offsets = nn.Parameter(torch.randn(2, 3, dtype=torch.float64))
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    maso = MaxAffine(slopes, offsets)
    assert maso.slopes is slopes
    assert len(list(maso.parameters())) == 2
    assert not list(MaxAffine(slopes.detach()).parameters())
    torch.autograd.gradcheck(lambda *a: MaxAffine(*a[:2])(a[2]), (slopes, offsets, x))
    layer = real(nn.Conv2d(1, 2, 2))
    image = torch.randn(2, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    for name in ("relu", "abs"):
        operator = MaxAffine.from_layer(layer, name, max_pool=nn.MaxPool2d(3, 2, 1))
        torch.autograd.gradcheck(operator, (image,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision(dtype: torch.dtype) -> None:
    """Scores are the layer's own outputs in its dtype, bit by bit."""
    layer, x = nn.Linear(D, K).to(dtype), torch.randn(N, D).to(dtype)
    assert torch.equal(MaxAffine.from_layer(layer, "abs")(x), layer(x).abs())
    assert MaxAffine.from_layer(layer, "relu").slopes.dtype == dtype


def test_nan_stays_in_its_row() -> None:
    maso = MaxAffine.from_layer(real(nn.Linear(D, K)), "relu", channel_pool=2)
    x = torch.randn(3, D, dtype=torch.float64)
    x[1, 2] = torch.nan
    assert maso(x).isnan().all(-1).tolist() == [False, True, False]
    assert not maso(x)[[0, 2]].isnan().any()


@pytest.mark.parametrize(
    ("activation", "options", "function"),
    [
        ("relu6", {}, F.relu6),
        (nn.ReLU6(), {}, F.relu6),
        ("hardtanh", {}, F.hardtanh),
        (nn.Hardtanh(-0.3, 0.2), {}, nn.Hardtanh(-0.3, 0.2)),
        ("leaky_relu", {"negative_slope": 2.0}, lambda u: F.leaky_relu(u, 2.0)),
        ((1.5, -0.5), {}, lambda u: torch.where(u > 0, -0.5 * u, 1.5 * u)),
        ("min", {"channel_pool": 4}, lambda u: u.unflatten(-1, (2, 4)).amin(-1)),
        ("relu6", {"channel_pool": 4}, lambda u: F.relu6(u).unflatten(-1, (2, 4)).amax(-1)),
    ],
)
def test_differences(activation: object, options: dict, function: Callable) -> None:
    """What is not convex is refused as one operator, and exact as a difference of two."""
    layer, x = real(nn.Linear(D, K)), 9.0 * torch.randn(N, D, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"not convex|to be convex"):
        MaxAffine.from_layer(layer, activation, **options)
    value = Difference.from_layer(layer, activation, **options)(x)
    torch.testing.assert_close(value, function(layer(x)), rtol=0, atol=1e-9)
