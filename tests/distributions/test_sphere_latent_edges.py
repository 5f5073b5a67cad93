"""Codes on the sphere at the edges: extremes, types, streams, refusals, long training."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sphere_cases import axis, direction, mean_resultant
from statcheck import AlphaBudget
from torch import Generator

from probact.distributions.sphere_latent import rsample_with_kl

F32, F64 = torch.float32, torch.float64


@pytest.mark.parametrize("dim", [2, 3, 4, 5, 9, 50, 300, 1024])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_finite_everywhere(dim: int, dtype: torch.dtype) -> None:
    kappa = [0.0, 1e-30, 1e-12, 1e-6, 0.1, 1.0, 10.0, 1e3, 1e5, 1e6, 1e12]
    k = torch.tensor(kappa, dtype=dtype).repeat_interleave(9).requires_grad_()
    mu = torch.stack([axis(dim), axis(dim, 0, -1.0), direction(dim)]).to(dtype)
    mu = mu.repeat(len(k) // 3, 1).requires_grad_()
    m = mu.detach().roll(1, 0).requires_grad_()
    for other in (0.0, 5.0, 1e6):
        prior = torch.tensor(other, dtype=dtype, requires_grad=True)
        z, kl = rsample_with_kl(mu, k, m, prior)
        assert z.dtype == kl.dtype == dtype
        norm = torch.linalg.vector_norm(z.double(), dim=-1)
        assert (norm - 1).abs().max() <= (1e-14 if dtype == F64 else 1e-6)
        assert torch.isfinite(kl).all()
        assert (kl >= -1e-12 * (1 + k + other)).all()
        (z.sum() + kl.sum()).backward()
        for leaf in (mu, k, m, prior):
            assert leaf.grad.dtype == dtype
            assert torch.isfinite(leaf.grad).all()


def test_float32_is_rounded_float64() -> None:
    mu, m = direction(10, 50), direction(10, 50, seed=3)
    k = torch.linspace(0.1, 200, 50, dtype=F64)
    narrow = [p.float().requires_grad_() for p in (mu, k, m)]
    wide = [p.detach().double().requires_grad_() for p in narrow]
    outs, grads = [], []
    for mu, k, m in (narrow, wide):
        unit = [torch.nn.functional.normalize(x, dim=-1) for x in (mu, m)]
        z, kl = rsample_with_kl(unit[0], k, unit[1], 5.0, generator=Generator().manual_seed(1))
        outs.append((z, kl))
        grads.append(torch.autograd.grad(z.sum() + kl.sum(), (mu, k, m)))
    for a, b in zip(outs[0] + grads[0], outs[1] + grads[1], strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


def test_equal_generators_give_equal_bits() -> None:
    mu, k = direction(10, 200), torch.linspace(0, 50, 200, dtype=F64)
    state = torch.random.get_rng_state()
    own = [rsample_with_kl(mu, k, generator=Generator().manual_seed(4))[0] for _ in range(2)]
    assert torch.equal(*own)
    assert torch.equal(torch.random.get_rng_state(), state)  # the common stream is left alone
    other = rsample_with_kl(mu, k)[0]
    assert not torch.equal(other, own[0])
    assert not torch.equal(rsample_with_kl(mu, k)[0], other)
    torch.random.set_rng_state(state)
    assert torch.equal(rsample_with_kl(mu, k)[0], other)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        assert torch.equal(rsample_with_kl(mu, k, generator=Generator().manual_seed(4))[0], own[0])
    finally:
        torch.set_num_threads(threads)


def test_no_rows() -> None:
    mu = torch.empty(0, 5, requires_grad=True)
    k = torch.empty(0, requires_grad=True)
    for prior in ((), (torch.empty(0, 5), 2.0), (torch.empty(0, 5), torch.empty(0))):
        z, kl = rsample_with_kl(mu, k, *prior)
        assert z.shape == (0, 5)
        assert kl.shape == (0,)
        (z.sum() + kl.sum()).backward()
        assert mu.grad.shape == (0, 5)


MU, K = torch.eye(4), torch.ones(4)
WRONG = [
    ((MU[0], K), ValueError, r"loc must be \(N, d\) with d >= 2, got shape \(4,\)"),
    ((MU[:, :1], K), ValueError, "d >= 2"),
    ((MU, K[:3]), ValueError, r"concentration must be \(4,\) for loc \(4, 4\), got shape \(3,\)"),
    ((MU, K[:, None]), ValueError, r"got shape \(4, 1\)"),
    ((MU, K[0]), ValueError, r"got shape \(\)"),
    ((MU, 3.0), TypeError, "concentration must be a tensor, got float"),
    ((MU.numpy(), K), TypeError, "loc must be a tensor, got ndarray"),
    ((MU.half(), K.half()), TypeError, "loc must be float32 or float64, got torch.float16"),
    ((MU, K.double()), TypeError, "concentration must be torch.float32 as loc, got torch.float64"),
    ((2 * MU, K), ValueError, "loc must be unit vectors, got one of norm 2.0 in row 0"),
    ((MU * torch.nan, K), ValueError, "loc must be unit vectors, got one of norm nan in row 0"),
    ((MU, -K), ValueError, "concentration must be finite and >= 0, got -1.0 at index 0"),
    ((MU, K / 0), ValueError, "got inf at index 0"),
    ((MU, K, MU), ValueError, "go together, got only prior_loc"),
    ((MU, K, None, 5.0), ValueError, "go together, got only prior_concentration"),
    ((MU, K, MU[:2], 5.0), ValueError, r"prior_loc must be \(4, 4\) as loc, got shape \(2, 4\)"),
    ((MU, K, MU, K[:2]), ValueError, r"prior_concentration must be \(4,\)"),
    ((MU, K, MU, -1.0), ValueError, "prior_concentration must be finite and >= 0, got -1.0"),
    ((MU, K, 2 * MU, 5.0), ValueError, "prior_loc must be unit vectors, got one of norm 2.0"),
    ((MU, K, MU.double(), 5.0), TypeError, "prior_loc must be torch.float32 as loc"),
    ((MU, K, MU, "5"), TypeError, "prior_concentration must be a tensor, got str"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
def test_wrong_arguments(arguments: tuple, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        rsample_with_kl(*arguments)


def train(dim: int, steps: int, rows: int = 32) -> list[float]:
    """Losses of a small linear autoencoder on the sphere, on random bits."""
    torch.manual_seed(0)
    x = (torch.rand(rows, 40) < 0.3).float()
    encode, decode = torch.nn.Linear(40, dim + 1), torch.nn.Linear(dim, 40)
    optimiser = torch.optim.Adam([*encode.parameters(), *decode.parameters()], lr=1e-2)
    losses = []
    for _ in range(steps):
        h = encode(x)
        loc = torch.nn.functional.normalize(h[:, 1:], dim=-1)
        z, kl = rsample_with_kl(loc, torch.nn.functional.softplus(h[:, 0]) + 1.0)
        bits = torch.nn.functional.binary_cross_entropy_with_logits(decode(z), x, reduction="none")
        loss = (bits.sum(-1) + kl).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("dim", [3, 50, 1024])
def test_training_stays_finite(dim: int) -> None:
    losses = train(dim, 150)
    assert np.isfinite(losses).all()
    assert np.mean(losses[-20:]) < np.mean(losses[:20])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("dim", [3, 50, 1024])
def test_long_training_stays_finite(dim: int) -> None:
    """As many steps as 200 epochs of 6400 images."""
    assert np.isfinite(train(dim, 20_000, 64)).all()


@pytest.mark.gpu
@pytest.mark.parametrize("dim", [2, 3, 10, 128])
def test_on_a_gpu(dim: int, budget: AlphaBudget) -> None:
    mu, m = direction(dim, 400), direction(dim, 400, seed=3)
    k = torch.linspace(0, 100, 400, dtype=F64)
    here = [p.clone().requires_grad_() for p in (mu, k, m)]
    there = [p.clone().cuda().requires_grad_() for p in (mu, k, m)]
    _, want = rsample_with_kl(*here, 5.0)
    z, kl = rsample_with_kl(*there, 5.0, generator=Generator("cuda").manual_seed(0))
    assert z.device.type == "cuda"
    torch.testing.assert_close(kl.cpu(), want, rtol=1e-10, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(kl.sum(), there), torch.autograd.grad(want.sum(), here), strict=True
    ):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-9, atol=1e-10)
    repeated = there[0].detach()[-1].expand(20_000, dim)
    z, _ = rsample_with_kl(repeated, torch.full((20_000,), 10.0, dtype=F64, device="cuda"))
    t = (z @ repeated[0]).cpu()
    score = (t.mean() - mean_resultant(10.0, dim)[0]) / (t.std() / math.sqrt(len(t)))
    budget.check("mean cosine", float(2.0 * stats.norm.sf(abs(score.item()))))
