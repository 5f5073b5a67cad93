"""Replays: the output at the recorded points, and the affine map with autograd's Jacobian."""

import pytest
import torch
from pattern_checks import check_jacobian, largest, replayed
from pattern_networks import Call, hostile, mlp
from torch import nn
from torch.func import jacrev
from torch.nn import functional as F

from probact.analysis.patterns import check_affine, frozen, pattern_at, record, replay


def test_hostile_network():
    net, x = hostile()
    pattern = replayed(net, x)
    check_jacobian(net, pattern, x)
    one = x[:1]
    whole = jacrev(lambda v: net(v.clone()))(one)
    alone = jacrev(frozen(net, pattern.rows(0)))(torch.zeros_like(one))
    assert largest(whole - alone) <= 1e-12
    offset = frozen(net, pattern.rows(0))(torch.zeros_like(one))
    value = torch.einsum("aobchw,bchw->ao", alone, one) + offset
    assert largest(value - net(one.clone())) <= 1e-12


def test_one_row_serves_many_inputs_and_many_rows_as_many():
    net, x = hostile()
    pattern = pattern_at(net, x)
    with torch.no_grad():
        many = frozen(net, pattern.rows(2))(x)
        each = torch.cat([frozen(net, pattern.rows(2))(row[None]) for row in x])
    torch.testing.assert_close(many, each, rtol=0.0, atol=1e-12)
    torch.testing.assert_close(many[2], net(x.clone())[2], rtol=0.0, atol=1e-12)
    with pytest.raises(
        ValueError, match=r"pattern of act has states \(3, .* do not fit its input"
    ):
        frozen(net, pattern.rows(slice(3)))(x)


CALLS = {
    "max_pool1d": (nn.MaxPool1d(3, 2, 1), (2, 3, 9)),
    "max_pool2d dilated": (nn.MaxPool2d(2, 1, 1, 2), (2, 3, 7, 8)),
    "max_pool2d ceil": (nn.MaxPool2d(3, 2, ceil_mode=True), (2, 3, 8, 8)),
    "max_pool2d without a batch": (nn.MaxPool2d(2), (3, 6, 6)),
    "max_pool3d": (nn.MaxPool3d(2, 1), (2, 1, 4, 3, 3)),
    "adaptive_max_pool1d": (nn.AdaptiveMaxPool1d(4), (2, 3, 11)),
    "adaptive_max_pool2d": (nn.AdaptiveMaxPool2d((None, 3)), (2, 3, 5, 7)),
    "adaptive_max_pool3d": (nn.AdaptiveMaxPool3d(2), (1, 2, 4, 5, 3)),
    "indices": (Call(lambda x: F.max_pool2d(x, 2, return_indices=True)[0]), (2, 3, 6, 6)),
    "unpooled": (
        Call(lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)),
        (2, 3, 6, 6),
    ),
    "maxout": (Call(lambda x: x.unflatten(1, (3, 2)).max(2).values), (2, 6, 5)),
    "maxout with amax": (Call(lambda x: x.amax((1, 3), keepdim=True)), (2, 6, 5, 4)),
    "minimum over an axis": (Call(lambda x: torch.min(x, 1, keepdim=True)[0]), (2, 6, 5)),
    "max of two": (Call(lambda x: torch.max(x[:, :3], 2 * x[:, 3:])), (2, 6)),
    "minimum": (Call(lambda x: torch.minimum(x[:, :3], x[:, 3:])), (2, 6)),
    "clamp below an input": (Call(lambda x: x[:, :3].clamp(min=x[:, 3:])), (2, 6)),
    "out": (Call(lambda x: torch.clamp(x, -0.5, 0.5, out=torch.empty(0).double())), (3, 4)),
    "mask": (Call(lambda x: x * (x > 0.1) - 2 * x * (x <= 0.1)), (3, 4)),
    "where": (Call(lambda x: torch.where(x[:, :1] < x, x, 1.0)), (3, 4)),
    "prelu": (nn.PReLU(5).double(), (3, 5, 2)),
    "rrelu": (nn.RReLU().eval(), (3, 5)),
    "hardsigmoid": (nn.Hardsigmoid(), (3, 50)),
    "hardtanh_": (Call(lambda x: F.hardtanh_(1.0 * x, -0.5, 0.2)), (3, 50)),
    "softshrink": (nn.Softshrink(0.2), (3, 50)),
    "hardshrink": (nn.Hardshrink(0.2), (3, 50)),
    "threshold": (nn.Threshold(0.3, -7.0, inplace=False), (3, 50)),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_replay_of_every_call_is_affine_and_knows_its_margins(name):
    net, shape = CALLS[name]
    net = net.eval()
    x = 2.0 * torch.randn(shape, dtype=torch.float64)
    pattern = replayed(net, x)
    check_affine(net, pattern, x)
    if name not in ("out", "hardsigmoid"):  # no gradient; one that torch has in float32 alone
        check_jacobian(net, pattern, x)
    for step in (0.0, 0.01, 0.3, 3.0):
        y = x + step * torch.randn_like(x)
        with torch.no_grad(), replay(net, pattern, keep_scores=True) as played:
            net(y)
        inside = pattern.margins(played.scores).min(1).values >= 0.0
        assert torch.equal(inside, pattern_at(net, y).matches(pattern))


def test_a_replayed_pass_can_be_recorded():
    net, x = hostile()
    pattern = pattern_at(net, x[:1])
    with replay(net, pattern), record(net) as recording:
        y = net(x)
    assert torch.equal(y, frozen(net, pattern)(x))
    assert recording.pattern.names == pattern.names
    assert recording.pattern.matches(pattern).tolist() == [True, False, False, False]


def test_margins_predict_on_a_line_where_the_pattern_ends():
    net, x = hostile()
    pattern = pattern_at(net, x[:1])

    def margins(y):
        with torch.no_grad(), replay(net, pattern, keep_scores=True) as played:
            net(y)
            return pattern.margins(played.scores)[0]

    start, end = margins(x[:1]), margins(x[1:2])
    at = start / (start - end)
    first = float(at[(end < 0) & (start > 0)].min())
    inside = x[:1] + 0.999999 * first * (x[1:2] - x[:1])
    outside = x[:1] + 1.000001 * first * (x[1:2] - x[:1])
    assert pattern_at(net, inside).matches(pattern).all()
    assert not pattern_at(net, outside).matches(pattern).any()


def test_inference_mode():
    net, x = hostile()
    expected = pattern_at(net, x)
    with torch.inference_mode(), record(net) as recording:
        y = net(x.clone())
    pattern = recording.pattern
    assert pattern.matches(expected).all()
    assert not any(gate.state.is_inference() for gate in pattern.gates)
    check_jacobian(net, pattern, x)
    with torch.inference_mode(), replay(net, pattern):
        assert torch.equal(net(x.clone()), y)


def test_recording_inside_function_transforms():
    net, x = mlp(3, 5, 2), torch.randn(4, 3, dtype=torch.float64)
    found = []

    def function(v):
        with record(net) as recording:
            y = net(v)
        found.append(recording.pattern)
        return y

    torch.testing.assert_close(jacrev(function)(x), jacrev(net)(x))
    assert torch.equal(found[0].bits(), pattern_at(net, x).bits())
    assert found[0].keys() == pattern_at(net, x).keys()
    with pytest.raises(ValueError, match=r"1 is recorded in torch\.vmap"):
        torch.vmap(function)(x)
    each = torch.vmap(jacrev(frozen(net, found[0].rows(0))))(x[:, None])
    assert largest(each - each[:1]) == 0.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_patterns_are_those_of_the_lower_precision(dtype):
    net, x = hostile()
    net, x = net.float(), x.float()
    with torch.no_grad(), torch.autocast("cpu", dtype), record(net) as recording:
        y = net(x.clone())
        half = net.bn(net.first(x))
    pattern = recording.pattern
    assert half.dtype == dtype
    assert torch.equal(pattern.gates[0].bits(), half > 0)
    assert torch.equal(
        pattern.gates[0].bits(), net.bn(torch.autocast("cpu", dtype)(net.first)(x)) > 0
    )
    with torch.no_grad(), torch.autocast("cpu", dtype), replay(net, pattern):
        torch.testing.assert_close(net(x.clone()), y, rtol=0.02, atol=0.02)
    check_affine(net.double(), pattern, x.double())


def test_replay_refuses_other_networks_and_inputs():
    net, x = mlp(3, 4, 5, 2), torch.randn(2, 3, dtype=torch.float64)
    pattern = pattern_at(net, x)
    with pytest.raises(ValueError, match=r"pattern ends before the call of relu in 5"):
        frozen(mlp(3, 4, 5, 6, 2), pattern)(x)
    with pytest.raises(ValueError, match="pass ended before relu in 3"):
        frozen(mlp(3, 4, 2), pattern)(x)
    with pytest.raises(ValueError, match="do not fit"):
        frozen(mlp(3, 4, 6, 2), pattern)(x)
    other = nn.Sequential(net[0], nn.Tanh(), nn.PReLU().double(), nn.ReLU()).eval()
    with pytest.raises(ValueError, match="call 1 is prelu in 2, but the pattern has relu in 3"):
        frozen(other, pattern)(x)
    with pytest.raises(TypeError, match="must be a Pattern"), replay(net, pattern.gates):
        pass
    with pytest.raises(ValueError, match="training mode"):
        frozen(net.train(), pattern)(x)


def test_check_affine_finds_what_no_gate_explains():
    x = torch.randn(3, 4, dtype=torch.float64)
    curved = {
        "softmax": nn.Sequential(nn.ReLU(), nn.Softmax(1)),
        "layer_norm": nn.Sequential(nn.ReLU(), nn.LayerNorm(4).double()),
        "not known": nn.Sequential(nn.ReLU(), Call(lambda x: x * x)),
        "tanh": nn.Sequential(nn.ReLU(), nn.Tanh()),
    }
    for word, net in curved.items():
        pattern = pattern_at(net.eval(), x, smooth="sign")
        with pytest.raises(ValueError, match=rf"not affine.*{word}"):
            check_affine(net, pattern, x)
        with torch.no_grad():  # the values are exact all the same
            assert torch.equal(frozen(net, pattern)(x), net(x))
    check_affine(mlp(4, 5, 3), pattern_at(mlp(4, 5, 3), x), x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiled_networks_are_recorded_as_written():
    net = mlp(3, 4, 2)
    x = torch.randn(2, 3, dtype=torch.float64)
    compiled = torch.compile(net, backend="eager")
    with record(compiled) as recording:
        y = compiled(x)
    assert recording.pattern.matches(pattern_at(net, x)).all()
    with replay(compiled, recording.pattern):
        assert torch.equal(compiled(x), y)
