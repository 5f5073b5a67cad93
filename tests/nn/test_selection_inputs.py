"""Selections at the edges: absent regions, NaN, low precision, and what is refused."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from probact.nn.affine.max_affine import MaxAffine
from probact.nn.selection.entmax import entmax
from probact.nn.selection.selections import Hard, Perturbed, Sampled, Selection, Shannon, Tsallis
from probact.nn.selection.soft_max_affine import SoftMaxAffine

SELECTIONS: dict[str, Selection] = {
    "hard": Hard(),
    "shannon": Shannon(0.6),
    "sparse": Tsallis(2.0, 0.6),
    "middle": Tsallis(1.5, 0.6),
    "bisected": Tsallis(1.3, 0.6),
    "learned": Tsallis(1.3, 0.6, learnable_alpha=True),
    "normal": Perturbed("normal", 0.6),
}


@pytest.mark.parametrize("name", [n for n in SELECTIONS if n != "normal"])
def test_absent_regions(name: str) -> None:
    """A score of -inf is as if the region were not there, with finite gradients."""
    selection = SELECTIONS[name]
    a = torch.randn(6, 4, dtype=torch.float64)
    padded = torch.cat([a, torch.full((6, 2), -torch.inf, dtype=torch.float64)], -1)
    padded.requires_grad_()
    t = selection(padded)
    torch.testing.assert_close(t[:, :4], selection(a))
    assert torch.equal(t[:, 4:], torch.zeros(6, 2, dtype=torch.float64))
    torch.testing.assert_close(selection.free_energy(padded), selection.free_energy(a))
    loss = selection.free_energy(padded).sum() + (t * torch.arange(6)).sum()
    for grad in torch.autograd.grad(loss, (padded, *selection.parameters())):
        assert torch.isfinite(grad).all()


@pytest.mark.parametrize("name", list(SELECTIONS))
def test_nan_stays_in_its_row(name: str) -> None:
    a = torch.randn(3, 2)
    a[1, 0] = torch.nan
    for value in (SELECTIONS[name](a).sum(-1), SELECTIONS[name].free_energy(a)):
        assert value.isnan().tolist() == [False, True, False]
    assert Sampled(SELECTIONS[name])(a).isnan().any(-1).tolist() == [False, True, False]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", list(SELECTIONS))
def test_half_precision_is_float32_rounded_once(name: str, dtype: torch.dtype) -> None:
    selection, a = SELECTIONS[name], (3.0 * torch.randn(50, 2)).to(dtype)
    assert torch.equal(selection(a), selection(a.float()).to(dtype))
    assert torch.equal(selection.free_energy(a), selection.free_energy(a.float()).to(dtype))


@pytest.mark.parametrize("name", list(SELECTIONS))
def test_float32(name: str) -> None:
    """Within 1e-5 of float64 at scores up to 1e4; extreme scores stay on the simplex."""
    selection, a = SELECTIONS[name], 3.0 * torch.randn(200, 2)
    torch.testing.assert_close(
        selection(a).double(), selection(a.double()), rtol=0, atol=1e-5, check_dtype=False
    )
    extreme = torch.tensor([[1e4, -1e4], [1e30, -1e30], [1e4, 1e4 + 1e-3], [0.0, 1e-30]])
    t = selection(extreme)
    torch.testing.assert_close(t.sum(-1), torch.ones(4))
    assert torch.isfinite(selection.free_energy(extreme)).all()


def test_beta_near_one_in_float32() -> None:
    selection = Shannon(1.0 - 1e-7)
    t = selection(torch.tensor([1e35, 0.0, 1e35]))
    assert t.tolist() == [0.5, 0.0, 0.5]


@pytest.mark.parametrize("make", [Shannon, Perturbed, lambda **k: Tsallis(1.5, **k)])
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"beta": 0.0}, ValueError, r"beta must lie in \(0, 1\), got 0.0"),
        ({"beta": 1.0}, ValueError, r"beta must lie in \(0, 1\)"),
        ({"beta": -0.1}, ValueError, r"beta must lie in \(0, 1\)"),
        ({"beta": float("nan")}, ValueError, "beta must be finite"),
        ({"beta": torch.tensor([0.5, torch.nan])}, ValueError, r"beta must lie in \(0, 1\)"),
        ({"beta": torch.zeros(0)}, ValueError, "beta must not be empty"),
        ({"beta": "0.5"}, TypeError, "beta must be a number"),
        ({"beta": torch.tensor(1)}, TypeError, "beta must be floating point"),
        ({"beta": 0.5, "log_eta": 0.0}, ValueError, "not both"),
        ({"log_eta": 200.0}, ValueError, "log_eta must give a finite eta"),
        ({"log_eta": -200.0}, ValueError, "log_eta must give a finite eta"),
        ({"log_eta": float("inf")}, ValueError, "log_eta must be finite"),
    ],
)
def test_bad_temperatures(make: Any, options: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        make(**options)


def test_log_eta_must_fit_the_units() -> None:
    for selection in (Shannon(torch.full((3,), 0.5)), Perturbed("normal", torch.full((3,), 0.5))):
        for shape in ((5, 4, 2), (2,)):
            with pytest.raises(ValueError, match=r"log_eta of shape \(3,\) does not broadcast"):
                selection(torch.zeros(shape))


def test_bad_orders_and_names() -> None:
    for alpha in (1.0, 0.5, -3.0):
        with pytest.raises(ValueError, match=r"alpha must be above 1.*Shannon"):
            Tsallis(alpha)
    for alpha in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="alpha must be finite"):
            Tsallis(alpha)
    with pytest.raises(ValueError, match=r"learnable alpha must lie in \(1, 2\)"):
        Tsallis(2.0, learnable_alpha=True)
    with pytest.raises(TypeError, match="alpha must be a number"):
        Tsallis("2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"at least 1, got 0.5"):
        entmax(torch.zeros(3), 0.5)
    with pytest.raises(ValueError, match="cdf must be normal, logistic, uniform, cauchy"):
        Perturbed("gauss")
    for cdf in (torch.exp, lambda s: torch.sigmoid(-s), torch.tanh):
        with pytest.raises(ValueError, match=r"cdf must increase within \[0, 1\]"):
            Perturbed(cdf)
    with pytest.raises(ValueError, match="same shape"):
        Perturbed(lambda s: s.sum())
    with pytest.raises(ValueError, match="R = 2"):
        Perturbed()(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="free_energy is known for"):
        Perturbed(torch.sigmoid).free_energy(torch.zeros(4, 2))
    with pytest.raises(TypeError, match="selection must be a selection"):
        Sampled(nn.Softmax(-1))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["hard", "shannon", "sparse", "middle", "normal"])
def test_compile_and_export(name: str) -> None:
    maso, x = MaxAffine.from_layer(nn.Linear(4, 3)), torch.randn(5, 4)
    soft = SoftMaxAffine(maso, copy.deepcopy(SELECTIONS[name]))
    compiled = torch.compile(soft, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), soft(x))
    torch.testing.assert_close(torch.export.export(soft, (x,)).module()(x), soft(x))


def test_bad_scores_of_entmax() -> None:
    for value in ([0.0, 1.0], torch.zeros(2, dtype=torch.int64)):
        with pytest.raises(TypeError, match="scores must be a floating-point tensor"):
            entmax(value, 1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(SELECTIONS))
def test_bad_scores(name: str) -> None:
    for value in ([0.0, 1.0], torch.zeros(2, dtype=torch.int64)):
        with pytest.raises(TypeError, match="scores must be a floating-point tensor"):
            SELECTIONS[name](value)
    for shape in ((), (3, 0)):
        with pytest.raises(ValueError, match="with R >= 1"):
            SELECTIONS[name](torch.zeros(shape))


def test_a_learned_order_stays_in_its_domain() -> None:
    """Steps of any size on order_logit leave alpha in [1, 2], t finite and on the simplex."""
    selection = Tsallis(1.5, learnable_alpha=True)
    a = torch.randn(20, 4)
    for logit in (-80.0, -20.0, 0.0, 20.0, 80.0):
        with torch.no_grad():
            selection.order_logit.fill_(logit)
        selection.zero_grad()
        t: Tensor = selection(a)
        t.square().sum().backward()
        assert 1.0 <= float(selection.alpha.detach()) <= 2.0
        torch.testing.assert_close(t.sum(-1), torch.ones(20))
        assert torch.isfinite(selection.order_logit.grad)
    with torch.no_grad():
        selection.order_logit.fill_(-80.0)
    torch.testing.assert_close(selection(a), torch.softmax(a, -1))


@pytest.mark.gpu
@pytest.mark.parametrize("name", list(SELECTIONS))
def test_cuda_equals_cpu(name: str) -> None:
    conv = nn.Conv2d(2, 4, 3, padding=1).double()
    images = torch.randn(3, 2, 8, 8, dtype=torch.float64)
    for readout in ("hard", "expectation", "probability", "free_energy"):
        soft = SoftMaxAffine(MaxAffine.from_layer(conv, "abs"), SELECTIONS[name], readout)
        expected = soft(images)
        value = copy.deepcopy(soft).cuda()(images.cuda())
        torch.testing.assert_close(value.cpu(), expected, rtol=0, atol=1e-12)
    sampled = copy.deepcopy(Sampled(SELECTIONS[name])).cuda()
    a = torch.randn(50, 2, device="cuda")
    codes = [sampled(a, generator=torch.Generator("cuda").manual_seed(1)) for _ in range(2)]
    assert torch.equal(*codes)
