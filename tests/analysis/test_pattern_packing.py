"""Packed patterns: round trips, the stream over a data set, and Hamming distances."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pattern_networks import Call, hostile, mlp
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import cdist, pdist
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from probact.analysis.patterns import (
    PackedPatterns,
    collect,
    condensed_hamming,
    hamming,
    hamming_blocks,
    hamming_counts,
    pattern_at,
    weighted_hamming,
)
from probact.analysis.patterns.hamming import signed_product_distances
from probact.analysis.patterns.packing import pack, unpack


def random_bits(rows, num_bits, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random((rows, num_bits)) < 0.4)


@given(st.integers(1, 5), st.integers(1, 200), st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_words_hold_the_bits(rows, num_bits, seed):
    bits = random_bits(rows, num_bits, seed)
    words = pack(bits)
    assert words.dtype == torch.int64
    assert words.shape == (rows, -(-num_bits // 64))
    for row, found in zip(bits.tolist(), words.tolist(), strict=True):
        number = sum(1 << i for i, bit in enumerate(row) if bit)
        assert number == sum((w % 2**64) << (64 * k) for k, w in enumerate(found))
    assert torch.equal(unpack(words, num_bits), bits)


def test_collected_bits_are_those_of_the_patterns():
    net, x = hostile()
    x = torch.cat([x, 2.0 * x.flip(0)[:3]])
    labels = torch.arange(7) % 3
    expected = pattern_at(net, x)
    before = x.clone()
    sources = {
        "pair": (x, labels),
        "dataset": TensorDataset(x, labels),
        "loader": DataLoader(TensorDataset(x, labels), batch_size=2),
        "batches": iter([(x[:5], labels[:5]), (x[5:], labels[5:])]),
        "dict": [{"x": x, "y": labels}],
    }
    for source in sources.values():
        packed = collect(net, source, batch_size=3)
        assert torch.equal(packed.bits(), expected.bits())
        assert torch.equal(packed.labels, labels)
    everything = collect(net, x.numpy(), choices=True, batch_size=4)
    assert torch.equal(everything.bits(), expected.bits(choices=True))
    assert everything.labels is None
    assert torch.equal(x, before)
    assert [layer.bit_shape for layer in everything.layers] == [
        gate.bit_shape for gate in expected.gates
    ]


def test_layers_rows_counts_and_parts():
    net, x = hostile()
    packed = collect(net, (x, torch.tensor([3, 1, 2, 0])), choices=True)
    pattern = pattern_at(net, x)
    for gate, (name, layer) in zip(pattern.gates, packed.each_layer(), strict=True):
        assert name == gate.name
        assert torch.equal(layer.bits(), gate.bits().flatten(1))
    assert packed.layer("act#1").names == pattern.select(["act#1"]).names == ("act",)
    named = packed.layer("act")
    assert named.names == ("act", "act#2", "act#3")
    assert torch.equal(named.bits(), pattern.bits(["act"]))
    assert torch.equal(collect(net, x, ["act"]).words, named.words)
    assert torch.equal(packed.counts(), packed.bits().sum(0))
    parts = packed.split(packed.bits())
    assert torch.equal(parts["six"], pattern.gates[8].bits())
    some = packed.rows(torch.tensor([2, 0]))
    assert some.labels.tolist() == [2, 3]
    assert torch.equal(some.bits(), packed.bits()[[2, 0]])
    assert torch.equal(packed.bits(slice(1, 3)), packed.bits()[1:3])
    blocks = [bits for _, bits in packed.blocks(3)]
    assert [len(b) for b in blocks] == [3, 1]
    assert torch.equal(torch.cat(blocks), packed.bits())
    with pytest.raises(ValueError, match="no layer"):
        packed.layer("nowhere")
    with pytest.raises(ValueError, match="numbers on the last axis"):
        packed.split(torch.zeros(3))


def test_unique_patterns():
    bits = random_bits(20, 3)
    distinct, number = PackedPatterns.from_bits(bits).unique()
    assert torch.equal(distinct.bits()[number], bits)
    assert distinct.num_rows == len({tuple(row) for row in bits.tolist()})


@pytest.mark.parametrize("kind", ["pair", "loader", "batches"])
def test_collecting_takes_the_packed_bits_and_one_batch(kind):
    net = nn.Sequential(nn.Linear(1, 4096), nn.ReLU(), nn.Linear(4096, 1)).eval()
    x = torch.randn(4000, 1)
    labels = torch.arange(4000) % 10
    data = {
        "pair": (x, labels),
        "loader": DataLoader(TensorDataset(x, labels), batch_size=100, drop_last=True),
        "batches": x.split(100),
    }[kind]
    collect(net, torch.zeros(3, 1))  # whatever is made once
    tracemalloc.start()
    packed = collect(net, data if kind != "batches" else list(data), batch_size=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = packed.words.numel() * 8
    assert size == 4000 * 512
    copies = 2.2 if kind == "batches" else 1.1  # batches that do not know their number
    assert peak < copies * size + 4 * 100 * 4096


@pytest.mark.parametrize("num_bits", [1, 63, 64, 65, 700])
def test_hamming_against_scipy(num_bits):
    a, b = random_bits(300, num_bits), random_bits(37, num_bits, seed=1)
    left, right = PackedPatterns.from_bits(a), PackedPatterns.from_bits(b)
    cross = np.round(cdist(a, b, "hamming") * num_bits)
    assert (hamming(left, right).numpy() == cross).all()
    assert (signed_product_distances(left, right).numpy() == cross).all()
    pairs = np.round(pdist(a, "hamming") * num_bits)
    assert (condensed_hamming(left) == pairs).all()
    counts = np.bincount(pairs.astype(int), minlength=num_bits + 1)
    assert (hamming_counts(left).numpy() == counts).all()
    whole = hamming(left)
    assert torch.equal(whole, whole.mT)
    assert (whole.diagonal() == 0).all()
    blocks = list(hamming_blocks(left, right, rows=100))
    assert [at for at, _ in blocks] == [slice(0, 100), slice(100, 200), slice(200, 300)]
    assert torch.equal(torch.cat([block for _, block in blocks]), hamming(left, right))


def test_hamming_of_a_layer_and_for_scipy():
    net, x = hostile()
    packed = collect(net, x, choices=True)
    bits = pattern_at(net, x).bits(["relu#1"])
    by_hand = (bits[:, None] != bits[None]).sum(-1)
    assert torch.equal(hamming(packed.layer("relu#1")), by_hand.int())
    total = sum(hamming(layer) for _, layer in packed.each_layer())
    assert torch.equal(hamming(packed), total.int())
    heights = linkage(condensed_hamming(packed).astype(float), "complete")[:, 2]
    assert heights[-1] == total.max()
    wide = PackedPatterns.from_bits(torch.ones(2, 70000) * torch.tensor([[0], [1]]))
    assert condensed_hamming(wide).tolist() == [70000]


def test_weighted_distances_sum_over_layers():
    net, x = hostile()
    packed = collect(net, x)
    parts = [hamming(layer).double() for _, layer in packed.each_layer()]
    weights = torch.rand(len(parts), dtype=torch.float64)
    by_hand = sum(w * d for w, d in zip(weights, parts, strict=True))
    torch.testing.assert_close(weighted_hamming(packed, weights=weights.tolist()), by_hand)
    shares = sum(d / s.num_bits for s, d in zip(packed.layers, parts, strict=True))
    torch.testing.assert_close(weighted_hamming(packed), shares)
    two = packed.rows(slice(0, 2))
    torch.testing.assert_close(weighted_hamming(two, packed), shares[:2])
    with pytest.raises(ValueError, match="one a layer"):
        weighted_hamming(packed, weights=[1.0])


def test_a_different_choice_is_at_distance_two():
    x = torch.tensor([[[1.0, 0.0, 5.0, 6.0]], [[0.0, 1.0, 5.0, 6.0]]])
    packed = collect(nn.MaxPool1d(2).eval(), x, choices=True)
    assert hamming(packed)[0, 1] == 2


def test_one_row_and_padding_words():
    one = PackedPatterns.from_bits([[1, 0, 1]])
    assert condensed_hamming(one).shape == (0,)
    assert hamming_counts(one).tolist() == [0, 0, 0, 0]
    assert hamming(one).tolist() == [[0]]


@pytest.mark.parametrize(
    ("net", "data", "word"),
    [
        (Call(lambda x: x.flatten().relu()), torch.zeros(4, 3), r"states \(12,\) for 4 rows"),
        (Call(lambda x: x.amax().relu() + x), torch.zeros(4, 3), r"states \(\) for 4 rows"),
        (nn.ReLU(), [torch.zeros(4, 3), torch.zeros(4, 2)], "gates from row 4 on are not those"),
        (
            nn.ReLU(),
            [(torch.zeros(4, 3), torch.zeros(4).int()), torch.zeros(4, 3)],
            "some batches",
        ),
        (nn.ReLU(), [], "no batches"),
        (nn.ReLU(), torch.full((4, 3), torch.nan), "NaN or infinity"),
        (nn.MaxPool1d(2), torch.zeros(4, 3, 6), "choices=True"),
        (mlp(3, 4, 2), torch.zeros(2, 7), "cannot take data from row 0 on"),
    ],
)
def test_data_that_has_no_packed_patterns(net, data, word):
    with pytest.raises(ValueError, match=word):
        collect(net.eval(), data)


def test_arguments_of_packed_patterns():
    a, b = PackedPatterns.from_bits([[0, 1]]), PackedPatterns.from_bits([[0, 1, 1]])
    with pytest.raises(ValueError, match="same layers"):
        hamming(a, b)
    for function in (hamming, condensed_hamming, hamming_counts):
        with pytest.raises(TypeError, match="must be PackedPatterns"):
            function(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="rows must be an integer"):
        next(hamming_blocks(a, rows=0))
    with pytest.raises(ValueError, match="bits must be 0 and 1"):
        PackedPatterns.from_bits([[0, 2]])
    with pytest.raises(ValueError, match=r"bits must be \(N, B\)"):
        PackedPatterns.from_bits([0, 1])
    with pytest.raises(ValueError, match="labels must be one integer per row"):
        PackedPatterns.from_bits([[0, 1]], labels=[1, 2])
    with pytest.raises(ValueError, match="layers names 'act'"):
        collect(mlp(3, 4, 2), torch.zeros(2, 3), ["act"])
    with pytest.raises(ValueError, match="batch_size"):
        collect(mlp(3, 4, 2), torch.zeros(2, 3), batch_size=0)
    with pytest.raises(TypeError, match="data must be"):
        collect(mlp(3, 4, 2), None)


@pytest.mark.gpu
def test_on_cuda():
    net, x = hostile()
    expected = collect(net, x, choices=True)
    assert torch.equal(collect(net, x, choices=True, device="cuda").words, expected.words)
    there = PackedPatterns(expected.words.cuda(), expected.layers)
    assert torch.equal(hamming(there).cpu(), hamming(expected))
    assert torch.equal(there.bits().cpu(), expected.bits())
    assert torch.equal(there.counts().cpu(), expected.counts())
    bits = random_bits(9, 130)
    assert torch.equal(pack(bits.cuda()).cpu(), pack(bits))
