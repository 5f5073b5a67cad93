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
from torch import Generator, Tensor
from torch.distributions import Distribution

from probact.arrays import as_matrix, as_tensor
from probact.distributions import VonMisesFisher
from probact.models.class_relations import ClassRelations, estimate_class_relations
from probact.models.unit_data import check_labels, check_unit_rows
from probact.special import inverse_bessel_ratio, log_mgf_gap, log_sphere_area

__all__ = ["VMFClassifier"]

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
        norm = torch.linalg.vector_norm(weight.double(), dim=1)
        if weight.shape[1] < 2:
            raise ValueError(f"weight must be (C, D) with D >= 2, got {tuple(weight.shape)}")
        if (norm == 0).any():
            row = int((norm == 0).nonzero()[0])
            raise ValueError(f"weight has no direction in row {row}: it is zero")
        self.num_classes, self.dim = weight.shape
        self.register_buffer("weight", weight)
        self.register_buffer("directions", weight.double() / norm.unsqueeze(1))
        self.register_buffer("bias", self._vector(bias, "bias", None))
        uniform = torch.full((self.num_classes,), 1.0 / self.num_classes)
        self.register_buffer("class_probs", self._vector(class_probs, "class_probs", uniform))
        self._set_concentration(concentration, norm)
        names = class_names or [str(i) for i in range(self.num_classes)]
        if len(names) != self.num_classes:
            raise ValueError(f"class_names has {len(names)} names for {self.num_classes} classes")
        self.coords = {"class": list(names)}

    def _vector(self, value: Any, name: str, default: Tensor | None) -> Tensor | None:
        if value is None:
            return default
        vector = as_tensor(value, name).to(self.weight)
        if vector.shape != (self.num_classes,):
            got = tuple(vector.shape)
            raise ValueError(f"{name} must be ({self.num_classes},), one per class, got {got}")
        return vector

    def _set_concentration(self, concentration: Concentration, norm: Tensor) -> None:
        self.prior = concentration if isinstance(concentration, Distribution) else None
        if isinstance(concentration, Distribution):
            shape, fixed = concentration.batch_shape, None
            if concentration.event_shape:
                raise ValueError("the concentration's prior must be univariate")
        else:
            if isinstance(concentration, str) and concentration != "norm":
                raise ValueError(
                    f'concentration must be a number, a prior or "norm", got {concentration!r}'
                )
            value = norm if isinstance(concentration, str) else concentration
            fixed = VonMisesFisher(self.directions, value).concentration.double()
            shape = fixed.shape
        if tuple(shape) not in ((), (self.num_classes,)):
            raise ValueError(
                f"concentration must have shape () or ({self.num_classes},), got {tuple(shape)}"
            )
        self.per_class = len(shape) == 1
        self.register_buffer("fixed_concentration", fixed)

    # ---------------------------------------------------------------- program

    def forward(self, activations: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """kappa ~ prior; for each point: label ~ p(i), activation ~ vMF(mu_label, kappa_label).

        activations (N, D) are unit vectors, labels (N,) integers; N = 1 where both are None.
        """
        if Distribution._validate_args:
            self._check(activations, labels)
        kappa = self._concentration_site()
        data = next((x for x in (activations, labels) if x is not None), None)
        with pyro.plate("data", 1 if data is None else len(data)):
            label = pyro.sample("label", dist.Categorical(self.class_probs), obs=labels)
            law = VonMisesFisher(self.directions[label], kappa[label] if self.per_class else kappa)
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

    def _check(self, activations: Tensor | None, labels: Tensor | None) -> None:
        if activations is not None:
            check_unit_rows(activations, "activations", self.dim)
        if labels is not None:
            rows = None if activations is None else len(activations)
            check_labels(labels, self.num_classes, rows)

    # --------------------------------------------------------------- readings

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

        A mean cosine <= 0 gives kappa = 0, the best of the allowed values. Classes without points
        raise ValueError when `shared` is False.
        """
        model = cls(weight, 0.0, **options)
        model._check(activations, labels)
        cosine = (activations.double() * model.directions[labels]).sum(1)
        if shared:
            mean = cosine.mean()
        else:
            counts = torch.bincount(labels, minlength=model.num_classes)
            if (counts == 0).any():
                empty = int((counts == 0).nonzero()[0])
                raise ValueError(f"class {empty} has no activation: its kappa is not determined")
            mean = torch.bincount(labels, cosine, model.num_classes) / counts
        return cls(weight, inverse_bessel_ratio(mean.clamp_min(0.0), model.dim), **options)

    @classmethod
    def from_mean_cosine(cls, weight: Any, cosine: float, **options: Any) -> "VMFClassifier":
        """The model whose activations have the mean cosine `cosine` in [0, 1) to their class row.

        One kappa means very different spreads at different D; the mean cosine A_D(kappa) does not.
        """
        if not 0.0 <= cosine < 1.0:
            raise ValueError(f"cosine must be in [0, 1), got {cosine}")
        dim = as_matrix(weight, "weight").shape[1]
        kappa = inverse_bessel_ratio(torch.tensor(cosine, dtype=torch.float64), dim)
        return cls(weight, kappa, **options)

    def class_log_prob(self, activations: Tensor, concentration: Tensor | None = None) -> Tensor:
        """log q(a | i) in nats, (N, C), or (S, N, C) for draws (S,) or (S, C) of kappa."""
        check_unit_rows(activations, "activations", self.dim)
        kappa = self._kappa(concentration)
        cosine = activations @ self.directions.T.to(activations.dtype)  # (N, C)
        peak = log_mgf_gap(kappa, self.dim) - log_sphere_area(self.dim)
        kappa, peak = kappa.unsqueeze(-2), peak.unsqueeze(-2)  # over the points
        return peak + kappa * (cosine - 1.0)

    def log_likelihood(
        self, activations: Tensor, labels: Tensor, concentration: Tensor | None = None
    ) -> Tensor:
        """log q(a | y) in nats of each activation under its own class: (N,), or (S, N)."""
        self._check(activations, labels)
        kappa = self._kappa(concentration)
        kappa = kappa.expand(*kappa.shape[:-1], self.num_classes)[..., labels]
        return VonMisesFisher(self.directions[labels], kappa).log_prob(activations)

    def class_posterior(self, activations: Tensor, concentration: Tensor | None = None) -> Tensor:
        """p(i | a) (N, C), averaged over draws of kappa where given: Bayes' rule."""
        joint = self.class_log_prob(activations, concentration) + self.class_probs.log()
        probs = torch.softmax(joint, -1)
        return probs.mean(0) if probs.ndim == 3 else probs

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
        labels = torch.as_tensor(label, device=self.weight.device)
        check_labels(labels.reshape(-1), self.num_classes, None)
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
        return self.estimate_class_relations(
            num_samples, concentration=concentration, seed=seed
        ).probs

    def estimate_class_relations(
        self, num_samples: int = 10_000, *, concentration: Tensor | None = None, seed: int = 0
    ) -> ClassRelations:
        """As `class_relations`, with the standard error of each entry."""
        kappa = self._kappa(concentration)
        if kappa.ndim == 2:
            raise ValueError("class relations take one kappa, () or (C,), not draws of it")
        kappa = kappa.squeeze(0) if kappa.numel() == 1 and not self.per_class else kappa
        generator = Generator(self.weight.device).manual_seed(seed)
        return estimate_class_relations(self.weight, self.bias, kappa, num_samples, generator)

    def _kappa(self, draws: Tensor | None) -> Tensor:
        """kappa with its class axis: (1,) or (C,); (S, 1) or (S, C) for draws."""
        if draws is None:
            if self.prior is not None:
                raise ValueError("concentration is a prior here: give draws of it, concentration=")
            value: Tensor = self.fixed_concentration
        else:
            value = VonMisesFisher(self.directions[0], as_tensor(draws, "concentration").double())
            value = value.concentration
        value = value if self.per_class else value.unsqueeze(-1)
        if value.shape[-1] not in (1, self.num_classes) or value.ndim > 2:
            raise ValueError(f"draws of kappa do not fit: shape {tuple(value.shape)}")
        return value
