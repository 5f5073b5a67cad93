r"""Gibbs sweeps over the codes of a factorial mixture, block of units after block of units.

Symbols: x (N, D) data less the offset; t (N, K) codes; A (K, R, D) slopes; pi (K, R); s2 noise;
m (N, D) = sum_k A_k,t_k; eta = 1/s2, or a part of it where the likelihood is tempered.

    p(t_k = r | t_-k, x) = softmax_r( eta (<A_kr, x - m + A_k,t_k> - |A_kr|^2 / 2) + log pi_kr )

the unit of the layer applied to what the other units leave over. Units whose differences are
orthogonal do not see each other's regions, so a block of them is drawn at once.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from probact.arrays import as_matrix
from probact.distributions.code_enumeration import code_means, draw_regions, gram_of
from probact.distributions.factorial_code import FactorialParameters
from probact.inference.factorial_compiled.code_sweep import code_sweep

__all__ = [
    "Block",
    "Colours",
    "FactorialProblem",
    "block_logits",
    "check_colours",
    "greedy_colours",
    "pose",
    "sweep",
]

Colours = str | Sequence[int] | Tensor


class FactorialModel(Protocol):
    """What the kernels read off a model; `models.FactorialMixture` is one."""

    slopes: Tensor
    log_weights: Tensor
    noise: Tensor
    offset: Tensor


class Block(NamedTuple):
    """Units that are drawn at once, and what their draw needs."""

    units: Tensor  # (b,)
    slopes: Tensor  # (b, R, D)
    own: Tensor  # (b, R, R) <A_kr, A_ks> - |A_kr|^2 / 2
    log_weights: Tensor  # (b, R)


class FactorialProblem(NamedTuple):
    """The model and the data; no step changes it."""

    x: Tensor  # (N, D) float64, less the offset
    parameters: FactorialParameters
    blocks: tuple[Block, ...]
    whole: Block  # all units, block after block


def check_colours(colours: Colours) -> str | tuple[int, ...]:
    """ "auto", "sequential", or a colour per unit.

    Raises: ValueError for something else.
    >>> check_colours(torch.tensor([0, 1, 0]))
    (0, 1, 0)
    """
    if isinstance(colours, str):
        if colours not in ("auto", "sequential"):
            raise ValueError(
                f"colours must be auto, sequential or one integer per unit, got {colours!r}"
            )
        return colours
    listed: Any = colours.tolist() if isinstance(colours, Tensor) else colours
    if not isinstance(listed, Sequence) or not all(type(c) is int for c in listed):
        raise ValueError(
            f"colours must be auto, sequential or one integer per unit, got {colours!r}"
        )
    return tuple(listed)


def pose(model: Any, data: Any, colours: str | tuple[int, ...], tol: float) -> FactorialProblem:
    """The problem of `model` given data (N, D).

    Raises: ValueError for another model, data that are no finite matrix with D columns, or
    colours in which two units that interact share one.
    """
    # not isinstance: from Python 3.12 on it does not see the buffers of a module
    if not all(hasattr(model, name) for name in FactorialModel.__annotations__):
        kind = type(model).__name__
        raise ValueError(f"model must be a FactorialMixture for this kernel, got {kind}")
    if isinstance(data, tuple) and len(data) != 1:
        raise ValueError(f"data must be x alone for this kernel, got {len(data)} arrays")
    (value,) = data if isinstance(data, tuple) else (data,)
    if value is None:
        raise ValueError("x must be a matrix (N, D): this kernel draws codes given data, got None")
    x = as_matrix(value, "x").double()
    slopes, log_weights, noise, offset = (
        value.detach().to(x)
        for value in (model.slopes, model.log_weights, model.noise, model.offset)
    )
    if x.shape[1] != slopes.shape[-1]:
        raise ValueError(f"x must have {slopes.shape[-1]} columns, got {x.shape[1]}")
    p = FactorialParameters(slopes, log_weights, noise)
    blocks = _blocks(p, colours, tol)
    whole = _block(p, torch.cat([block.units for block in blocks]))
    return FactorialProblem(x - offset, p, blocks, whole)


def _blocks(
    p: FactorialParameters, colours: str | tuple[int, ...], tol: float
) -> tuple[Block, ...]:
    count = p.num_units
    chosen = list(range(count))
    if colours != "sequential":
        conflicts = _conflicts(p.slopes, tol)
        chosen = greedy_colours(conflicts) if isinstance(colours, str) else list(colours)
        _check_against(chosen, conflicts)
    tensor = torch.tensor(chosen, device=p.slopes.device)
    return tuple(_block(p, (tensor == c).nonzero().squeeze(1)) for c in sorted(set(chosen)))


def _block(p: FactorialParameters, units: Tensor) -> Block:
    slopes = p.slopes[units]
    gram = torch.einsum("krd,ksd->krs", slopes, slopes)
    own = gram - 0.5 * gram.diagonal(dim1=1, dim2=2).unsqueeze(-1)
    return Block(units, slopes.contiguous(), own, p.log_weights[units])


def _conflicts(slopes: Tensor, tol: float) -> Tensor:
    """Pairs of units (K, K) whose centred Gram block is above tol of the geometric mean of own."""
    largest = gram_of(slopes, centred=True).abs().amax((1, 3))
    own = largest.diagonal().sqrt()
    return (largest > tol * torch.outer(own, own)) & ~torch.eye(
        len(slopes), dtype=torch.bool, device=slopes.device
    )


def greedy_colours(conflicts: Tensor) -> list[int]:
    """A colour per unit, none shared across a conflict (K, K), units of many conflicts first.

    >>> greedy_colours(torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]]).bool())
    [1, 0, 1]
    """
    table = conflicts.cpu()
    colours = [-1] * len(table)
    for unit in table.sum(1).argsort(descending=True, stable=True).tolist():
        taken = {colours[other] for other in table[unit].nonzero().flatten().tolist()}
        colours[unit] = next(c for c in range(len(table)) if c not in taken)
    return colours


def _check_against(colours: list[int], conflicts: Tensor) -> None:
    if len(colours) != len(conflicts):
        raise ValueError(f"colours must be one per unit, {len(conflicts)}, got {len(colours)}")
    given = torch.tensor(colours, device=conflicts.device)
    clash = (given.unsqueeze(0) == given.unsqueeze(1)) & conflicts
    if bool(clash.any()):
        first, second = clash.nonzero()[0].tolist()
        raise ValueError(
            f"colours: units {first} and {second} interact and both have colour {colours[first]};"
            " drawn at once, the chain would sample another law"
        )


def block_logits(x: Tensor, mean: Tensor, codes: Tensor, block: Block, eta: Tensor) -> Tensor:
    """Log weights (N, b, R) of the regions of a block's units given all other units."""
    residual = x - mean
    scores = (residual @ block.slopes.flatten(0, 1).T).unflatten(-1, block.log_weights.shape)
    each = torch.arange(len(block.units), device=codes.device)
    own = block.own.transpose(1, 2)[each, codes[:, block.units]]  # (N, b, R) of regions held now
    logits: Tensor = eta * (scores + own) + block.log_weights
    return logits


def sweep(
    problem: FactorialProblem,
    codes: Tensor,
    mean: Tensor,
    eta: Tensor,
    generator: Generator | None,
    form: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Codes and m after every unit was drawn once; m is updated in O(D) a unit.

    form: "compiled" goes row by row on the CPU, "tensor" block by block wherever the data are;
    both draw the same chain, up to rounding. "auto" compiles on the CPU.
    """
    x, shape = problem.x, codes.shape
    uniforms = torch.rand(shape, dtype=x.dtype, device=x.device, generator=generator)
    if form == "compiled" or (form == "auto" and x.device.type == "cpu"):
        return _compiled_sweep(problem, codes, mean, eta, uniforms)
    codes = codes.clone()
    for block in problem.blocks:
        logits = block_logits(x, mean, codes, block, eta)
        old, new = codes[:, block.units], draw_regions(logits, uniforms[:, block.units])
        mean = mean + (code_means(block.slopes, new) - code_means(block.slopes, old))
        codes[:, block.units] = new
    return codes, mean


def _compiled_sweep(
    problem: FactorialProblem, codes: Tensor, mean: Tensor, eta: Tensor, uniforms: Tensor
) -> tuple[Tensor, Tensor]:
    new = codes.cpu().contiguous().numpy().copy(), mean.cpu().contiguous().numpy().copy()
    tables = (table.cpu().contiguous().numpy() for table in problem.whole)
    x = problem.x.cpu().contiguous().numpy()
    code_sweep(x, *new, *tables, float(eta), uniforms.cpu().numpy())
    first, second = (torch.from_numpy(array).to(codes.device) for array in new)
    return first, second
