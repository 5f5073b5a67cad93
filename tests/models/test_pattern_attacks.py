"""Models of patterns at the edges: kinds of bits, few rows, saturated units, rare events."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from probact.analysis.patterns import PackedPatterns
from probact.models import (
    BetaBernoulliPatterns,
    DichotomisedGaussian,
    IsingPatterns,
    PatternMixture,
    ProbitPatterns,
)

F64 = torch.float64
A = torch.rand(30, 5, generator=torch.Generator().manual_seed(0)) < 0.4
HALF = torch.full((5,), 0.5)


def readings(a):
    """One number of every model."""
    return [
        PatternMixture(2, 5).em(a, restarts=1).log_density,
        float(BetaBernoulliPatterns(5).log_evidence(a)),
        float(ProbitPatterns(5).log_evidence(a, 0.5)),
        float(DichotomisedGaussian(HALF, torch.eye(5)).log_prob(a, num_samples=5).value.sum()),
        float(IsingPatterns(HALF, torch.zeros(5, 5)).log_prob(a).sum()),
    ]


def test_bits_of_any_kind_are_the_same():
    want = readings(A)
    packed = PackedPatterns.from_bits(A)
    kinds = [A.to(d) for d in (torch.float16, torch.float32, torch.int8, torch.uint16)]
    for bits in (*kinds, A.numpy(), A.tolist(), packed.bits()):
        assert readings(bits) == want


@pytest.mark.parametrize("model", [PatternMixture(2, 5), BetaBernoulliPatterns(5)])
def test_what_is_no_array_of_bits(model):
    with pytest.raises(TypeError, match=r"got PackedPatterns: pass its \.bits\(\)"):
        model.bits(PackedPatterns.from_bits(A))
    for wrong in (math.nan, 0.5, -1.0):
        with pytest.raises(ValueError, match="must hold 0 and 1 alone"):
            model.bits(torch.full((2, 5), wrong))
    with pytest.raises(ValueError, match="must have 5 units, got 3"):
        model.bits(A[:, :3])
    for shape in ((5,), (0, 5), (2, 0), (1, 2, 5)):
        with pytest.raises(ValueError, match="a must be a matrix"):
            model.bits(torch.zeros(shape))


def test_few_rows_and_one_unit():
    for c, a in ((40, A[:3]), (1, A), (2, A[:1]), (2, torch.ones(4, 5))):
        fit = PatternMixture(c, 5).em(a)
        assert math.isfinite(fit.log_density)
        assert bool(((fit.probs > 0) & (fit.probs < 1)).all())
    one = A[:, :1]
    share = float(one.double().mean())
    assert float(PatternMixture(2, 1).em(one).log_density) < 0
    law = DichotomisedGaussian.from_data(one)
    assert float(law.probs[0]) == pytest.approx(share)
    found = law.log_prob([[1], [0]])
    assert found.value.exp().tolist() == pytest.approx([share, 1 - share])
    assert IsingPatterns.fit(one, penalty=1e-9).model.field.sigmoid().tolist() == pytest.approx(
        [share], rel=1e-6
    )


def test_one_row_says_nothing_of_spread():
    with pytest.raises(ValueError, match="a must have two rows at least"):
        BetaBernoulliPatterns.from_data(A[:1])
    with pytest.raises(ValueError, match="a must have two rows at least"):
        ProbitPatterns(5).fit_variance(A[:1])
    with pytest.raises(ValueError, match="5 units always on or always off"):
        DichotomisedGaussian.from_data(A[:1])


def test_extreme_precisions():
    even = torch.tensor([[0, 1], [1, 0]] * 20)
    assert BetaBernoulliPatterns.from_data(even).precision > 1e7
    stuck = torch.tensor([[0, 1], [0, 1]] * 20)
    assert BetaBernoulliPatterns.from_data(stuck).precision < 1e-3
    assert ProbitPatterns(5).fit_variance(torch.ones(9, 5)) > 1e7
    assert ProbitPatterns(2).fit_variance(even) < 1e-7


@pytest.mark.parametrize("variance", [1e-4, 1.0, 1e3, 1e5])
@pytest.mark.parametrize(("on", "size"), [(0, 4), (2, 4), (1, 50), (3000, 9000)])
def test_probit_evidence_of_any_variance(variance, on, size):
    s = math.sqrt(variance)
    low, high = -60.0, 60.0
    for _ in range(4):  # closes in on where the integrand lives
        z = np.linspace(low, high, 20_001)
        score = on * stats.norm.logcdf(s * z) + (size - on) * stats.norm.logsf(s * z) - 0.5 * z**2
        alive = np.flatnonzero(score > score.max() - 45.0)
        low, high = z[max(0, alive[0] - 1)], z[min(len(z) - 1, alive[-1] + 1)]
    want = np.log(integrate.simpson(np.exp(score - score.max()), x=z)) + score.max()
    want -= 0.5 * math.log(2 * math.pi)
    a = (torch.arange(size) < on).unsqueeze(1)
    found = float(ProbitPatterns(1).log_evidence(a, variance))
    assert found == pytest.approx(want, abs=1e-6, rel=1e-10)


def test_units_are_all_counted():
    one = float(ProbitPatterns(1).log_evidence(A[:, :1], 0.7))
    alike = A[:, :1].expand(-1, 4)
    assert float(ProbitPatterns(4).log_evidence(alike, 0.7)) == pytest.approx(4 * one, rel=1e-12)


def test_programs_take_patterns_or_a_number():
    ising = IsingPatterns([0.0] * 5, torch.zeros(5, 5))
    for model in (PatternMixture(2, 5), BetaBernoulliPatterns(5), ProbitPatterns(5), ising):
        assert len(model(num_points=3)) == 3
        with pytest.raises(ValueError, match="give a or num_points, not both"):
            model(A, num_points=3)
        with pytest.raises(ValueError, match="give patterns a, or num_points"):
            model()
        with pytest.raises(ValueError, match="num_points must be an integer of at least 1"):
            model(num_points=0)


def test_parameters_of_a_mixture_that_do_not_fit():
    model, probs = PatternMixture(2, 5), torch.full((2, 5), 0.5)
    model.log_prob(A, torch.tensor([0.3, 0.7]), probs)  # float32
    for weights in ([0.5, math.nan], [1.5, -0.5], [1.0]):
        with pytest.raises(ValueError, match="weights must be 2 shares"):
            model.log_prob(A, weights, probs)
    with pytest.raises(TypeError, match="weights must be a tensor"):
        model.log_prob(A, None, probs)
    with pytest.raises(ValueError, match="tolerance must be finite and at least 0"):
        model.em(A, tolerance=math.nan)


def test_posteriors_that_no_program_gives():
    with pytest.raises(ValueError, match=r"probs must lie in \[0, 1\]"):
        BetaBernoulliPatterns(2).replicates({"probs": torch.tensor([[5.0, -1.0]])}, 3)
    draws = {"variance": torch.tensor([-1.0]), "z": torch.zeros(1, 2)}
    with pytest.raises(ValueError, match="variance must be above 0"):
        ProbitPatterns(2).replicates(draws, 3)


def test_orthant_of_a_rare_pair():
    model = DichotomisedGaussian([6.0, -6.0], [[1.0, 0.9], [0.9, 1.0]])
    r, rest = 0.9, math.sqrt(1 - 0.81)
    x = np.linspace(-30.0, -6.0, 200_001)  # unit 0 off, unit 1 on
    score = stats.norm.logpdf(x) + stats.norm.logcdf((r * x - 6.0) / rest)
    want = np.log(integrate.simpson(np.exp(score - score.max()), x=x)) + score.max()
    value, error = model.log_prob([[0, 1]])
    assert 0 < float(error) < 0.1
    assert abs(float(value) - want) < 6 * float(error)
    common, exact = model.log_prob([[1, 0]])
    assert float(exact) == 0.0
    assert float(common) == pytest.approx(0.0, abs=1e-8)


def test_orthants_sum_to_one():
    half = torch.randn(4, 4, dtype=F64, generator=torch.Generator().manual_seed(0))
    model = DichotomisedGaussian.from_linear(half, [0.1, -0.2, 0.3, 0.0], [0.0] * 4, torch.eye(4))
    rows = list(itertools.product((0, 1), repeat=4))
    value, error = model.log_prob(rows, num_samples=20_000)
    p = value.exp()
    assert abs(float(p.sum()) - 1) < 6 * float((p * error).square().sum().sqrt())


def test_the_nearest_correlation():
    matrix = [[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]  # Higham 2002, section 4
    from probact.models.dichotomised_gaussian import _nearest_correlation

    want = [[1.0, 0.7607, 0.1573], [0.7607, 1.0, 0.7607], [0.1573, 0.7607, 1.0]]
    found = _nearest_correlation(torch.tensor(matrix, dtype=F64))
    np.testing.assert_allclose(found, want, rtol=0, atol=6e-5)
    assert float(torch.linalg.eigvalsh(found)[0]) > 1e-7


def test_covariance_of_a_linear_layer_is_one():
    eye, zero = torch.eye(2), [0.0, 0.0]
    for covariance in ([[1.0, 0.5], [-0.5, 1.0]], [[-1.0, 0.0], [0.0, 1.0]]):
        with pytest.raises(ValueError, match="covariance must be symmetric"):
            DichotomisedGaussian.from_linear(eye, zero, zero, covariance)


def test_fits_under_inference_mode():
    want = IsingPatterns.fit(A).objective, BetaBernoulliPatterns.from_data(A).precision
    with torch.inference_mode():
        found = IsingPatterns.fit(A).objective, BetaBernoulliPatterns.from_data(A).precision
    assert found == want


def test_smoothing_keeps_patterns_possible():
    a = torch.tensor([[0, 0, 1], [1, 1, 1], [1, 1, 1], [0, 0, 1]] * 10)  # never apart; one stuck
    with pytest.raises(ValueError, match="1 unit always on"):
        DichotomisedGaussian.from_data(a)
    sharp = DichotomisedGaussian.from_data(a[:, :2]).log_prob([[0, 1]])
    assert float(sharp.value) < -6
    law = DichotomisedGaussian.from_data(a, smoothing=2.0)
    rows = a.double()
    want = (rows.T @ rows + 0.5) / 42
    found = law.pair_probs()
    assert float((found - want)[0, 1]) == pytest.approx(0.0, abs=1e-9)
    assert law.probs.tolist() == pytest.approx([0.5, 0.5, 41 / 42])
    with pytest.raises(ValueError, match="smoothing must be finite and at least 0"):
        DichotomisedGaussian.from_data(a, smoothing=-1.0)
