"""Properties that every law on the sphere must have: one table of cases, one test a property."""

import copy
import math
import pickle

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from sphere_cases import CASES, Case
from torch import Generator, Tensor

from probact.distributions import SphereUniform

F32, F64 = torch.float32, torch.float64
every = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def norm_error(x: Tensor) -> float:
    return (torch.linalg.vector_norm(x.double(), dim=-1) - 1.0).abs().max().item()


@every
@pytest.mark.parametrize("sample_shape", [(), (4,), (2, 3)])
def test_shapes(case: Case, sample_shape: tuple[int, ...]) -> None:
    law = case.make()
    assert law.batch_shape == case.batch_shape
    assert law.event_shape == (case.dim,)
    assert law.shape(sample_shape) == (*sample_shape, *case.batch_shape, case.dim)
    x = law.sample(sample_shape)
    assert x.shape == law.shape(sample_shape)
    assert law.log_prob(x).shape == (*sample_shape, *case.batch_shape)
    assert law.log_prob(x.reshape(-1, case.dim)[0]).shape == case.batch_shape
    assert not x.requires_grad
    for name in ("mean", "variance", "mode"):
        if name in vars(case.law):
            assert getattr(law, name).shape == (*case.batch_shape, case.dim), name
    if "entropy" in vars(case.law):
        assert law.entropy().shape == case.batch_shape


@every
def test_no_draws(case: Case) -> None:
    law = case.make()
    assert law.sample((0,)).shape == (0, *case.batch_shape, case.dim)
    assert law.log_prob(law.sample((0,))).shape == (0, *case.batch_shape)


@every
@pytest.mark.parametrize(("dtype", "tolerance"), [(F32, 1e-6), (F64, 1e-14)])
def test_everything_has_the_type_of_the_parameters(
    case: Case, dtype: torch.dtype, tolerance: float
) -> None:
    law, wide = case.make(dtype), case.make(F64)
    x = law.sample((50,))
    assert x.dtype == dtype
    assert norm_error(x) <= tolerance
    assert law.log_prob(x).dtype == dtype
    torch.testing.assert_close(
        law.log_prob(x).double(), wide.log_prob(x.double()), rtol=1e-4, atol=1e-4
    )
    for name in ("mean", "variance", "mode"):
        if name in vars(case.law):
            value = getattr(law, name)
            assert value.dtype == dtype, name
            torch.testing.assert_close(value.double(), getattr(wide, name), rtol=1e-5, atol=1e-6)
    if "entropy" in vars(case.law):
        assert law.entropy().dtype == dtype
        torch.testing.assert_close(law.entropy().double(), wide.entropy(), rtol=1e-5, atol=1e-4)


@every
def test_expand_is_the_same_law(case: Case) -> None:
    law = case.make()
    wider = law.expand((6, *case.batch_shape))
    assert type(wider) is case.law
    assert wider.batch_shape == (6, *case.batch_shape)
    x = wider.sample((2,))
    assert x.shape == (2, 6, *case.batch_shape, case.dim)
    torch.testing.assert_close(wider.log_prob(x), law.log_prob(x), rtol=1e-13, atol=1e-12)
    same = law.expand(law.batch_shape)
    assert torch.equal(same.log_prob(x[0, 0]), law.log_prob(x[0, 0]))
    left = law.sample((), generator=Generator().manual_seed(5))
    assert torch.equal(left, same.sample((), generator=Generator().manual_seed(5)))
    assert law.expand_by((6,)).batch_shape == wider.batch_shape
    if "entropy" in vars(case.law):
        assert wider.entropy().shape == wider.batch_shape
        assert wider.mean.shape == (*wider.batch_shape, case.dim)
    with pytest.raises(RuntimeError):
        case.make().expand((6,)).expand((5,))


@every
def test_pyro_wrappers(case: Case) -> None:
    law = case.make()
    x = law.sample()
    log_prob = law.log_prob(x)
    event = law.to_event(len(case.batch_shape))
    torch.testing.assert_close(event.log_prob(x), log_prob.sum())
    mask = torch.zeros(case.batch_shape, dtype=torch.bool)
    assert (law.mask(mask).log_prob(x) == 0).all()
    assert torch.equal(law.mask(~mask).log_prob(x), log_prob)

    def model() -> Tensor:
        with pyro.plate("rows", 7, dim=-1 - len(case.batch_shape)):
            return pyro.sample("x", law)

    trace = poutine.trace(model).get_trace()
    trace.compute_log_prob()
    site = trace.nodes["x"]
    assert site["value"].shape == (7, *case.batch_shape, case.dim)
    torch.testing.assert_close(
        site["log_prob"], law.log_prob(site["value"]), rtol=1e-13, atol=1e-12
    )


@pytest.mark.parametrize(
    "name", ["vmf circle", "uniform sphere", "power sphere", "angular circle"]
)
def test_inside_enumeration(name: str) -> None:
    """A discrete site summed out in parallel: with probability 0.7 the datum is masked."""
    law = CASES[name].make()
    value = law.sample()

    def model() -> None:
        z = pyro.sample("z", dist.Bernoulli(torch.tensor(0.3, dtype=F64)))
        pyro.sample("x", law.mask(z.bool()), obs=value)

    elbo = pyro.infer.TraceEnum_ELBO(max_plate_nesting=0)
    loss = elbo.loss(pyro.infer.config_enumerate(model, "parallel"), lambda: None)
    want = math.log(0.7 + 0.3 * law.log_prob(value).exp().item())
    assert -loss == pytest.approx(want, rel=1e-12)


@every
def test_infer_shapes(case: Case) -> None:
    if case.law is SphereUniform:  # its parameters are not tensors
        return
    shapes = {name: value.shape for name, value in case.params.items()}
    assert case.law.infer_shapes(**shapes) == (case.batch_shape, (case.dim,))


@every
def test_copies_are_equal(case: Case) -> None:
    law = case.make()
    x = law.sample((3,))
    for twin in (copy.deepcopy(law), pickle.loads(pickle.dumps(law))):
        assert torch.equal(twin.log_prob(x), law.log_prob(x))
        assert twin.batch_shape == law.batch_shape
    assert repr(law).startswith(case.law.__name__)


@every
def test_draws_follow_their_generator(case: Case) -> None:
    law = case.make()
    state = torch.get_rng_state()
    first = law.sample((5,), generator=Generator().manual_seed(3))
    again = law.sample((5,), generator=Generator().manual_seed(3))
    other = law.sample((5,), generator=Generator().manual_seed(4))
    assert torch.equal(torch.get_rng_state(), state)  # the global stream was not touched
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.manual_seed(9)
    left = law.sample((5,))
    torch.manual_seed(9)
    assert torch.equal(left, law.sample((5,)))
    assert torch.equal(law.sample((5,), seed=3), first)
    with pytest.raises(ValueError, match="a generator or a seed, not both"):
        law.sample((5,), seed=3, generator=Generator())


@every
def test_values_outside_the_support_are_refused(case: Case) -> None:
    law = case.make()
    x = law.sample()
    for bad in (2.0 * x, torch.zeros_like(x), torch.full_like(x, math.nan)):
        with pytest.raises(ValueError, match="support"):
            law.log_prob(bad)
    with pytest.raises(ValueError):
        law.log_prob(torch.cat([x, x], dim=-1))
    trusting = case.make(validate_args=False)
    assert torch.equal(trusting.log_prob(x), law.log_prob(x))
    assert trusting.log_prob(2.0 * x).shape == case.batch_shape
