"""Bugs to seed in the penalty of weights and the regression on frequency; see `seeded_bugs`."""

from seeded_bugs import seeded

__all__ = ["FREQUENCY_BUGS"]

PENALTY = "nn/test_laplace_penalty.py::"
REGRESSION = "analysis/test_frequency_regression.py::"

FREQUENCY_BUGS = [
    *seeded(
        "nn/laplace_penalty.py",
        f"{PENALTY}test_penalty_is_the_negative_log_density_less_its_constant",
        ("rates change sides", "right * torch.relu(offset) +", "right * torch.relu(-offset) +"),
        (
            "parameters along features",
            "value.reshape(-1, *([1] * (weight.ndim - 1))) if value.ndim else value",
            "value.reshape(-1)[0] if value.ndim else value",
        ),
    ),
    *seeded(
        "nn/laplace_penalty.py",
        f"{PENALTY}test_proximal_map_solves_the_subgradient_equation",
        (
            "thresholds change sides",
            "torch.relu(offset - t * right)",
            "torch.relu(offset - t * left)",
        ),
        ("threshold about zero", "return m + torch.relu(", "return torch.relu("),
    ),
    *seeded(
        "analysis/meta_regression.py",
        f"{REGRESSION}test_meta_regression_against_dense_algebra",
        (
            "likelihood not restricted",
            "fit.log_det + float(np.linalg.slogdet(fit.information)[1]) + fit.misfit",
            "fit.log_det + fit.misfit",
        ),
        ("classes of their own in each model", "return plain - shared", "return plain"),
    ),
    *seeded(
        "analysis/meta_regression.py",
        f"{REGRESSION}test_equal_variances_are_ordinary_least_squares",
        ("normal interval", "stats.t.ppf(0.5 + 0.5 * level, classes - 2)", "1.959964"),
        ("intercept at the mean", "- slope * centre", "- 0.0 * centre"),
    ),
    *seeded(
        "analysis/frequency_regression.py",
        f"{REGRESSION}test_first_stage_and_its_errors",
        ("tails take each other's errors", "(left.log(), 1.0 / law.prob_left)",
         "(left.log(), 1.0 / law.prob_right)"),
        ("norm as if the weights were normal", "(curtosis - 1.0) / 4.0",
         "0.0 * curtosis + 0.1"),
    ),
    *seeded(
        "analysis/frequency_regression.py",
        f"{REGRESSION}test_permutations_against_all_of_them",
        ("one tail of the permutations", "np.abs(moved) >= np.abs(moments)",
         "moved >= np.abs(moments)"),
    ),
]  # fmt: skip
