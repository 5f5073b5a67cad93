"""Hyperplanes, agreement, neighbours, normalisation and attacks against independent counts."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from probact import datasets
from probact.analysis.patterns import (
    PackedPatterns,
    adversarial_report,
    collect,
    expected_sign_agreement,
    fast_gradient_sign,
    hamming_neighbours,
    hyperplane_distances,
    hyperplane_test,
    neighbour_agreement,
    normalisation_report,
    normalised_mlp,
    sign_agreement,
)


def standard_digits():
    x = datasets.digits(train=True).floats().flatten(1)
    return (x - x.mean()) / x.std()


def test_hyperplanes_of_a_new_layer(budget):
    torch.manual_seed(0)
    layer = nn.Linear(1024, 3000)
    found = hyperplane_test(layer.weight, layer.bias)
    assert found.bound == math.sqrt(3 / 1024)
    assert found.distances.abs().max() < 1.05 * found.bound
    budget.check("distances", found.p_value)
    assert found.norms.square().mean().item() == pytest.approx(1 / 3, abs=2e-3)
    assert found.norms.std().item() == pytest.approx(math.sqrt(1 / (15 * 1024)), rel=0.08)
    with torch.no_grad():
        layer.bias.mul_(0.5)
    assert hyperplane_test(layer.weight, layer.bias).p_value < 1e-10
    x = torch.randn(20000, 1024)
    p = (torch.nn.functional.linear(x, layer.weight[:5], layer.bias[:5]) > 0).double().mean(0)
    closed = torch.special.ndtr(hyperplane_distances(layer.weight, layer.bias))[:5]
    assert (p - closed).abs().max() < 5 * math.sqrt(0.25 / 20000)


def test_sign_agreement_is_the_papers_79_percent(budget):
    limit = expected_sign_agreement()
    assert limit == pytest.approx(0.794048, abs=5e-7)
    assert expected_sign_agreement(10**9, scale=7.0, prob=0.2) == pytest.approx(limit, abs=1e-6)
    assert expected_sign_agreement(256, scale=0.577) == pytest.approx(0.7946, abs=5e-5)
    random = np.random.default_rng(0)
    n, rows = 64, 20000
    f = np.maximum(0.577 * random.standard_normal((rows, n)), 0)
    w = random.uniform(-1, 1, (rows, n)) / math.sqrt(n)
    b = random.uniform(-1, 1, rows) / math.sqrt(n)
    agree = ((f * w).sum(1) + b > 0) == (((f > 0) * w).sum(1) + b > 0)
    measured = sign_agreement(f)
    expected = expected_sign_agreement(n, scale=0.577)
    assert measured.mean().item() == pytest.approx(expected, abs=5e-3)
    z = (agree.mean() - measured.mean().item()) / math.sqrt(expected * (1 - expected) / rows)
    budget.check("agreement", 2 * stats.norm.sf(abs(z)))


def test_agreement_rises_through_further_layers():
    """The paper has another 20 % lost per layer; replace layer 1 by its bits and go on."""
    torch.manual_seed(0)
    n = 512
    h = torch.randn(1000, n) @ torch.randn(n, n) * math.sqrt(2 / n)
    exact = h.relu()
    bits = (h > 0).float() * exact[exact > 0].mean()
    shares = []
    for _ in range(5):
        w = torch.randn(n, n) * math.sqrt(2 / n)
        exact, bits = exact @ w, bits @ w
        shares.append(float(((exact > 0) == (bits > 0)).double().mean()))
        exact, bits = exact.relu(), bits.relu()
    assert shares[0] == pytest.approx(0.794, abs=0.01)
    assert shares[0] < shares[1] < shares[2] < shares[3]
    assert min(shares[1:]) > shares[0] > 0.8 * shares[0] + 0.1


def test_neighbours_by_brute_force():
    random = np.random.default_rng(0)
    bits, y = random.random((40, 70)) < 0.5, random.integers(0, 3, 40)
    x = random.standard_normal((40, 5))
    packed = PackedPatterns.from_bits(bits)
    distance = (bits[:, None] != bits[None]).sum(-1)
    np.fill_diagonal(distance, 10**6)
    found, which = hamming_neighbours(packed, 4)
    np.testing.assert_array_equal(found, np.sort(distance, 1)[:, :4])
    np.testing.assert_array_equal(np.take_along_axis(distance, which.numpy(), 1), found)
    gap = np.linalg.norm(x[:, None] - x[None], axis=-1)
    np.fill_diagonal(gap, np.inf)
    pixel = (y[np.argsort(gap, 1)[:, :3]] == y[:, None]).mean(1)
    rows = neighbour_agreement({"bits": packed}, y, baselines={"pixels": x}, ks=[3])
    assert [(r.name, r.k) for r in rows] == [("pixels", 3), ("bits", 3)]
    assert rows[0].mean == pytest.approx(pixel.mean())
    assert rows[0].standard_error == pytest.approx(pixel.std(ddof=1) / math.sqrt(40))
    own = (y[which[:, :3].numpy()] == y[:, None]).mean(1)
    assert rows[1].difference == pytest.approx((own - pixel).mean())
    assert rows[1].difference_error == pytest.approx((own - pixel).std(ddof=1) / math.sqrt(40))


def test_ties_do_not_follow_the_order_of_the_rows():
    packed = PackedPatterns.from_bits(np.zeros((50, 3)))
    places = torch.cat([hamming_neighbours(packed, 1, seed=s)[1] for s in range(40)]).flatten()
    assert len(places.unique()) > 20


def test_untrained_patterns_find_no_better_neighbours_than_pixels():
    data = datasets.digits(train=True)
    x = standard_digits()
    net = normalised_mlp("none", [64, 256])
    rows = neighbour_agreement(
        {"bits": collect(net.eval(), x)}, data.labels, baselines={"pixels": x}, ks=[1]
    )
    pixels, bits = rows
    assert pixels.mean > 0.97
    assert bits.difference + 2 * bits.difference_error < 0


def test_normalisation_report_on_digits():
    x = standard_digits()[:1000]
    report = normalisation_report(lambda name: normalised_mlp(name, [64] + [256] * 10, x=x), x)
    ends = {}
    for row in report:
        ends.setdefault(row.normalisation, []).append(row.variance)
    expected = {
        "none": (0.083, 0.248), "he": (0.080, 0.158), "batch": (0.001, 0.0),
        "layer": (0.086, 0.173), "weight": (0.001, 0.0), "selu": (0.078, 0.056),
    }  # fmt: skip
    for name, (first, last) in expected.items():
        assert len(ends[name]) == 10
        # one network: Var p of 256 units spreads by about 0.01, the last layer's by more
        assert ends[name][0] == pytest.approx(first, abs=0.02), name
        assert ends[name][-1] == pytest.approx(last, abs=0.05), name
    none = [row for row in report if row.normalisation == "none"]
    assert all(row.distance_to_law < 0.2 for row in none[:4])
    assert none[0].distance_to_uniform < 0.15 < 0.3 < none[-1].distance_to_uniform


def test_report_leaves_its_caller_alone():
    state = torch.random.get_rng_state()
    net = normalised_mlp("batch", [64, 8])
    normalisation_report(lambda _: net, standard_digits()[:50], ["batch"])
    assert torch.equal(state, torch.random.get_rng_state())
    assert net[1].momentum == 0.1


def test_attack_and_its_distances():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 3)).double().eval()
    x, y = torch.rand(30, 6, dtype=torch.float64), torch.randint(0, 3, (30,))
    moved = fast_gradient_sign(net, x, y, 0.2, bounds=(0.0, 1.0), batch_size=7)
    assert all(p.grad is None for p in net.parameters())
    leaf = x.clone().requires_grad_()
    nn.functional.cross_entropy(net(leaf), y, reduction="sum").backward()
    torch.testing.assert_close(moved, (x + 0.2 * leaf.grad.sign()).clamp(0, 1))
    [layer] = adversarial_report(net, x, moved, batch_size=4)

    def bits(z):
        return net[0](z) > 0

    flips = (bits(moved) != bits(x)).sum(1).double()
    assert layer.adversarial[0] == pytest.approx(float(flips.mean()))
    assert layer.adversarial[1] == pytest.approx(float(flips.std()) / math.sqrt(30))
    # twice the moved images is noise of twice the length; its distance cannot be that of length 0
    [still] = adversarial_report(net, x, x)
    assert still.adversarial == still.random == (0.0, 0.0)
    assert still.other == layer.other
    assert layer.other[0] > 1.0
    assert math.isnan(still.excess)
    [tied] = adversarial_report(net, x[:1].expand(5, 6), x[:1].expand(5, 6) + 0.5)
    assert tied.other == (0.0, 0.0)
    assert tied.num_bits == 20


def test_noise_has_the_length_of_the_attack():
    """One unit along each of 400 axes, at heights that tell the size of a step."""
    net = nn.Sequential(nn.Linear(400, 400), nn.ReLU()).double().eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(400))
        net[0].bias.fill_(-0.1)
    x = torch.zeros(20, 400, dtype=torch.float64)
    attacked = x.clone()
    attacked[:, 0] = 0.099 * 20  # length of a step 0.099 in every axis
    [below] = adversarial_report(net, x, attacked)
    attacked[:, 0] = 0.101 * 20
    [above] = adversarial_report(net, x, attacked)
    assert below.random[0] == 0.0
    assert 180 < above.random[0] < 220
    assert below.adversarial == above.adversarial == (1.0, 0.0)


def test_refusals():
    net = normalised_mlp("none", [4, 3]).eval()
    x = torch.zeros(5, 4)
    for call, words in (
        (lambda: hyperplane_distances(torch.zeros(2, 3), [0.0, 0.0]), "zero row"),
        (lambda: hyperplane_distances(torch.ones(2, 3), [0.0]), "bias must be"),
        (lambda: expected_sign_agreement(prob=1.5), "prob must lie"),
        (lambda: sign_agreement([[-1.0]]), "features must not be negative"),
        (lambda: hamming_neighbours(PackedPatterns.from_bits([[0]]), 1), "k must be below"),
        (lambda: neighbour_agreement({}, [0, 1]), "same rows"),
        (lambda: normalised_mlp("group", [4, 3]), "normalisation must be one of"),
        (lambda: normalised_mlp("weight", [4, 3]), "give x"),
        (lambda: adversarial_report(net, x, x[:3]), "of one shape"),
        (lambda: fast_gradient_sign(net, x, [0, 1], 0.1), "labels must be"),
        (lambda: fast_gradient_sign(net, x, [0] * 5, -1.0), "epsilon"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
