"""Selections against the variational problems that define them, their limits and gradients."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import brentq, minimize
from statcheck import AlphaBudget
from torch import Tensor, nn

from probact.nn.selection.entmax import entmax, entmax15, entmax_bisect, sparsemax
from probact.nn.selection.selections import Hard, Perturbed, Sampled, Selection, Shannon, Tsallis

ALPHAS = (1.05, 1.3, 1.5, 1.7, 2.0, 2.5, 4.0)


def exact(beta: float) -> Tensor:
    return torch.tensor(beta, dtype=torch.float64)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def entropy(t: np.ndarray, alpha: float) -> float:
    t = t[t > 0]
    if alpha == 1.0:
        return float(-(t * np.log(t)).sum())
    return float((1.0 - (t**alpha).sum()) / (alpha * (alpha - 1.0)))


def best_objective(a: np.ndarray, eta: float, alpha: float) -> float:
    """max_t <t, a> + H_alpha(t) / eta by SLSQP over the simplex, from the uniform selection."""

    def loss(t: np.ndarray) -> float:
        return -(t @ a + entropy(t, alpha) / eta)

    total = {"type": "eq", "fun": lambda t: t.sum() - 1.0}
    start = np.full(len(a), 1.0 / len(a))
    bounds = [(0.0, 1.0)] * len(a)
    options = {"ftol": 1e-14, "maxiter": 500}
    done = minimize(
        loss, start, method="SLSQP", bounds=bounds, constraints=[total], options=options
    )
    return -done.fun


@pytest.mark.parametrize("alpha", [1.0, *ALPHAS])
@pytest.mark.parametrize("beta", [0.2, 0.5, 0.8])
def test_variational_problem(alpha: float, beta: float) -> None:
    """t attains the optimum that a numerical optimiser finds, and F is its value."""
    options = {"dtype": torch.float64}
    selection = Shannon(beta, **options) if alpha == 1.0 else Tsallis(alpha, beta, **options)
    for a in normal(3, 5):
        t = selection(a).detach().numpy()
        eta = beta / (1.0 - beta)
        value = t @ a.numpy() + entropy(t, alpha) / eta
        best = best_objective(a.numpy(), eta, alpha)
        assert abs(t.sum() - 1.0) < 1e-12
        assert (t >= 0.0).all()
        assert best - 1e-12 <= value + 1e-9
        assert abs(value - best) < 1e-6  # what SLSQP reaches
        assert abs(selection.free_energy(a).item() - value) < 1e-10


@pytest.mark.parametrize("alpha", [a for a in ALPHAS if a > 1.0])
def test_stationarity(alpha: float) -> None:
    """On the support the gradient of <t, s> + H_alpha(t) is one number, off it smaller."""
    s = 2.0 * normal(40, 6)
    t = entmax(s, alpha)
    multiplier = s - t.clamp_min(0.0) ** (alpha - 1.0) / (alpha - 1.0)  # dH/dt_r = -t^(alpha-1)/..
    top = multiplier.where(t > 0.0, -torch.inf).amax(-1, keepdim=True)
    assert ((top - multiplier).where(t > 0.0, 0.0).abs() < 1e-9).all()
    assert (multiplier.where(t == 0.0, -torch.inf) <= top + 1e-9).all()
    torch.testing.assert_close(t.sum(-1), torch.ones(40).double(), rtol=0, atol=1e-12)


def test_bisection_meets_the_closed_forms() -> None:
    s = 3.0 * normal(500, 7)
    torch.testing.assert_close(entmax_bisect(s, 1.0), sparsemax(s), rtol=0, atol=1e-12)
    torch.testing.assert_close(entmax_bisect(s, 0.5), entmax15(s), rtol=0, atol=1e-12)
    softmax = torch.softmax(s, -1)
    assert torch.equal(entmax(s, 1.0), softmax)
    torch.testing.assert_close(entmax(s, 1.0 + 1e-10), softmax, rtol=0, atol=1e-8)
    torch.testing.assert_close(entmax(s, 1.0 + 1e-14), softmax, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("alpha", [2.5, 4.0, 6.0, 20.0])
def test_large_orders(alpha: float, dtype: torch.dtype) -> None:
    """Two regions, by a root of t_1^order - t_2^order = order gap; t sums to one in any case."""
    order = alpha - 1.0
    gap = torch.linspace(0.0, 1.2 / order, 25, dtype=dtype)
    t = entmax(torch.stack([gap, torch.zeros_like(gap)], -1), alpha)

    def excess(t_2: float, scaled: float) -> float:
        return float((1.0 - t_2) ** order - t_2**order - scaled)

    scaled = [order * g for g in gap.tolist()]
    wanted = [brentq(excess, 0.0, 0.5, args=(s,), xtol=1e-15) if s < 1.0 else 0.0 for s in scaled]
    edge = 2.0 * torch.finfo(dtype).eps ** (1.0 / max(order, 1.0))  # at the end of the support
    assert (t[:, 1] - torch.tensor(wanted, dtype=dtype)).abs().max() < max(edge, 1e-6)
    inside = torch.tensor(wanted) > 0.4
    assert (t[:, 1] - torch.tensor(wanted, dtype=dtype))[inside].abs().max() < 1e-5
    many = entmax(0.1 * torch.randn(200, 9, dtype=dtype), alpha)
    torch.testing.assert_close(many.sum(-1), torch.ones(200, dtype=dtype))


def test_two_regions_in_closed_form() -> None:
    u = torch.linspace(-5, 5, 1001, dtype=torch.float64)
    pair = torch.stack([torch.zeros_like(u), u], -1)
    gini = Tsallis(2.0, 0.5)
    expected = ((1.0 + u) / 2.0).clamp(0.0, 1.0)
    torch.testing.assert_close(gini(pair)[:, 1], expected, rtol=0, atol=1e-12)
    spline = torch.where(u <= -1, 0.0, torch.where(u >= 1, u, (u + 1) ** 2 / 4))
    torch.testing.assert_close(gini.free_energy(pair), spline, rtol=0, atol=1e-12)
    inside = u.clamp(-2.0, 2.0)
    smooth = 0.5 + inside / 4.0 * (2.0 - inside**2 / 4.0).sqrt()
    torch.testing.assert_close(Tsallis(1.5, 0.5)(pair)[:, 1], smooth, rtol=0, atol=1e-12)


def every_selection() -> dict[str, Selection]:
    options = {"dtype": torch.float64}
    named = {f"tsallis {a}": Tsallis(a, 0.6, **options) for a in ALPHAS}
    named |= {f"perturbed {n}": Perturbed(n, 0.6, **options) for n in ("normal", "cauchy")}
    for alpha in (1.4, 1.0 + 1e-7):
        named[f"learned {alpha}"] = Tsallis(alpha, 0.6, learnable_alpha=True, **options)
    return named | {"hard": Hard(), "shannon": Shannon(0.6, **options)}


class FreeEnergy(nn.Module):
    def __init__(self, of: Selection) -> None:
        super().__init__()
        self.of = of

    def forward(self, a: Tensor) -> Tensor:
        return self.of.free_energy(a)


@pytest.mark.parametrize("name", list(every_selection()))
def test_gradients(name: str) -> None:
    """First derivatives in scores, eta and alpha; second ones where t is smooth; dF/da = t."""
    selection = every_selection()[name]
    # away from the kinks; gaps small enough for full and for partial supports
    scores = torch.tensor([[0.1, -0.3], [0.9, 0.75]]).double()
    if not name.startswith("perturbed"):
        scores = torch.cat([scores, torch.tensor([[0.43], [-3.7]]).double()], -1)
    scores.requires_grad_()
    parameters = tuple(selection.parameters())
    names = [n for n, _ in selection.named_parameters()]

    def call(a: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(selection, dict(zip(names, values, strict=True)), (a,))

    def energy(a: Tensor, *values: Tensor) -> Tensor:
        named = {f"of.{n}": value for n, value in zip(names, values, strict=True)}
        return torch.func.functional_call(FreeEnergy(selection), named, (a,))

    if name != "hard":
        torch.autograd.gradcheck(call, (scores, *parameters))
        torch.autograd.gradgradcheck(call, (scores, *parameters), atol=1e-4, fast_mode=True)
    if name != "perturbed cauchy":
        slope = torch.autograd.grad(selection.free_energy(scores).sum(), scores)[0]
        torch.testing.assert_close(slope, selection(scores).detach(), rtol=0, atol=1e-9)
        torch.autograd.gradcheck(energy, (scores, *parameters))


def test_eta_and_beta() -> None:
    for beta in (1e-6, 0.25, 0.5, 0.73, 1.0 - 1e-6):
        selection = Shannon(exact(beta))
        assert selection.log_eta.dtype == torch.float64
        assert abs(selection.eta.item() / (beta / (1.0 - beta)) - 1.0) < 1e-9
        assert abs(selection.beta.item() - beta) < 1e-15
    assert Shannon().eta.item() == 1.0
    assert [n for n, _ in Shannon().named_parameters()] == ["log_eta"]
    assert not list(Shannon(learnable=False).parameters())
    assert "log_eta" in Shannon(learnable=False).state_dict()
    assert repr(Tsallis(1.5, 0.2)) == "Tsallis(alpha=1.5, beta=0.2, learnable=True)"


def test_noise_of_each_unit() -> None:
    """log_eta (K,) acts on a (N, K, R) unit by unit, and (C, 1, 1) on images."""
    eta, a = torch.tensor([0.5, 1.0, 4.0]).double(), normal(6, 3, 4)
    for kind in (Shannon, lambda **k: Tsallis(1.5, **k)):
        together = kind(log_eta=eta.log())
        alone = [kind(log_eta=e.log())(a[:, k]) for k, e in enumerate(eta)]
        torch.testing.assert_close(together(a), torch.stack(alone, 1))
        images = kind(log_eta=eta.log()[:, None, None])
        assert images(normal(2, 3, 5, 5, 4)).shape == (2, 3, 5, 5, 4)
    gap = Perturbed("normal", log_eta=eta.log())(a[..., :2])
    expected = stats.norm.cdf((eta * (a[..., 1] - a[..., 0])).numpy())
    np.testing.assert_allclose(gap[..., 1].detach().numpy(), expected, atol=1e-14)


@pytest.mark.parametrize("kind", [Shannon, lambda b: Tsallis(1.5, b), lambda b: Tsallis(3.0, b)])
def test_limits(kind: Callable[[Tensor], Selection]) -> None:
    a = torch.tensor([1.0, 3.0, 3.0, -2.0], dtype=torch.float64)
    ties = torch.tensor([0.0, 0.5, 0.5, 0.0], dtype=torch.float64)
    assert torch.equal(Hard()(a), ties)
    torch.testing.assert_close(kind(exact(1.0 - 1e-9))(a), ties, rtol=0, atol=1e-12)
    torch.testing.assert_close(kind(exact(1e-9))(a), torch.full_like(a, 0.25), rtol=0, atol=1e-7)
    assert Hard()(torch.zeros(4)).tolist() == [0.25] * 4


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("normal", stats.norm()),
        ("logistic", stats.logistic()),
        ("uniform", stats.uniform(-3, 6)),
        ("cauchy", stats.cauchy()),
    ],
)
def test_perturbed(name: str, law: stats.rv_continuous) -> None:
    a = 2.0 * normal(200, 2)
    selection, eta = Perturbed(name, exact(0.7)), 0.7 / 0.3
    s = eta * (a[:, 1] - a[:, 0]).numpy()
    t = selection(a).detach().numpy()
    np.testing.assert_allclose(t, np.stack([law.sf(s), law.cdf(s)], -1), atol=1e-13)
    if name == "cauchy":
        with pytest.raises(ValueError, match="free_energy is known for normal"):
            selection.free_energy(a)
        return
    for row in a[:5].numpy():  # E max(a_1, a_2 + xi / eta), xi symmetric
        mean, _ = quad(
            lambda x, row=row: max(row[0], row[1] + x / eta) * law.pdf(x),
            *law.support() if name == "uniform" else (-60.0, 60.0),
            points=[eta * (row[0] - row[1])] if law.pdf(eta * (row[0] - row[1])) > 0 else None,
            limit=500,
            epsabs=1e-12,
        )
        value = selection.free_energy(torch.from_numpy(row)).item()
        assert abs(value - mean) < 1e-8


def test_input_jitter_is_a_normal_perturbation(budget: AlphaBudget) -> None:
    """x + N(0, s^2 I) crosses into a ReLU's active region with probability Phi(u / (s |w|))."""
    w, x, s, n = normal(5), normal(5), 0.8, 200_000
    noisy = (x + s * normal(n, 5)) @ w + 0.3
    selection = Perturbed("normal", log_eta=-(s * w.norm()).log())
    p = selection(torch.stack([torch.zeros(()).double(), x @ w + 0.3]))[1].item()
    count = int((noisy > 0).sum())
    budget.check("jittered ReLU", stats.binomtest(count, n, p).pvalue)


def test_own_cdf() -> None:
    """Mish is u G(u) with an asymmetric G."""

    def gate(u: Tensor) -> Tensor:
        q = (1.0 + u.exp()).square()
        return ((q - 1.0) / (q + 1.0)).where(u < 20.0, 1.0)

    u = torch.linspace(-6, 6, 301, dtype=torch.float64)
    t = Perturbed(gate)(torch.stack([torch.zeros_like(u), u], -1))
    torch.testing.assert_close(u * t[:, 1], F.mish(u), rtol=0, atol=1e-12)


@pytest.mark.parametrize("selection", [Shannon(0.6), Tsallis(1.5, 0.6), Perturbed("cauchy")])
def test_samples(selection: Selection, budget: AlphaBudget, generator: torch.Generator) -> None:
    """One-hot with the selection's probabilities and its gradient; reproducible."""
    a = torch.tensor([0.2, 1.0, -0.4][: 2 if isinstance(selection, Perturbed) else 3]).double()
    sampled, n = Sampled(selection), 40_000
    codes = sampled(a.expand(n, -1), generator=generator)
    assert set(codes.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(codes.sum(-1), torch.ones(n).double())
    p, counts = selection(a).detach().numpy(), codes.sum(0).detach().numpy()
    possible = p > 0.0
    assert (counts[~possible] == 0).all()
    result = stats.chisquare(counts[possible], n * p[possible] / p.sum())
    budget.check(f"samples of {type(selection).__name__}", result.pvalue)

    again = torch.Generator().manual_seed(20261)
    assert torch.equal(sampled(a.expand(n, -1), generator=again), codes)
    torch.manual_seed(5)
    first = sampled.eval()(a.expand(100, -1))  # the global stream, in evaluation too
    torch.manual_seed(5)
    assert torch.equal(sampled.train()(a.expand(100, -1)), first)
    weights, grads = normal(len(a)), []
    for module in (sampled, selection):
        x = a.clone().requires_grad_()
        grads.append(torch.autograd.grad((module(x) * weights).sum(), x)[0])
    torch.testing.assert_close(*grads)
