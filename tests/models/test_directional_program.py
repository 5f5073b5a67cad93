"""The program of directional laws under Pyro's tools, and what the class refuses."""

import math
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from directional_cases import F64, build, labelled, prior_of
from pyro import poutine
from pyro.infer.inspect import get_dependencies
from scipy import stats
from sphere_oracles import vmf_log_density
from statcheck import AlphaBudget, batch_means_z
from torch import Tensor

from probact.distributions import PowerSpherical, VonMisesFisher
from probact.inference import draws as draws_of
from probact.inference import sample
from probact.models import DirectionalModel


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("family", [VonMisesFisher, PowerSpherical])
def test_joint_density_of_the_trace(family: Any, shared: bool) -> None:
    mu, x, y = labelled(3, (1.0, 30.0), 4)
    kappa = torch.tensor(3.5 if shared else [3.5, 20.0], dtype=F64)
    prior = prior_of(() if shared else (2,))
    for directions in (mu, None):
        model = build(family, prior, directions, mu.shape)
        at = {"concentration": kappa, "direction": torch.tensor(mu)}
        trace = poutine.trace(poutine.condition(model, at)).get_trace(
            torch.tensor(x), torch.tensor(y)
        )
        values = np.broadcast_to(kappa.numpy(), (2,))
        expected = stats.lognorm(1.0, scale=math.exp(2.0)).logpdf(kappa.numpy()).sum()
        expected += 0.0 if directions is not None else -2.0 * math.log(4.0 * math.pi)
        for i, k in enumerate(values):
            t = x[y == i] @ mu[i]
            if family is VonMisesFisher:
                expected += vmf_log_density(x[y == i], mu[i], k).sum()
            else:  # on S^2 the cosine is uniform: int (1 + t)^k dt = 2^(k+1) / (k+1)
                norm = math.log(2.0 * math.pi) + (k + 1.0) * math.log(2.0) - math.log(k + 1.0)
                expected += (k * np.log1p(t) - norm).sum()
        assert trace.log_prob_sum().item() == pytest.approx(expected, rel=1e-12)
        found = get_dependencies(model, (torch.tensor(x), torch.tensor(y)))
        latent = {"concentration"} | (set() if directions is not None else {"direction"})
        assert set(found["prior_dependencies"]["activation"]) == latent | {"activation"}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_draws_and_particles_on_the_left(shared: bool, tied: bool) -> None:
    """Under an outer plate of S draws each slice is the program at its own kappa and mu."""
    mu, x, y = labelled(3, (1.0, 30.0), 4)
    data = torch.tensor(x), torch.tensor(y)
    model = build(VonMisesFisher, prior_of(() if shared else (2,)), mu if tied else None, mu.shape)
    sites = model.exact_posterior(*data, draws=5)
    each = []
    for s in range(5):
        trace = poutine.trace(poutine.condition(model, {k: v[s] for k, v in sites.items()}))
        each.append(trace.get_trace(*data).log_prob_sum())
    with pyro.plate("draws", 5, dim=-2):
        together = {**sites, "concentration": sites["concentration"].reshape(5, -1)}
        trace = poutine.trace(poutine.condition(model, together)).get_trace(*data)
    trace.compute_log_prob()
    names = [*sites, "activation"]
    found = sum(trace.nodes[n]["log_prob"].reshape(5, -1).sum(1) for n in names)
    torch.testing.assert_close(found, torch.stack(each), rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore::probact.inference.diagnosis.SamplingWarning")
@pytest.mark.parametrize("shared", [True, False])
def test_nuts_agrees(shared: bool, budget: AlphaBudget) -> None:
    mu, x, y = labelled(3, (1.0, 30.0), 4)
    model = build(VonMisesFisher, prior_of(() if shared else (2,)), mu, mu.shape)
    data: tuple[Tensor, Tensor] = (torch.tensor(x), torch.tensor(y))
    post = sample(model, data, draws=200, tune=100, chains=1, progress=False)
    chain = draws_of(post, "concentration").log().reshape(200, -1).numpy()
    exact = model.exact_posterior(*data, draws=20_000)["concentration"].log()
    for i, column in enumerate(exact.reshape(20_000, -1).T.numpy()):
        error = column.std() / 20_000**0.5
        z = batch_means_z(chain[:, i], column.mean(), error, n_batches=20)
        budget.check(f"NUTS, shared {shared}, {i}", float(2 * stats.t(19).sf(abs(z))))


def test_what_is_refused() -> None:
    mu, x, y = labelled(3, (1.0, 30.0), 4)
    a, labels = torch.tensor(x), torch.tensor(y)
    prior = prior_of(())
    constructions: list[tuple[Any, Any, Any, str]] = [
        (prior_of((3,)), mu, (2, 3), "prior must be univariate with batch shape"),
        (prior_of((2,)).to_event(1), mu, (2, 3), "prior must be univariate"),
        (dist.Normal(5.0, 1.0), mu, (2, 3), "prior must be a law of positive numbers"),
        (dist.Poisson(5.0), mu, (2, 3), "prior must be a law of positive numbers"),
        (prior, mu[:1], (2, 3), "directions must be one per class: 1 for 2"),
        (prior, 2.0 * mu, (2, 3), "directions must be unit vectors"),
        (prior, mu, (2, 4), "directions must be a tensor"),
        (prior, None, (0, 3), "num_classes must be an integer"),
        (prior, None, (2, 1), "dim must be an integer of at least 2"),
        (prior, None, (2, 3.0), "dim must be an integer"),
    ]
    for law, directions, shape, message in constructions:
        with pytest.raises(ValueError, match=message):
            build(VonMisesFisher, law, directions, shape)
    tied = build(VonMisesFisher, prior, mu, mu.shape)
    calls: list[tuple[DirectionalModel, Any, Any, dict[str, Any], str]] = [
        (tied, 2.0 * a, labels, {}, "activations must be unit vectors"),
        (tied, a, labels + 1, {}, "labels must be in"),
        (tied, a, labels.int(), {}, "labels must be an int64"),
        (tied, a[:4], labels[:4], {}, "class 1 has no activation"),
        (tied, a, labels, {"draws": 0}, "draws must be an integer of at least 1"),
        (tied, a, labels, {"draws": 2.5}, "draws must be an integer"),
        (tied, a, labels, {"seed": -1}, "seed must lie in"),
        (build(PowerSpherical, prior, None, (2, 3)), a, labels, {}, "only the von Mises-Fisher"),
        (
            build(VonMisesFisher, dist.Uniform(1e-12, 1e-10), mu, (2, 3)),
            a,
            labels,
            {},
            "density",
        ),
    ]
    for model, activations, classes, options, message in calls:
        with pytest.raises(ValueError, match=message):
            model.exact_posterior(activations, classes, **options)
