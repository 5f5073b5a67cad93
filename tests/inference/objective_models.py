"""Models with an objective of their own, and checkpointed fits of them for other processes."""

import multiprocessing
import os
import signal
import sys
import time
import traceback
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, pyro_method
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import MultiStepLR

import probact.inference as pi

X = torch.linspace(-1.0, 1.0, 60).reshape(20, 3)
Y = X.sum(1, keepdim=True).sin()
HELD_OUT = (X[::3] + 0.05, Y[::3])


class Line(nn.Module):
    """y ~ N(w x, 1) up to a constant; losses of batches are kept in `seen`, by epoch."""

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(start, dtype=torch.float64))
        self.seen: list[tuple[int | None, int, bool]] = []

    def objective(self, x: Tensor, y: Tensor, epoch: int | None = None) -> Tensor:
        self.seen.append((epoch, len(x), self.training))
        return 0.5 * (y - self.w * x).square().mean()


class Regression(nn.Module):
    """A network with batch normalisation, dropout and noise; a step waits for `pause` seconds."""

    learning_rate = 0.02
    warm_up = 2

    def __init__(self, hidden: int = 8, pause: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            self.net = nn.Sequential(
                nn.Linear(3, hidden), nn.BatchNorm1d(hidden), nn.Dropout(0.2), nn.Linear(hidden, 1)
            )
        self._pause = pause

    def objective(self, x: Tensor, y: Tensor, epoch: int | None = None) -> Tensor:
        time.sleep(self._pause)
        weight = 1.0 if epoch is None else min(1.0, (epoch + 1) / self.warm_up)
        noisy = x + 0.1 * torch.randn_like(x)
        return (y - self.net(noisy)).square().mean() + weight * 0.01 * self.net[0].weight.norm()


class Stopping(Regression):
    """Raises `error` at the call number `at` of its objective, counted from the first step."""

    def __init__(self, at, error=KeyboardInterrupt):
        super().__init__()
        self.at, self.calls, self.error = at, 0, error

    def objective(self, x, y, epoch=None):
        self.calls += self.calls > 0 or epoch is not None
        if self.calls and self.calls == self.at:
            raise self.error
        return super().objective(x, y, epoch)


class Codes(PyroModule):
    """x (N, 3) from codes z (N, 2) and labels (N,), trained on its own objective."""

    def __init__(self, dim: int = 3) -> None:
        super().__init__()
        self.config = {"dim": dim}
        self.encoder, self.decoder = nn.Linear(dim, 2), nn.Linear(2, dim)

    def forward(self, x: Tensor, labels: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            loc = self.decoder(z) + labels[:, None]
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    @pyro_method
    def guide(self, x: Tensor, labels: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.encoder(x), 0.5).to_event(1))

    def objective(self, x: Tensor, labels: Tensor, *, epoch: int | None = None) -> Tensor:
        z = self.encoder(x)
        return (x - labels[:, None] - self.decoder(z)).square().mean() + z.square().mean()


FULL = {
    "epochs": 9,
    "batch_size": 6,
    "validation": HELD_OUT,
    "patience": 4,
    "schedule": partial(MultiStepLR, milestones=[2, 5], gamma=0.5),
    "seed": 3,
    "device": "cpu",
    "progress": False,
}


def fit_full(model: nn.Module | None = None, **options: Any) -> pi.Fit:
    """A fit that uses everything: noise, buffers, a schedule, validation, patience."""
    return pi.fit(model or Regression(), (X, Y), **{**FULL, **options})


def fit_until_byte(folder: str, budget: int) -> None:
    """A checkpointed fit that kills its own process within the write of byte number `budget`."""
    write, left = os.write, [budget]

    def dying_write(descriptor: int, data: Any) -> int:
        if len(data) >= left[0]:
            write(descriptor, data[: left[0]])
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= len(data)
        return write(descriptor, data)

    os.write = dying_write
    fit_full(checkpoint=folder)


def fit_until_signal(folder: str, pause: float) -> None:
    """A slow checkpointed fit that exits as the command line does when it is interrupted.

    With 3 after any other error: an interrupt while the process itself starts gives 1.
    """
    try:
        fit_full(Regression(pause=pause), checkpoint=folder)
    except KeyboardInterrupt as error:
        sys.exit(128 + getattr(error, "signal", signal.SIGINT))
    except Exception:
        traceback.print_exc()
        sys.exit(3)


def in_child(target, *arguments):
    """A process that runs target(*arguments), from a server that has imported what it needs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["probact.inference", "conjugate", "mixture_runs"])
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def same_fit(one: pi.Fit, other: pi.Fit) -> bool:
    """Whether two fits have the same losses and tensors, to the bit."""
    pairs = zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    return (
        torch.equal(one.losses, other.losses)
        and torch.equal(one.validation_losses, other.validation_losses)
        and one.best_epoch == other.best_epoch
        and all(torch.equal(a, b) for a, b in pairs)
    )


momentum = partial(SGD, lr=0.05, momentum=0.9)
