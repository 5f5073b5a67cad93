"""Intervals, medians and ties of the concentration stand where the draws put them."""

import numpy as np
import pytest

from probact.plots import plot_concentration_posterior

RNG = np.random.default_rng(2)
SHARED = RNG.gamma(50.0, 1.0, (4, 300))
BY_CLASS = SHARED[:, :, None] * np.array([1.0, 2.0, 3.0])


def test_shared_draws_give_one_density_per_chain() -> None:
    ax = plot_concentration_posterior(SHARED)
    assert len(ax.patches) == 4
    for patch in ax.patches:
        x, y = patch.get_xy().T
        assert np.sum(y[1:] * np.diff(x)) == pytest.approx(1.0)  # area under the outline
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["chain 0", "chain 1", "chain 2", "chain 3"]


def test_shared_draws_mark_every_norm() -> None:
    norms = np.array([40.0, 50.0, 70.0])
    (rug,) = plot_concentration_posterior(SHARED, norms=norms).lines
    np.testing.assert_array_equal(rug.get_xdata(), norms)


def test_class_draws_give_intervals_holding_their_share_of_the_draws() -> None:
    ax = plot_concentration_posterior(BY_CLASS, class_names=["a", "b", "c"])
    for lines, share in zip(ax.collections, (0.94, 0.5), strict=True):
        for index, segment in enumerate(lines.get_segments()):
            low, high = segment[:, 0]
            inside = np.mean((BY_CLASS[..., index] >= low) & (BY_CLASS[..., index] <= high))
            assert inside == pytest.approx(share, abs=2 / 1200)  # one draw at each end
            assert segment[0, 1] == index
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b", "c"]


def test_class_draws_show_medians_of_all_and_of_each_chain_and_the_ties() -> None:
    ax = plot_concentration_posterior(BY_CLASS, norms=[45.0, 90.0, 160.0])
    lines = {line.get_label(): line for line in ax.lines}
    pooled = [np.median(BY_CLASS[..., index]) for index in range(3)]
    np.testing.assert_allclose(lines["median"].get_xdata(), pooled)
    assert len(lines["median of a chain"].get_xdata()) == 4 * 3
    assert list(lines["norm tie $|w_i|$"].get_xdata()) == [45.0, 90.0, 160.0]


def test_a_thousand_classes_show_positions_not_names() -> None:
    draws = RNG.gamma(50.0, 1.0, (2, 20, 1000))
    ax = plot_concentration_posterior(draws, class_names=[f"class {k}" for k in range(1000)])
    assert len(ax.get_yticks()) < 20
    assert ax.figure.get_size_inches()[1] <= 9.0


@pytest.mark.parametrize(
    ("draws", "keywords", "message"),
    [
        (SHARED[0], {}, r"draws must be \(chains, draws\) or \(chains, draws, C\)"),
        (-SHARED, {}, "draws must not be negative"),
        (SHARED, {"norms": [-1.0]}, "norms must not be negative"),
        (SHARED, {"class_names": ["a"]}, "class_names go with draws"),
        (BY_CLASS, {"norms": [1.0]}, r"norms must be \(3,\), got shape \(1,\)"),
        (BY_CLASS, {"class_names": ["a"]}, "class_names must hold 3 names, got 1"),
    ],
)
def test_refuses(draws: np.ndarray, keywords: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot_concentration_posterior(draws, **keywords)  # type: ignore[arg-type]
