"""The joint density of a state and its coordinates, against the oracle of all partitions."""

from types import SimpleNamespace

import numpy as np
import partition_oracle as oracle
import pytest
import torch
from pyro.distributions import Gamma, LogNormal
from scipy import stats

from probact.inference.dirichlet.problem import pose
from probact.inference.dirichlet.state import DPState, canonical, label_dtype, log_joint


def model_of(prior, concentration=1.5, scale_factor=None):
    base = SimpleNamespace(
        loc=torch.tensor(prior.mu0),
        kappa=prior.kappa0,
        scale=torch.tensor(prior.psi0),
        df=prior.nu0,
        diagonal=prior.diagonal,
    )
    return SimpleNamespace(base=base, concentration=concentration, scale_factor=scale_factor)


def tensor(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize(("dim", "offset"), [(1, 0.0), (3, 0.0), (3, 2.0**20), (9, 5.0)])
def test_log_joint_of_every_partition(dim, offset, diagonal):
    rng = np.random.default_rng(dim)
    x = np.round(rng.normal(size=(5, dim)) * 64) / 64 + offset
    mix = rng.normal(size=(dim, dim))
    scale = np.diag(rng.uniform(0.5, 2.0, dim)) if diagonal else mix @ mix.T + np.eye(dim)
    prior = oracle.NIW(rng.normal(size=dim), 0.3, dim + 1.7, scale, diagonal)
    problem = pose(model_of(prior), torch.tensor(x))
    for labels in oracle.set_partitions(5):
        state = DPState(torch.tensor(labels), tensor(0.9), tensor(1.0), problem, {})
        want = oracle.log_joint(labels, x, 0.9, prior)
        assert float(log_joint(state)) == pytest.approx(want, rel=1e-10, abs=1e-9), labels


def test_priors_of_the_hyper_parameters_enter():
    x = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    base = np.array([[2.0, 0.5], [0.5, 1.0]])
    prior = oracle.NIW(np.zeros(2), 0.3, 4.0, base)
    problem = pose(model_of(prior, Gamma(2.0, 3.0), LogNormal(0.0, 1.0)), x)
    labels = (0, 0, 1, 0, 1, 2)
    state = DPState(torch.tensor(labels), tensor(0.9), tensor(1.7), problem, {})
    scaled = oracle.NIW(np.zeros(2), 0.3, 4.0, 1.7 * base)
    want = oracle.log_joint(labels, x.numpy(), 0.9, scaled)
    want += stats.gamma.logpdf(0.9, 2.0, scale=1 / 3) + stats.lognorm.logpdf(1.7, 1.0)
    assert float(log_joint(state)) == pytest.approx(want, rel=1e-7)  # float32 prior laws


def test_slots_are_not_identities():
    x = torch.randn(7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    problem = pose(model_of(oracle.NIW(np.zeros(2), 0.3, 4.0, np.eye(2))), x)
    values = [
        float(log_joint(DPState(torch.tensor(z), tensor(2.0), tensor(1.0), problem, {})))
        for z in ([0, 0, 1, 1, 2, 0, 2], [9, 9, 0, 0, 4, 9, 4])
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-14)


def test_canonical_numbers_by_first_appearance():
    rng = np.random.default_rng(0)
    for _ in range(20):
        z = rng.integers(0, 9, size=30)
        assert tuple(canonical(torch.tensor(z)).tolist()) == oracle.canonical(z)


def test_pose_leaves_the_data_alone_and_refuses_other_widths():
    x = torch.randn(4, 2, dtype=torch.float64)
    before = x.clone()
    model = model_of(oracle.NIW(np.zeros(2), 0.3, 4.0, np.eye(2)))
    pose(model, x)
    assert torch.equal(x, before)
    with pytest.raises(ValueError, match="x must have 2 columns"):
        pose(model, x[:, :1])
    with pytest.raises(ValueError, match="squares overflow"):
        pose(model, x * 1e160)


@pytest.mark.parametrize("n", [1, 129, 2**15, 2**15 + 1, 2**16])
def test_the_type_of_labels_holds_them_all(n):
    dtype = label_dtype(n)
    assert torch.tensor(n - 1).to(dtype) == n - 1
    assert dtype == (torch.int16 if n <= 2**15 else torch.int32)
