"""Layers and factorial mixtures by brute force: numpy over itertools.product of all codes.

Densities come from scipy and from the residual in D dimensions, not from a Gram matrix.
"""

import itertools

import numpy as np
import torch
from scipy.stats import multivariate_normal

__all__ = [
    "brute_codes",
    "brute_log_joint",
    "brute_means",
    "orthogonal_slopes",
    "product_of_units",
    "random_layer",
    "random_model",
    "relu_slopes",
    "ring_model",
]


def brute_codes(num_units, num_regions):
    """(R^K, K), the last unit fastest."""
    return np.array(list(itertools.product(range(num_regions), repeat=num_units)))


def brute_means(slopes):
    """sum_k A_k,t_k of every code, (R^K, D)."""
    slopes = np.asarray(slopes)
    codes = brute_codes(*slopes.shape[:2])
    return np.array([sum(slopes[k, r] for k, r in enumerate(code)) for code in codes])


def brute_log_joint(x, slopes, weights, noise, offset=0.0):
    """log p(x, t), (N, R^K)."""
    x, slopes, weights = (np.asarray(v) for v in (x, slopes, weights))
    codes = brute_codes(*slopes.shape[:2])
    columns = []
    for code, mean in zip(codes, brute_means(slopes), strict=True):
        law = multivariate_normal(mean + np.asarray(offset), noise * np.eye(x.shape[1]))
        prior = sum(np.log(weights[k, r]) for k, r in enumerate(code))
        columns.append(np.atleast_1d(law.logpdf(x)) + prior)
    return torch.from_numpy(np.stack(columns, 1))


def product_of_units(q):
    """prod_k q_k,t_k of every code, (N, R^K), for q (N, K, R)."""
    codes = brute_codes(*q.shape[1:])
    return torch.stack(
        [torch.stack([q[:, k, r] for k, r in enumerate(t)]).prod(0) for t in codes], 1
    )


def random_layer(num_units, num_regions, dim, seed=0, scale=1.0):
    """Slopes (K, R, D), weights (K, R), and offsets (K, R) that have nothing to do with them."""
    stream = torch.Generator().manual_seed(seed)
    options = {"dtype": torch.float64, "generator": stream}
    slopes = scale * torch.randn(num_units, num_regions, dim, **options)
    weights = torch.randn(num_units, num_regions, **options).softmax(-1)
    return slopes, weights, torch.randn(num_units, num_regions, **options)


def random_model(num_units=4, num_regions=3, dim=8, noise=0.6, seed=0, scale=0.5):
    """A FactorialMixture, and rows of it."""
    from probact.models.factorial_mixture import FactorialMixture

    slopes, weights, _ = random_layer(num_units, num_regions, dim, seed, scale)
    model = FactorialMixture(slopes, weights, noise)
    return model, model.sample(50, seed=seed).x


def orthogonal_slopes(num_units=4, num_regions=3, dim=16, each=4, seed=0):
    """Units in subspaces of `each` dimensions that are orthogonal to each other."""
    stream = torch.Generator().manual_seed(seed)
    options = {"dtype": torch.float64, "generator": stream}
    frame = torch.linalg.qr(torch.randn(dim, dim, **options)).Q
    inside = torch.randn(num_units, num_regions, each, **options)
    return torch.stack(
        [inside[k] @ frame[:, each * k : each * (k + 1)].T for k in range(num_units)]
    )


def relu_slopes(weight):
    """A_k = (0, w_k), (K, 2, D), of rows w (K, D)."""
    return torch.stack([torch.zeros_like(weight), weight], 1)


def ring_model(num_units=4, dim=8, noise=0.7):
    """ReLU units in a ring: neighbours interact, so two colours do."""
    frame = torch.eye(dim, dtype=torch.float64)[:num_units]
    weight = 1.2 * frame + 0.7 * frame.roll(1, 0)
    from probact.models.factorial_mixture import FactorialMixture

    weights = torch.tensor([[0.6, 0.4]] * num_units, dtype=torch.float64)
    slopes = relu_slopes(weight) + 0.3 * torch.linspace(-1.0, 1.0, dim, dtype=torch.float64)
    model = FactorialMixture(slopes, weights, noise)
    return model, model.sample(6, seed=0).x
