"""The factorial mixture of a layer against brute force over its codes."""

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import statcheck
import torch
from factorial_oracle import (
    brute_codes,
    brute_log_joint,
    orthogonal_slopes,
    product_of_units,
    random_layer,
    random_model,
    relu_slopes,
)
from pyro.infer import TraceEnum_ELBO, config_enumerate, infer_discrete
from scipy.stats import chisquare

from probact.models.factorial_mixture import FactorialMixture
from probact.nn.affine.max_affine import MaxAffine


def brute(model, x):
    return brute_log_joint(x, model.slopes, model.weights, float(model.noise), model.offset)


@pytest.mark.parametrize(("k", "r", "d"), [(4, 3, 8), (6, 2, 4), (1, 5, 2), (3, 1, 2)])
def test_readings_against_brute_force(k, r, d):
    model, x = random_model(k, r, d, seed=k)
    joint, codes = brute(model, x), torch.from_numpy(brute_codes(k, r))
    posterior = joint.softmax(-1)
    assert torch.allclose(model.log_evidence(x), joint.logsumexp(-1), rtol=1e-12, atol=1e-11)
    assert torch.allclose(model.code_posterior(x), posterior, rtol=0, atol=1e-12)
    assert torch.equal(model.codes, codes)
    assert torch.equal(model.map_codes(x), codes[joint.argmax(-1)])
    units = torch.stack([posterior @ (codes == i).double() for i in range(r)], -1)  # (N, K, R)
    assert torch.allclose(model.unit_posterior(x), units, rtol=0, atol=1e-12)
    q = model.selection(x)
    each = product_of_units(q)
    bound = (each * (joint - each.log())).sum(-1)
    assert torch.allclose(model.elbo(x), bound, rtol=1e-12, atol=1e-10)
    gap = (each * (each.log() - posterior.log())).sum(-1)
    assert torch.allclose(model.orthogonality_gap(x), gap, rtol=0, atol=1e-10)


def test_orthogonal_units_decide_by_themselves():
    """The whole posterior is the product of the layer's, also where only differences are."""
    slopes = orthogonal_slopes()
    shift = torch.randn(4, 1, 16, dtype=torch.float64)
    _, weights, _ = random_layer(4, 3, 16)
    x = torch.randn(50, 16, dtype=torch.float64)
    assert torch.einsum("d,d->", (slopes + shift)[0, 0], (slopes + shift)[1, 0]).abs() > 0.1
    for layer in (slopes, slopes + shift):
        model = FactorialMixture(layer, weights, 0.6)
        posterior = brute(model, x).softmax(-1)
        assert torch.allclose(product_of_units(model.selection(x)), posterior, rtol=0, atol=1e-12)
        assert model.orthogonality_gap(x).abs().max() < 1e-9
        assert model.coherence() < 1e-12
        assert torch.equal(model.map_codes(x), model.selection(x).argmax(-1))
    plain = FactorialMixture(slopes, weights, 0.6)  # theorem 2: B = -|A|^2 / 2 + s2 log pi + g
    bias = -0.5 * slopes.square().sum(-1) + 0.6 * weights.log()
    gauge = plain.layer_offsets() - bias
    assert torch.allclose(gauge, gauge[:, :1].expand(-1, 3), atol=1e-12)


def test_generic_units_do_not():
    model, x = random_model(scale=1.0)
    posterior, units = model.code_posterior(x), model.unit_posterior(x)
    assert (posterior - product_of_units(units)).abs().max() > 1e-2
    assert model.orthogonality_gap(x).mean() > 0.1


def test_evidence_of_the_program_by_enumeration():
    """TraceEnum over the loop of sites; its marginals; the joint MAP."""
    model, x = random_model(scale=1.0)
    joint = brute(model, x)
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    assert -elbo.loss(model, lambda x: None, x) == pytest.approx(
        float(joint.logsumexp(-1).sum()), rel=1e-12
    )
    marginals = elbo.compute_marginals(model, lambda x: None, x)
    for k in range(4):
        assert torch.allclose(marginals[f"t_{k}"].probs, model.unit_posterior(x)[:, k], atol=1e-12)
    best = infer_discrete(model, first_available_dim=-2, temperature=0)
    trace = poutine.trace(best).get_trace(x)
    codes = torch.stack([trace.nodes[f"t_{k}"]["value"] for k in range(4)], -1)
    assert torch.equal(codes, model.map_codes(x))


def test_a_plate_over_units_is_silently_wrong():
    """Why the program is a loop: this one runs, and its evidence is another."""
    model, x = random_model(scale=1.0)

    def plated(x):
        with pyro.plate("data", len(x), dim=-2), pyro.plate("units", 4, dim=-1):
            law = dist.Categorical(logits=model.log_weights)
            t = pyro.sample("t", law, infer={"enumerate": "parallel"})
        with pyro.plate("rows", len(x), dim=-2):
            mean = model.slopes[torch.arange(4), t].sum(-2, keepdim=True)
            law = dist.Normal(mean, model.noise.sqrt()).to_event(1)
            pyro.sample("x", law, obs=x.unsqueeze(1))

    wrong = -TraceEnum_ELBO(max_plate_nesting=2).loss(plated, lambda x: None, x)
    assert abs(wrong - float(brute(model, x).logsumexp(-1).sum())) > 1.0


def test_a_plate_around_the_program_is_refused():
    model, x = random_model()
    for program in (model, model.guide):
        units = pyro.plate("units", 4, dim=-2)
        with units, pytest.raises(ValueError, match=r"stand in a plate, got \['units'\]"):
            program(x)
    elbo = TraceEnum_ELBO(max_plate_nesting=1, num_particles=2, vectorize_particles=True)
    value = -elbo.loss(model, lambda x: None, x)  # Pyro's own plates hold whole runs
    assert value == pytest.approx(float(model.log_evidence(x).sum()), rel=1e-12)
    predictive = pyro.infer.Predictive(model, num_samples=3, parallel=True)
    assert predictive(num_points=5)["x"].shape == (3, 5, 8)


def test_the_layer_as_guide_in_pyro():
    model, x = random_model()
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    value = -elbo.loss(model, config_enumerate(model.guide), x)
    assert value == pytest.approx(float(model.elbo(x).sum()), rel=1e-11)


def test_mean_field_climbs():
    model, x = random_model(scale=1.0)
    found = model.mean_field(x)
    rises = found.elbo.diff(dim=0)
    assert rises.min() > -1e-11
    assert torch.allclose(found.elbo[-1], model.elbo(x, found.probs), atol=1e-11)
    assert (found.elbo[0] - model.elbo(x)).abs().max() < 1e-11
    gaps = model.orthogonality_gap(x, found.probs)
    assert gaps.min() > -1e-10
    assert gaps.mean() < model.orthogonality_gap(x).mean()
    # a fixed point: each unit's own optimum given the others
    m = torch.einsum("nkr,krd->nkd", found.probs, model.slopes)
    for k in range(4):
        rest = x - (m.sum(1) - m[:, k])
        score = rest @ model.slopes[k].T - 0.5 * model.slopes[k].square().sum(-1)
        own = (score / model.noise + model.log_weights[k]).softmax(-1)
        assert torch.allclose(own, found.probs[:, k], atol=1e-3)


GAPS = [(0.0, 0.000), (0.1, 0.009), (0.25, 0.067), (0.5, 0.210), (1.0, 0.441)]
COHERENCE = [0.00, 0.08, 0.27, 0.59, 0.61]
MEAN_FIELD_GAPS = [0.0, 0.002, 0.015, 0.067, 0.125]


def rows_towards_random():
    """Orthogonal rows on their way to random ones, K = 6, D = 12, in the order of the draws."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        double = {"dtype": torch.float64}
        frame = torch.linalg.qr(torch.randn(12, 12, **double)).Q[:6]
        loose = torch.randn(6, 12, **double)
        loose = loose / loose.norm(dim=1, keepdim=True)
        for share, gap in GAPS:
            w = (1 - share) * frame + share * loose
            w = 1.5 * w / w.norm(dim=1, keepdim=True)
            t = (torch.rand(400, 6, **double) < 0.5).double()
            yield w, t @ w + torch.randn(400, 12, **double), gap


def test_table_of_gaps():
    """KL(layer || posterior) and of mean field, nats, as coherence grows: printed digits."""
    half = torch.full((6, 2), 0.5, dtype=torch.float64)
    table = zip(rows_towards_random(), COHERENCE, MEAN_FIELD_GAPS, strict=True)
    for (w, x, gap), coherence, mean_field_gap in table:
        model = FactorialMixture(relu_slopes(w), half, 1.0)
        assert float(model.coherence()) == pytest.approx(coherence, abs=0.0051)
        assert float(model.orthogonality_gap(x).mean()) == pytest.approx(gap, abs=0.00051)
        probs = model.mean_field(x).probs
        found = float(model.orthogonality_gap(x, probs).mean())
        assert found == pytest.approx(mean_field_gap, abs=0.0006)


def test_coherence_of_relu_rows():
    w = torch.randn(5, 7, dtype=torch.float64)
    gram = w @ w.T
    off = (gram - gram.diag().diag()).abs().max() / gram.diag().mean()
    half = torch.full((5, 2), 0.5, dtype=torch.float64)
    model = FactorialMixture(relu_slopes(w), half, 1.0)
    assert torch.allclose(model.coherence(), off)


def test_capacity():
    relu, half = torch.randn(5, 4, dtype=torch.float64), [[0.5, 0.5]] * 5
    model = FactorialMixture(relu_slopes(relu), half, 1.0)
    assert (model.capacity(), model.capacity().suffices) == ((5, 4), False)
    slopes, weights, _ = random_layer(4, 3, 8)
    assert FactorialMixture(slopes, weights, 1.0).capacity() == (8, 8)
    same = slopes[:, :1].expand(4, 3, 8)  # units without a choice
    assert FactorialMixture(same, weights, 1.0).capacity() == (0, 8)


def test_gauge():
    """Vectors moved between units change nothing, and the gauge undoes them."""
    model, x = random_model()
    moved = torch.randn(4, 1, 8, dtype=torch.float64)
    moved = moved - moved.mean(0, keepdim=True)
    other = FactorialMixture(model.slopes + moved, model.weights, model.noise)
    assert torch.allclose(other.log_evidence(x), model.log_evidence(x), atol=1e-11)
    one, two = model.gauged(), other.gauged()
    assert one.slopes[:, 0].abs().max() == 0
    assert torch.allclose(one.slopes, two.slopes, atol=1e-12)
    assert torch.allclose(one.offset, two.offset, atol=1e-12)
    assert torch.allclose(one.log_evidence(x), model.log_evidence(x), atol=1e-11)
    assert torch.allclose(brute(one, x), brute(model, x), atol=1e-11)


@pytest.mark.parametrize("activation", ["relu", "abs", "leaky_relu", (0.2, 1.5)])
def test_of_a_layer(activation):
    """The posterior of each unit by itself is the layer's soft selection."""
    layer = torch.nn.Linear(5, 4, dtype=torch.float64)
    x = torch.randn(10, 5, dtype=torch.float64)
    model = FactorialMixture.from_layer(layer, activation, noise=0.7)
    scores = MaxAffine.from_layer(layer, activation).scores(x)
    assert torch.allclose(model.selection(x), (scores / 0.7).softmax(-1), atol=1e-12)
    if activation == "relu":
        active = torch.sigmoid((layer(x)) / 0.7)
        assert torch.allclose(model.selection(x)[..., 1], active, atol=1e-12)


def test_of_a_layer_with_large_weights():
    """Weights too small for their complement keep their digits."""
    layer = torch.nn.Linear(3, 2, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.mul_(100.0)
    x = 0.01 * torch.randn(6, 3, dtype=torch.float64)
    model = FactorialMixture.from_layer(layer)
    active = torch.sigmoid(layer(x))
    assert torch.allclose(model.selection(x)[..., 1], active, atol=1e-9)
    assert torch.isfinite(model.log_evidence(x)).all()


def test_relu_posterior_is_a_boltzmann_machine():
    """Logit of unit k given the rest: (u_k + b_k - sum_l <w_k, w_l> t_l) / s2."""
    layer, s2 = torch.nn.Linear(6, 4, dtype=torch.float64), 0.8
    model = FactorialMixture.from_layer(layer, noise=s2)
    x = torch.randn(1, 6, dtype=torch.float64)
    with torch.no_grad():
        u, gram = layer(x)[0], layer.weight @ layer.weight.T
    table = model.code_posterior(x)[0].reshape(2, 2, 2, 2)
    rest = (1, 0, 1)  # of units 1, 2, 3
    logit = (table[(1, *rest)] / table[(0, *rest)]).log()
    pull = sum(gram[0, k + 1] * t for k, t in enumerate(rest))
    assert float(logit) == pytest.approx(float((u[0] - pull) / s2), abs=1e-10)


def test_draws(budget):
    model, _ = random_model(2, 3, 4)
    x, codes = model.sample(5000, seed=1)
    index = 3 * codes[:, 0] + codes[:, 1]
    expected = torch.outer(*model.weights).flatten() * len(x)
    p = chisquare(torch.bincount(index, minlength=9), expected).pvalue
    budget.check("factorial codes", p)
    from_codes = model.slopes[torch.arange(2), codes].sum(1)
    noise = (x - from_codes) / model.noise.sqrt()
    normal = dist.Normal(torch.tensor(0.0), torch.tensor(1.0))
    p = statcheck.dkw_pvalue(noise.flatten(), lambda v: normal.cdf(torch.from_numpy(v)).numpy())
    budget.check("factorial noise", p)
    assert torch.equal(model.sample(3, seed=1).x, model.sample(3, seed=1).x)


def test_zero_weights():
    model = FactorialMixture([[[0.0], [1.0]], [[0.0], [2.0]]], [[1.0, 0.0], [0.5, 0.5]], 1.0)
    x = torch.tensor([[0.3]], dtype=torch.float64)
    one = FactorialMixture([[[0.0], [2.0]]], [[0.5, 0.5]], 1.0)
    assert torch.allclose(model.log_evidence(x), one.log_evidence(x))
    assert torch.allclose(model.elbo(x), one.elbo(x))
    assert model.orthogonality_gap(x).abs().max() < 1e-12
