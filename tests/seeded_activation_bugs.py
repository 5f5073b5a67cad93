"""Bugs to seed in the statistics of activation patterns; see `seeded_bugs`."""

from seeded_bugs import seeded

__all__ = ["ACTIVATION_BUGS"]

STATISTICS = "analysis/test_pattern_statistics.py::"
LAW = "analysis/test_probability_law.py::"
FITS = "analysis/test_rectified_fits.py::"
REPORTS = "analysis/test_pattern_reports.py::"
FOLDER = "analysis/patterns"

ACTIVATION_BUGS = [
    *seeded(
        f"{FOLDER}/bernoulli_tests.py",
        f"{STATISTICS}test_errors_of_the_mean_distances_of_fair_coins",
        ("error of all pairs as if independent", "(2 * rows * (rows - 1))", "(rows * (rows - 1))"),
        ("one-sided binomial", "np.minimum(1.0, 2.0 * stats", "np.minimum(1.0, stats"),
    ),
    *seeded(
        f"{FOLDER}/bernoulli_tests.py",
        f"{STATISTICS}test_marginal_test_against_scipy",
        ("no correction for many units", "level * np.arange(1, len(p) + 1) / len(p)", "level"),
    ),
    *seeded(
        f"{FOLDER}/dependence.py",
        f"{STATISTICS}test_null_of_the_variance_ratio_by_enumeration",
        ("pairs with replacement", "/ (rows * (rows - 1.0))\n    alone", "/ rows**2\n    alone"),
        ("third moment forgotten", "256.0 * third * mean", "0.0 * third * mean"),
    ),
    *seeded(
        f"{FOLDER}/constellations.py",
        f"{STATISTICS}test_constellation_score_and_its_area_identity",
        ("average linkage", '"complete")', '"average")'),
    ),
    *seeded(
        f"{FOLDER}/constellations.py",
        f"{STATISTICS}test_strict_constellations_by_brute_force",
        (
            "components that are no cliques",
            "np.flatnonzero(whole & (sizes > 1))",
            "np.flatnonzero(sizes > 1)",
        ),
    ),
    *seeded(
        f"{FOLDER}/probability_law.py",
        f"{LAW}test_density_cdf_and_variance_by_quadrature",
        ("density of the other slope", "(1.0 - 1.0 / self.ratio)", "(1.0 - self.ratio)"),
        ("variance without its half", "/ (2.0 * math.pi)", "/ math.pi"),
    ),
    *seeded(
        f"{FOLDER}/probability_law.py",
        f"{LAW}test_distance_against_scipy",
        ("distance from one side", "for below in (False, True)", "for below in (False,)"),
        ("shares in single precision", "right=not below).double()", "right=not below).float()"),
    ),
    *seeded(
        f"{FOLDER}/mean_field.py",
        f"{LAW}test_predicted_variances_of_digits",
        ("angle of the other side", "c * (math.pi - math.acos(c))", "c * math.acos(c)"),
        ("biases forgotten", "total = s_w * q + s_b", "total = s_w * q"),
    ),
    *seeded(
        f"{FOLDER}/score_moments.py",
        f"{LAW}test_moments_by_brute_force",
        (
            "pairs of a row with itself",
            "(self.first.square() - self.second)",
            "(self.first.square())",
        ),
        ("batches not added", "[a + b for a, b in", "[b for a, b in"),
    ),
    *seeded(
        "analysis/rectified_fits.py",
        f"{FITS}test_rectified_against_an_optimiser",
        ("zeros that pull as ones", "- zeros * hazard", "- ones * hazard"),
        ("scale of the moments", "4.0 * count * square", "2.0 * count * square"),
    ),
    *seeded(
        "analysis/rectified_fits.py",
        f"{FITS}test_hurdle_truncated_against_an_optimiser",
        ("mass below zero kept", "- torch.special.log_ndtr(k)) + inside", ") + inside"),
    ),
    *seeded(
        "analysis/rectified_fits.py",
        f"{FITS}test_hurdle_folded_against_an_optimiser",
        ("kurtosis of another law", "< 3.0 * second.square()", "< 1.8 * second.square()"),
    ),
    *seeded(
        f"{FOLDER}/hyperplanes.py",
        f"{REPORTS}test_hyperplanes_of_a_new_layer",
        ("bound of a standard deviation", "math.sqrt(3.0 / rows", "math.sqrt(1.0 / rows"),
    ),
    *seeded(
        f"{FOLDER}/hyperplanes.py",
        f"{REPORTS}test_sign_agreement_is_the_papers_79_percent",
        ("bias of the bits forgotten", "(f > 0).sum(1) + 1.0", "(f > 0).sum(1) + 9.0"),
    ),
    *seeded(
        f"{FOLDER}/pattern_neighbours.py",
        f"{REPORTS}test_neighbours_by_brute_force",
        ("a row its own neighbour", "keys[own - at.start, own] = ", "keys[0, 0] = "),
        (
            "numbers of shuffled rows",
            "indices.append(place[found % rows])",
            "indices.append(found % rows)",
        ),
    ),
    *seeded(
        f"{FOLDER}/normalisation.py",
        f"{REPORTS}test_normalisation_report_on_digits",
        ("a tenth of the statistics", "norm.momentum = 1.0", "norm.momentum = 0.1"),
        ("units not centred", "-h.mean(0) * scale", "0.0 * h.mean(0) * scale"),
    ),
    *seeded(
        f"{FOLDER}/adversarial.py",
        f"{REPORTS}test_noise_has_the_length_of_the_attack",
        ("noise of another length", "/ math.sqrt(clean[0].numel())", "/ clean[0].numel()"),
    ),
    *seeded(
        f"{FOLDER}/adversarial.py",
        f"{REPORTS}test_attack_and_its_distances",
        ("an image beside itself", "order.roll(1)", "order"),
        ("gradient down", "+ size * gradient.sign()", "- size * gradient.sign()"),
    ),
]
