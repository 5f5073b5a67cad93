"""One sweep over the parameters of asymmetric Laplace laws, given their weights."""

from torch import Generator, Tensor

from probact.distributions.laplace_hyperprior import LaplaceHyperprior, LaplaceParameters
from probact.inference.laplace.mode_draw import draw_mode
from probact.inference.laplace.mode_walk import walk_mode
from probact.inference.laplace.rate_draw import draw_overlap, draw_rates
from probact.inference.laplace.rows import SortedRows, excesses, sort_weights

__all__ = ["draw_parameters", "sweep_parameters"]


def draw_parameters(
    weights: Tensor,
    current: LaplaceParameters,
    hyperprior: LaplaceHyperprior,
    generator: Generator,
    form: str = "auto",
) -> LaplaceParameters:
    """Mode, rates, and mode given the rates, for every row of weights (K, n).

    A step of a Markov chain whose stationary law is the posterior of the parameters given the
    weights. Rows are sorted afresh: for weights that change. form as in `draw_mode`.
    """
    return sweep_parameters(sort_weights(weights), current, hyperprior, generator, form)


def sweep_parameters(
    rows: SortedRows,
    current: LaplaceParameters,
    hyperprior: LaplaceHyperprior,
    generator: Generator,
    form: str = "auto",
    overlap: Tensor | None = None,
) -> LaplaceParameters:
    """`draw_parameters` for rows that were sorted before; with overlap, a draw of G, from that."""
    n, prior = rows.num_weights, hyperprior
    if overlap is None:
        overlap = draw_overlap(n, current.rate_right, current.rate_left, generator)
    loc = walk_mode(rows, current.loc, overlap, prior, generator, form)
    right, left = draw_rates(excesses(rows, loc), n, prior, overlap, generator)
    loc = draw_mode(rows, right, left, prior.low, prior.high, generator, form)
    return LaplaceParameters(loc, right, left)
