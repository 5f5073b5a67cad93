"""What a factorial mixture refuses, and in which words."""

import pytest
import torch
from factorial_oracle import random_layer, random_model

from probact.models.factorial_mixture import FactorialMixture

BAD = [
    (ValueError, r"slopes must be \(K, R, D\)", {"slopes": torch.zeros(2, 3)}),
    (ValueError, "slopes must be finite", {"slopes": torch.full((1, 2, 1), torch.nan)}),
    (TypeError, "slopes", {"slopes": None}),
    (ValueError, r"weights must be \(K, R\) = \(1, 2\)", {"weights": [0.5, 0.5]}),
    (ValueError, "rows that sum to one", {"weights": [[0.5, 0.6]]}),
    (ValueError, "rows that sum to one", {"weights": [[1.5, -0.5]]}),
    (ValueError, "weights must be finite", {"weights": [[float("nan"), 1.0]]}),
    (ValueError, "noise is a variance", {"noise": -1.0}),
    (TypeError, "noise", {"noise": "one"}),
    (ValueError, r"offset must be \(1,\)", {"offset": [0.0, 0.0]}),
    (ValueError, "offset must be finite", {"offset": [float("inf")]}),
]


@pytest.mark.parametrize(("error", "words", "change"), BAD)
def test_bad_parameters(error, words, change):
    given = {"slopes": torch.zeros(1, 2, 1), "weights": [[0.5, 0.5]], "noise": 1.0}
    with pytest.raises(error, match=words):
        FactorialMixture(**{**given, **change})


def test_bad_calls():
    model, x = random_model()
    for bad, words in (
        (x[0], "must be a matrix"),
        (x[:, :3], "x must have 8 columns, got 3"),
        (x * float("nan"), "NaN"),
    ):
        for method in (model.log_evidence, model.selection, model.mean_field, model):
            with pytest.raises(ValueError, match=words):
                method(bad)
    for probs, words in (
        (torch.ones(2, 4, 3), r"probs must be \(N, K, R\) = \(50, 4, 3\)"),
        (torch.ones(50, 4, 3), "sum to one"),
        (torch.full((50, 4, 3), torch.nan), "sum to one"),
    ):
        for method in (model.elbo, model.orthogonality_gap):
            with pytest.raises(ValueError, match=words):
                method(x, probs)
    with pytest.raises(ValueError, match="tolerance"):
        model.mean_field(x, tolerance=-1.0)
    with pytest.raises(ValueError, match="num_points"):
        model(num_points=0)
    with pytest.raises(ValueError, match=r"activation"):
        FactorialMixture.from_layer(torch.nn.Linear(2, 2), "relu6")
    with pytest.raises(ValueError, match="noise"):
        FactorialMixture.from_layer(torch.nn.Linear(2, 2), noise=0.0)
    with pytest.raises(TypeError):
        FactorialMixture.from_layer(torch.nn.LSTM(2, 2))


def test_many_codes_are_refused_in_words():
    slopes, weights, _ = random_layer(17, 2, 3)
    model, x = FactorialMixture(slopes, weights, 1.0), torch.zeros(2, 3, dtype=torch.float64)
    for method in (model.log_evidence, model.code_posterior, model.unit_posterior):
        with pytest.raises(ValueError, match="use mean_field, a Gibbs kernel or annealed"):
            method(x)
    for method in (model.map_codes, model.orthogonality_gap):
        with pytest.raises(ValueError, match=r"2\^17 codes, more than the 65536"):
            method(x)
    with pytest.raises(ValueError, match=r"2\^17 codes"):
        FactorialMixture.em(x, 17)
    assert model.mean_field(x, sweeps=2).probs.shape == (2, 17, 2)
    assert model.elbo(x).shape == (2,)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("posterior must be", {"posterior": "layer"}),
        ("iterations", {"iterations": 0}),
        ("num_units", {"num_units": 0}),
        ("seed", {"seed": -1}),
        ("start has slopes", {"num_units": 2, "start": random_model()[0]}),
        ("no spread", {"x": torch.ones(5, 8)}),
        ("x is too large", {"x": 1e160 * random_model()[1]}),
        ("explain all 3 rows", {"x": torch.eye(3).double(), "num_units": 6, "iterations": 500}),
    ],
)
def test_bad_em(words, options):
    given = {"x": random_model()[1], "num_units": 2, **options}
    with pytest.raises(ValueError, match=words):
        FactorialMixture.em(**given)


def test_start_of_another_kind():
    with pytest.raises(TypeError, match="start must be a FactorialMixture, got str"):
        FactorialMixture.em(random_model()[1], 4, start="layer")


def test_zero_weights_cannot_be_learned():
    slopes, weights = torch.zeros(1, 2, 1), [[0.0, 1.0]]
    assert FactorialMixture(slopes, weights, 1.0).weights[0, 0] == 0.0
    with pytest.raises(ValueError, match="weights must be above 0 to be learnable"):
        FactorialMixture(slopes, weights, 1.0, learnable=True)
