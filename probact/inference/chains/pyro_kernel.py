"""A Gibbs kernel of ours inside `pyro.infer.MCMC`.

`MCMC` keeps all sites of a draw in one vector: they have fixed shapes and are float64 here, so
that labels survive beside them. One kernel object serves all chains of a process, one after the
other; each takes a generator of its own from Pyro's random stream.
"""

from collections.abc import Callable
from typing import Any

import torch
from pyro.infer.mcmc.mcmc_kernel import MCMCKernel
from torch import Generator, Tensor

from probact.inference.chains.gibbs_chain import first_state
from probact.inference.gibbs import GibbsKernel

__all__ = ["as_pyro_kernel"]


def as_pyro_kernel(
    kernel: GibbsKernel, model: Callable[..., Any] | None = None
) -> "PyroGibbsKernel":
    """`kernel` as a kernel for `pyro.infer.MCMC`, whose sites are those of `kernel.record`.

    `MCMC(...).run(*data)` samples `model` given data; None where the kernel needs no model. The
    draws are float64 of fixed shape. `sample` does more: checkpoints, statistics, dtypes.

    Raises: ValueError for something else than a Gibbs kernel.
    >>> as_pyro_kernel(3)
    Traceback (most recent call last):
    ValueError: kernel must be a GibbsKernel, got int
    """
    if not isinstance(kernel, GibbsKernel):
        raise ValueError(f"kernel must be a GibbsKernel, got {type(kernel).__name__}")
    return PyroGibbsKernel(kernel, model)


class PyroGibbsKernel(MCMCKernel):
    """What `as_pyro_kernel` returns."""

    def __init__(self, kernel: GibbsKernel, model: Callable[..., Any] | None) -> None:
        self.kernel, self.model = kernel, model
        self.transforms: dict[str, Any] = {}  # no site is mapped to the real line
        self._start: dict[str, Any] = {}
        self._state: Any = None
        self._generator = Generator()

    def setup(self, warmup_steps: int, *args: Any, **kwargs: Any) -> None:
        """Start a chain afresh, under a seed that Pyro's stream gives.

        Raises: ValueError for keyword arguments.
        """
        if kwargs:
            raise ValueError(f"pass the data by position, got the keywords {sorted(kwargs)}")
        data = args[0] if len(args) == 1 else args or None
        device = next((x.device for x in args if isinstance(x, Tensor)), torch.device("cpu"))
        seed = int(torch.randint(2**63 - 1, (), dtype=torch.int64, device="cpu"))
        self._generator = Generator(device).manual_seed(seed)
        with torch.no_grad():
            start = first_state(self.kernel, self.model, data, self._generator)
        self._state, self._start = start

    @property
    def initial_params(self) -> dict[str, Tensor]:
        """The sites of the first state."""
        return self._sites()

    @initial_params.setter
    def initial_params(self, params: dict[str, Tensor]) -> None:
        raise ValueError("initial_params must be None: a Gibbs kernel chooses its own starts")

    def sample(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """The sites after one more step."""
        with torch.no_grad():
            self._state = self.kernel.step(self._state, self._generator)
        return self._sites()

    def logging(self) -> dict[str, str]:
        """The statistics of the last step, for the progress line."""
        return {name: f"{v:.6g}" for name, v in self.kernel.statistics(self._state).items()}

    def diagnostics(self) -> dict[str, Any]:
        """No divergences; which start was taken."""
        return {"divergences": [], "start": self._start}

    def cleanup(self) -> None:
        """Forget the chain."""
        self._state = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the chain: its generator cannot go to another process."""
        return {**self.__dict__, "_state": None, "_generator": None}

    def _sites(self) -> dict[str, Tensor]:
        """The record of the state, float64."""
        return {name: x.double().clone() for name, x in self.kernel.record(self._state).items()}
