"""The kernel on asymmetric Laplace laws: joint distribution, quadrature, seams, refusals."""

import pyro.poutine as poutine
import pytest
import statcheck
import torch
from laplace_oracle import (
    columns,
    draw_prior,
    draw_weights,
    proper_prior,
    quadrature_means,
)

from probact.distributions.laplace_hyperprior import LaplaceHyperprior, LaplaceParameters
from probact.inference.laplace import LaplaceGibbs, draw_parameters, rate_draw, sweep
from probact.models.laplace_weights import LaplaceWeights

EXACT = {  # moments of `proper_prior`
    "m": 0.0,
    "r": 3.0,
    "l": 2.0,
    "m^2": 1 / 3,
    "r^2": 12.0,
    "l^2": 5.0,
    "r l": 6.0,
    "m r": 0.0,
    "m l": 0.0,
    "m r l": 0.0,
}


def moments(p):
    """(moments, K) whose expectations are EXACT."""
    m, r, l_ = p
    return torch.stack([m, r, l_, m * m, r * r, l_ * l_, r * l_, m * r, m * l_, m * r * l_])


def joint_z(form, generator, chains=8000, steps=30, n=6):
    """z of each moment over chains that alternate weights and one step, from the prior on.

    Geweke (2004): if the step leaves the posterior invariant, every state has the prior's law.
    """
    p, prior = draw_prior(chains, generator), proper_prior(chains)
    total = 0.0
    for _ in range(steps):
        p = draw_parameters(draw_weights(p, n, generator), p, prior, generator, form)
        total = total + moments(p)
    means = total / steps  # (moments, chains), independent over chains
    exact = torch.tensor(list(EXACT.values()), dtype=torch.float64)
    return (means.mean(1) - exact) / (means.std(1) / chains**0.5)


@pytest.mark.parametrize("form", ["compiled", "tensor"])
def test_joint_distribution(form, budget, generator):
    for name, z in zip(EXACT, joint_z(form, generator), strict=True):
        budget.check(f"laplace joint {form} {name}", 2 * statcheck.st.norm.sf(abs(float(z))))


def test_a_wrong_kernel_is_seen(monkeypatch, generator):
    """The test above sees one count too few, and sides that are swapped."""
    right = rate_draw.draw_overlap
    with monkeypatch.context() as patch:
        for module in (rate_draw, sweep):
            patch.setattr(module, "draw_overlap", lambda num, *rest: right(num - 1, *rest))
        assert joint_z("compiled", generator, 1000, 20).abs().max() > 10
    sums = sweep.excesses
    monkeypatch.setattr(sweep, "excesses", lambda *args: sums(*args)[::-1])
    assert joint_z("compiled", generator, 1000, 20).abs().max() > 10


def test_against_quadrature(budget, generator):
    """Posterior means of one row of 40 weights, from 64 chains."""
    truth = LaplaceParameters(*columns(0.2, 1.1, 0.6))
    row = draw_weights(truth, 40, generator)
    prior = LaplaceHyperprior(*columns(2.0, 0.5, 3.0, 2.5, -3.0, 3.0))
    exact = quadrature_means(row[0].numpy(), prior)
    model = LaplaceWeights(row.expand(64, -1), prior)
    kernel = LaplaceGibbs()
    state = kernel.init(model, None, generator)
    total = torch.zeros(4, 64, dtype=torch.float64)
    for step in range(1300):
        state = kernel.step(state, generator)
        m, r, l_ = state.parameters
        if step >= 50:
            total += torch.stack([m, r, l_, m * r])
    means = total / 1250
    for name, mean, expected in zip(("m", "r", "l", "m r"), means, exact, strict=True):
        z = float((mean.mean() - expected) / (mean.std() / 8.0))
        budget.check(f"laplace quadrature {name}", 2 * statcheck.st.t.sf(abs(z), 63))


def test_posterior_spread(generator):
    """Near the asymptotic one: log sR and log sL are then independent, n Var = 1 / p."""
    truth = LaplaceParameters(*columns(-0.01, 36.0, 25.0, num=60))
    model = LaplaceWeights(draw_weights(truth, 2048, generator))
    kernel = LaplaceGibbs()
    state, draws = kernel.init(model, None, generator), []
    for step in range(640):
        state = kernel.step(state, generator)
        if step >= 40:
            draws.append(torch.stack(state.parameters))
    m, r, l_ = torch.stack(draws).unbind(1)  # (draws, K) each
    n, right = 2048, 25.0 / 61.0
    ratios = (
        m.std(0) * (n / 2) ** 0.5 * 30.0,
        r.log().std(0) * (n * right) ** 0.5,
        l_.log().std(0) * (n * (1 - right)) ** 0.5,
    )
    for ratio, room in zip(ratios, (0.15, 0.05, 0.05), strict=True):  # kinks slow down the mode
        assert abs(float(ratio.mean()) - 1.0) < room
    correlation = torch.corrcoef(torch.stack([r.log()[:, 0], l_.log()[:, 0]]))[0, 1]
    assert abs(float(correlation)) < 0.25


def models(generator):
    truth = LaplaceParameters(*columns(0.1, 3.0, 2.0, num=5))
    weights = draw_weights(truth, 30, generator)
    return {
        "flat": LaplaceWeights(weights),
        "shared": LaplaceWeights(weights, hierarchical=True),
        "counts": LaplaceWeights(weights, hierarchical=True, counts=[3, 9, 40, 90, 400]),
    }


@pytest.mark.parametrize("name", ["flat", "shared", "counts"])
def test_log_joint_is_that_of_the_program(name, generator):
    model, kernel = models(generator)[name], LaplaceGibbs()
    state = kernel.init(model, None, generator)
    for _ in range(3):
        state = kernel.step(state, generator)
        record = kernel.record(state)
        trace = poutine.trace(poutine.condition(model, record)).get_trace()
        assert kernel.log_joint(state).item() == pytest.approx(float(trace.log_prob_sum()))
        for derived in ("scale", "asymmetry"):
            assert torch.allclose(trace.nodes[derived]["value"], record.pop(derived))
        latent = {k for k, v in trace.nodes.items() if v["type"] == "sample"}
        latent -= {"obs", "scale", "asymmetry", "class", "feature"}
        assert set(record) == latent


@pytest.mark.parametrize("name", ["flat", "shared", "counts"])
def test_both_forms_draw_the_same_chain(name):
    chains = []
    for form in ("compiled", "tensor"):
        generator = torch.Generator().manual_seed(5)
        model, kernel = models(generator)[name], LaplaceGibbs(form=form)
        state = kernel.init(model, None, generator)
        for _ in range(20):
            state = kernel.step(state, generator)
        chains.append(kernel.record(state))
    for site, value in chains[0].items():
        assert torch.allclose(value, chains[1][site], rtol=1e-9)


@pytest.mark.parametrize("name", ["flat", "shared", "counts"])
def test_a_saved_chain_goes_on_with_the_same_bits(name, generator):
    model, kernel = models(generator)[name], LaplaceGibbs()
    state = kernel.step(kernel.init(model, None, generator), generator)
    before = kernel.record(state)
    again = kernel.restore(model, None, kernel.save(state))
    kept = generator.get_state()
    first = kernel.record(kernel.step(state, generator))
    generator.set_state(kept)
    second = kernel.record(kernel.step(again, generator))
    assert all(torch.equal(first[site], second[site]) for site in first)
    assert all(torch.equal(before[site], value) for site, value in kernel.record(state).items())


def test_conditional_of_the_mode(generator):
    """What the step draws from: its density agrees with the joint one."""
    model, kernel = models(generator)["flat"], LaplaceGibbs()
    state = kernel.init(model, None, generator)
    knots, log_density = kernel.conditional(state, "loc")
    joint = torch.stack(
        [
            kernel.log_joint(state._replace(parameters=state.parameters._replace(loc=at)))
            for at in (knots[:, 7], knots[:, 19])
        ]
    )
    expected = (log_density[:, 19] - log_density[:, 7]).sum()
    assert float(joint[1] - joint[0]) == pytest.approx(float(expected))
    with pytest.raises(ValueError, match="site must be loc"):
        kernel.conditional(state, "rate_right")


def test_classes_do_not_depend_on_each_other(generator):
    """A row's draws have the law they have alone: the same rows in another order."""
    model, kernel = models(generator)["flat"], LaplaceGibbs()
    state = kernel.init(model, None, generator)
    spoiled = state.problem.rows._replace(values=state.problem.rows.values.clone())
    spoiled.values[0] *= 3.0
    kept = generator.get_state()
    first = kernel.step(state, generator).parameters
    generator.set_state(kept)
    problem = state.problem._replace(rows=spoiled)
    second = kernel.step(state._replace(problem=problem), generator).parameters
    assert torch.equal(first.loc[1:], second.loc[1:])
    assert not torch.equal(first.loc[:1], second.loc[:1])


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("updates must be an integer", {"updates": 0}),
        ("form must be auto, compiled or tensor", {"form": "numba"}),
    ],
)
def test_bad_options(words, options):
    with pytest.raises(ValueError, match=words):
        LaplaceGibbs(**options)


def test_refusals(generator):
    kernel, known = LaplaceGibbs(), models(generator)
    with pytest.raises(ValueError, match="must be a LaplaceWeights"):
        kernel.init(torch.nn.Linear(2, 2), None, generator)
    with pytest.raises(ValueError, match="data must be None"):
        kernel.init(known["flat"], torch.zeros(3), generator)
    saved = kernel.save(kernel.init(known["flat"], None, generator))
    with pytest.raises(ValueError, match="without a regression"):
        kernel.restore(known["shared"], None, saved)
    with pytest.raises(ValueError, match="5 classes"):
        kernel.restore(LaplaceWeights(torch.randn(2, 9)), None, saved)
    constant = LaplaceWeights(torch.tensor([[0.0, 1.0, 3.0], [2.0, 2.0, 2.0]]))
    with pytest.raises(ValueError, match=r"1 constant row \(first: row 1\)"):
        kernel.init(constant, None, generator)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["flat", "counts"])
def test_on_cuda(name, generator):
    """The generator stays on the CPU, so that the chain is the same up to rounding."""
    kernel, chains = LaplaceGibbs(), []
    model = models(generator)[name]
    for where in ("cpu", "cuda"):
        model.to(where)
        generator = torch.Generator().manual_seed(0)
        state = kernel.init(model, None, generator)
        for _ in range(5):
            state = kernel.step(state, generator)
        assert state.parameters.loc.device.type == where
        chains.append(kernel.record(state))
    for site, value in chains[0].items():
        assert torch.allclose(value, chains[1][site], rtol=1e-6)
