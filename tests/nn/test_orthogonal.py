"""Orthogonal filters: Gram-Schmidt, gradients, blocks, levels, dtypes, removal, refusals."""

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from orthogonal_layers import draw, linear, off_diagonal
from torch import Tensor, nn
from torch.nn.utils import parametrize

from probact.nn.orthogonal.filters import orthogonal_rows, orthogonalize


def gram_schmidt(rows: np.ndarray) -> np.ndarray:
    """Sequential and not normalised, as in the paper."""
    basis: list[np.ndarray] = []
    for row in rows:
        left = row.copy()
        for done in basis:
            left = left - (left @ done) / (done @ done) * done
        basis.append(left)
    return np.stack(basis)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 20), (12, 12), (40, 300)])
def test_qr_is_sequential_gram_schmidt(shape: tuple[int, int]) -> None:
    weight = draw(*shape)
    rows = orthogonal_rows(weight)
    expected = torch.from_numpy(gram_schmidt(weight.numpy()))
    torch.testing.assert_close(rows, expected, rtol=0.0, atol=1e-10)
    unit = expected / expected.norm(dim=1, keepdim=True)
    torch.testing.assert_close(orthogonal_rows(weight, norm="unit"), unit, rtol=0.0, atol=1e-10)


def test_batches_of_weights() -> None:
    weight = draw(3, 4, 9)
    torch.testing.assert_close(
        orthogonal_rows(weight), torch.stack([orthogonal_rows(w) for w in weight])
    )


@pytest.mark.parametrize("norm", ["residual", "unit"])
@pytest.mark.parametrize("shape", [(3, 5), (4, 4)])
def test_gradients(norm: Any, shape: tuple[int, int]) -> None:
    weight = draw(*shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: orthogonal_rows(w, norm=norm), (weight,))
    assert torch.autograd.gradgradcheck(lambda w: orthogonal_rows(w, norm=norm), (weight,))


@pytest.mark.parametrize("norm", ["residual", "learned", "unit"])
@pytest.mark.parametrize("groups", [None, 2])
def test_gradients_through_a_layer(norm: Any, groups: int | None) -> None:
    layer = orthogonalize(nn.Conv2d(2, 4, 2, dtype=torch.float64), norm=norm, groups=groups)
    names = [name for name, _ in layer.named_parameters()]
    values = tuple(p.detach().clone().requires_grad_() for p in layer.parameters())
    x = draw(1, 2, 3, 3)

    def output(*parameters: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), x)

    assert torch.autograd.gradcheck(output, values)


def test_lengths_of_the_rows() -> None:
    layer = linear(5, 9)
    before = layer.weight.detach().clone()
    residual = orthogonalize(copy.deepcopy(layer)).weight
    unit = orthogonalize(copy.deepcopy(layer), norm="unit").weight
    learned = orthogonalize(copy.deepcopy(layer), norm="learned")
    torch.testing.assert_close(unit @ unit.T, torch.eye(5, dtype=torch.float64))
    lengths = before.norm(dim=1)
    torch.testing.assert_close(learned.weight.norm(dim=1), lengths)
    assert (residual.norm(dim=1)[1:] < lengths[1:]).all()
    torch.testing.assert_close(residual[0], before[0])
    for weight in (residual, learned.weight):
        torch.testing.assert_close(weight / weight.norm(dim=1, keepdim=True), unit)
    # a length is a parameter of its own: it can be had at will
    learned.parametrizations.weight.original1.data[2] = 7.0
    assert float(learned.weight[2].detach().norm()) == pytest.approx(7.0)


@pytest.mark.parametrize("norm", ["residual", "learned", "unit"])
def test_an_orthogonal_weight_can_be_assigned(norm: Any) -> None:
    layer = orthogonalize(linear(3, 4), norm=norm)
    target = orthogonal_rows(draw(3, 4, seed=1), norm="unit" if norm == "unit" else "residual")
    layer.weight = target
    torch.testing.assert_close(layer.weight, target)


@pytest.mark.parametrize("norm", ["residual", "learned", "unit"])
def test_rows_stay_orthogonal_in_training_and_after_removal(norm: Any) -> None:
    net = nn.Sequential(orthogonalize(linear(6, 8), norm=norm), nn.Tanh(), linear(2, 6))
    steps = torch.optim.Adam(net.parameters(), 0.1, weight_decay=0.1)
    x, first = draw(32, 8), net[0].weight.detach().clone()
    for _ in range(20):
        loss = F.cross_entropy(net(x), torch.arange(32) % 2)
        steps.zero_grad()
        loss.backward()
        steps.step()
    trained = net[0].weight.detach().clone()
    assert (trained - first).abs().max() > 0.1
    assert off_diagonal(trained @ trained.T) < 1e-13
    output = net(x)
    parametrize.remove_parametrizations(net[0], "weight")
    assert isinstance(net[0].weight, nn.Parameter)
    assert torch.equal(net[0].weight, trained)
    torch.testing.assert_close(net(x), output)
    assert type(net[0]) is nn.Linear


def test_state_round_trip() -> None:
    first, second = (orthogonalize(linear(3, 5, seed=s), norm="learned") for s in (0, 1))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(copy.deepcopy(first).weight, first.weight)


@pytest.mark.parametrize(
    ("dtype", "largest"),
    [(torch.float64, 1e-14), (torch.float32, 2e-6), (torch.bfloat16, 2e-2), (torch.half, 2e-3)],
)
def test_dtypes(dtype: torch.dtype, largest: float) -> None:
    layer = linear(32, 96, dtype=dtype)
    orthogonalize(layer)
    assert layer.weight.dtype == dtype
    rows = layer.weight.detach().double()
    assert off_diagonal(rows @ rows.T) < largest
    layer.weight.float().square().sum().backward()
    gradient = layer.parametrizations.weight.original.grad
    assert gradient.dtype == dtype
    assert bool(gradient.isfinite().all())


def test_long_and_short_rows() -> None:
    """Lengths from 1e-8 to 1e8 do not make rows dependent."""
    weight = draw(5, 8) * torch.tensor([1e-8, 1e8, 1.0, 1e-8, 1e8], dtype=torch.float64)[:, None]
    rows = orthogonal_rows(weight)
    assert off_diagonal(rows @ rows.T) < 1e-14


@pytest.mark.parametrize(
    ("change", "rows"),
    [
        (lambda w: w[3].zero_(), "1 row of 6 that is zero .* before: 3$"),
        (lambda w: w[4].copy_(w[0] - 2.0 * w[2]), "before: 4$"),
        (lambda w: w.zero_(), r"6 rows .* before: 0, 1, 2, 3, 4, \.\.\."),
    ],
)
def test_dependent_rows_are_named(change: Any, rows: str) -> None:
    layer = linear(6, 10)
    with torch.no_grad():
        change(layer.weight)
    with pytest.raises(ValueError, match=rows):
        orthogonalize(layer)
    with pytest.raises(ValueError, match=rows):
        orthogonal_rows(layer.weight)
    assert not parametrize.is_parametrized(layer)


def test_rows_without_gradient_that_arrive_later_are_named() -> None:
    layer = orthogonalize(nn.Conv2d(1, 8, 2).double(), groups=2)
    layer.parametrizations.weight.original.data[6] = 0.0
    with pytest.raises(ValueError, match=r"1 row of 8 .* before: 6"):
        layer(torch.zeros(1, 1, 3, 3, dtype=torch.float64))
    dependent = draw(8, 1, 2, 2)
    dependent[6] = dependent[5]
    with pytest.raises(ValueError, match=r"1 row of 8 .* before: 6"):
        layer.weight = dependent


@pytest.mark.parametrize("left", [1e-3, 1e-9, 1e-15])
def test_a_residual_may_pass_through_zero_in_training(left: float) -> None:
    """Of the last row of a square weight: the row is P w, P fixed, and its gradient P' g."""
    basis = orthogonal_rows(draw(4, 4), norm="unit")
    layer = orthogonalize(nn.Linear(4, 4, bias=False, dtype=torch.float64))
    mixing = draw(4, 4, seed=1).tril(-1) + torch.eye(4, dtype=torch.float64)
    mixing[3, 3] = left
    layer.parametrizations.weight.original.data = mixing @ basis
    pull = draw(4, 4, seed=2)
    (layer.weight * pull).sum().backward()
    found = layer.parametrizations.weight.original.grad[3]
    expected = (pull[3] @ basis[3]) * basis[3]
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-12)
    torch.testing.assert_close(layer.weight[3].detach(), left * basis[3], rtol=0.0, atol=1e-14)


def test_more_rows_than_dimensions() -> None:
    layer = nn.Conv2d(3, 96, 3)  # the first of the published network
    with pytest.raises(ValueError, match=r'96 rows of 27 dimensions.*pass groups="auto"'):
        orthogonalize(layer)
    with pytest.raises(ValueError, match="groups=3 blocks of 96 rows must hold 1 to 27 rows"):
        orthogonalize(layer, groups=3)
    with pytest.raises(ValueError, match="4 rows of 3 dimensions cannot be orthogonal"):
        orthogonal_rows(torch.ones(4, 3))
    assert orthogonalize(layer, groups="auto").parametrizations.weight[0].chunks == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"norm": "l2"}, "norm must be one of 'residual', 'learned', 'unit', got 'l2'"),
        ({"level": "conv"}, "level must be one of 'filters', 'operator', got 'conv'"),
        ({"groups": 0}, "groups must be an integer of at least 1, got 0"),
        ({"groups": 2.0}, "groups must be an integer"),
        ({"groups": 4}, "groups=4 blocks of 3 rows"),
        ({"name": "weights"}, "Linear has no parameter 'weights'"),
        ({"name": "bias"}, r"bias must be \(K, D\)"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        orthogonalize(linear(3, 5), **options)


def test_bad_modules() -> None:
    for module in (nn.ReLU(), nn.ConvTranspose2d(2, 2, 2), nn.Embedding(3, 4), "fc"):
        with pytest.raises(TypeError, match=r"no filters to make orthogonal"):
            orthogonalize(module)
    layer = orthogonalize(linear(3, 5))
    with pytest.raises(ValueError, match="weight is parametrized already"):
        orthogonalize(layer)
    with pytest.raises(ValueError, match="run the lazy module once"):
        orthogonalize(nn.LazyLinear(3))
    with pytest.raises(ValueError, match="weight is on the meta device"):
        orthogonalize(nn.Linear(3, 2, device="meta"))
    holed = linear(3, 5)
    holed.weight.data[1, 2] = float("nan")
    with pytest.raises(ValueError, match=r"weight has 1 row with NaN .* row 1, index \(2,\)"):
        orthogonalize(holed)
    with pytest.raises(TypeError, match="weight must be a tensor, got list"):
        orthogonal_rows([[1.0]])
    with pytest.raises(ValueError, match=r"real floats, got torch\.int64"):
        orthogonal_rows(torch.eye(2, dtype=torch.int64))


def test_compiled_and_exported() -> None:
    layer = orthogonalize(linear(3, 5), norm="learned")
    x = draw(2, 5)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))
    exported = torch.export.export(layer, (x,)).module()
    torch.testing.assert_close(exported(x), layer(x))


@pytest.mark.gpu
def test_on_a_gpu_as_on_the_cpu() -> None:
    layer = orthogonalize(linear(16, 40), norm="learned")
    moved = copy.deepcopy(layer).cuda()
    torch.testing.assert_close(moved.weight.cpu(), layer.weight)
    for each in (layer, moved):
        (each.weight * draw(16, 40, seed=1).to(each.weight.device)).sum().backward()
    for a, b in zip(layer.parameters(), moved.parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(b.grad.cpu(), a.grad)
