r"""The local maps of many inputs as one matrix: spectrum, rank, angles, and sparse approximations.

Symbols: G (N, D) rows, the weight W_{a,x} of one output at N inputs, flattened; s_i its singular
values, p_i = s_i^2 / sum s^2. Every row lies in the row space of the first linear layer where no
path goes round it, so that rank G is at most that layer's rank.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from probact.arrays import as_matrix, as_tensor, check_count

__all__ = ["MapSpectrum", "Pursuit", "map_angles", "map_spectrum", "matching_pursuit"]


@dataclass(frozen=True, eq=False)
class MapSpectrum:
    """Singular values (min(N, D),) of G, largest first, and what is read from them."""

    values: Tensor
    rank: int  # values above eps max(N, D) s_1, eps that of the maps' precision

    @property
    def stable_rank(self) -> float:
        """|G|_F^2 / |G|_2^2."""
        return float(self.values.square().sum() / self.values[0].square())

    @property
    def participation_ratio(self) -> float:
        """1 / sum p^2."""
        return float(1.0 / self._shares.square().sum())

    @property
    def entropy_rank(self) -> float:
        """exp of the entropy of p (Roy & Vetterli 2007, of squared values)."""
        return float(torch.special.entr(self._shares).sum().exp())

    @property
    def _shares(self) -> Tensor:
        square = self.values.square()
        return square / square.sum()


def map_spectrum(maps: Any) -> MapSpectrum:
    """Spectrum of local maps (N, D), or (N, *input), which are flattened.

    Raises: TypeError or ValueError for what is not finite, or all zero.
    >>> spectrum = map_spectrum(torch.eye(3).double())
    >>> spectrum.rank, spectrum.stable_rank
    (3, 3.0)
    """
    given = _rows(maps, "maps")
    g = given.double()
    values = torch.linalg.svdvals(g)
    if not float(values[0]) > 0.0:
        raise ValueError("maps are all zero: they have no spectrum")
    floor = torch.finfo(given.dtype).eps * max(g.shape) * values[0]
    return MapSpectrum(values, int((values > floor).sum()))


def map_angles(maps: Any, others: Any) -> Tensor:
    """Angles (N,) in degrees between rows of two sets of maps, accurate for small ones.

    Raises: TypeError or ValueError for what is not finite, of different shapes, or zero rows.
    >>> map_angles([[1.0, 0.0]], [[1.0, 1.0]])
    tensor([45.], dtype=torch.float64)
    """
    a, b = (_rows(v, name).double() for v, name in ((maps, "maps"), (others, "others")))
    if a.shape != b.shape:
        raise ValueError(f"maps and others have shapes {tuple(a.shape)} and {tuple(b.shape)}")
    sizes = a.norm(dim=1), b.norm(dim=1)
    if not all(bool((size > 0).all()) for size in sizes):
        raise ValueError("a map of zeros has no direction")
    u, v = (x / size.unsqueeze(1) for x, size in zip((a, b), sizes, strict=True))
    half = torch.atan2((u - v).norm(dim=1), (u + v).norm(dim=1))  # Kahan's formula
    return torch.rad2deg(2.0 * half)


class Pursuit(NamedTuple):
    """Atoms in the order of their choice, and |residual| / |target| after each, (k,)."""

    atoms: Tensor
    residual: Tensor

    @property
    def explained(self) -> Tensor:
        """Explained energy 1 - r^2, (k,)."""
        return 1.0 - self.residual.square()


def matching_pursuit(
    target: Any, dictionary: Any, num_atoms: int, *, orthogonal: bool = True
) -> Pursuit:
    """Approximate a map (D,) by a few of N others (N, D), greedily.

    Matching pursuit (Mallat & Zhang 1993) subtracts the projection on one atom after the other;
    orthogonal (Pati et al. 1993) solves for all chosen ones again. Zero atoms are never chosen,
    and the search ends early where nothing is left.

    Raises: TypeError or ValueError for what is not finite or does not fit.
    >>> matching_pursuit([3.0, 4.0], torch.eye(2).double(), 2).residual
    tensor([0.6000, 0.0000], dtype=torch.float64)
    """
    atoms = _rows(dictionary, "dictionary").double()
    w = as_tensor(target, "target").double().flatten()
    check_count(num_atoms, "num_atoms")
    if w.shape != atoms.shape[1:] or not bool(torch.isfinite(w).all()) or not bool(w.any()):
        raise ValueError(f"target must be ({atoms.shape[1]},), finite and not zero")
    size = atoms.norm(dim=1)
    unit = torch.where(size.unsqueeze(1) > 0, atoms / size.clamp_min(1e-300).unsqueeze(1), 0.0)
    residual, chosen, left = w.clone(), [], []
    basis = w.new_zeros(len(w), 0)
    for _ in range(num_atoms):
        score = unit @ residual
        best = int(score.abs().argmax())
        if float(score[best].abs()) <= 1e-14 * float(w.norm()):
            break
        if orthogonal:
            new = unit[best] - basis @ (basis.T @ unit[best])
            new = new - basis @ (basis.T @ new)
            basis = torch.cat([basis, (new / new.norm()).unsqueeze(1)], 1)
            residual = w - basis @ (basis.T @ w)
        else:
            residual = residual - score[best] * unit[best]
        chosen.append(best)
        left.append(float(residual.norm() / w.norm()))
    return Pursuit(torch.tensor(chosen), torch.tensor(left, dtype=torch.float64))


def _rows(value: Any, name: str) -> Tensor:
    """Maps (N, *input) as a matrix (N, D)."""
    x = as_tensor(value, name)
    if x.ndim < 2:
        raise ValueError(f"{name} must be (N, *input), got shape {tuple(x.shape)}")
    return as_matrix(x.flatten(1), name)
