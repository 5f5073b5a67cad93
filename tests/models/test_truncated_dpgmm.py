"""The truncated mixture for SVI: its evidence by enumeration, scaling of batches, fits."""

import math
from functools import partial
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from partition_oracle import NIW, log_joint, set_partitions
from pyro import poutine
from pyro.infer import Trace_ELBO
from scipy import stats
from scipy.special import logsumexp
from statcheck import AlphaBudget, paired_mean_pvalue
from torch import Tensor
from torch.optim import Adam

from probact.distributions import NormalInverseWishart
from probact.inference import fit
from probact.models import DPGMM, TruncatedDPGMM

F64 = torch.float64
CENTRES = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]], dtype=F64)


def separated(count: int = 240) -> Tensor:
    z = torch.arange(count) % 3
    return CENTRES[z] + torch.randn(count, 2, dtype=F64)


def small() -> tuple[Tensor, NormalInverseWishart, float]:
    """Four points in one dimension, their base, and the exact log evidence at alpha = 0.8."""
    x = torch.tensor([[-1.0], [-0.75], [1.5], [1.25]], dtype=F64)
    base = NormalInverseWishart(torch.zeros(1), 0.5, torch.eye(1), 4.0)
    oracle = NIW(np.zeros(1), 0.5, 4.0, np.eye(1))
    joint = [log_joint(z, x.numpy(), 0.8, oracle) for z in set_partitions(4)]
    return x, base, float(logsumexp(joint))


def test_evidence_is_the_sum_over_partitions(budget: AlphaBudget) -> None:
    """The program's likelihood, averaged over its prior: truncation at 20 costs e^-20."""
    x, base, evidence = small()
    model = TruncatedDPGMM(base, 20, concentration=0.8)
    with pyro.plate("draws", 40_000, dim=-2):
        trace = poutine.trace(model).get_trace(x)
    trace.compute_log_prob()
    log_prob = trace.nodes["x"]["log_prob"]  # (S, 4)
    assert log_prob.shape == (40_000, 4)
    ratio = (log_prob.sum(1) - evidence).exp()
    budget.check("truncated evidence", paired_mean_pvalue((ratio - 1.0).numpy()))


def test_joint_density_by_hand() -> None:
    """T = 2 in two dimensions, at one point, by scipy."""
    rng = np.random.default_rng(1)
    scale = np.array([[1.0, 0.3], [0.3, 2.0]])
    base = NormalInverseWishart(np.zeros(2), 0.5, scale, 5.0)
    x = torch.tensor(rng.normal(size=(3, 2)))
    sigma = np.stack([stats.invwishart(5.0, scale).rvs(random_state=rng) for _ in range(2)])
    mean, alpha, stick = rng.normal(size=(2, 2)), 0.7, 0.35
    expected = stats.gamma(1.0).logpdf(alpha) + stats.beta(1.0, alpha).logpdf(stick)
    for m, s in zip(mean, sigma, strict=True):
        expected += stats.invwishart(5.0, scale).logpdf(s)
        expected += stats.multivariate_normal(np.zeros(2), s / 0.5).logpdf(m)
    parts = [stats.multivariate_normal(m, s).pdf(x) for m, s in zip(mean, sigma, strict=True)]
    expected += np.log(stick * parts[0] + (1.0 - stick) * parts[1]).sum()
    at = {
        "alpha": torch.tensor(alpha, dtype=F64),
        "stick": torch.tensor([stick], dtype=F64),
        "covariance": torch.tensor(sigma),
        "mean": torch.tensor(mean),
    }
    trace = poutine.trace(poutine.condition(TruncatedDPGMM(base, 2), at)).get_trace(x)
    assert trace.log_prob_sum().item() == pytest.approx(expected, rel=1e-11)


def test_batches_count_for_all_rows() -> None:
    x = separated(60)
    model = DPGMM(NormalInverseWishart.from_data(x)).truncated(3, x=x)
    guide = poutine.trace(model.guide).get_trace(x)
    program = poutine.replay(model, guide)

    def likelihood(rows: Tensor) -> Tensor:
        trace = poutine.trace(program).get_trace(rows)
        trace.compute_log_prob()
        return trace.nodes["x"]["log_prob_sum"]

    parts = torch.stack([likelihood(rows) for rows in x.split(20)])
    torch.testing.assert_close(parts.mean(), likelihood(x))


@pytest.mark.parametrize("batch_size", [None, 80])
def test_separated_components_are_found(batch_size: int | None) -> None:
    x = separated()
    model = DPGMM(NormalInverseWishart.from_data(x)).truncated(5, x=x)
    done = fit(
        model, x, epochs=120 if batch_size is None else 40, batch_size=batch_size,
        optimizer=partial(Adam, lr=0.05), device="cpu", progress=False,
    )  # fmt: skip
    assert done.recipe == "model"
    assert done.losses[-5:].mean() < done.losses[:5].mean()
    with torch.no_grad():
        distance = torch.cdist(CENTRES, model.means)  # (3, T)
        share = (model.weights * (distance < 3.0)).sum(1)
        nearest = (model.weights * (distance < 3.0)) @ model.means / share.unsqueeze(1)
    torch.testing.assert_close(share, torch.full((3,), 1 / 3, dtype=F64), atol=0.05, rtol=0.0)
    torch.testing.assert_close(nearest, CENTRES, atol=0.5, rtol=0.0)
    r = model.responsibilities(x)
    torch.testing.assert_close(r.sum(1), torch.ones(len(x), dtype=F64))
    owner = torch.where(distance[:, r.argmax(1)] < 3.0, 1, 0).argmax(0)  # centre of each row
    assert (owner == torch.arange(len(x)) % 3).double().mean() > 0.98
    density = model.predictive().log_prob(x).mean().item()
    truth = -math.log(3.0) - math.log(2 * math.pi) - 1.0
    assert density == pytest.approx(truth, abs=0.15)
    names = {"alpha", "stick", "covariance", "mean"}
    group = done.to_arviz(4)["posterior"]
    assert set(group.data_vars) == names
    assert group["mean"].dims == ("chain", "draw", "component", "feature")


@pytest.mark.slow
def test_bound_stays_below_the_evidence() -> None:
    x, base, evidence = small()
    model = TruncatedDPGMM(base, 12, concentration=0.8, x=x)
    fit(
        model, x, epochs=1500, optimizer=partial(Adam, lr=0.02), device="cpu", progress=False,
        loss=Trace_ELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=1),
    )  # fmt: skip
    with pyro.plate("draws", 20_000, dim=-2), torch.no_grad():
        guide = poutine.trace(model.guide).get_trace(x)
        trace = poutine.trace(poutine.replay(model, guide)).get_trace(x)
    gap = torch.zeros(20_000, dtype=F64)
    for one, sign in ((trace, 1.0), (guide, -1.0)):
        one.compute_log_prob()
        for node in one.nodes.values():
            if node["type"] == "sample" and "log_prob" in node and node["log_prob"].ndim == 2:
                gap += sign * node["log_prob"].sum(1)
    error = gap.std().item() / 20_000**0.5
    assert evidence - 4.0 < gap.mean().item() < evidence + 5.0 * error
    assert torch.logsumexp(gap, 0).item() - math.log(20_000) == pytest.approx(evidence, abs=0.5)


@pytest.mark.gpu
def test_on_cuda() -> None:
    x = separated()
    model = DPGMM(NormalInverseWishart.from_data(x)).truncated(4, x=x)
    done = fit(model, x, epochs=3, batch_size=80, device="cuda", progress=False)
    assert done.losses.isfinite().all()
    assert model.responsibilities(x).device.type == "cuda"


def test_starts_are_seeded_and_leave_the_streams_alone() -> None:
    x = separated(30)
    base = NormalInverseWishart.from_data(x)
    before = torch.get_rng_state()
    one, two = (TruncatedDPGMM(base, 4, x=x, seed=7) for _ in range(2))
    assert torch.equal(one.loc, two.loc)
    assert not torch.equal(one.loc, TruncatedDPGMM(base, 4, x=x, seed=8).loc)
    assert TruncatedDPGMM(base, 4, seed=1).means.shape == (4, 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert one.num_points == 30
    assert TruncatedDPGMM(base, 4, num_points=99).num_points == 99
    same = torch.ones(5, 2, dtype=F64)
    assert TruncatedDPGMM(base, 4, x=same).loc.isfinite().all()


def test_refusals() -> None:
    x = separated(30)
    base = NormalInverseWishart.from_data(x)
    cases: list[tuple[Any, str]] = [
        (lambda: TruncatedDPGMM(None, 3), "base"),  # type: ignore[arg-type]
        (lambda: TruncatedDPGMM(base, 1), "num_components"),
        (lambda: TruncatedDPGMM(base, 2.0), "num_components"),  # type: ignore[arg-type]
        (lambda: TruncatedDPGMM(base, 3, concentration=-1.0), "concentration"),
        (lambda: TruncatedDPGMM(base, 3, concentration=dist.Normal(0.0, 1.0)), "concentration"),
        (lambda: TruncatedDPGMM(base, 3, x=x[:, :1]), "2 columns"),
        (lambda: TruncatedDPGMM(base, 3, x=x * math.nan), "NaN"),
        (lambda: TruncatedDPGMM(base, 3, x=x, num_points=3), "num_points"),
        (lambda: TruncatedDPGMM(base, 3, seed=-1), "seed"),
        (lambda: TruncatedDPGMM(base, 3)(x[:, :1]), "2 columns"),
        (lambda: TruncatedDPGMM(base, 3).responsibilities(x[:, 0]), "matrix"),
        (
            lambda: TruncatedDPGMM(NormalInverseWishart.from_data(x, diagonal=True), 3),
            "diagonal",
        ),
    ]
    for call, message in cases:
        with pytest.raises((ValueError, TypeError), match=message):
            call()
