"""SplineMixture: the program by enumeration, the closed form, read-outs and draws."""

import math

import numpy as np
import pyro
import pytest
import torch
import torch.nn.functional as F
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, infer_discrete
from scipy import stats
from scipy.special import logsumexp
from statcheck import AlphaBudget, dkw_pvalue
from torch import Tensor, nn

from probact.models.layer_patches import layer_patches
from probact.models.spline_mixture import SplineMixture
from probact.nn.affine.max_affine import MaxAffine

F64 = torch.float64
K, R, D, N = 4, 3, 5, 7


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=F64)


def mixture(noise: float | Tensor = 0.37) -> SplineMixture:
    return SplineMixture(drawn(K, R, D), torch.softmax(drawn(K, R), -1), noise)


def empty_guide(x: Tensor) -> None:
    """Leaves the regions to enumeration in the model."""


def joint_by_scipy(m: SplineMixture, x: Tensor) -> np.ndarray:
    """log pi + log N(x; A, sigma^2 I), (N, K, R), by loops."""
    a, pi = m.slopes.detach().numpy(), m.weights.detach().numpy()
    scale = np.broadcast_to(m.noise.detach().sqrt().numpy(), (len(a),))
    found = np.empty((len(x), *pi.shape))
    for k, r in np.ndindex(*pi.shape):
        each = stats.norm(a[k, r], scale[k]).logpdf(x.numpy()).sum(1)
        found[:, k, r] = np.log(pi[k, r]) + each
    return found


@pytest.mark.parametrize("noise", [0.37, torch.linspace(0.2, 2.0, K)])
@pytest.mark.parametrize("with_gauge", [False, True])
def test_densities_and_posterior_by_scipy(noise: float | Tensor, with_gauge: bool) -> None:
    m, x = mixture(noise), drawn(N, D)
    if with_gauge:
        m = SplineMixture.from_offsets(m.slopes, drawn(K, R), noise)
        assert (m.gauge().abs() > 0.1).any()
    joint = joint_by_scipy(m, x)
    evidence = logsumexp(joint, -1)
    np.testing.assert_allclose(m.log_joint(x).detach(), joint, atol=1e-12, rtol=1e-12)
    np.testing.assert_allclose(m.log_prob(x).detach(), evidence, atol=1e-12, rtol=1e-12)
    posterior = np.exp(joint - evidence[..., None])
    np.testing.assert_allclose(m.selection(x).detach(), posterior, atol=1e-12)
    entropy = stats.entropy(posterior, axis=-1)
    np.testing.assert_allclose(m.entropy(x).detach(), entropy, atol=1e-12)
    assert (m.regions(x).numpy() == joint.argmax(-1)).all()


@pytest.mark.parametrize("noise", [0.37, torch.linspace(0.2, 2.0, K)])
def test_program_by_enumeration(noise: float | Tensor) -> None:
    """Evidence, marginals and mode of the program are those of the layer."""
    m, x = mixture(noise), drawn(N, D)
    elbo = TraceEnum_ELBO(max_plate_nesting=2)
    evidence = m.log_prob(x).sum().item()
    assert -elbo.loss(m, empty_guide, x) == pytest.approx(evidence, rel=1e-13)
    assert -elbo.loss(m, m.guide, x) == pytest.approx(evidence, rel=1e-13)
    marginals = elbo.compute_marginals(m, empty_guide, x)["t"].probs
    torch.testing.assert_close(marginals, m.selection(x), atol=1e-12, rtol=0.0)
    scores = torch.einsum("krd,nd->nkr", m.slopes, x) + m.offsets
    expected = torch.softmax(scores / m.noise.unsqueeze(-1), -1)
    torch.testing.assert_close(marginals, expected, atol=1e-12, rtol=0.0)
    mode = infer_discrete(m, first_available_dim=-3, temperature=0)
    t = poutine.trace(mode).get_trace(x).nodes["t"]["value"]
    assert torch.equal(t, m.regions(x))


def test_two_programs_do_not_share_parameters() -> None:
    """Run one after the other outside of a fit, and without a trace in Pyro's store."""
    first, second = mixture(), SplineMixture(drawn(2, 2, D), torch.full((2, 2), 0.5), 1.0)
    x, elbo = drawn(N, D), TraceEnum_ELBO(max_plate_nesting=2)
    for m in (first, second, first):
        assert -elbo.loss(m, empty_guide, x) == pytest.approx(m.log_prob(x).sum().item())
    assert not list(pyro.get_param_store().keys())


def test_program_draws_without_data() -> None:
    trace = poutine.trace(mixture()).get_trace()
    assert trace.nodes["t"]["value"].shape == (1, K)
    assert trace.nodes["x"]["value"].shape == (1, K, D)


@pytest.mark.parametrize("beta", [0.2, 0.5, 0.9])
def test_readouts_of_a_relu_layer(beta: float) -> None:
    layer, x, eta = nn.Linear(D, K).double(), drawn(N, D), beta / (1.0 - beta)
    u = layer(x)
    m = SplineMixture.from_layer(layer, "relu").at_beta(beta)
    close = dict(atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(m.readout(x, "hard"), F.relu(u), **close)
    torch.testing.assert_close(m.readout(x), F.silu(eta * u) / eta, **close)
    torch.testing.assert_close(
        m.readout(x, "probability")[..., 1], torch.sigmoid(eta * u), **close
    )
    soft = F.softplus(u, beta=eta, threshold=50.0)
    torch.testing.assert_close(m.readout(x, "free_energy"), soft, **close)
    assert m.beta.item() == pytest.approx(beta, rel=1e-14)
    assert (m.noise * eta).item() == pytest.approx(1.0, rel=1e-14)


def test_readouts_of_other_layers() -> None:
    layer, x = nn.Linear(D, K).double(), drawn(N, D)
    u = layer(x)
    close = dict(atol=1e-12, rtol=1e-12)
    absolute = SplineMixture.from_layer(layer, "abs")
    t = absolute.selection(x)
    torch.testing.assert_close(absolute.readout(x, "hard"), u.abs(), **close)
    torch.testing.assert_close(absolute.readout(x), u * torch.tanh(u), **close)
    torch.testing.assert_close(t[..., 1] - t[..., 0], torch.tanh(u), **close)
    leaky = SplineMixture.from_layer(layer, "leaky_relu", negative_slope=0.2)
    torch.testing.assert_close(leaky.readout(x, "hard"), F.leaky_relu(u, 0.2), **close)
    one = MaxAffine(layer.weight[None], layer.bias[None])  # K = 1, R = C: fully connected pooling
    head = SplineMixture.from_layer(one).selection(x)[..., 0, :]
    torch.testing.assert_close(head, torch.softmax(u, -1), **close)


def test_noise_to_its_limits() -> None:
    """beta -> 1 is the layer, ties shared; beta -> 0 the mean of the affine maps."""
    m, x = mixture(), drawn(N, D)
    scores = m.scores(x)
    sharp = m.at_noise(1e-8)
    torch.testing.assert_close(sharp.readout(x), scores.amax(-1), atol=1e-7, rtol=0.0)
    assert torch.equal(sharp.regions(x), m.regions(x))
    assert sharp.entropy(x).max() < 1e-6
    flat = m.at_noise(1e5)  # to first order in 1 / noise: its derivative is the variance
    expected = scores.mean(-1) + scores.var(-1, correction=0) / 1e5
    torch.testing.assert_close(flat.readout(x), expected, atol=1e-8, rtol=0.0)
    torch.testing.assert_close(flat.entropy(x), torch.full((N, K), math.log(R), dtype=F64))
    tied = SplineMixture.from_offsets([[[1.0], [1.0], [-1.0]]], [[0.0, 0.0, 0.0]], 1e-6)
    assert tied.selection([[2.0]]).tolist() == [[[0.5, 0.5, 0.0]]]


def test_a_layer_is_copied() -> None:
    layer, x = nn.Linear(D, K).double(), drawn(N, D)
    m = SplineMixture.from_layer(layer)
    before = m.readout(x).detach()
    moved = m.at_noise(1.0)
    with torch.no_grad():
        layer.weight.zero_()
        moved.slopes.zero_()
    assert torch.equal(m.readout(x), before)
    assert not {id(p) for p in m.parameters()} & {id(p) for p in layer.parameters()}
    again = SplineMixture(torch.ones(K, R, D), torch.full((K, R), 1.0 / R), 1.0)
    assert again.state_dict().keys() == m.state_dict().keys()
    m.load_state_dict(SplineMixture.from_layer(nn.Linear(D, K)).state_dict())


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_convolution_on_its_patches(mode: str) -> None:
    conv = nn.Conv2d(2, K, (3, 2), stride=(2, 1), padding=1, dilation=(1, 2), padding_mode=mode)
    norm = nn.BatchNorm2d(K)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    block, x = nn.Sequential(conv, norm).double().eval(), drawn(3, 2, 8, 7)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    patches = layer_patches(block, x)  # (N, L, D)
    for layer in (conv, block):
        out = layer(x)
        m = SplineMixture.from_layer(layer, "relu")
        assert patches.shape == (3, out.shape[2] * out.shape[3], m.input_dim)
        expected = F.silu(out).flatten(2).mT  # (N, L, K)
        torch.testing.assert_close(m.readout(patches), expected, atol=1e-12, rtol=1e-12)


def test_convolution_as_one_matrix() -> None:
    conv, x = nn.Conv2d(1, 2, 2).double(), drawn(3, 1, 4, 4)
    m = SplineMixture.from_layer(conv, "relu", input_shape=(1, 4, 4))
    assert m.slopes.shape == (18, 2, 16)
    torch.testing.assert_close(m.readout(x.flatten(1), "hard"), conv(x).relu().flatten(1))


def test_dead_units() -> None:
    slopes = torch.tensor([[1.0], [1.0], [1.0], [0.0]], dtype=F64)
    layer = nn.Linear(1, 4).double()
    layer.weight.data, layer.bias.data = slopes, torch.tensor([-9.0, 0.0, 9.0, 1.0], dtype=F64)
    m, x = SplineMixture.from_layer(layer, "relu"), torch.linspace(-1.0, 1.0, 5)[:, None]
    assert m.dead_units(x).tolist() == [True, False, False, True]
    spread = m.readout(x, "hard").detach().var(0)
    assert ((spread == 0.0) == m.dead_units(x)).all()


def test_draws_follow_the_program(budget: AlphaBudget) -> None:
    m = SplineMixture(drawn(2, R, 1), torch.softmax(drawn(2, R), -1), torch.tensor([0.1, 0.9]))
    x, regions = m.sample(20_000, seed=3)
    assert x.shape == (20_000, 2, 1)
    assert regions.shape == (20_000, 2)
    assert torch.equal(x, m.sample(20_000, generator=torch.Generator().manual_seed(3)).x)
    pi, a, scale = (v.detach().numpy() for v in (m.weights, m.slopes, m.noise.sqrt()))
    for k in range(2):
        counts = np.bincount(regions[:, k], minlength=R)
        p = stats.chisquare(counts, pi[k] * 20_000).pvalue
        budget.check(f"regions of unit {k}", p)
        law = stats.norm(a[k, :, 0], scale[k])
        budget.check(
            f"inputs of unit {k}",
            dkw_pvalue(x[:, k, 0], lambda v, q=pi[k], f=law: f.cdf(v[:, None]) @ q),
        )


def test_gradcheck_of_the_evidence() -> None:
    m, x = mixture(), drawn(2, D).requires_grad_()
    assert torch.autograd.gradcheck(m.log_prob, (x,))
    assert torch.autograd.gradcheck(m.readout, (x,))
    m.objective(x).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in m.parameters())


@pytest.mark.parametrize(
    ("slopes", "weights", "noise", "words"),
    [
        (torch.zeros(2, 2), torch.full((2, 2), 0.5), 1.0, r"slopes must be \(K, R, D\)"),
        (torch.zeros(2, 2, 1), torch.full((1, 2), 0.5), 1.0, "weights must be"),
        (torch.zeros(1, 2, 1), [[0.5, 0.6]], 1.0, "weights must be positive and sum to one"),
        (torch.zeros(1, 2, 1), [[0.0, 1.0]], 1.0, "weights must be positive"),
        (torch.full((1, 2, 1), torch.nan), [[0.5, 0.5]], 1.0, "slopes must be finite, got nan"),
        (torch.zeros(1, 2, 1), [[0.5, 0.5]], 0.0, "noise is a variance"),
        (torch.zeros(1, 2, 1), [[0.5, 0.5]], math.inf, "noise is a variance"),
        (torch.zeros(2, 2, 1), torch.full((2, 2), 0.5), [1.0] * 3, "noise must be"),
    ],
)
def test_bad_parameters_are_refused(
    slopes: Tensor, weights: Tensor, noise: float, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        SplineMixture(slopes, weights, noise)


def test_bad_calls_are_refused() -> None:
    m = mixture()
    with pytest.raises(ValueError, match=r"x must be \(\.\.\., 5\)"):
        m.selection(drawn(N, D + 1))
    with pytest.raises(ValueError, match="x has 1 row with NaN"):
        m.log_prob(torch.tensor([[1.0, 2.0, 3.0, 4.0, math.nan]]))
    with pytest.raises(ValueError, match="x must be"):
        m(drawn(2, N, D))
    with pytest.raises(ValueError, match=r"x must be \(N, 5\), got shape \(0, 5\)"):
        m(drawn(0, D))
    with pytest.raises(ValueError, match="kind must be one of hard"):
        m.readout(drawn(N, D), "mean")
    for beta in (0.0, 1.0, -1.0):
        with pytest.raises(ValueError, match="beta must"):
            m.at_beta(beta)
    with pytest.raises(ValueError, match="num_samples"):
        m.sample(0)
    with pytest.raises(ValueError, match="not both"):
        m.sample(1, seed=0, generator=torch.Generator())
    with pytest.raises(ValueError, match="a point or more"):
        m.dead_units(drawn(0, D))
    with pytest.raises(ValueError, match="a point or more"):
        m.objective(drawn(0, D))
    with pytest.raises(ValueError, match="distinct rows"):
        SplineMixture.from_data(torch.ones(9, 2), 1, 2)
    with pytest.raises(ValueError, match="x is too large"):
        SplineMixture.from_data(1e200 * drawn(9, 2), 1, 2)
    with pytest.raises(ValueError, match="groups=1"):
        SplineMixture.from_layer(nn.Conv2d(2, 2, 3, groups=2))
    with pytest.raises(TypeError, match="layer must be"):
        SplineMixture.from_layer(nn.LSTM(2, 2))
    with pytest.raises(TypeError, match="Conv2d"):
        layer_patches(nn.Linear(2, 2), drawn(1, 2, 3, 3))
    with pytest.raises(ValueError, match=r"\(N, 2, H, W\)"):
        layer_patches(nn.Conv2d(2, 2, 3), drawn(1, 3, 3, 3))
    with pytest.raises(ValueError, match="smaller than the filters"):
        layer_patches(nn.Conv2d(2, 2, 3), drawn(1, 2, 2, 3))
    with pytest.raises(TypeError, match="x must be a tensor of floating type, got list"):
        layer_patches(nn.Conv2d(2, 2, 3), [[1.0]])
    with pytest.raises(TypeError, match=r"got torch.int64"):
        layer_patches(nn.Conv2d(2, 2, 3), torch.ones(1, 2, 3, 3).long())
    wide = nn.Conv2d(2, 2, 3, padding=4, padding_mode="reflect")
    with pytest.raises(ValueError, match="too small for the layer's reflect padding"):
        layer_patches(wide, drawn(1, 2, 3, 3))


@pytest.mark.gpu
def test_cuda_is_the_cpu() -> None:
    m, x = mixture(), drawn(N, D)
    here = [m.log_prob(x), m.readout(x), m.entropy(x)]
    there = m.cuda()
    on_device = [there.log_prob(x.cuda()), there.readout(x.cuda()), there.entropy(x.cuda())]
    for a, b in zip(here, on_device, strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=1e-12, atol=1e-12)
    assert there.sample(3, seed=0).x.is_cuda
