"""Heads with some of their weights only, against results by hand and slow loops."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Generator, Tensor, nn

import probact as pa
from probact.models.neuron_split import (
    PRUNING_METHODS,
    keep_only,
    prune_head,
    pruning_scores,
    split_tree,
)

THETA = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.0, 4.0, -1.0, -0.25]])
BIAS = torch.tensor([0.5, -0.5])
FEATURES = torch.tensor([[1.0, 0.0, 2.0, 4.0], [3.0, 2.0, 0.0, 0.0]])  # means 2, 1, 1, 2


@pytest.fixture
def head() -> pa.Head:
    return pa.find_head((THETA, BIAS))


def test_keep_only_by_hand(head: pa.Head) -> None:
    nodes = torch.tensor([[True, False, False, True], [False, True, True, False]])
    plain = keep_only(head, nodes, recentre=False)
    assert plain.weight.tolist() == [[1.0, 0.0, 0.0, 3.0], [0.0, 4.0, -1.0, 0.0]]
    assert plain.bias is head.bias
    centred = keep_only(head, nodes, features=FEATURES)
    assert torch.equal(centred.weight, plain.weight)
    assert centred.bias.tolist() == [0.5 - 2.0 * 1 + 0.5 * 1, -0.5 + 0.0 * 2 - 0.25 * 2]
    assert head.weight.tolist() == THETA.tolist()
    unbiased = keep_only(THETA, nodes.numpy(), features=FEATURES.numpy())
    assert unbiased.bias.tolist() == [-1.5, -0.5]
    assert keep_only(THETA, nodes, recentre=False).bias is None


def test_recentring_keeps_the_mean_scores(generator: Generator) -> None:
    weight = torch.randn((6, 200), generator=generator, dtype=torch.float64)
    h = torch.rand((50, 200), generator=generator, dtype=torch.float64)
    layer = nn.Linear(200, 6).double()
    with torch.no_grad():
        layer.weight.copy_(weight)
    tree = split_tree(layer)
    kept = keep_only(layer, tree.masks("++", "--"), features=h)
    with torch.no_grad():
        full = layer(h)
    scores = h @ kept.weight.T + kept.bias
    assert torch.allclose(scores.mean(0), full.mean(0), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(scores, full)
    everything = keep_only(layer, tree.masks(""), features=h)
    assert torch.equal(everything.weight, weight)
    assert torch.allclose(everything.bias, layer.bias.detach())
    assert (kept.weight != 0).sum(1).tolist() == (tree.sizes("++") + tree.sizes("--")).tolist()


def test_half_precision_stays(head: pa.Head) -> None:
    nodes = THETA > 0.0
    half = pa.find_head((THETA.bfloat16(), BIAS.bfloat16()))
    kept = keep_only(half, nodes, features=FEATURES)
    assert (kept.weight.dtype, kept.bias.dtype) == (torch.bfloat16, torch.bfloat16)
    assert prune_head(half, 0.5).weight.dtype == torch.bfloat16


def test_prune_head_by_hand(head: pa.Head) -> None:
    wanted = {
        "magnitude": [[0.0, -2.0, 0.0, 3.0], [0.0, 4.0, -1.0, 0.0]],  # 1 and -1 tie
        "magnitude_per_class": [[0.0, -2.0, 0.0, 3.0], [0.0, 4.0, -1.0, 0.0]],
        # |theta| mean h: 2 2 .5 6 and 0 4 1 .5
        "contribution": [[1.0, -2.0, 0.0, 3.0], [0.0, 4.0, 0.0, 0.0]],
    }
    for method, weight in wanted.items():
        features = FEATURES if method == "contribution" else None
        pruned = prune_head(head, 0.5, method=method, features=features)
        assert pruned.weight.tolist() == weight, method
        assert pruned.bias is head.bias
    assert prune_head(head, 0.25).weight[1].tolist() == [0.0, 4.0, -1.0, 0.0]
    equal = prune_head(head, 0.25, method="magnitude_per_class").weight
    assert equal.tolist() == [[1.0, -2.0, 0.0, 3.0], [0.0, 4.0, -1.0, -0.25]]
    assert torch.equal(prune_head(head, 0.0).weight, THETA)
    assert prune_head(head, 0.99).weight.count_nonzero() == 1
    row = torch.arange(1.0, 101.0)[None]
    assert prune_head(row, 0.29).weight.count_nonzero() == 71  # 0.29 * 100 < 29 in floating point


def slow_score(method: str, weight: np.ndarray, h: np.ndarray) -> np.ndarray:
    score = np.zeros_like(weight)
    for k, row in enumerate(weight):
        if method == "ald":
            kappa, loc, scale = best_ald(row)
            law = stats.laplace_asymmetric(kappa, loc, scale)
            score[k] = law.logpdf(loc) - law.logpdf(row)
            continue
        for j, theta in enumerate(row):
            mean = np.mean([abs(x) for x in h[:, j]]) if method == "contribution" else 1.0
            score[k, j] = abs(theta) * mean
    return score


def best_ald(row: np.ndarray) -> tuple[float, float, float]:
    """Shape, location and scale of scipy's law, by trial of every inner weight."""
    found = []
    for m in np.sort(row)[1:-1]:
        a, b = np.maximum(row - m, 0).mean(), np.maximum(m - row, 0).mean()
        kappa, scale = (b / a) ** 0.25, (a * b) ** 0.25 * (math.sqrt(a) + math.sqrt(b))
        found.append(
            (stats.laplace_asymmetric(kappa, m, scale).logpdf(row).sum(), kappa, m, scale)
        )
    return max(found)[1:]


@pytest.mark.parametrize("method", PRUNING_METHODS)
def test_prune_head_against_loops(method: str, generator: Generator) -> None:
    weight = torch.randn((3, 40), generator=generator, dtype=torch.float64) + 0.2
    h = torch.randn((12, 40), generator=generator, dtype=torch.float64)
    features = h if method == "contribution" else None
    for share in (0.1, 0.29, 0.5, 0.925):
        pruned = prune_head(weight, share, method=method, features=features, seed=3).weight
        gone = pruned == 0.0
        assert torch.equal(pruned[~gone], weight[~gone])
        if method == "magnitude_per_class":
            assert gone.sum(1).tolist() == [math.floor(share * 40 + 1e-9)] * 3
        else:
            assert int(gone.sum()) == math.floor(share * 120 + 1e-9)
        if method == "random":
            continue
        score = slow_score(method, weight.numpy(), h.numpy())
        rows = range(3) if method == "magnitude_per_class" else [slice(None)]
        for row in rows:
            assert score[row][gone[row].numpy()].max() < score[row][~gone[row].numpy()].min()
    if method == "random":
        again, other = (prune_head(weight, 0.5, method=method, seed=s).weight for s in (3, 4))
        first = prune_head(weight, 0.5, method=method, seed=3).weight
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_ald_scores_are_log_densities(generator: Generator) -> None:
    weight = torch.randn((3, 300), generator=generator, dtype=torch.float64)
    law = pa.analysis.laplace_fits.fit_asymmetric_laplace(weight).dist()
    log_density = law.log_prob(weight.T).T
    score = pruning_scores(weight, "ald")
    top = log_density.amax(1, keepdim=True)
    assert torch.allclose(score, top - log_density, rtol=1e-10, atol=1e-12)


def bad_calls() -> list[tuple[str, dict[str, object], type[Exception], str]]:
    nodes = THETA > 0.0
    nan = FEATURES.clone()
    nan[1, 2] = torch.nan
    none: Tensor = torch.zeros_like(nodes)
    none[0, 0] = True
    return [
        ("keep", {"nodes": nodes}, ValueError, "recentre needs features"),
        ("keep", {"nodes": nodes, "recentre": False, "features": FEATURES}, ValueError, "leave"),
        ("keep", {"nodes": nodes, "features": FEATURES[:, :3]}, ValueError, r"\(N, 4\)"),
        ("keep", {"nodes": nodes, "features": nan}, ValueError, "first: row 1"),
        ("keep", {"nodes": nodes, "features": FEATURES[0]}, ValueError, "features must be"),
        ("keep", {"nodes": nodes[:1], "recentre": False}, ValueError, r"got shape \(1, 4\)"),
        ("keep", {"nodes": nodes.float(), "recentre": False}, TypeError, "booleans"),
        ("keep", {"nodes": "+++", "recentre": False}, TypeError, "nodes must be"),
        ("keep", {"nodes": none, "recentre": False}, ValueError, "no neuron of class 1"),
        ("prune", {"share": 1.0}, ValueError, r"share must lie in \[0, 1\)"),
        ("prune", {"share": -0.1}, ValueError, "share"),
        ("prune", {"share": "half"}, TypeError, "share"),
        ("prune", {"share": 0.5, "method": "largest"}, ValueError, "method must be one of"),
        ("prune", {"share": 0.5, "method": "contribution"}, ValueError, "it needs them"),
        ("prune", {"share": 0.5, "features": FEATURES}, ValueError, "features"),
        ("prune", {"share": 0.5, "seed": -1, "method": "random"}, ValueError, "seed"),
    ]


@pytest.mark.parametrize(("what", "options", "error", "message"), bad_calls())
def test_bad_input(
    what: str, options: dict[str, object], error: type[Exception], message: str, head: pa.Head
) -> None:
    with pytest.raises(error, match=message):
        (keep_only if what == "keep" else prune_head)(head, **options)


def test_bad_heads() -> None:
    with pytest.raises(ValueError, match=r"degenerate row \(first: row 1\)"):
        prune_head(torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]), 0.5, method="ald")
    weight = THETA.clone()
    weight[1, 0] = torch.inf
    with pytest.raises(ValueError, match="first: row 1"):
        prune_head(weight, 0.5)
    with pytest.raises(LookupError):
        keep_only(nn.ReLU(), THETA > 0.0, recentre=False)
