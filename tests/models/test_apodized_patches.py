"""Apodized patches against patches cut out by hand, and the convolution as factorial mixture."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import probact.inference as pi
from probact.models.apodized_patches import (
    apodized_patches,
    assemble,
    conv_colours,
    conv_factorial_mixture,
    hann_window,
    layer_filters,
    most_patches,
    patch_bound,
    patch_slopes,
    site_mean,
    window_cover,
)


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_hand(x, window, stride):
    """h x_p with loops, (N, C k k, P)."""
    size = len(window)
    corners = [
        (i, j)
        for i in range(0, x.shape[2] - size + 1, stride)
        for j in range(0, x.shape[3] - size + 1, stride)
    ]
    cut = [(x[:, :, i : i + size, j : j + size] * window).flatten(1) for i, j in corners]
    return torch.stack(cut, -1), corners


def put_back(patches, corners, shape, size):
    """sum_p P_p' of patches (N, C k k, P), with loops."""
    image = torch.zeros(shape, dtype=patches.dtype)
    for p, (i, j) in enumerate(corners):
        patch = patches[..., p].reshape(shape[0], shape[1], size, size)
        image[:, :, i : i + size, j : j + size] += patch
    return image


def test_hann_windows_are_a_partition_of_unity():
    """At stride k/2 on the interior, as scipy's window says as well."""
    from scipy.signal.windows import hann

    for size in (4, 6, 8):
        window = hann_window(size)
        line = hann(size, sym=False)
        assert np.allclose(window, np.outer(line, line), atol=1e-15)
        cover = window_cover(window, (4 * size, 5 * size), size // 2)
        edge = size - size // 2
        assert (cover[edge:-edge, edge:-edge] - 1.0).abs().max() < 1e-12


@pytest.mark.parametrize(("size", "stride"), [(4, 2), (3, 1), (3, 2), (4, 3)])
def test_patches_and_their_sum(size, stride):
    x, window = draw(2, 3, 11, 9), hann_window(size) + 0.1
    patches = apodized_patches(x, window, stride)
    cut, corners = by_hand(x, window, stride)
    assert torch.equal(patches, cut)
    back = assemble(patches, window, (11, 9), stride)
    known = window_cover(window, (11, 9), stride) > 0
    assert torch.equal(torch.isnan(back).any((0, 1)), ~known)
    assert torch.allclose(back[..., known], x[..., known], rtol=0, atol=1e-12)
    one = put_back(by_hand(torch.ones_like(x), window, stride)[0], corners, x.shape, size)
    assert torch.allclose(window_cover(window, (11, 9), stride), one[0, 0], atol=1e-14)


def test_filtering_apodized_patches_is_convolving_with_apodized_filters():
    x, window, filters = draw(2, 3, 10, 10), hann_window(4), draw(5, 3, 4, 4, seed=1)
    patches = apodized_patches(x, window, 2)
    response = torch.einsum("jd,ndp->njp", filters.flatten(1), patches)
    layer = F.conv2d(x, layer_filters(filters, window), stride=2).flatten(2)
    assert torch.allclose(response, layer, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("size", "stride"), [(4, 2), (3, 1), (3, 2), (2, 2)])
def test_inequality(size, stride):
    x, window = draw(4, 2, 12, 12), hann_window(size) + 0.2
    patches = apodized_patches(x, window, stride)
    cut, corners = by_hand(x, window, stride)
    models = draw(*patches.shape, seed=2)
    joint, bound = patch_bound(x, models, window, stride)
    missed = put_back(cut - models, corners, x.shape, size)
    assert torch.allclose(joint, missed.square().sum((1, 2, 3)), rtol=1e-12)
    count = put_back(torch.ones_like(cut), corners, x.shape, size).max()
    assert most_patches(size, stride) == int(count)
    assert torch.allclose(bound, count * (cut - models).square().sum((1, 2)), rtol=1e-12)
    assert (joint <= bound).all()
    exact, zero = patch_bound(x, patches, window, stride)
    assert exact.abs().max() == 0
    assert zero.abs().max() == 0


def test_inequality_is_tight():
    """The same error in every patch that covers a pixel: Cauchy-Schwarz holds with equality."""
    x, window = torch.zeros(1, 1, 3, 3).double(), torch.ones(2, 2).double()
    middle = torch.zeros(1, 4, 4).double()
    for p, entry in enumerate((3, 2, 1, 0)):  # where the middle pixel lies in each patch
        middle[0, entry, p] = -1.0
    joint, bound = patch_bound(x, middle, window, 1)
    assert float(joint) == float(bound) == 16.0


def test_per_patch_map_is_the_layer():
    """argmin_r |h x_p - A_r|^2 / 2 - s2 log pi_r = argmax of the layer with filters h A."""
    x, window, s2 = draw(3, 2, 10, 10), hann_window(4) + 0.05, 0.7
    slopes, weights = draw(5, 2, 4, 4, seed=3), draw(5, seed=4).softmax(-1)  # R = 5 vectors
    offsets = -0.5 * slopes.square().sum((1, 2, 3)) + s2 * weights.log()
    scores = F.conv2d(x, layer_filters(slopes, window), offsets, stride=2)
    cut, _ = by_hand(x, window, 2)
    distance = (cut.unsqueeze(1) - slopes.flatten(1)[None, :, :, None]).square().sum(2)
    energy = 0.5 * distance - s2 * weights.log()[:, None]
    assert torch.equal(energy.argmin(1), scores.flatten(2).argmax(1))
    assert torch.allclose(patch_slopes(layer_filters(slopes, window), window), slopes, atol=1e-12)
    floored = patch_slopes(layer_filters(slopes, hann_window(4)), hann_window(4), floor=0.01)
    assert torch.isfinite(floored).all()


def convolution():
    """Two channels of three regions, 2 x 2 patches at stride 1 on 3 x 4 images."""
    return draw(2, 3, 1, 2, 2, seed=5), draw(2, 3, seed=6).softmax(-1)


def test_convolution_as_a_factorial_mixture():
    slopes, weights = convolution()
    model = conv_factorial_mixture(slopes, weights, 0.5, (3, 4), 1)
    assert (model.num_units, model.dim) == (12, 12)
    x, codes = model.sample(20, seed=0)
    mean = site_mean(codes.reshape(20, 2, 2, 3), slopes, 1)
    by_units = model.slopes[torch.arange(12), codes].sum(1)
    assert torch.allclose(mean.flatten(1), by_units, atol=1e-12)
    corners = [(i, j) for i in range(2) for j in range(3)]
    hand = torch.zeros(20, 1, 3, 4, dtype=torch.float64)
    grid = codes.reshape(20, 2, 2, 3)
    for channel in range(2):
        for i, j in corners:
            hand[:, :, i : i + 2, j : j + 2] += slopes[channel, grid[:, channel, i, j]]
    assert torch.allclose(mean, hand, atol=1e-12)
    assert torch.allclose(model.weights[:6], weights[:1].expand(6, 3), atol=1e-15)
    assert x.shape == (20, 12)


@pytest.mark.parametrize(("size", "stride"), [(2, 1), (3, 1), (3, 2), (4, 3), (2, 2)])
def test_colours_of_positions(size, stride):
    """Patches of one colour do not overlap, so the kernel takes the colours."""
    high, wide = 4, 5
    image = (high - 1) * stride + size, (wide - 1) * stride + size
    slopes = draw(2, 2, 1, size, size)
    model = conv_factorial_mixture(slopes, [[0.5, 0.5]] * 2, 1.0, image, stride)
    colours = conv_colours(2, (high, wide), size, stride)
    assert len(set(colours)) == 2 * min(most_patches(size, stride), high * wide)
    kernel = pi.FactorialGibbs(colours=colours)
    state = kernel.init(model, model.sample(2, seed=0).x, torch.Generator().manual_seed(0))
    assert len(state.problem.blocks) == len(set(colours))
    if stride < size:  # neighbours do overlap: no fewer colours a channel
        clash = [0 if c == 1 else c for c in colours]
        with pytest.raises(ValueError, match="interact and both have colour 0"):
            pi.FactorialGibbs(colours=clash).init(model, torch.zeros(1, model.dim), None)


@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("size must be", lambda: hann_window(0)),
        ("stride must be", lambda: most_patches(3, 0)),
        (r"window must be \(k, k\)", lambda: window_cover(torch.ones(2, 3), (4, 4), 1)),
        ("of at least 5", lambda: window_cover(torch.ones(5, 5), (4, 9), 1)),
        ("x must be images", lambda: apodized_patches(torch.ones(4, 4), torch.ones(2, 2), 1)),
        (
            r"models must be \(N, C k k, P\) = \(1, 4, 9\)",
            lambda: patch_bound(torch.ones(1, 1, 4, 4), torch.ones(1), torch.ones(2, 2), 1),
        ),
        (
            "integers from 0 to 1",
            lambda: site_mean(torch.full((1, 1, 2, 2), 2), torch.ones(1, 2, 1, 2, 2), 1),
        ),
        ("got \\(\\(2,\\), ", lambda: site_mean(torch.ones(2), torch.ones(1, 2, 1, 2, 2), 1)),
        ("floor must be", lambda: patch_slopes(torch.ones(2, 2), torch.ones(2, 2), 0.0)),
        (
            r"slopes must be \(J, R, C, k, k\)",
            lambda: conv_factorial_mixture(torch.ones(1, 2, 3), [[0.5, 0.5]], 1.0, (4, 4), 1),
        ),
        (
            "leave a rest",
            lambda: conv_factorial_mixture(
                torch.ones(1, 2, 1, 2, 2), [[0.5, 0.5]], 1.0, (5, 4), 2
            ),
        ),
        (
            r"weights must be \(1, 2\)",
            lambda: conv_factorial_mixture(torch.ones(1, 2, 1, 2, 2), [0.5, 0.5], 1.0, (4, 4), 2),
        ),
    ],
)
def test_bad_input(words, call):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (TypeError, "window must be a tensor of floating", lambda h, x: window_cover([[1]], x, 1)),
        (ValueError, "image_size must be two integers", lambda h, x: window_cover(h, 8, 2)),
        (
            TypeError,
            "x must be a tensor of floating",
            lambda h, x: apodized_patches(x.int(), h, 1),
        ),
        (ValueError, r"k = 2, P = 9", lambda h, x: assemble(torch.ones(1, 4, 8), h, (4, 4), 1)),
        (ValueError, r"k = 2, P = 9", lambda h, x: assemble(torch.ones(1, 5, 9), h, (4, 4), 1)),
        (ValueError, "slopes must end in the shape", lambda h, x: layer_filters(x, h)),
        (TypeError, "slopes must be a tensor of f", lambda h, x: layer_filters(h.int(), h)),
        (ValueError, "filters must end in the shape", lambda h, x: patch_slopes(x, h)),
        (TypeError, "codes must be a tensor", lambda h, x: site_mean([0], x, 1)),
        (ValueError, "stride must be", lambda h, x: site_mean(x, x, 0)),
        (ValueError, "sites must be two integers", lambda h, x: conv_colours(1, (0, 4), 2, 1)),
    ],
)
def test_other_types_and_sizes(error, words, call):
    with pytest.raises(error, match=words):
        call(torch.ones(2, 2), torch.ones(1, 1, 4, 4))


def test_codes_of_any_integer_type():
    codes, slopes = torch.tensor([[[[0, 1]]]]), torch.randn(1, 2, 1, 2, 2)
    expected = site_mean(codes, slopes, 2)
    for kind in (torch.int8, torch.int32, torch.bool):
        assert torch.equal(site_mean(codes.to(kind), slopes, 2), expected)
