r"""Factorial Gaussian mixture of a layer (Balestriero & Baraniuk 2019, eq. 10).

Symbols: t (N, K) codes, a region t_k in {0 .. R-1} per unit; x (N, D) data; A (K, R, D) slopes;
pi (K, R) weights; s2 noise variance; b (D,) offset. A mixture of R^K Gaussians:

    t_k ~ Cat(pi_k),   x = b + sum_k A_k,t_k + eps,   eps ~ N(0, s2 I)

All units explain one x together, so there is one site per unit, written in a loop. A plate over
units around a shared x runs without an error, and gives a wrong evidence: Pyro takes the entries
of a plate to be independent given what is outside of it, and enumerates them so.
"""

from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro.poutine.runtime import get_plates
from torch import Generator, Tensor

from probact.arrays import as_matrix, as_number, check_count, check_seed
from probact.distributions.code_enumeration import (
    all_codes,
    check_enumerable,
    code_means,
    unit_marginals,
)
from probact.distributions.factorial_code import code_log_joint
from probact.distributions.harmonium import Harmonium
from probact.distributions.sphere_parameters import as_generator
from probact.models.factorial_em import EStep, first_parameters, fit_em
from probact.models.factorial_parameters import FactorialLayer
from probact.models.layer_guide import (
    MeanField,
    factorised_elbo,
    layer_posterior,
    mean_field,
)
from probact.nn.orthogonal.coherence import Capacity, capacity, interaction_coherence

__all__ = ["EMFit", "FactorialDraws", "FactorialMixture"]

#      plates of Pyro's own, which hold whole runs of the program
_WHOLE_RUNS = ("num_particles_vectorized", "_num_predictive_samples")


class FactorialDraws(NamedTuple):
    """Rows and the codes that they were made of."""

    x: Tensor  # (N, D)
    codes: Tensor  # (N, K)


class EMFit(NamedTuple):
    """What EM found, and the way there."""

    model: "FactorialMixture"
    bounds: Tensor  # (iterations,) mean log evidence, or its bound, before each; nats per row


class FactorialMixture(FactorialLayer):
    """Joint generative model of a layer: every unit adds one of its R vectors to x.

    Everything is float64 (float32 after `.float()`). `probact.sample` draws codes by Gibbs;
    `probact.fit` trains a learnable model by the ELBO whose guide is the layer itself
    (`objective`). `FactorialMixture.em` fits by expectation-maximisation.

    Args:
        slopes: A (K, R, D), tensor or array.
        weights: pi (K, R), rows >= 0 that sum to one.
        noise: variance s2 > 0.
        offset: b (D,), default zero.
        learnable: A, log pi, log s2 and b become parameters; then no weight may be 0.

    Raises:
        TypeError: a parameter is not real floating data.
        ValueError: other shapes, entries that are not finite, weights that are no probabilities.

    >>> model = FactorialMixture([[[0.0], [2.0]], [[0.0], [5.0]]], [[0.5, 0.5], [0.9, 0.1]], 1.0)
    >>> model.map_codes(torch.tensor([[6.8]])).tolist()
    [[1, 1]]
    >>> model.log_evidence(torch.tensor([[6.8]])).round(decimals=3)
    tensor([-3.7510], dtype=torch.float64)
    """

    def forward(self, x: Tensor | None = None, *, num_points: int | None = None) -> Tensor:
        """t_k ~ Cat(pi_k) for each unit, then x. Sites "t_0" .. "t_{K-1}" (N,) and "x" (N, D).

        Without x, num_points rows are drawn (default 1).

        Raises: ValueError for x that is not a finite matrix with D columns, or inside a plate:
        one around the units would give a wrong evidence.
        """
        _refuse_plates()
        rows = None if x is None else self._rows(x)
        if num_points is not None:
            check_count(num_points, "num_points")
        size = (num_points or 1) if rows is None else len(rows)
        log_weights, mean = self.log_weights, self.offset
        with pyro.plate("data", size):
            for k in range(self.num_units):
                law = dist.Categorical(logits=log_weights[k])
                t = pyro.sample(f"t_{k}", law, infer={"enumerate": "parallel"})
                mean = mean + self.slopes[k][t.long()]
            law = dist.Normal(mean, self.noise.sqrt()).to_event(1)
            drawn: Tensor = pyro.sample("x", law, obs=rows)
        return drawn

    def guide(self, x: Tensor) -> None:
        """The layer as amortised guide, with the model's own parameters: t_k ~ softmax."""
        _refuse_plates()
        q = self.selection(x)
        with pyro.plate("data", len(q)):
            for k in range(self.num_units):
                law = dist.Categorical(probs=q[:, k])
                pyro.sample(f"t_{k}", law, infer={"enumerate": "parallel"})

    def objective(self, x: Tensor, epoch: int | None = None) -> Tensor:
        """Minus the mean ELBO of the layer as guide, nats per row: what `probact.fit` minimises.

        The expectation over codes is in closed form, so it costs N K R D whatever R^K is.
        """
        return -self.elbo(x).mean()

    @classmethod
    @torch.no_grad()
    def em(
        cls,
        x: Any,
        num_units: int,
        num_regions: int = 2,
        *,
        posterior: EStep = "exact",
        iterations: int = 100,
        tolerance: float = 1e-6,
        start: "FactorialMixture | None" = None,
        seed: int = 0,
    ) -> "EMFit":
        """Maximum-likelihood model of x (N, D) by EM, from random slopes or from a model `start`.

        posterior: "exact" sums over all codes, "mean_field" maximises the bound instead.

        Raises: ValueError for too many codes, a start of another shape, equal rows, or rows that
        the codes explain exactly; TypeError for a start of another kind.
        """
        rows = as_matrix(x, "x").double()
        for name, count in (("num_units", num_units), ("num_regions", num_regions)):
            check_count(count, name)
        check_count(iterations, "iterations")
        tolerance = as_number(tolerance, "tolerance", inclusive=True)
        check_seed(seed)
        if posterior not in ("exact", "mean_field"):
            raise ValueError(f"posterior must be exact or mean_field, got {posterior!r}")
        if posterior == "exact":
            check_enumerable(num_units, num_regions)
        offset = rows.new_zeros(rows.shape[1])
        if start is None:
            stream = Generator(rows.device).manual_seed(seed)
            first = first_parameters(rows, num_units, num_regions, stream)
        else:
            if not isinstance(start, FactorialMixture):
                raise TypeError(f"start must be a FactorialMixture, got {type(start).__name__}")
            first, offset = start.parameters_now, start.offset
            if first.slopes.shape != (num_units, num_regions, rows.shape[1]):
                raise ValueError(f"start has slopes {tuple(first.slopes.shape)}, other than asked")
        found, bounds = fit_em(
            rows - offset,
            first,
            posterior=posterior,
            iterations=iterations,
            tolerance=tolerance,
        )
        return EMFit(cls._of(found, offset), bounds)

    def selection(self, x: Any) -> Tensor:
        """q(t_k = r | x), (N, K, R): what the layer says, each unit by itself."""
        return layer_posterior(self._rows(x) - self.offset, self.parameters_now)

    def elbo(self, x: Any, probs: Tensor | None = None) -> Tensor:
        """Evidence lower bound (N,) of a factorised law (N, K, R), by default the layer; nats."""
        rows, p = self._rows(x) - self.offset, self.parameters_now
        q = layer_posterior(rows, p) if probs is None else self._law(probs, len(rows))
        return factorised_elbo(rows, q, p)

    def log_evidence(self, x: Any) -> Tensor:
        """log p(x) (N,), nats, over all codes. Raises: ValueError for too many codes."""
        p = self.parameters_now
        chunks = p.row_chunks(self._rows(x) - self.offset)
        return torch.cat([code_log_joint(rows, p).logsumexp(-1) for rows in chunks])

    @torch.no_grad()
    def code_posterior(self, x: Any) -> Tensor:
        """p(t | x) of every code, (N, R^K), in the order of `codes`.

        Raises: ValueError for too many codes.
        """
        p = self.parameters_now
        chunks = p.row_chunks(self._rows(x) - self.offset)
        return torch.cat([torch.softmax(code_log_joint(rows, p), -1) for rows in chunks])

    @property
    def codes(self) -> Tensor:
        """Every code, (R^K, K). Raises: ValueError for too many."""
        return all_codes(self.num_units, self.num_regions, self.slopes.device)

    @torch.no_grad()
    def unit_posterior(self, x: Any) -> Tensor:
        """p(t_k = r | x), (N, K, R), with the other units summed out; exact."""
        p = self.parameters_now
        parts = []
        for rows in p.row_chunks(self._rows(x) - self.offset):
            probs = torch.softmax(code_log_joint(rows, p), -1)
            parts.append(unit_marginals(probs, self.num_units, self.num_regions))
        return torch.cat(parts)

    @torch.no_grad()
    def map_codes(self, x: Any) -> Tensor:
        """The likeliest code of each row, (N, K), among all. Raises: ValueError for too many."""
        p, codes = self.parameters_now, self.codes
        chunks = p.row_chunks(self._rows(x) - self.offset)
        return torch.cat([codes[code_log_joint(rows, p).argmax(-1)] for rows in chunks])

    @torch.no_grad()
    def mean_field(self, x: Any, *, sweeps: int = 100, tolerance: float = 1e-9) -> MeanField:
        """Coordinate ascent from the layer's selection; the bound never decreases."""
        check_count(sweeps, "sweeps")
        tolerance = as_number(tolerance, "tolerance", inclusive=True)
        start, rows = self.selection(x), self._rows(x) - self.offset
        return mean_field(rows, start, self.parameters_now, sweeps=sweeps, tolerance=tolerance)

    @torch.no_grad()
    def orthogonality_gap(self, x: Any, probs: Tensor | None = None) -> Tensor:
        """KL(q || p(t | x)) (N,), nats, exact: what is lost by units that decide by themselves.

        q is the layer, or the law probs (N, K, R). Zero for every x if and only if the units'
        differences are orthogonal. Raises: ValueError for too many codes.
        """
        return self.log_evidence(x) - self.elbo(x, probs)

    def coherence(self) -> Tensor:
        """Largest interaction between two units, (); for ReLU max |<w_k, w_l>| / mean |w_k|^2."""
        return interaction_coherence(self.slopes.detach())

    def capacity(self) -> Capacity:
        """Dimensions that orthogonal units of these ranks would need, and D."""
        return capacity(self.slopes.detach())

    def harmonium(self, **options: Any) -> Harmonium:
        """The undirected law of the same layer, of x - b; the same law if units are orthogonal."""
        return Harmonium(self.slopes, self.layer_offsets(), self.noise, **options)

    def gauged(self) -> "FactorialMixture":
        """The same law of data and codes with A_k0 = 0, the rest in the offset (the ReLU gauge).

        A_kr + c_k with sum_k c_k = 0 is the same model; this form is unique up to the order of
        units and regions.
        """
        p, first = self.parameters_now, self.slopes[:, :1]
        return type(self)._of(
            p._replace(slopes=p.slopes - first), self.offset + first.sum((0, 1)), self.learnable
        )

    @torch.no_grad()
    def sample(
        self, num_samples: int, *, seed: int | None = None, generator: Generator | None = None
    ) -> FactorialDraws:
        """Rows (num_samples, D) of the model with their codes."""
        check_count(num_samples, "num_samples")
        stream = as_generator(generator, seed, self.slopes.device)
        options: dict[str, Any] = {"replacement": True, "generator": stream}
        codes = torch.multinomial(self.weights, num_samples, **options).T
        z = torch.randn(
            num_samples,
            self.dim,
            dtype=self.slopes.dtype,
            device=self.slopes.device,
            generator=stream,
        )
        x = self.offset + code_means(self.slopes, codes) + self.noise.sqrt() * z
        return FactorialDraws(x, codes)


def _refuse_plates() -> None:
    """Raises: ValueError inside a plate that does not hold whole runs of the program."""
    around = [plate.name for plate in get_plates() if plate.name not in _WHOLE_RUNS]
    if around:
        raise ValueError(
            f"the program must not stand in a plate, got {around}: its units share one x, and a"
            " plate would take them to be independent and give a wrong evidence"
        )
