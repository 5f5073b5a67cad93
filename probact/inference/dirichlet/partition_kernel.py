"""What the kernels of a Dirichlet-process Gaussian mixture share: all but the step."""

from collections.abc import Mapping
from typing import Any

import torch
import xarray as xr
from torch import Generator, Tensor
from torch.distributions import Distribution

from probact.inference.dirichlet.components import component_group
from probact.inference.dirichlet.problem import MixtureModel, Problem, pose
from probact.inference.dirichlet.starts import check_start, first_partitions
from probact.inference.dirichlet.state import DPState, canonical, label_dtype, log_joint
from probact.inference.gibbs import GibbsKernel

__all__ = ["PartitionKernel"]


class PartitionKernel(GibbsKernel):
    """A kernel on `DPState`; a subclass has the `step`.

    start: "auto" tries k-means++ with many clusters, random labels and one cluster, and `sample`
    keeps the likeliest; one of these names takes that one; labels (N,) start there.
    """

    def __init__(self, *, start: str | Tensor = "auto") -> None:
        check_start(start)
        self.start = start

    def init(self, model: MixtureModel, data: Any, generator: Generator) -> DPState:
        """The first of `starts`."""
        return next(iter(self.starts(model, data, generator).values()))

    def starts(self, model: MixtureModel, data: Any, generator: Generator) -> dict[str, DPState]:
        """States by the name of their start; alpha and s begin at the means of their priors."""
        problem = pose(model, data)
        partitions = first_partitions(problem, self.start, generator)
        return {name: first_state(problem, z) for name, z in partitions.items()}

    def log_joint(self, state: DPState) -> Tensor:
        """log p(x, z, alpha, s), nats."""
        return log_joint(state)

    def record(self, state: DPState) -> dict[str, Tensor]:
        """alpha, num_components, z, and summaries of the sizes; s where it has a prior."""
        z = canonical(state.z)
        sizes = torch.bincount(z)
        share = sizes.double() / len(z)
        sites = {
            "alpha": state.alpha,
            "num_components": torch.tensor(len(sizes), dtype=torch.int32),
            "num_singletons": (sizes == 1).sum().int(),
            "largest_share": share.max(),
            "partition_entropy": -(share * share.log()).sum(),
            "z": z.to(label_dtype(len(z))),
        }
        if state.problem.scale_factor is not None:
            sites["scale_factor"] = state.scale_factor
        return {name: value.cpu() for name, value in sites.items()}

    def statistics(self, state: DPState) -> dict[str, float]:
        """lp and what the last steps counted."""
        return {"lp": float(log_joint(state)), **state.counts}

    def save(self, state: DPState) -> dict[str, Tensor]:
        """z with its slots, alpha and s."""
        return {
            "z": state.z.cpu(),
            "alpha": state.alpha.cpu(),
            "scale_factor": state.scale_factor.cpu(),
        }

    def restore(self, model: MixtureModel, data: Any, saved: Mapping[str, Tensor]) -> DPState:
        """The saved state on the device of the data."""
        problem = pose(model, data)
        x = problem.x
        if saved["z"].shape != (len(x),):
            raise ValueError(f"the saved chain has {len(saved['z'])} points, x has {len(x)}")
        z, alpha = saved["z"].to(x.device), saved["alpha"].to(x.device)
        return DPState(z, alpha, saved["scale_factor"].to(x.device), problem, {})

    def export(
        self,
        model: MixtureModel,
        data: Any,
        draws: Mapping[str, Any],
        attributes: Mapping[str, Any],
    ) -> dict[str, xr.Dataset]:
        """The group `components`: one row per component of every draw."""
        return {"components": component_group(pose(model, data), draws, attributes)}


def first_state(problem: Problem, z: Tensor) -> DPState:
    """The state of a first partition; alpha and s at the means of their priors, or at one."""

    def centre(law: Distribution | float | None) -> Tensor:
        value = 1.0 if law is None else law.mean if isinstance(law, Distribution) else law
        value = torch.as_tensor(value, dtype=torch.float64, device=problem.x.device)
        return value if bool(torch.isfinite(value)) else torch.ones_like(value)

    alpha, s = centre(problem.concentration), centre(problem.scale_factor)
    return DPState(z, alpha, s, problem, {})
