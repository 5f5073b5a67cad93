"""One training epoch of a hyperspherical variational autoencoder beside other latent layers.

The network of Davidson et al. (2018): 784-256-128-(d), d-128-256-784, ReLU, Bernoulli pixels that
are binarised afresh, Adam. All contestants have it, the same loop, the same fused optimiser and
the same images; only what lies between encoder and decoder differs; `SphereVAE.objective` is timed
as users run it, checks and all. Then the latent layers alone: draw, KL and backward.

One thread, one run: every round runs each contestant once, in turn, and counts the CPU seconds of
the process. Reported are medians over rounds and the median over rounds of the ratio to the
Gaussian latent. Run as

    OMP_NUM_THREADS=1 python benchmarks/hvae.py [--peers DIR] [--batch 512] [--json results.json]
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from hvae_peers import Latent, latents
from torch import Tensor, nn

from probact.models import SphereVAE
from probact.nn.mlp_autoencoder import MLPDecoder, MLPEncoder

FLOOR = "Gaussian latent"
Task = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dim", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=60_000, help="images of an epoch")
    parser.add_argument("--steps", type=int, default=100, help="training steps of a round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peers", type=Path, help="folder from which peers may be imported")
    parser.add_argument("--json", type=Path, help="also write every number to this file")
    args = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        parser.error("set OMP_NUM_THREADS=1: contestants must not differ in threads")
    if args.peers:
        sys.path.append(str(args.peers))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = grey_images(args.images)
    results = {}
    for dim in args.dim:
        models, latent = trainings(dim, x, args.batch), layers(dim, args.batch)
        seconds = timed(models, args.steps, args.rounds)
        alone = timed(latent, args.steps, args.rounds)
        results[dim] = {"training": seconds, "latent": alone}
        title = f"d = {dim}, batch {args.batch}"
        print(report(seconds, title, args.images / args.batch))
        print(report(alone, f"{title}, the latent layer alone", args.images / args.batch))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


def grey_images(count: int) -> Tensor:
    """(count, 1, 28, 28) in [0, 1], four of five pixels black as in handwritten digits."""
    x = torch.rand(count, 1, 28, 28)
    return (5.0 * x - 4.0).clamp_(0.0)


class Bare(nn.Module):
    """The network about a latent layer, without any check."""

    def __init__(self, dim: int, scales: int, draw: Callable[..., tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.encoder, self.decoder = MLPEncoder(), MLPDecoder(dim)
        self.first, self.second, self.draw = nn.Linear(128, dim), nn.Linear(128, scales), draw

    def objective(self, x: Tensor) -> Tensor:
        x = (torch.rand_like(x) < x).to(x.dtype)
        h = self.encoder(x)
        z, kl = self.draw(self.first(h), self.second(h))
        missed = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        return missed / len(x) + kl.mean()


def trainings(dim: int, x: Tensor, batch: int) -> dict[str, Task]:
    """One optimiser step of each model, by name."""
    models: dict[str, nn.Module] = {"probact SphereVAE": SphereVAE(dim)}
    for latent in latents(dim):
        models[latent.name] = Bare(dim, latent.scales, latent.draw)
    return {name: training_step(model, x, batch) for name, model in models.items()}


def training_step(model: nn.Module, x: Tensor, batch: int) -> Task:
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        loss = model.objective(x[torch.randint(len(x), (batch,))])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def layers(dim: int, batch: int) -> dict[str, Task]:
    """Draw, KL and backward of each latent layer on fixed outputs of the heads, by name."""
    return {latent.name: layer(latent, dim, batch) for latent in latents(dim)}


def layer(latent: Latent, dim: int, batch: int) -> Task:
    first = torch.randn(batch, dim, requires_grad=True)
    second = torch.full((batch, latent.scales), 3.0, requires_grad=True)
    pull = torch.randn(batch, dim)

    def step() -> None:
        z, kl = latent.draw(first, second)
        torch.autograd.backward([z, kl], [pull, torch.ones(batch)])

    return step


def timed(tasks: dict[str, Task], steps: int, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of a step of each task in each round, after one untimed round."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for i in range(rounds + 1):
        for name, task in tasks.items():
            start = time.process_time()
            for _ in range(steps):
                task()
            if i:
                seconds[name].append((time.process_time() - start) / steps)
    return seconds


def report(seconds: dict[str, list[float]], title: str, steps: float) -> str:
    """A markdown table: a step, an epoch, and the ratio to the Gaussian latent."""
    lines = [
        f"\n{title}\n",
        "| | ms a step | s an epoch | ratio to the Gaussian |",
        "|---|---|---|---|",
    ]
    for name, spent in seconds.items():
        step = statistics.median(spent)
        pairs = zip(spent, seconds[FLOOR], strict=True)
        ratio = statistics.median(own / floor for own, floor in pairs)
        lines.append(f"| {name} | {1e3 * step:.2f} | {steps * step:.2f} | {ratio:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
