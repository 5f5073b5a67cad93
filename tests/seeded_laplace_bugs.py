"""Bugs to seed in the kernels on asymmetric Laplace laws; see `seeded_bugs`."""

from seeded_bugs import seeded

__all__ = ["LAPLACE_BUGS"]

GIBBS = "inference/test_laplace_gibbs.py::"
MODE = "inference/test_laplace_mode.py::"
REGRESSION = "inference/test_laplace_regression.py::"
RUNS = "inference/test_laplace_runs.py::"
WEIGHTS = "models/test_laplace_weights.py::"

LAPLACE_BUGS = [
    *seeded(
        "inference/laplace/rate_draw.py",
        f"{GIBBS}test_joint_distribution",
        (
            "overlap of one weight less",
            "torch.full_like(rate_right, float(num))",
            "torch.full_like(rate_right, num - 1.0)",
        ),
        ("overlap dropped", "exposures[0] + overlap", "exposures[0] + 0 * overlap"),
        ("left rate given the right side", "left_rate + excess[1]", "left_rate + excess[0]"),
        (
            "prior shape left out",
            "num, prior.left_concentration + num",
            "num, 0 * prior.left_concentration + num",
        ),
        (
            "overlap of one rate alone",
            "overlap = draw_overlap(num, right, left, generator)",
            "overlap = draw_overlap(num, left, left, generator)",
        ),
    ),
    *seeded(
        "inference/laplace_compiled/mode_walk.py",
        f"{GIBBS}test_joint_distribution",
        ("walk by one tail", "score: float = -right - left", "score: float = -right"),
        ("walk without overlap", "prior[1] + above + overlap", "prior[1] + above"),
        ("walk takes every step", "if np.log(levels[k, j]) < new - score:", "if new > -np.inf:"),
        ("walk past a bound", "proposal < low[k] or proposal > high[k]", "proposal < low[k]"),
    ),
    *seeded(
        "inference/laplace/mode_walk.py",
        f"{GIBBS}test_joint_distribution",
        ("walk by tensors without prior", "prior.right_rate + above", "above"),
    ),
    *seeded(
        "inference/laplace/rows.py",
        f"{GIBBS}test_joint_distribution",
        (
            "sides swapped",
            "return right.clamp(min=0.0).squeeze(1), left.clamp(min=0.0).squeeze(1)",
            "return left.clamp(min=0.0).squeeze(1), right.clamp(min=0.0).squeeze(1)",
        ),
    ),
    *seeded(
        "inference/laplace_compiled/mode_scan.py",
        f"{MODE}test_mode_against_a_grid",
        (
            "weights below miscounted",
            "t = step * (up * (n - i) - down * i) * width",
            "t = step * (up * (n - i) - down * (i - 1)) * width",
        ),
        (
            "inside the segment without slope",
            "drawn = left + np.log1p(u * np.expm1(t)) / slope",
            "drawn = left + u * (right - left)",
        ),
        (
            "wrong end of a rising segment",
            "np.log1p((1.0 - u) * np.expm1(-t)) / slope",
            "np.log1p(u * np.expm1(-t)) / slope * 0.5",
        ),
        (
            "left side not scanned",
            "side(row, up, down, lo, hi, peak - 1, -1, total, mass)",
            "(peak, total)",
        ),
    ),
    *seeded(
        "inference/laplace_compiled/mode_scan.py",
        f"{MODE}test_the_scan_stops_where_nothing_is_left",
        ("scan stops too early", "NEGLIGIBLE = np.exp(-40.0)", "NEGLIGIBLE = np.exp(-4.0)"),
        (
            "bound without the slope",
            "density < NEGLIGIBLE * total * abs(slope)",
            "density < 1e-3 + 0.0 * slope",
        ),
        (
            "scan never stops",
            "if density < NEGLIGIBLE * total * abs(slope):",
            "if density < 0.0 * slope:",
        ),
    ),
    *seeded(
        "inference/laplace/mode_draw.py",
        f"{MODE}test_mode_against_a_grid",
        (
            "segment one too far",
            "torch.searchsorted(below, level, right=True)",
            "1 + torch.searchsorted(below, level, right=True)",
        ),
        ("rising segment drawn too far", "w + inside", "w + 2.0 * inside"),
    ),
    *seeded(
        "inference/laplace/mode_draw.py",
        f"{MODE}test_the_density_of_the_mode",
        (
            "density not normalised",
            "height - log_mass.logsumexp(1, keepdim=True)",
            "height - log_mass.amax(1, keepdim=True)",
        ),
    ),
    *seeded(
        "inference/laplace/problem.py",
        f"{GIBBS}test_log_joint_is_that_of_the_program",
        ("density of the bounds left out", " - (prior.high - prior.low).log()", ""),
        ("normaliser of the law left out", " - (right + left).log())", ")"),
        (
            "sides of the prior swapped",
            "Gamma(prior.left_concentration, prior.left_rate,",
            "Gamma(prior.right_concentration, prior.right_rate,",
        ),
    ),
    *seeded(
        "inference/laplace_compiled/regression_walk.py",
        f"{REGRESSION}test_joint_distribution",
        (
            "exposure counted once too seldom",
            "total -= (a + num) * soft + num * u",
            "total -= (a + num - 1.0) * soft + num * u",
        ),
        (
            "prior of the regression dropped",
            "total -= 0.5 * ((point[i]",
            "total -= 0.0 * ((point[i]",
        ),
        (
            "proposals always taken",
            "if math.log(levels[i, part]) < new - score:",
            "if new - score > -math.inf:",
        ),
    ),
    *seeded(
        "inference/laplace_compiled/regression_walk.py",
        f"{REGRESSION}test_the_marginal_against_an_integral",
        (
            "slope of the other sign",
            "u = point[2] - point[0] - point[1] * z[k]",
            "u = point[2] - point[0] + point[1] * z[k]",
        ),
        (
            "gamma function left out",
            "float = len(z) * log_gamma_ratio(a, num)",
            "float = 0.0 * log_gamma_ratio(a, num)",
        ),
    ),
    *seeded(
        "inference/laplace_compiled/regression_walk.py",
        f"{REGRESSION}test_the_marginal_keeps_its_digits",
        ("plain log-gammas", "    if a < _SMALL:", "    if a < 1e300:"),
    ),
    *seeded(
        "inference/laplace/laplace_gibbs.py",
        f"{REGRESSION}test_joint_distribution",
        (
            "overlap not seen by the regression",
            "torch.stack(excesses(rows, p.loc)) + overlap,",
            "torch.stack(excesses(rows, p.loc)) + 0.1 * overlap,",
        ),
    ),
    *seeded(
        "inference/laplace/problem.py",
        f"{GIBBS}test_log_joint_is_that_of_the_program",
        (
            "rates of the other tail",
            "right, left = (gamma_rates(a[i]",
            "left, right = (gamma_rates(a[i]",
        ),
    ),
    *seeded(
        "inference/laplace/laplace_gibbs.py",
        f"{GIBBS}test_a_saved_chain_goes_on_with_the_same_bits",
        (
            "regression started afresh",
            "(saved[k].to(where) for k in RateRegression._fields)",
            "(1.0 + saved[k].to(where) for k in RateRegression._fields)",
        ),
    ),
    *seeded(
        "models/laplace_weights.py",
        f"{WEIGHTS}test_shared_density_against_scipy",
        (
            "frequencies forgotten",
            "            z = self.log_frequency\n        log_a",
            "            z = 0.0 * self.log_frequency\n        log_a",
        ),
    ),
    *seeded(
        "models/laplace_weights.py",
        f"{WEIGHTS}test_constant_rows_are_flagged_and_refused",
        (
            "constant rows taken",
            "        if self._constant:\n            count",
            "        if False:\n            count",
        ),
    ),
    *seeded(
        "models/class_frequency.py",
        f"{WEIGHTS}test_frequency_effects",
        ("lambda as the sum", '"log_lambda": 0.5 * (right + left)', '"log_lambda": right + left'),
    ),
    *seeded(
        "models/laplace_guide.py",
        f"{RUNS}test_the_variational_law_is_near_the_posterior",
        (
            "Jacobian of the rates dropped",
            "log_density=-y[..., 1]",
            "log_density=500.0 * y[..., 1]",
        ),
        (
            "covariance of the inverse",
            "torch.stack([zero, one, -one], -1),",
            "torch.stack([zero, one, 2.0 * one], -1),",
        ),
    ),
]
