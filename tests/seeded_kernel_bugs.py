"""Bugs to seed in the kernels of partitions; see `seeded_bugs`."""

from seeded_bugs import seeded

__all__ = ["KERNEL_BUGS"]

KERNELS = "inference/dirichlet/"
EXACT = f"{KERNELS}test_collapsed_exact.py::test_invariance_over_all_partitions"
LABELS = f"{KERNELS}test_collapsed_sequences.py::test_labels_of_the_textbook_sampler"
SCAN = f"{KERNELS}test_collapsed_sequences.py::test_restricted_scan_and_its_probability"
ALPHA = f"{KERNELS}test_hyperparameters.py::test_alpha_follows_its_law"
SCALE = f"{KERNELS}test_hyperparameters.py::test_scale_factor_follows_its_law"
SLICE = f"{KERNELS}test_slice_gibbs.py::test_a_step_keeps_the_posterior"
DRAWN = f"{KERNELS}test_slice_gibbs.py::test_components_are_drawn_from_their_laws"
STICKS = f"{KERNELS}test_slice_gibbs.py::test_sticks_of_the_rest"
SPLIT = f"{KERNELS}test_split_merge.py::test_a_step_keeps_the_posterior"
FORCED = (
    f"{KERNELS}test_split_merge_at_length.py::test_a_forced_scan_begins_where_the_free_one_does"
)
MOVES = f"{KERNELS}test_split_merge_at_length.py::test_many_moves_keep_the_posterior"
MERGES = (
    f"{KERNELS}test_split_merge_at_length.py::test_merges_ask_how_probable_the_present_parts_are"
)
TABLES = f"{KERNELS}test_conjugate.py"

COLLAPSED = [
    *seeded(
        f"{KERNELS}blocked_sweep.py",
        EXACT,
        ("point not removed before scoring", "        if k == own:\n            continue\n", ""),
        ("own weight by n, not n - 1", "rules.table[n - 1] - 0.5", "rules.table[n] - 0.5"),
        (
            "half before log|S| of the own component missing",
            "0.5 * clusters.log_dets[own] + gain",
            "clusters.log_dets[own] + gain",
        ),
        ("df + 1", "half = 0.5 * (df + n + 1)", "half = 0.5 * (df + n + 2)"),
    ),
    *seeded(
        f"{KERNELS}blocked.py",
        EXACT,
        (
            "alpha x 1.15",
            "constant = math.log(concentration)",
            "constant = math.log(1.15 * concentration)",
        ),
        (
            "predictive scale (kappa + 1)/kappa omitted",
            "0.5 * (d - dfs - 1) * np.log(kappas / (kappas + 1)) + 0.5 * np.log(kappas)",
            "0.5 * np.log(kappas)",
        ),
    ),
    *seeded(
        f"{KERNELS}blocked_sweep.py",
        LABELS,
        ("wrong sign of the correction to r", "r[j] -= sign / factor", "r[j] += sign / factor"),
        ("log|L| kept from before a move", "clusters.log_dets[k] += math.log(factor)", "pass"),
    ),
    *seeded(
        f"{KERNELS}blocked_clusters.py",
        LABELS,
        (
            "stale count after a move",
            "clusters.sizes[k] += sign",
            "clusters.sizes[k] += max(sign, 0)",
        ),
        (
            "wrong sign of the rank-one term of S",
            "weight = sign * kappa / (kappa + sign)",
            "weight = kappa / (kappa + sign)",
        ),
    ),
    *seeded(
        f"{KERNELS}blocked_clusters.py",
        EXACT,
        (
            "data in float32",
            "part[j] = x[members[start + j]]",
            "part[j] = x[members[start + j]].astype(np.float32)",
        ),
    ),
    *seeded(
        f"{KERNELS}speculative.py",
        LABELS,
        (
            "wrong sign of the correction, on a device",
            "block.r[k] -= sign / factor * f * f",
            "block.r[k] += sign / factor * f * f",
        ),
        ("labels behind the first mover kept", "first += ahead\n", "first += ahead + 1\n"),
    ),
    *seeded(
        f"{KERNELS}diagonal.py",
        EXACT,
        (
            "log alpha dropped",
            "math.log(concentration) if concentration > 0",
            "0.0 if concentration > 0",
        ),
        ("scale omitted, diagonal", "constant - 0.5 * np.log((kappa + 1) / kappa)", "constant"),
    ),
    *seeded(
        f"{KERNELS}diagonal_sweep.py",
        LABELS,
        (
            "count not lowered, diagonal",
            "clusters.sizes[k] += sign",
            "clusters.sizes[k] += max(sign, 0)",
        ),
        (
            "mean moved before the scale",
            "gap = x[d] - clusters.means[k, d]\n        clusters.scales",
            "gap = kappa / (kappa + sign) * (x[d] - clusters.means[k, d])\n"
            "        clusters.scales",
        ),
    ),
    *seeded(
        f"{KERNELS}blocked_sweep.py",
        SCAN,
        (
            "probability not normalised",
            "work.weights[new] - best - math.log(total)",
            "work.weights[new] - best",
        ),
    ),
]

HYPERPARAMETERS = [
    *seeded(
        f"{KERNELS}hyperparameters.py",
        ALPHA,
        ("reversed Bernoulli", "(0 if extra else 1)", "(1 if extra else 0)"),
        ("eta ~ Beta(alpha + 1, N + 1)", "_gamma(n, generator))", "_gamma(n + 1, generator))"),
        (
            "odds with N + 1",
            "odds = (shape + k - 1) / (n * rate)",
            "odds = (shape + k - 1) / ((n + 1) * rate)",
        ),
        (
            "eta ~ Beta(alpha, N)",
            "float(state.alpha) + 1, generator",
            "float(state.alpha), generator",
        ),
    ),
    *seeded(
        f"{KERNELS}hyperparameters.py",
        SCALE,
        ("Jacobian of log s missing", "prior.log_prob(s) + log_s)", "prior.log_prob(s))"),
        (
            "interval not stepped out",
            "below = int(_MOST_STEPS * _uniform(generator))",
            "below = 0",
        ),
        (
            "df without n_k",
            "half = 0.5 * (df + sizes.cpu().double().unsqueeze(1))",
            "half = 0.5 * df * torch.ones(k, 1)",
        ),
    ),
    *seeded(
        f"{KERNELS}collapsed_gibbs.py",
        f"{KERNELS}test_collapsed_sequences.py"
        "::test_steps_are_sweeps_and_then_the_hyper_parameters",
        (
            "hyper-parameters never drawn",
            "resample_hyperparameters(state._replace(z=z, counts=counts), generator)",
            "state._replace(z=z, counts=counts)",
        ),
    ),
]

SLICES = [
    *seeded(
        f"{KERNELS}slice_gibbs.py",
        SLICE,
        (
            "slices not used",
            "logits.masked_fill_(weights[:k].unsqueeze(1) < floor, -math.inf)",
            "pass",
        ),
        (
            "weights without alpha",
            "alpha.reshape(1).to(size)]), generator",
            "size.new_ones(1)]), generator",
        ),
        (
            "occupied components from the prior",
            "_with_empty(clusters, len(sticks)), state",
            "Statistics(*(0 * v for v in _with_empty(clusters, len(sticks)))), state",
        ),
    ),
    *seeded(
        f"{KERNELS}slice_gibbs.py",
        STICKS,
        (
            "sticks without alpha",
            "torch.log1p(-uniform(rest, _BATCH, generator)) / alpha",
            "torch.log1p(-uniform(rest, _BATCH, generator))",
        ),
    ),
    *seeded(
        f"{KERNELS}slice_components.py",
        DRAWN,
        (
            "Bartlett's chi-squares of equal df",
            "laws.df.unsqueeze(1) - j",
            "laws.df.unsqueeze(1) - 0 * j",
        ),
    ),
]

SPLITS = [
    *seeded(
        f"{KERNELS}split_merge.py",
        SPLIT,
        ("odds of the anchors dropped", "- log_q + merge - split", "- log_q"),
        ("log q dropped", "- log_q + merge - split", "+ merge - split"),
    ),
    *seeded(
        f"{KERNELS}split_merge.py",
        MERGES,
        (
            "merge by the q of another split",
            "move.scans, move.generator, parts)",
            "move.scans, move.generator)",
        ),
    ),
    *seeded(
        f"{KERNELS}split_merge.py",
        MOVES,
        (
            "partner of a split as if chosen evenly",
            "float(log_partner_law(log_merge_gain(after, c))[-1])",
            "-math.log(len(sizes))",
        ),
        (
            "K before the split",
            "log_partner - math.log(clusters)",
            "log_partner - math.log(clusters - 1)",
        ),
    ),
    *seeded(
        f"{KERNELS}blocked.py",
        FORCED,
        (
            "launch forced to the present parts",
            "order, uniforms[0], None), 2",
            "order, uniforms[0], forced), 2",
        ),
    ),
    *seeded(
        f"{KERNELS}collapsed_sweep.py",
        FORCED,
        (
            "launch forced, diagonal",
            "draw_in_order(rules, x, z, order, u).z",
            "draw_in_order(rules, x, z, order, u, forced).z",
        ),
    ),
    *seeded(
        f"{KERNELS}cluster_table.py",
        TABLES,
        (
            "log Gamma(n) dropped from the gain",
            "gain += gammaln(both.sizes) - gammaln(sizes) - gammaln(sizes[k])",
            "pass",
        ),
        ("alpha dropped from the gain", "gain -= table.log_alpha", "pass"),
        ("label of the last cluster lost", "    if a == last:\n        number[b] = b\n", ""),
    ),
    *seeded(
        f"{KERNELS}cluster_table.py",
        SPLIT,
        ("alpha dropped from the gain of a pair", "+ gammas - log_alpha", "+ gammas"),
    ),
    *seeded(
        f"{KERNELS}marginal_likelihood.py",
        TABLES,
        (
            "df without n in log m",
            "0.5 * (prior.df + n) * _log_dets",
            "0.5 * prior.df * _log_dets",
        ),
        (
            "kappa left out of the gap of the means",
            "np.sqrt(prior.kappa * n / (prior.kappa + n))",
            "np.sqrt(n)",
        ),
    ),
]

KERNEL_BUGS = COLLAPSED + HYPERPARAMETERS + SLICES + SPLITS
