"""What max-affine operators refuse, and the power diagram that they draw."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from probact.nn.affine.difference import Difference
from probact.nn.affine.max_affine import MaxAffine


def operator(k: int = 5, r: int = 4, d: int = 7) -> MaxAffine:
    return MaxAffine(torch.randn(k, r, d).double(), torch.randn(k, r).double())


def test_cells_are_a_power_diagram() -> None:
    maso, x = operator(), torch.randn(400, 7, dtype=torch.float64)
    power = (x[:, None, None] - maso.slopes).square().sum(-1) - maso.squared_radii
    assert torch.equal(maso.codes(x), power.argmin(-1))


def test_joint_cells_are_a_power_diagram() -> None:
    """All R^K codes, no orthogonality: the layer's code minimises the power distance."""
    maso, x = operator(4, 3, 5), torch.randn(300, 5, dtype=torch.float64)
    codes = torch.cartesian_prod(*[torch.arange(3)] * 4)  # (81, 4)
    centre, rho = maso.joint_cell(codes)
    power = (x[:, None] - centre).square().sum(-1) - rho
    assert torch.equal(codes[power.argmin(-1)], maso.codes(x))


def test_proposition_one() -> None:
    """B = -|A|^2 / 2 + const_k, and nothing else, gives Voronoi cells of the slopes."""
    slopes = torch.randn(3, 4, 2, dtype=torch.float64)
    offsets = -0.5 * slopes.square().sum(-1) + torch.randn(3, 1, dtype=torch.float64)
    x = 3.0 * torch.randn(2000, 2, dtype=torch.float64)
    nearest = torch.cdist(x.expand(3, -1, -1), slopes).argmin(-1).T
    k_means = MaxAffine(slopes, offsets)
    assert torch.equal(k_means.codes(x), nearest)
    assert k_means.is_k_means().all()
    assert k_means.partition_equal(x).all()
    moved = offsets.clone()
    moved[1, 2] += 1.0
    other = MaxAffine(slopes, moved)
    assert other.is_k_means().tolist() == [True, False, True]
    assert other.partition_equal(x).tolist() == [True, False, True]
    assert (other.codes(x) != nearest).any(0).tolist() == [False, True, False]


def test_relu_is_k_means_only_at_one_bias() -> None:
    layer = nn.Linear(3, 4).double()
    assert not MaxAffine.from_layer(layer, "relu").is_k_means().any()
    with torch.no_grad():
        layer.bias.copy_(-0.5 * layer.weight.square().sum(-1))
    assert MaxAffine.from_layer(layer, "relu").is_k_means().all()
    with torch.no_grad():
        layer.bias.zero_()
    assert MaxAffine.from_layer(layer, "abs").is_k_means().all()


def test_absent_regions_change_no_cell() -> None:
    """A region with offset -inf takes no part in Proposition 1."""
    slopes = torch.randn(3, 4, 2, dtype=torch.float64)
    offsets = -0.5 * slopes.square().sum(-1)
    offsets[1, 2] += 1.0
    gone = torch.full((3, 1), -torch.inf, dtype=torch.float64)
    x = 3.0 * torch.randn(2000, 2, dtype=torch.float64)
    padded = MaxAffine(
        torch.cat([slopes, torch.zeros(3, 1, 2).double()], 1), torch.cat([offsets, gone], 1)
    )
    assert padded.is_k_means().tolist() == [True, False, True]
    assert padded.partition_equal(x).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("slopes", "offsets", "words"),
    [
        (torch.zeros(2, 3), None, r"slopes must be \(K, R, D\)"),
        (torch.zeros(2, 0, 3), None, r"slopes must be \(K, R, D\)"),
        (torch.zeros(2, 3, 4), torch.zeros(3, 2), r"offsets must be \(2, 3\)"),
        (torch.zeros(2, 3, 4), torch.zeros(2, 3).double(), "of torch.float64"),
        (torch.full((1, 2, 3), torch.nan), None, "slopes must be finite"),
        (torch.zeros(1, 2, 3), torch.tensor([[0.0, torch.nan]]), "offsets must be finite"),
        (torch.zeros(1, 2, 3), torch.tensor([[0.0, torch.inf]]), "offsets must be finite"),
        (torch.zeros(1, 2, 3), torch.full((1, 2), -torch.inf), "offsets must be finite"),
        (torch.zeros(1, 2, 3, dtype=torch.int64), None, "floating-point"),
    ],
)
def test_bad_matrices(slopes: torch.Tensor, offsets: torch.Tensor | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MaxAffine(slopes, offsets)


@pytest.mark.parametrize(
    ("activation", "options", "words"),
    [
        ("relu6", {}, "not convex"),
        ("hardtanh", {}, "not convex"),
        (nn.ReLU6(), {}, "not convex"),
        ("leaky_relu", {"negative_slope": 1.5}, "1.5 > 1 is not convex"),
        ("min", {"channel_pool": 2}, "not convex"),
        ((2.0, 1.0), {}, "need p <= q"),
        (nn.GELU(), {}, "convex and piecewise affine .* got 'GELU'"),
        ("tanh", {}, "convex and piecewise affine"),
        (3, {}, "activation must be"),
        ("maxout", {}, "maxout needs channel_pool"),
        ("relu", {"channel_pool": 3}, "divide the 8 units"),
        ("relu", {"channel_pool": 0}, "channel_pool must be an integer"),
        ("relu", {"max_pool": 2}, "max_pool needs a layer that gives images"),
        ("relu", {"channel_pool": 2, "max_pool": 2}, "not both"),
        ("relu", {"input_shape": (-6,)}, "each entry of input_shape"),
        ("relu", {"input_shape": (5,)}, "start with 6"),
        ("relu", {"input_shape": (6, 1, 1)}, r"input_shape must be \(D,\)"),
    ],
)
def test_bad_activations_and_pools(activation: object, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MaxAffine.from_layer(nn.Linear(6, 8), activation, **options)


def test_bad_layers() -> None:
    with pytest.raises(TypeError, match=r"layer must be an affine module .* got ReLU"):
        MaxAffine.from_layer(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    with pytest.raises(TypeError, match="skip must be an affine module"):
        MaxAffine.from_layer(nn.Linear(2, 2), skip=nn.Tanh())
    with pytest.raises(ValueError, match="in training mode"):
        MaxAffine.from_layer(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    with pytest.raises(ValueError, match="without running statistics"):
        MaxAffine.from_layer(nn.BatchNorm1d(2, track_running_stats=False).eval())
    with pytest.raises(ValueError, match="gives an image to Linear"):
        MaxAffine.from_layer(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(4, 2)))
    with pytest.raises(ValueError, match="ceil_mode"):
        MaxAffine.from_layer(nn.Conv2d(1, 2, 3), max_pool=nn.MaxPool2d(2, ceil_mode=True))
    with pytest.raises(TypeError, match="negative_slope must be a number"):
        MaxAffine.from_layer(nn.Linear(2, 2), "leaky_relu", negative_slope="1")
    with pytest.raises(ValueError, match=r"Flatten\(1, -1\)"):
        MaxAffine.from_layer(nn.Flatten(0))


class SquaredLinear(nn.Linear):
    """Linear by its class only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).square()


class Residual(nn.Sequential):
    """A chain by its class only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)


@pytest.mark.parametrize(
    "layer",
    [
        SquaredLinear(2, 2),
        Residual(nn.Linear(2, 2)),
        nn.Sequential(nn.Linear(2, 2), Residual(nn.Linear(2, 2))),
    ],
)
def test_subclasses_with_a_forward_of_their_own(layer: nn.Module) -> None:
    with pytest.raises(TypeError, match="with a forward of its own"):
        MaxAffine.from_layer(layer)
    with pytest.raises(TypeError, match=r"skip holds a .* with a forward of its own"):
        MaxAffine.from_layer(nn.Linear(2, 2), skip=layer)


def test_weights_that_are_not_there_yet() -> None:
    pruned = prune.random_unstructured(nn.Linear(4, 2), "weight", 0.5)
    with pytest.raises(ValueError, match="whose weight a hook sets"):
        MaxAffine.from_layer(pruned)
    maso, x = MaxAffine.from_layer(prune.remove(pruned, "weight")), torch.randn(5, 4)
    torch.testing.assert_close(maso(x), pruned(x).relu())
    layer = parametrizations.weight_norm(nn.Linear(4, 2))
    maso = MaxAffine.from_layer(layer)
    with torch.no_grad():
        layer.parametrizations.weight.original0.mul_(2.0)
    torch.testing.assert_close(maso(x), layer(x).relu())
    with pytest.raises(ValueError, match="run the lazy module once"):
        MaxAffine.from_layer(nn.LazyLinear(3))


def test_bad_inputs() -> None:
    maso = MaxAffine.from_layer(nn.Linear(3, 2))
    for value in (torch.zeros(4, 2), torch.zeros(())):
        with pytest.raises(ValueError, match=r"x must be \(..., 3\)"):
            maso(value)
    for value in ([1.0], torch.zeros(4, 3, dtype=torch.int64)):
        with pytest.raises(TypeError, match="x must be a floating-point tensor"):
            maso(value)
        with pytest.raises(TypeError, match="x must be a floating-point tensor"):
            operator()(value)
    with pytest.raises(ValueError, match=r"x must be \(..., 7\)"):
        operator()(torch.zeros(2, 3))
    conv = MaxAffine.from_layer(nn.Conv2d(2, 3, 3))
    for shape in ((2, 5, 5), (1, 3, 5, 5)):
        with pytest.raises(ValueError, match=r"x must be \(N, 2, H, W\)"):
            conv(torch.zeros(shape))
    with pytest.raises(ValueError, match="give input_shape"):
        _ = conv.slopes
    with pytest.raises(ValueError, match=r"x must be \(N, 2, H, W\)"):
        conv.matrices((3, 5, 5))
    with pytest.raises(ValueError, match="skip must give what the layer gives"):
        MaxAffine.from_layer(nn.Linear(3, 2), skip=nn.Identity())(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="does not fit images"):
        MaxAffine.from_layer(nn.Conv2d(1, 1, 1), max_pool=9)(torch.zeros(1, 1, 5, 5))
    for x in (torch.zeros(3), torch.zeros(5, 3)):
        with pytest.raises(ValueError, match=r"x must be \(..., 7\)"):
            operator().partition_equal(x.double())
    with pytest.raises(TypeError, match="input_shape must be a tuple"):
        MaxAffine.from_layer(nn.Linear(3, 2), input_shape=3)
    with pytest.raises(ValueError, match=r"codes must lie in \[0, 4\)"):
        operator().joint_cell(torch.full((1, 5), 4))
    with pytest.raises(ValueError, match=r"codes must be integers \(..., 5\)"):
        operator().joint_cell(torch.zeros(1, 4, dtype=torch.int64))


def test_differences_refuse_what_is_convex() -> None:
    layer = nn.Linear(4, 4)
    with pytest.raises(ValueError, match="are convex; use MaxAffine"):
        Difference.from_layer(layer, "leaky_relu", negative_slope=0.1)
    with pytest.raises(ValueError, match="activation must be relu6"):
        Difference.from_layer(layer, "relu")
    with pytest.raises(ValueError, match="no difference of two maxima"):
        Difference.from_layer(layer, (2.0, 1.0), channel_pool=2)
    with pytest.raises(TypeError, match="plus must be a module"):
        Difference(3, layer)
