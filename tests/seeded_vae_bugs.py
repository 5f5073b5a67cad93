"""Bugs to seed in the hyperspherical VAE, its likelihoods and its latent; see `seeded_bugs`."""

from seeded_bugs import seeded

__all__ = ["VAE_BUGS"]

EVIDENCE = "models/test_sphere_vae_evidence.py::"
QUADRATURE = f"{EVIDENCE}test_bound_and_importance_estimate_against_quadrature"
LABELS = f"{EVIDENCE}test_label_summed_out_and_bayes_rule"
GRADIENT = f"{EVIDENCE}test_gradient_of_the_objective"
WARM = f"{EVIDENCE}test_objective_is_the_weighted_bound"
TOGETHER = f"{EVIDENCE}test_aggregate_posterior_against_quadrature"
SPREAD = f"{EVIDENCE}test_error_of_the_estimate_is_its_spread"
PROGRAM = "models/test_sphere_vae.py::"

VAE_BUGS = [
    *seeded(
        "models/evidence.py",
        "models/test_evidence.py::test_chunks_share_a_peak",
        ("chunks do not share a peak", "first * shrink", "first"),
        ("squares shrink as the sum", "second * shrink**2", "second * shrink"),
    ),
    *seeded(
        "models/evidence.py",
        QUADRATURE,
        (
            "proposal not divided out",
            "return log_joint - log_q.reshape",
            "return log_joint - 0.0 * log_q.reshape",
        ),
        ("sum for the mean", "torch.log(first / num_samples)", "torch.log(first)"),
    ),
    *seeded(
        "models/evidence.py",
        SPREAD,
        ("error of one sample", "relative / (num_samples - 1)", "relative"),
    ),
    *seeded(
        "models/sphere_joint.py",
        LABELS,
        ("p(y) left out", " + self.class_probs.log(), -1", ", -1"),
        (
            "the decoder sees no class",
            "self._decoded(z, x, i.expand(len(x)))",
            "self._decoded(z, x, 0 * i.expand(len(x)))",
        ),
    ),
    *seeded(
        "models/sphere_prior.py",
        GRADIENT,
        ("directions not of unit length", "F.normalize(self.weight, dim=-1)", "self.weight"),
        (
            "one kappa for all classes",
            "own = kappa[labels] if self.per_class else kappa",
            "own = kappa.mean()",
        ),
        (
            "directions of another class",
            "loc, concentration, self.directions[labels], own",
            "loc, concentration, self.directions[labels - 1], own",
        ),
    ),
    *seeded(
        "models/sphere_prior.py",
        f"{PROGRAM}test_inferred_concentration_has_its_share_of_the_bound",
        ("divergence of kappa for every image", ".sum() / self.size", ".sum()"),
    ),
    *seeded(
        "models/sphere_vae.py",
        GRADIENT,
        ("kappa without its offset", ".squeeze(-1) + 1.0", ".squeeze(-1) + 0.5"),
    ),
    *seeded(
        "models/autoencoder_parts.py",
        WARM,
        ("warm-up an epoch late", "min(1.0, (epoch + 1) / warm_up)", "min(1.0, epoch / warm_up)"),
    ),
    *seeded(
        "models/sphere_vae.py",
        WARM,
        ("pixels averaged", "missed / len(x)", "missed / x.numel()"),
    ),
    *seeded(
        "models/aggregate_posterior.py",
        TOGETHER,
        ("mixture not normalised", " - math.log(len(here))", ""),
        ("prior left out", "own - mixed, mixed - log_prior", "own - mixed, mixed"),
    ),
    *seeded(
        "models/image_rows.py",
        f"{PROGRAM}test_pixels_are_binarised_afresh",
        ("pixels inverted", "noise.lt_(x)", "noise.ge_(x)"),
    ),
    *seeded(
        "distributions/geodesic.py",
        "distributions/test_geodesic.py",
        ("straight instead of round", "torch.sinc(share * angle / torch.pi)", "torch.ones(())"),
    ),
]
