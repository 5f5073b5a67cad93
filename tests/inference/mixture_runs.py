"""A small mixture and checkpointed runs of its default kernel, for other processes."""

import sys
import warnings
from typing import Any

import torch

import probact as pa
import probact.inference as pi
from probact.distributions import NormalInverseWishart
from probact.models import DPGMM

__all__ = ["run_mixture", "run_mixture_until_signal"]

SMALL = {"draws": 40, "tune": 5, "chains": 2, "seed": 2, "progress": False, "save_warmup": True}


def rows() -> torch.Tensor:
    """Sixty points (60, 2) in three groups."""
    noise = torch.Generator().manual_seed(0)
    centres = torch.tensor([[-3.0, 0.0], [3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    return centres.repeat(20, 1) + torch.randn(60, 2, generator=noise, dtype=torch.float64)


def run_mixture(**options: Any) -> Any:
    """`sample` with few draws, whatever it warns of but damage."""
    x = rows()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pi.SamplingWarning)
        warnings.filterwarnings("error", ".*continuing from", pi.SamplingWarning)
        return pa.sample(DPGMM(NormalInverseWishart.from_data(x)), x, **{**SMALL, **options})


def run_mixture_until_signal(folder: str, options: dict[str, Any]) -> None:
    """A checkpointed run that exits as the command line does when it is interrupted."""
    try:
        run_mixture(checkpoint=folder, **options)
    except KeyboardInterrupt as error:
        sys.exit(128 + getattr(error, "signal", 2))
