"""Gaussian VAEs: the objective against Pyro, by hand and by differences; readings; border."""

import math
from pathlib import Path
from typing import Any

import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import Predictive, Trace_ELBO, TraceMeanField_ELBO
from scipy import stats
from statcheck import AlphaBudget
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import probact as pa
from probact.models import GaussianVAE
from probact.models.discrepancy import mmd

SHAPE = (1, 8, 8)


@pytest.fixture
def x() -> Tensor:
    return torch.rand(12, *SHAPE, generator=torch.Generator().manual_seed(5))


def small(**options: Any) -> GaussianVAE:
    return GaussianVAE(3, **{"image_shape": SHAPE, **options})


def tiny() -> tuple[nn.Module, nn.Module]:
    """A pair of smooth networks of 4 pixels, in float64."""
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh())
    decoder = nn.Sequential(
        nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 4), nn.Unflatten(1, (1, 2, 2))
    )
    return encoder.double(), decoder.double()


def at_seed(seed: int, call: Any) -> float:
    torch.manual_seed(seed)
    return float(torch.as_tensor(call()).detach())


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_objective_is_pyros_bound_with_the_analytic_divergence(
    beta: float, likelihood: str, x: Tensor
) -> None:
    vae = small(beta=beta, likelihood=likelihood, encoder="conv-small", prior_variance=1.7)
    own = at_seed(3, lambda: vae.objective(x))
    bound = at_seed(3, lambda: TraceMeanField_ELBO().loss(vae, vae.guide, x))
    assert own == pytest.approx(bound / len(x), rel=1e-5)


def test_objective_is_the_mean_of_pyros_sampled_bound(budget: AlphaBudget, x: Tensor) -> None:
    vae = small(beta=2.0)
    differences = []
    for seed in range(300):
        sampled = at_seed(seed, lambda: Trace_ELBO().loss(vae, vae.guide, x))
        differences.append(sampled / len(x) - at_seed(seed, lambda: vae.objective(x)))
    found = torch.tensor(differences)
    z = float(found.mean() / (found.std() / len(found) ** 0.5))
    budget.check("sampled and analytic divergence", 2 * stats.norm.sf(abs(z)))


def test_gaussian_terms_by_hand(x: Tensor) -> None:
    vae = small(likelihood="gaussian", variance=0.3, beta=2.5)
    q = vae.encode(x).base_dist
    torch.manual_seed(0)
    z = q.loc + q.scale * torch.randn_like(q.loc)
    error = (vae.decode(z) - x).square().flatten(1).sum(1)
    missed = error / (2 * 0.3) + 32 * math.log(2 * math.pi * 0.3)
    kl = 0.5 * (q.loc.square() + q.scale.square() - 1 - 2 * q.scale.log()).sum(1)
    wanted = float((missed + 2.5 * kl).mean())
    assert at_seed(0, lambda: vae.objective(x)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("estimator", ["unbiased", "v-statistic"])
def test_mmd_terms_by_hand(estimator: str, x: Tensor) -> None:
    vae = small(regulariser="mmd", beta=50.0, mmd_estimator=estimator, prior_variance=2.0)
    plain = small(beta=0.0, prior_variance=2.0)
    plain.load_state_dict(vae.state_dict())
    q = vae.encode(x).base_dist
    torch.manual_seed(1)
    z = q.loc + q.scale * torch.randn_like(q.loc)
    fresh = 2.0**0.5 * torch.randn_like(z)
    distance = float(mmd(z, fresh, 12.0, unbiased=estimator == "unbiased"))  # C = 2 * 3 * 2
    wanted = at_seed(1, lambda: plain.objective(x)) + 50.0 * distance
    assert at_seed(1, lambda: vae.objective(x)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"beta": 3.0},
        {"beta": 3.0, "likelihood": "gaussian", "prior_variance": 2.0},
        {"beta": 20.0, "regulariser": "mmd"},
        {"beta": 20.0, "regulariser": "mmd", "mmd_estimator": "v-statistic"},
    ],
)
def test_gradient_of_the_objective_by_finite_differences(options: dict[str, Any]) -> None:
    encoder, decoder = tiny()
    shape = {"image_shape": (1, 2, 2), "encoder": encoder, "decoder": decoder}
    vae = GaussianVAE(2, **shape, **options).double()
    x = torch.rand(5, 1, 2, 2, dtype=torch.float64)

    def loss() -> float:
        return at_seed(7, lambda: vae.objective(x))

    torch.manual_seed(7)
    vae.objective(x).backward()
    for name, parameter in vae.named_parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for i in range(len(flat)):
            here = float(flat[i])
            flat[i] = here + 1e-5
            above = loss()
            flat[i] = here - 1e-5
            slope = (above - loss()) / 2e-5
            flat[i] = here
            assert float(gradient[i]) == pytest.approx(slope, rel=1e-5, abs=1e-6), name


def test_warm_up_grows_the_weight(x: Tensor) -> None:
    vae = small(beta=8.0, warm_up=4)
    losses = [at_seed(0, lambda e=e: vae.objective(x, epoch=e)) for e in range(6)]
    whole = at_seed(0, lambda: vae.objective(x))
    kl = at_seed(0, lambda: small_kl(vae, x))
    for epoch, loss in enumerate(losses):
        missing = 8.0 * kl * (1 - min(1.0, (epoch + 1) / 4))
        assert loss == pytest.approx(whole - missing, rel=1e-5)


def small_kl(vae: GaussianVAE, x: Tensor) -> Tensor:
    q = vae.encode(x).base_dist
    return 0.5 * (q.loc.square() + q.scale.square() - 1 - 2 * q.scale.log()).sum(1).mean()


def test_binarised_pixels_keep_their_mean(budget: AlphaBudget, x: Tensor) -> None:
    grey, drawn = small(), small(binarise=True)
    drawn.load_state_dict(grey.state_dict())
    with torch.no_grad():  # a decoder that ignores the code: only the pixels are random
        grey.decoder[0].weight.zero_()
        drawn.decoder[0].weight.zero_()
        for vae in (grey, drawn):
            vae.heads.weight.zero_()
            vae.heads.bias.zero_()
    wanted = at_seed(0, lambda: grey.objective(x))
    values = torch.tensor([at_seed(s, lambda: drawn.objective(x)) for s in range(200)])
    z = float((values.mean() - wanted) / (values.std() / 200**0.5))
    budget.check("binarised objective", 2 * stats.norm.sf(abs(z)))


def test_program_and_guide(x: Tensor) -> None:
    vae = small(encoder="conv-small")
    trace = poutine.trace(vae).get_trace(x)
    assert [n for n in trace.nodes if trace.nodes[n]["type"] == "sample"] == ["data", "z", "x"]
    assert trace.nodes["z"]["value"].shape == (12, 3)
    assert vae().shape == (1, *SHAPE)
    assert vae.guide(x, torch.zeros(12)).shape == (12, 3)  # labels of a loader are let pass
    draws = Predictive(vae, guide=vae.guide, num_samples=4)(x)
    assert draws["z"].shape == (4, 12, 3)
    many = TraceMeanField_ELBO(num_particles=3, vectorize_particles=True)
    assert math.isfinite(many.loss(vae, vae.guide, x))


def test_prior_variance_is_that_of_the_codes(budget: AlphaBudget) -> None:
    z = small(prior_variance=2.0).sample_codes(20_000, seed=0).double() / 2.0**0.5
    budget.check("variance of codes", stats.kstest(z.flatten().numpy(), "norm").pvalue)


def test_codes_are_draws_or_means(budget: AlphaBudget, x: Tensor) -> None:
    vae = small(encoder="conv-small")
    q = vae.encode(x).base_dist
    assert torch.equal(vae.codes(x, draw=False), q.loc)
    assert torch.equal(vae.codes(x, seed=4), vae.codes(x, seed=4))
    assert not torch.equal(vae.codes(x, seed=4), vae.codes(x, seed=5))
    drawn = torch.stack([vae.codes(x, seed=seed) for seed in range(200)])
    noise = ((drawn - q.loc) / q.scale).flatten().numpy()
    budget.check("drawn codes", stats.kstest(noise, "norm").pvalue)


def test_codes_of_batches_are_those_of_the_whole(x: Tensor) -> None:
    vae = small()
    loader = DataLoader(TensorDataset(x, torch.arange(12)), batch_size=5)
    wanted = vae.codes(x, seed=2, batch_size=5)
    assert torch.equal(vae.codes(loader, seed=2), wanted)
    assert torch.equal(vae.codes(iter([x[:5], x[5:10], x[10:]]), seed=2), wanted)


def test_readings_leave_the_network_alone(x: Tensor) -> None:
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(1)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x).flatten(1)

    vae = small(encoder=Normalised()).train()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    stream = torch.get_rng_state()
    vae.codes(x)
    vae.reconstruct(x)
    vae.decode(vae.sample_codes(3, seed=0))
    assert vae.training
    assert vae.encoder.training
    assert torch.equal(stream, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in vae.state_dict().items())
    alone, together = vae.codes(x[:1], draw=False), vae.codes(x, draw=False)[:1]
    torch.testing.assert_close(alone, together)  # no statistics of the batch
    vae.objective(x)
    assert not torch.equal(before["encoder.norm.running_mean"], vae.encoder.norm.running_mean)


def test_decoded_images_lie_in_the_unit_interval(x: Tensor) -> None:
    vae = small()
    images = vae.decode(100.0 * torch.randn(20, 3))
    assert images.shape == (20, *SHAPE)
    assert float(images.min()) >= 0.0
    assert float(images.max()) <= 1.0
    assert torch.equal(vae.reconstruct(x), vae.decode(vae.encode(x).base_dist.loc))


def test_fitted_saved_and_loaded(tmp_path: Path) -> None:
    data = pa.datasets.digits(train=True)
    x = data.floats(slice(0, 400))
    vae = small(likelihood="gaussian", variance=0.02, encoder="conv-small", warm_up=2)
    fit = pa.fit(
        vae, (x, data.labels[:400]), epochs=8, batch_size=50, device="cpu", progress=False
    )
    fit.save(tmp_path / "fit")
    again = pa.load(tmp_path / "fit", device="cpu").model
    assert isinstance(again, GaussianVAE)
    assert again.config == vae.config
    assert torch.equal(again.codes(x, seed=0), vae.codes(x, seed=0))
    mean = x.mean(0, keepdim=True)
    assert (again.reconstruct(x) - x).square().mean() < (mean - x).square().mean()


def test_config_of_own_modules_is_unknown() -> None:
    encoder, decoder = tiny()
    own = GaussianVAE(2, image_shape=(1, 2, 2), encoder=encoder, decoder=decoder)
    assert own.config is None
    assert GaussianVAE(**small(regulariser="mmd").config).config == small(regulariser="mmd").config


def test_rates() -> None:
    assert small().learning_rate == small(encoder="conv-small").learning_rate == 1e-3
    assert GaussianVAE(2, image_shape=(1, 16, 16), encoder="conv").learning_rate == 1e-4


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"latent_dim": 0}, "latent_dim must be an integer of at least 1, got 0"),
        ({"beta": -1.0}, "beta must be finite and at least 0, got -1.0"),
        ({"beta": float("nan")}, "beta must be"),
        ({"variance": 0.0}, "variance must be finite and above 0"),
        ({"prior_variance": -2}, "prior_variance must be"),
        ({"regulariser": "wasserstein"}, "regulariser must be one of kl, mmd"),
        ({"likelihood": "poisson"}, "likelihood must be one of"),
        ({"mmd_estimator": "biased"}, "mmd_estimator must be one of"),
        ({"warm_up": -1}, "warm_up must be"),
        ({"image_shape": (8, 8)}, "image_shape must be"),
        ({"encoder": "transformer"}, "encoder must be one of mlp, conv, conv-small or a module"),
        ({"decoder": "transformer"}, "decoder must be one of"),
        ({"encoder": "conv", "image_shape": (1, 28, 28)}, "multiples of 16"),
        ({"encoder": nn.Identity()}, "encoder must map images .N, 1, 8, 8. to features"),
        ({"encoder": nn.Linear(3, 3)}, "the network cannot take zeros"),
        ({"decoder": nn.Linear(3, 64)}, "decoder must map codes .N, 3. to logits .N, 1, 8, 8."),
        ({"decoder": Pair()}, "decoder must give one tensor, it gives tuple"),
        ({"binarise": True, "likelihood": "gaussian"}, "binarise needs the Bernoulli"),
    ],
)
def test_arguments_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        GaussianVAE(**{"latent_dim": 3, "image_shape": SHAPE, **options})


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.full((2, *SHAPE), 255.0), "must lie in .0, 1., row 0 spans 255 to 255"),
        (-torch.ones(2, *SHAPE), "must lie in"),
        (torch.full((2, *SHAPE), float("nan")), "NaN"),
        (torch.zeros(2, 8, 8), "must be a tensor .N, 1, 8, 8."),
        (torch.zeros(0, *SHAPE), "N >= 1"),
        (torch.zeros(2, *SHAPE, dtype=torch.uint8), "float32 or float64"),
    ],
)
def test_images_refused(images: Tensor, words: str) -> None:
    for likelihood in ("bernoulli", "gaussian"):
        vae = small(likelihood=likelihood)
        for reading in (vae, vae.guide, vae.objective, vae.encode, vae.codes, vae.reconstruct):
            with pytest.raises(ValueError, match=words):
                reading(images)


def test_more_refusals(x: Tensor) -> None:
    vae = small(regulariser="mmd")
    with pytest.raises(ValueError, match="two images or more in a batch"):
        vae.objective(x[:1])
    assert math.isfinite(at_seed(0, lambda: small_v().objective(x[:1])))
    with pytest.raises(ValueError, match=r"images must be torch.float32 .* got torch.float64"):
        vae.objective(x.double())
    with pytest.raises(ValueError, match=r"z must be a tensor \(N, 3\), got \(5, 2\)"):
        vae.decode(torch.zeros(5, 2))
    with pytest.raises(ValueError, match="num_samples must be"):
        vae.sample_codes(0)
    with pytest.raises(ValueError, match="at least one image"):
        vae.codes(iter([]))
    with pytest.raises(ValueError, match="seed must"):
        vae.codes(x, seed=-1)


def small_v() -> GaussianVAE:
    return small(regulariser="mmd", mmd_estimator="v-statistic")


@pytest.mark.gpu
def test_on_the_gpu(x: Tensor) -> None:
    vae = small(regulariser="mmd", encoder="conv-small")
    pa.fit(vae, x, epochs=2, batch_size=6, device="cuda", progress=False)
    assert vae.codes(x).device.type == "cpu"
    assert vae.reconstruct(x).device.type == "cpu"
    z = vae.sample_codes(3, seed=0)
    assert z.device.type == vae.decode(z).device.type == "cuda"
    assert vae.decode(z.cpu()).device.type == vae.encode(x).mean.device.type == "cpu"
    assert torch.equal(z.cpu(), vae.cpu().sample_codes(3, seed=0))


def test_a_weight_that_is_no_number() -> None:
    with pytest.raises(TypeError, match="beta must be a number, got True"):
        GaussianVAE(2, beta=True)
