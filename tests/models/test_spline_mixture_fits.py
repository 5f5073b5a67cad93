"""SplineMixture fitted to inputs: what is found, by either loss, and what a fit leaves behind."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from pyro.infer import TraceEnum_ELBO
from scipy import stats
from statcheck import AlphaBudget
from torch import Tensor

from probact.inference import fit, load
from probact.models.spline_mixture import SplineMixture


def three_clusters(count: int) -> tuple[Tensor, SplineMixture]:
    """Inputs of a known mixture of one unit."""
    means = [[[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]]
    truth = SplineMixture(means, [[0.5, 0.3, 0.2]], 0.25)
    return truth.sample(count, seed=5).x[:, 0], truth


def test_fit_recovers_a_known_mixture(budget: AlphaBudget) -> None:
    x, truth = three_clusters(1500)
    m = SplineMixture.from_data(x, 2, 3, seed=1)
    start = m.log_prob(x).sum(0).detach()
    done = fit(m, x, epochs=150, optimizer=lambda p: torch.optim.Adam(p, 0.05), progress=False)
    evidence = m.log_prob(x).sum(0).detach()
    assert (evidence > start).all()
    assert done.losses[-1] < done.losses[0]
    best = int(evidence.argmax())
    assert evidence[best] > truth.log_prob(x).sum()  # a maximum, on the data that it was fitted to
    order = torch.cdist(truth.slopes[0], m.slopes[best]).argmin(-1)
    assert sorted(order.tolist()) == [0, 1, 2]
    counts = 1500 * truth.weights.detach()[0]  # overlap is below 1e-4: as if regions were seen
    z = (m.slopes.detach()[best, order] - truth.slopes[0].detach()) * (
        counts[:, None] / 0.25
    ).sqrt()
    budget.check("means", float(stats.chi2(6).sf(float(z.square().sum()))))
    weights = m.weights.detach()[best, order]
    budget.check("weights", float(stats.chisquare(1500 * weights, counts).pvalue))
    ratio = 3000 * m.noise[best].item() / 0.25
    budget.check("noise", 2.0 * min(stats.chi2(2994).sf(ratio), stats.chi2(2994).cdf(ratio)))


def test_fit_by_the_program_is_the_same_fit() -> None:
    """TraceEnum_ELBO and the closed form: the sum over 60 rows at a 60th of the step."""
    x, _ = three_clusters(60)
    both = [SplineMixture.from_data(x, 2, 3, seed=1) for _ in range(2)]
    elbo = TraceEnum_ELBO(max_plate_nesting=2)
    steps = [partial(torch.optim.SGD, lr=lr) for lr in (0.06, 0.001)]
    options = dict(epochs=3, device="cpu", progress=False)
    one = fit(both[0], x, optimizer=steps[0], **options)
    two = fit(both[1], x, optimizer=steps[1], loss=elbo, **options)
    assert one.losses[2] < one.losses[0]
    torch.testing.assert_close(60.0 * one.losses, two.losses, rtol=1e-12, atol=0.0)
    torch.testing.assert_close(both[0].slopes, both[1].slopes, rtol=1e-12, atol=1e-12)


def test_fit_goes_to_arviz(budget: AlphaBudget) -> None:
    """Draws of the regions follow the posterior, with the axes' names."""
    x, _ = three_clusters(20)
    m = SplineMixture.from_data(x, 2, 3, seed=1).at_noise(4.0)
    posterior = fit(m, x, epochs=2, device="cpu", progress=False).to_arviz(draws=400)
    t = posterior.posterior["t"]
    assert t.dims == ("chain", "draw", "data", "units")
    assert posterior.observed_data["x"].dims == ("data", "units", "feature")
    shares = np.stack([(t.values[0] == r).mean(0) for r in range(3)], -1)  # (N, K, R)
    expected = m.selection(x).detach().numpy()
    p, share = expected[..., 0], shares[..., 0]
    free = p * (1.0 - p) > 5.0 / 400
    z = (share - p)[free] / np.sqrt(p * (1.0 - p) / 400)[free]
    budget.check("regions", float(stats.chi2(len(z)).sf(z @ z)))


def test_a_fit_is_saved_and_opened(tmp_path: Path) -> None:
    x, _ = three_clusters(20)
    done = fit(SplineMixture.from_data(x, 2, 3), x, epochs=2, device="cpu", progress=False)
    done.save(tmp_path / "fit")
    opened = load(tmp_path / "fit", model=SplineMixture.from_data(x + 1.0, 2, 3), device="cpu")
    assert torch.equal(opened.model.log_prob(x), done.model.log_prob(x))
    assert opened.recipe == "model"
