"""Coherence and the interaction of units, against loops and an enumerated posterior."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from probact.nn.orthogonal.coherence import capacity, coherence, interaction_gram
from probact.nn.orthogonal.filters import orthogonal_rows
from probact.nn.orthogonal.penalty import orthogonality_penalty

SIGMA2 = 0.7


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_coherence_of_loops() -> None:
    kernels = draw(5, 2, 2, 2)
    rows = kernels.flatten(1).numpy()
    cosines, products, whole = [], [], 0.0
    for k, m in itertools.product(range(5), repeat=2):
        product = float(rows[k] @ rows[m])
        whole += product**2
        if k != m:
            cosines.append(product / np.linalg.norm(rows[k]) / np.linalg.norm(rows[m]))
            products.append(product**2)
    found = coherence(kernels)
    assert found.mutual == pytest.approx(max(map(abs, cosines)))
    assert found.mean_squared_cosine == pytest.approx(np.mean(np.square(cosines)))
    assert found.off_diagonal_mass == pytest.approx(sum(products))
    assert found.off_diagonal_share == pytest.approx(sum(products) / whole)
    layer = torch.nn.Conv2d(2, 5, 2).double()
    layer.weight.data = kernels
    assert float(orthogonality_penalty(layer).detach()) == pytest.approx(found.off_diagonal_mass)


def test_coherence_at_its_ends() -> None:
    assert coherence(orthogonal_rows(draw(6, 9))) == pytest.approx((0.0,) * 4, abs=1e-14)
    assert coherence(torch.ones(3, 4)) == pytest.approx((1.0, 1.0, 96.0, 6 / 9))
    plain, huge = (coherence(scale * draw(3, 4)) for scale in (1.0, 1e200))
    assert huge[:2] == pytest.approx(plain[:2])
    assert huge.off_diagonal_share == pytest.approx(plain.off_diagonal_share)
    assert huge.off_diagonal_mass == float("inf")  # 1e800
    # 192 random directions: the mean squared cosine is 1 / D
    random = coherence(draw(192, 864)).mean_squared_cosine
    assert random == pytest.approx(1 / 864, rel=0.05)


def posterior(slopes: Tensor, x: Tensor, sigma2: float) -> Tensor:
    """p(t | x) of x = sum_k A_k,t_k + noise with uniform codes, by enumeration: (R,) * K."""
    num_units, num_regions, _ = slopes.shape
    scores = torch.empty((num_regions,) * num_units, dtype=torch.float64)
    for code in itertools.product(range(num_regions), repeat=num_units):
        mean = torch.stack([slopes[k, r] for k, r in enumerate(code)]).sum(0)
        scores[code] = -(x - mean).square().sum() / (2 * sigma2)
    return torch.softmax(scores.flatten(), 0).reshape(scores.shape)


def dependence(joint: Tensor) -> float:
    """Largest difference between a joint law and the product of its marginals."""
    axes = range(joint.ndim)
    product = torch.ones_like(joint)
    for axis in axes:
        others = [other for other in axes if other != axis]
        product = product * joint.sum(others, keepdim=True)
    return float((joint - product).abs().max())


def blocks_off_diagonal(gram: Tensor) -> float:
    keep = ~torch.eye(len(gram), dtype=torch.bool)
    return float(gram[keep].abs().max())


@pytest.mark.parametrize("shifted", [False, True])
def test_units_are_independent_where_it_vanishes(shifted: bool) -> None:
    """Spans of differences that are orthogonal, and any shift of the slopes of a unit."""
    basis = torch.linalg.qr(draw(6, 6))[0].reshape(3, 2, 6)
    slopes = torch.einsum("krc,kcd->krd", draw(3, 3, 2, seed=1), basis)
    if shifted:
        slopes = slopes + draw(3, 1, 6, seed=2)
        inner = torch.einsum("krd,lsd->klrs", slopes, slopes)
        assert blocks_off_diagonal(inner) > 0.5  # the slopes themselves are not orthogonal
    assert blocks_off_diagonal(interaction_gram(slopes)) < 1e-14
    assert dependence(posterior(slopes, draw(6, seed=3), SIGMA2)) < 1e-12
    assert capacity(slopes) == (6, 6)


def test_units_depend_where_it_does_not() -> None:
    slopes = draw(3, 3, 6)
    assert blocks_off_diagonal(interaction_gram(slopes)) > 0.1
    assert dependence(posterior(slopes, draw(6, seed=3), SIGMA2)) > 1e-2


def test_it_is_the_interaction_of_the_posterior() -> None:
    """Double differences of log p(t | x) are those of -gram / sigma^2."""
    slopes, x = draw(2, 3, 4), draw(4, seed=1)
    log_joint = posterior(slopes, x, SIGMA2).log()
    centred = log_joint - log_joint.mean(0) - log_joint.mean(1, keepdim=True) + log_joint.mean()
    torch.testing.assert_close(centred, -interaction_gram(slopes)[0, 1] / SIGMA2)


def test_of_relu_it_is_the_gram_of_the_filters() -> None:
    weight = draw(4, 6)
    slopes = torch.stack([torch.zeros_like(weight), weight], 1)
    gram = interaction_gram(slopes)
    assert gram.shape == (4, 4, 2, 2)
    torch.testing.assert_close(gram[..., 1, 1], weight @ weight.T / 4)
    torch.testing.assert_close(gram[..., 0, 1], -weight @ weight.T / 4)
    absolute = interaction_gram(torch.stack([-weight, weight], 1))
    torch.testing.assert_close(absolute[..., 1, 1], weight @ weight.T)


def test_capacity() -> None:
    assert capacity(draw(5, 2, 4)) == (5, 4)
    assert not capacity(draw(5, 2, 4)).suffices
    assert capacity(draw(5, 1, 4)) == (0, 4)  # linear units have one region each
    assert capacity(draw(2, 9, 4)) == (8, 4)  # a span has no more dimensions than there are
    collinear = torch.stack([torch.arange(4.0)[:, None] * draw(3) for _ in range(2)])
    assert capacity(collinear + draw(3, seed=1)).needed == 2
    assert capacity(torch.zeros(3, 2, 2)).needed == 0


def test_dtypes() -> None:
    slopes = draw(3, 2, 4)
    assert interaction_gram(slopes.half()).dtype == torch.float32
    assert interaction_gram(slopes).dtype == torch.float64
    assert interaction_gram(torch.ones(2, 2, 2, dtype=torch.int64)).dtype == torch.float64
    rough = coherence(slopes.flatten(1).bfloat16())
    assert rough.mutual == pytest.approx(coherence(slopes.flatten(1)).mutual, abs=0.02)


def test_refusals() -> None:
    for function in (interaction_gram, capacity):
        with pytest.raises(ValueError, match=r"slopes must be \(K, R, D\), got shape \(2, 3\)"):
            function(torch.ones(2, 3))
        with pytest.raises(ValueError, match="slopes has 1 row with NaN"):
            function(torch.full((1, 2, 3), float("nan")))
        with pytest.raises(TypeError, match="slopes must be a tensor"):
            function("relu")
    with pytest.raises(ValueError, match="at least two rows, got 1"):
        coherence(torch.ones(1, 3))
    with pytest.raises(ValueError, match=r"1 zero row, no direction \(first: row 1\)"):
        coherence(torch.eye(3)[:2] * torch.tensor([[1.0], [0.0]]))
    with pytest.raises(ValueError, match="weight must be a matrix"):
        coherence(torch.ones(3))
