"""Awkward data through the whole of a mixture's use: sample, predict, measure."""

import numpy as np
import pytest
import torch
from bad_inputs import data_cases, verdict

import probact as pa
from probact.analysis import relative_entropy
from probact.arrays import as_matrix
from probact.distributions import NormalInverseWishart
from probact.inference import SliceGibbs
from probact.models import DPGMM

pytestmark = pytest.mark.filterwarnings("ignore::probact.inference.SamplingWarning")
CASES = {name: (make, expect) for name, make, expect in data_cases()}
# the Gaussian that relative entropy compares with has no variance there
CONSTANT = {
    "N=1",
    "N=1 D=1",
    "all equal rows",
    "all zeros",
    "constant column",
    "all columns constant",
    "broadcast (stride 0)",
}
FEW = ["plain", "float32", "strings", "1-d", "N=0", "N=2", "D>N", "nan", "two distinct rows"]
FEW += ["constant column", "nearly collinear", "1e160 (squares overflow)", "one outlier 1e10"]


def use(make, kernel, diagonal):
    """Rows (N, D) and the predictive law of a few draws given them."""
    x = make()
    model = DPGMM(NormalInverseWishart.from_data(x, diagonal=diagonal))
    rows = as_matrix(x, "x")  # `sample` takes tensors
    few = {"draws": 3, "tune": 2, "chains": 1, "seed": 1, "progress": False}
    return rows, model.predictive(pa.sample(model, rows, kernel=kernel, **few))


def finite(reading):
    return bool(torch.isfinite(reading.per_draw).all()) and np.isfinite(reading.standard_error)


def check(name, kernel, diagonal):
    (make, expect), made = CASES[name], []

    def density():
        made.append(use(make, kernel, diagonal))
        rows, law = made[0]
        return law.log_prob(rows.double())

    def entropy():
        rows, law = made[0]
        return relative_entropy(law, rows, num_samples=50)

    with np.errstate(all="ignore"):  # the catalogue's own arithmetic
        assert verdict(density, expect, lambda out: bool(torch.isfinite(out).all())) is None
        if made:
            assert verdict(entropy, "error" if name in CONSTANT else expect, finite) is None


KERNELS = {"default": None, "slice": SliceGibbs()}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", FEW)
def test_awkward_data(name, kernel):
    check(name, KERNELS[kernel], diagonal=len(name) % 2 == 0)


@pytest.mark.slow
@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", CASES)
def test_all_awkward_data(name, kernel, diagonal):
    check(name, KERNELS[kernel], diagonal)
