"""What the tied von Mises-Fisher classifier refuses, and the memory that it takes."""

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from bad_inputs import data_cases, parameter_cases, verdict

from probact.inference import SamplingWarning, sample
from probact.models import VMFClassifier

EYE = torch.eye(3, dtype=torch.float64)
LABELS = torch.arange(3)
MODEL = VMFClassifier(EYE, 10.0)

# A matrix of weights, unlike one of data, needs a direction in every row and two columns
NO_DIRECTION = {"all zeros", "one zero row", "D=1", "N=1 D=1"}


@pytest.mark.parametrize(("name", "make", "expect"), list(data_cases()), ids=lambda v: str(v)[:30])
def test_catalogue_of_weights(name: str, make: Callable[[], Any], expect: str) -> None:
    def readings() -> torch.Tensor:
        model = VMFClassifier(make(), concentration=1.0)
        a = model.sample_activations(0, 4, seed=0)
        return torch.cat([model.class_posterior(a).flatten(), model.class_relations(20).flatten()])

    expect = "error" if name in NO_DIRECTION else expect
    assert verdict(readings, expect, lambda out: bool(torch.isfinite(out).all())) is None


@pytest.mark.parametrize(
    ("name", "kappa", "expect"),
    [(name, p["kappa"], expect) for name, p, expect in parameter_cases() if "kappa" in name],
)
def test_catalogue_of_concentrations(name: str, kappa: Any, expect: str) -> None:
    def readings() -> torch.Tensor:
        model = VMFClassifier(EYE, kappa)
        a = model.sample_activations(0, 4, seed=0)
        return torch.cat([model.class_posterior(a).flatten(), model.class_relations(20).flatten()])

    assert verdict(readings, expect, lambda out: bool(torch.isfinite(out).all())) is None


def test_an_input_is_not_changed() -> None:
    weight = np.random.default_rng(0).normal(size=(3, 4))
    before = weight.copy()
    VMFClassifier(weight, "norm").class_relations(20)
    assert np.array_equal(weight, before)


CONSTRUCTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "zero row": ({"weight": [[1.0, 0.0], [0.0, 0.0]]}, "weight has 1 zero row.*row 1"),
    "one column": ({"weight": [[1.0], [2.0]]}, "weight must be .* D >= 2"),
    "negative kappa": ({"concentration": -1.0}, "concentration must be finite and >= 0"),
    "nan kappa": ({"concentration": math.nan}, "concentration must be finite"),
    "infinite kappa": ({"concentration": math.inf}, "concentration must be finite"),
    "word": ({"concentration": "norms"}, 'numbers or "norm", got .norms'),
    "kappas for two": ({"concentration": torch.ones(2)}, "concentration"),
    "matrix of kappas": ({"concentration": torch.ones(3, 1)}, "concentration"),
    "prior for two": ({"concentration": dist.LogNormal(torch.zeros(2), 1.0)}, "batch shape"),
    "multivariate prior": (
        {"concentration": dist.Dirichlet(torch.ones(3))}, "concentration must be univariate"
    ),
    "event of size 3": (
        {"concentration": dist.LogNormal(torch.zeros(3), 1.0).to_event(1)}, "univariate"
    ),
    "short bias": ({"bias": [1.0, 2.0]}, "bias must be .3,., one per class"),
    "nan bias": ({"bias": [1.0, math.nan, 0.0]}, "bias has 1 row with NaN"),
    "column bias": ({"bias": torch.ones(3, 1)}, "bias must be"),
    "negative probability": ({"class_probs": [1.5, -0.5, 0.0]}, "class_probs must be >= 0"),
    "probabilities to two": ({"class_probs": [1.0, 0.5, 0.5]}, "class_probs must .* sum to one"),
    "nan probability": ({"class_probs": [1.0, math.nan, 0.0]}, "class_probs has 1 row with NaN"),
    "probabilities of two": ({"class_probs": [0.5, 0.5]}, "class_probs must be .3,."),
    "two names": ({"class_names": ["a", "b"]}, "class_names must be 3 names"),
    "no names": ({"class_names": []}, "class_names must be 3 names"),
    "one string": ({"class_names": "abc"}, "class_names must be 3 names"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_construction_says_what_is_wrong(name: str) -> None:
    arguments, message = CONSTRUCTIONS[name]
    with pytest.raises(ValueError, match=message):
        VMFClassifier(**{"weight": EYE, "concentration": 10.0, **arguments})


@pytest.mark.parametrize("kappa", [None, True, 1j, object()])
def test_a_concentration_that_is_no_number(kappa: Any) -> None:
    with pytest.raises(TypeError, match="concentration"):
        VMFClassifier(EYE, kappa)


ROWS: dict[str, tuple[Any, str]] = {
    "too long": (2.0 * EYE, "unit vectors, row 0 has norm 2"),
    "nan": (EYE * math.nan, "NaN"),
    "wrong D": (torch.eye(4)[:3], r"\(N, 3\)"),
    "one row": (EYE[0], r"\(N, 3\)"),
    "none at all": (EYE[:0], "N >= 1"),
    "integers": (torch.eye(3, dtype=torch.int64), "float32 or float64"),
    "half": (torch.eye(3).half(), "float32 or float64"),
    "array": (np.eye(3), "must be a tensor"),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("reading", ["forward", "class_posterior", "log_likelihood", "mle"])
def test_activations_say_what_is_wrong(reading: str, name: str) -> None:
    rows, message = ROWS[name]
    with pytest.raises(ValueError, match=f"activations.*{message}"):
        call(reading, rows, LABELS)


LABEL_CASES: dict[str, tuple[Any, str]] = {
    "too large": (torch.tensor([0, 3, 1]), r"0 \.\. 2, got 3 at row 1"),
    "negative": (torch.tensor([0, 1, -1]), r"0 \.\. 2, got -1 at row 2"),
    "floats": (torch.tensor([0.0, 1.0, 2.0]), "int64 tensor"),
    "booleans": (torch.tensor([True, False, True]), "int64 tensor"),
    "bytes": (torch.tensor([0, 1, 2], dtype=torch.uint8), "int64 tensor"),
    "int32": (torch.tensor([0, 1, 2], dtype=torch.int32), "int64 tensor"),
    "complex": (torch.tensor([0j, 1j, 2]), "int64 tensor"),
    "column": (torch.tensor([[0], [1], [2]]), "int64 tensor"),
    "two": (torch.tensor([0, 1]), "one per row"),
    "list": ([0, 1, 2], "int64 tensor"),
}


@pytest.mark.parametrize("name", LABEL_CASES)
@pytest.mark.parametrize("reading", ["forward", "log_likelihood", "mle"])
def test_labels_say_what_is_wrong(reading: str, name: str) -> None:
    labels, message = LABEL_CASES[name]
    with pytest.raises(ValueError, match=f"labels must be.*{message}"):
        call(reading, EYE, labels)


def call(reading: str, activations: Any, labels: Any) -> Any:
    if reading == "mle":
        return VMFClassifier.mle(EYE, activations, labels)
    if reading == "class_posterior":
        return MODEL.class_posterior(activations)
    return getattr(MODEL, reading)(activations, labels)


@pytest.mark.parametrize("reading", ["log_likelihood", "mle"])
def test_missing_data_is_named(reading: str) -> None:
    with pytest.raises(ValueError, match="activations"):
        call(reading, None, LABELS)
    with pytest.raises(ValueError, match="labels"):
        call(reading, EYE, None)


@pytest.mark.parametrize("label", [3, -1, True, 10**18, torch.tensor([0, 7])])
def test_label_of_a_draw(label: Any) -> None:
    with pytest.raises(ValueError, match="labels must be"):
        MODEL.sample_activations(label, 3)


@pytest.mark.parametrize("label", [1.0, "1", None, 1j])
def test_label_that_is_none(label: Any) -> None:
    with pytest.raises(TypeError, match="label must be"):
        MODEL.sample_activations(label, 3)


@pytest.mark.parametrize("count", [0, -1, -(10**30), 2.0, True, "3", None, math.nan])
def test_number_of_draws(count: Any) -> None:
    for draw in (lambda: MODEL.sample_activations(0, count), lambda: MODEL.class_relations(count)):
        with pytest.raises(ValueError, match="num_samples must be an integer of at least"):
            draw()
    with pytest.raises(ValueError, match="num_samples must be an integer of at least 4, got 3"):
        MODEL.class_relations(3)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "0", 2**70])
def test_seeds(seed: Any) -> None:
    for draw in (MODEL.class_relations, lambda n, seed: MODEL.sample_activations(0, n, seed=seed)):
        with pytest.raises(ValueError):
            draw(10, seed=seed)
    with pytest.raises(ValueError, match="generator or a seed, not both"):
        MODEL.sample_activations(0, 3, seed=1, generator=torch.Generator())


def test_draws_of_kappa_that_do_not_fit() -> None:
    many = VMFClassifier(EYE, dist.LogNormal(torch.zeros(3), 1.0))
    one = VMFClassifier(EYE, dist.LogNormal(0.0, 1.0))
    wrong = {one: [(2, 3), (0,), (4, 1)], many: [(), (2,), (5, 2), (0, 3), (2, 2, 3)]}
    for model, shapes in wrong.items():
        for shape in shapes:
            with pytest.raises(ValueError, match="concentration must be"):
                model.class_posterior(EYE, torch.ones(shape))
    for kappa in (-torch.ones(3), torch.full((3,), math.nan), torch.full((3,), math.inf)):
        with pytest.raises(ValueError, match="concentration must be finite and >= 0"):
            one.class_posterior(EYE, kappa)
    with pytest.raises(ValueError, match="7 draws of kappa for num_samples = 3"):
        one.sample_activations(0, 3, concentration=torch.ones(7))
    for reading in (lambda: one.class_posterior(EYE), lambda: one.sample_activations(0, 3)):
        with pytest.raises(ValueError, match="is a prior here"):
            reading()


SCRIPT = r"""
import re, sys, torch
from pathlib import Path
from probact.inference import SamplingWarning, sample
from probact.models import VMFClassifier
def peak():  # of this program alone; getrusage's maximum is inherited from the parent
    return re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text()).group(1)
classes, dim, draws = map(int, sys.argv[1:])
model = VMFClassifier(torch.randn(classes, dim, generator=torch.Generator().manual_seed(0)), 85.0)
model.class_relations(4)
before = peak()
model.class_relations(draws)
print(before, peak())
"""


def peak(*sizes: int) -> tuple[int, int]:
    """Peak memory in KiB before and after class relations, in a process of their own."""
    command = [sys.executable, "-c", SCRIPT, *map(str, sizes)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    before, after = printed.split()
    return int(before), int(after)


def test_memory_is_that_of_a_block() -> None:
    """Not of all draws: their noise alone, 10,000 x 4096 floats, would take 160 MB."""
    before, after = peak(3, 4096, 20_000)
    assert after - before < 40_000


@pytest.mark.slow
def test_memory_of_many_classes() -> None:
    """The logits of all draws, 20,000 x 300 floats a class, would take 24 MB three times over."""
    before, after = peak(300, 512, 40_000)
    assert after - before < 40_000


@pytest.mark.slow
def test_memory_at_the_size_of_imagenet() -> None:
    assert peak(1000, 2048, 10_000)[1] < 2_000_000


@pytest.mark.parametrize(
    "prior",
    [
        dist.Normal(0.0, 1.0),
        dist.Uniform(-5.0, 1.0),
        dist.Poisson(3.0),
        dist.Delta(torch.ones(())),
    ],
)
def test_a_prior_that_is_not_of_positive_numbers_is_refused(prior) -> None:
    with pytest.raises(ValueError, match="concentration must be a law of positive numbers"):
        VMFClassifier(torch.eye(4), prior)


def test_sampling_without_data_says_what_is_missing() -> None:
    model = VMFClassifier(torch.eye(4), dist.LogNormal(0.0, 1.0))
    with (
        pytest.warns(SamplingWarning, match="label is discrete"),
        pytest.raises(ValueError, match=r"cannot sample 'activation'.*pass its values as data"),
    ):
        sample(model, progress=False)


def test_weights_are_kept_beside_the_draws() -> None:
    model = VMFClassifier(torch.eye(4), dist.LogNormal(0.0, 1.0))
    data = (torch.eye(4, dtype=torch.float64), torch.arange(4))
    with pytest.warns(SamplingWarning):
        post = sample(model, data, draws=5, tune=5, chains=1, progress=False)
    assert post.constant_data["weight"].dims == ("class", "feature")
