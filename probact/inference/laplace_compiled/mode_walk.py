"""Metropolis updates of the mode of an asymmetric Laplace law, its rates summed out, compiled.

Symbols: x (K, n) sorted weights; c (K, n + 1) sums of the first 0, ..., n of them; G (K,) overlap,
see `rate_draw`; prior gamma laws of the rates with shapes a and rates b; n A and n B sums of
distances above and below the mode m.

    log p(m | G, x) = -(a_R + n) log(b_R + n A + G) - (a_L + n) log(b_L + n B + G) + constant
"""

from typing import Any

import numpy as np

from probact.compiled import compiled

__all__ = ["mode_walk"]


def _mode_score(row: Any, sums: Any, m: float, overlap: float, prior: Any) -> float:
    """log p(m | G, x) of one class; prior (4,) holds a_R, b_R, a_L, b_L."""
    n = len(row)
    i = np.searchsorted(row, m)
    below = max(i * m - sums[i], 0.0)
    above = max(sums[n] - sums[i] - (n - i) * m, 0.0)
    right = (prior[0] + n) * np.log(prior[1] + above + overlap)
    left = (prior[2] + n) * np.log(prior[3] + below + overlap)
    score: float = -right - left
    return score


def _mode_walk(
    x: Any,
    sums: Any,
    loc: Any,
    overlap: Any,
    prior: Any,
    low: Any,
    high: Any,
    steps: Any,
    levels: Any,
) -> None:
    """Change loc (K,) in place by steps (K, updates), each taken or not by its level in (0, 1].

    prior (K, 4).
    """
    for k in range(len(x)):
        m = loc[k]
        score = mode_score(x[k], sums[k], m, overlap[k], prior[k])
        for j in range(steps.shape[1]):
            proposal = m + steps[k, j]
            if proposal < low[k] or proposal > high[k]:
                continue
            new = mode_score(x[k], sums[k], proposal, overlap[k], prior[k])
            if np.log(levels[k, j]) < new - score:
                m, score = proposal, new
        loc[k] = m


mode_score = compiled(_mode_score)
mode_walk = compiled(_mode_walk)
