r"""Laws of latent codes to sample from after training (Jamroz et al. 2020, section 5).

Symbols: z (N, d) codes; p = sum_k w_k t_k a mixture of Student's t laws fitted to them, p_i its
one-dimensional marginals.

    prior                   N(0, s^2 I), what the autoencoder was trained towards
    Gaussian                maximum likelihood, full covariance
    product of marginals    prod_i p_i(z_i): the same coordinates, none knowing of the others
    mixture                 p itself, the predictive law of `DPGMM`

All have `log_prob(z)` in nats and `sample(shape, generator=, seed=)`, as have
`PosteriorPredictive` and `SphereUniform`; whatever else has the two methods may stand beside them.
"""

from typing import Any, Protocol, runtime_checkable

import pyro.distributions as dist
import torch
from torch import Generator, Size, Tensor

from probact.arrays import as_matrix, as_number, check_count
from probact.distributions import PosteriorPredictive
from probact.distributions.sphere_parameters import as_generator
from probact.distributions.student_t import as_dims, factor_of_rows, standard_gamma
from probact.distributions.t_mixture import TMixture, choose
from probact.distributions.vector_law import VectorLaw

__all__ = [
    "CodeLaw",
    "Gaussian",
    "MarginalProduct",
    "code_laws",
    "gaussian",
    "isotropic_gaussian",
    "product_of_marginals",
]


@runtime_checkable
class CodeLaw(Protocol):
    """What a law of codes has to offer.

    >>> isinstance(isotropic_gaussian(2), CodeLaw)
    True
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density (...), nats, of codes (..., d)."""
        ...

    def sample(self, sample_shape: Any = ..., *, seed: int | None = ...) -> Tensor:
        """Codes (*sample_shape, d)."""
        ...


class Gaussian(dist.MultivariateNormal):
    """Pyro's multivariate normal, seedable, with its marginals.

    >>> law = Gaussian(torch.zeros(2), scale_tril=torch.tensor([[1.0, 0.0], [3.0, 4.0]]))
    >>> law.marginal(1).variance, law.sample((3,), seed=0).shape
    (tensor([25.]), torch.Size([3, 2]))
    """

    def sample(
        self,
        sample_shape: Any = (),
        *,
        generator: Generator | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """Draws (*sample_shape, *batch_shape, d), from a generator or a seed."""
        stream = as_generator(generator, seed, self.loc.device)
        with torch.no_grad():
            noise = torch.randn(
                self._extended_shape(Size(sample_shape)),
                dtype=self.loc.dtype,
                device=self.loc.device,
                generator=stream,
            )
            drawn: Tensor = self.loc + (self.scale_tril @ noise.unsqueeze(-1)).squeeze(-1)
        return drawn

    def marginal(self, dims: Any) -> "Gaussian":
        """The law of the coordinates `dims` (an index or several), in that order.

        Raises: ValueError for an index out of range or given twice.
        """
        at = as_dims(dims, self.loc.shape[-1])
        return Gaussian(self.loc[..., at], scale_tril=factor_of_rows(self.scale_tril[..., at, :]))


class MarginalProduct(VectorLaw):
    """prod_i p_i: coordinates distributed as in a mixture p, but independent of each other.

    A component is drawn for every coordinate by itself; `product_of_marginals` makes it.

    >>> from probact.distributions import StudentTMixture
    >>> tied = StudentTMixture(torch.tensor([0.5, 0.5]), torch.tensor([50.0, 50.0]),
    ...     torch.tensor([[-5.0, -5.0], [5.0, 5.0]]), torch.eye(2).expand(2, 2, 2))
    >>> far = torch.tensor([-5.0, 5.0])  # both coordinates usual, not together
    >>> tied.log_prob(far) < -30, MarginalProduct(tied).log_prob(far) > -5
    (tensor(True), tensor(True))
    """

    parts = ("law",)

    def __init__(
        self, law: TMixture | PosteriorPredictive, *, validate_args: bool | None = None
    ) -> None:
        if not isinstance(law, TMixture | PosteriorPredictive):
            raise TypeError(
                "law must be a StudentTMixture or PosteriorPredictive, whose marginals are known,"
                f" got {type(law).__name__}"
            )
        self.law = law
        super().__init__(Size(), law.event_shape, validate_args=validate_args)

    @property
    def _like(self) -> Tensor:
        return _pooled(self.law)[2]

    def log_prob(self, value: Tensor) -> Tensor:
        """sum_i log p_i (...), nats, of value (..., d)."""
        if self._validate_args:
            self._validate_sample(value)
        return self.law.marginal_log_prob(value).sum(-1)

    def _draw(self, count: int, generator: Generator | None) -> Tensor:
        weights, df, loc, spread = _pooled(self.law)
        k = choose(weights, count * self.dim, generator).reshape(count, self.dim)
        half = 0.5 * df[k]  # (count, d)
        normal = torch.randn(k.shape, dtype=loc.dtype, device=loc.device, generator=generator)
        noise = normal * torch.rsqrt(standard_gamma(half, generator) / half)
        return loc.gather(0, k) + spread.gather(0, k) * noise

    @property
    def mean(self) -> Tensor:
        """(*batch_shape, d); NaN where the mixture has none."""
        mean: Tensor = self.law.mean
        return mean.expand(*self._batch_shape, -1)

    @property
    def variance(self) -> Tensor:
        """(*batch_shape, d); inf where the mixture has none."""
        variance: Tensor = self.law.variance
        return variance.expand(*self._batch_shape, -1)


def _pooled(law: TMixture | PosteriorPredictive) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """w (K,), df (K,), loc (K, d) and sqrt(S_dd) (K, d) of all components of all kept draws."""
    if isinstance(law, TMixture):
        return law.weights, law.df, law.loc, law.spread
    each = [
        (weight * mixture.weights, mixture.df, mixture.loc, mixture.spread)
        for weight, mixture in zip(law.weights, law.mixtures, strict=True)
    ]
    weights, df, loc, spread = (torch.cat(parts) for parts in zip(*each, strict=True))
    return weights, df, loc, spread


def isotropic_gaussian(
    dim: int, *, variance: float = 1.0, device: torch.device | str | None = None
) -> Gaussian:
    """N(0, variance I) in float64: the prior of codes in `dim` dimensions.

    Raises: ValueError for dim < 1 or a variance that is not positive.
    >>> isotropic_gaussian(3, variance=2.0).sample((5,), seed=0).shape
    torch.Size([5, 3])
    """
    check_count(dim, "dim")
    scale = as_number(variance, "variance", 0.0) ** 0.5
    eye = torch.eye(dim, dtype=torch.float64, device=device)
    return Gaussian(torch.zeros_like(eye[0]), scale_tril=scale * eye)


def gaussian(codes: Any) -> Gaussian:
    """The Gaussian of greatest likelihood of codes (N, d): their mean and full covariance / N.

    The covariance is neither shrunk nor padded: codes that do not span d dimensions, up to the
    rounding of their own dtype, have no such Gaussian and are refused. Then drop the coordinates
    that never vary, or give more codes. In float64.

    Raises:
        TypeError: codes are no array.
        ValueError: not a finite matrix, fewer than d + 1 rows, a constant coordinate, or
            coordinates that depend on each other linearly.

    >>> gaussian([[0.0, 1.0], [2.0, 1.0], [1.0, 4.0]]).covariance_matrix
    tensor([[0.6667, 0.0000],
            [0.0000, 2.0000]], dtype=torch.float64)
    """
    given = as_matrix(codes, "codes")
    size, dim = given.shape
    if size <= dim:
        raise ValueError(
            f"codes must have at least {dim + 1} rows for a covariance in {dim} dimensions,"
            f" got {size}"
        )
    rows = given.double()
    unit = rows.abs().amax(0)  # (d,), so that no square overflows
    rows = rows / torch.where(unit > 0, unit, 1.0)
    mean = rows.mean(0)
    centred = rows - mean
    _check_full_rank(centred, torch.finfo(given.dtype).eps)
    factor = factor_of_rows(centred.mT / size**0.5)
    return Gaussian(unit * mean, scale_tril=unit[:, None] * factor)


def _check_full_rank(centred: Tensor, rounding: float) -> None:
    """Refuse centred rows (N, d) that miss a direction, up to `rounding` of each entry."""
    size, dim = centred.shape
    sd = centred.square().mean(0).sqrt()
    flat = (sd <= rounding).nonzero()
    if len(flat):
        raise ValueError(
            f"codes do not vary in {len(flat)} of {dim} coordinates (first: {int(flat[0])}):"
            " their covariance is singular; drop those"
        )
    values = torch.linalg.svdvals(centred / sd)
    noise = rounding * (size * sd.reciprocal().square().sum()).sqrt()  # all that rounding can add
    rank = int((values > noise).sum())
    if rank < dim:
        raise ValueError(
            f"codes span {rank} of {dim} dimensions: their covariance is singular; drop"
            " coordinates that others determine"
        )


def product_of_marginals(
    law: Gaussian | TMixture | PosteriorPredictive,
) -> Gaussian | MarginalProduct:
    """The law with the same one-dimensional marginals and independent coordinates.

    What the total correlation of `law` measures the distance to: sampling from both and decoding
    shows what the dependence of the codes is worth (Jamroz et al. 2020, figure 4).

    Raises: TypeError for a law whose marginals are not known.

    >>> law = Gaussian(torch.zeros(2), scale_tril=torch.tensor([[1.0, 0.0], [3.0, 4.0]]))
    >>> product_of_marginals(law).covariance_matrix
    tensor([[ 1.,  0.],
            [ 0., 25.]])
    """
    if isinstance(law, Gaussian):
        return Gaussian(law.loc, scale_tril=law.stddev.diag_embed())
    return MarginalProduct(law)


def code_laws(
    codes: Any, *, mixture: Any = None, prior_variance: float = 1.0
) -> dict[str, CodeLaw]:
    """The laws above by name, fitted to codes (N, d), to sample and score side by side.

    With a `mixture`, such as `model.predictive(posterior)`, also "mixture" and, where its
    marginals are known, "product of its marginals"; any object with the two methods will do.

    Raises: TypeError, ValueError as `gaussian`, or for a mixture without the two methods.

    >>> list(code_laws([[0.0, 1.0], [2.0, 1.0], [1.0, 4.0]]))
    ['prior', 'Gaussian', 'product of Gaussian marginals']
    """
    full = gaussian(codes)
    prior = isotropic_gaussian(full.loc.shape[-1], variance=prior_variance, device=full.loc.device)
    laws: dict[str, CodeLaw] = {
        "prior": prior,
        "Gaussian": full,
        "product of Gaussian marginals": product_of_marginals(full),
    }
    if mixture is None:
        return laws
    if not isinstance(mixture, CodeLaw):
        kind = type(mixture).__name__
        raise TypeError(f"mixture must have log_prob and sample, got {kind}")
    if isinstance(mixture, TMixture | PosteriorPredictive):
        if mixture.dim != len(full.loc):
            raise ValueError(f"mixture must have {len(full.loc)} dimensions, got {mixture.dim}")
        laws["product of its marginals"] = product_of_marginals(mixture)
    laws["mixture"] = mixture
    return laws
