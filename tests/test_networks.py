"""Capturing activations: the numbers of a plain pass by hand, and a network left as it was."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from bad_inputs import data_cases, verdict
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from toy_networks import Net, by_hand, images

from probact.networks import Features, capture

SHARED = Path(os.environ.get("PROBACT_SHARED") or "PROBACT_SHARED")


WEIGHTS = SHARED / "data" / "weights"


real = pytest.mark.skipif(
    not WEIGHTS.is_dir(), reason="no folder of real networks (PROBACT_SHARED)"
)


def test_head_input_and_named_layers():
    net, (x, y) = Net(), images()
    deep, maps = by_hand(net, x)
    features = capture(net, (x, y), batch_size=3)
    assert isinstance(features, Features)
    torch.testing.assert_close(features.x, deep)
    assert torch.equal(features.labels, y)
    # the in-place ReLU after bn must not reach what was captured
    torch.testing.assert_close(capture(net, x, layer="bn", batch_size=2).x, maps)
    torch.testing.assert_close(capture(net, x, layer="relu").x, deep)
    assert capture(net, x).labels is None


def snapshot(net):
    return (
        {k: v.clone() for k, v in net.state_dict().items()},
        [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in net.modules()],
        [id(b) for b in net.buffers()],
        torch.random.get_rng_state(),
    )


def unchanged(before, after):
    return (
        all(torch.equal(v, after[0][k]) for k, v in before[0].items())
        and before[1:3] == after[1:3]
        and torch.equal(before[3], after[3])
    )


def test_no_trace_is_left():
    net, (x, y) = Net().train(), images()
    net.bn.eval()
    x0, before = x.clone(), snapshot(net)
    capture(net, DataLoader(TensorDataset(x, y), batch_size=2, shuffle=True))
    assert unchanged(before, snapshot(net))
    x[5, 0, 0, 0] = torch.nan
    for bad in ({"layer": "nothing"}, {"pool": lambda h: 1 / 0}, {"memmap": "/nowhere/x.npy"}, {}):
        with pytest.raises((ValueError, LookupError, ZeroDivisionError)):
            capture(net, x, batch_size=2, **bad)
        assert unchanged(before, snapshot(net))
    capture(nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(108, 2).double()), x0)
    assert torch.equal(x0[:5], x[:5])  # an in-place first layer works on a copy
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_the_graph_of_the_caller_survives():
    net, (x, _) = Net().eval(), images()
    loss = net(x).sum()
    capture(net, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        capture(net.float(), x)
        half = net(x.float()).sum()
    half.backward()
    assert net.fc.weight.grad is not None
    assert loss.requires_grad


def test_inference_mode_autocast_and_half():
    net, (x, _) = Net(torch.float32), images()
    expected = capture(net, x).x
    with torch.inference_mode():
        features = capture(net, x.clone())
        assert not features.x.is_inference()
        assert not features.unit().x.isnan().any()
    assert torch.equal(features.x, expected)
    features.x.requires_grad_().sum().backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = capture(net, x, layer="conv").x
    assert mixed.dtype == torch.float32
    half = capture(net.to(torch.bfloat16), x).x
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, expected, atol=0.05, rtol=0.05)  # 8 bits of mantissa
    assert capture(net, x, dtype=torch.float64).x.dtype == torch.float64


def test_rows_with_nan_are_named():
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    x = torch.ones(10, 4)
    x[7, 2] = torch.inf
    with pytest.raises(ValueError, match=r"data has 1 row .*first: row 7, index \(2,\)"):
        capture(net, x, batch_size=4)
    with pytest.raises(ValueError, match=r"data, in the network's torch.float32.*row 3"):
        capture(net, np.diag([1, 1, 1, 1e300]), batch_size=2)
    x[7, 2] = 1e38
    net[0].weight.data.fill_(10.0)
    with pytest.raises(ValueError, match=r"input of head '1' has 1 row .*first: row 7"):
        capture(net, x, batch_size=4)


@pytest.mark.parametrize(
    ("name", "make", "expect"), [*data_cases()], ids=lambda v: v if isinstance(v, str) else ""
)
def test_awkward_matrices(name, make, expect):
    made = verdict(make, "ok")
    assert made is None
    width = np.shape(make())[-1:] or (1,)
    net = nn.Sequential(nn.Linear(width[0] or 1, 3), nn.ReLU(), nn.Linear(3, 2)).double()

    def finite(features):
        return bool(torch.isfinite(features.x).all()) and features.x.shape == (len(make()), 3)

    assert verdict(lambda: capture(net, make(), batch_size=7), expect, finite) is None, name
    if isinstance(made := make(), np.ndarray) and made.dtype.kind == "f":
        kept = made.copy()
        verdict(lambda: capture(net, made), "either")
        np.testing.assert_array_equal(made, kept)


def test_compiled_and_wrapped_networks():
    net, (x, _) = Net(), images()
    expected, maps = by_hand(net.eval(), x)
    net.compile(backend="eager")
    with torch.no_grad():
        net.eval()(x)  # compiled for the very mode of a capture, without its hooks
    torch.testing.assert_close(capture(net, x, layer="bn").x, maps)
    expected = capture(net, x).x
    for wrapped in (nn.DataParallel(net), torch.compile(net, backend="eager"), net):
        assert torch.equal(capture(wrapped, x).x, expected)
    assert torch.equal(capture(net, x, layer="module.fc").x, capture(net, x, layer="fc").x)


@pytest.mark.gpu
def test_cuda():
    net, (x, y) = Net(torch.float32), images(dtype=torch.float32)
    expected = capture(net, x).x
    lent = capture(net, (x, y), device="cuda")
    assert {p.device.type for p in net.state_dict().values()} == {"cpu"}
    net.cuda()
    here, there = capture(net, (x, y)), capture(net, x.cuda())
    assert (lent.x.device.type, here.x.device.type, there.x.device.type) == ("cpu", "cpu", "cuda")
    for found in (lent.x, here.x, there.x.cpu()):
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)  # TF32 convolutions
    state = torch.cuda.get_rng_state()
    with torch.autocast("cuda", dtype=torch.float16):
        assert capture(net, x, layer="conv").x.dtype == torch.float32
    assert torch.equal(state, torch.cuda.get_rng_state())


@real
def test_a_real_network():
    state = load_file(WEIGHTS / "mnist_lenet.safetensors")
    net = nn.Sequential()
    for name, module in {
        **{"conv1": nn.Conv2d(1, 20, 5), "pool1": nn.MaxPool2d(2), "conv2": nn.Conv2d(20, 50, 5)},
        **{"pool2": nn.MaxPool2d(2), "flat": nn.Flatten(), "ip1": nn.Linear(800, 500)},
        **{"relu": nn.ReLU(), "ip2": nn.Linear(500, 10)},
    }.items():
        net.add_module(name, module)
    net.load_state_dict(state)
    raw = np.fromfile(SHARED / "data/MNIST/raw/t10k-images-idx3-ubyte", np.uint8, offset=16)
    digits = np.fromfile(SHARED / "data/MNIST/raw/t10k-labels-idx1-ubyte", np.uint8, offset=8)
    x = raw.reshape(-1, 1, 28, 28)[:500].astype(np.float32) / 256
    features = capture(net, (x, digits[:500]), batch_size=100)
    assert features.x.shape == (500, 500)
    with torch.no_grad():
        hits = (net.ip2(features.x).argmax(1) == features.labels).double().mean()
    assert hits > 0.9905 - 4 * (0.9905 * 0.0095 / 500) ** 0.5  # published accuracy, 4 sigma


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "meta"}, "on meta the network's would be lost"),
        ({"layer": 4}, "layer must be the name of a module, got 4"),
        ({"layer": ""}, "layer must be the name of a module, got ''"),
    ],
)
def test_refusals_leave_the_network_as_it_was(options, message):
    net, (x, _) = Net(), images()
    before = capture(net, x).x
    with pytest.raises(ValueError, match=message):
        capture(net, x, **options)
    assert torch.equal(capture(net, x).x, before)


def test_sparse_data_are_refused():
    with pytest.raises(ValueError, match="data must be dense"):
        capture(Net(), images()[0].to_sparse())
