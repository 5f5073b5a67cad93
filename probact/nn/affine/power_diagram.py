r"""The partition of a max-affine layer as a power diagram.

Symbols: A (K, R, D) slopes, B (K, R) offsets; centre of region r of unit k: A_kr; squared radius
rho_kr = |A_kr|^2 + 2 B_kr. Region r holds the x that minimise |x - A_kr|^2 - rho_kr (Balestriero
& Baraniuk 2019, section 3). The joint cell of a code t = (t_1..t_K) has centre
mu_t = sum_k A_k,t_k and rho_t = |mu_t|^2 + 2 sum_k B_k,t_k, whatever the angles between units. A
squared radius may be negative, and is -inf for a region that no point can enter.
"""

import torch
from torch import Tensor

__all__ = ["is_k_means", "joint_cell", "partition_equal", "squared_radii"]


def squared_radii(slopes: Tensor, offsets: Tensor) -> Tensor:
    """rho (K, R) of every region.

    >>> squared_radii(torch.tensor([[[0.0, 0.0], [3.0, 4.0]]]), torch.tensor([[0.0, -12.5]]))
    tensor([[0., 0.]])
    """
    return slopes.square().sum(-1) + 2.0 * offsets


def joint_cell(slopes: Tensor, offsets: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Centre mu_t (..., D) and rho_t (...) of the cells of codes t (..., K), integers in [0, R).

    Raises: ValueError for codes of another shape, dtype or range.

    >>> A, B = torch.tensor([[[0.0], [2.0]], [[0.0], [1.0]]]), torch.zeros(2, 2)
    >>> joint_cell(A, B, torch.tensor([1, 1]))
    (tensor([3.]), tensor(9.))
    """
    units, regions = offsets.shape
    if codes.is_floating_point() or codes.dtype == torch.bool or codes.shape[-1:] != (units,):
        raise ValueError(
            f"codes must be integers (..., {units}), got {codes.dtype} of shape "
            f"{tuple(codes.shape)}"
        )
    if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < regions:
        raise ValueError(
            f"codes must lie in [0, {regions}), got {int(codes.min())} to {int(codes.max())}"
        )
    codes, unit = codes.long(), torch.arange(units, device=codes.device)
    centre = slopes[unit, codes].sum(-2)  # (..., D)
    return centre, centre.square().sum(-1) + 2.0 * offsets[unit, codes].sum(-1)


def is_k_means(slopes: Tensor, offsets: Tensor, *, rtol: float = 1e-6) -> Tensor:
    """(K,) whether B_kr = -|A_kr|^2 / 2 + const_k, up to rtol times the largest |A_kr|^2.

    Exactly then rho is the same for all regions, absent ones (B = -inf) aside, and the cells are
    the Voronoi cells of the slopes (Proposition 1).

    >>> A = torch.tensor([[[0.0], [2.0]]])
    >>> is_k_means(A, torch.tensor([[0.0, -2.0]])), is_k_means(A, torch.zeros(1, 2))
    (tensor([True]), tensor([False]))
    """
    present = torch.isfinite(offsets)
    rho = squared_radii(slopes, offsets)
    largest = rho.where(present, -torch.inf).amax(-1)
    smallest = rho.where(present, torch.inf).amin(-1)
    scale = torch.maximum(slopes.square().sum(-1), 2.0 * offsets.abs()).where(present, 0.0)
    return largest - smallest <= rtol * scale.amax(-1)


def partition_equal(slopes: Tensor, offsets: Tensor, x: Tensor, *, rtol: float = 1e-6) -> Tensor:
    """(K,) whether every point of x (..., D) lies in the cell of its nearest slope.

    The argmax test of Proposition 1 on data: true for a k-means unit, and for any unit whose
    boundaries meet none of the points in the wrong place. Ties up to rtol count as equal.

    Raises: ValueError where x is not (..., D).

    >>> A, x = torch.tensor([[[0.0], [2.0]]]), torch.tensor([[0.5], [3.0]])
    >>> partition_equal(A, torch.zeros(1, 2), x)  # boundary at 0, nearest slope changes at 1
    tensor([False])
    """
    if x.shape[-1:] != slopes.shape[-1:]:
        raise ValueError(f"x must be (..., {slopes.shape[-1]}), got shape {tuple(x.shape)}")
    scores = torch.einsum("krd,...d->...kr", slopes, x)
    code = (scores + offsets).argmax(-1, keepdim=True)
    nearness = scores - 0.5 * slopes.square().sum(-1)  # -|x - A|^2 / 2 up to |x|^2 / 2
    nearest = nearness.where(torch.isfinite(offsets), -torch.inf).amax(-1)
    loss = nearest - nearness.gather(-1, code).squeeze(-1)
    equal = loss <= rtol * nearness.abs().amax(-1)
    return equal.reshape(-1, offsets.shape[0]).all(0)
