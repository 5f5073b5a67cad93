"""Bugs to seed in the programs of activation patterns and their checks; see `seeded_bugs`."""

from seeded_bugs import seeded

__all__ = ["PATTERN_MODEL_BUGS"]

MIXTURE = "models/test_pattern_mixture.py::"
PROGRAMS = "models/test_pattern_programs.py::"
ATTACKS = "models/test_pattern_attacks.py::"
GIBBS = "inference/test_pattern_gibbs.py::"
CHECKS = "analysis/test_predictive_checks.py::"
REALISE = "analysis/test_realise.py::"
MIDPOINTS = "analysis/test_midpoints.py::"

PATTERN_MODEL_BUGS = [
    *seeded(
        "inference/pattern_gibbs.py",
        f"{GIBBS}test_joint_law {GIBBS}test_a_step_keeps_exact_draws",
        (
            "prior of the weights forgotten",
            "_dirichlet(problem.concentration + size,",
            "_dirichlet(1.0 + size,",
        ),
        (
            "failures counted without their prior",
            "count + problem.beta, generator",
            "count + 1.0, generator",
        ),
    ),
    *seeded(
        "inference/pattern_gibbs.py",
        f"{GIBBS}test_labels_of_one_step",
        ("Gumbel noise of the wrong sign", "(logits - (-noise", "(logits + (-noise"),
    ),
    *seeded(
        "inference/pattern_gibbs.py",
        f"{GIBBS}test_log_joint_is_that_of_the_program",
        ("prior of the weights left out of lp", "rows + prior + beta", "rows + beta"),
    ),
    *seeded(
        "inference/pattern_gibbs.py",
        f"{GIBBS}test_a_prior_far_below_one",
        ("shape lowered by the draw", "torch.log1p(-uniforms) / shape", "torch.log1p(-uniforms)"),
    ),
    *seeded(
        "inference/pattern_compiled/label_sweep.py",
        f"{GIBBS}test_collapsed_conditional_against_enumeration",
        ("total of the unit priors", "np.log(held + alpha + beta)", "np.log(held + alpha)"),
        ("prior of the labels left out", "np.log(held + concentration) -", "np.log(held + 1.0) -"),
    ),
    *seeded(
        "inference/pattern_compiled/label_sweep.py",
        f"{GIBBS}test_a_step_keeps_exact_draws",
        ("own row kept in the counts", "count[old, i] -= a[n, i]", "count[old, i] -= 0.0"),
    ),
    *seeded(
        "models/pattern_mixture.py",
        f"{MIXTURE}test_density_against_loops_and_its_sum",
        (
            "weights of classes left out",
            "off.sum(-1) + weights.log()\n    step",
            "off.sum(-1)\n    step",
        ),
    ),
    *seeded(
        "models/pattern_mixture.py",
        f"{MIXTURE}test_em_climbs_to_a_stationary_point",
        ("EM without the prior of the units", "(on + alpha) / (", "(on + 1.0) / ("),
    ),
    *seeded(
        "models/beta_bernoulli_patterns.py",
        f"{PROGRAMS}test_beta_bernoulli_evidence_by_quadrature",
        (
            "evidence without the prior's constant",
            "- _log_beta(alpha, beta)).sum()",
            "- 0 * _log_beta(alpha, beta)).sum()",
        ),
    ),
    *seeded(
        "models/probit_patterns.py",
        f"{ATTACKS}test_probit_evidence_of_any_variance {ATTACKS}test_units_are_all_counted",
        (
            "units of one count taken once",
            "(torch.logaddexp(*total) * repeats).sum()",
            "torch.logaddexp(*total).sum()",
        ),
        ("width of the panels left out", "terms.logsumexp(1) + high.log()", "terms.logsumexp(1)"),
    ),
    *seeded(
        "models/dichotomised_gaussian.py",
        f"{ATTACKS}test_the_nearest_correlation",
        (
            "projections without Dykstra's correction",
            "shifted = found - correction",
            "shifted = found",
        ),
    ),
    *seeded(
        "distributions/orthant.py",
        f"{ATTACKS}test_orthants_sum_to_one {ATTACKS}test_orthant_of_a_rare_pair",
        (
            "orthant drawn on the wrong side",
            "= -s * torch.special.ndtri",
            "= s * torch.special.ndtri",
        ),
        ("rare pairs taken as closed", "rare = closed < _RARE", "rare = closed < -1.0"),
    ),
    *seeded(
        "distributions/bivariate_normal.py",
        "distributions/test_orthant.py",
        (
            "quadrant with its sign of correlation lost",
            "(density * jacobian * weights).sum(-1) * r.sign()",
            "(density * jacobian * weights).sum(-1)",
        ),
    ),
    *seeded(
        "models/ising_patterns.py",
        f"{PROGRAMS}test_ising_law_and_conditionals",
        ("pairs counted twice", "rows @ self.field + 0.5 *", "rows @ self.field + 1.0 *"),
    ),
    *seeded(
        "models/ising_compiled/unit_sweep.py",
        f"{PROGRAMS}test_ising_samples",
        ("unit pulled the wrong way", "np.exp(-score)", "np.exp(score)"),
    ),
    *seeded(
        "analysis/patterns/predictive_checks.py",
        f"{CHECKS}test_p_values_are_ranks",
        ("data's own value not counted", "above = 1 + int(", "above = int("),
    ),
    *seeded(
        "analysis/patterns/predictive_checks.py",
        f"{CHECKS}test_refusals",
        ("NaN taken for a small p-value", "if not np.isfinite(value):", "if False:"),
    ),
    *seeded(
        "analysis/midpoints/realise.py",
        f"{REALISE}test_search_finds_patterns_that_exist",
        ("bits wanted the other way", "margin - sign * h", "margin + sign * h"),
        (
            "last input for the best one",
            "kept[better], best = z.detach()[better]",
            "kept[better], best = start[better]",
        ),
    ),
    *seeded(
        "analysis/midpoints/midpoint_search.py",
        f"{MIDPOINTS}test_agreed_units_are_the_way",
        (
            "hinge on all units",
            "torch.relu(_MARGIN - sign * h) * agreed",
            "torch.relu(_MARGIN - sign * h) * ~agreed",
        ),
    ),
]
