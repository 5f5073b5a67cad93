"""Priors of a last layer at the border: of its weights, and of the noise of its outputs."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from probact.arrays import as_number, as_tensor, check_finite
from probact.distributions.asymmetric_laplace import AsymmetricLaplace
from probact.distributions.laplace_hyperprior import LaplaceHyperprior, check_hyperprior

__all__ = ["as_class_order", "as_head_prior", "as_noise_prior"]

_RATE = 0.01  # of the weak Gamma priors: rates are free up to about a hundred
_BOUND = 1.0  # of the weak Uniform prior of the mode


def as_head_prior(prior: Any, rows: int) -> tuple[bool, dict[str, Tensor]]:
    """Whether m and the rates are learned, and the parameters of the prior, (rows,) each.

    Raises: TypeError for something else than a prior; ValueError for one of another size, or
    parameters that are no law.
    >>> learned, values = as_head_prior(None, 3)
    >>> learned, values["right_concentration"].shape
    (True, torch.Size([3]))
    """
    if prior is None:
        weak = torch.tensor([1.0, _RATE, 1.0, _RATE, -_BOUND, _BOUND], dtype=torch.float64)
        prior = LaplaceHyperprior(*weak)
    if isinstance(prior, AsymmetricLaplace):
        names = ("loc", "scale", "asymmetry")
        given = {name: getattr(prior, name) for name in names}
        return False, {name: _vector(value, name, rows) for name, value in given.items()}
    if not isinstance(prior, LaplaceHyperprior):
        raise TypeError(
            "prior must be a LaplaceHyperprior, an AsymmetricLaplace or None, got"
            f" {type(prior).__name__}"
        )
    checked = check_hyperprior(prior, rows, torch.device("cpu"))._asdict()
    return True, {name: value.clone() for name, value in checked.items()}


def _vector(value: Any, name: str, rows: int) -> Tensor:
    """A parameter of the prior as (rows,), in memory of its own."""
    tensor = as_tensor(value, name).double()
    if tuple(tensor.shape) not in ((), (1,), (rows,)):
        raise ValueError(
            f"{name} of the prior must be one per row, ({rows},), got {tuple(tensor.shape)}"
        )
    tensor = tensor.expand(rows).clone()
    check_finite(tensor.unsqueeze(-1), f"{name} of the prior")
    return tensor


def as_noise_prior(value: Sequence[float]) -> tuple[float, float]:
    """Concentration and rate of an inverse gamma law.

    Raises: TypeError, ValueError for something else than two numbers > 0.
    >>> as_noise_prior((1, 0.1))
    (1.0, 0.1)
    """
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ValueError(f"noise_prior must be (concentration, rate), got {value!r}")
    return as_number(value[0], "noise_prior[0]"), as_number(value[1], "noise_prior[1]")


def as_class_order(value: Any, likelihood: str, num_classes: int) -> Tensor | None:
    """The classes (K,) from the first stick to the last; None for other likelihoods.

    Raises: ValueError for no permutation, sticks without an order, or an order without sticks.
    >>> as_class_order([1, 0], "stick_breaking", 2)
    tensor([1, 0])
    """
    if likelihood != "stick_breaking":
        if value is not None:
            raise ValueError(f"class_order is only for stick_breaking, got {likelihood}")
        return None
    if value is None:
        raise ValueError(
            "class_order must be given for stick_breaking, such as frequency_order(y, num_classes)"
        )
    order = as_tensor(value, "class_order")
    whole = not order.is_floating_point() and order.shape == (num_classes,)
    if not whole or order.sort().values.tolist() != list(range(num_classes)):
        raise ValueError(
            f"class_order must hold each of 0 .. {num_classes - 1} once, got {order.tolist()}"
        )
    return order.long().clone()
