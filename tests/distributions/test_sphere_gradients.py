"""Gradients of every law on the sphere: exact inside, finite at both ends."""

from typing import Any

import pytest
import torch
from sphere_cases import CASES, Case
from torch import Tensor

from probact.distributions import AngularGaussian, PowerSpherical, SphereUniform, VonMisesFisher

F64 = torch.float64
every = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@every
def test_log_prob_gradients(case: Case) -> None:
    if case.law is SphereUniform:
        return
    names = list(case.params)
    x = case.make().sample((2,))
    # kappa 0 is an edge: a central difference would step outside
    values = [case.params[n] + (0.1 if n == "concentration" else 0.0) for n in names]
    leaves = [v.clone().requires_grad_() for v in values]

    def f(*params: Tensor) -> Tensor:
        law = case.law(**dict(zip(names, params, strict=True)), validate_args=False)
        value: Tensor = law.log_prob(x)
        return value

    assert torch.autograd.gradcheck(f, leaves, atol=1e-6)
    if "entropy" in vars(case.law):

        def g(concentration: Tensor) -> Tensor:
            value: Tensor = case.law(case.params["loc"], concentration).entropy()
            return value

        assert torch.autograd.gradcheck(g, leaves[names.index("concentration")], atol=1e-6)


ENDS = [
    (VonMisesFisher, "concentration", [0.0, 1e-310, 1e-300, 1e-12, 1e8, 1e12]),
    (PowerSpherical, "concentration", [0.0, 1e-310, 1e-300, 1e-12, 1e8, 1e12]),
    (AngularGaussian, "scale", [1e-3, 1e3, 1e150]),
]


@pytest.mark.parametrize(("law", "name", "values"), ENDS)
@pytest.mark.parametrize("dim", [2, 3, 4, 50, 2048])
def test_gradients_are_finite_at_both_ends(
    law: type[Any], name: str, values: list[float], dim: int
) -> None:
    e1 = torch.eye(dim, dtype=F64)[0]
    near = e1 + 1e-9 * torch.eye(dim, dtype=F64)[1]
    for value in values:
        for start in (e1, -e1, near):
            loc = start.clone().requires_grad_()
            other = torch.full((dim,) if name == "scale" else (), value, dtype=F64)
            other.requires_grad_()
            made = law(loc, other)
            draw = made.rsample() if made.has_rsample else made.sample()
            # a power spherical density is zero at the antipode: its logarithm has no slope there
            ends = [e1, -e1] if law is not PowerSpherical or value == 0.0 else [start]
            points = torch.stack([draw, *ends])
            targets = [made.log_prob(points).sum()]
            if made.has_rsample:
                targets.append(draw[-1])
            if law is not AngularGaussian:
                targets.append(made.entropy())
            for target in targets:
                assert torch.isfinite(target)
                grads = torch.autograd.grad(
                    target, (loc, other), retain_graph=True, allow_unused=True
                )
                assert all(g is None or torch.isfinite(g).all() for g in grads), (value, start[:2])


@every
def test_draws_are_differentiable_or_say_not(case: Case) -> None:
    if case.law is SphereUniform:
        return
    leaves = {k: v.clone().requires_grad_() for k, v in case.params.items()}
    law = case.law(**leaves)
    assert not law.sample((2,)).requires_grad
    if not law.has_rsample:
        with pytest.raises(NotImplementedError):
            law.rsample()
        return
    law.rsample((50,))[..., 0].sum().backward()
    for name, leaf in leaves.items():
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()
        assert leaf.grad.shape == leaf.shape
        assert leaf.grad.abs().sum() > 0, name
