"""Activations drawn from the tied von Mises-Fisher classifier, and its maximum likelihood."""

import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import optimize
from sphere_oracles import bessel_ratio, unit_rows
from statcheck import AlphaBudget, paired_mean_pvalue

from probact.models import VMFClassifier

F64 = torch.float64
_rng = np.random.default_rng(8)


@pytest.mark.parametrize(("dim", "kappa"), [(2, 1.5), (3, 40.0), (16, 10.0), (512, 200.0)])
def test_mean_cosine_is_the_bessel_ratio(dim: int, kappa: float, budget: AlphaBudget) -> None:
    model = VMFClassifier(_rng.normal(size=(3, dim)), kappa)
    a = model.sample_activations(torch.arange(3), 1000, seed=1)
    assert a.shape == (1000, 3, dim)
    cosine = (a * model.directions).sum(-1)
    for i in range(3):
        excess = cosine[:, i].numpy() - bessel_ratio(kappa, dim)
        budget.check(f"cosine of class {i} at d = {dim}", paired_mean_pvalue(excess))


def test_each_class_has_its_own_kappa(budget: AlphaBudget) -> None:
    weight = np.diag([0.5, 4.0, 60.0, 9.0, 0.1])
    for kappa in ("norm", torch.tensor([0.5, 4.0, 60.0, 9.0, 0.1])):
        model = VMFClassifier(weight, kappa)
        for i, k in enumerate(np.diag(weight)):
            a = model.sample_activations(i, 2000, seed=i)
            excess = a[:, i].numpy() - bessel_ratio(float(k), 5)
            budget.check(f"own kappa of class {i}", paired_mean_pvalue(excess))


@pytest.mark.parametrize("classes", [(), (3,)])
def test_draws_of_kappa_give_the_posterior_predictive(
    classes: tuple[int, ...], budget: AlphaBudget
) -> None:
    """One activation a draw: centred at each draw's own A_D."""
    prior = dist.LogNormal(torch.full(classes, 2.0), 1.0)
    model = VMFClassifier(np.eye(3), prior)
    kappa = torch.tensor(_rng.lognormal(2.0, 1.0, size=(3000, *classes)))
    a = model.sample_activations(torch.arange(3), 3000, concentration=kappa, seed=4)
    assert a.shape == (3000, 3, 3)
    for i in range(3):
        own = (kappa[:, i] if classes else kappa).tolist()
        excess = a[:, i, i].numpy() - np.array([bessel_ratio(k, 3) for k in own])
        budget.check(f"posterior predictive of class {i}", paired_mean_pvalue(excess))
        spread = np.corrcoef(np.log(own), a[:, i, i].numpy())[0, 1]
        assert spread > 0.3  # draws and activations belong together, row by row


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("dim", [2, 3, 7])
def test_shape_type_and_length(dtype: torch.dtype, dim: int) -> None:
    model = VMFClassifier(torch.tensor(_rng.normal(size=(4, dim))).to(dtype), 5.0)
    for label, shape in ((2, ()), (torch.tensor([[0, 1, 3]]), (1, 3)), ([1, 1], (2,))):
        a = model.sample_activations(label, 6, seed=0)
        assert a.shape == (6, *shape, dim)
        assert (a.dtype, a.device) == (dtype, model.weight.device)
        tolerance = 1e-6 if dtype == torch.float32 else 1e-14
        assert (torch.linalg.vector_norm(a, dim=-1) - 1.0).abs().max() <= tolerance
        assert a.requires_grad is False


def test_same_seed_same_bits_and_no_trace_in_the_global_stream() -> None:
    model = VMFClassifier(_rng.normal(size=(4, 16)), 30.0)
    before = torch.get_rng_state()
    first = model.sample_activations(1, 50, seed=9)
    relations = model.class_relations(100, seed=9)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(123)
    assert torch.equal(model.sample_activations(1, 50, seed=9), first)
    assert torch.equal(model.class_relations(100, seed=9), relations)
    assert not torch.equal(model.sample_activations(1, 50, seed=10), first)
    assert not torch.equal(model.class_relations(100, seed=10), relations)
    stream = torch.Generator().manual_seed(9)
    assert torch.equal(model.sample_activations(1, 50, generator=stream), first)
    assert not torch.equal(model.sample_activations(1, 50, generator=stream), first)


def labelled(dim: int, kappa: float, rows: int) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    weight = _rng.normal(size=(3, dim))
    labels = torch.arange(rows) % 3
    a = VMFClassifier(weight, kappa).sample_activations(labels, 1, seed=2)[0]
    return weight, a, labels


@pytest.mark.parametrize(("dim", "kappa"), [(2, 0.3), (3, 50.0), (64, 85.0), (512, 2.0)])
def test_mle_solves_the_moment_equation(dim: int, kappa: float) -> None:
    weight, a, labels = labelled(dim, kappa, 60)
    mu = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    cosine = (a.numpy() * mu[labels]).sum(1)

    def root(mean: float) -> float:
        if mean <= 0:
            return 0.0
        gap = lambda k: bessel_ratio(k, dim) - mean  # noqa: E731
        return float(optimize.brentq(gap, 0.0, 1e3, xtol=1e-12))

    fit = VMFClassifier.mle(weight, a, labels)
    assert float(fit.fixed_concentration) == pytest.approx(root(cosine.mean()), rel=1e-8)
    best = fit.log_likelihood(a, labels).sum()
    for factor in (0.98, 1.02):
        nearby = VMFClassifier(weight, factor * float(fit.fixed_concentration))
        assert nearby.log_likelihood(a, labels).sum() < best
    apart = VMFClassifier.mle(weight, a, labels, shared=False)
    expected = [root(cosine[labels == i].mean()) for i in range(3)]
    np.testing.assert_allclose(apart.fixed_concentration.numpy(), expected, rtol=1e-8)


def test_mle_takes_its_options_along_and_cuts_gradients() -> None:
    weight, a, labels = labelled(5, 7.0, 30)
    fit = VMFClassifier.mle(weight, a.clone().requires_grad_(), labels, bias=[1.0, 2.0, 3.0])
    assert fit.bias.tolist() == [1.0, 2.0, 3.0]
    assert not fit.fixed_concentration.requires_grad


def test_mle_of_activations_away_from_their_rows_is_uniform() -> None:
    weight, a, labels = labelled(4, 20.0, 30)
    fit = VMFClassifier.mle(weight, -a, labels)
    assert float(fit.fixed_concentration) == 0.0
    tenth = math.log(2.0 * math.pi**2)  # area of S^3
    density = fit.log_likelihood(a, labels)
    torch.testing.assert_close(density, torch.full_like(density, -tenth))


def test_mle_refuses_what_has_no_maximum() -> None:
    eye, labels = torch.eye(3, dtype=F64), torch.arange(3)
    with pytest.raises(ValueError, match="no finite kappa"):
        VMFClassifier.mle(eye, eye, labels)
    nearly = torch.nn.functional.normalize(torch.tensor(_rng.normal(size=(3, 3))), dim=1)
    nearly = torch.nn.functional.normalize(eye + 1e-9 * nearly, dim=1)
    with pytest.raises(ValueError, match="no finite kappa"):
        VMFClassifier.mle(eye, nearly.float() * (1.0 + 1e-6), labels)  # cosines beyond one
    with pytest.raises(ValueError, match="class 1 has no activation"):
        VMFClassifier.mle(eye, eye[[0, 1]], torch.tensor([0, 2]), shared=False)
    shared = VMFClassifier.mle(eye, torch.tensor(unit_rows(_rng, 2, 3)), torch.tensor([0, 2]))
    assert shared.fixed_concentration.shape == ()


@pytest.mark.parametrize("dim", [2, 3, 128, 2048])
def test_from_mean_cosine(dim: int) -> None:
    weight = _rng.normal(size=(3, dim))
    for cosine in (0.0, 1e-6, 0.5, 0.99):
        kappa = float(VMFClassifier.from_mean_cosine(weight, cosine).fixed_concentration)
        assert bessel_ratio(kappa, dim) == pytest.approx(cosine, rel=1e-9, abs=1e-15)
    for wrong in (-0.1, 1.0, 2.0, math.nan):
        with pytest.raises(ValueError, match="cosine must be a number in"):
            VMFClassifier.from_mean_cosine(weight, wrong)
