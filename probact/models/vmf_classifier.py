r"""von Mises-Fisher class conditionals tied to the final layer (Seo, Lee & Han 2021, section 3).

Symbols: W (C, D) weight of the final layer, w_i its rows; mu_i = w_i / |w_i|; a (N, D) unit
penultimate activations; y (N,) labels; kappa () or (C,) >= 0 concentration; S draws of kappa. The
model reads the softmax classifier backwards: p(i) q(a | i) with q(a | i) = vMF(a; mu_i, kappa_i).
With one kappa for all classes and equal p(i), its posterior over classes is
softmax(kappa <mu_i, a>), the network's own output with weights and activations normalised.
"""

from collections.abc import Sequence
from typing import Any, Literal

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from pyro.ops.indexing import Vindex
from torch import Generator, Tensor
from torch.distributions import Distribution

from probact.arrays import as_matrix, as_tensor, check_count, check_finite, check_seed, polar_rows
from probact.distributions import VonMisesFisher
from probact.models.class_relations import ClassRelations, estimate_class_relations
from probact.models.unit_data import check_labelled, check_labels, check_prior, check_unit_rows
from probact.special import inverse_bessel_ratio, log_mgf_gap, log_sphere_area

__all__ = ["VMFClassifier"]

_LARGEST_COSINE = 1.0 - 1e-12  # beyond, it is one up to rounding

Concentration = float | Tensor | Literal["norm"] | Distribution


class VMFClassifier(PyroModule):
    """Generative classifier of unit activations whose directions are the final layer's.

    Args:
        weight: W (C, D), tensor or array; its rows' directions are the class means.
        concentration: a number or tensor () or (C,) >= 0; "norm" for kappa_i = |w_i|; or a prior
            with batch shape () (one kappa for all classes) or (C,), to be inferred.
        bias: b (C,) of the final layer; only `class_relations` uses it.
        class_probs: p(i) (C,), default uniform.
        class_names: C names, the coordinates of the dimension "class".

    Raises:
        TypeError, ValueError: not a finite (C, D) weight with D >= 2 and no zero row, a negative
            or infinite concentration, or other shapes.

    >>> vmf = VMFClassifier(torch.eye(3), concentration=50.0)
    >>> a = vmf.sample_activations(label=1, num_samples=1000, seed=0)  # (1000, 3)
    >>> (a @ torch.eye(3)[1]).mean().round(decimals=2)  # A_3(50) = 0.98
    tensor(0.9800)
    """

    weight: Tensor
    directions: Tensor
    dims = {"weight": ("class", "feature")}  # of constant_data, for ArviZ

    def __init__(
        self,
        weight: Any,
        concentration: Concentration,
        *,
        bias: Any = None,
        class_probs: Any = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        weight = as_matrix(weight, "weight")
        weight = weight if weight.dtype == torch.float64 else weight.float()
        if weight.shape[1] < 2:
            raise ValueError(f"weight must be (C, D) with D >= 2, got {tuple(weight.shape)}")
        directions, norm = polar_rows(weight.double(), "weight")
        self.num_classes, self.dim = weight.shape
        self.register_buffer("weight", weight)
        self.register_buffer("directions", directions)
        self.register_buffer("bias", None if bias is None else self._vector(bias, "bias"))
        self.register_buffer("class_probs", self._class_probs(class_probs))
        self._set_concentration(concentration, norm)
        names = [str(i) for i in range(self.num_classes)] if class_names is None else class_names
        if isinstance(names, str) or len(names) != self.num_classes:
            raise ValueError(f"class_names must be {self.num_classes} names, got {names!r}")
        self.coords = {"class": list(names)}

    @property
    def constant_data(self) -> dict[str, Tensor]:
        return {"weight": self.weight}

    def _vector(self, value: Any, name: str) -> Tensor:
        vector = as_tensor(value, name).to(self.weight.device, torch.float64, copy=True)
        if vector.shape != (self.num_classes,):
            got = tuple(vector.shape)
            raise ValueError(f"{name} must be ({self.num_classes},), one per class, got {got}")
        check_finite(vector, name)
        return vector

    def _class_probs(self, value: Any) -> Tensor:
        if value is None:
            return self.directions.new_full((self.num_classes,), 1.0 / self.num_classes)
        probs = self._vector(value, "class_probs")
        if (probs < 0).any() or abs(float(probs.sum()) - 1.0) > 1e-6:
            raise ValueError(f"class_probs must be >= 0 and sum to one, got {probs.tolist()}")
        return probs / probs.sum()

    def _set_concentration(self, concentration: Concentration, norm: Tensor) -> None:
        self.prior, fixed = None, None
        if isinstance(concentration, Distribution):
            check_prior(concentration, "concentration", self.num_classes)
            self.prior, shape = concentration, concentration.batch_shape
        else:
            if isinstance(concentration, str) and concentration != "norm":
                raise ValueError(f'concentration must be numbers or "norm", got {concentration!r}')
            value = norm if isinstance(concentration, str) else concentration
            fixed = VonMisesFisher(self.directions, value).concentration.detach().double()
            shape = fixed.shape
            if tuple(shape) not in ((), (self.num_classes,)):
                raise ValueError(
                    f"concentration must be () or ({self.num_classes},), got {tuple(shape)}"
                )
        self.per_class = len(shape) == 1
        self.register_buffer("fixed_concentration", fixed)

    def forward(self, activations: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """kappa ~ prior; for each point: label ~ p(i), activation ~ vMF(mu_label, kappa_label).

        activations (N, D) are unit vectors, labels (N,) integers; N = 1 where both are None.
        """
        given = [len(x) for x in (activations, labels) if x is not None]
        if Distribution._validate_args and activations is not None:
            check_unit_rows(activations, "activations", self.dim)
        if Distribution._validate_args and labels is not None:
            check_labels(labels, self.num_classes, given[0])
        kappa = self._concentration_site()
        with pyro.plate("data", given[0] if given else 1):
            label = pyro.sample("label", dist.Categorical(self.class_probs), obs=labels)
            if self.per_class:  # axes of draws or particles may stand on the left of both
                kappa = Vindex(kappa.unsqueeze(-2))[..., label]
            law = VonMisesFisher(self.directions[label], kappa)
            activation: Tensor = pyro.sample("activation", law, obs=activations)
        return activation

    def _concentration_site(self) -> Tensor:
        if self.prior is None:
            fixed: Tensor = self.fixed_concentration
            return fixed
        if not self.per_class:
            kappa: Tensor = pyro.sample("concentration", self.prior)
            return kappa
        with pyro.plate("class", self.num_classes):
            kappa = pyro.sample("concentration", self.prior)
        return kappa

    @classmethod
    def mle(
        cls,
        weight: Any,
        activations: Tensor,
        labels: Tensor,
        *,
        shared: bool = True,
        **options: Any,
    ) -> "VMFClassifier":
        """Maximum-likelihood kappa given the directions: A_D(kappa) = mean cosine to the own row.

        A mean cosine <= 0 gives kappa = 0, the best of the allowed values.

        Raises:
            ValueError: with a kappa per class, a class without activations; all activations equal
                to their directions, so that the likelihood grows without bound in kappa.
        """
        model = cls(weight, 0.0, **options)
        check_labelled(activations, labels, model.dim, model.num_classes)
        cosine = (activations.double() * model.directions[labels]).sum(1)
        if shared:
            mean = cosine.mean()
        else:
            counts = torch.bincount(labels, minlength=model.num_classes)
            if (counts == 0).any():
                empty = int((counts == 0).nonzero()[0])
                raise ValueError(f"class {empty} has no activation: its kappa is not determined")
            mean = torch.bincount(labels, cosine, model.num_classes) / counts
        if (mean >= _LARGEST_COSINE).any():
            raise ValueError("activations all equal their directions: no finite kappa fits best")
        return cls(weight, inverse_bessel_ratio(mean.clamp_min(0.0), model.dim), **options)

    @classmethod
    def from_mean_cosine(cls, weight: Any, cosine: float, **options: Any) -> "VMFClassifier":
        """The model whose activations have the mean cosine `cosine` in [0, 1) to their class row.

        One kappa means very different spreads at different D; the mean cosine A_D(kappa) does not.
        """
        if not isinstance(cosine, float | int) or not 0.0 <= cosine < 1.0:
            raise ValueError(f"cosine must be a number in [0, 1), got {cosine!r}")
        dim = as_matrix(weight, "weight").shape[1]
        kappa = inverse_bessel_ratio(torch.tensor(cosine, dtype=torch.float64), dim)
        return cls(weight, kappa, **options)

    def class_log_prob(self, activations: Tensor, concentration: Tensor | None = None) -> Tensor:
        """log q(a | i) in nats, (N, C), or (S, N, C) for draws of kappa.

        Draws are (S,), or (S, C) where the model has a kappa per class.
        """
        kappa = self._kappa(concentration).unsqueeze(-2)  # over the points
        return self._log_density(self._cosines(activations), kappa)

    def _cosines(self, activations: Tensor) -> Tensor:
        """<mu_i, a>, (N, C)."""
        check_unit_rows(activations, "activations", self.dim)
        return activations.double() @ self.directions.T

    def _log_density(self, cosine: Tensor, kappa: Tensor) -> Tensor:
        peak = log_mgf_gap(kappa, self.dim) - log_sphere_area(self.dim)
        return peak + kappa * (cosine - 1.0)

    def log_likelihood(
        self, activations: Tensor, labels: Tensor, concentration: Tensor | None = None
    ) -> Tensor:
        """log q(a | y) in nats of each activation under its own class: (N,), or (S, N)."""
        check_labelled(activations, labels, self.dim, self.num_classes)
        kappa = self._kappa(concentration)
        kappa = kappa.expand(*kappa.shape[:-1], self.num_classes)[..., labels]
        return VonMisesFisher(self.directions[labels], kappa).log_prob(activations)

    def class_posterior(self, activations: Tensor, concentration: Tensor | None = None) -> Tensor:
        """p(i | a) (N, C) by Bayes' rule; the densities are averaged over draws of kappa."""
        cosine = self._cosines(activations)
        total = torch.full_like(cosine, -torch.inf)
        for kappa in torch.atleast_2d(self._kappa(concentration)):  # (S, N, C) may not fit
            total = torch.logaddexp(total, self._log_density(cosine, kappa))
        return torch.softmax(total + self.class_probs.log(), -1)

    def sample_activations(
        self,
        label: int | Tensor,
        num_samples: int,
        *,
        concentration: Tensor | None = None,
        seed: int | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Unit activations (num_samples, *label.shape, D) of the class or classes `label`.

        With draws (S,) or (S, C) of kappa, S must be num_samples: one draw each, which gives the
        posterior predictive law.
        """
        labels = torch.tensor(label) if isinstance(label, int) else as_tensor(label, "label")
        labels = labels.to(self.weight.device)
        check_labels(labels.reshape(-1), self.num_classes, None)
        check_count(num_samples, "num_samples")
        if seed is not None:
            check_seed(seed)
        kappa = self._kappa(concentration)
        if kappa.ndim == 2 and len(kappa) != num_samples:
            raise ValueError(f"{len(kappa)} draws of kappa for num_samples = {num_samples}")
        law = VonMisesFisher(
            self.directions.to(self.weight.dtype)[labels],
            kappa.expand(*kappa.shape[:-1], self.num_classes)[..., labels].to(self.weight.dtype),
        )
        size = () if kappa.ndim == 2 else (num_samples,)
        return law.sample(size, generator=generator, seed=seed)

    def class_relations(
        self, num_samples: int = 10_000, *, concentration: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """p_T(y | i) (C, C), row i: how the final layer labels draws of class i (eq. 7)."""
        estimate = self.estimate_class_relations
        return estimate(num_samples, concentration=concentration, seed=seed).probs

    def estimate_class_relations(
        self, num_samples: int = 10_000, *, concentration: Tensor | None = None, seed: int = 0
    ) -> ClassRelations:
        """As `class_relations`, with the standard error of each entry."""
        kappa = self._kappa(concentration)
        if kappa.ndim == 2:
            raise ValueError("class relations take one kappa, () or (C,), not draws of it")
        kappa = kappa.squeeze(0) if kappa.numel() == 1 and not self.per_class else kappa
        check_seed(seed)
        generator = Generator(self.weight.device).manual_seed(seed)
        return estimate_class_relations(
            self.weight, self.directions, self.bias, kappa, num_samples, generator
        )

    def _kappa(self, draws: Tensor | None) -> Tensor:
        """kappa with its class axis: (1,) or (C,); (S, 1) or (S, C) for draws."""
        if draws is None:
            if self.prior is not None:
                raise ValueError("concentration is a prior here: give draws of it, concentration=")
            value: Tensor = self.fixed_concentration
        else:
            value = VonMisesFisher(self.directions[0], draws).concentration.double()
        shape = tuple(value.shape)
        value = value if self.per_class else value.unsqueeze(-1)
        if value.ndim not in (1, 2) or value.shape[-1] not in (1, self.num_classes) or 0 in shape:
            wanted = f"(C,) or (S, C), C = {self.num_classes}" if self.per_class else "() or (S,)"
            raise ValueError(f"concentration must be {wanted}, got {shape}")
        return value
