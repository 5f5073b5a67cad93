"""Local affine maps against autograd and the network itself; their spectra and pursuits."""

import numpy as np
import pytest
import torch
from pattern_networks import Call, hostile, mlp
from region_networks import in_place, pooled

from probact.analysis.regions import (
    local_affine,
    local_affine_maps,
    map_angles,
    map_spectrum,
    matching_pursuit,
)


def perceptron():
    return mlp(7, 9, 8, 4), torch.randn(5, 7, dtype=torch.float64)


@pytest.mark.parametrize("made", [perceptron, hostile, pooled, in_place])
def test_maps_are_value_and_jacobian(made):
    net, x = made()
    before = x.clone()
    maps = local_affine_maps(net, x)
    with torch.no_grad():
        y = net(x.clone())
    assert torch.equal(x, before)
    assert not any(p.grad is not None for p in net.parameters())
    for i in range(len(x)):
        one = local_affine(net, x[i])
        scale = float(one.weight.abs().max())
        assert float((one(x[i]) - y[i]).abs().max()) <= 1e-12 * max(1.0, float(y.abs().max()))
        assert float((maps.weight[i] - one.weight).abs().max()) <= 1e-12 * scale
        assert float((maps.bias[i] - one.bias).abs().max()) <= 1e-12
        jacobian = torch.autograd.functional.jacobian(lambda v: net(v[None].clone())[0], x[i])
        assert float((one.weight - jacobian).abs().max()) <= 1e-12 * scale
    chosen = local_affine_maps(net, x, outputs=[2, 0])
    assert torch.allclose(chosen.weight, maps.weight[:, [2, 0]], rtol=0.0, atol=1e-14)
    assert torch.equal(chosen.bias, maps.bias[:, [2, 0]])


def test_maps_in_other_modes():
    net, x = mlp(4, 5, 2), torch.randn(3, 4, dtype=torch.float64)
    expected = local_affine_maps(net, x)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = local_affine_maps(net, x.clone())
        assert torch.equal(found.weight, expected.weight)
    constant = Call(lambda x: (x > 0).double()).eval()
    maps = local_affine_maps(constant, x)
    assert not maps.weight.any()
    assert torch.equal(maps.bias, (x > 0).double())


def test_rank_is_at_most_that_of_the_first_layer():
    net = mlp(40, 16, 30, 30, 3)
    x = torch.randn(400, 40, dtype=torch.float64)
    maps = local_affine_maps(net, x, outputs=[1]).weight[:, 0]
    spectrum = map_spectrum(maps)
    assert spectrum.rank == 16 == int(torch.linalg.matrix_rank(maps))
    rows = net[0].weight.detach()
    within = maps @ torch.linalg.pinv(rows) @ rows
    assert torch.allclose(within, maps, atol=1e-12)
    s = np.linalg.svd(maps.numpy(), compute_uv=False)
    p = s[:16] ** 2 / (s**2).sum()
    assert spectrum.stable_rank == pytest.approx((s**2).sum() / s[0] ** 2)
    assert spectrum.participation_ratio == pytest.approx(1 / (p**2).sum())
    assert spectrum.entropy_rank == pytest.approx(np.exp(-(p * np.log(p)).sum()))
    assert map_spectrum(maps.float()).rank == 16  # by the rounding of single precision


def plain_pursuit(target, dictionary, num_atoms, orthogonal):
    residual, chosen, sizes = target.copy(), [], []
    for _ in range(num_atoms):
        scores = [abs(d @ residual) / np.linalg.norm(d) for d in dictionary]
        best = int(np.argmax(scores))
        chosen.append(best)
        if orthogonal:
            atoms = dictionary[chosen].T
            residual = target - atoms @ np.linalg.lstsq(atoms, target, rcond=None)[0]
        else:
            d = dictionary[best]
            residual = residual - (d @ residual) / (d @ d) * d
        sizes.append(np.linalg.norm(residual) / np.linalg.norm(target))
    return chosen, sizes


def test_pursuits_against_a_plain_loop():
    rng = np.random.default_rng(0)
    dictionary, target = rng.standard_normal((60, 40)), rng.standard_normal(40)
    found = {}
    for orthogonal in (True, False):
        pursuit = matching_pursuit(target, dictionary, 20, orthogonal=orthogonal)
        chosen, sizes = plain_pursuit(target, dictionary, 20, orthogonal)
        assert pursuit.atoms.tolist() == chosen
        assert np.allclose(pursuit.residual, sizes, rtol=0.0, atol=1e-12)
        assert torch.allclose(pursuit.explained, 1.0 - pursuit.residual**2)
        assert bool((pursuit.residual.diff() <= 0).all())
        found[orthogonal] = pursuit.residual
    assert bool((found[True] <= found[False] + 1e-15).all())


def test_pursuit_ends_where_nothing_is_left():
    dictionary = torch.eye(3).double()[[0, 0, 1]]
    dictionary[1] = 0.0
    for orthogonal in (True, False):
        pursuit = matching_pursuit([3.0, 4.0, 0.0], dictionary, 3, orthogonal=orthogonal)
        assert pursuit.atoms.tolist() == [2, 0]
        assert pursuit.residual.tolist() == pytest.approx([0.6, 0.0], abs=1e-15)


def test_angles_are_accurate_when_small():
    a = torch.randn(6, 30, dtype=torch.float64)
    b = torch.randn(6, 30, dtype=torch.float64)
    cosine = (a * b).sum(1) / a.norm(dim=1) / b.norm(dim=1)
    assert torch.allclose(map_angles(a, b), torch.rad2deg(torch.acos(cosine)))
    tilted = torch.tensor([[1.0, 1e-10]], dtype=torch.float64)
    angle = float(map_angles([[1.0, 0.0]], tilted))
    assert angle == pytest.approx(np.rad2deg(1e-10), rel=1e-12)
    assert float(map_angles(a[:1], -7.0 * a[:1])) == pytest.approx(180.0)


@pytest.mark.parametrize("call", [
    lambda: map_spectrum([1.0, 2.0]),
    lambda: map_spectrum(torch.zeros(2, 2)),
    lambda: map_spectrum([[1.0, float("nan")]]),
    lambda: map_angles([1.0], [1.0]),
    lambda: map_angles([[1.0, 0.0]], [[0.0, 0.0]]),
    lambda: map_angles([[1.0, 0.0]], [[1.0]]),
    lambda: matching_pursuit([1.0], torch.eye(2), 1),
    lambda: matching_pursuit([0.0, 0.0], torch.eye(2), 1),
    lambda: matching_pursuit([1.0, 0.0], torch.ones(2), 1),
    lambda: matching_pursuit([1.0, 0.0], torch.eye(2), 0),
])  # fmt: skip
def test_bad_maps(call):
    with pytest.raises(ValueError, match=r"maps|others|map|target|dictionary|num_atoms"):
        call()
