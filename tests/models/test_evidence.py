"""Importance sampling in chunks against the same samples summed at once."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from probact.models.evidence import importance_estimate


@pytest.mark.parametrize("chunk", [1, 3, 7, 24, 100])
@pytest.mark.parametrize("offset", [0.0, -1e4, 1e4])
def test_chunks_share_a_peak(chunk: int, offset: float) -> None:
    log_w = np.random.default_rng(3).normal(offset, 5.0, (24, 6))  # the largest term anywhere
    rows = iter(torch.from_numpy(log_w))
    found = importance_estimate(lambda s: torch.stack([next(rows) for _ in range(s)]), 24, chunk)
    w = np.exp(log_w - log_w.max(0))
    np.testing.assert_allclose(found.log_likelihood, logsumexp(log_w, 0) - np.log(24), rtol=1e-13)
    np.testing.assert_allclose(found.elbo, log_w.mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.effective_samples, w.sum(0) ** 2 / (w**2).sum(0), rtol=1e-10)
    error = w.std(0, ddof=1) / w.mean(0) / np.sqrt(24)  # delta method
    np.testing.assert_allclose(found.monte_carlo_error, error, rtol=1e-10)


def test_one_sample_has_no_error() -> None:
    found = importance_estimate(lambda s: torch.full((s, 2), -3.0), 1, 10)
    assert found.log_likelihood.tolist() == [-3.0, -3.0]
    assert found.monte_carlo_error.isnan().all()
