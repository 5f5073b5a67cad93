"""When a training is over, and which of its epochs was the best."""

from collections.abc import Sequence

__all__ = ["best_epoch", "is_over"]


def best_epoch(validation_losses: Sequence[float]) -> int | None:
    """The first epoch of the least validation loss; None without any.

    >>> best_epoch([2.0, 1.0, 1.0])
    1
    """
    return validation_losses.index(min(validation_losses)) if validation_losses else None


def is_over(
    done: int,
    validation_losses: Sequence[float],
    epochs: int,
    patience: int | None,
    warm_up: int,
) -> bool:
    """Whether all epochs are done, or the last `patience` ones brought no improvement.

    An epoch of the warm-up, the first `warm_up` ones, is never counted.

    >>> [is_over(n, [2.0, 1.0, 3.0, 1.0][:n], 10, 2, 0) for n in (2, 3, 4)]
    [False, False, True]
    """
    best = best_epoch(validation_losses)
    if patience is None or best is None:
        return done >= epochs
    waited = done - 1 - max(best, warm_up - 1)
    return done >= epochs or waited >= patience
