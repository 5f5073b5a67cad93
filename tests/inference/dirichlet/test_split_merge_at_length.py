"""Many split and merge moves from exact starts: what one move hides adds up."""

import numpy as np
import partition_oracle as oracle
import pytest
import statcheck
import torch
from exact_starts import end_states, tiny_mixture
from textbook_gibbs import chain_state, mixture_model

from probact.inference.dirichlet import split_merge
from probact.inference.dirichlet.collapsed_sweep import scan_rules
from probact.inference.dirichlet.restricted_scan import propose_parts
from probact.inference.dirichlet.split_merge import SplitMerge


#    data, points, alpha, starts: the first sees the choice of a cluster, the second of a partner
@pytest.mark.parametrize(
    ("name", "n", "alpha", "size"), [("overlapping", 4, 1.0, 900), ("separate", 6, 40.0, 900)]
)
def test_many_moves_keep_the_posterior(name, n, alpha, size, budget):
    x, prior = tiny_mixture(name, n, False)
    ends, post = end_states(SplitMerge(moves=12, scans=1), x, prior, alpha, 1.0, size, 1)
    budget.check(f"partitions, {name}", oracle.frequency_test(ends, post))
    mean = sum(p * (max(z) + 1) for z, p in post.items())
    counts = np.array([max(z) + 1 for z in ends]) - mean
    budget.check(f"clusters, {name}", statcheck.paired_mean_pvalue(counts))


def test_merges_ask_how_probable_the_present_parts_are(monkeypatch, generator):
    x, prior = tiny_mixture("overlapping", 6, False)
    state = chain_state(mixture_model(prior, 2.0), x, [0, 0, 0, 1, 1, 1], 2.0)
    free, asked, propose = [], [], split_merge.propose_parts

    def watched(*arguments):
        parts, log_q = propose(*arguments)
        if len(arguments) == 6:
            asked.append((parts == arguments[5]).all())
        else:
            free.append(log_q)
        return parts, log_q

    monkeypatch.setattr(split_merge, "propose_parts", watched)
    for _ in range(10):
        state = SplitMerge(moves=5).step(state, generator)
    assert free
    assert asked
    assert all(asked)


@pytest.mark.parametrize("diagonal", [False, True])
def test_a_forced_scan_begins_where_the_free_one_does(diagonal):
    """Parts that the last scan draws are as probable when it is told to take them."""
    x, prior = tiny_mixture("overlapping", 12, diagonal)
    problem = chain_state(mixture_model(prior), x, [0] * 12).problem
    rules, rows = scan_rules(problem, 1.0), problem.x.numpy()
    for seed in range(10):
        free, forced = (torch.Generator().manual_seed(seed) for _ in range(2))
        parts, log_q = propose_parts(rules, rows, (0, 1), 3, free)
        again, log_p = propose_parts(rules, rows, (0, 1), 3, forced, parts)
        assert (again == parts).all()
        assert log_p == pytest.approx(log_q, abs=1e-9)
