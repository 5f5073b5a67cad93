"""Sorted rows and draws of the mode: against sums, grids, and all segments."""

import numpy as np
import pytest
import statcheck
import torch
from laplace_oracle import brute_mode_law, columns

from probact.distributions.laplace_hyperprior import LaplaceParameters
from probact.inference.laplace.mode_draw import draw_mode, mode_density
from probact.inference.laplace.rows import excesses, sort_weights
from probact.inference.laplace_compiled.mode_scan import mode_scan

CASES = {  # row, right rate, left rate, low, high
    "generic": ([0.3, -1.2, 0.9, 2.5, -0.4, 0.1, 1.4], 0.9, 0.4, -3.0, 4.0),
    "ties": ([1.0, 0.0, 1.0, 0.0, 0.0, 2.0], 0.5, 0.7, -1.0, 3.0),
    "flat top": ([0.0, 1.0, 2.0, 4.0], 1.0, 1.0, -2.0, 6.0),
    "bounds inside the data": ([0.3, -1.2, 0.9, 2.5, -0.4, 0.1, 1.4], 0.9, 0.4, 0.2, 1.0),
    "all data below": ([-3.0, -2.0, -2.5], 0.3, 0.2, -1.0, 2.0),
    "all data above": ([3.0, 2.0, 2.5], 0.3, 0.2, -1.0, 1.0),
    "steep": ([0.3, -1.2, 0.9], 40.0, 15.0, -3.0, 4.0),
}


def test_excesses_are_sums(generator):
    weights = torch.randn(5, 40, generator=generator) + 1e3
    weights[2, ::3] = weights[2, 0]
    rows = sort_weights(weights)
    locs = weights.double().median(1).values + torch.tensor([0.0, 0.3, 0.0, -9.0, 9.0])
    above, below = excesses(rows, locs)
    offset = weights.double() - locs[:, None]
    assert torch.allclose(above, offset.clamp(min=0.0).sum(1), rtol=1e-12, atol=1e-12)
    assert torch.allclose(below, -offset.clamp(max=0.0).sum(1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", ["compiled", "tensor"])
@pytest.mark.parametrize("case", CASES)
def test_mode_against_a_grid(case, form, budget, generator):
    row, right, left, low, high = CASES[case]
    count = 20_000
    rows = sort_weights(torch.tensor([row], dtype=torch.float64).expand(count, -1))
    drawn = draw_mode(rows, *columns(right, left, low, high, num=count), generator, form).numpy()
    grid, cdf = brute_mode_law(row, right, left, low, high)
    assert low <= drawn.min()
    assert drawn.max() <= high
    p = statcheck.dkw_pvalue(drawn, lambda m: np.interp(m, grid, cdf))
    budget.check(f"laplace mode {case} {form}", p)


@pytest.mark.parametrize("case", CASES)
def test_the_density_of_the_mode(case):
    row, right, left, low, high = CASES[case]
    rows = sort_weights(torch.tensor([row], dtype=torch.float64))
    knots, log_density = (
        x[0].numpy() for x in mode_density(rows, *columns(right, left, low, high))
    )
    grid, cdf = brute_mode_law(row, right, left, low, high)
    with np.errstate(divide="ignore", invalid="ignore"):
        height = np.interp(grid, knots, log_density)
    density = np.exp(height)
    mine = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    mine *= grid[1] - grid[0]
    assert mine[-1] == pytest.approx(1.0, abs=1e-6)
    assert np.abs(mine - cdf).max() < 1e-6


def scanned(rows, right, left, low, high, generator):
    """The modes of the compiled scan, and how many segments it looked at."""
    classes = len(rows.values)
    loc, visited = np.empty(classes), np.empty(classes, dtype=np.int64)
    uniforms = torch.rand(2, classes, dtype=torch.float64, generator=generator).numpy()
    bounds = (x - rows.centre for x in (low, high))
    arrays = (x.contiguous().numpy() for x in (rows.values, right, left, *bounds))
    mode_scan(*arrays, uniforms, loc, visited)
    return torch.from_numpy(loc) + rows.centre, torch.from_numpy(visited)


@pytest.mark.parametrize(
    ("n", "scale"), [(3, 1.0), (40, 1.0), (2048, 1.0), (2048, 1e-6), (2048, 1e-3), (2048, 1e3)]
)
def test_the_scan_stops_where_nothing_is_left(n, scale, generator):
    """The same draws as from all segments; rates far from those of the data widen the scan."""
    weights = torch.randn(50, n, dtype=torch.float64, generator=generator)
    rows = sort_weights(weights)
    p = LaplaceParameters(*columns(0.0, 2.0 * scale, 1.2 * scale, num=50))
    low, high = columns(-6.0, 7.0, num=50)
    state = generator.get_state()
    every = draw_mode(rows, p.rate_right, p.rate_left, low, high, generator, "tensor")
    generator.set_state(state)
    loc, visited = scanned(rows, p.rate_right, p.rate_left, low, high, generator)
    assert torch.allclose(loc, every, rtol=0, atol=1e-12)
    if n == 2048 and scale == 1.0:
        assert visited.max() < n / 2
    if scale == 1e-6 or n == 3:
        assert (visited == n + 1).all()


@pytest.mark.parametrize("form", ["compiled", "tensor"])
def test_modes_at_extreme_scales(form, generator):
    """Neither the place nor the unit of the weights matters, up to rounding."""
    weights = torch.randn(6, 200, dtype=torch.float64, generator=generator)
    arguments = columns(2.0, 1.0, -6.0, 6.0, num=6)
    state = generator.get_state()
    expected = draw_mode(sort_weights(weights), *arguments, generator, form)
    for unit in (1e-150, 1e150):
        generator.set_state(state)
        right, left, low, high = arguments
        scaled = (right / unit, left / unit, low * unit, high * unit)
        drawn = draw_mode(sort_weights(weights * unit), *scaled, generator, form)
        assert torch.allclose(drawn / unit, expected, rtol=0, atol=1e-9)
