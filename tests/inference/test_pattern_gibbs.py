"""Gibbs sampling of latent classes: conditionals, invariance, joint law, runs, refusals."""

import itertools
import math

import numpy as np
import pyro.poutine as poutine
import pytest
import torch
from scipy.special import betaln, gammaln
from scipy.stats import chisquare, norm
from statcheck import AlphaBudget

import probact as pa
from probact.inference.pattern_gibbs import PatternGibbs, PatternState
from probact.models import PatternMixture

F64 = torch.float64
A = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 1]])
PRIOR = {"concentration": 1.7, "unit_prior": (2.0, 0.7)}


def small_model():
    return PatternMixture(2, 3, **PRIOR)


def log_partition(a, z, c, concentration, alpha, beta):
    """log p(a, z) by the closed form, in numpy."""
    size = np.bincount(z, minlength=c)
    total = gammaln(c * concentration) - gammaln(len(z) + c * concentration)
    total += (gammaln(size + concentration) - gammaln(concentration)).sum()
    for k in range(c):
        on = a[z == k].sum(0)
        total += (betaln(alpha + on, beta + size[k] - on) - betaln(alpha, beta)).sum()
    return total


def posterior_of_labels(a, c=2):
    """All labellings and their probabilities."""
    a = np.asarray(a)
    labels = np.array(list(itertools.product(range(c), repeat=len(a))))
    scores = [log_partition(a, z, c, PRIOR["concentration"], *PRIOR["unit_prior"]) for z in labels]
    return labels, np.exp(scores - np.logaddexp.reduce(scores))


def exact_state(problem, z, generator):
    """Parameters from their conjugate laws, by torch's own distributions."""
    a, z = problem.a.double(), torch.as_tensor(z)
    one_hot = torch.nn.functional.one_hot(z, 2).double()
    size, on = one_hot.sum(0), one_hot.T @ a
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        weights = torch.distributions.Dirichlet(problem.concentration + size).sample()
        alpha, beta = problem.alpha, problem.beta
        probs = torch.distributions.Beta(alpha + on, beta + size[:, None] - on).sample()
    return PatternState(z, weights, probs, problem)


def test_collapsed_conditional_against_enumeration():
    labels, weights = posterior_of_labels(A)
    kernel, generator = PatternGibbs("collapsed"), torch.Generator().manual_seed(0)
    state = kernel.init(small_model(), A, generator)
    for z in labels:
        state = state._replace(z=torch.from_numpy(z))
        for row in range(3):
            same = (np.delete(labels, row, 1) == np.delete(z, row)).all(1)
            exact = np.array([weights[same & (labels[:, row] == c)].sum() for c in range(2)])
            found = kernel.conditional(state, row).numpy()
            np.testing.assert_allclose(found, exact / exact.sum(), rtol=0, atol=1e-13)


def test_blocked_conditional_by_hand():
    kernel, generator = PatternGibbs(), torch.Generator().manual_seed(0)
    state = kernel.init(small_model(), A, generator)
    w, theta = state.weights, state.probs
    for row, a in enumerate(A.double()):
        by_hand = w * (theta**a * (1 - theta) ** (1 - a)).prod(-1)
        torch.testing.assert_close(kernel.conditional(state, row), by_hand / by_hand.sum())


@pytest.mark.parametrize("form", ["blocked", "collapsed"])
def test_a_step_keeps_exact_draws(form):
    labels, weights = posterior_of_labels(A)
    kernel, generator = PatternGibbs(form), torch.Generator().manual_seed(3)
    problem = kernel.init(small_model(), A, generator).problem
    starts = torch.multinomial(torch.from_numpy(weights), 1200, True, generator=generator)
    counts, thetas = np.zeros(len(labels)), []
    for at in starts:
        state = kernel.step(exact_state(problem, labels[at], generator), generator)
        counts[int((state.z * torch.tensor([4, 2, 1])).sum())] += 1
        thetas.append(float(state.probs[0, 0] * state.weights[0]))
    budget = AlphaBudget(1e-6, 2)
    budget.check(f"{form}: labels", chisquare(counts, weights * counts.sum()).pvalue)
    mean = sum(
        p
        * (PRIOR["concentration"] + (z == 0).sum())
        / (2 * PRIOR["concentration"] + 3)
        * (2.0 + A.numpy()[z == 0, 0].sum())
        / (2.7 + (z == 0).sum())
        for z, p in zip(labels, weights, strict=True)
    )  # E[w_0 theta_00]
    error = np.std(thetas) / math.sqrt(len(thetas))
    budget.check(f"{form}: w theta", 2 * norm.sf(abs(np.mean(thetas) - mean) / error))


def test_labels_of_one_step():
    """Three components, where noise of the wrong sign shows."""
    model, kernel = PatternMixture(3, 3), PatternGibbs(restarts=1)
    generator = torch.Generator().manual_seed(2)
    rows = A[:1].expand(6000, 3)
    state = kernel.init(model, rows, generator)
    weights = torch.tensor([0.6, 0.3, 0.1], dtype=F64)
    state = state._replace(weights=weights, probs=torch.linspace(0.3, 0.7, 9).double().view(3, 3))
    law = kernel.conditional(state, 0)
    counts = torch.bincount(kernel.step(state, generator).z, minlength=3)
    budget = AlphaBudget(1e-6, 1)
    budget.check("labels", chisquare(counts.numpy(), (law * 6000).numpy()).pvalue)


def joint_statistics(z, weights, probs, a):
    on = a.double()
    size = (z == 0).double().mean()
    return [
        float(v)
        for v in (
            weights[0],
            probs[0, 0],
            probs[1, 2] ** 2,
            size * weights[0],
            probs[0, 0] * on[:, 0].mean(),
            on[0, 0] * on[0, 1],
            weights[0] * probs[0, 1],
            (weights[0] - 0.5) ** 2,
        )
    ]


def prior_means():
    """Exact means of `joint_statistics`."""
    c, (alpha, beta) = PRIOR["concentration"], PRIOR["unit_prior"]
    p = alpha / (alpha + beta)
    square = p * (alpha + 1) / (alpha + beta + 1)
    spread = 1 / (4 * (2 * c + 1))
    together = 0.25 + spread  # E w_0^2
    return np.array([0.5, p, square, together, 0.5 * (square + p**2), p**2, 0.5 * p, spread])


def joint_z_scores(form, kernel_step=None, chains=300, steps=15):
    """Successive-conditional chains from the prior against its means (Geweke 2004)."""
    generator = torch.Generator().manual_seed(11)
    model, kernel = small_model(), PatternGibbs(form, restarts=1)
    problem = kernel.init(model, A, generator).problem
    step = kernel_step or kernel.step
    means = []
    for chain in range(chains):
        with torch.random.fork_rng():
            torch.manual_seed(1000 + chain)
            w = torch.distributions.Dirichlet(model.prior_weights).sample()
            theta = torch.distributions.Beta(2.0, 0.7).sample((2, 3)).double()
            z = torch.multinomial(w, 4, replacement=True)
        theta = theta.clamp(1e-12, 1 - 1e-12)
        state = PatternState(z, w, theta, problem)
        found = []
        for _ in range(steps):
            uniforms = torch.rand(4, 3, dtype=F64, generator=generator)
            a = (uniforms < state.probs[state.z]).to(torch.uint8)
            found.append(joint_statistics(state.z, state.weights, state.probs, a))
            state = step(state._replace(problem=problem._replace(a=a)), generator)
        means.append(np.mean(found, 0))
    means = np.array(means)
    return (means.mean(0) - prior_means()) / np.sqrt(means.var(0) / chains)


@pytest.mark.parametrize("form", ["blocked", "collapsed"])
def test_joint_law(form):
    budget = AlphaBudget(1e-6, 8)
    for number, z in enumerate(joint_z_scores(form)):
        budget.check(f"{form}: statistic {number}", 2 * norm.sf(abs(z)))


def test_joint_law_catches_a_forgotten_prior():
    kernel = PatternGibbs(restarts=1)

    def broken(state, generator):
        problem = state.problem._replace(beta=1.2)
        new = kernel.step(state._replace(problem=problem), generator)
        return new._replace(problem=state.problem)

    assert np.abs(joint_z_scores("blocked", broken)).max() > 6


@pytest.mark.parametrize("form", ["blocked", "collapsed"])
def test_log_joint_is_that_of_the_program(form):
    model, kernel = small_model(), PatternGibbs(form)
    generator = torch.Generator().manual_seed(5)
    state = kernel.step(kernel.init(model, A, generator), generator)
    values = {"weights": state.weights, "probs": state.probs, "z": state.z}
    trace = poutine.trace(poutine.condition(model, values)).get_trace(A)
    torch.testing.assert_close(kernel.log_joint(state), trace.log_prob_sum(), rtol=1e-12, atol=0)


def clusters(n=150, units=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.tensor([[0.9] * 6 + [0.1] * 6, [0.1] * 6 + [0.9] * 6, [0.5] * 12]).double()
    z = torch.randint(3, (n,), generator=generator)
    return (torch.rand(n, units, generator=generator, dtype=F64) < centres[z]), centres, z


@pytest.mark.filterwarnings("ignore::probact.inference.SamplingWarning")
def test_runs_and_names(tmp_path):
    a, centres, _ = clusters()
    model = PatternMixture(3, 12)
    post = pa.sample(
        model,
        a.double(),
        kernel=PatternGibbs("collapsed"),
        draws=150,
        tune=100,
        chains=2,
        progress=False,
        checkpoint=tmp_path / "run",
    )
    probs = torch.from_numpy(post.posterior["probs"].mean(("chain", "draw")).values)
    nearest = torch.cdist(centres, probs, p=1.0).amin(1) / 12
    assert float(nearest.max()) < 0.09
    gap = post.posterior["probs"].mean("draw")
    assert float(abs(gap[0] - gap[1]).max()) < 0.1  # chains agree on names
    again = pa.inference.resume(
        tmp_path / "run", model, a.double(), kernel=PatternGibbs("collapsed")
    )
    assert np.array_equal(again.posterior["z"], post.posterior["z"])


def test_restored_state_has_the_same_bits():
    a, _, _ = clusters(40)
    model, kernel = PatternMixture(3, 12), PatternGibbs()
    state = kernel.init(model, a, torch.Generator().manual_seed(0))
    back = kernel.restore(model, a, kernel.save(state))
    one, two = (kernel.step(s, torch.Generator().manual_seed(9)) for s in (state, back))
    assert all(torch.equal(x, y) for x, y in zip(one[:3], two[:3], strict=True))
    with pytest.raises(ValueError, match="the saved chain has z and probs of shapes"):
        kernel.restore(PatternMixture(2, 12), a, kernel.save(state))


def test_refusals():
    with pytest.raises(ValueError, match="form must be blocked or collapsed"):
        PatternGibbs("gibbs")
    with pytest.raises(ValueError, match="a must hold 0 and 1 alone, got 2"):
        PatternGibbs().init(small_model(), A + 1, torch.Generator())
    kernel = PatternGibbs()
    state = kernel.init(small_model(), A, torch.Generator())
    with pytest.raises(ValueError, match="row must be an integer from 0 to 2"):
        kernel.conditional(state, 3)
    with pytest.raises(TypeError, match="model must be a PatternMixture, got Linear"):
        kernel.init(torch.nn.Linear(2, 2), A, torch.Generator())


@pytest.mark.parametrize("form", ["blocked", "collapsed"])
def test_a_prior_far_below_one(form):
    """Components without rows: Beta(0.002, 0.002) is 0 or 1, Gamma draws of it underflow."""
    model = PatternMixture(30, 3, concentration=0.002, unit_prior=(0.002, 0.002))
    kernel, generator = PatternGibbs(form, restarts=1), torch.Generator().manual_seed(0)
    state = kernel.step(kernel.init(model, A, generator), generator)
    empty = state.probs[torch.bincount(state.z, minlength=30) == 0].flatten()
    assert len(empty) > 70
    assert float(((empty < 1e-6) | (empty > 1 - 1e-6)).double().mean()) > 0.9
    assert 0.2 < float((empty > 0.5).double().mean()) < 0.8
    assert math.isfinite(kernel.statistics(state)["lp"])
    assert float(state.weights.sum()) == pytest.approx(1.0)
