"""The program of the hyperspherical VAE, its border and its readings."""

import functools
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import TraceMeanField_ELBO
from scipy import integrate, stats
from sphere_toys import KINDS, SHAPE, gamma_toy, toy
from statcheck import AlphaBudget, paired_mean_pvalue
from torch import Tensor, nn

import probact as pa
from probact.distributions import PowerSpherical, VonMisesFisher
from probact.models import SphereVAE, VMFClassifier
from probact.special import bessel_ratio

X = torch.tensor([[[[1.0, 0.0], [1.0, 1.0]]], [[[0.0, 0.0], [1.0, 0.0]]]], dtype=torch.float64)
Y = torch.tensor([1, 0])


def labels_of(kind: str) -> Tensor | None:
    return None if kind == "HVAE" else Y


@pytest.mark.parametrize("kind", KINDS)
def test_program_is_the_joint_of_the_estimate(kind: str) -> None:
    """At the same codes, the trace's log densities are those that the evidence is made of."""
    vae, labels = toy(kind, 3), labels_of(kind)
    guide = poutine.trace(vae.guide).get_trace(X, labels)
    trace = poutine.trace(poutine.replay(vae.forward, trace=guide)).get_trace(X, labels)
    trace.compute_log_prob()
    sites = trace.nodes
    total = sites["z"]["log_prob"] + sites["x"]["log_prob"]  # (N,)
    joint = vae._joint.of(labels)(guide.nodes["z"]["value"][None], X, slice(0, 2))[0]
    torch.testing.assert_close(joint, total)
    if labels is not None:
        torch.testing.assert_close(
            sites["label"]["log_prob"].exp(), torch.full((2,), 0.5).double()
        )
        every = vae._joint.classes(guide.nodes["z"]["value"][None], X, slice(0, 2))[0]
        torch.testing.assert_close(every[torch.arange(2), labels], total)


@pytest.mark.parametrize("kind", KINDS)
def test_objective_is_pyros_elbo(kind: str, budget: AlphaBudget) -> None:
    vae, labels, rows = toy(kind, 3), labels_of(kind), 500
    x = X.repeat(rows, 1, 1, 1)
    y = None if labels is None else labels.repeat(rows)
    elbo = TraceMeanField_ELBO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sites that are only in the model: the labels
        theirs = [elbo.loss(vae.forward, vae.guide, x, y) / (2 * rows) for _ in range(15)]
        ours = [vae.objective(x, y).item() for _ in range(15)]
    label = 0.0 if labels is None else torch.log(torch.tensor(2.0)).item()  # -log p(y)
    p = stats.ttest_ind([value - label for value in theirs], ours, equal_var=False).pvalue
    budget.check(f"{kind} Pyro's ELBO", float(p))


def test_program_alone_draws_images() -> None:
    for kind in KINDS:
        trace = poutine.trace(toy(kind, 3).forward).get_trace()
        assert trace.nodes["x"]["value"].shape == (1, *SHAPE)
        assert ("label" in trace.nodes) == (kind != "HVAE")


def test_inferred_concentration_has_its_share_of_the_bound(budget: AlphaBudget) -> None:
    """The divergence of q(kappa), by quadrature, is counted once for all `size` images."""
    vae = gamma_toy(3, size=50)
    q, p = stats.lognorm(0.5, scale=4.0), stats.gamma(3.0, scale=2.0)
    with torch.no_grad():
        vae.prior.log_kappa.fill_(float(torch.log(torch.tensor(4.0))))
        vae.prior.log_kappa_spread.fill_(float(torch.log(torch.tensor(0.5))))
    exact, _ = integrate.quad(lambda k: q.pdf(k) * (q.logpdf(k) - p.logpdf(k)), 1e-9, 200.0)
    mu = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    kappa, label = torch.tensor([5.0], dtype=torch.float64), torch.tensor([0])
    share = []
    for _ in range(800):
        _, kl = vae.prior.draw(mu, kappa, label)
        share.append(kl.item())
    expected, _ = integrate.quad(
        lambda k: (
            q.pdf(k)
            * float(
                torch.distributions.kl_divergence(
                    VonMisesFisher(mu[0], 5.0), VonMisesFisher(mu[0], torch.tensor(k).double())
                )
            )
        ),
        1e-9,
        200.0,
        limit=200,
    )
    excess = torch.tensor(share).numpy() - expected - exact / 50
    budget.check("share of q(kappa)", paired_mean_pvalue(excess))
    trace = poutine.trace(vae.guide).get_trace(X, Y)
    assert trace.nodes["concentration"]["fn"].base_dist.scale.item() == pytest.approx(0.5)
    model = poutine.trace(poutine.replay(vae.forward, trace=trace)).get_trace(X, Y)
    assert model.nodes["z"]["scale"] == 25.0  # two rows stand for fifty


def test_inferred_concentration_is_found() -> None:
    """Images that tell the code exactly: kappa of the codes comes back."""
    torch.manual_seed(0)
    true, size = 12.0, 600
    directions = torch.eye(3)[:2]
    labels = torch.arange(size) % 2
    codes = VonMisesFisher(directions[labels], true).sample(seed=1)
    images = (0.5 + 0.5 * codes).clamp(0.0, 1.0).reshape(size, 1, 1, 3)

    class Known(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2.0 * x.flatten(1) - 1.0

    class Sharp(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return (40.0 * z).reshape(-1, 1, 1, 3)

    prior = VMFClassifier(directions, dist.Gamma(2.0, 0.1))
    vae = SphereVAE(
        3, prior, image_shape=(1, 1, 3), encoder=Known(), decoder=Sharp(),
        binarise=False, size=size,
    )  # fmt: skip
    with torch.no_grad():
        vae.direction.weight.copy_(torch.eye(3))
        vae.direction.bias.zero_()
        vae.concentration.weight.zero_()
        vae.concentration.bias.fill_(1e4)  # q(z | x) is all but a point at the true code
    for parameter in (*vae.direction.parameters(), *vae.concentration.parameters()):
        parameter.requires_grad_(False)
    fit = functools.partial(torch.optim.Adam, lr=0.05)
    pa.fit(vae, (images, labels), epochs=150, optimizer=fit, device="cpu", progress=False)
    # s.e. of kappa for 600 directions on S^2: kappa / sqrt(600) = 0.49
    assert abs(vae.prior.concentration.item() - true) < 5 * 0.49 + 0.2


@pytest.mark.parametrize("kind", ["HVAE-L", "learned prior"])
def test_codes_of_a_class_follow_its_law(kind: str, budget: AlphaBudget) -> None:
    vae = toy(kind, 3)
    codes = vae.sample_codes(1, 5000, seed=4)
    direction = vae.prior.directions[1].detach()
    expected = float(bessel_ratio(torch.tensor(5.0, dtype=torch.float64), 3))
    budget.check(f"{kind} codes", paired_mean_pvalue((codes @ direction).numpy() - expected))
    mixed = vae.sample_codes(num_samples=4000, seed=5)
    both = vae.prior.directions.detach() * expected
    off = (mixed - both.mean(0)) @ torch.ones(3, dtype=torch.float64)
    budget.check(f"{kind} codes of p(y)", paired_mean_pvalue(off.numpy()))
    torch.testing.assert_close(codes[:5], vae.sample_codes(1, 5000, seed=4)[:5])
    own = vae.sample_codes(torch.tensor([0, 1, 1]))
    assert own.shape == (3, 3)


def test_readings_leave_model_and_streams_alone() -> None:
    vae = SphereVAE(3, VMFClassifier(torch.eye(3), 5.0), image_shape=(1, 8, 8))
    vae.train()
    x, y = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    before = torch.get_rng_state()
    images = vae.sample_images(2, 3, seed=1)
    vae.log_likelihood(x, y, num_samples=3)
    vae.elbo(x, y)
    vae.class_posterior(x, num_samples=3)
    vae.aggregate_posterior(x, y)
    path = vae.interpolate(x[0], x[1], 5)
    assert torch.equal(before, torch.get_rng_state())
    assert vae.training
    assert vae.encoder.training
    assert images.shape == (3, 1, 8, 8)
    assert images.min() >= 0.0
    assert images.max() <= 1.0
    torch.testing.assert_close(path.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(path[[0, -1]], vae.encode(x[:2]).loc)
    assert not images.requires_grad
    assert not path.requires_grad


def test_label_reaches_the_decoder_of_hvae_c() -> None:
    vae = SphereVAE(3, condition="concat", num_classes=4, image_shape=(1, 8, 8))
    z = vae.sample_codes(1, 2)
    assert not torch.allclose(vae.decode(z, 0), vae.decode(z, 3))
    torch.testing.assert_close(vae.sample_images(3, 2), vae.decode(z, torch.tensor([3, 3])))


def test_pixels_are_binarised_afresh() -> None:
    vae = SphereVAE(3, image_shape=(1, 8, 8))
    grey = torch.full((200, 1, 8, 8), 0.25)
    seen: list[Tensor] = []
    vae.encoder.register_forward_hook(lambda net, args, out: seen.append(args[0]))
    vae.objective(grey)
    vae.objective(grey)
    assert set(seen[0].unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(seen[0], seen[1])
    assert abs(float(seen[0].mean()) - 0.25) < 4 * (0.25 * 0.75 / 12_800) ** 0.5


def test_law_on_the_sphere_as_prior(budget: AlphaBudget) -> None:
    """Without a closed form the divergence is the mean of log q - log p."""
    prior = PowerSpherical(torch.tensor([0.0, 0.0, 1.0]), 3.0)
    vae = SphereVAE(3, prior, image_shape=(1, 2, 2))
    mu = torch.tensor([[0.6, 0.0, 0.8]]).expand(4000, 3)
    _, kl = vae.prior.draw(mu, torch.full((4000,), 6.0), None)
    q = VonMisesFisher(mu[0], 6.0)
    z = q.sample((200_000,), seed=1)
    exact = float((q.log_prob(z) - prior.log_prob(z)).double().mean())
    budget.check("power spherical prior", paired_mean_pvalue(kl.numpy() - exact))
    assert vae.log_likelihood(torch.zeros(2, 1, 2, 2), num_samples=5).mean < 0.0


def test_fit_is_saved_and_loaded(tmp_path: Path) -> None:
    prior = VMFClassifier(torch.randn(4, 5), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    vae = SphereVAE(5, prior, image_shape=(1, 8, 8), learn_prior=True, warm_up=2)
    x, y = torch.rand(40, 1, 8, 8), torch.arange(40) % 4
    fit = pa.fit(vae, (x, y), epochs=2, batch_size=10, device="cpu", progress=False)
    fit.save(tmp_path / "fit")
    again = pa.load(tmp_path / "fit", device="cpu")
    theirs = again.model.log_likelihood(x, y, num_samples=5).log_likelihood
    torch.testing.assert_close(theirs, vae.log_likelihood(x, y, num_samples=5).log_likelihood)
    posterior = fit.to_arviz(draws=7).posterior
    assert posterior["z"].dims == ("chain", "draw", "data", "latent")
    assert again.model.warm_up == 2


IMAGES = torch.rand(3, 1, 8, 8)
LABELS = torch.tensor([0, 1, 2])


def labelled() -> SphereVAE:
    return SphereVAE(3, VMFClassifier(torch.eye(3), 5.0), image_shape=(1, 8, 8))


def plain() -> SphereVAE:
    return SphereVAE(3, image_shape=(1, 8, 8))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: SphereVAE(1), "latent_dim must be an integer of at least 2, got 1"),
        (lambda: SphereVAE(2.0), "latent_dim"),  # type: ignore[arg-type]
        (lambda: SphereVAE(4, VMFClassifier(torch.eye(3), 5.0)), r"prior lives in R\^3"),
        (lambda: SphereVAE(3, "vmf"), "laws on the sphere, got str"),  # type: ignore[arg-type]
        (
            lambda: SphereVAE(3, dist.Normal(torch.zeros(3), 1.0).to_event(1)),  # a law of R^3
            "laws on the sphere, got Independent",
        ),
        (lambda: SphereVAE(3, PowerSpherical(torch.eye(4)[0], 1.0)), r"one law on R\^3"),
        (lambda: SphereVAE(3, binarise="no"), "binarise must be True or False"),  # type: ignore[arg-type]
        (lambda: SphereVAE(3, encoder=["mlp"]), "encoder must be one of"),  # type: ignore[arg-type]
        (lambda: SphereVAE(3, condition="concat"), "go together"),
        (lambda: SphereVAE(3, num_classes=3), "go together"),
        (lambda: SphereVAE(3, condition="add", num_classes=3), "condition must be"),  # type: ignore[arg-type]
        (lambda: SphereVAE(3, learn_prior=True), "give one as prior"),
        (
            lambda: SphereVAE(3, VMFClassifier(torch.eye(3), 5.0), condition="concat"),
            "brings the classes",
        ),
        (
            lambda: SphereVAE(3, VMFClassifier(torch.eye(3), dist.Gamma(2.0, 1.0))),
            "size, the number of training images",
        ),
        (lambda: SphereVAE(3, image_shape=(28, 28)), "image_shape must be"),
        (lambda: SphereVAE(3, encoder="cnn"), "encoder must be one of"),
        (lambda: SphereVAE(3, decoder=nn.Linear(3, 5)), "decoder must map codes"),
        (lambda: SphereVAE(3, encoder=nn.Identity()), "encoder must map images"),
        (lambda: plain().objective(IMAGES * 255.0), r"must lie in \[0, 1\].*divide"),
        (lambda: plain().objective(IMAGES - 1.0), r"must lie in \[0, 1\], row 0"),
        (lambda: plain().objective(IMAGES.byte()), "must be float32 or float64"),
        (lambda: plain().objective(IMAGES[0]), r"\(N, 1, 8, 8\)"),
        (lambda: plain().objective(torch.zeros(3, 1, 28, 28)), r"\(N, 1, 8, 8\)"),
        (lambda: plain().objective(IMAGES[:0]), "N >= 1"),
        (lambda: plain().objective(IMAGES * float("nan")), "NaN"),
        (lambda: labelled().objective(IMAGES), "labels are missing"),
        (lambda: labelled().elbo(IMAGES), "labels are missing"),
        (lambda: labelled().aggregate_posterior(IMAGES), "labels are missing"),
        (lambda: labelled().objective(IMAGES, LABELS[:2]), "2 labels for 3 rows"),
        (lambda: labelled().objective(IMAGES, LABELS + 1), r"in 0 \.\. 2, got 3 at row 2"),
        (lambda: labelled().objective(IMAGES, LABELS.float()), "int64"),
        (lambda: plain().elbo(IMAGES, LABELS), "no classes"),
        (lambda: plain().objective(IMAGES.double()), "must be torch.float32 as the network"),
        (lambda: plain().forward(IMAGES * 255.0), r"must lie in \[0, 1\]"),
        (lambda: plain().guide(IMAGES * 255.0), r"must lie in \[0, 1\]"),
        (lambda: labelled().forward(IMAGES, LABELS + 1), r"in 0 \.\. 2"),
        (lambda: labelled().forward(None, LABELS + 1), r"in 0 \.\. 2"),
        (lambda: labelled().class_log_likelihood(IMAGES, num_samples=2).mean, "one value a class"),
        (lambda: plain().interpolate(IMAGES[0], torch.zeros(8, 8)), r"end must be a tensor"),
        (lambda: labelled().sample_codes(1.9, 2), "label must be an integer"),  # type: ignore[arg-type]
        (lambda: labelled().sample_codes(True, 2), "label must be an integer"),
        (lambda: gamma_toy(3, size=1).objective(X, Y), "size is 1"),
        (lambda: plain().class_posterior(IMAGES), "no classes"),
        (lambda: plain().sample_images(1, 3), "no classes"),
        (lambda: plain().sample_codes(), "num_samples"),
        (lambda: labelled().sample_codes(5, 2), "labels must be in"),
        (lambda: labelled().sample_codes(LABELS, 2), "num_samples"),
        (lambda: labelled().sample_codes(1, 0), "num_samples"),
        (lambda: labelled().decode(torch.zeros(2, 3)), "unit vectors"),
        (lambda: labelled().decode(torch.eye(4)), r"\(N, 3\)"),
        (lambda: labelled().log_likelihood(IMAGES, LABELS, num_samples=0), "num_samples"),
        (lambda: labelled().log_likelihood(IMAGES, LABELS, seed=-1), "seed"),
    ],
)
def test_border(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_label_needed_by_the_decoder() -> None:
    vae = SphereVAE(3, condition="concat", num_classes=3, image_shape=(1, 8, 8))
    with pytest.raises(ValueError, match="labels are missing"):
        vae.decode(torch.eye(3))
    with pytest.raises(ValueError, match="labels are missing"):
        vae.objective(IMAGES)


def test_labels_of_a_loader_are_taken_by_every_model() -> None:
    for vae in (plain(), labelled()):
        loader = torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(IMAGES, LABELS), batch_size=3
        )
        fit = pa.fit(vae, loader, epochs=1, device="cpu", progress=False)
        assert fit.to_arviz(draws=2).posterior["z"].shape == (1, 2, 3, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_particles_may_stand_on_the_left(kind: str) -> None:
    from pyro.infer import Predictive, Trace_ELBO

    vae, labels = toy(kind, 3), labels_of(kind)
    vectorised = Trace_ELBO(num_particles=7, vectorize_particles=True, max_plate_nesting=1)
    with torch.no_grad():
        assert torch.isfinite(torch.tensor(vectorised.loss(vae.forward, vae.guide, X, labels)))
    draws = Predictive(vae, num_samples=6, parallel=True)()
    assert draws["x"].shape == (6, 1, *SHAPE)


def test_particles_of_an_inferred_concentration() -> None:
    from pyro.infer import Trace_ELBO

    for prior in (dist.Gamma(3.0, 0.5), dist.Gamma(torch.tensor([3.0, 2.0]), 0.5)):
        vae = SphereVAE(
            3, VMFClassifier(torch.eye(3)[:2], prior), image_shape=SHAPE, size=10, binarise=False
        )
        vectorised = Trace_ELBO(num_particles=7, vectorize_particles=True, max_plate_nesting=1)
        with torch.no_grad():
            value = vectorised.loss(vae.forward, vae.guide, X.float(), Y)
        assert torch.isfinite(torch.tensor(value))


def test_divergence_ends_with_its_name(tmp_path: Path) -> None:
    vae, loud = labelled(), functools.partial(torch.optim.SGD, lr=1e6)
    x, y = torch.rand(30, 1, 8, 8), torch.arange(30) % 3
    with pytest.raises(pa.inference.NonFiniteLoss, match="step") as caught:
        pa.fit(
            vae, (x, y), epochs=50, batch_size=10, optimizer=loud, device="cpu",
            checkpoint=tmp_path / "run", progress=False,
        )  # fmt: skip
    assert caught.value.checkpoint is not None
    with torch.no_grad():
        vae.direction.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="network diverged"):
        vae.encode(x)
    with pytest.raises(ValueError, match="network diverged"):
        vae.log_likelihood(x, y, num_samples=2)


def test_settings_tell_models_apart() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    priors = [VMFClassifier(torch.eye(3), kappa) for kappa in (5.0, 50.0)]
    priors += [VMFClassifier(torch.eye(3), dist.Gamma(a, 1.0)) for a in (2.0, 20.0)]
    models = [SphereVAE(3, p, image_shape=(1, 8, 8), encoder=encoder, size=9) for p in priors]
    laws = [PowerSpherical(torch.eye(3)[0], kappa) for kappa in (2.0, 20.0)]
    models += [SphereVAE(3, law, image_shape=(1, 8, 8), encoder=encoder) for law in laws]
    texts = [json.dumps(model.settings) for model in models]
    assert len(set(texts)) == len(texts)
    assert all(model.config is None for model in models)


@pytest.mark.parametrize("prior", [None, VMFClassifier(torch.eye(3), 5.0)])
def test_networks_of_another_dtype(prior: VMFClassifier | None) -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 5)).double()
    vae = SphereVAE(3, prior, image_shape=(1, 8, 8), encoder=encoder)  # its decoder follows
    labels = LABELS if prior else None
    fit = pa.fit(vae, (IMAGES.double(), LABELS), epochs=1, device="cpu", progress=False)
    assert fit.losses.isfinite().all()
    assert vae.log_likelihood(IMAGES, labels, num_samples=3).mean < 0.0
    single = nn.Sequential(nn.Linear(3, 64), nn.Unflatten(1, (1, 8, 8)))
    with pytest.raises(ValueError, match=r"decoder gives torch.float32, but the encoder"):
        SphereVAE(3, prior, image_shape=(1, 8, 8), encoder=encoder, decoder=single)
