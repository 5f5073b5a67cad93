"""The harmonium of a layer against enumeration, quadrature and the factorial mixture."""

import math

import numpy as np
import pyro
import pyro.poutine as poutine
import pytest
import statcheck
import torch
from factorial_oracle import (
    brute_codes,
    brute_means,
    orthogonal_slopes,
    product_of_units,
    random_layer,
)
from scipy.special import logsumexp
from scipy.stats import norm
from torch.autograd import gradcheck

from probact.distributions.harmonium import Harmonium
from probact.models.factorial_mixture import FactorialMixture


def brute_log_prob(x, slopes, offsets, noise):
    """log p(x) as a mixture over all codes, each weighted by its own integral."""
    x, offsets, means = np.asarray(x), np.asarray(offsets), brute_means(slopes)
    codes = brute_codes(*offsets.shape)
    bias = np.array([sum(offsets[k, r] for k, r in enumerate(t)) for t in codes])
    weights = (bias + 0.5 * (means**2).sum(-1)) / noise
    weights -= logsumexp(weights)
    density = norm.logpdf(x[:, None], means, math.sqrt(noise)).sum(-1)
    return torch.from_numpy(logsumexp(weights + density, -1)), torch.from_numpy(weights)


@pytest.mark.parametrize(("k", "r", "d"), [(1, 1, 1), (1, 4, 3), (4, 3, 5), (5, 2, 2), (2, 3, 1)])
def test_density_and_codes_against_brute_force(k, r, d):
    slopes, _, offsets = random_layer(k, r, d, seed=k)
    law = Harmonium(slopes, offsets, 0.7)
    x = torch.randn(20, d, dtype=torch.float64)
    density, weights = brute_log_prob(x, slopes, offsets, 0.7)
    assert torch.allclose(law.log_prob(x), density, rtol=0, atol=1e-11)
    assert torch.allclose(law.code_log_prob, weights, rtol=0, atol=1e-11)
    assert torch.equal(law.codes, torch.from_numpy(brute_codes(k, r)))
    mean = weights.exp() @ torch.from_numpy(brute_means(slopes))
    assert torch.allclose(law.mean, mean, rtol=0, atol=1e-11)


def test_posterior_is_the_layer_for_any_parameters():
    """No orthogonality: p(t | x) by Bayes' rule over all codes is the product of the units."""
    slopes, _, offsets = random_layer(4, 3, 6, seed=1)
    law, x = Harmonium(slopes, offsets, 0.6), torch.randn(50, 6, dtype=torch.float64)
    means = torch.from_numpy(brute_means(slopes))
    log_joint = law.code_log_prob - 0.5 * (x[:, None] - means).square().sum(-1) / 0.6
    posterior = log_joint.softmax(-1)
    scores = torch.einsum("krd,nd->nkr", slopes, x) + offsets
    assert torch.allclose(posterior, product_of_units((scores / 0.6).softmax(-1)), atol=1e-12)
    assert torch.allclose(law.selection(x), (scores / 0.6).softmax(-1), atol=1e-14)


def grid():
    line = torch.linspace(-9.0, 9.0, 601, dtype=torch.float64)
    return torch.cartesian_prod(line, line), float(line[1] - line[0]) ** 2


@pytest.mark.parametrize("r", [2, 3])
def test_integrates_to_one(r):
    slopes, _, offsets = random_layer(2, r, 2, seed=3, scale=0.8)
    points, area = grid()
    law = Harmonium(slopes, offsets, 0.7)
    density = law.log_prob(points).exp()
    assert abs(float(density.sum()) * area - 1.0) < 1e-6
    mean = (density.unsqueeze(-1) * points).sum(0) * area
    assert torch.allclose(law.mean, mean, atol=1e-6)


def test_equals_the_factorial_mixture_where_differences_are_orthogonal():
    """Orthogonal units, and units that are so only after a shift of each."""
    slopes = orthogonal_slopes()
    shift = torch.randn(4, 1, 16, dtype=torch.float64)
    weights = torch.randn(4, 3, dtype=torch.float64).softmax(-1)
    x = torch.randn(20, 16, dtype=torch.float64)
    for layer in (slopes, slopes + shift):
        model = FactorialMixture(layer, weights, 0.6)
        found = model.harmonium().log_prob(x)
        assert torch.allclose(found, model.log_evidence(x), rtol=1e-11, atol=1e-10)
    other = FactorialMixture(*random_layer(4, 3, 16)[:2], 0.6)
    assert (other.harmonium().log_prob(x) - other.log_evidence(x)).abs().max() > 0.1


def test_exact_draws(budget):
    slopes, _, offsets = random_layer(3, 2, 2, seed=5)
    law = Harmonium(slopes, offsets, 0.5)
    x = law.sample((20_000,), seed=0)
    _, weights = brute_log_prob(x[:1], slopes, offsets, 0.5)
    means = brute_means(slopes)
    for axis in range(2):

        def cdf(value, axis=axis):
            each = norm.cdf(value[:, None], means[:, axis], math.sqrt(0.5))
            return each @ weights.exp().numpy()

        p = statcheck.dkw_pvalue(x[:, axis], cdf)
        budget.check(f"harmonium exact draws, axis {axis}", p)


def test_block_gibbs_draws(budget):
    """Draws where codes are not enumerated, against exact ones."""
    slopes, _, offsets = random_layer(3, 2, 2, seed=5, scale=0.7)
    exact = Harmonium(slopes, offsets, 0.5)
    gibbs = Harmonium(slopes, offsets, 0.5, max_codes=1, sweeps=60)
    assert exact.normalized
    assert not gibbs.normalized
    first, second = exact.sample((6000,), seed=1), gibbs.sample((6000,), seed=2)
    for axis in range(2):
        p = statcheck.two_sample_pvalue(first[:, axis], second[:, axis])
        budget.check(f"harmonium block Gibbs, axis {axis}", p)
    x = first[:5]
    gap = exact.log_prob(x) - gibbs.log_prob(x)
    assert torch.allclose(gap, -exact.log_normalizer.expand(5), atol=1e-12)


def test_gradients():
    slopes, _, offsets = random_layer(2, 3, 2, seed=7)
    x = torch.randn(4, 2, dtype=torch.float64)

    def density(slopes, offsets, noise, x):
        return Harmonium(slopes, offsets, noise).log_prob(x)

    noise = torch.tensor(0.8, dtype=torch.float64)
    inputs = [v.clone().requires_grad_() for v in (slopes, offsets, noise, x)]
    assert gradcheck(density, inputs)
    law = Harmonium(*inputs[:3])
    for _ in range(2):  # nothing of the first graph is kept
        law.log_prob(x).sum().backward()


def test_gradients_after_a_draw():
    """Draws are made without gradients; the constant that they need is not kept."""
    slopes, _, offsets = random_layer(2, 3, 2, seed=7)
    x = torch.randn(4, 2, dtype=torch.float64)
    found = []
    for draw in (False, True):
        a = slopes.clone().requires_grad_()
        law = Harmonium(a, offsets, 0.8)
        if draw:
            law.sample((3,), seed=0)
        found.append(torch.autograd.grad(law.log_prob(x).sum(), a)[0])
    assert torch.equal(*found)


def test_mixed_types_and_empty_shapes():
    """The wider type wins, as in the laws of torch; integers are numbers."""
    slopes, _, offsets = random_layer(2, 3, 2)
    law = Harmonium(slopes, offsets, 0.8)
    x = torch.randn(4, 2)
    assert torch.equal(law.log_prob(x), law.log_prob(x.double()))
    assert torch.equal(law.selection(torch.ones(2).long()), law.selection(torch.ones(2)))
    narrow = Harmonium(slopes.float(), offsets.float(), 0.8)
    assert narrow.log_prob(x.double()).dtype == torch.float64
    assert torch.allclose(narrow.log_prob(x), law.log_prob(x).float(), rtol=1e-5)
    assert law.sample((0,)).shape == (0, 2)
    assert law.expand([3, 0]).sample((5,)).shape == (5, 3, 0, 2)


def test_expand_and_pyro():
    slopes, _, offsets = random_layer(2, 2, 3)
    law = Harmonium(slopes, offsets, 1.0)
    wide = law.expand([5, 4])
    assert (wide.batch_shape, wide.event_shape) == ((5, 4), (3,))
    assert wide.sample((2,), seed=0).shape == (2, 5, 4, 3)
    x = torch.randn(4, 3, dtype=torch.float64)
    assert torch.equal(wide.log_prob(x), law.log_prob(x).expand(5, 4))
    assert wide.mean.shape == (5, 4, 3)
    assert Harmonium.infer_shapes((2, 2, 3), (2, 2), ()) == ((), (3,))

    def program():
        with pyro.plate("data", 4):
            pyro.sample("x", law, obs=x)

    total = poutine.trace(program).get_trace().log_prob_sum()
    assert torch.allclose(total, law.log_prob(x).sum())


def test_same_seed_same_draws():
    law = Harmonium(*random_layer(2, 2, 3)[::2], 1.0)
    assert torch.equal(law.sample((4,), seed=3), law.sample((4,), seed=3))
    assert not torch.equal(law.sample((4,), seed=3), law.sample((4,), seed=4))


def test_of_a_layer():
    class Layer:
        slopes, offsets = random_layer(2, 2, 3)[::2]

    assert torch.equal(Harmonium.from_layer(Layer(), 0.5).slopes, Layer.slopes)
    with pytest.raises(TypeError, match="layer must have slopes and offsets"):
        Harmonium.from_layer(torch.nn.ReLU())


def test_many_codes_are_refused_in_words():
    law = Harmonium(torch.zeros(17, 2, 1), torch.zeros(17, 2), 1.0, sweeps=2)
    assert not law.normalized
    for name in ("codes", "code_log_prob", "log_normalizer", "mean"):
        with pytest.raises(ValueError, match=r"2\^17 codes, more than the 65536"):
            getattr(law, name)
    assert law.sample(seed=0).shape == (1,)
    assert Harmonium(torch.zeros(16, 2, 1), torch.zeros(16, 2), 1.0).normalized


BAD = [
    (TypeError, "slopes", {"slopes": "no"}),
    (TypeError, "slopes must be float32", {"slopes": torch.zeros(1, 2, 1).half()}),
    (ValueError, r"slopes must be \(K, R, D\)", {"slopes": torch.zeros(2, 2)}),
    (ValueError, r"slopes must be \(K, R, D\)", {"slopes": torch.zeros(2, 0, 3)}),
    (ValueError, "slopes must be finite", {"slopes": torch.full((1, 2, 1), torch.nan)}),
    (ValueError, r"offsets must be \(K, R\) = \(1, 2\)", {"offsets": torch.zeros(2, 2)}),
    (ValueError, "offsets must be finite", {"offsets": torch.tensor([[0.0, torch.inf]])}),
    (ValueError, "above 0, got 0.0", {"noise": 0.0}),
    (ValueError, "above 0, got nan", {"noise": float("nan")}),
    (
        ValueError,
        "beyond the range of torch.float32",
        {"noise": torch.tensor(1e-50, dtype=torch.float64)},
    ),
    (
        ValueError,
        "beyond the range of torch.float32",
        {"noise": torch.tensor(1e50, dtype=torch.float64)},
    ),
    (ValueError, "got 1e-320, beyond", {"slopes": torch.zeros(1, 2, 1).double(), "noise": 1e-320}),
    (ValueError, "one number", {"noise": torch.ones(2)}),
    (TypeError, "noise", {"noise": None}),
    (ValueError, "sweeps must be an integer", {"sweeps": 0}),
    (ValueError, "max_codes must be an integer", {"max_codes": 1.5}),
    (ValueError, "max_codes must be at most 65536", {"max_codes": 2**17}),
]


@pytest.mark.parametrize(("error", "words", "change"), BAD)
def test_bad_input(error, words, change):
    given = {"slopes": torch.zeros(1, 2, 1), "offsets": torch.zeros(1, 2), "noise": 1.0}
    with pytest.raises(error, match=words):
        Harmonium(**{**given, **change})


def test_values_are_validated():
    law = Harmonium(torch.zeros(1, 2, 3), torch.zeros(1, 2), 1.0, validate_args=True)
    with pytest.raises(ValueError, match="within the support"):
        law.log_prob(torch.full((3,), torch.nan))
    with pytest.raises(ValueError, match="give a generator or a seed"):
        law.sample(seed=0, generator=torch.Generator())


def test_codes_and_inputs_are_checked():
    law = Harmonium(torch.zeros(2, 3, 4), torch.zeros(2, 3), 1.0)
    with pytest.raises(ValueError, match=r"x must be \(\.\.\., 4\), got shape \(5, 3\)"):
        law.selection(torch.zeros(5, 3))
    for bad in ([0.0] * 4, torch.zeros(4, dtype=torch.complex64)):
        with pytest.raises(TypeError, match="x must be a tensor of real numbers"):
            law.selection(bad)
    for bad in (torch.zeros(2), torch.zeros(3).long(), [0, 0]):
        with pytest.raises(ValueError, match=r"codes must be an integer tensor \(\.\.\., 2\)"):
            law.sample_given(bad)
    for bad in (3, -1):
        with pytest.raises(ValueError, match="codes must be integers from 0 to 2"):
            law.sample_given(torch.tensor([0, bad]))
