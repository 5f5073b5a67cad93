"""The tied von Mises-Fisher classifier: Bayes' rule, and its program under Pyro's tools."""

import math
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS, Predictive, TraceEnum_ELBO, config_enumerate, infer_discrete
from pyro.infer.inspect import get_dependencies
from scipy import stats
from sphere_oracles import softmax, unit_rows, vmf_log_density
from statcheck import AlphaBudget, batch_means_z
from torch import Tensor

from probact.models import VMFClassifier

F64 = torch.float64
C, D, N = 4, 6, 25
_rng = np.random.default_rng(5)
WEIGHT = 3.0 * _rng.normal(size=(C, D))
NORM = np.linalg.norm(WEIGHT, axis=1)
X = unit_rows(_rng, N, D)
Y = _rng.integers(0, C, N)
KAPPAS: dict[str, tuple[Any, np.ndarray]] = {
    "shared": (85.0, np.full(C, 85.0)),
    "zero": (0, np.zeros(C)),
    "per class": (torch.tensor([0.5, 3.0, 20.0, 400.0]), np.array([0.5, 3.0, 20.0, 400.0])),
    "norm": ("norm", NORM),
}
PROBS = np.array([0.1, 0.2, 0.3, 0.4])


def log_densities(x: np.ndarray, kappa: np.ndarray) -> np.ndarray:
    """log q(a | i), (N, C)."""
    pairs = zip(WEIGHT / NORM[:, None], kappa, strict=True)
    return np.stack([vmf_log_density(x, mu, k) for mu, k in pairs], axis=1)


def tensors() -> tuple[Tensor, Tensor]:
    return torch.tensor(X), torch.tensor(Y)


def test_posterior_is_the_normalised_network() -> None:
    for kappa in (0.0, 1e-3, 85.0, 1e4):
        found = VMFClassifier(WEIGHT, kappa).class_posterior(torch.tensor(X)).numpy()
        expected = softmax(kappa * (X @ WEIGHT.T / NORM))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", KAPPAS)
def test_posterior_is_bayes_rule(name: str) -> None:
    kappa, values = KAPPAS[name]
    model = VMFClassifier(WEIGHT, kappa, class_probs=PROBS)
    joint = log_densities(X, values) + np.log(PROBS)
    found = model.class_log_prob(torch.tensor(X)).numpy()
    np.testing.assert_allclose(found, log_densities(X, values), rtol=1e-11, atol=1e-10)
    found = model.class_posterior(torch.tensor(X)).numpy()
    np.testing.assert_allclose(found, softmax(joint), rtol=1e-9, atol=1e-14)
    found = model.log_likelihood(*tensors()).numpy()
    np.testing.assert_allclose(found, log_densities(X, values)[np.arange(N), Y], rtol=1e-10)


def test_probabilities_of_the_classes() -> None:
    assert VMFClassifier(WEIGHT, 5.0).class_probs.tolist() == [0.25] * C
    model = VMFClassifier(WEIGHT, 5.0, class_probs=[0.5, 0.5, 0.0, 0.0])
    assert (model.class_posterior(torch.tensor(X))[:, 2:] == 0).all()


def test_draws_of_kappa_are_averaged_over() -> None:
    one = VMFClassifier(WEIGHT, dist.LogNormal(2.0, 1.0))
    draws = torch.tensor([0.0, 3.0, 90.0], dtype=F64)
    apart = [VMFClassifier(WEIGHT, float(k)) for k in draws]
    stacked = torch.stack([m.class_log_prob(torch.tensor(X)) for m in apart])
    torch.testing.assert_close(one.class_log_prob(torch.tensor(X), draws), stacked)
    density = stacked.exp().mean(0)  # of an activation under each class, kappa averaged out
    mean = density / density.sum(1, keepdim=True)  # Bayes' rule, equal p(i)
    torch.testing.assert_close(one.class_posterior(torch.tensor(X), draws), mean)
    each = torch.stack([m.log_likelihood(*tensors()) for m in apart])
    torch.testing.assert_close(one.log_likelihood(*tensors(), draws), each)
    many = VMFClassifier(WEIGHT, dist.LogNormal(torch.full((C,), 2.0), 1.0))
    rows = draws.unsqueeze(1).expand(3, C)
    torch.testing.assert_close(many.class_log_prob(torch.tensor(X), rows), stacked)
    torch.testing.assert_close(many.class_posterior(torch.tensor(X), rows), mean)
    torch.testing.assert_close(many.log_likelihood(*tensors(), rows), each)


@pytest.mark.parametrize("name", KAPPAS)
def test_joint_density_of_the_trace(name: str) -> None:
    kappa, values = KAPPAS[name]
    trace = poutine.trace(VMFClassifier(WEIGHT, kappa, class_probs=PROBS)).get_trace(*tensors())
    expected = np.log(PROBS)[Y].sum() + log_densities(X, values)[np.arange(N), Y].sum()
    assert trace.log_prob_sum().item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("classes", [(), (C,)])
def test_joint_density_with_a_prior(classes: tuple[int, ...]) -> None:
    prior = dist.LogNormal(torch.full(classes, 2.0, dtype=F64), 0.7)
    kappa = torch.tensor([3.0, 8.0, 11.0, 2.0], dtype=F64)[: classes[0] if classes else 1]
    kappa = kappa if classes else kappa[0]
    model = poutine.condition(VMFClassifier(WEIGHT, prior), {"concentration": kappa})
    values = np.broadcast_to(kappa.numpy(), (C,))
    expected = stats.lognorm(0.7, scale=math.exp(2.0)).logpdf(kappa.numpy()).sum()
    expected += N * math.log(1.0 / C) + log_densities(X, values)[np.arange(N), Y].sum()
    trace = poutine.trace(model).get_trace(*tensors())
    assert trace.log_prob_sum().item() == pytest.approx(expected, rel=1e-9)  # scipy's 0.7
    assert list(trace.nodes)[1:] == [
        *(["class"] if classes else []), "concentration", "data", "label", "activation", "_RETURN"
    ]  # fmt: skip


@pytest.mark.parametrize("classes", [(), (C,)])
def test_draws_and_particles_on_the_left(classes: tuple[int, ...]) -> None:
    """Under an outer plate, as `Predictive(parallel=True)` and vectorised ELBOs add, each slice
    is the program at its own kappa."""
    model = VMFClassifier(WEIGHT, dist.LogNormal(torch.full(classes, 2.0, dtype=F64), 0.7))
    kappa = torch.linspace(1.0, 40.0, 3 * math.prod(classes), dtype=F64).reshape(3, *classes)
    with pyro.plate("draws", 3, dim=-2):
        given = {"concentration": kappa.reshape(3, -1)}
        trace = poutine.trace(poutine.condition(model, given)).get_trace(*tensors())
    trace.compute_log_prob()
    found = trace.nodes["activation"]["log_prob"]
    expected = model.log_likelihood(*tensors(), kappa)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    drawn = Predictive(model, {"concentration": kappa}, parallel=True)(None, torch.tensor(Y))
    assert drawn["activation"].shape == (3, N, D)
    free = Predictive(model, {"concentration": kappa}, parallel=True)()
    assert free["activation"].shape == (3, 1, D)


def test_predictive_runs_the_program_forwards() -> None:
    drawn = Predictive(VMFClassifier(WEIGHT, dist.LogNormal(2.0, 0.5)), num_samples=7)()
    assert drawn["concentration"].shape == (7, 1)
    assert drawn["label"].shape == (7, 1)
    assert drawn["activation"].shape == (7, 1, D)
    norm = torch.linalg.vector_norm(drawn["activation"], dim=-1)
    torch.testing.assert_close(norm, torch.ones_like(norm))


def test_dependencies_are_those_of_the_paper() -> None:
    model = VMFClassifier(WEIGHT, dist.LogNormal(2.0, 0.5))
    found = get_dependencies(model, tensors())
    assert set(found["prior_dependencies"]["activation"]) == {"concentration", "activation"}
    assert set(found["posterior_dependencies"]["concentration"]) == {"concentration", "activation"}
    found = get_dependencies(model, (torch.tensor(X),))
    assert set(found["prior_dependencies"]["activation"]) == {
        "concentration", "label", "activation"
    }  # fmt: skip


@pytest.mark.parametrize("name", KAPPAS)
def test_labels_are_summed_out_exactly(name: str) -> None:
    kappa, values = KAPPAS[name]
    model = VMFClassifier(WEIGHT, kappa, class_probs=PROBS)
    summed = config_enumerate(model, default="parallel")
    loss = TraceEnum_ELBO(max_plate_nesting=1).loss(summed, lambda x: None, torch.tensor(X))
    joint = log_densities(X, values) + np.log(PROBS)
    expected = np.logaddexp.reduce(joint, axis=1).sum()
    assert -loss == pytest.approx(expected, rel=1e-10)
    best = infer_discrete(summed, first_available_dim=-2, temperature=0)
    label = poutine.trace(best).get_trace(torch.tensor(X)).nodes["label"]["value"]
    assert label.tolist() == joint.argmax(1).tolist()


def test_labels_drawn_from_their_posterior(budget: AlphaBudget) -> None:
    model = VMFClassifier(WEIGHT, 3.0, class_probs=PROBS)
    drawer = infer_discrete(config_enumerate(model), first_available_dim=-2)
    x = torch.tensor(X[:1]).expand(4000, D)
    labels = poutine.trace(drawer).get_trace(x).nodes["label"]["value"]
    expected = 4000 * softmax(log_densities(X[:1], np.full(C, 3.0)) + np.log(PROBS))[0]
    counts = np.bincount(labels.numpy(), minlength=C)
    budget.check("infer_discrete labels", float(stats.chisquare(counts, expected).pvalue))


def test_nuts_draws_the_posterior_of_kappa(budget: AlphaBudget) -> None:
    prior = dist.LogNormal(torch.tensor(2.0, dtype=F64), 0.7)
    truth = VMFClassifier(WEIGHT, 8.0)
    labels = torch.arange(20) % C
    x = truth.sample_activations(labels, 1, seed=3)[0]
    chain = MCMC(
        NUTS(VMFClassifier(WEIGHT, prior), max_tree_depth=4), 300, 80, disable_progbar=True
    )
    chain.run(x, labels)
    found = chain.get_samples()["concentration"].log().numpy()
    grid = np.linspace(-2.0, 6.0, 2001)
    log_density = stats.norm(2.0, 0.7).logpdf(grid)
    for i in range(C):
        rows = x[labels == i].numpy()
        mu = WEIGHT[i] / NORM[i]
        log_density += [vmf_log_density(rows, mu, math.exp(g)).sum() for g in grid]
    density = np.exp(log_density - log_density.max())
    mean = float((grid * density).sum() / density.sum())
    z = batch_means_z(found, mean, n_batches=20)
    budget.check("NUTS, mean log kappa", float(2 * stats.t(19).sf(abs(z))))


def test_class_names_are_coordinates() -> None:
    assert VMFClassifier(WEIGHT, 1.0).coords == {"class": ["0", "1", "2", "3"]}
    named = VMFClassifier(WEIGHT, 1.0, class_names=("cat", "dog", "cat", "owl"))
    assert named.coords == {"class": ["cat", "dog", "cat", "owl"]}
    assert np.array_equal(
        VMFClassifier(WEIGHT, 1.0, class_names=np.array(list("abcd"))).coords["class"],
        list("abcd"),
    )


def test_buffers_are_copies_of_their_own() -> None:
    weight = torch.tensor(WEIGHT, requires_grad=True)
    kappa = torch.tensor(3.0, dtype=F64, requires_grad=True)
    model = VMFClassifier(weight, kappa, bias=torch.ones(C))
    with torch.no_grad():
        weight.zero_()
    assert not any(buffer.requires_grad for buffer in model.buffers())
    norm = torch.linalg.vector_norm(model.directions, dim=1)
    torch.testing.assert_close(norm, torch.ones(C, dtype=F64), rtol=0, atol=1e-15)
