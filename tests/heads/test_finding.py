"""Reading a head: from layers of every make, state dicts, files and matrices."""

import os
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bad_inputs import data_cases, verdict
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from toy_networks import Chain, trunk

from probact.networks import Head, find_head

SHARED = Path(os.environ.get("PROBACT_SHARED") or "PROBACT_SHARED")


WEIGHTS = SHARED / "data" / "weights"


real = pytest.mark.skipif(
    not WEIGHTS.is_dir(), reason="no folder of real networks (PROBACT_SHARED)"
)


def test_transformers_like_labels():
    net = Chain(body=trunk(), classifier=nn.Linear(6, 2))
    net.config = SimpleNamespace(id2label={1: "dog", 0: "cat"})
    assert find_head(net).labels == ("cat", "dog")
    net.config = SimpleNamespace(id2label={"0": "cat", "1": "dog"})
    assert find_head(net).labels == ("cat", "dog")
    net.config = SimpleNamespace(id2label={0: "cat", 1: "dog", 2: "owl"})
    assert find_head(net).labels is None


def test_bare_layers():
    linear, conv = nn.Linear(4, 3, bias=False), nn.Conv2d(5, 2, 1)
    assert find_head(linear).bias is None
    assert torch.equal(find_head(linear).weight, linear.weight)
    assert torch.equal(find_head(conv).weight, conv.weight[:, :, 0, 0])
    assert find_head(find_head(linear)).module is linear


def test_tied_and_parametrised_weights():
    net = Chain(embed=nn.Embedding(7, 4), lm_head=nn.Linear(4, 7, bias=False))
    net.lm_head.weight = net.embed.weight
    assert torch.equal(find_head(net).weight, net.embed.weight)
    linear = nn.Linear(4, 3)

    class Twice(nn.Module):
        def forward(self, x):
            return 2 * x

    raw = linear.weight.detach().clone()
    parametrize.register_parametrization(linear, "weight", Twice())
    assert torch.equal(find_head(linear).weight, 2 * raw)


@pytest.mark.parametrize("wrap", ["weight_norm", "spectral_norm", "old", "prune"])
def test_weight_as_the_next_forward_sees_it(wrap):
    linear = nn.Linear(4, 3, dtype=torch.float64)
    if wrap == "old":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            nn.utils.weight_norm(linear)
    elif wrap == "prune":
        prune.random_unstructured(linear, "weight", amount=0.5)
    else:
        getattr(parametrizations, wrap)(linear)
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.mul_(1.5)  # stale from here on, until the next forward
    before = {k: v.clone() for k, v in linear.state_dict().items()}
    head = find_head(linear)
    assert all(torch.equal(v, before[k]) for k, v in linear.state_dict().items())
    assert linear.training
    x = torch.eye(4, dtype=torch.float64)
    with torch.no_grad():
        seen = (linear.eval()(x) - linear.bias).T
    torch.testing.assert_close(head.weight, seen)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantised_only_when_asked():
    quantize = pytest.importorskip("torch.ao.quantization").quantize_dynamic
    net = Chain(body=trunk(), fc=nn.Linear(6, 3))
    small = quantize(net, {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(ValueError, match="dequantize=True"):
        find_head(small)
    head = find_head(small, dequantize=True)
    step = float(net.fc.weight.detach().abs().max()) / 127
    assert (head.weight - net.fc.weight).abs().max() <= step  # one level of 8 bits
    assert torch.equal(head.bias, net.fc.bias)
    with pytest.raises(ValueError, match="dequantize=True"):
        find_head(small.fc.weight())


def test_integer_storage_is_quantised():
    state = {"fc.weight": torch.ones(3, 4, dtype=torch.int8)}
    with pytest.raises(ValueError, match="dequantize=True"):
        find_head(state)
    with pytest.raises(ValueError, match="scale that is not known"):
        find_head(state, dequantize=True)


def test_modules_without_values():
    with pytest.raises(ValueError, match="lazy"):
        find_head(nn.LazyLinear(3))
    with pytest.raises(ValueError, match="meta"):
        find_head(nn.Linear(3, 2, device="meta"))
    linear = nn.Linear(3, 2)
    nn.init.constant_(linear.weight[1:], torch.nan)
    with pytest.raises(ValueError, match=r"weight of head ''.*row 1"):
        find_head(linear)


def test_normal_tensors_out_of_inference_mode():
    with torch.inference_mode():
        head = find_head(nn.Linear(3, 2))
        pair = find_head((torch.ones(2, 3), torch.ones(2)))
    assert not any(x.is_inference() for x in (head.weight, head.bias, pair.weight, pair.bias))


def test_state_dict_rules():
    w = {k: torch.randn(*s) for k, s in {"a": (6, 4), "b": (3, 6)}.items()}
    state = {"module.a.weight": w["a"], "module.b.weight": w["b"], "module.b.bias": torch.ones(3)}
    with pytest.raises(LookupError, match=r"a\.weight \(6, 4\), b\.weight \(3, 6\)"):
        find_head(state)
    for asked in ({"name": "b"}, {"name": "b.weight"}, {"name": "module.b"}, {"num_classes": 3}):
        head = find_head(state, **asked)
        assert (head.name, head.module) == ("b", None)
        assert torch.equal(head.weight, w["b"])
        assert torch.equal(head.bias, torch.ones(3))
    with pytest.raises(LookupError, match=r"close names: .*b"):
        find_head(state, name="bb")
    ten = {f"classifier.{i}.weight": torch.full((2, 2), float(i)) for i in (9, 10)}
    assert find_head({"state_dict": ten}).name == "classifier.10"
    with pytest.raises(LookupError, match="no linear head"):
        find_head({"conv.weight": torch.ones(3, 3, 3, 3)})
    assert find_head({"fc.weight": np.ones((2, 3)), "fc.bias": np.ones(2)}).weight.shape == (2, 3)
    assert find_head(nn.Linear(4, 3).state_dict()).bias is not None


def test_orientation():
    weight, bias = torch.randn(5, 3), torch.randn(3)
    with pytest.warns(UserWarning, match="transposed"):
        head = find_head((weight, bias))
    assert torch.equal(head.weight, weight.T)
    assert torch.equal(find_head((torch.eye(3), bias)).weight, torch.eye(3))
    with pytest.raises(ValueError, match="one entry per row"):
        find_head((weight, torch.ones(4)))


def test_paths(tmp_path):
    net = Chain(body=trunk(), fc=nn.Linear(6, 3))
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    torch.save({"epoch": 1, "model": net.state_dict()}, tmp_path / "net.pt")
    np.savez(tmp_path / "net.npz", W=net.fc.weight.detach(), b=net.fc.bias.detach())
    np.save(tmp_path / "net.npy", net.fc.weight.detach())
    for file in ("net.safetensors", "net.pt", "net.npz", "net.npy"):
        for path in (tmp_path / file, str(tmp_path / file)):
            head = find_head(path)
            assert torch.equal(head.weight, net.fc.weight)
            assert head.bias is None if file == "net.npy" else torch.equal(head.bias, net.fc.bias)
    with pytest.raises(FileNotFoundError):
        find_head("missing.safetensors")


@pytest.mark.parametrize(
    ("name", "make", "expect"), [*data_cases()], ids=lambda v: v if isinstance(v, str) else ""
)
def test_awkward_matrices(name, make, expect):
    def finite(head: Head):
        return bool(torch.isfinite(head.weight).all()) and head.weight.is_floating_point()

    assert verdict(lambda: find_head(make()), expect, finite) is None, name
    assert verdict(lambda: find_head((make(), None)), expect, finite) is None, name


def test_the_input_is_named_and_kept():
    x = np.ones((4, 3))
    x[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"weight has 1 row .*row 2, index \(1,\)"):
        find_head(x)
    with pytest.raises(ValueError, match=r"bias .*row 1"):
        find_head((np.ones((2, 3)), [0.0, np.inf]))
    with pytest.raises(ValueError, match=r"\(weight, bias\)"):
        find_head((np.ones((2, 3)), None, None))
    with pytest.raises(ValueError, match="num_classes=5"):
        find_head(np.ones((2, 3)), num_classes=5)
    with pytest.raises(ValueError, match="example"):
        find_head(np.ones((2, 3)), example=torch.ones(1))
    weight = torch.ones(2, 3)
    find_head(weight).weight.zero_()
    assert weight.sum() == 6


@real
@pytest.mark.parametrize(
    ("file", "name", "asked", "shape"),
    [
        ("cifar10_resnet20", "linear", {}, (10, 64)),
        ("cifar10_resnet56", "linear", {}, (10, 64)),
        ("mnist_lenet", "ip2", {"num_classes": 10}, (10, 500)),
        ("imagenet_mobilenet_v2_torchvision", "classifier.1", {}, (1000, 1280)),
        ("imagenet_heads", "mobilenet_v1_0.5_160", {"name": "mobilenet_v1_0.5_160"}, (1000, 512)),
    ],
)
def test_real_files(file, name, asked, shape):
    head = find_head(WEIGHTS / f"{file}.safetensors", **asked)
    assert (head.name, tuple(head.weight.shape), tuple(head.bias.shape)) == (
        name,
        shape,
        shape[:1],
    )
