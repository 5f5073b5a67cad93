"""Split-merge, slice and default kernels with alpha and s moving: the joint law is kept."""

import numpy as np
import partition_oracle as oracle
import pytest
import statcheck
import torch
from model_draws import SUMMARIES, check_step, joint_gaps
from pyro.distributions import Gamma, LogNormal
from textbook_gibbs import chain_state, mixture_model

from probact.inference.dirichlet.collapsed_gibbs import CollapsedGibbs
from probact.inference.dirichlet.slice_gibbs import SliceGibbs
from probact.inference.dirichlet.split_merge import SplitMerge
from probact.inference.gibbs import Sweep

KERNELS = {
    "split-merge": SplitMerge(moves=2, scans=2),
    "slice": SliceGibbs(),
    "default": Sweep([CollapsedGibbs(), SplitMerge()]),
}


def check_joint(kernel, *, diagonal, moving, size, seed, budget):
    """alpha ~ Gamma, s ~ LogNormal where it moves, z and x from the model, then one step."""
    psi = np.diag([1.0, 0.5]) if diagonal else np.array([[1.0, 0.4], [0.4, 0.5]])
    prior = oracle.NIW([0.3, -0.2], 0.3, 5.0, psi, diagonal)
    model = mixture_model(prior, Gamma(2.0, 1.5), LogNormal(0.2, 0.6) if moving else None)

    def draw(rng):
        return rng.gamma(2.0) / 1.5, rng.lognormal(0.2, 0.6) if moving else 1.0

    gaps = joint_gaps(KERNELS[kernel], model, prior, draw, n=8, size=size, seed=seed)
    for name, gap in zip(SUMMARIES, gaps.T, strict=True):
        if name == "s" and not moving:
            assert not gap.any()
        else:
            what = f"joint {kernel} {diagonal} {moving} {name}"
            budget.check(what, statcheck.paired_mean_pvalue(gap))


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
def test_joint_draws_stay_joint_draws(kernel, diagonal, budget):
    check_joint(kernel, diagonal=diagonal, moving=True, size=200, seed=11, budget=budget)


@pytest.mark.slow
@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
def test_joint_draws_stay_joint_draws_at_length(kernel, diagonal, moving, budget):
    check_joint(kernel, diagonal=diagonal, moving=moving, size=4000, seed=12, budget=budget)


def check_exact_starts(kernel, diagonal, size, seed, budget):
    x, _, prior = oracle.demo_data(5)
    prior.diagonal = diagonal
    model = mixture_model(prior, Gamma(2.0, 1.5))
    what = KERNELS[kernel], model, x, prior, (2.0, 1.5)
    name = f"step {kernel} {diagonal}"
    check_step(*what, size=size, seed=seed, budget=budget, name=name)


@pytest.mark.parametrize("kernel", ["default", "slice"])
def test_a_step_from_exact_starts_while_alpha_moves(kernel, budget):
    check_exact_starts(kernel, False, 400, 13, budget)


@pytest.mark.slow
@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_step_from_exact_starts_while_alpha_moves_at_length(kernel, diagonal, budget):
    check_exact_starts(kernel, diagonal, 8000, 14, budget)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["one cluster", "singletons"])
@pytest.mark.parametrize("kernel", [SplitMerge(moves=1, scans=1), SliceGibbs()])
def test_every_partition_is_reached(kernel, start, generator):
    """One step from each partition that was reached, in turn, until all have been.

    The components are nearly known beforehand, so that the data say little on the partition.
    """
    x = 0.5 * np.random.default_rng(6).normal(size=(6, 1))
    prior = oracle.NIW([0.0], 5.0, 20.0, [[20.0]])
    labels = (0,) * 6 if start == "one cluster" else tuple(range(6))
    first = chain_state(mixture_model(prior, 1.5), x, labels, 1.5)
    reached, turn = [labels], 0
    while len(reached) < 203:
        assert turn < 6000, f"reached {len(reached)} of 203 partitions"
        z = torch.tensor(reached[turn % len(reached)])
        z = tuple(kernel.step(first._replace(z=z), generator).z.tolist())
        reached += [z] if z not in reached else []
        turn += 1
    assert set(reached) == set(oracle.set_partitions(6))
