"""What a layer gives, and which of its axes are features."""

import pytest
import torch
import torchvision
from torch import nn

from probact.networks import capture


def test_shared_layers_count_their_last_call():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x):
            return self.fc(self.fc(x))

    net, x = Twice(), torch.randn(4, 3)
    assert torch.equal(capture(net, x).x, net.fc(x))
    assert torch.equal(capture(net, x, layer="fc").x, net(x))


def test_a_layer_is_read_before_the_next_works_in_place():
    net, x = (
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)),
        torch.randn(5, 3),
    )
    assert torch.equal(capture(net, x, layer="0").x, net[0](x))
    net = nn.Sequential(nn.Linear(3, 4), nn.Identity())
    kept = capture(net, x, layer="0", pool=lambda h: h.clamp_(min=0)).x
    assert torch.equal(kept, net[0](x).clamp(min=0))


def test_axes_of_maps_and_tokens():
    x = torch.randn(2, 3, 8)
    conv = nn.Sequential(nn.Conv1d(3, 6, 1), nn.ReLU(), nn.MaxPool1d(2))
    with pytest.raises(ValueError, match="pool="):
        capture(conv, x, layer="1")  # a ReLU does not know its axes
    torch.testing.assert_close(capture(conv, x, layer="0").x, conv[0](x).mean(2))
    torch.testing.assert_close(capture(conv, x, layer="2").x, conv(x).mean(2))
    tokens = nn.Sequential(nn.Linear(8, 5), nn.GELU(), nn.Linear(5, 4))
    for layer in (None, "0", "1"):
        with pytest.raises(ValueError, match="pool="):
            capture(tokens, x, layer=layer)
    pooled = capture(tokens, x, pool=lambda h: h.mean(1))
    torch.testing.assert_close(pooled.x, tokens[:2](x).mean(1))
    with pytest.raises(ValueError, match="3 rows for 2 rows"):
        capture(tokens, x, pool=lambda h: h[0])
    last = nn.Sequential(nn.LayerNorm(8), nn.Flatten(), nn.Linear(24, 2))
    with pytest.raises(ValueError, match="pool="):
        capture(last, x, layer="0")


@pytest.mark.parametrize(
    ("architecture", "layer", "width"),
    [
        ("squeezenet1_1", None, 512),
        ("squeezenet1_1", "features", 512),
        ("resnet18", "avgpool", 512),
        ("resnet18", "layer1", 64),
        ("mobilenet_v2", None, 1280),
    ],
)
def test_torchvision(architecture, layer, width):
    net = getattr(torchvision.models, architecture)(weights=None, num_classes=3)
    assert capture(net, torch.randn(3, 3, 32, 32), layer=layer).x.shape == (3, width)


def test_channels_last_stages_are_not_averaged_over_channels():
    net = torchvision.models.SwinTransformer([4, 4], 16, [1, 1], [2, 2], [2, 2], num_classes=3)
    x = torch.randn(2, 3, 32, 32)
    with pytest.raises(ValueError, match="pool="):
        capture(net, x, layer="features")
    assert capture(net, x, layer="features", pool=lambda h: h.mean((1, 2))).x.shape == (2, 32)
    settings = [torchvision.models.convnext.CNBlockConfig(8, 16, 1)]
    settings += [torchvision.models.convnext.CNBlockConfig(16, None, 1)]
    net = torchvision.models.ConvNeXt(settings, num_classes=3)
    assert capture(net, x, layer="features").x.shape == (2, 16)


def test_layers_that_cannot_be_read():
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    net.add_module("spare", nn.Identity())
    net.recurrent = nn.GRU(2, 3, batch_first=True)
    x = torch.randn(2, 4)
    with pytest.raises(LookupError, match="no layer 'spar'; close names: spare"):
        capture(net, x, layer="spar")
    with pytest.raises(ValueError, match="tuple"):
        capture(net, x, layer="recurrent")
    assert capture(net, x, layer="recurrent", pool=lambda out: out[0]).x.shape == (2, 3)

    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.never = nn.Linear(4, 2), nn.Linear(2, 2)

        def forward(self, x):
            return nn.functional.linear(x, self.fc.weight)

    for layer in (None, "never"):
        with pytest.raises(LookupError, match="never came"):
            capture(Idle(), x, layer=layer)
    with pytest.raises(LookupError, match="no linear head"):
        capture(nn.ReLU(), x)
    with pytest.raises(ValueError, match="4 rows for 2 rows"):
        capture(nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Flatten(0, 1)), x, layer="1")
