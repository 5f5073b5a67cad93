"""End-of-run warnings, in words: divergences, chains that disagree, too few effective draws."""

import inspect
import warnings

import numpy as np
import xarray as xr

from probact.inference.arviz_bridge import convergence

__all__ = ["SamplingWarning", "announce", "complaints", "warn_about"]

MAX_RHAT = 1.01  # Vehtari et al. 2021
MIN_ESS_PER_CHAIN = 100  # Vehtari et al. 2021: 400 for four chains
MIN_DRAWS = 4  # two per half chain; below, R-hat and ESS do not exist


class SamplingWarning(UserWarning):
    """The draws exist but should not be trusted yet, or are not what the caller may expect.

    >>> issubclass(SamplingWarning, UserWarning)
    True
    """


def warn_about(posterior: xr.Dataset, stats: xr.Dataset) -> None:
    """One `SamplingWarning` per complaint."""
    for text in complaints(posterior, stats):
        announce(text)


def announce(text: str) -> None:
    """A `SamplingWarning` that points at the caller outside of this package.

    >>> with warnings.catch_warnings(record=True, action="always") as caught:
    ...     announce("run longer")
    >>> str(caught[0].message)
    'run longer'
    """
    level, frame = 1, inspect.currentframe()
    while frame and frame.f_globals.get("__name__", "").startswith("probact."):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, SamplingWarning, stacklevel=level)


def complaints(posterior: xr.Dataset, stats: xr.Dataset) -> list[str]:
    """What is wrong with a run, in words.

    Labels (integers per point) are not judged. Beside them, a variable that never moves in any
    chain is no fault: clusters far apart have the same number and shares in all draws.

    >>> run = xr.Dataset({"mu": (("chain", "draw"), np.zeros((1, 2)))})
    >>> complaints(run, xr.Dataset())
    ['2 draws per chain are too few to judge convergence; raise draws']
    """
    labelled = any(v.dtype.kind in "iu" and v.ndim > 2 for v in posterior.data_vars.values())
    return _divergences(stats) + _disagreements(_judged(posterior), labelled)


def _judged(posterior: xr.Dataset) -> xr.Dataset:
    """The variables for which R-hat means something: all but integers per point."""
    names = [name for name, v in posterior.data_vars.items() if v.dtype.kind == "f" or v.ndim == 2]
    return posterior[names]


def _divergences(stats: xr.Dataset) -> list[str]:
    """Complaint about diverging draws."""
    count = int(stats["diverging"].sum()) if "diverging" in stats else 0
    if not count:
        return []
    return [
        f"{count} of {stats['diverging'].size} draws diverged: part of the posterior is missed;"
        " reparameterise the model, or pass kernel= with a higher target_accept_prob"
    ]


def _disagreements(posterior: xr.Dataset, labelled: bool) -> list[str]:
    """Complaints about constant variables, R-hat and effective sample size."""
    chains, size = posterior.sizes.get("chain", 0), posterior.sizes.get("draw", 0)
    if not posterior.data_vars:
        return []
    if size < MIN_DRAWS:
        return [f"{size} draws per chain are too few to judge convergence; raise draws"]
    moving = [name for name in posterior.data_vars if _moves(posterior[name])]
    still = [posterior[name] for name in posterior.data_vars if name not in moving]
    texts = [_stuck(variable) for variable in still if not _may_be_constant(variable, labelled)]
    if not moving:
        return texts
    rhat, ess = convergence(posterior[moving].astype(float))
    for name in moving:
        worst, fewest = _extreme(rhat[name], np.nanmax), _extreme(ess[name], np.nanmin)
        if chains > 1 and worst > MAX_RHAT:
            texts.append(f"chains disagree on {name}: R-hat {_above_one(worst)}; run longer")
        if fewest < MIN_ESS_PER_CHAIN * chains:
            wanted = MIN_ESS_PER_CHAIN * chains
            texts.append(
                f"{name} has low ESS: its draws are worth {fewest:.0f} independent ones,"
                f" {wanted} are wanted; run longer"
            )
    return texts


def _moves(variable: xr.DataArray) -> bool:
    """True when some chain takes more than one value of the variable."""
    return bool((variable.max("draw") > variable.min("draw")).any())


def _may_be_constant(variable: xr.DataArray, labelled: bool) -> bool:
    """Whether it is no news that all draws of all chains are the same."""
    return labelled and bool((variable.max() == variable.min()).all())


def _stuck(variable: xr.DataArray) -> str:
    """Complaint about a variable that no chain ever moved."""
    if bool((variable.max("chain") > variable.min("chain")).any()):
        return f"chains are stuck at different values of {variable.name}; run longer"
    return f"{variable.name} is constant: every draw of every chain is the same"


def _extreme(values: xr.DataArray, reduce: np.ufunc | object) -> float:
    """Worst finite entry; entries that never move have no R-hat and are passed over."""
    array = np.asarray(values, dtype=float)
    finite = array[np.isfinite(array)]
    return float(reduce(finite)) if finite.size else float("nan")  # type: ignore[operator]


def _above_one(rhat: float) -> str:
    """R-hat with as many digits as it takes to show it above the bound."""
    return f"{rhat:.2f}" if rhat >= 1.015 else f"{rhat:.3f}"
