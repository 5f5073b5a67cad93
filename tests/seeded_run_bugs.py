"""Bugs to seed in densities, runs and checkpoints; see `seeded_bugs`."""

from seeded_bugs import seeded

__all__ = ["RUN_BUGS"]

KERNELS = "inference/dirichlet/"
JOINT = f"{KERNELS}test_state.py"
SEEDS = (
    "inference/test_gibbs_chains.py::test_a_prefix_of_the_chains_does_not_depend_on_the_rest"
    " inference/test_gibbs_chains.py"
    "::test_chain_one_of_seed_zero_is_not_chain_zero_of_seed_one"
)
ROWS = (
    "inference/test_gibbs_chains.py::test_thinning_and_warm_up_are_rows_of_the_same_chain"
    " inference/test_gibbs_chains.py"
    "::test_the_draws_are_the_same_whether_the_warm_up_is_kept_or_not"
)
START = "inference/test_gibbs_chains.py::test_the_likelier_start_wins_and_is_named"
RUN_CHECKPOINTS = "inference/test_run_checkpoints.py"
RESUMED = RUN_CHECKPOINTS + "::test_a_signal_commits_and_the_run_goes_on_with_the_same_bits"
FULL = RUN_CHECKPOINTS + "::test_a_full_disk_leaves_the_last_commit"
FLUSHED = RUN_CHECKPOINTS + "::test_a_file_is_on_the_disk_before_it_is_in_place"
OTHER = RUN_CHECKPOINTS + "::test_another_model_or_other_data"
DAMAGE = "inference/test_run_damage.py"

DENSITIES = [
    *seeded(
        f"{KERNELS}state.py",
        JOINT,
        ("volume of the coordinates missing", " - n * problem.log_volume", ""),
        ("log Gamma(n_k) dropped", " + torch.lgamma(sizes).sum()", ""),
        ("log Gamma(alpha + N) dropped", " - torch.lgamma(alpha + n)", ""),
        (
            "prior of s dropped",
            "prior + problem.scale_factor.log_prob(state.scale_factor)",
            "prior",
        ),
        ("labels in int8", "return torch.int16 if", "return torch.int8 if"),
        ("labels wrap at 2^15", "num_points <= 2**15", "num_points <= 2**16"),
    ),
    *seeded(
        f"{KERNELS}conjugate.py",
        f"{JOINT}::test_log_joint_of_every_partition",
        (
            "df before and after swapped",
            "before * _log_det_prior(problem, scale_factor)\n    log_m = log_m - after",
            "after * _log_det_prior(problem, scale_factor)\n    log_m = log_m - before",
        ),
    ),
    *seeded(
        "distributions/component_statistics.py",
        f"{JOINT}::test_log_joint_of_every_partition",
        (
            "float32 sums",
            "(x[rows] - mean for rows in pieces)",
            "((x[rows] - mean).float().double() for rows in pieces)",
        ),
    ),
    *seeded(
        "distributions/normal_inverse_wishart.py",
        "distributions/test_normal_inverse_wishart.py::test_reference_table",
        (
            "predictive without 1/kappa",
            "((kappa + 1.0) / (kappa * df)).sqrt()",
            "(1.0 / df).sqrt()",
        ),
        (
            "df of the prior after the data",
            "0.5 * (df + new.size) * self._log_det",
            "0.5 * df * self._log_det",
        ),
    ),
    *seeded(
        "distributions/chinese_restaurant_process.py",
        "distributions/test_partition_laws.py::test_partitions_sum_to_one",
        (
            "sizes dropped from log p(z)",
            "alpha.log() + log_sizes - log_gamma_ratio",
            "alpha.log() - log_gamma_ratio",
        ),
    ),
    *seeded(
        "distributions/student_t_mixture.py",
        "distributions/test_student_t_mixture.py::test_density_and_marginals",
        (
            "marginals by the Cholesky diagonal",
            "torch.linalg.vector_norm(self.scale_tril, dim=-1)",
            "self.scale_tril.diagonal(dim1=-2, dim2=-1)",
        ),
    ),
    *seeded(
        "distributions/posterior_predictive.py",
        "distributions/test_student_t_mixture.py::test_posterior_predictive",
        (
            "logarithms averaged",
            "total = torch.logaddexp(total, log_prob + weight.log())",
            "total = total + weight * log_prob",
        ),
    ),
    *seeded(
        "models/dpgmm.py",
        "models/test_dpgmm.py::test_mixture_of_one_state",
        (
            "alpha on every component",
            "torch.cat([sizes, sizes.new_tensor([alpha])]) / (sizes.sum() + alpha)",
            "torch.cat([sizes + alpha, sizes.new_tensor([alpha])])\n"
            "        weights = weights / weights.sum()",
        ),
    ),
    *seeded(
        "analysis/information.py",
        "analysis/test_information.py::test_relative_entropy_on_the_line",
        (
            "relative entropy without the new component",
            "float((law.weights * each).sum())",
            "float((law.weights * each)[: max(1, len(each) - 1)].sum())",
        ),
        (
            "entropy of the weights dropped",
            "(w * (w.log() - _component_entropies(law)))",
            "(-w * _component_entropies(law))",
        ),
    ),
    *seeded(
        f"{KERNELS}components.py",
        f"{KERNELS}test_components.py::test_components_follow_the_update_point_by_point",
        ("weights without alpha, export", 'float(sites["alpha"]) + len(z)', "len(z)"),
    ),
]

RUNS = [
    *seeded(
        "inference/randomness.py",
        SEEDS,
        (
            "chain c of seed s is chain 0 of s + c",
            "SeedSequence(seed).spawn(count)",
            "[SeedSequence(seed + c) for c in range(count)]",
        ),
        (
            "one seed for all chains",
            "return SeedSequence(seed).spawn(count)",
            "return SeedSequence(seed).spawn(1) * count",
        ),
    ),
    *seeded(
        "inference/chains/plan.py",
        ROWS,
        (
            "warm-up stored",
            '"warmup" if self.save_warmup else None',
            '"warmup" if self.save_warmup else "draws"',
        ),
        ("last of the warm-up dropped", "if position <= self.tune:", "if position < self.tune:"),
        (
            "thinning off by one",
            "(position - self.tune) % self.thin == 0",
            "(position - self.tune - 1) % self.thin == 0",
        ),
    ),
    *seeded(
        "inference/chains/gibbs_chain.py",
        START,
        ("the unlikeliest start wins", "winner = max(finite", "winner = min(finite"),
    ),
    *seeded(
        "inference/chains/gibbs_chain.py",
        RESUMED,
        (
            "state of the generator not saved",
            "= generator.get_state()",
            "= Generator().get_state()",
        ),
        (
            "generator not put back",
            "generator.set_state(tensors.pop(GENERATOR))",
            "tensors.pop(GENERATOR)",
        ),
    ),
    *seeded(
        "inference/checkpoints/run_files.py",
        DAMAGE,
        (
            "checksum of a manifest not verified",
            'if sealed["sha256"] != _digest(_canonical(content)):',
            "if False:",
        ),
        ("checksum of arrays not verified", "if digest.hexdigest() != entry.sha256:", "if False:"),
        ("checksum not verified at reading", "if _digest(data) != entry.sha256:", "if False:"),
        ("bytes beyond the commit kept", "os.truncate(path, entry.bytes)", "pass"),
    ),
    *seeded(
        "inference/checkpoints/chain_folder.py",
        FULL,
        (
            "manifest committed before the state",
            "        write_json(self._manifest(generation), {**self._head(), **new._asdict()})\n",
            "        (self.path / state.file).unlink()\n"
            "        write_json(self._manifest(generation), {**self._head(), **new._asdict()})\n"
            '        write_arrays(self._file("state", generation), batch.state, 0)\n',
        ),
    ),
    *seeded(
        "inference/checkpoints/chain_folder.py",
        DAMAGE,
        (
            "one generation of the state kept",
            "if dropped and last and dropped.state != last.state:\n"
            "            (self.path / dropped",
            "if last:\n            (self.path / last",
        ),
    ),
    *seeded(
        "inference/atomic.py",
        f"{FULL} {FLUSHED}",
        (
            "written in place",
            "write_atomically(target, lambda part: _fill(part, data))",
            "_fill(target, data)",
        ),
        ("not on the disk before it is in place", "        _flush(part)\n", ""),
    ),
    *seeded(
        "inference/checkpoints/fingerprints.py",
        OTHER,
        (
            "data known by their shape",
            "hashlib.sha256(array.data).hexdigest()",
            "str(array.nbytes)",
        ),
    ),
]

RUN_BUGS = DENSITIES + RUNS
