"""Split and merge moves: exact over all partitions, alone and beside other kernels."""

import numpy as np
import partition_oracle as oracle
import pytest
import torch
from exact_starts import frequency_pvalue, tiny_mixture
from pyro.distributions import Gamma
from sklearn.metrics import adjusted_rand_score
from textbook_gibbs import chain_state, mixture_model

from probact.inference.dirichlet.collapsed_gibbs import CollapsedGibbs
from probact.inference.dirichlet.collapsed_sweep import scan_rules
from probact.inference.dirichlet.restricted_scan import propose_parts
from probact.inference.dirichlet.slice_gibbs import SliceGibbs
from probact.inference.dirichlet.split_merge import SplitMerge
from probact.inference.dirichlet.state import log_joint
from probact.inference.gibbs import Sweep

#        data, alpha, diagonal, s, moves, scans, size; the last sees the law of the partner
CASES = [
    ("overlapping", 0.7, False, 1.0, 2, 1, 600),
    ("overlapping", 2.5, True, 0.5, 1, 2, 600),
    ("separate", 40.0, False, 2.0, 3, 1, 1200),
]


@pytest.mark.parametrize(("name", "alpha", "diagonal", "s", "moves", "scans", "size"), CASES)
def test_a_step_keeps_the_posterior(name, alpha, diagonal, s, moves, scans, size, budget):
    kernel = SplitMerge(moves=moves, scans=scans)
    p = frequency_pvalue(kernel, name, 6, alpha, diagonal=diagonal, s=s, size=size)
    budget.check(f"split-merge, {name}, diagonal={diagonal}", p)


SWEEPS = {
    "collapsed": Sweep([CollapsedGibbs(), SplitMerge(moves=1)]),
    "slice": Sweep([SliceGibbs(), SplitMerge(moves=1)]),
}


@pytest.mark.parametrize("kernel", SWEEPS)
def test_a_sweep_keeps_the_posterior(kernel, budget):
    p = frequency_pvalue(SWEEPS[kernel], "overlapping", 6, 1.0, size=400)
    budget.check(f"{kernel} and split-merge", p)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["alone", *SWEEPS])
@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("name", ["overlapping", "separate", "duplicates", "line"])
@pytest.mark.parametrize("alpha", [0.7, 2.5, 40.0])
def test_steps_keep_the_posterior_at_length(name, alpha, diagonal, kernel, budget):
    step = SWEEPS.get(kernel, SplitMerge(moves=3, scans=2))
    p = frequency_pvalue(step, name, 6, alpha, diagonal=diagonal, size=4000, seed=2)
    budget.check(f"{kernel}, {name}, diagonal={diagonal}, alpha={alpha}", p)


@pytest.mark.parametrize("diagonal", [False, True])
def test_every_partition_is_reached(diagonal, generator):
    x, prior = tiny_mixture("overlapping", 4, diagonal)
    state = chain_state(mixture_model(prior, 2.0), x, [0, 0, 0, 0], 2.0)
    seen = set()
    for _ in range(600):
        state = SplitMerge(moves=1, scans=1).step(state, generator)
        seen.add(tuple(state.z.tolist()))
    assert seen == set(oracle.set_partitions(4))


@pytest.mark.parametrize("diagonal", [False, True])
def test_probabilities_of_proposals_sum_to_one(diagonal):
    """One scan from one launch: all 2^4 outcomes, each forced."""
    x, prior = tiny_mixture("overlapping", 6, diagonal)
    problem = chain_state(mixture_model(prior), x, [0] * 6).problem
    rules, total = scan_rules(problem, 1.0), 0.0
    for code in range(16):
        parts = np.array([0, 1] + [code >> b & 1 for b in range(4)])
        generator = torch.Generator().manual_seed(3)
        x = problem.x.numpy()
        got, log_q = propose_parts(rules, x, (0, 1), 1, generator, parts)
        assert (got == parts).all()
        total += np.exp(log_q)
    assert total == pytest.approx(1)


def groups(diagonal, n=400, d=5):
    """Four groups of points, and which is whose."""
    rng = np.random.default_rng(8)
    label = np.arange(n) % 4
    x = rng.normal(size=(n, d)) + 4 * rng.normal(size=(4, d))[label]
    prior = oracle.NIW(x.mean(0), 0.05, d + 2.0, np.diag(x.var(0)) / 2, diagonal)
    return mixture_model(prior, Gamma(1.0, 1.0)), x, label


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("start", ["one cluster", "too many"])
def test_finds_the_groups(start, diagonal, generator):
    model, x, label = groups(diagonal)
    z = label * 0 if start == "one cluster" else 3 * label + np.arange(400) // 4 % 3
    state = chain_state(model, x, z)
    kernel = Sweep([CollapsedGibbs(), SplitMerge()])
    for _ in range(20):
        state = kernel.step(state, generator)
    assert adjusted_rand_score(state.z, label) > 0.98
    truth = state._replace(z=torch.from_numpy(label))
    assert log_joint(state) > log_joint(truth) - 20


def test_counts_of_a_step():
    model, x, label = groups(False)
    state = chain_state(model, x, label * 0)._replace(counts={"num_born": 3.0})
    before = state.z.clone()
    end = SplitMerge(moves=30).step(state, torch.Generator().manual_seed(1))
    counts = end.counts
    assert torch.equal(state.z, before)
    assert state.counts == {"num_born": 3.0}
    assert counts["num_born"] == 3.0
    assert counts["num_splits"] - counts["num_merges"] == int(end.z.max())
    assert counts["num_splits"] >= 3
    for kind in ("split", "merge"):
        assert 0 <= counts[f"{kind}_accept_rate"] <= 1


def test_same_generator_same_step():
    model, x, label = groups(False)
    state = chain_state(model, x, label % 2)
    ends = [SplitMerge().step(state, torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(ends[0].z, ends[1].z)
    assert torch.equal(ends[0].alpha, ends[1].alpha)


@pytest.mark.parametrize("n", [1, 2])
def test_few_points(n, generator):
    model, x, _ = groups(False)
    state = chain_state(model, x[:n], [0] * n)
    for _ in range(20):
        state = SplitMerge(moves=3).step(state, generator)
    assert bool(torch.isfinite(log_joint(state)))


@pytest.mark.parametrize("name", ["moves", "scans"])
def test_refusals(name):
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1, got 0"):
        SplitMerge(**{name: 0})


@pytest.mark.gpu
def test_data_on_a_gpu(generator):
    model, x, label = groups(False)
    state = chain_state(model, x, label * 0)
    problem = state.problem
    on_gpu = problem._replace(
        x=problem.x.cuda(), loc=problem.loc.cuda(), scale=problem.scale.cuda()
    )
    state = type(state)(*(value.cuda() for value in state[:3]), on_gpu, {})
    for _ in range(20):
        state = SplitMerge().step(state, generator)
    assert state.z.is_cuda
    assert adjusted_rand_score(state.z.cpu(), label) > 0.9
