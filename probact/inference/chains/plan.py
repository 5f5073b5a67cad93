"""How many steps a chain makes and which of them it keeps.

Symbols: position = steps made so far, in [0, tune + draws * thin]; an iteration is one step of the
warm-up, or the `thin` steps of one draw.
"""

from typing import NamedTuple

__all__ = ["Plan"]


class Plan(NamedTuple):
    """The schedule of every chain of a run.

    >>> Plan(draws=10, tune=5, thin=2, save_warmup=False).steps
    25
    """

    draws: int
    tune: int
    thin: int
    save_warmup: bool

    @property
    def steps(self) -> int:
        """Steps of a whole chain."""
        return self.tune + self.draws * self.thin

    @property
    def iterations(self) -> int:
        """Iterations of a whole chain."""
        return self.tune + self.draws

    def iteration(self, position: int) -> int:
        """Iterations finished after `position` steps.

        >>> Plan(draws=10, tune=5, thin=2, save_warmup=False).iteration(8)
        6
        """
        return min(position, self.tune) + max(0, position - self.tune) // self.thin

    def rows(self, position: int) -> dict[str, int]:
        """Rows kept after `position` steps, of the warm-up and of the draws.

        >>> Plan(draws=10, tune=5, thin=2, save_warmup=False).rows(8)
        {'warmup': 0, 'draws': 1}
        """
        warmup = min(position, self.tune) if self.save_warmup else 0
        return {"warmup": warmup, "draws": max(0, position - self.tune) // self.thin}

    def kept_at(self, position: int) -> str | None:
        """Where the step that ends at `position` is kept: "warmup", "draws" or nowhere.

        >>> Plan(draws=10, tune=5, thin=2, save_warmup=False).kept_at(7)
        'draws'
        """
        if position <= self.tune:
            return "warmup" if self.save_warmup else None
        return "draws" if (position - self.tune) % self.thin == 0 else None
