"""Coloured Gibbs on codes: conditionals, invariance, seams, runs, refusals."""

import numpy as np
import pyro
import pyro.poutine as poutine
import pytest
import statcheck
import torch
from factorial_oracle import (
    brute_codes,
    brute_log_joint,
    orthogonal_slopes,
    random_layer,
    random_model,
    ring_model,
)
from scipy.stats import chisquare

from probact.inference.factorial_gibbs import FactorialGibbs
from probact.models.factorial_mixture import FactorialMixture


def brute(model, x):
    return brute_log_joint(x, model.slopes, model.weights, float(model.noise), model.offset)


@pytest.mark.parametrize("colours", ["auto", "sequential"])
@pytest.mark.parametrize("case", ["generic", "ring"])
def test_conditional_against_enumeration(case, colours):
    model, x = random_model(scale=1.0) if case == "generic" else ring_model()
    kernel, generator = FactorialGibbs(colours=colours), torch.Generator().manual_seed(0)
    state = kernel.init(model, x, generator)
    posterior = brute(model, x).softmax(-1)
    codes = torch.from_numpy(brute_codes(model.num_units, model.num_regions))
    for unit in range(model.num_units):
        rest = [k for k in range(model.num_units) if k != unit]
        same = (state.codes[:, None, rest] == codes[:, rest]).all(-1)  # (N, R^K)
        table = posterior * same
        exact = torch.stack(
            [(table * (codes[:, unit] == r)).sum(-1) for r in range(model.num_regions)], -1
        )
        exact = exact / exact.sum(-1, keepdim=True)
        assert torch.allclose(kernel.conditional(state, unit), exact, rtol=0, atol=1e-12)


def test_colours_from_the_gram():
    generator = torch.Generator().manual_seed(0)

    def blocks(model, x, **options):
        return FactorialGibbs(**options).init(model, x, generator).problem.blocks

    ring, x = ring_model()
    assert sorted(block.units.tolist() for block in blocks(ring, x)) == [[0, 2], [1, 3]]
    assert len(blocks(ring, x, colours="sequential")) == 4
    assert len(blocks(*random_model())) == 4
    slopes = orthogonal_slopes() + torch.randn(4, 1, 16, dtype=torch.float64)
    alone = FactorialMixture(slopes, random_layer(4, 3, 16)[1], 1.0)
    assert len(blocks(alone, torch.zeros(2, 16))) == 1
    given = blocks(ring, x, colours=[5, 7, 5, 9])
    assert [block.units.tolist() for block in given] == [[0, 2], [1], [3]]


def exact_starts(model, x, count, generator):
    """The row x repeated, with codes from the enumerated posterior."""
    posterior = brute(model, x).softmax(-1)[0]
    index = torch.multinomial(posterior, count, replacement=True, generator=generator)
    codes = torch.from_numpy(brute_codes(model.num_units, model.num_regions))[index]
    return codes, posterior


def frequencies_after_a_step(model, x, kernel, count, generator):
    """(counts, expected) over codes, after steps from exact starts."""
    rows = x[:1].expand(count, -1)
    codes, posterior = exact_starts(model, x[:1], count, generator)
    state = kernel.init(model, rows, generator)
    mean = model.slopes[torch.arange(model.num_units), codes].sum(1)
    state = state._replace(codes=codes, mean=mean)
    state = kernel.step(state, generator)
    place = model.num_regions ** torch.arange(model.num_units - 1, -1, -1)
    found = torch.bincount((state.codes * place).sum(1), minlength=len(posterior))
    moved = (state.codes != codes).any(1).double().mean()
    assert moved > 0.1  # a kernel that stays put is invariant, too
    return found.numpy(), (posterior * count).numpy()


def pooled_pvalue(found, expected):
    """Chi-square over cells of at least five expected, the others as one."""
    small = expected < 5
    found = np.append(found[~small], found[small].sum())
    expected = np.append(expected[~small], expected[small].sum())
    keep = expected > 0
    return chisquare(found[keep], expected[keep]).pvalue


@pytest.mark.parametrize("form", ["compiled", "tensor"])
@pytest.mark.parametrize("colours", ["auto", "sequential"])
@pytest.mark.parametrize("case", ["generic", "ring"])
def test_a_step_from_exact_starts(case, colours, form, budget, generator):
    model, x = random_model() if case == "generic" else ring_model()
    kernel = FactorialGibbs(colours=colours, form=form)
    counts = frequencies_after_a_step(model, x, kernel, 30_000, generator)
    budget.check(f"factorial step {case} {colours} {form}", pooled_pvalue(*counts))


@pytest.mark.parametrize("case", ["generic", "ring"])
def test_both_forms_draw_the_same_chain(case):
    model, x = random_model(scale=1.0) if case == "generic" else ring_model()
    chains = []
    for form in ("compiled", "tensor"):
        kernel, generator = FactorialGibbs(form=form), torch.Generator().manual_seed(5)
        state = kernel.init(model, x, generator)
        for _ in range(30):
            state = kernel.step(state, generator)
        chains.append(state)
    assert torch.equal(chains[0].codes, chains[1].codes)
    assert torch.allclose(chains[0].mean, chains[1].mean, rtol=0, atol=1e-11)


def test_orthogonal_units_are_drawn_exactly(budget, generator):
    """One colour: a single step from anywhere is a draw of the posterior."""
    slopes = orthogonal_slopes(3, 2, 6, each=2)
    model = FactorialMixture(slopes, random_layer(3, 2, 6)[1], 0.8)
    x = model.sample(1, seed=2).x
    kernel = FactorialGibbs(start="prior")
    state = kernel.step(kernel.init(model, x.expand(20_000, -1), generator), generator)
    index = (state.codes * torch.tensor([4, 2, 1])).sum(1)
    expected = brute(model, x).softmax(-1)[0].numpy() * 20_000
    p = pooled_pvalue(torch.bincount(index, minlength=8).numpy(), expected)
    budget.check("factorial one colour", p)


@pytest.mark.parametrize("case", ["generic", "ring"])
def test_joint_distribution(case, budget, generator):
    """Geweke (2004): prior draws of (t, x) beside draws alternating kernel and data."""
    model, _ = random_model(3, 3, 4) if case == "generic" else ring_model()
    count, kernel = 4000, FactorialGibbs(start="prior")
    first = model.sample(count, generator=generator)
    x, codes = model.sample(count, generator=generator)
    for _ in range(4):
        state = kernel.init(model, x, generator)
        mean = model.slopes[torch.arange(model.num_units), codes].sum(1)
        state = kernel.step(state._replace(codes=codes, mean=mean), generator)
        codes = state.codes
        x = (
            model.offset
            + state.mean
            + model.noise.sqrt() * torch.randn(x.shape, dtype=x.dtype, generator=generator)
        )
    for name, one, two in (
        *((f"t_{k}", first.codes[:, k], codes[:, k]) for k in range(model.num_units)),
        ("t_0 = t_1", (first.codes[:, 0] == first.codes[:, 1]), codes[:, 0] == codes[:, 1]),
        ("x_0", first.x[:, 0], x[:, 0]),
        ("|x|", first.x.norm(dim=1), x.norm(dim=1)),
        ("log p", model.log_evidence(first.x), model.log_evidence(x)),
    ):
        p = statcheck.two_sample_pvalue(one.numpy(), two.numpy())
        budget.check(f"factorial joint {case} {name}", p)


def test_log_joint_is_that_of_the_program(generator):
    model, x = ring_model()
    model = FactorialMixture(model.slopes, model.weights, 0.7, offset=torch.arange(8.0).double())
    kernel = FactorialGibbs()
    state = kernel.init(model, x, generator)
    for _ in range(3):
        state = kernel.step(state, generator)
        sites = kernel.record(state)
        trace = poutine.trace(poutine.condition(model, sites)).get_trace(x)
        assert torch.allclose(kernel.log_joint(state), trace.log_prob_sum(), atol=1e-10)
        assert kernel.statistics(state)["lp"] == pytest.approx(float(trace.log_prob_sum()))


def test_the_mean_is_kept_along(generator):
    """m drifts by rounding alone; it is computed afresh at every `refresh`-th sweep."""
    model, x = random_model(num_units=5, scale=3.0)
    kernel = FactorialGibbs(refresh=40)
    state = kernel.init(model, x, generator)
    for sweeps in range(1, 81):
        state = kernel.step(state, generator)
        exact = model.slopes[torch.arange(5), state.codes].sum(1)
        assert torch.allclose(state.mean, exact, rtol=0, atol=1e-11)
        if sweeps % 40 == 0:
            fresh = kernel.restore(model, x, kernel.save(state)).mean
            assert torch.equal(fresh, state.mean)
    spoiled = state._replace(mean=state.mean + 1e-3)
    for _ in range(40):
        spoiled = kernel.step(spoiled, generator)
    exact = model.slopes[torch.arange(5), spoiled.codes].sum(1)
    assert torch.allclose(spoiled.mean, exact, rtol=0, atol=1e-12)


def test_step_leaves_its_state(generator):
    model, x = ring_model()
    kernel = FactorialGibbs()
    state = kernel.init(model, x, generator)
    before = state.codes.clone(), state.mean.clone()
    kernel.step(state, generator)
    assert torch.equal(before[0], state.codes)
    assert torch.equal(before[1], state.mean)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("colours must be auto", {"colours": "blue"}),
        ("colours must be auto", {"colours": 3}),
        ("one integer per unit", {"colours": [0.5, 1.0]}),
        ("refresh must be an integer", {"refresh": 0}),
        ("form must be", {"form": "numba"}),
        ("start must be", {"start": "zero"}),
        ("tolerance", {"tolerance": -1.0}),
    ],
)
def test_bad_options(words, options):
    with pytest.raises(ValueError, match=words):
        FactorialGibbs(**options)


def test_refusals(generator):
    model, x = ring_model()
    for words, options, args in (
        ("units 0 and 1 interact and both have colour 0", {"colours": [0, 0, 1, 1]}, (model, x)),
        ("colours must be one per unit, 4, got 2", {"colours": [0, 1]}, (model, x)),
        ("x must have 8 columns", {}, (model, x[:, :2])),
        ("must be a matrix", {}, (model, x[0])),
        ("NaN", {}, (model, x * float("nan"))),
        ("got None", {}, (model, None)),
        ("x alone for this kernel, got 2 arrays", {}, (model, (x, x))),
        ("must be a FactorialMixture", {}, (torch.nn.Linear(2, 2), x)),
    ):
        with pytest.raises(ValueError, match=words):
            FactorialGibbs(**options).init(*args, generator)
    kernel = FactorialGibbs()
    state = kernel.init(model, x, generator)
    for unit in (4, -1, 1.0, True):
        with pytest.raises(ValueError, match="unit must be an integer from 0 to 3"):
            kernel.conditional(state, unit)
    with pytest.raises(ValueError, match="codes of shape"):
        kernel.restore(model, x[:3], kernel.save(state))
    pyro.set_rng_seed(0)


@pytest.mark.gpu
def test_on_cuda():
    model, x = ring_model()
    generator = torch.Generator("cuda").manual_seed(0)
    kernel = FactorialGibbs()
    state = kernel.init(model.cuda(), x.cuda(), generator)
    state = kernel.step(state, generator)
    there, here = ring_model()
    cpu = kernel.restore(there, here, kernel.save(state))
    for unit in range(4):
        on_gpu = kernel.conditional(state, unit).cpu()
        assert torch.allclose(on_gpu, kernel.conditional(cpu, unit), atol=1e-12)
