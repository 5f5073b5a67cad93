"""Independence Metropolis against laws that are known, with poor guesses to start from."""

import pytest
import torch
from scipy import stats
from statcheck import AlphaBudget, batch_means_z, dkw_pvalue
from torch import Generator, Tensor

from probact.inference.independence import IndependenceDraws, independence_chains

F64 = torch.float64
MEAN = torch.tensor([1.0, -40.0], dtype=F64)
COVARIANCE = torch.tensor([[2.0, 0.9], [0.9, 0.5]], dtype=F64)


def normal(theta: Tensor) -> Tensor:
    gap = theta - MEAN
    return -0.5 * (gap @ torch.linalg.inv(COVARIANCE) * gap).sum(-1)


def run(log_target, start: Tensor, covariance: Tensor, draws: int = 2000) -> IndependenceDraws:
    return independence_chains(
        log_target,
        start,
        covariance,
        draws=draws,
        chains=4,
        generator=Generator().manual_seed(0),
    )


@pytest.mark.parametrize("wrong", [1.0, 0.05, 20.0])
def test_moments_of_a_normal_law(wrong: float, budget: AlphaBudget) -> None:
    found = run(normal, MEAN + 0.5, wrong * COVARIANCE)
    assert found.theta.shape == (4, 2000, 2)
    assert float(found.acceptance.min()) > 0.6
    a, b = (found.theta.flatten(0, 1) - MEAN).unbind(-1)
    for name, chain, want in (("a", a, 0.0), ("b", b, 0.0), ("aa", a * a, 2.0), ("ab", a * b, 0.9),
                              ("bb", b * b, 0.5)):  # fmt: skip
        z = batch_means_z(chain, want)
        budget.check(f"independence chain {wrong} {name}", 2.0 * stats.norm.sf(abs(z)))


def test_a_skewed_law_with_a_kink(budget: AlphaBudget) -> None:
    """Two exponential sides, rates 1 and 4: no second derivative at the mode, no mass of q's."""
    found = run(
        lambda theta: -torch.where(theta < 0.0, -4.0 * theta, theta).squeeze(-1),
        torch.zeros(1, dtype=F64),
        torch.eye(1, dtype=F64),
        draws=4000,
    )
    law = stats.laplace_asymmetric(0.5, scale=0.5)  # rates kappa / scale and 1 / (kappa scale)
    thinned = found.theta[:, ::20].flatten()
    budget.check("independence chain, kink", dkw_pvalue(thinned.numpy(), law.cdf))


def test_every_chain_has_its_own_draws_and_the_seed_decides() -> None:
    first, again = (run(normal, MEAN, COVARIANCE, draws=20) for _ in range(2))
    assert torch.equal(first.theta, again.theta)
    assert not torch.equal(first.theta[0], first.theta[1])
    repeats = (first.theta[:, 1:] == first.theta[:, :-1]).all(-1)  # a refused proposal stays
    assert repeats.any()
    torch.testing.assert_close(
        1.0 - repeats.double().mean(1), first.acceptance.double(), rtol=0.0, atol=0.1
    )


def test_points_without_density_are_never_kept() -> None:
    def half_line(theta: Tensor) -> Tensor:
        return torch.where(theta > 0.0, -theta, torch.nan).squeeze(-1)

    one = torch.ones(1, dtype=F64)
    assert (run(half_line, one, one[None], draws=500).theta > 0.0).all()


def test_refusals() -> None:
    one = torch.ones(1, dtype=F64)
    with pytest.raises(ValueError, match="covariance must be finite and positive definite"):
        run(normal, MEAN, -COVARIANCE)
    with pytest.raises(ValueError, match="log_target is not finite"):
        run(lambda theta: torch.nan * theta[:, 0], one, one[None])
