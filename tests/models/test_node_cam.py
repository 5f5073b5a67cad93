"""Maps of nodes: by hand, closed form against gradients, and against torchcam."""

import pytest
import torch
from cam_toys import flat_net, gap_net, images
from torch import Tensor, nn
from torch.nn import functional

from probact.models.neuron_split import gap_cam, node_cam, split_tree


def test_map_computed_by_hand() -> None:
    """Two channels of 1 x 2 pixels: A_0 = (1, 3), A_1 = (2, 0), weights (0.5, -2) and (1, 4)."""
    net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    with torch.no_grad():
        net[3].weight.copy_(torch.tensor([[0.5, -2.0], [1.0, 4.0]]))
    x = torch.tensor([[[[1.0, 3.0]], [[2.0, 0.0]]]])
    every, second = torch.tensor([True, True]), torch.tensor([False, True])
    options = {"layer": "0", "normalize": False}
    # class 0: w_0 = 0.5 / (2 + 0.5 * 2) = 1/6; the negative weight takes no part
    expected = torch.tensor([[[1.0, 3.0]]]) / 6.0
    torch.testing.assert_close(node_cam(net, x, 0, every, **options), expected)
    # class 0, sign turned: v_1 = 2, w_1 = 2 / (2 + 2 * 1) = 1/2
    expected = torch.tensor([[[1.0, 0.0]]])
    torch.testing.assert_close(node_cam(net, x, 0, second, **options), expected)
    # class 1: w_0 = 1 / (2 + 2) = 1/4, w_1 = 4 / (2 + 4) = 2/3
    expected = torch.tensor([[[0.25 + 4.0 / 3.0, 0.75]]])
    torch.testing.assert_close(node_cam(net, x, 1, every, **options), expected)


def moments_by_loops(
    net: nn.Module, layer: nn.Module, x: Tensor, v: Tensor, noise: Tensor
) -> Tensor:
    """Smooth Grad-CAM++ of sum_j v_j h_j for one image, position by position, from its text."""
    held = {}
    hooks = [layer.register_forward_hook(lambda m, i, o: held.update(a=o)),
             net[-1].register_forward_pre_hook(lambda m, i: held.update(h=i[0]))]  # fmt: skip
    powers = [0.0, 0.0, 0.0]
    for each in noise:
        net(x + each)
        (g,) = torch.autograd.grad((held["h"] * v).sum(), held["a"])
        powers = [total + g[0] ** p / len(noise) for p, total in enumerate(powers, start=1)]
    net(x)
    a = held["a"][0].detach()
    for hook in hooks:
        hook.remove()
    total = torch.zeros_like(a[0])
    for c in range(len(a)):
        weight = 0.0
        for i in range(a.shape[1]):
            for j in range(a.shape[2]):
                g1, g2, g3 = (power[c, i, j] for power in powers)
                below = 2.0 * g2 + g3 * a[c].sum()
                weight = weight + (g2 / below * g1.clamp(min=0.0) if below != 0.0 else 0.0)
        total = total + weight * a[c]
    return total.clamp(min=0.0)


@pytest.mark.parametrize("sign", [1, -1])
def test_gradients_agree_with_the_definition(sign: int) -> None:
    """A net whose head reads each position on its own, three noisy passes."""
    net, x = flat_net(), images(1)
    mask = torch.arange(20) % 3 > 0
    found = node_cam(
        net, x, 2, mask, sign=sign, num_samples=3, noise=0.3, seed=4, normalize=False, layer="1"
    )
    stream = torch.Generator().manual_seed(4)
    noise = [0.3 * torch.randn(x.shape, dtype=x.dtype, generator=stream) for _ in range(3)]
    v = sign * torch.where(mask, net[-1].weight[2].detach(), 0.0)
    expected = moments_by_loops(net, net[1], x, v, torch.stack(noise))
    assert expected.max() > 0.0
    torch.testing.assert_close(found[0], expected)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("channels", [3, 64])
@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool2d(1), nn.AvgPool2d(6)])
def test_closed_form_is_autograd(sign: int, channels: int, pool: nn.Module) -> None:
    net, x = gap_net(channels, pool=pool), images()
    weights = net[-1].weight[2]
    mask = sign * weights >= (sign * weights).median()
    options = {"noise": 0.3, "num_samples": 5, "sign": sign}
    closed = node_cam(net, x, 2, mask, closed_form=True, **options)
    slow = node_cam(net, x, 2, mask, closed_form=False, **options)
    assert closed.amax((1, 2)).tolist() == [1.0, 1.0]
    torch.testing.assert_close(closed, slow, atol=1e-12, rtol=0.0)
    float32 = [
        node_cam(net.float(), x.float(), 2, mask, closed_form=form, **options)
        for form in (True, False)
    ]
    torch.testing.assert_close(*float32, atol=1e-5, rtol=0.0)


def test_negative_node_needs_its_sign() -> None:
    net, x = gap_net(64), images()
    tree = split_tree(net, max_depth=2, min_size=2)
    turned = node_cam(net, x, 1, ["-", "--"], tree=tree)
    assert (turned.amax((2, 3)) == 1.0).all()
    for form in (True, False):
        plain = node_cam(net, x, 1, "-", tree=tree, sign=1, closed_form=form)
        assert not plain.any()  # exactly
    # of a mask without positive weights the sign is found, of a mixed one it is plus
    torch.testing.assert_close(node_cam(net, x, 1, tree.mask(1, "-")), turned[:, 0])
    mixed = torch.ones(64, dtype=torch.bool)
    torch.testing.assert_close(node_cam(net, x, 1, mixed), node_cam(net, x, 1, "", tree=tree))


def test_all_neurons_have_the_map_of_the_positive_ones() -> None:
    """Under average pooling a negative weight takes no part, so '' and '+' look alike."""
    net = gap_net(64)
    maps = node_cam(net, images(), 1, ["", "+"], tree=split_tree(net, min_size=2))
    assert torch.equal(maps[:, 0], maps[:, 1])


def test_nodes_and_classes_at_once_are_those_one_by_one() -> None:
    net, x = gap_net(64), images(3)
    tree = split_tree(net, max_depth=2, min_size=2)
    names = ["+", "++", "-"]
    together = node_cam(net, x, [0, 3, 1], names, tree=tree)
    assert together.shape == (3, 3, 6, 6)
    for form in (None, False):
        for i, cls in enumerate([0, 3, 1]):
            for m, name in enumerate(names):
                alone = node_cam(net, x[i : i + 1], cls, name, tree=tree, closed_form=form)
                torch.testing.assert_close(together[i, m], alone[0])
    masks = torch.stack([torch.stack([tree.mask(c, name) for name in names]) for c in (0, 3, 1)])
    signs = [1, 1, -1]
    same = node_cam(net, x, torch.tensor([0, 3, 1]), masks, sign=signs)
    assert torch.equal(same, together)
    # several classes of one image: a class for each image and node
    several = node_cam(net, x[:1].expand(2, -1, -1, -1), [[0, 3, 1], [1, 1, 1]], "+", tree=tree)
    assert torch.equal(several[0, 2], several[1, 0])
    torch.testing.assert_close(several[0, 1], node_cam(net, x[:1], 3, "+", tree=tree)[0])


class Rectified(nn.Module):
    """Averages relu(A): on positive maps equal to averaging A, but for its derivative at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.map, self.head = nn.ReLU(), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(functional.relu(self.map(x)).mean((2, 3)))
        return logits


def test_closed_form_is_refused_where_it_does_not_hold() -> None:
    mask = torch.ones(20, dtype=torch.bool)
    with pytest.raises(ValueError, match="averaged"):
        node_cam(flat_net(), images(), 0, mask, closed_form=True)
    torch.manual_seed(0)
    net, x = Rectified().double(), images()
    three = torch.ones(3, dtype=torch.bool)
    with pytest.raises(ValueError, match="averaged"):  # the values agree, the derivatives do not
        node_cam(net, x, 0, three, layer="map", closed_form=True)
    maximum = gap_net(32, pool=nn.AdaptiveMaxPool2d(1))
    with pytest.raises(ValueError, match="averaged"):
        node_cam(maximum, images(), 0, torch.ones(32, dtype=torch.bool), closed_form=True)


def test_head_of_a_pointwise_convolution() -> None:
    """SqueezeNet's kind: the head is a 1x1 convolution, its input averaged over positions."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 4, 1),
                        nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()  # fmt: skip
    linear = nn.Sequential(*net[:2], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))
    linear = linear.double()
    with torch.no_grad():
        linear[4].weight.copy_(net[2].weight[:, :, 0, 0])
    mask = torch.arange(16) % 2 == 0
    for form in (None, False):
        found = node_cam(net, images(), 1, mask, head="2", closed_form=form)
        torch.testing.assert_close(found, node_cam(linear, images(), 1, mask, closed_form=True))


def test_same_seed_same_map() -> None:
    net, mask = flat_net(), torch.arange(20) < 12
    options = {"noise": 0.5, "num_samples": 2}
    first = node_cam(net, images(), 1, mask, seed=1, **options)
    assert torch.equal(first, node_cam(net, images(), 1, mask, seed=1, **options))
    assert not torch.equal(first, node_cam(net, images(), 1, mask, seed=2, **options))


def test_pole_of_negative_channels_is_no_nan() -> None:
    maps = torch.tensor([[[[-2.0, -2.0]], [[1.0, 2.0]]]])
    found = gap_cam(maps, torch.tensor([[[1.0, 1.0]]]))  # 2 + v mean A = 0 in the first channel
    torch.testing.assert_close(found, torch.tensor([[[[1.0, 2.0]]]]).double() / 3.5)


def test_agrees_with_torchcam() -> None:
    """Under average pooling, where its last noisy gradient is ours.

    Two things keep them apart otherwise: it weighs the activations of its last noisy input, so its
    noise is next to none here, and adds 1e-8 to a denominator of the order (theta / HW)^2, so the
    map is small.
    """
    methods = pytest.importorskip("torchcam.methods")
    net, x = gap_net(64).float(), images(1, 8).float()
    mask = net[-1].weight[3] >= net[-1].weight[3].quantile(0.7)
    part = gap_net(64).float()
    part.load_state_dict(net.state_dict())
    with torch.no_grad():
        part[-1].weight[3, ~mask] = 0.0
    with methods.SmoothGradCAMpp(part.eval(), "3", num_samples=4, std=1e-6,
                                 input_shape=(3, 8, 8)) as extractor:  # fmt: skip
        theirs = extractor(3, part(x), normalized=False)[0][0]
    ours = node_cam(net, x, 3, mask)[0]
    correlation = torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1]
    assert correlation > 0.999
