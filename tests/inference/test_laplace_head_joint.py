"""Joint-distribution tests (Geweke 2004) of the last layer's sweep, and of broken sweeps."""

import pytest
import torch
from head_joint import LIKELIHOODS, joint_scores
from scipy import stats

from probact.inference.laplace import head_sweep, mixing_draw
from probact.inference.laplace.normal_draw import NormalPrior

CAUGHT = 7.0  # |z| of a broken sweep; a sound one exceeds 5.5 once in a million


@pytest.mark.parametrize("shape", [(5, 2), (2, 3)], ids=["q form", "N form"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_joint_distribution(likelihood, shape, budget):
    scores = joint_scores(likelihood, points=shape[0], features=shape[1], chains=1500, rounds=30)
    for name, z in scores.items():
        budget.check(f"head joint {likelihood} {shape} {name}", 2 * stats.norm.sf(abs(z)))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(5, 2), (2, 3)], ids=["q form", "N form"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_joint_distribution_at_length(likelihood, shape, budget):
    options = {"chains": 10_000, "rounds": 100, "seed": 5}
    scores = joint_scores(likelihood, points=shape[0], features=shape[1], **options)
    for name, z in scores.items():
        budget.check(f"long head joint {likelihood} {shape} {name}", 2 * stats.norm.sf(abs(z)))


def worst(likelihood):
    return max(abs(z) for z in joint_scores(likelihood, chains=3000, rounds=30).values())


def test_a_doubled_shape_is_caught(monkeypatch):
    """1 / W with twice its shape."""
    draw = mixing_draw.draw_mixing
    monkeypatch.setattr(mixing_draw, "draw_mixing", lambda h, c, g: draw(h, 2.0 * c, g))
    assert worst("gaussian") > CAUGHT


def test_a_missing_skew_is_caught(monkeypatch):
    draw = head_sweep.draw_normal_prior

    def without(*args):
        prior = draw(*args)
        return NormalPrior(0.0 * prior.mean, prior.variance)

    monkeypatch.setattr(head_sweep, "draw_normal_prior", without)
    assert worst("bernoulli") > CAUGHT


def test_a_missing_offset_is_caught(monkeypatch):
    """Polya-Gamma variables of psi_k instead of psi_k less the other classes."""
    draw, seen = head_sweep._draw, {}
    polya_gamma = head_sweep._polya_gamma

    def without(problem, omega, u, prior, rows, generator):
        return draw(problem, omega, u - seen["offset"] * omega, prior, rows, generator)

    def remember(tilt, generator):
        omega = polya_gamma(tilt, generator)
        seen["offset"] = 0.3
        return omega

    monkeypatch.setattr(head_sweep, "_polya_gamma", remember)
    monkeypatch.setattr(head_sweep, "_draw", without)
    assert worst("softmax") > CAUGHT


def test_points_past_a_stick_are_not_counted(monkeypatch):
    """All points said to have reached all sticks."""
    sweep = head_sweep._by_sticks

    def all_reached(theta, prior, problem, generator):
        reached = torch.ones_like(problem.reached)
        return sweep(theta, prior, problem._replace(reached=reached), generator)

    monkeypatch.setattr(head_sweep, "_by_sticks", all_reached)
    assert worst("stick_breaking") > CAUGHT
