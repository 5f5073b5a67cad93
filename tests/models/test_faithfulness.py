"""Deletion and insertion against loops over pixels; blur, bootstrap, confidence by peers."""

import numpy as np
import pytest
import torch
from cam_toys import gap_net, images
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from probact.models.neuron_split import (
    area_under,
    blurred,
    bootstrap_mean,
    confidence_change,
    deletion_curve,
    insertion_curve,
)


def curve_by_loops(
    net: nn.Module, start: Tensor, end: Tensor, cls: int, saliency: Tensor, steps: int
) -> list[float]:
    """One image, one map of the image's size without ties: pixel after pixel."""
    height, width = saliency.shape
    order = sorted(
        ((i, j) for i in range(height) for j in range(width)), key=lambda at: -saliency[at]
    )
    picture, done, found = start.clone(), 0, []
    for step in range(steps + 1):
        while done < round(step * height * width / steps):
            i, j = order[done]
            picture[:, i, j] = end[:, i, j]
            done += 1
        with torch.no_grad():
            logits = net(picture[None])[0]
        found.append(float(torch.exp(logits[cls]) / torch.exp(logits).sum()))
    return found


@pytest.mark.parametrize("steps", [1, 7, 36])
@pytest.mark.parametrize("batch_size", [1, 5, 1000])
def test_curves_against_loops(steps: int, batch_size: int) -> None:
    net, x = gap_net(16), images(3)
    maps = torch.rand(3, 2, 6, 6, dtype=torch.float64)
    colour = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)[:, None, None]
    classes = [4, 0, 2]
    options = {"steps": steps, "batch_size": batch_size}
    deleted = deletion_curve(net, x, classes, maps, colour, **options)
    inserted = insertion_curve(net, x, classes, maps, blurred(x), **options)
    assert deleted.shape == inserted.shape == (3, 2, steps + 1)
    for i, cls in enumerate(classes):
        for m in range(2):
            expected = curve_by_loops(net, x[i], colour.expand(3, 6, 6), cls, maps[i, m], steps)
            torch.testing.assert_close(deleted[i, m], torch.tensor(expected).double())
            expected = curve_by_loops(net, blurred(x)[i], x[i], cls, maps[i, m], steps)
            torch.testing.assert_close(inserted[i, m], torch.tensor(expected).double())


def test_one_map_and_several_classes() -> None:
    net, x = gap_net(16), images(2)
    maps, black = torch.rand(2, 6, 6), torch.zeros(1)
    both = deletion_curve(net, x, [[0, 3], [1, 2]], maps, black, steps=4)
    assert both.shape == (2, 2, 5)
    for j, classes in enumerate(([0, 1], [3, 2])):
        alone = deletion_curve(net, x, torch.tensor(classes), maps, black, steps=4)
        torch.testing.assert_close(both[:, j], alone)
    wide = deletion_curve(net, x, [[0, 3], [1, 2]], maps[:, None], black, steps=4)
    assert torch.equal(wide, both[:, None])


def test_small_maps_are_raised_bilinearly() -> None:
    net, x = gap_net(16), images(2)
    small = torch.rand(2, 3, 3, dtype=torch.float64)
    large = functional.interpolate(small[:, None], size=(6, 6), mode="bilinear")[:, 0]
    found = [deletion_curve(net, x, 1, m, torch.zeros(1), steps=9) for m in (small, large)]
    assert torch.equal(*found)


def test_ties_are_broken_by_the_seed_alike_for_every_map() -> None:
    net, x = gap_net(16), images(2)
    flat = torch.ones(2, 2, 6, 6)
    first, again, other = (
        deletion_curve(net, x, 1, flat, torch.zeros(1), steps=6, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert torch.equal(first[:, 0], first[:, 1])
    assert not torch.equal(first, other)
    # not row by row: half of the pixels are not those of the upper half
    upper = torch.linspace(1.0, 0.0, 36).reshape(6, 6).expand(2, 6, 6)
    ordered = deletion_curve(net, x, 1, upper, torch.zeros(1), steps=6)
    assert not torch.allclose(first[:, 0], ordered)


def test_area_is_that_of_numpy() -> None:
    curves = torch.rand(4, 3, 11, dtype=torch.float64)
    expected = np.trapezoid(curves.numpy(), np.linspace(0.0, 1.0, 11), axis=2)
    np.testing.assert_allclose(area_under(curves).numpy(), expected, rtol=1e-14)
    with pytest.raises(ValueError, match="two points"):
        area_under(torch.ones(3, 1))


@pytest.mark.parametrize(("size", "sigma"), [((40, 31), 5.0), ((8, 8), 5.0), ((9, 7), 0.6)])
def test_blur_is_that_of_scipy(size: tuple[int, int], sigma: float) -> None:
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    expected = ndimage.gaussian_filter(x.numpy(), (0, 0, sigma, sigma), mode="nearest", truncate=4)
    np.testing.assert_allclose(blurred(x, sigma).numpy(), expected, atol=1e-13)


def test_bootstrap_interval_is_that_of_scipy() -> None:
    from scipy import stats

    values = np.random.default_rng(0).exponential(size=(60, 2))
    found = bootstrap_mean(torch.from_numpy(values), num_resamples=4000, level=0.9)
    np.testing.assert_allclose(found.mean.numpy(), values.mean(0))
    theirs = stats.bootstrap((values,), np.mean, axis=0, n_resamples=4000, method="percentile",
                             confidence_level=0.9, rng=np.random.default_rng(1))  # fmt: skip
    # 5 % quantiles of 20 000 resamples: sd sqrt(p (1 - p) / S) / density = 0.015 sd of the mean
    error = 6.0 * 2.0**0.5 * 0.015 * values.std(0) / 60**0.5
    assert (np.abs(found.low.numpy() - theirs.confidence_interval.low) < error).all()
    assert (np.abs(found.high.numpy() - theirs.confidence_interval.high) < error).all()


def test_confidence_by_hand() -> None:
    """Logits (0, x_0 - x_1): the map keeps the first pixel and halves the second, and so on."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False)).double()
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[0.0, 0.0], [1.0, -1.0]]))
    x = torch.tensor([[[[2.0, 1.0]]], [[[2.0, 1.0]]]]).double()
    maps = torch.tensor([[[4.0, 2.0]], [[1.0, 4.0]]])
    p, q, r = (1.0 / (1.0 + np.exp(-z)) for z in (1.0, 1.5, -0.5))
    drop, increase = confidence_change(net, x, 1, maps)
    np.testing.assert_allclose(drop.numpy(), [0.0, (p - r) / p], rtol=1e-12)
    assert increase.tolist() == [True, False]
    drop, increase = confidence_change(net, x, 0, maps[:, None])
    np.testing.assert_allclose(drop.numpy()[:, 0], [(q - p) / (1 - p), 0.0], rtol=1e-12)
    assert increase.tolist() == [[False], [True]]


def test_measures_are_those_of_torchcam() -> None:
    """Of the same maps: 36 pixels in 36 steps, and no two pixels of a map equal."""
    methods = pytest.importorskip("torchcam.methods")
    metrics = pytest.importorskip("torchcam.metrics")
    net, x = gap_net(16).float(), images(4).float()
    probs = lambda scores: scores.softmax(1)  # noqa: E731
    with methods.GradCAM(net.eval(), "2", input_shape=(3, 6, 6)) as extractor:
        extractor._relu = False  # which would tie the pixels at zero
        confidence = metrics.ClassificationMetric(extractor, probs)
        curves = metrics.DeletionInsertionMetric(
            extractor, probs, steps=36, baseline=torch.zeros_like
        )
        for metric in (confidence, curves):
            metric.update(x, 2)
        maps = extractor(2, probs(net(x)))[0]
    drop, increase = confidence_change(net, x, 2, maps)
    theirs = confidence.summary()
    assert float(drop.mean()) == pytest.approx(theirs["avg_drop"], rel=1e-4)
    assert float(increase.double().mean()) == pytest.approx(theirs["conf_increase"])
    theirs = curves.summary()
    for name, curve in (("deletion", deletion_curve), ("insertion", insertion_curve)):
        area = area_under(curve(net, x, 2, maps, torch.zeros(1), steps=36))
        assert float(area.mean()) == pytest.approx(theirs[f"{name}_auc"], rel=1e-4)


def test_network_is_left_as_it_was() -> None:
    net = gap_net(16).train()
    modes = [m.training for m in net.modules()]
    deletion_curve(net, images(), 0, torch.rand(2, 6, 6), torch.zeros(1), steps=3)
    assert [m.training for m in net.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_refused() -> None:
    net, x, maps, black = gap_net(16), images(), torch.rand(2, 6, 6), torch.zeros(1)
    cases = [
        (lambda: deletion_curve(net, x[0], 0, maps, black), "x must be float images"),
        (lambda: deletion_curve(net, x * torch.nan, 0, maps, black), "x has 2 rows"),
        (lambda: deletion_curve(net, x, 0, maps[:1], black), "maps must be"),
        (lambda: deletion_curve(net, x, 0, maps / 0.0, black), "maps has 2 rows"),
        (lambda: deletion_curve(net, x, 5, maps, black, steps=3), "cls must lie in 0 to 4"),
        (lambda: deletion_curve(net, x, [0, 1, 2], maps, black, steps=3), "cls must be one class"),
        (lambda: deletion_curve(net, x, 0, maps, torch.zeros(2, 1, 1)), "does not broadcast"),
        (lambda: deletion_curve(net, x, 0, maps, torch.tensor(torch.inf)), "baseline"),
        (lambda: deletion_curve(net, x, 0, maps, black, steps=37), "at most the 36 pixels"),
        (lambda: insertion_curve(net, x, 0, maps, black, steps=0), "steps must be"),
        (lambda: insertion_curve(net[:4], x, 0, maps, black, steps=3), "net must give scores"),
        (lambda: insertion_curve(net, x, 0, maps, black, steps=3, batch_size=0), "batch_size"),
        (lambda: confidence_change(net, x, [[0, 1], [0, 1]], maps), "one class or"),
        (lambda: blurred(x[0]), "float images"),
        (lambda: blurred(x, sigma=0.0), "sigma"),
        (lambda: blurred(x * torch.nan), "x has 2 rows"),
        (lambda: bootstrap_mean(torch.ones(1)), "two images"),
        (lambda: bootstrap_mean(torch.ones(3), level=1.0), "level must lie"),
        (lambda: bootstrap_mean(torch.tensor([1.0, torch.nan])), "values has 1 row"),
    ]
    for call, words in cases:
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(TypeError, match="net must be"):
        deletion_curve(x, x, 0, maps, black, steps=3)
    assert torch.equal(blurred(x.numpy()), blurred(x))
    assert area_under([0.5, 1.5]) == 1.0
