"""A normal mean and precision with their exact Gibbs updates, and runs of it for other processes.

mu ~ N(0, 3^2), tau ~ Gamma(2, 2), x_n ~ N(mu, 1/tau)
mu | tau, x ~ N(tau sum x / p, 1/p),  p = N tau + 1/9
tau | mu, x ~ Gamma(2 + N/2, 2 + sum (x - mu)^2 / 2)
"""

import os
import signal
import sys
import time
import warnings
from typing import Any, NamedTuple

import numpy as np
import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from pyro.nn import PyroModule
from torch import Tensor

import probact.inference as pi

PRIOR_SD = 3.0
X = torch.linspace(-1.0, 3.0, 12, dtype=torch.float64)


class NormalModel(PyroModule):
    """The program; `rate` is the prior rate of tau."""

    def __init__(self, rate: float = 2.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> None:
        mu = pyro.sample("mu", dist.Normal(x.new_zeros(()), PRIOR_SD))
        tau = pyro.sample("tau", dist.Gamma(x.new_tensor(2.0), self.rate))
        with pyro.plate("obs", len(x)):
            pyro.sample("x", dist.Normal(mu, tau.rsqrt()), obs=x)


class NormalState(NamedTuple):
    mu: Tensor
    tau: Tensor
    x: Tensor
    rate: float
    model: Any


class NormalGibbs(pi.GibbsKernel):
    """Updates mu, then tau.

    `signal_at` sends signals at steps, counted over all chains; the signal 0 is an error. `pause`
    is how long a step waits. Neither is an option that a checkpoint remembers.
    """

    def __init__(
        self, *, scale: float = 1.0, pause: float = 0.0, signal_at: dict[int, int] | None = None
    ) -> None:
        self.scale = scale
        self._signal_at, self._steps, self._pause = dict(signal_at or {}), 0, pause

    def init(self, model, data, generator):
        return next(iter(self.starts(model, data, generator).values()))

    def starts(self, model, data, generator):
        (x,) = data if isinstance(data, tuple) else (data,)
        noise = torch.randn((), dtype=torch.float64, generator=generator) * self.scale
        tau = torch.ones((), dtype=torch.float64)
        return {
            "near": NormalState(noise, tau, x, model.rate, model),
            "far": NormalState(100 + noise, tau, x, model.rate, model),
        }

    def step(self, state, generator):
        self._steps += 1
        time.sleep(self._pause)
        number = self._signal_at.get(self._steps)
        if number == 0:
            raise RuntimeError("this step fails")
        if number:
            os.kill(os.getpid(), number)
        x = state.x
        precision = len(x) * state.tau + PRIOR_SD**-2
        noise = torch.randn((), dtype=torch.float64, generator=generator)
        mu = state.tau * x.sum() / precision + noise / precision.sqrt()
        shape = torch.tensor(2.0 + len(x) / 2, dtype=torch.float64)
        draw = torch._standard_gamma(shape, generator=generator)
        return state._replace(mu=mu, tau=draw / (state.rate + 0.5 * ((x - mu) ** 2).sum()))

    def log_joint(self, state):
        at = poutine.condition(state.model, {"mu": state.mu, "tau": state.tau})
        return poutine.trace(at).get_trace(state.x).log_prob_sum()

    def record(self, state):
        side = (state.x > state.mu).to(torch.int16)
        return {"mu": state.mu, "tau": state.tau, "num_components": side.sum().int(), "z": side}

    def save(self, state):
        return {"mu": state.mu, "tau": state.tau}

    def restore(self, model, data, saved):
        (x,) = data if isinstance(data, tuple) else (data,)
        return NormalState(saved["mu"], saved["tau"], x, model.rate, model)


SMALL = {"draws": 12, "tune": 5, "chains": 2, "thin": 2, "seed": 7, "progress": False}


def run(**options: Any) -> Any:
    """`sample` on the small data with few draws, whatever it warns of but damage."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pi.SamplingWarning)
        warnings.filterwarnings("error", ".*continuing from", pi.SamplingWarning)
        kernel = options.pop("kernel", None) or NormalGibbs()
        return pi.sample(NormalModel(), X, kernel=kernel, **{**SMALL, **options})


def same_draws(one: Any, other: Any) -> bool:
    """Whether all draws and statistics of two runs have the same names, dtypes and bits."""
    groups = [pi.arviz_bridge.groups_of(run) for run in (one, other)]
    for name in ("posterior", "sample_stats", "warmup_posterior", "warmup_sample_stats"):
        ours, theirs = (group.get(name) for group in groups)
        if (ours is None) != (theirs is None):
            return False
        for key in ours.data_vars if ours is not None else ():
            a, b = ours[key].values, theirs[key].values
            if a.dtype != b.dtype or not np.array_equal(a, b):
                return False
        if ours is not None and set(ours.data_vars) != set(theirs.data_vars):
            return False
    return True


def run_until_byte(folder: str, budget: int, options: dict[str, Any]) -> None:
    """A checkpointed run that kills its own process within the write of byte number `budget`."""
    write, left = os.write, [budget]

    def dying_write(descriptor: int, data: Any) -> int:
        if len(data) >= left[0]:
            write(descriptor, data[: left[0]])
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= len(data)
        return write(descriptor, data)

    os.write = dying_write
    run(checkpoint=folder, **options)


def tell(started: Any, target: Any, *arguments: Any) -> None:
    """target(*arguments), after the event `started` is set."""
    started.set()
    target(*arguments)


def run_until_signal(folder: str, options: dict[str, Any]) -> None:
    """A checkpointed run that exits as the command line does when it is interrupted."""
    try:
        run(checkpoint=folder, **options)
    except KeyboardInterrupt as error:
        sys.exit(128 + getattr(error, "signal", signal.SIGINT))


class OneStart(NormalGibbs):
    """The same steps from one start, so without a race."""

    def starts(self, model, data, generator):
        return {"near": super().starts(model, data, generator)["near"]}
