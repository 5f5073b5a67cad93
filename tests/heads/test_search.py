"""Which module is the head: toy networks named as in torchvision, timm and transformers."""

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from toy_networks import Chain, trunk

from probact.networks import find_head


@pytest.mark.parametrize(
    ("architecture", "name", "shape"),
    [
        ("resnet18", "fc", (7, 512)),
        ("mobilenet_v2", "classifier.1", (7, 1280)),
        ("squeezenet1_1", "classifier.1", (7, 512)),
        ("mobilenet_v3_small", "classifier.3", (7, 1024)),
        ("convnext_tiny", "classifier.2", (7, 768)),
        ("swin_t", "head", (7, 768)),
        ("shufflenet_v2_x0_5", "fc", (7, 1024)),
    ],
)
def test_torchvision(architecture, name, shape):
    with torch.device("meta"):  # names are what is asked for; no values, no time
        net = getattr(torchvision.models, architecture)(weights=None, num_classes=7)
    module = net.get_submodule(name)
    module.to_empty(device="cpu")
    nn.init.normal_(module.weight)
    nn.init.zeros_(module.bias)
    head = find_head(net)
    assert (head.name, tuple(head.weight.shape), head.module) == (name, shape, module)
    assert torch.equal(head.weight, module.weight.flatten(1))
    assert not head.weight.requires_grad
    assert head.weight.data_ptr() != module.weight.data_ptr()
    by_keys = find_head({k: v for k, v in net.state_dict().items() if not v.is_meta})
    assert by_keys.name == name
    assert torch.equal(by_keys.weight, head.weight)
    assert torch.equal(by_keys.bias, head.bias)


def test_vision_transformer():
    net = torchvision.models.VisionTransformer(8, 4, 1, 2, 16, 16, num_classes=5)
    assert find_head(net).name == "heads.head"
    assert find_head(net, example=torch.zeros(1, 3, 8, 8)).name == "heads.head"


def test_get_classifier_comes_before_names():
    net = Chain(fc=nn.Linear(4, 6), special=nn.Linear(6, 3))
    net.get_classifier = lambda: net.special
    assert find_head(net).name == "special"
    net.get_classifier = lambda: nn.Sequential(nn.Dropout(), net.special)
    assert find_head(net).name == "special"
    net.get_classifier = nn.Identity
    with pytest.raises(LookupError, match="no head"):
        find_head(net)


def test_distilled_pair_warns_and_takes_the_first():
    net = Chain(head=nn.Linear(4, 3), head_dist=nn.Linear(4, 3))
    net.get_classifier = lambda: (net.head, net.head_dist)
    with pytest.warns(UserWarning, match="several heads"):
        assert find_head(net).module is net.head
    del net.get_classifier
    net.pretrained_cfg = {"classifier": ("head_dist", "head")}
    with pytest.warns(UserWarning, match="not head"):
        assert find_head(net).name == "head_dist"


def test_pretrained_cfg_before_example_and_names():
    net = Chain(fc=nn.Linear(4, 6), out=nn.Linear(6, 2))
    net.pretrained_cfg = {"classifier": "fc", "label_names": list("abcdef")}
    head = find_head(net, example=torch.zeros(1, 4))
    assert (head.name, head.labels) == ("fc", tuple("abcdef"))


def test_example_sees_the_order_of_execution():
    net = Chain(
        order=["a", "out", "act"], out=nn.Linear(6, 3), a=nn.Linear(4, 6), act=nn.Softmax(1)
    )
    with pytest.raises(LookupError, match=r"out \(3, 6\), a \(6, 4\)"):
        find_head(net)
    assert find_head(net, example=torch.randn(2, 4)).name == "out"  # executed last


def test_example_prefers_the_output_to_the_last_run():
    class Auxiliary(Chain):
        def forward(self, x):
            y = self.main(x)
            self.side(x)
            return {"logits": y}

    net = Auxiliary(main=nn.Linear(4, 3), side=nn.Linear(4, 5))
    assert find_head(net, example=torch.randn(2, 4)).name == "main"
    assert find_head(net, example={"x": np.ones((2, 4))}).name == "main"
    assert find_head(net, example=torch.randn(2, 4), num_classes=5).name == "side"


def test_example_leaves_no_trace():
    net = Chain(bn=nn.BatchNorm1d(4), drop=nn.Dropout(), a=nn.Linear(4, 6), b=nn.Linear(6, 3))
    net.bn.eval()
    good, bad = torch.randn(3, 4), torch.randn(3, 5)
    net.add_module("noise", nn.RReLU())
    modes, state = [m.training for m in net.modules()], torch.random.get_rng_state()
    assert find_head(net, example=good).name == "b"
    with pytest.raises(ValueError, match="cannot take example"):
        find_head(net, example=bad)
    assert modes == [m.training for m in net.modules()]
    assert net.bn.num_batches_tracked == 0
    assert not any(m._forward_hooks for m in net.modules())
    assert torch.equal(state, torch.random.get_rng_state())


def test_explicit_name():
    net = Chain(body=trunk(), tail=nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)))
    assert find_head(net, name="tail").name == "tail.2"
    assert find_head(net, name="body.0").weight.shape == (6, 4)
    assert find_head(net, name="module.tail.0").name == "tail.0"
    assert find_head(net, name="tail", num_classes=5).name == "tail.0"
    with pytest.raises(LookupError, match=r"no layer 'tail.3'.*tail\.2"):
        find_head(net, name="tail.3")
    with pytest.raises(LookupError, match="ReLU"):
        find_head(net, name="tail.1")
    with pytest.raises(ValueError, match="3 classes, num_classes=9"):
        find_head(net, name="tail.2", num_classes=9)


def test_num_classes_selects():
    net = Chain(a=nn.Linear(4, 6), b=nn.Linear(6, 3))
    assert find_head(net, num_classes=3).name == "b"
    with pytest.raises(LookupError, match=r"num_classes=4.*a \(6, 4\), b \(3, 6\)"):
        find_head(net, num_classes=4)


def test_no_head():
    for net in (nn.ReLU(), nn.Conv2d(3, 8, 3), nn.Conv2d(4, 4, 1, groups=2), nn.Sequential()):
        with pytest.raises(LookupError, match="no linear head"):
            find_head(net)


def test_wrappers():
    net = Chain(body=trunk(), fc=nn.Linear(6, 3))
    compiled = torch.compile(net, backend="eager")
    inner = Chain(body=trunk(), fc=torch.compile(nn.Linear(6, 3), backend="eager"))
    average = torch.optim.swa_utils.AveragedModel(net)
    for wrapped in (nn.DataParallel(net), compiled, nn.DataParallel(compiled), average, inner):
        assert find_head(wrapped).name == "fc"
        assert find_head(wrapped, name="fc").name.startswith("fc")
        assert find_head(wrapped.state_dict()).name == "fc"
    assert find_head(inner, example=torch.zeros(1, 4)).name == "fc"
