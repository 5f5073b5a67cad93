"""Likelihoods, bounds and gradients of tiny models against quadrature over the sphere."""

import numpy as np
import pytest
import torch
from scipy import stats
from sphere_toys import (
    KINDS,
    SHAPE,
    exact_elbo,
    exact_log_likelihood,
    posterior_parameters,
    toy,
)
from statcheck import AlphaBudget, paired_mean_pvalue
from torch import Tensor

X = torch.tensor([[[1.0, 0.0], [1.0, 1.0]]], dtype=torch.float64)  # one image
DIMS = (2, 3)


def labels_of(kind: str, rows: int) -> Tensor | None:
    """The second class everywhere, for models with classes."""
    return None if kind == "HVAE" else torch.ones(rows, dtype=torch.int64)


def own_label(kind: str) -> int | None:
    return None if kind == "HVAE" else 1


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("kind", KINDS)
def test_bound_and_importance_estimate_against_quadrature(
    kind: str, dim: int, budget: AlphaBudget
) -> None:
    vae = toy(kind, dim)
    rows = 400
    x, labels = X.expand(rows, *SHAPE), labels_of(kind, rows)
    with torch.no_grad():
        exact = float(exact_log_likelihood(vae, X, own_label(kind)))
        bound = float(exact_elbo(vae, X, own_label(kind)))
    assert bound < exact
    few = vae.log_likelihood(x, labels, num_samples=4, seed=1)
    many = vae.log_likelihood(x, labels, num_samples=400, seed=2)
    terms = vae.elbo(x, labels, num_samples=4, seed=3)
    budget.check(f"{kind} d={dim} elbo", paired_mean_pvalue(terms.elbo.numpy() - bound))
    budget.check(f"{kind} d={dim} IS elbo", paired_mean_pvalue(few.elbo.numpy() - bound))
    # E w is the evidence itself: the estimate is unbiased before the logarithm
    ratio = torch.exp(many.log_likelihood - exact).numpy()
    budget.check(f"{kind} d={dim} evidence", paired_mean_pvalue(ratio - 1.0))
    assert bound < few.mean < exact + 4.0 * few.standard_error
    assert few.mean < many.mean + 4.0 * (few.standard_error + many.standard_error)


@pytest.mark.parametrize("kind", ["HVAE-C", "HVAE-L"])
def test_label_summed_out_and_bayes_rule(kind: str, budget: AlphaBudget) -> None:
    vae, rows = toy(kind, 3), 300
    with torch.no_grad():
        exact = torch.stack([exact_log_likelihood(vae, X, i) for i in range(2)])
    marginal = float(torch.logsumexp(exact, 0)) - np.log(2.0)
    x = X.expand(rows, *SHAPE)
    found = vae.log_likelihood(x, num_samples=300, seed=5).log_likelihood
    budget.check(f"{kind} marginal", paired_mean_pvalue(torch.exp(found - marginal).numpy() - 1))
    each = vae.class_log_likelihood(x, num_samples=300, seed=6).log_likelihood  # (N, 2)
    for i in range(2):
        ratio = torch.exp(each[:, i] - exact[i]).numpy()
        budget.check(f"{kind} class {i}", paired_mean_pvalue(ratio - 1.0))
    posterior = vae.class_posterior(x[:1], num_samples=20_000, seed=7)[0]
    torch.testing.assert_close(posterior, exact.softmax(0), atol=0.02, rtol=0.0)


def test_error_of_the_estimate_is_its_spread() -> None:
    vae = toy("HVAE", 3)
    many = vae.log_likelihood(X.expand(2000, *SHAPE), num_samples=200, seed=8)
    spread = float(many.log_likelihood.std())
    claimed = float(many.monte_carlo_error.square().mean().sqrt())
    assert abs(claimed / spread - 1.0) < 0.1  # the s.d. of 2000 has a relative error of 1.6 %
    assert many.mean_monte_carlo_error == pytest.approx(claimed / 2000**0.5)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_the_objective(kind: str, dim: int, budget: AlphaBudget) -> None:
    """The mean pathwise gradient is the finite difference of the exact bound, parameter by one."""
    vae = toy(kind, dim, scale=1.0)
    label, repeats, rows = own_label(kind), 40, 1000
    x, labels = X.expand(rows, *SHAPE), labels_of(kind, rows)
    parameters = [p for p in vae.parameters() if p.requires_grad]
    draws = []
    for _ in range(repeats):
        found = torch.autograd.grad(vae.objective(x, labels), parameters)
        draws.append(torch.cat([g.flatten() for g in found]))
    sampled = torch.stack(draws)  # (repeats, P)
    wanted = []
    with torch.no_grad():
        for parameter in parameters:
            flat = parameter.view(-1)
            for i in range(len(flat)):
                sides = []
                for step in (1e-5, -2e-5):
                    flat[i] += step
                    sides.append(-exact_elbo(vae, X, label))
                flat[i] += 1e-5
                wanted.append((sides[0] - sides[1]) / 2e-5)
    off = (sampled - torch.stack(wanted)).numpy()
    constant = off.std(0) < 1e-9  # no randomness reaches it (a class without images)
    assert np.abs(off[:, constant]).max(initial=0.0) < 1e-6
    z = off[:, ~constant].mean(0) / (off[:, ~constant].std(0, ddof=1) / repeats**0.5)
    p = 2.0 * stats.t(repeats - 1).sf(np.abs(z).max()) * z.size  # Bonferroni
    budget.check(f"gradient of {kind} at d = {dim}", min(1.0, float(p)))


@pytest.mark.parametrize("kind", ["HVAE", "HVAE-L"])
def test_objective_is_the_weighted_bound(kind: str, budget: AlphaBudget) -> None:
    vae = toy(kind, 3)
    vae.warm_up = 4
    rows = 2000
    x, labels = X.expand(rows, *SHAPE), labels_of(kind, rows)
    with torch.no_grad():
        for epoch, weight in ((0, 0.25), (2, 0.75), (3, 1.0), (9, 1.0), (None, 1.0)):
            exact = float(exact_elbo(vae, X, own_label(kind), weight))
            values = [-vae.objective(x, labels, epoch=epoch).item() - exact for _ in range(20)]
            z = np.mean(values) / (np.std(values, ddof=1) / 20**0.5)
            budget.check(f"{kind}, epoch {epoch}", float(2 * stats.t(19).sf(abs(z))))


def test_encode_gives_the_layers_law() -> None:
    vae = toy("HVAE", 3)
    mu, kappa = posterior_parameters(vae, X)
    law = vae.encode(X[None])
    torch.testing.assert_close(law.loc[0], mu.detach())
    torch.testing.assert_close(law.concentration[0], kappa.detach())


@pytest.mark.parametrize("kind", ["HVAE", "HVAE-L"])
def test_aggregate_posterior_against_quadrature(kind: str, budget: AlphaBudget) -> None:
    from sphere_toys import prior_log_density, sphere_rule, vmf_log_density

    vae, rule = toy(kind, 2), sphere_rule(2)
    x = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 1, 1, 1])
    groups = [range(6)] if kind == "HVAE" else [range(2), range(2, 6)]
    information = marginal = 0.0
    with torch.no_grad():
        for label, members in enumerate(groups):
            log_q = torch.stack(
                [vmf_log_density(rule[0], *posterior_parameters(vae, x[i]), rule) for i in members]
            )
            mixed = torch.logsumexp(log_q, 0) - np.log(len(members))
            own = None if kind == "HVAE" else label
            prior = prior_log_density(vae, own, rule)
            information += float((torch.exp(log_q + rule[1]) * (log_q - mixed)).sum()) / 6
            part = torch.exp(mixed + rule[1]) * (mixed - prior)
            marginal += float(part.sum()) * len(members) / 6
    given = None if kind == "HVAE" else labels
    found = [vae.aggregate_posterior(x, given, num_samples=10, seed=s) for s in range(20)]
    for name, values, exact in (
        ("information", [f.mutual_information for f in found], information),
        ("marginal", [f.marginal_kl for f in found], marginal),
    ):
        z = (np.mean(values) - exact) / (np.std(values, ddof=1) / 20**0.5)
        budget.check(f"{kind} {name}", float(2 * stats.t(19).sf(abs(z))))
