"""Read-outs of soft max-affine layers: closed forms, bounds, limits, the mixture behind them."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from statcheck import AlphaBudget
from torch import Tensor, nn

from probact.nn.affine.difference import Difference
from probact.nn.affine.max_affine import MaxAffine
from probact.nn.selection.selections import Hard, Perturbed, Sampled, Selection, Shannon, Tsallis
from probact.nn.selection.soft_max_affine import SampledReadout, SoftMaxAffine

N, D, K = 200, 6, 8
BETAS = (0.1, 0.5, 0.8, 0.99)


def layer() -> nn.Linear:
    return nn.Linear(D, K).double()


def points(scale: float = 2.0) -> Tensor:
    return scale * torch.randn(N, D, dtype=torch.float64)


def shannon(beta: float) -> Shannon:
    return Shannon(torch.tensor(beta, dtype=torch.float64))


def from_eta(kind: Callable, eta: float, *args: object) -> Selection:
    return kind(*args, log_eta=torch.tensor(eta, dtype=torch.float64).log())


def assert_equal(value: Tensor, expected: Tensor, atol: float = 1e-9) -> None:
    torch.testing.assert_close(value, expected, rtol=0, atol=atol)


def log1p_exp(s: Tensor) -> Tensor:
    return F.softplus(s, threshold=50.0)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize(("p", "q"), [(0.0, 1.0), (0.1, 1.0), (-0.4, 1.5), (-1.0, 1.0)])
def test_two_slopes_in_closed_form(beta: float, p: float, q: float) -> None:
    """ReLU, leaky ReLU, two slopes and the absolute value: all read-outs."""
    dense, x, eta = layer(), points(), beta / (1.0 - beta)
    u = dense(x)
    maso = MaxAffine.from_layer(dense, (p, q))

    def read(readout: SampledReadout) -> Tensor:
        return SoftMaxAffine(maso, shannon(beta), readout)(x)

    gate = torch.sigmoid(eta * (q - p) * u)
    assert_equal(read("hard"), torch.where(u > 0, q * u, p * u))
    assert_equal(read("probability"), torch.stack([1.0 - gate, gate], -1))
    assert_equal(read("expectation"), u * (p + (q - p) * gate))
    assert_equal(read("free_energy"), p * u + log1p_exp(eta * (q - p) * u) / eta)
    if p == -1.0:
        assert_equal(read("expectation"), u * torch.tanh(eta * u))
        t = read("probability")
        assert_equal(t[..., 1] - t[..., 0], torch.tanh(eta * u))
        spread = log1p_exp(-2.0 * eta * u.abs()) / eta
        assert_equal(read("free_energy"), u.abs() + spread)
    if p == 0.0 and beta == 0.5:
        assert_equal(read("expectation"), F.silu(u), 1e-12)


@pytest.mark.parametrize("beta", BETAS)
def test_pools_in_closed_form(beta: float) -> None:
    dense, x, eta = layer(), points(1.0), beta / (1.0 - beta)
    u = dense(x).unflatten(-1, (2, 4))

    def read(activation: str, readout: SampledReadout) -> Tensor:
        maso = MaxAffine.from_layer(dense, activation, channel_pool=4)
        return SoftMaxAffine(maso, shannon(beta), readout)(x)

    weights = (eta * u).exp()
    assert_equal(read("identity", "probability"), weights / weights.sum(-1, keepdim=True))
    assert_equal(read("identity", "expectation"), (u * weights).sum(-1) / weights.sum(-1))
    assert_equal(read("identity", "free_energy"), weights.sum(-1).log() / eta)
    total = 1.0 + weights.sum(-1)
    assert_equal(read("relu", "expectation"), (u * weights).sum(-1) / total)
    assert_equal(read("relu", "free_energy"), total.log() / eta)


def test_output_layer_skip_and_tanh_nets() -> None:
    """Softmax layers, skip connections, and tanh networks as sigmoid networks."""
    dense, skip, x = layer(), layer(), points()
    whole = MaxAffine.from_layer(dense, "identity", channel_pool=K)
    t = SoftMaxAffine(whole, shannon(0.5), "probability")(x)[:, 0]
    assert_equal(t, torch.softmax(dense(x), -1), 1e-12)
    skipped = SoftMaxAffine(MaxAffine.from_layer(dense, "relu", skip=skip), shannon(0.5))
    assert_equal(skipped(x), skip(x) + F.silu(dense(x)))

    double, last = layer(), nn.Linear(K, 3).double()
    with torch.no_grad():
        double.weight.copy_(2.0 * dense.weight)
        double.bias.copy_(2.0 * dense.bias)
    gates = SoftMaxAffine(MaxAffine.from_layer(double, "relu"), shannon(0.5), "probability")
    sigmoid_net = gates(x)[..., 1] @ (2.0 * last.weight).T + last.bias - last.weight.sum(1)
    signs = SoftMaxAffine(MaxAffine.from_layer(dense, "abs"), shannon(0.5), "probability")(x)
    tanh_net = last(signs[..., 1] - signs[..., 0])
    assert_equal(tanh_net, last(torch.tanh(dense(x))), 1e-12)
    assert_equal(sigmoid_net, tanh_net, 1e-12)


def test_torch_functions_as_selections() -> None:
    """hardswish, hardsigmoid, hardtanh, GELU to 1e-12; SiLU at 1.702 near GELU."""
    dense, x = layer(), points(3.0)
    u, relu = dense(x), MaxAffine.from_layer(dense, "relu")
    third = from_eta(Tsallis, 1.0 / 3.0, 2.0)
    assert_equal(SoftMaxAffine(relu, third)(x), F.hardswish(u), 1e-12)
    gate = SoftMaxAffine(relu, third, "probability")(x)[..., 1]
    assert_equal(gate, F.hardsigmoid(u), 1e-12)
    half = from_eta(Tsallis, 0.5, 2.0)
    t = SoftMaxAffine(MaxAffine.from_layer(dense, "abs"), half, "probability")(x)
    assert_equal(t[..., 1] - t[..., 0], F.hardtanh(u), 1e-12)
    assert_equal(SoftMaxAffine(relu, Perturbed("normal"))(x), F.gelu(u), 1e-12)
    assert_equal(SoftMaxAffine(relu, Perturbed("uniform"))(x), F.hardswish(u), 1e-12)
    cauchy = u * (0.5 + u.atan() / math.pi)
    assert_equal(SoftMaxAffine(relu, Perturbed("cauchy"))(x), cauchy, 1e-12)
    usual = SoftMaxAffine(relu, shannon(1.702 / 2.702))(x)
    assert (usual - F.gelu(u)).abs().max() < 0.0204


def test_soft_relu6() -> None:
    dense, x = layer(), points(9.0)
    hard = Difference.from_layer(dense, "relu6")
    soft = Difference(*(SoftMaxAffine(part, shannon(0.5)) for part in (hard.plus, hard.minus)))
    u = dense(x)
    assert_equal(soft(x), F.silu(u) - F.silu(u - 6.0))


def mixed(beta: float) -> tuple[MaxAffine, Shannon]:
    torch.manual_seed(7)
    slopes = torch.randn(K, 4, D, dtype=torch.float64)
    return MaxAffine(slopes, torch.randn(K, 4, dtype=torch.float64)), shannon(beta)


@pytest.mark.parametrize("beta", BETAS)
def test_bounds_and_derivatives(beta: float) -> None:
    maso, selection = mixed(beta)
    x, eta = points(), beta / (1.0 - beta)
    a = maso.scores(x)
    t = SoftMaxAffine(maso, selection, "probability")(x)
    z = SoftMaxAffine(maso, selection, "expectation")(x)
    energy = SoftMaxAffine(maso, selection, "free_energy")(x)
    top, room, slack = a.amax(-1), math.log(4) / eta, 1e-12 * (1.0 + 1.0 / eta)
    assert (top - room - slack <= z).all()
    assert (z <= top + slack).all()
    assert (top - slack <= energy).all()
    assert (energy <= top + room + slack).all()
    entropy = -torch.special.xlogy(t, t).sum(-1)
    assert_equal(energy, z + entropy / eta, 1e-11)
    # d z / d log eta = eta Var_t(a), d F / d log eta = -H / eta
    variance = (t * (a - z.unsqueeze(-1)).square()).sum(-1)
    slope = torch.autograd.grad(z.sum(), selection.log_eta, retain_graph=True)[0]
    assert_equal(slope, (eta * variance).sum().detach(), 1e-8)
    slope = torch.autograd.grad(energy.sum(), selection.log_eta)[0]
    assert_equal(slope, -(entropy / eta).sum().detach(), 1e-8)


def test_score_derivatives() -> None:
    """dz/da_r = t_r (1 + eta (a_r - z)), dF/da = t."""
    a = torch.randn(9, 5, dtype=torch.float64, requires_grad=True)
    maso, eta = MaxAffine(torch.eye(5, dtype=torch.float64)[None]), 0.7 / 0.3  # a = x

    def read(readout: SampledReadout) -> Tensor:
        return SoftMaxAffine(maso, shannon(0.7), readout)(a).squeeze(1)

    t, z = read("probability").detach(), read("expectation")
    slope = torch.autograd.grad(z.sum(), a)[0]
    assert_equal(slope, (t * (1.0 + eta * (a - z.unsqueeze(-1)))).detach(), 1e-11)
    assert_equal(torch.autograd.grad(read("free_energy").sum(), a)[0], t, 1e-12)


def test_limits() -> None:
    maso, x = mixed(0.5)[0], points()
    assert_equal(SoftMaxAffine(maso, shannon(1.0 - 1e-9))(x), maso(x), 1e-6)
    linear = MaxAffine(maso.slopes.mean(1, keepdim=True), maso.offsets.mean(1, keepdim=True))
    assert_equal(SoftMaxAffine(maso, shannon(1e-10))(x), linear(x), 1e-7)
    assert_equal(SoftMaxAffine(maso, Hard())(x), maso(x), 1e-12)
    middle = SoftMaxAffine(maso, shannon(0.5), "probability")(x)
    assert_equal(middle, torch.softmax(maso.scores(x), -1), 1e-12)
    dense = layer()
    half = SoftMaxAffine(MaxAffine.from_layer(dense, "relu"), shannon(1e-10))(x)
    assert_equal(half, 0.5 * dense(x), 1e-7)
    pool = MaxAffine.from_layer(nn.Identity(), "identity", max_pool=nn.MaxPool2d(3, 2, 1))
    images = torch.rand(2, 3, 7, 7, dtype=torch.float64)
    mean = F.avg_pool2d(images, 3, 2, 1, count_include_pad=False)
    assert_equal(SoftMaxAffine(pool, shannon(1e-10))(images), mean, 1e-7)
    tied = MaxAffine(
        torch.ones(1, 3, 2, dtype=torch.float64), torch.tensor([[0.0, 0, -9]]).double()
    )
    t = SoftMaxAffine(tied, shannon(1.0 - 1e-6), "probability")(points()[:, :2])
    assert_equal(t, torch.tensor([0.5, 0.5, 0.0]).double().expand_as(t), 1e-9)


def normal_density(x: Tensor, mean: Tensor, sigma2: float) -> Tensor:
    return torch.from_numpy(stats.multivariate_normal(mean, sigma2).pdf(x))


@pytest.mark.parametrize("sigma2", [0.37, 1.0, 2.5])
def test_selection_is_the_mixture_posterior(sigma2: float) -> None:
    """t_k ~ Cat(pi), x | t ~ N(A_kt, sigma^2 I), with B = -|A|^2 / 2 + sigma^2 log pi."""
    slopes = torch.randn(3, 4, D, dtype=torch.float64)
    prior = torch.softmax(torch.randn(3, 4, dtype=torch.float64), -1)
    maso = MaxAffine(slopes, -0.5 * slopes.square().sum(-1) + sigma2 * prior.log())
    x = points(1.0)[:40]
    t = SoftMaxAffine(maso, from_eta(Shannon, 1.0 / sigma2), "probability")(x)
    for k in range(3):
        joint = torch.stack(
            [prior[k, r] * normal_density(x, slopes[k, r], sigma2) for r in range(4)], -1
        )
        assert_equal(t[:, k], joint / joint.sum(-1, keepdim=True))


def test_samples_have_the_soft_mean_and_variance(budget: AlphaBudget) -> None:
    """ReLU: u with probability t, so mean u t and variance u^2 t (1 - t)."""
    dense, x, n = layer(), points(1.0)[:1], 20_000
    u = dense(x)[0]
    t = torch.sigmoid(u)
    generator = torch.Generator().manual_seed(1)
    for maso in (
        SoftMaxAffine(MaxAffine.from_layer(dense, "relu"), shannon(0.5), "sample"),
        SoftMaxAffine(MaxAffine.from_layer(dense, "relu"), Sampled(shannon(0.5))),
    ):
        draws = maso(x.expand(n, -1), generator=generator).detach()
        assert ((draws == 0.0) | ((draws - u).abs() < 1e-12)).all()
        assert_equal(maso.probabilities(x)[0, :, 1], t, 1e-12)
        for k in range(K):
            count = int((draws[:, k] != 0.0).sum())
            budget.check("sampled ReLU", stats.binomtest(count, n, t[k].item()).pvalue)


@pytest.mark.parametrize("readout", ["hard", "expectation", "probability", "free_energy"])
@pytest.mark.parametrize("selection", [Shannon, lambda: Tsallis(1.5), lambda: Perturbed("normal")])
def test_gradcheck(readout: SampledReadout, selection: Callable[[], Selection]) -> None:
    """In the input, the layer's weights and eta."""
    dense = nn.Linear(3, 4).double()
    soft = SoftMaxAffine(MaxAffine.from_layer(dense, "abs"), selection().double(), readout)
    x = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    names = [n for n, _ in soft.named_parameters()]

    def call(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(soft, dict(zip(names, values, strict=True)), (x,))

    torch.autograd.gradcheck(call, (x, *soft.parameters()))


def test_detached_gate() -> None:
    dense, x = layer(), points().requires_grad_()
    relu = MaxAffine.from_layer(dense, "relu")
    soft = SoftMaxAffine(relu, shannon(0.5), detach_gate=True)
    assert_equal(soft(x), F.silu(dense(x)), 1e-12)
    slope = torch.autograd.grad(soft(x).sum(), x)[0]
    assert_equal(slope, torch.sigmoid(dense(x)) @ dense.weight)


def test_shared_weights_and_state() -> None:
    dense = layer()
    soft = SoftMaxAffine(MaxAffine.from_layer(dense, "relu"), shannon(0.7))
    pointers = {p.data_ptr() for p in soft.parameters()}
    assert {dense.weight.data_ptr(), dense.bias.data_ptr()} < pointers
    other = SoftMaxAffine(MaxAffine.from_layer(layer(), "relu"), shannon(0.2))
    other.load_state_dict(soft.state_dict())
    x = points()
    assert torch.equal(other(x), soft(x))
    soft(x).sum().backward()
    assert dense.weight.grad.abs().max() > 0


def test_bfloat16() -> None:
    """Selections are float32 rounded once; the sum over regions is bfloat16's: to 2 %."""
    dense, x = nn.Linear(D, K), torch.randn(N, D)
    soft = SoftMaxAffine(MaxAffine.from_layer(dense, "relu"))
    low = SoftMaxAffine(MaxAffine.from_layer(nn.Linear(D, K), "relu"))
    low.load_state_dict(soft.state_dict())
    value = low.to(torch.bfloat16)(x.to(torch.bfloat16))
    assert value.dtype == torch.bfloat16
    torch.testing.assert_close(value.float(), soft(x), rtol=0.02, atol=0.02)


def test_refusals() -> None:
    maso = MaxAffine.from_layer(layer())
    with pytest.raises(TypeError, match="inner must be a MaxAffine, got Linear"):
        SoftMaxAffine(layer())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="selection must be a selection, got Softmax"):
        SoftMaxAffine(maso, nn.Softmax(-1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"readout must be one of hard, .* got 'mean'"):
        SoftMaxAffine(maso, readout="mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"x must be \(..., 6\)"):
        SoftMaxAffine(maso)(torch.zeros(3, 5))
    with pytest.raises(ValueError, match="R = 2"):
        SoftMaxAffine(mixed(0.5)[0], Perturbed())(points())
