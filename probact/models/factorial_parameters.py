"""What a factorial mixture holds: slopes A (K, R, D), log weights (K, R), noise, offset (D,)."""

from typing import Any, Self

import torch
from pyro.nn import PyroModule
from torch import Tensor
from torch.nn import Parameter

from probact.arrays import as_matrix
from probact.distributions.factorial_code import FactorialParameters
from probact.distributions.layer_parameters import (
    as_max_affine,
    as_noise,
    as_slopes,
    require_finite,
)
from probact.distributions.sphere_parameters import as_real_tensor
from probact.models.layer_guide import layer_offsets, log_weights_of_offsets
from probact.models.own_parameters import OwnParameters
from probact.nn.affine.max_affine import MaxAffine

__all__ = ["FactorialLayer"]


class FactorialLayer(OwnParameters):
    """Abstract: the parameters of a factorial mixture, checked, in float64.

    They are parameters of the module where it is learnable, else buffers.
    """

    slopes: Tensor
    logits: Tensor
    log_noise: Tensor
    offset: Tensor

    def __init__(
        self, slopes: Any, weights: Any, noise: Any, *, offset: Any = None, learnable: bool = False
    ) -> None:
        super().__init__()
        slopes = as_slopes(slopes).detach().double()
        log_weights = _log_weights(weights, slopes)
        if learnable and bool(log_weights.isinf().any()):
            raise ValueError("weights must be above 0 to be learnable: log 0 has no gradient")
        self._keep(
            slopes,
            log_weights,
            as_noise(noise, slopes).detach().log(),
            _offset(offset, slopes),
            learnable,
        )

    def _keep(
        self, slopes: Tensor, logits: Tensor, log_noise: Tensor, offset: Tensor, learnable: bool
    ) -> None:
        self.learnable = learnable
        self.num_units, self.num_regions, self.dim = slopes.shape
        tensors = {"slopes": slopes, "logits": logits, "log_noise": log_noise, "offset": offset}
        for name, value in tensors.items():
            value = value.detach().clone()
            if learnable:
                setattr(self, name, Parameter(value))
            else:
                self.register_buffer(name, value)
        self.dims = {"x": ("feature",)}

    @classmethod
    def _of(cls, p: FactorialParameters, offset: Tensor, learnable: bool = False) -> Self:
        """A model of checked parameters; the weights keep their digits where they are tiny."""
        new = cls.__new__(cls)
        PyroModule.__init__(new)
        new._keep(p.slopes, p.log_weights, p.noise.log(), offset, learnable)
        return new

    @classmethod
    def from_layer(
        cls,
        layer: Any,
        activation: Any = "relu",
        noise: Any = 1.0,
        *,
        learnable: bool = False,
        **options: Any,
    ) -> Self:
        """The model whose guide is the layer: `selection` is the layer's soft selection exactly.

        layer: a layer that `MaxAffine.from_layer` takes, with its activation and options, or
        anything with slopes (K, R, D) and offsets (K, R). The parameters are copied.

        Raises: TypeError or ValueError for a layer or activation that is no max-affine map.

        >>> from probact.models.factorial_mixture import FactorialMixture
        >>> FactorialMixture.from_layer(torch.nn.Linear(3, 2), "relu").slopes.shape
        torch.Size([2, 2, 3])
        """
        if not (hasattr(layer, "slopes") and hasattr(layer, "offsets")):
            layer = MaxAffine.from_layer(layer, activation, **options)
        slopes, offsets = as_max_affine(layer.slopes, layer.offsets)
        slopes, offsets = slopes.detach().double(), offsets.detach().double()
        s2 = as_noise(noise, slopes).detach()
        p = FactorialParameters(slopes, log_weights_of_offsets(slopes, offsets, s2), s2)
        return cls._of(p, slopes.new_zeros(slopes.shape[-1]), learnable)

    @property
    def parameters_now(self) -> FactorialParameters:
        """A, log pi and s2 as they are, with their gradients where the model is learnable."""
        return FactorialParameters(self.slopes, self.log_weights, self.noise)

    @property
    def log_weights(self) -> Tensor:
        """log pi (K, R)."""
        return torch.log_softmax(self.logits, -1)

    @property
    def weights(self) -> Tensor:
        """pi (K, R)."""
        return self.log_weights.exp()

    @property
    def noise(self) -> Tensor:
        """s2 ()."""
        value: Tensor = self.log_noise.exp()
        return value

    def layer_offsets(self) -> Tensor:
        """B (K, R) of the layer that belongs to the model, for x - b; see `layer_guide`."""
        return layer_offsets(self.parameters_now)

    def _law(self, probs: Any, rows: int) -> Tensor:
        """Checked probabilities (N, K, R) of the regions of N rows."""
        q = as_real_tensor(probs, "probs").to(self.slopes)
        shape = rows, self.num_units, self.num_regions
        if q.shape != shape:
            raise ValueError(f"probs must be (N, K, R) = {shape}, got shape {tuple(q.shape)}")
        if bool((q < 0).any()) or not bool(((q.sum(-1) - 1.0).abs() < 1e-6).all()):
            raise ValueError("probs must be >= 0 and sum to one over regions")
        return q

    def _rows(self, x: Any) -> Tensor:
        rows = as_matrix(x, "x").to(self.slopes)
        if rows.shape[1] != self.dim:
            raise ValueError(f"x must have {self.dim} columns, got {rows.shape[1]}")
        return rows


def _log_weights(weights: Any, slopes: Tensor) -> Tensor:
    value = as_real_tensor(weights, "weights", like=slopes).detach().double()
    if value.shape != slopes.shape[:2]:
        want = tuple(slopes.shape[:2])
        raise ValueError(f"weights must be (K, R) = {want}, got shape {tuple(value.shape)}")
    require_finite(value, "weights")
    if bool((value < 0).any()) or float((value.sum(-1) - 1.0).abs().max()) > 1e-6:
        raise ValueError(f"weights must be >= 0 with rows that sum to one, got {value.tolist()}")
    return (value / value.sum(-1, keepdim=True)).log()


def _offset(offset: Any, slopes: Tensor) -> Tensor:
    if offset is None:
        return slopes.new_zeros(slopes.shape[-1])
    value = as_real_tensor(offset, "offset", like=slopes).detach().double()
    if value.shape != slopes.shape[-1:]:
        raise ValueError(f"offset must be ({slopes.shape[-1]},), got shape {tuple(value.shape)}")
    require_finite(value, "offset")
    return value
