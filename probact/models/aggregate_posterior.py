r"""The codes of all images together against the prior ("ELBO surgery", Hoffman & Johnson 2016).

Symbols: q(z | x_n), n = 1 .. N; q(z) = 1/N sum_n q(z | x_n) the aggregate posterior; p(z) prior;

    1/N sum_n KL(q(z | x_n) || p(z)) = I(n; z) + KL(q(z) || p(z)),   I <= log N.

With classes, q(z | y) is the aggregate over the images of class y, held against p(z | y); sums
over classes have the weights N_y / N.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from probact.arrays import check_count, check_seed
from probact.distributions import VonMisesFisher

__all__ = ["AggregatePosterior", "aggregate_posterior"]

_PAIRS = 2**22  # densities held at a time


class AggregatePosterior(NamedTuple):
    """The two parts of the mean divergence from the prior, nats, with their standard errors."""

    mutual_information: float  # between the image's number and its code, given the class
    mutual_information_error: float
    marginal_kl: float  # KL(q(z) || p(z)): 0 if samples of the prior look like codes
    marginal_kl_error: float
    class_marginal_kl: Tensor  # (C,) of each class, nan where it has no image; (1,) without

    @property
    def mean_kl(self) -> float:
        """The mean divergence of an image, the sum of both."""
        return self.mutual_information + self.marginal_kl


def aggregate_posterior(
    q: VonMisesFisher,
    prior: Callable[[Tensor | None], Any],
    labels: Tensor | None,
    num_samples: int,
    seed: int,
    *,
    num_classes: int = 1,
) -> AggregatePosterior:
    """The decomposition by num_samples draws of each q(z | x_n), a law of batch shape (N,).

    prior(labels (N,) | None) is the law p(z | y) of each row; labels are in 0 .. num_classes - 1.
    Costs N^2 densities a draw at most,
    a chunk at a time.
    """
    check_count(num_samples, "num_samples")
    check_seed(seed)
    generator = Generator(q.loc.device).manual_seed(seed)
    rows = len(q.loc)
    group = torch.zeros(rows, dtype=torch.int64) if labels is None else labels.cpu()
    information, marginal = torch.empty(2, num_samples, rows, dtype=torch.float64)
    for s in range(num_samples):
        z = q.sample(generator=generator)  # (N, d)
        own = q.log_prob(z).double().cpu()
        law = prior(labels)
        log_prior = law.log_prob(z).double().cpu()
        mixed = torch.empty(rows, dtype=torch.float64)
        for k in group.unique():
            members = (group == k).nonzero().flatten()
            mixed[members] = _log_mixture(q, z, members)
        information[s], marginal[s] = own - mixed, mixed - log_prior
    means = [part.mean(0) for part in (information, marginal)]  # (N,): draws of a row depend
    scale = 1.0 / math.sqrt(rows)
    errors = [float(part.std()) * scale if rows > 1 else math.nan for part in means]
    counts = torch.bincount(group, minlength=num_classes)
    by_class = torch.bincount(group, means[1], num_classes) / counts
    return AggregatePosterior(
        float(means[0].mean()), errors[0], float(means[1].mean()), errors[1], by_class
    )


def _log_mixture(q: VonMisesFisher, z: Tensor, members: Tensor) -> Tensor:
    """log q(z | y) (n,) in nats of the members' codes under the mixture of their laws."""
    here = members.to(z.device)
    loc, kappa = q.loc[here].double(), q.concentration.expand(len(z))[here].double()
    peak = VonMisesFisher(loc, kappa, validate_args=False).log_prob(loc)  # at the mode
    parts = []
    for some in z[here].double().split(max(1, _PAIRS // len(here))):
        log_q = peak + kappa * (some @ loc.T - 1.0)  # (n', n)
        parts.append(torch.logsumexp(log_q, 1) - math.log(len(here)))
    return torch.cat(parts).cpu()
