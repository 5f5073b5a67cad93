"""End-of-run warnings on draws whose fault is known."""

import numpy as np
import pytest
import xarray as xr

from probact.inference.diagnosis import complaints

NOTHING = xr.Dataset()


def run(**variables):
    """Draws (2, 400, ...) by name as a group."""
    return xr.Dataset(
        {
            name: (("chain", "draw", *(f"{name}_{i}" for i in range(np.ndim(v) - 2))), v)
            for name, v in variables.items()
        }
    )


@pytest.fixture
def noise():
    return np.random.default_rng(0).normal(size=(2, 400))


def test_independent_draws_pass(noise):
    assert complaints(run(mu=noise), NOTHING) == []


def test_chains_apart_disagree(noise):
    (rhat, ess) = complaints(run(mu=noise + np.array([[0.0], [3.0]])), NOTHING)
    assert rhat.startswith("chains disagree on mu: R-hat ")
    assert rhat.endswith("; run longer")
    assert "low ESS" in ess


def test_one_element_apart_is_enough(noise):
    both = np.stack([noise, noise + np.array([[0.0], [3.0]])], -1)
    assert complaints(run(mu=both), NOTHING)[0].startswith("chains disagree on mu")


def test_slow_chains_have_low_ess():
    walk = np.random.default_rng(1).normal(size=(1, 400)).cumsum(1)
    (text,) = complaints(run(mu=walk), NOTHING)
    assert "mu has low ESS" in text
    assert "100 are wanted" in text


def test_constants_are_told_in_words_not_as_nan(noise):
    same, apart = np.ones((2, 400)), np.ones((2, 400)) * [[1.0], [2.0]]
    assert complaints(run(k=same), NOTHING) == [
        "k is constant: every draw of every chain is the same"
    ]
    assert complaints(run(k=apart), NOTHING) == [
        "chains are stuck at different values of k; run longer"
    ]
    assert complaints(run(L=np.stack([noise, same], -1)), NOTHING) == []


def test_labels_per_point_are_not_judged():
    z = np.arange(2)[:, None, None] * np.ones((2, 400, 5), dtype=int)
    assert complaints(run(z=z), NOTHING) == []


def test_a_partition_that_never_moves_is_no_fault_where_the_chains_agree(noise):
    z = np.ones((2, 400, 5), dtype=int)
    same, apart = np.full((2, 400), 3), np.full((2, 400), 3) * [[1], [2]]
    assert complaints(run(alpha=noise, z=z, num_components=same), NOTHING) == []
    assert complaints(run(alpha=noise, z=z, num_components=apart), NOTHING) == [
        "chains are stuck at different values of num_components; run longer"
    ]


def test_integer_summaries_are_judged():
    k = np.arange(2)[:, None] * 5 + np.random.default_rng(2).integers(1, 4, size=(2, 400))
    assert complaints(run(num_components=k), NOTHING)[0].startswith("chains disagree on num_comp")


def test_divergences_are_counted(noise):
    diverging = xr.Dataset({"diverging": (("chain", "draw"), noise > 2.5)})
    (text,) = complaints(run(mu=noise), diverging)
    assert text.startswith(f"{(noise > 2.5).sum()} of 800 draws diverged")
