"""Bugs to seed in the draws and readings of the Polya-Gamma law; see `seeded_bugs`."""

from seeded_bugs import seeded

__all__ = ["POLYA_BUGS"]

LAW = "distributions/test_polya_gamma.py::"

POLYA_BUGS = [
    *seeded(
        "distributions/polya_compiled/draws.py",
        f"{LAW}test_draws_follow_the_law",
        (
            "loop: right part from zero",
            "x = _CUT + _exponential(state) / _rate(half)",
            "x = _exponential(state) / _rate(half)",
        ),
        ("loop: left part untilted", "math.exp(-0.5 * half * half * x)", "1.0"),
        ("loop: one root of two", "_uniform(state) * (mean + x) > mean", "False"),
        ("loop: nothing kept below the cut", "        if x < _CUT:\n", "        if True:\n"),
        ("loop: sides of h for sides of z", "half = 0.5 * abs(z)", "half = abs(z)"),
        ("loop: exponential of another rate", "e * e <= 2.0 / _CUT", "e * e <= 1.0 / _CUT"),
    ),
    *seeded(
        "distributions/polya_compiled/draws.py",
        f"{LAW}test_masses_of_the_right_part_fall",
        ("loop: far half left out", "(near + far))", "near)"),
    ),
    *seeded(
        "distributions/polya_compiled/draws.py",
        f"{LAW}test_acceptance_is_the_density_over_its_first_term",
        ("loop: series of one term", "1.0 - q2 * (3.0 -", "1.0 - q2 * (0.0 -"),
    ),
    *seeded(
        "distributions/polya_gamma_draws.py",
        f"{LAW}test_draws_follow_the_law",
        (
            "tensors: a side chosen anew",
            "torch.where(proposed, _uniforms(half, generator) < mass, is_right)",
            "_uniforms(half, generator) < mass",
        ),
        (
            "tensors: left part untilted",
            "(e * e <= 2.0 / _CUT * other) & tilted",
            "tilted | ~tilted",
        ),
        ("tensors: nothing kept below the cut", "return x, x < _CUT", "return x, x > 0.0"),
        ("tensors: far half left out", "(near + far))", "near)"),
    ),
    *seeded(
        "distributions/polya_gamma_draws.py",
        f"{LAW}test_acceptance_is_the_density_over_its_first_term",
        ("tensors: series of one term", "1.0 - q2 * (3.0 -", "1.0 - q2 * (0.0 -"),
    ),
    *seeded(
        "distributions/polya_gamma.py",
        f"{LAW}test_moments_against_the_laplace_transform",
        ("variance of h for z", "(16.0 * safe**3)", "(4.0 * safe**3)"),
        ("sech not squared", "safe * sech.square()", "safe * sech"),
        ("series one term short", "17 / 840, ", ""),
    ),
    *seeded(
        "distributions/polya_gamma.py",
        f"{LAW}test_density_and_cdf_against_the_inverse_laplace_transform",
        ("second term lost", "for n in range(1, _TERMS + 1):", "for n in range(2, _TERMS + 1):"),
        ("reflected term of the cdf", "sign * (near + far.exp())", "sign * near"),
    ),
    *seeded(
        "distributions/polya_gamma.py",
        f"{LAW}test_gradients_against_differences",
        (
            "no gradient at a tilt of zero",
            "safe = torch.where(half == 0, 1.0, half)",
            "safe = torch.where(half == 0, half, half)",
        ),
    ),
]
