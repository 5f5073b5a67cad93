r"""Block Gibbs sampling of a harmonium: codes given inputs, inputs given codes.

Symbols: x (N, D) inputs; t (N, K) codes; mu_t = sum_k A_k,t_k. A step is one pass through the
layer and one back: t ~ p(t | x), all units at once, then x ~ N(mu_t, s2 I).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, final

import torch
from torch import Generator, Tensor

from probact.arrays import as_matrix
from probact.distributions.code_enumeration import code_means
from probact.distributions.harmonium import Harmonium
from probact.inference.gibbs import GibbsKernel

__all__ = ["HarmoniumGibbs", "HarmoniumState"]


class LayerModel(Protocol):
    """What the kernel reads off a model; `models.HarmoniumModel` is one."""

    slopes: Tensor
    offsets: Tensor
    noise: Tensor
    num_points: int


class HarmoniumState(NamedTuple):
    """Inputs with their codes; N independent rows."""

    x: Tensor  # (N, D)
    codes: Tensor  # (N, K) int64
    law: Harmonium
    observed: bool  # x is data, only codes are drawn


@final
class HarmoniumGibbs(GibbsKernel):
    """One sweep a step, on all rows at once; where x is data, an exact draw of the codes.

    >>> from probact import models
    >>> model = models.HarmoniumModel([[[0.0], [2.0]]], [[0.0, -2.0]], 1.0, num_points=5)
    >>> kernel, generator = HarmoniumGibbs(), torch.Generator().manual_seed(0)
    >>> state = kernel.step(kernel.init(model, None, generator), generator)
    >>> state.x.shape, state.codes.shape
    (torch.Size([5, 1]), torch.Size([5, 1]))
    """

    def init(self, model: Any, data: Any, generator: Generator) -> HarmoniumState:
        """Codes drawn evenly and inputs given them; or the data and codes given those."""
        law, x = _pose(model, data)
        if x is not None:
            return HarmoniumState(x, law.sample_codes(x, generator=generator), law, True)
        where = law.slopes.device
        shape = model.num_points, law.num_units
        codes = torch.randint(law.num_regions, shape, device=where, generator=generator)
        return HarmoniumState(law.sample_given(codes, generator=generator), codes, law, False)

    def step(self, state: HarmoniumState, generator: Generator) -> HarmoniumState:
        """Codes given inputs, then inputs given codes where they are not data."""
        law = state.law
        codes = law.sample_codes(state.x, generator=generator)
        x = state.x if state.observed else law.sample_given(codes, generator=generator)
        return state._replace(x=x, codes=codes)

    def conditional(self, state: HarmoniumState, site: str) -> tuple[Tensor, ...]:
        """What `step` draws a site from: for "t" its probabilities (N, K, R), for "x" loc, scale.

        Raises: ValueError for another site.
        """
        if site == "t":
            return (state.law.selection(state.x),)
        if site == "x" and not state.observed:
            return code_means(state.law.slopes, state.codes), state.law.noise.sqrt()
        latent = "t" if state.observed else "t or x"
        raise ValueError(f"site must be {latent}, got {site!r}")

    def log_joint(self, state: HarmoniumState) -> Tensor:
        """log p(x, t), nats, summed over rows; up to a constant where codes are too many."""
        chosen = state.law.logits(state.x).log_softmax(-1).gather(-1, state.codes.unsqueeze(-1))
        density: Tensor = state.law.log_prob(state.x)
        return density.sum() + chosen.sum()

    def record(self, state: HarmoniumState) -> dict[str, Tensor]:
        """The site "t" (N, K), and "x" (N, D) where it is not data."""
        small = torch.int8 if state.law.num_regions <= 128 else torch.int32
        sites = {"t": state.codes.to(small).cpu()}
        return sites if state.observed else {"x": state.x.cpu(), **sites}

    def save(self, state: HarmoniumState) -> dict[str, Tensor]:
        """Inputs and codes."""
        return {"x": state.x.cpu(), "codes": state.codes.cpu()}

    def restore(self, model: Any, data: Any, saved: Mapping[str, Tensor]) -> HarmoniumState:
        """The saved state on the device of the model."""
        law, x = _pose(model, data)
        rows, codes = saved["x"].to(law.slopes), saved["codes"].to(law.slopes.device)
        if rows.shape != (len(codes), law.dim) or codes.shape[1:] != (law.num_units,):
            raise ValueError(
                f"the saved chain has x of shape {tuple(rows.shape)}, not the model's"
            )
        return HarmoniumState(rows, codes, law, x is not None)


def _pose(model: Any, data: Any) -> tuple[Harmonium, Tensor | None]:
    """The law, and the data where there are some.

    Raises: ValueError for another model, or data that are no finite matrix with D columns.
    """
    # not isinstance: from Python 3.12 on it does not see the buffers of a module
    if not all(hasattr(model, name) for name in LayerModel.__annotations__):
        kind = type(model).__name__
        raise ValueError(f"model must be a HarmoniumModel for this kernel, got {kind}")
    law = Harmonium(model.slopes.detach(), model.offsets.detach(), model.noise.detach())
    if isinstance(data, tuple) and len(data) > 1:
        raise ValueError(f"data must be x alone for this kernel, got {len(data)} arrays")
    (value,) = data if isinstance(data, tuple) and data else (data,)
    if value is None or isinstance(value, tuple):
        return law, None
    x = as_matrix(value, "x").to(law.slopes)
    if x.shape[1] != law.dim:
        raise ValueError(f"x must have {law.dim} columns, got {x.shape[1]}")
    return law, x
