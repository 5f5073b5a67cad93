"""Bugs to seed in the training loop and its checkpoints; see `seeded_bugs`."""

from seeded_bugs import seeded

__all__ = ["FIT_BUGS"]

TRAINING = "inference/training/"
LOOP = "inference/test_training.py::"
KEPT = "inference/test_fit_checkpoints.py::"
GOES_ON = f"{KEPT}test_an_error_or_interrupt_keeps_the_last_epoch"
PATIENCE = f"{LOOP}test_patience_and_the_best_epoch"
NOISE = f"{LOOP}test_validation_uses_the_same_random_numbers_every_time"
STARTED = f"{KEPT}test_a_start_that_was_committed_does_not_depend_on_the_next_one"
SCHEDULED = f"{KEPT}test_schedules_and_optimisers_go_on"
FAILING = "inference/test_training_failures.py::test_what_is_not_finite_does_not_enter"

FIT_BUGS = [
    *seeded(
        f"{TRAINING}random_states.py",
        GOES_ON,
        (
            "order of the rows not put back",
            '    for generator, state in zip(own, states["own"], strict=True):\n'
            "        generator.set_state(state)\n",
            "",
        ),
        ("torch's stream not put back", 'torch.random.set_rng_state(states["torch"])', "pass"),
    ),
    *seeded(
        f"{TRAINING}stopping.py",
        PATIENCE,
        ("an epoch too many without improvement", "waited >= patience", "waited > patience"),
        ("look-ahead an epoch late", "max(best, warm_up - 1)", "max(best, warm_up)"),
        ("look-ahead within the warm-up", "max(best, warm_up - 1)", "best"),
    ),
    *seeded(
        f"{TRAINING}loop.py",
        PATIENCE,
        (
            "best parameters not restored",
            "        put_back(training.objective.module, history.best)\n",
            "        pass\n",
        ),
    ),
    *seeded(
        f"{TRAINING}snapshots.py",
        PATIENCE,
        (
            "best buffers not restored",
            "{**dict(module.named_parameters()), **dict(module.named_buffers())}",
            "dict(module.named_parameters())",
        ),
    ),
    *seeded(
        f"{TRAINING}loop.py",
        NOISE,
        (
            "validation on the training's stream",
            "with seeded(stream), torch.no_grad()",
            "with torch.no_grad()",
        ),
    ),
    *seeded(
        f"{TRAINING}loop.py",
        f"{LOOP}test_the_objective_is_told_the_epoch_and_validation_that_there_is_none",
        (
            "validation in training mode",
            "torch.no_grad(), in_evaluation(training.objective.module)",
            "torch.no_grad()",
        ),
        (
            "validation with the weight of the epoch",
            "_loss(training, batch, None, where)",
            "_loss(training, batch, epoch, where)",
        ),
    ),
    *seeded(
        f"{TRAINING}loop.py",
        f"{FAILING}_the_parameters",
        (
            "gradients not checked",
            "if not math.isfinite(test) and not _all_finite(gradients):",
            "if False:",
        ),
    ),
    *seeded(
        f"{TRAINING}objectives.py",
        f"{LOOP}test_losses_are_means_over_rows",
        (
            "a small batch weighs as much",
            "return (num_rows(batch) or 1) if self.per_row else 1",
            "return 1",
        ),
    ),
    *seeded(
        f"{TRAINING}driver.py",
        SCHEDULED,
        ("schedule not put back", 'training.schedule.load_state_dict(states["schedule"])', "pass"),
        (
            "optimiser not put back",
            'training.optimiser.load_state_dict(states["optimizer"])',
            "pass",
        ),
    ),
    *seeded(
        f"{TRAINING}driver.py",
        STARTED,
        ("start not committed", "        if kept.progress is None:\n", "        if False:\n"),
    ),
    *seeded(
        f"{TRAINING}packing.py",
        GOES_ON,
        (
            "milestones counted as pairs",
            "Counter}[kind](table)",
            "(lambda t: Counter(t.items()))}[kind](table)",
        ),
    ),
    *seeded(
        f"{TRAINING}fit_folder.py",
        f"{KEPT}test_a_best_epoch_before_the_last_comes_back",
        ("best state taken for the last", "named[self._file(best).name]", "entry"),
    ),
]
