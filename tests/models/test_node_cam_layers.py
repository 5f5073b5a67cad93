"""Layers and networks of node maps: which one, in which form, and nothing left behind."""

import pytest
import torch
from cam_toys import images
from torch import Tensor, nn

from probact.models.neuron_split import node_cam, token_grid
from probact.models.neuron_split.cam_passes import cut_at, frozen, last_spatial
from probact.models.neuron_split.gap_cam import largest_one


class Residual(nn.Module):
    """Works in place after the layer, runs one ReLU twice and a dropout in between."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.bn, self.relu, self.drop = nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.Dropout(0.5)
        self.fc = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.conv1(x))
        h = self.relu(self.bn(self.conv2(h)) + h)
        logits: Tensor = self.fc(self.drop(h.mean((2, 3))))
        return logits


def snapshot(net: nn.Module) -> list[object]:
    state = {k: v.clone() for k, v in net.state_dict().items()}
    modes = [m.training for m in net.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()]
    grads = [None if p.grad is None else p.grad.clone() for p in net.parameters()]
    return [state, modes, hooks, grads, [p.requires_grad for p in net.parameters()]]


@pytest.mark.parametrize("layer", [None, "bn", "conv1", "relu"])
def test_network_is_left_as_it_was(layer: str | None) -> None:
    torch.manual_seed(3)
    net = Residual().double().train()
    net.bn.eval()
    net.conv1.weight.requires_grad_(False)
    net(images()).sum().backward()
    net.fc.weight.grad[0, 0] = 7.0
    before, state = snapshot(net), torch.get_rng_state()
    maps = node_cam(net, images(), 0, net.fc.weight[0] > 0, layer=layer)
    assert maps.shape == (2, 6, 6)
    with pytest.raises(ValueError, match="NaN"):
        node_cam(net, images() * float("nan"), 0, net.fc.weight[0] > 0)
    after = snapshot(net)
    for a, b in zip(before[0].items(), after[0].items(), strict=True):
        assert a[0] == b[0]
        assert torch.equal(a[1], b[1])
    for a, b in zip(before[3], after[3], strict=True):
        assert (a is None and b is None) or torch.equal(a, b)
    assert [before[i] for i in (1, 2, 4)] == [after[i] for i in (1, 2, 4)]
    assert torch.equal(torch.get_rng_state(), state)


def test_layers_before_an_operation_in_place() -> None:
    """The map of "bn" is what it gave, negatives and all; that of the last ReLU is rectified."""
    torch.manual_seed(3)
    net = Residual().double().eval()
    x, mask = images(), net.fc.weight[0] > 0
    copied = Residual().double().eval()
    copied.load_state_dict(net.state_dict())
    copied.relu.inplace = False
    for layer in ("bn", "conv2", "relu"):
        torch.testing.assert_close(
            node_cam(net, x, 0, mask, layer=layer), node_cam(copied, x, 0, mask, layer=layer)
        )
    assert torch.equal(node_cam(net, x, 0, mask, layer=net.relu), node_cam(net, x, 0, mask))


def vit() -> nn.Module:
    vision_transformer = pytest.importorskip("torchvision.models").VisionTransformer
    torch.manual_seed(2)
    net = vision_transformer(image_size=32, patch_size=8, num_layers=2, num_heads=2,
                             hidden_dim=16, mlp_dim=32, num_classes=5)  # fmt: skip
    nn.init.normal_(net.heads.head.weight)
    return net.double()


def test_transformer_of_torchvision() -> None:
    net, x = vit(), images(2, 32)
    mask = net.heads.head.weight[1] > 0
    options = {"reshape": "tokens", "num_samples": 2}
    maps = node_cam(net, x, 1, mask, **options)
    assert maps.shape == (2, 4, 4)
    assert maps.amax((1, 2)).tolist() == [1.0, 1.0]
    # nothing reads the patches that the last block gives: only the class token goes on
    late = node_cam(net, x, 1, mask, layer="encoder.layers.encoder_layer_1", **options)
    assert not late.any()
    drop = lambda t: t[:, 1:].mT.reshape(len(t), -1, 4, 4)  # noqa: E731
    same = node_cam(net, x, 1, mask, layer="encoder.layers.encoder_layer_1.ln_1", **options)
    assert torch.equal(same, maps)
    own = node_cam(net, x, 1, mask, reshape=drop, num_samples=2)
    assert torch.equal(own, maps)
    # against gradients taken without our passes
    held = {}
    layer = net.encoder.layers.encoder_layer_1.ln_1
    hook = layer.register_forward_hook(lambda m, i, o: held.update(a=o))
    net.eval()
    weights = torch.where(mask, net.heads.head.weight[1].detach(), 0.0)
    pre = net.heads.head.register_forward_pre_hook(lambda m, i: held.update(h=i[0]))
    net(x)
    (g,) = torch.autograd.grad((held["h"] * weights).sum(), held["a"])
    hook.remove()
    pre.remove()
    a, g = drop(held["a"].detach()), drop(g)
    alpha = g**2 / (2 * g**2 + g**3 * a.sum((2, 3), keepdim=True))
    expected = ((alpha * g.relu()).sum((2, 3), keepdim=True) * a).sum(1).relu()
    found = node_cam(net, x, 1, mask, reshape="tokens", noise=0.0)
    torch.testing.assert_close(found, largest_one(expected))


@pytest.mark.parametrize(
    ("tokens", "size", "grid"),
    [(197, (224, 224), (14, 14)), (196, (224, 224), (14, 14)), (198, (224, 224), (14, 14)),
     (201, (224, 224), (14, 14)), (141, (224, 160), (14, 10)), (17, (32, 32), (4, 4)),
     (257, (224, 224), (16, 16))],
)  # fmt: skip
def test_token_grids(tokens: int, size: tuple[int, int], grid: tuple[int, int]) -> None:
    """Patches of 16, 8 or 14 pixels with 0 to 5 tokens in front, row by row."""
    prefix = tokens - grid[0] * grid[1]
    value = torch.arange(tokens, dtype=torch.float64).reshape(1, tokens, 1)
    found = token_grid(value, size)
    expected = torch.arange(prefix, tokens, dtype=torch.float64).reshape(1, 1, *grid)
    assert torch.equal(found, expected)


def test_tokens_without_a_grid() -> None:
    for tokens, size in ((230, (224, 224)), (3, (7, 5)), (120, (224, 224))):
        with pytest.raises(ValueError, match="no grid of square patches"):
            token_grid(torch.zeros(1, tokens, 2), size)
    with pytest.raises(ValueError, match=r"tokens must be \(N, T, D\)"):
        token_grid(torch.zeros(1, 2, 3, 3), (32, 32))


def test_default_layer_is_the_last_map_that_counts() -> None:
    class Aside(nn.Module):
        """A side branch runs last, and the head does not read it."""

        def __init__(self) -> None:
            super().__init__()
            self.body, self.aside = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.body(x)
            self.aside(x)
            logits: Tensor = self.head(h.mean((2, 3)))
            return logits

    net = Aside().double()
    with frozen(net):
        assert last_spatial(net, net.head, images(1), None)[0] == "body"
        with pytest.raises(ValueError, match="does not depend on layer 'aside'"):
            cut_at(net, net.aside, net.head, images(1), reshape=None, name="aside")
    mask = torch.ones(2, 4, dtype=torch.bool)[0]
    with pytest.raises(ValueError, match="does not depend on layer 'aside'"):
        node_cam(net, images(), 0, mask, layer="aside")
