"""The head's forms in timm, torchvision and transformers, as toys; from files as from modules."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from toy_networks import Chain

from probact.models import LaplaceWeights
from probact.networks import find_head

CLASSES = 5


def body() -> nn.Sequential:
    """Several linear maps, so that being the only one decides nothing."""
    return nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 8), nn.ReLU())


def out() -> nn.Linear:
    return nn.Linear(8, CLASSES)


def nested(name: str) -> nn.Module:
    """A network whose head has that dotted name."""
    outer, _, inner = name.partition(".")
    module = Chain(norm=nn.LayerNorm(8), **{inner: out()}) if inner else out()
    return Chain(body=body(), **{outer: module})


def token_mixer() -> nn.Module:
    """Of the kind with `head.classifier[-1]`."""
    tail = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.1), out())
    return Chain(body=body(), head=Chain(norm=nn.LayerNorm(8), classifier=tail))


def torchvision_like() -> nn.Module:
    tail = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.2), out())
    return Chain(body=body(), classifier=tail)


def two_layers() -> nn.Module:
    return Chain(body=body(), head=Chain(fc1=nn.Linear(8, 8), act=nn.GELU(), fc2=out()))


def conv_head() -> nn.Module:
    """timm's ClassifierHead(use_conv=True): a 1x1 convolution."""
    maps = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    return Chain(maps=maps, head=Chain(pool=nn.AdaptiveAvgPool2d(1), fc=nn.Conv2d(8, CLASSES, 1)))


def squeeze_net() -> nn.Module:
    maps = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.ReLU())
    tail = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(8, CLASSES, 1), nn.ReLU())
    return Chain(maps=maps, classifier=tail)


SIMPLE = (
    *("head.fc", "head", "classifier", "fc", "last_linear"),  # 26, 24, 11, 4 and 4 places in timm
    *("head.linear", "head.l", "head.fc2", "head.classif", "classif", "heads", "heads.head"),
)
FORMS = [(name, lambda name=name: nested(name)) for name in SIMPLE] + [
    ("head.classifier.2", token_mixer),
    ("classifier.3", torchvision_like),
    ("head.fc2", two_layers),
    ("head.fc", conv_head),
    ("classifier.1", squeeze_net),
]


@pytest.mark.parametrize(("name", "make"), FORMS, ids=lambda v: v if isinstance(v, str) else "")
def test_every_form_is_found_and_read_from_files(name: str, make, tmp_path: Path) -> None:
    net = make()
    module = net.get_submodule(name)
    head = find_head(net)
    assert (head.name, head.module) == (name, module)
    assert torch.equal(head.weight, module.weight.flatten(1))
    assert head.weight.shape == (CLASSES, 8)
    net.get_classifier = lambda: module  # as timm declares it
    assert find_head(net).name == name
    state = net.state_dict()
    save_file(state, tmp_path / "net.safetensors")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "net.pt")
    for source in (state, tmp_path / "net.safetensors", tmp_path / "net.pt"):
        read = find_head(source, name=name)
        assert (read.name, read.module) == (name, None)
        assert torch.equal(read.weight, head.weight)
        assert torch.equal(read.bias, head.bias)


def test_sharded_file(tmp_path: Path) -> None:
    net = nested("classifier")
    parts = [{}, {}]
    for key, value in net.state_dict().items():
        parts[key.startswith("classifier")][key] = value
    names = [f"model-{i}-of-2.safetensors" for i in (1, 2)]
    for part, name in zip(parts, names, strict=True):
        save_file(part, tmp_path / name)
    places = {k: names[k.startswith("classifier")] for part in parts for k in part}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}), encoding="utf-8")
    assert torch.equal(find_head(index, name="classifier").weight, net.classifier.weight)


def test_labels_of_a_transformers_like_model() -> None:
    net = nested("classifier")
    net.config = SimpleNamespace(id2label={i: f"class {i}" for i in range(CLASSES)})
    model = LaplaceWeights.from_head(net)
    assert model.coords["class"] == [f"class {i}" for i in range(CLASSES)]


def test_one_configured_name_of_several() -> None:
    """timm has one configuration that names four heads."""
    heads = {f"head{i}": out() for i in range(4)}
    net = Chain(order=["body", "head0"], body=body(), **heads)
    net.pretrained_cfg = {"classifier": tuple(heads)}
    with pytest.warns(UserWarning, match="head1.*head3"):
        assert find_head(net).name == "head0"


class Harmful:
    """What a pickle of a class of one's own may do when it is opened."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_checkpoint_with_a_class_of_its_own_is_refused(tmp_path: Path) -> None:
    state = nested("fc").state_dict()
    torch.save({"state_dict": state, "args": Harmful(str(tmp_path / "harm"))}, tmp_path / "net.pt")
    torch.save(nested("fc"), tmp_path / "whole.pt")  # a pickled module is code too
    for name in ("net.pt", "whole.pt"):
        for read in (find_head, LaplaceWeights.from_head):
            with pytest.raises(ValueError, match=name):
                read(tmp_path / name)
    assert not (tmp_path / "harm").exists()
