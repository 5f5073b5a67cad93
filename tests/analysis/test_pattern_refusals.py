"""What has no activation pattern, or none that depends on the input alone, and is refused."""

import pytest
import torch
from pattern_networks import Call, mlp
from torch import nn
from torch.nn import functional as F

from probact.analysis.patterns import collect, pattern_at, record
from probact.nn import BetaReLU, soften


@pytest.mark.parametrize(
    ("bits", "message"),
    [
        (torch.zeros(2, 7), "bits must be bool"),
        (torch.zeros(2, 3, dtype=torch.bool), "bits must be bool"),
        (torch.tensor([[False, True] * 7]), "the second of a pair is set alone"),
    ],
)
def test_bits_that_no_pass_can_give(bits, message):
    pattern = pattern_at(nn.ReLU6().eval(), torch.randn(1, 7))
    with pytest.raises(ValueError, match=message):
        pattern.with_bits(bits)


def test_bits_of_a_choice_set_one_competitor_inside_the_plane():
    pattern = pattern_at(nn.MaxPool1d(3, 3, 1).eval(), torch.randn(1, 1, 5))
    bits = pattern.bits(choices=True)
    with pytest.raises(ValueError, match="one of 3 must be set"):
        pattern.with_bits(torch.zeros_like(bits))
    with pytest.raises(ValueError, match="in the padding"):
        pattern.with_bits(torch.tensor([[True, False, False] * 2]))
    with pytest.raises(ValueError, match="choices=True"):
        pattern.bits()


def test_training_mode_is_refused():
    net = mlp(3, 4, 2).train()
    for call in (pattern_at, collect):
        with pytest.raises(ValueError, match=r"training mode \(4 modules.*call net.eval\(\)"):
            call(net, torch.zeros(2, 3))
    net.eval()[1].train()
    with pytest.raises(ValueError, match=r"training mode .1 modules, first: 1"), record(net):
        pass
    assert net[1].training


@pytest.mark.parametrize(
    ("net", "word"),
    [
        (nn.BatchNorm2d(2, track_running_stats=False), "batch_norm uses the statistics"),
        (Call(F.dropout), "dropout draws at random"),
        (nn.FractionalMaxPool2d(2, output_size=2), "fractional_max_pool2d draws its windows"),
        (Call(lambda x: F.rrelu(x, training=True)), "rrelu draws its slopes"),
        (Call(lambda x: x.clamp(-x.abs(), x.abs())), "write minimum"),
    ],
)
def test_calls_that_depend_on_chance_or_the_batch_are_refused(net, word):
    with pytest.raises(ValueError, match=word):
        pattern_at(nn.Sequential(nn.ReLU(), net).eval(), torch.randn(2, 2, 6, 6))


SMOOTH = [nn.GELU(), nn.SiLU(), nn.Tanh(), nn.Sigmoid(), nn.ELU(), nn.SELU(), nn.Softplus()]
SMOOTH += [nn.CELU(), nn.Mish(), nn.Hardswish(), nn.LogSigmoid(), nn.Softsign(), nn.GLU()]


@pytest.mark.parametrize("layer", SMOOTH, ids=lambda m: type(m).__name__.lower())
def test_smooth_activations_are_named_and_point_to_the_soft_layers(layer):
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), layer).double().eval()
    x = torch.randn(5, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"2 \(\w+\) is smooth.*BetaReLU") as refusal:
        pattern_at(net, x)
    assert type(layer).__name__.lower() in str(refusal.value).replace("_", "")
    passed = pattern_at(net, x, smooth="pass")
    assert passed.names == ("1",)
    assert len(passed.curved) == 1
    signs = pattern_at(net, x, smooth="sign")
    assert signs.names == ("1", "2")
    assert torch.equal(signs.gates[1].bits(), net[:2](x) > 0)


def test_soft_networks_are_refused_until_they_are_hardened():
    soft = soften(mlp(3, 4, 2), 0.7)
    with pytest.raises(ValueError, match="smooth"):
        pattern_at(soft.eval(), torch.randn(2, 3))
    with pytest.raises(ValueError, match="smooth"):
        pattern_at(nn.Sequential(nn.Linear(3, 4), BetaReLU(0.5)).eval(), torch.randn(2, 3))


def test_a_network_without_gates_is_refused_with_what_was_seen():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Softmax(1)).eval()
    words = r"Sequential has no piecewise-linear call.*BatchNorm2d, Conv2d.*softmax.*conv2d"
    with pytest.raises(ValueError, match=words):
        pattern_at(net, torch.randn(2, 1, 4, 4))
    with pytest.raises(ValueError, match="no piecewise-linear call"), record(net):
        net(torch.randn(2, 1, 4, 4))
    with pytest.raises(ValueError, match="no piecewise-linear call"):
        pattern_at(Call(lambda x: (x.int() > 3).clamp(0, 1)).eval(), torch.randn(1, 7))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_other_objects_are_refused():
    for wrong in (None, "net", lambda x: x):
        with pytest.raises(TypeError, match="net must be a module"):
            pattern_at(wrong, torch.zeros(1, 3))
    scripted = torch.jit.trace(mlp(3, 4, 2), torch.zeros(1, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match="TorchScript"):
        pattern_at(scripted, torch.zeros(1, 3))
    with pytest.raises(ValueError, match="TorchScript"):
        pattern_at(nn.Sequential(nn.ReLU(), scripted).eval(), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="smooth must be"):
        pattern_at(mlp(3, 4, 2), torch.zeros(1, 3), smooth="no")
    with pytest.raises(ValueError, match="cannot take inputs"):
        pattern_at(mlp(3, 4, 2), torch.zeros(1, 5))
