"""The catalogue of awkward parameters at the laws with a direction and a concentration."""

from typing import Any

import pytest
import torch
from bad_inputs import parameter_cases, verdict
from pyro.distributions import TorchDistribution
from torch.distributions import transform_to

from probact.distributions import PowerSpherical, VonMisesFisher
from probact.distributions.sphere_parameters import unit_vector

PARAMETERS = [pytest.param(p, expect, id=name) for name, p, expect in parameter_cases()]


def finite(outputs: tuple[torch.Tensor, ...]) -> bool:
    return all(bool(torch.isfinite(out).all()) for out in outputs)


@pytest.mark.parametrize("law", [VonMisesFisher, PowerSpherical])
@pytest.mark.parametrize(("parameters", "expect"), PARAMETERS)
def test_awkward_parameters(
    law: type[TorchDistribution], parameters: dict[str, Any], expect: str
) -> None:
    def use() -> tuple[torch.Tensor, ...]:
        made = law(parameters["mu"], parameters["kappa"])
        x = made.sample((50,), generator=torch.Generator().manual_seed(1))
        assert (torch.linalg.vector_norm(x, dim=-1) - 1).abs().max() < 1e-6
        return x, made.log_prob(x), made.log_prob(made.loc), made.entropy(), made.mean

    assert verdict(use, expect, finite) is None


@pytest.mark.parametrize("law", [VonMisesFisher, PowerSpherical])
def test_refusals_come_before_any_draw(law: type[TorchDistribution]) -> None:
    state = torch.get_rng_state()
    for _, parameters, expect in parameter_cases():
        if expect == "error":
            with pytest.raises((ValueError, TypeError)):
                law(parameters["mu"], parameters["kappa"])
    assert torch.equal(torch.get_rng_state(), state)


def test_the_constraint_knows_its_transform() -> None:
    raw = torch.randn(5, 3, dtype=torch.float64)
    unit = transform_to(unit_vector)(raw)
    assert unit_vector.check(unit).all()
    assert not unit_vector.check(1.01 * unit).any()
    assert not unit_vector.check(torch.full((3,), torch.nan))
    assert unit_vector.check(unit.float().double()).all()  # float32 rounding is forgiven
