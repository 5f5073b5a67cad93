"""Recorded gates against those computed by hand, call by call."""

import copy

import pytest
import torch
from pattern_networks import Call, hostile, mlp
from torch import nn
from torch.nn import functional as F

from probact.analysis.patterns import collect, pattern_at, record

X = torch.tensor([[-4.0, -2.0, -0.25, 0.0, 0.25, 2.0, 7.0]], dtype=torch.float64)
AT = {t: t < X for t in (-4.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 6.0)}


def pair(a, b):
    return torch.stack([AT[a], AT[b]], -1)


ELEMENTWISE = {
    "F.relu": (F.relu, AT[0.0]),
    "torch.relu_": (lambda x: torch.relu_(x.clone()), AT[0.0]),
    "Tensor.relu": (lambda x: x.relu(), AT[0.0]),
    "F.relu inplace": (lambda x: F.relu(x.clone(), inplace=True), AT[0.0]),
    "nn.ReLU inplace": (lambda x: nn.ReLU(True)(x.clone()), AT[0.0]),
    "abs": (abs, AT[0.0]),
    "abs_": (lambda x: x.clone().abs_(), AT[0.0]),
    "torch.absolute": (torch.absolute, AT[0.0]),
    "leaky": (nn.LeakyReLU(0.3), AT[0.0]),
    "leaky_": (lambda x: F.leaky_relu_(x.clone(), 0.3), AT[0.0]),
    "prelu": (nn.PReLU(7).double(), AT[0.0]),
    "rrelu": (nn.RReLU().eval(), AT[0.0]),
    "relu6": (nn.ReLU6(), pair(0.0, 6.0)),
    "F.relu6": (F.relu6, pair(0.0, 6.0)),
    "hardtanh": (nn.Hardtanh(-1.0, 2.0, inplace=False), pair(-1.0, 2.0)),
    "hardsigmoid": (F.hardsigmoid, pair(-3.0, 3.0)),
    "threshold": (nn.Threshold(1.0, -5.0), AT[1.0]),
    "softshrink": (nn.Softshrink(0.5), pair(-0.5, 0.5)),
    "hardshrink": (nn.Hardshrink(0.5), pair(-0.5, 0.5)),
    "clamp": (lambda x: x.clamp(-1.0, 1.0), pair(-1.0, 1.0)),
    "clip_": (lambda x: x.clone().clip_(-1, 1), pair(-1.0, 1.0)),
    "clamp min": (lambda x: torch.clamp(x, min=0), AT[0.0]),
    "clamp max": (lambda x: x.clamp(max=0.5), AT[0.5]),
    "clamp_min": (lambda x: x.clamp_min(0.0), AT[0.0]),
    "clamp_max_": (lambda x: x.clone().clamp_max_(1.0), AT[1.0]),
    "maximum": (lambda x: torch.maximum(x, 0 * x + 2.0), AT[2.0]),
    "max of two": (lambda x: torch.max(x, 0 * x + 2.0), AT[2.0]),
    "method max of two": (lambda x: x.max(0 * x + 2.0), AT[2.0]),
    "minimum": (lambda x: torch.minimum(x, torch.ones_like(x)), AT[1.0]),
    "mask": (lambda x: x * (x > 0), AT[0.0]),
    "mask from the left": (lambda x: x * (x > 0), AT[0.0]),
    "where": (lambda x: torch.where(x.le(0.0), 0.1 * x, x), ~AT[0.0]),
    "where ge": (lambda x: torch.where(torch.ge(x, 0.25), x, 0.0), X >= 0.25),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_gate_of_every_elementwise_call(name):
    function, bits = ELEMENTWISE[name]
    net, x = Call(function).eval(), X.clone()
    with record(net) as recording:
        y = net(x)
    assert torch.equal(y, net(X))
    assert torch.equal(x, X)
    assert len(recording.pattern.gates) == 1
    gate = recording.pattern.gates[0]
    assert torch.equal(gate.bits(), bits)
    assert gate.bit_shape == bits.shape[1:]
    assert gate.num_bits == bits[0].numel()
    again = recording.pattern.with_bits(bits.flatten(1)).gates[0]
    assert torch.equal(again.state, gate.state)


def windows(x, kernel, stride, padding, dilation):
    """Competitors (N, C, H', W', K) by unfolding, -inf in the padding."""
    padded = F.pad(x, (padding,) * 4, value=-torch.inf)
    rows = []
    last = dilation * (kernel - 1) + 1
    for i in range(0, padded.shape[2] - last + 1, stride):
        row = []
        for j in range(0, padded.shape[3] - last + 1, stride):
            cut = padded[:, :, i : i + last : dilation, j : j + last : dilation]
            row.append(cut.flatten(2))
        rows.append(torch.stack(row, 2))
    return torch.stack(rows, 2)


@pytest.mark.parametrize("options", [(2, 2, 0, 1), (3, 2, 1, 1), (3, 1, 0, 2), (3, 1, 1, 1)])
def test_choices_of_max_pooling_are_the_largest_of_the_window(options):
    x = torch.randn(3, 2, 7, 9, dtype=torch.float64)
    for net in (
        nn.MaxPool2d(*options),
        nn.MaxPool2d(*options, return_indices=True),
        Call(lambda x: F.max_pool2d(x, *options)),
        Call(lambda x: torch.max_pool2d(x, *options)),
    ):
        gate = pattern_at(net.eval(), x).gates[0]
        expected = windows(x, *options)
        assert torch.equal(gate.codes(), expected.argmax(-1))
        assert gate.num_states == options[0] ** 2
        assert torch.equal(gate.bits().sum(-1), torch.ones_like(gate.state))


def test_choices_in_other_dimensions_and_of_adaptive_pools():
    x = torch.randn(2, 3, 11, dtype=torch.float64)
    gate = pattern_at(nn.MaxPool1d(3).eval(), x).gates[0]
    assert torch.equal(gate.codes(), x[..., :9].reshape(2, 3, 3, 3).argmax(-1))
    gate = pattern_at(nn.AdaptiveMaxPool1d(4).eval(), x).gates[0]
    cuts = [(i * 11 // 4, -(-(i + 1) * 11 // 4)) for i in range(4)]
    by_hand = torch.stack([x[..., a:b].argmax(-1) for a, b in cuts], -1)
    assert torch.equal(gate.codes(), by_hand)
    volume = torch.randn(2, 3, 4, 4, 6, dtype=torch.float64)
    gate = pattern_at(nn.MaxPool3d(2).eval(), volume).gates[0]
    cells = volume.unfold(2, 2, 2).unfold(3, 2, 2).unfold(4, 2, 2).flatten(-3)
    assert torch.equal(gate.codes(), cells.argmax(-1))
    gate = pattern_at(nn.AdaptiveMaxPool3d((2, 2, 3)).eval(), volume).gates[0]
    assert torch.equal(gate.codes(), cells.argmax(-1))
    gate = pattern_at(nn.MaxPool2d(3, 2, ceil_mode=True).eval(), x[None]).gates[0]
    assert gate.state.shape == (1, 2, 1, 5)


@pytest.mark.parametrize("largest", [True, False])
def test_maxout_along_axes(largest):
    x = torch.randn(5, 4, 3, 2, dtype=torch.float64)
    name, by_hand = ("max", torch.argmax) if largest else ("min", torch.argmin)
    calls = [
        lambda x: getattr(torch, name)(x, 1)[0],
        lambda x: getattr(x, name)(dim=1, keepdim=True).values,
        lambda x: getattr(torch, f"a{name}")(x, dim=1),
        lambda x: getattr(x, f"a{name}")(1, keepdim=True),
    ]
    for call in calls:
        gate = pattern_at(Call(call).eval(), x).gates[0]
        assert torch.equal(gate.state, by_hand(x, 1))
        assert gate.num_states == 4
        assert gate.bit_shape == (3, 2, 4)
    gate = pattern_at(Call(lambda x: getattr(x, f"a{name}")((1, 3))).eval(), x).gates[0]
    assert torch.equal(gate.state, by_hand(x.permute(0, 2, 1, 3).flatten(2), 2))


def test_names_say_where_a_call_happens_and_which_use_it_is():
    net, x = hostile()
    pattern = pattern_at(net, x)
    assert pattern.names == (
        *("act", "relu", "act#2", "abs", "leaky_relu", "prelu", "max_pool2d"),
        *("act#3", "six", "clamp", "relu#2", "max_pool2d#2"),
    )
    deeper = nn.Sequential(nn.Sequential(Call(F.relu), nn.ReLU()), nn.ReLU()).eval()
    assert pattern_at(deeper, X).names == ("0.0/relu", "0.1", "1")
    assert pattern_at(deeper, X).select(["0"]).names == ("0.0/relu", "0.1")
    assert pattern.select(["act", "relu"]).names == ("act", "relu", "act#2", "act#3", "relu#2")
    with pytest.raises(ValueError, match="layers names 'nowhere': no such gate; there are act"):
        pattern.select(["nowhere"])
    with pytest.raises(TypeError, match="list of names"):
        pattern.select("act")


def test_bits_of_a_hostile_network_are_those_of_the_inputs_before_they_change():
    net, x = hostile()
    with torch.no_grad():
        first = net.bn(net.first(x))
        second = net.second(first.relu()) + first.relu()
        third = net.second(second.relu())
    pattern = pattern_at(net, x)
    for gate, h in zip(pattern.gates, (first, second, third), strict=False):
        assert torch.equal(gate.bits(), h > 0)


def test_scores_carry_gradients_and_are_the_pre_activations():
    net = mlp(4, 6, 5, 2)
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    with record(net, keep_scores=True) as recording:
        net(x)
    first = net[0](x)
    torch.testing.assert_close(recording.scores[0], first)
    torch.testing.assert_close(recording.scores[1], net[2](first.relu()))
    recording.scores[1].sum().backward()
    assert float(x.grad.abs().sum()) > 0
    hard, y = hostile()
    with record(hard, keep_scores=True) as recording:
        hard(y)
    pattern = recording.pattern
    assert (pattern.margins(recording.scores) >= 0.0).all()
    for gate, score in zip(pattern.gates, recording.scores, strict=True):
        assert score.shape == gate.bits().shape
        if not gate.is_choice:
            assert torch.equal(score > 0, gate.bits())


def test_several_passes_and_outputs_in_a_block():
    net = mlp(3, 5, 2)
    x = torch.randn(6, 3, dtype=torch.float64)
    with record(net) as recording:
        outputs = [net(x[:2]), net(x[2:])]
        F.relu(x)  # outside the network
    assert [p.num_rows for p in recording.patterns] == [2, 4]
    assert torch.equal(torch.cat(outputs), net(x))
    both = torch.cat([p.bits() for p in recording.patterns])
    assert torch.equal(both, net[0](x) > 0)


def test_nothing_is_left_in_the_network_also_after_errors():
    net, x = hostile()
    keys, state = set(vars(net)), copy.deepcopy(net.state_dict())
    hooks = torch.nn.modules.module._global_forward_hooks
    for _ in range(2):
        with pytest.raises(RuntimeError), record(net):
            net(x[:, :1])
        with pytest.raises(ValueError, match="not called"), record(net) as recording:
            raise ValueError(recording.pattern)
        assert not hooks
        assert not torch.nn.modules.module._global_forward_pre_hooks
    pattern_at(net, x)
    collect(net, x)
    assert set(vars(net)) == keys
    assert not hooks
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert not any(m.training or m._forward_hooks for m in net.modules())


def test_wrappers_and_shared_modules():
    act = nn.ReLU()
    net = nn.Sequential(nn.Linear(3, 4), act, nn.Linear(4, 4), act).double().eval()
    x = torch.randn(2, 3, dtype=torch.float64)
    assert pattern_at(net, x).names == ("1", "1#2")
    wrapped = torch.optim.swa_utils.AveragedModel(net).eval()
    assert pattern_at(wrapped, x).names == ("1", "1#2")
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)).double()
    nn.utils.parametrize.register_parametrization(normed, "bias", Call(abs))
    assert pattern_at(nn.Sequential(normed, act).eval(), x).names == ("1",)


def test_matches_keys_and_rows():
    net, x = hostile()
    pattern = pattern_at(net, torch.cat([x, x[:1]]))
    assert pattern.num_rows == 5
    keys = pattern.keys()
    assert keys[0] == keys[4]
    assert len(set(keys)) == 4
    assert pattern.matches(pattern.rows(0)).tolist() == [True, False, False, False, True]
    assert pattern.rows(-1).num_rows == 1
    assert pattern.rows(slice(1, 3)).keys() == keys[1:3]
    again = pattern.rows(0).with_bits(pattern.bits(choices=True))
    assert again.matches(pattern).all()
    with pytest.raises(ValueError, match="not of the same calls"):
        pattern.matches(pattern.select(["act"]))
