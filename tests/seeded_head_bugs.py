"""Bugs to seed in the Bayesian last layer and its kernel; see `seeded_bugs`."""

from seeded_bugs import seeded

__all__ = ["HEAD_BUGS"]

JOINT = "inference/test_laplace_head_joint.py::"
DRAWS = "inference/test_laplace_head_draws.py::"
GIBBS = "inference/test_laplace_head_gibbs.py::"
RUNS = "inference/test_laplace_head_runs.py::"
MODEL = "models/test_laplace_head.py::"

HEAD_BUGS = [
    *seeded(
        "inference/laplace/head_sweep.py",
        f"{JOINT}test_joint_distribution",
        (
            "laws of other rows",
            "rows = weight.reshape(-1, weight.shape[-1])",
            "rows = weight.flip(-2).reshape(-1, weight.shape[-1])",
        ),
        (
            "mixing variables of a weight at its mode",
            "draw_normal_prior(weight, laws, generator), laws",
            "draw_normal_prior(0.0 * weight + laws.loc.unsqueeze(-1), laws, generator), laws",
        ),
        (
            "prior of the bias dropped",
            "column + problem.bias_scale**2",
            "column + 1e4 * problem.bias_scale**2",
        ),
        (
            "offset missing from the sums",
            "- 0.5 + omega * rest",
            "- 0.5 + 0.0 * omega * rest",
        ),
        (
            "offset missing from the tilt",
            "psi[..., k] - rest, generator",
            "psi[..., k], generator",
        ),
        (
            "old rows for new ones",
            "before = torch.logaddexp(before, (phi @ row.unsqueeze(-1)).squeeze(-1))",
            "before = torch.logaddexp(before, psi[..., k])",
        ),
        ("sticks answered by all", "u = answers - 0.5 * reached", "u = answers - 0.5"),
        ("squares counted twice", "rate + 0.5 * squares", "rate + squares"),
        ("freedom of the noise forgotten", "shape + 0.5 * len(problem.phi)", "shape + 0.5"),
        (
            "bias shifted too far",
            "scale / count**0.5 * z - mean",
            "scale * z - mean",
        ),
    ),
    *seeded(
        "inference/laplace/mixing_draw.py",
        f"{DRAWS}test_mixing_against_scipy",
        ("shape doubled", "/ (2.0 * c)\n", "/ (4.0 * c)\n"),
        ("always the larger root", "keep = (u * (larger + h) < larger)", "keep = (u < 2.0)"),
    ),
    *seeded(
        "inference/laplace/mixing_draw.py",
        f"{DRAWS}test_prior_given_the_mixing_variable",
        ("skew dropped", "NormalPrior((s_right - s_left) * w", "NormalPrior(0.0 * w"),
        ("variance halved", "2.0 * s_right * s_left * w", "s_right * s_left * w"),
    ),
    *seeded(
        "inference/laplace/normal_draw.py",
        f"{DRAWS}test_normal_draw_is_the_textbook_one",
        ("prior mean left out of the sums", "moment - _times(gram, mean)", "moment"),
        ("noise of the points missing", " - eps[:, width:]", ""),
        ("unit of the prior missing", "inner.diagonal(dim1=-2, dim2=-1).add_(1.0)", ""),
    ),
    *seeded(
        "inference/laplace/normal_draw.py",
        f"{DRAWS}test_mode_with_the_weights_integrated_out",
        ("mode moves the bias", "    a[..., -1] = 0.0\n", ""),
        ("spread of the weights forgotten", " + e.square().sum(-1)", ""),
        ("sums keep the old mode", "rest = rest - m.unsqueeze(-1) * pull", "rest = 1.0 * rest"),
    ),
    *seeded(
        "inference/laplace/translation_draw.py",
        f"{DRAWS}test_shift_against_quadrature",
        ("sides of the halves swapped", "first = left.sum(", "first = right.sum("),
        ("bends by the right rates", "bend = (left + right)", "bend = (0 * left + right)"),
    ),
    *seeded(
        "distributions/bounded_normal.py",
        f"{DRAWS}test_bounded_normal_against_quadrature",
        (
            "mirror lost",
            "torch.where(mirrored, high - excess",
            "torch.where(mirrored, low + excess",
        ),
    ),
    *seeded(
        "inference/laplace/translation_draw.py",
        f"{DRAWS}test_level_keeps_all_modes_inside",
        ("levels only downwards", "low + (high - low) * u", "low * u"),
    ),
    *seeded(
        "inference/laplace/head_sweep.py",
        f"{GIBBS}test_modes_go_with_their_weights",
        ("drawn modes thrown away", "laws if loc is None else laws._replace(loc=loc)", "laws"),
    ),
    *seeded(
        "inference/laplace/head_log_joint.py",
        f"{GIBBS}test_log_joint_is_that_of_the_program",
        ("bounds of the modes left out", "total - (prior.high - prior.low).log()", "total"),
        ("sides of the rates swapped", "right, left = Gamma", "left, right = Gamma"),
    ),
    *seeded(
        "inference/laplace/head_problem.py",
        f"{GIBBS}test_refusals",
        ("size taken as it is", "    if cost > largest:\n", "    if False:\n"),
        ("batches let in", "if model.num_points not in (None, len(x)):", "if False:"),
    ),
    *seeded(
        "inference/laplace/head_guide.py",
        f"{RUNS}test_refusals_of_the_guide",
        ("starts of other layers", "    if known != tuple(start.shape):\n", "    if False:\n"),
    ),
    *seeded(
        "distributions/head_likelihood.py",
        f"{MODEL}test_readings_against_loops",
        ("classes in the order of sticks", "[..., class_order.argsort()]", "[..., class_order]"),
        ("all of the stick taken", "before + taken  # ", "taken  # "),
        ("variance for its root", "/ spread\n", "/ spread.square()\n"),
    ),
    *seeded(
        "models/head_readings.py",
        f"{MODEL}test_readings_against_loops",
        ("mean of logarithms", "density.logsumexp(0)", "density.amax(0)"),
    ),
    *seeded(
        "models/laplace_head.py",
        f"{MODEL}test_program_has_the_density_of_the_readings",
        ("variance as a deviation", "variance.unsqueeze(-2).sqrt()", "variance.unsqueeze(-2)"),
    ),
    *seeded(
        "models/laplace_head.py",
        f"{RUNS}test_learned_laws_are_fitted_from_the_head",
        ("batches not weighted", "return self.num_points or rows", "return rows"),
    ),
]
