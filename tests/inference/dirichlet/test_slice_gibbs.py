"""Slice sampling: exact over all partitions, whatever the chunk; its parts against scipy."""

import math
import re
import subprocess
import sys

import numpy as np
import partition_oracle as oracle
import pytest
import statcheck
import torch
from exact_starts import frequency_pvalue
from pyro.distributions import Gamma
from scipy import stats
from textbook_gibbs import chain_state, mixture_model

from probact.inference.dirichlet.conjugate import ComponentLaws
from probact.inference.dirichlet.slice_components import Components, draw_components, scorer
from probact.inference.dirichlet.slice_gibbs import SliceGibbs, _break
from probact.inference.dirichlet.state import log_joint

#        data, points, alpha, diagonal, s
CASES = [
    ("overlapping", 5, 1.0, False, 2.0),
    ("overlapping", 5, 4.0, True, 0.4),
    ("duplicates", 5, 0.3, False, 1.0),
]


@pytest.mark.parametrize(("name", "n", "alpha", "diagonal", "s"), CASES)
def test_a_step_keeps_the_posterior(name, n, alpha, diagonal, s, budget):
    kernel = SliceGibbs(chunk=4)
    p = frequency_pvalue(kernel, name, n, alpha, diagonal=diagonal, s=s, size=600)
    budget.check(f"slice, {name}, diagonal={diagonal}", p)


@pytest.mark.slow
@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
@pytest.mark.parametrize("name", ["overlapping", "separate", "duplicates", "line"])
def test_a_step_keeps_the_posterior_at_length(name, alpha, diagonal, budget):
    p = frequency_pvalue(SliceGibbs(), name, 5, alpha, diagonal=diagonal, size=6000, seed=2)
    budget.check(f"slice, {name}, diagonal={diagonal}, alpha={alpha}", p)


def two_groups(n=300, d=4, diagonal=False):
    """A state of n points from two groups; labels say nothing yet."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, d)) + 6.0 * (np.arange(n) % 2)[:, None]
    prior = oracle.NIW(np.zeros(d), 0.1, d + 2.0, np.eye(d), diagonal)
    return chain_state(mixture_model(prior, Gamma(2.0, 1.0)), x, np.arange(n) % 7)


@pytest.mark.parametrize("diagonal", [False, True])
def test_the_chunk_does_not_change_the_draws(diagonal):
    ends = []
    for chunk in (7, 64, 10_000):
        state, generator = two_groups(diagonal=diagonal), torch.Generator().manual_seed(2)
        for _ in range(3):
            state = SliceGibbs(chunk=chunk).step(state, generator)
        ends.append(state)
    for end in ends[1:]:
        assert torch.equal(end.z, ends[0].z)
        torch.testing.assert_close(end.alpha, ends[0].alpha)


def test_finds_two_groups_and_leaves_the_state_alone(generator):
    state = two_groups()
    before, counts = state.z.clone(), {"kept": 1.0}
    end = state._replace(counts=counts)
    for _ in range(40):
        end = SliceGibbs().step(end, generator)
    assert torch.equal(state.z, before)
    assert counts == {"kept": 1.0}
    assert end.counts["kept"] == 1.0
    assert end.counts["num_sticks"] >= 0
    sizes = torch.bincount(end.z)
    assert int(end.z.max()) + 1 == len(sizes)
    assert int(sizes.sort().values[-2:].sum()) > 250
    assert log_joint(end) > log_joint(state) + 500


@pytest.mark.parametrize("n", [1, 2])
def test_few_points(n, generator):
    state = two_groups(n)
    for _ in range(20):
        state = SliceGibbs().step(state, generator)
    assert bool(torch.isfinite(log_joint(state)))


@pytest.mark.parametrize("diagonal", [False, True])
def test_scores_are_gaussian_log_densities(diagonal, monkeypatch):
    state = two_groups(n=20, diagonal=diagonal)
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 4)) + 4 if diagonal else rng.normal(size=(3, 4, 4))
    mean = rng.normal(size=(3, 4))
    roots = [np.diag(w) if diagonal else w for w in root]
    want = np.stack(
        [
            stats.multivariate_normal(m, np.linalg.inv(w.T @ w)).logpdf(state.problem.x)
            for m, w in zip(mean, roots, strict=True)
        ]
    )
    shift = np.stack([w @ m for m, w in zip(mean, roots, strict=True)])
    log_det = [np.linalg.slogdet(w)[1] for w in roots]
    components = Components(*(torch.from_numpy(np.asarray(v)) for v in (root, shift, log_det)))
    for rounding in (1e-8, 0.0):  # the expanded square; the residuals
        monkeypatch.setattr("probact.inference.dirichlet.slice_components._ROUNDING", rounding)
        got = scorer(state.problem, components)(state.problem.x, 3) - 2 * math.log(2 * math.pi)
        np.testing.assert_allclose(got, want, rtol=1e-9)


def test_tight_components_far_away_keep_their_digits():
    state = two_groups(n=4)
    x = 1e6 + torch.tensor([[0.0], [1e-3], [2e-3], [3e-3]]).double() * torch.ones(4).double()
    root = 1e3 * torch.eye(4).double().unsqueeze(0)
    shift, log_det = root[0] @ x[:1].T, torch.zeros(1).double()
    components = Components(root, shift.T, log_det)
    got = scorer(state.problem._replace(x=x), components)(x, 1).squeeze(0)
    assert got.tolist() == pytest.approx([0, -2, -8, -18], abs=1e-4)


def test_components_are_drawn_from_their_laws(budget):
    """Against scipy's Wishart law, by determinant, trace of a corner, and the mean's distance."""
    d, size = 3, 4000
    rng = np.random.default_rng(1)
    mix = rng.normal(size=(d, d))
    scale, loc, kappa, df = mix @ mix.T + np.eye(d), rng.normal(size=d), 0.7, 4.3
    repeat = lambda v: torch.from_numpy(np.repeat(np.asarray(v)[None], size, 0))  # noqa: E731
    laws = ComponentLaws(repeat(loc), repeat(kappa), repeat(scale), repeat(df))
    got = draw_components(laws, torch.Generator().manual_seed(6))
    precision = (got.root.mT @ got.root).numpy()
    theirs = stats.wishart(df, np.linalg.inv(scale)).rvs(size, random_state=rng)
    two = statcheck.two_sample_pvalue
    np.testing.assert_allclose(got.log_det, 0.5 * np.linalg.slogdet(precision)[1])
    budget.check("det", two(2 * got.log_det.numpy(), np.linalg.slogdet(theirs)[1]))
    for i, j in [(0, 0), (2, 2), (0, 2)]:
        budget.check("entry", two(precision[:, i, j], theirs[:, i, j]))
    gap = got.shift - (got.root @ torch.from_numpy(loc))  # W (mu - m)
    budget.check("mean", statcheck.dkw_pvalue(kappa * (gap**2).sum(1), stats.chi2(d).cdf))


def test_diagonal_components_are_drawn_from_their_laws(budget):
    size, scale, df, kappa = 5000, 1.6, 2.5, 0.3
    one = torch.ones(size, 1).double()
    laws = ComponentLaws(2 * one, kappa * one[:, 0], scale * one, df * one[:, 0])
    got = draw_components(laws, torch.Generator().manual_seed(6))
    precision = got.root.squeeze(1).numpy() ** 2
    cdf = stats.gamma(df / 2, scale=2 / scale).cdf
    budget.check("precision", statcheck.dkw_pvalue(precision, cdf))
    mean = (got.shift / got.root).squeeze(1).numpy()
    student = stats.t(df, 2, math.sqrt(scale / (kappa * df))).cdf
    budget.check("mean", statcheck.dkw_pvalue(mean, student))


def test_sticks_of_the_rest(budget):
    """How many sticks of at least e: mean alpha int_e^1 (1 - w)^(alpha - 1) / w dw."""
    alpha, least, size = 2.0, 0.01, 3000
    generator = torch.Generator().manual_seed(5)
    one = torch.tensor([1.0, alpha, least]).double()
    sticks = [_break(*one, generator) for _ in range(size)]
    assert all(bool((s >= least).all()) for s in sticks)
    assert all(float(s.sum()) <= 1 for s in sticks)
    counts = np.array([len(s) for s in sticks])
    expected = 2 * (-math.log(least) - (1 - least))
    budget.check("sticks", statcheck.paired_mean_pvalue(counts - expected))


def test_refusals():
    with pytest.raises(ValueError, match="chunk must be an integer of at least 1, got 0"):
        SliceGibbs(chunk=0)
    with pytest.raises(ValueError, match="start must be auto"):
        SliceGibbs(start="here")


SCRIPT = r"""
import re, sys, torch
from pathlib import Path
from types import SimpleNamespace
from probact.inference.dirichlet.slice_gibbs import SliceGibbs
from probact.inference.dirichlet.problem import pose
from probact.inference.dirichlet.state import DPState
def peak():  # of this program alone; getrusage's maximum is inherited from the parent
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text()).group(1))
n, d, k = map(int, sys.argv[1:])
generator = torch.Generator().manual_seed(0)
x = torch.randn(n, d, dtype=torch.float64, generator=generator)
z = torch.randint(k, (n,), generator=generator)
x[:, 0] += 40 * z
base = SimpleNamespace(loc=torch.zeros(d), scale=torch.eye(d), kappa=0.01, df=d + 2.0)
base.diagonal = False
model = SimpleNamespace(base=base, concentration=20.0, scale_factor=None)
before = peak()
problem = pose(model, x)
alpha, s = torch.tensor([20.0, 1.0], dtype=torch.float64)
state = DPState(z, alpha, s, problem, {})
for _ in range(2):
    state = SliceGibbs().step(state, generator)
print(before, peak(), len(state.z.unique()))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_million_points():
    command = [sys.executable, "-c", SCRIPT, "1000000", "16", "500"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    before, after, k = map(int, re.findall(r"\d+", printed))
    assert k > 400
    assert after - before < 512 * 1024


@pytest.mark.gpu
def test_a_gpu_finds_the_same_groups():
    state = two_groups(n=2000)
    problem = state.problem
    on_gpu = problem._replace(
        x=problem.x.cuda(), loc=problem.loc.cuda(), scale=problem.scale.cuda()
    )
    values = (value.cuda() for value in state[:3])
    end, generator = type(state)(*values, on_gpu, {}), torch.Generator("cuda").manual_seed(0)
    for _ in range(40):
        end = SliceGibbs().step(end, generator)
    assert end.z.is_cuda
    sizes = torch.bincount(end.z).cpu()
    assert int(sizes.sort().values[-2:].sum()) > 1900
