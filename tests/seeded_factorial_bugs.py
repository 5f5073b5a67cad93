"""Bugs to seed in the joint models of a layer and their kernels; see `seeded_bugs`."""

from seeded_bugs import seeded

__all__ = ["FACTORIAL_BUGS"]

HARMONIUM = "distributions/test_harmonium.py::"
MIXTURE = "models/test_factorial_mixture.py::"
LEARNING = "models/test_factorial_learning.py::"
PATCHES = "models/test_apodized_patches.py::"
OWN = "models/test_own_parameters.py::"
GIBBS = "inference/test_factorial_gibbs.py::"
BLOCK_GIBBS = "inference/test_harmonium_gibbs.py::"
ANNEALED = "inference/test_annealed_importance.py::"

FACTORIAL_BUGS = [
    *seeded(
        "distributions/harmonium.py",
        f"{HARMONIUM}test_density_and_codes_against_brute_force",
        (
            "codes without their pull",
            "code_sums(own) + pair_sums(",
            "code_sums(own) + 0 * pair_sums(",
        ),
        ("volume of one dimension", "0.5 * self.dim * torch.log", "0.5 * torch.log"),
    ),
    *seeded(
        "distributions/harmonium.py",
        f"{HARMONIUM}test_gradients",
        (
            "table kept with its graph",
            "if not any(p.requires_grad for p in (self.slopes, self.offsets, self.noise)):",
            "if True:",
        ),
    ),
    *seeded(
        "distributions/harmonium.py",
        f"{HARMONIUM}test_gradients_after_a_draw",
        (
            "table of a draw kept",
            "if not any(p.requires_grad for p in (self.slopes, self.offsets, self.noise)):",
            "if not weights.requires_grad:",
        ),
    ),
    *seeded(
        "distributions/harmonium.py",
        f"{HARMONIUM}test_exact_draws",
        ("noise scaled by its variance", "self.noise.detach().sqrt()", "self.noise.detach()"),
    ),
    *seeded(
        "inference/harmonium_gibbs.py",
        f"{BLOCK_GIBBS}test_a_step_keeps_exact_draws",
        (
            "inputs given the old codes",
            "else law.sample_given(codes, generator",
            "else law.sample_given(state.codes, generator",
        ),
    ),
    *seeded(
        "inference/harmonium_gibbs.py",
        f"{BLOCK_GIBBS}test_log_joint_is_that_of_the_program",
        ("selection left out", "density.sum() + chosen.sum()", "density.sum()"),
    ),
    *seeded(
        "inference/factorial_compiled/code_sweep.py",
        f"{GIBBS}test_a_step_from_exact_starts",
        ("own vector not given back", "own[j, r, old])", "own[j, r, 0])"),
        (
            "residual moves the wrong way",
            "residual[d] += slopes[j, old, d] -",
            "residual[d] -= slopes[j, old, d] -",
        ),
        ("units out of order", "k = units[j]", "k = j"),
    ),
    *seeded(
        "inference/factorial_sweep.py",
        f"{GIBBS}test_conditional_against_enumeration",
        ("half a square too many", "own = gram - 0.5 *", "own = gram - 1.0 *"),
        ("weights untold", "eta * (scores + own) + block.log_weights", "eta * (scores + own)"),
    ),
    *seeded(
        "inference/factorial_sweep.py",
        f"{GIBBS}test_a_step_from_exact_starts",
        (
            "sum not kept along",
            "mean = mean + (code_means(block.slopes, new)",
            "mean = mean + 0 * (code_means(block.slopes, new)",
        ),
    ),
    *seeded(
        "inference/factorial_sweep.py",
        f"{GIBBS}test_colours_from_the_gram",
        ("Gram not centred", "gram_of(slopes, centred=True)", "gram_of(slopes)"),
    ),
    *seeded(
        "inference/factorial_sweep.py",
        f"{GIBBS}test_refusals",
        ("any colours taken", "        _check_against(chosen, conflicts)\n", ""),
    ),
    *seeded(
        "inference/factorial_gibbs.py",
        f"{GIBBS}test_the_mean_is_kept_along",
        ("never computed afresh", "if sweeps % self.refresh == 0:", "if False:"),
    ),
    *seeded(
        "inference/factorial_gibbs.py",
        f"{GIBBS}test_log_joint_is_that_of_the_program",
        ("prior of codes left out", ".sum() + prior.sum()", ".sum()"),
    ),
    *seeded(
        "inference/annealed_importance.py",
        f"{ANNEALED}test_evidence_of_a_factorial_mixture",
        (
            "kernel one temperature behind",
            "mean, b / p.noise, generator)",
            "mean, before / p.noise, generator)",
        ),
        ("sum for the mean of weights", "first - math.log(count)", "first"),
    ),
    *seeded(
        "inference/annealed_importance.py",
        f"{ANNEALED}test_normaliser_of_a_harmonium",
        (
            "first constant left out",
            "log_weights + (offsets / s2).logsumexp(-1).sum()",
            "log_weights",
        ),
    ),
    *seeded(
        "models/factorial_mixture.py",
        f"{MIXTURE}test_a_plate_around_the_program_is_refused",
        ("plates let in", "    if around:\n", "    if False:\n"),
    ),
    *seeded(
        "models/own_parameters.py",
        f"{OWN}test_two_programs_do_not_share_parameters",
        ("parameters through Pyro's store", "if held is None:", "if True:"),
    ),
    *seeded(
        "models/own_parameters.py",
        f"{OWN}test_pyros_svi_takes_a_gradient_step",
        ("parameters unseen", "if not self._pyro_context.active:", "if True:"),
    ),
    *seeded(
        "models/layer_guide.py",
        f"{MIXTURE}test_orthogonal_units_decide_by_themselves",
        ("shift left out", " + apart @ slopes[:, 0].sum(0)", ""),
    ),
    *seeded(
        "models/layer_guide.py",
        f"{MIXTURE}test_readings_against_brute_force",
        ("spread of the codes left out", "spread / (2.0 * p.noise)", "0 * spread"),
    ),
    *seeded(
        "models/layer_guide.py",
        f"{MIXTURE}test_mean_field_climbs",
        ("a unit pulls itself", " - q[:, k] @ gram[k, :, k]", ""),
    ),
    *seeded(
        "models/factorial_em.py",
        f"{LEARNING}test_m_step_is_the_optimum_of_the_expected_log_joint",
        (
            "noise over rows alone",
            "noise = (square - explained) / d",
            "noise = square - explained",
        ),
    ),
    *seeded(
        "models/factorial_em.py",
        f"{LEARNING}test_em_climbs_and_finds_the_bars",
        ("units independent of themselves", "q[:, k].sum(0).diag()", "pairs[k, :, k]"),
    ),
    *seeded(
        "models/apodized_patches.py",
        f"{PATCHES}test_inequality",
        (
            "overlap counted once an axis",
            "math.ceil(size / stride) ** 2",
            "math.ceil(size / stride)",
        ),
    ),
    *seeded(
        "models/apodized_patches.py",
        f"{PATCHES}test_patches_and_their_sum",
        ("cover not divided out", "total / torch.where(cover > 0, cover, 1.0)", "total"),
    ),
]
