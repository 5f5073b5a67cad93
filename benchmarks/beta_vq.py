"""Forward and backward passes of soft activations and poolings beside torch's own.

One thread, one run: every round runs each contestant once, in turn, and counts the CPU seconds of
the process. Reported are medians over rounds and, in brackets, the median over rounds of the ratio
to the floor: `F.silu` for activations, `F.max_pool2d` for poolings. Memory is what autograd keeps
between the passes, its input and the output left out, in multiples of the input.

"written out" is the formula in torch operations, without a backward pass of its own. Run as

    OMP_NUM_THREADS=1 python benchmarks/beta_vq.py [--compiled] [--json results.json]
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from probact.nn import BetaAbs, BetaLeakyReLU, BetaMaxPool2d, BetaReLU

Layer = Callable[[Tensor], Tensor]
SIZES = ((64, 64, 8, 8), (64, 64, 16, 16), (64, 64, 32, 32), (64, 64, 56, 56))
POOLS = (
    ((64, 32, 16, 16), (2, 2, 0)),
    ((32, 64, 32, 32), (2, 2, 0)),
    ((8, 64, 112, 112), (2, 2, 0)),
    ((16, 64, 56, 56), (3, 2, 1)),
    ((16, 64, 28, 28), (3, 1, 1)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--compiled", action="store_true", help="activations by torch.compile")
    parser.add_argument("--json", type=Path, help="also write every number to this file")
    args = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        parser.error("set OMP_NUM_THREADS=1: contestants must not differ in threads")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results: dict[str, Any] = {}
    for size in SIZES:
        layers = activations(size[1])
        if args.compiled:
            layers = {name: torch.compile(layer, dynamic=False) for name, layer in layers.items()}
        results[title(size)] = measured(layers, size, args.rounds)
    print(table(results, "F.silu"))
    if not args.compiled:
        results = {}
        for size, shape in POOLS:
            name = f"{title(size)}, {shape[0]}x{shape[0]} stride {shape[1]}"
            results[name] = measured(poolings(size[1], shape), size, args.rounds)
        print(table(results, "F.max_pool2d"))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


def title(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))


def activations(channels: int) -> dict[str, Layer]:
    log_eta = torch.tensor(0.8, requires_grad=True)

    def written_out(u: Tensor) -> Tensor:
        return u * torch.sigmoid(log_eta.exp() * u)

    return {
        "F.silu": F.silu,
        "F.relu": F.relu,
        "BetaReLU, beta = 1/2 fixed": BetaReLU(learnable=False),
        "BetaReLU, beta = 0.7 fixed": BetaReLU(0.7, learnable=False),
        "BetaReLU, learned": BetaReLU(0.7),
        "BetaReLU, learned per channel": BetaReLU(0.7, num_channels=channels),
        "BetaLeakyReLU, learned": BetaLeakyReLU(0.1, 0.7),
        "BetaAbs, learned": BetaAbs(0.7),
        "written out, learned": written_out,
    }


def poolings(channels: int, shape: tuple[int, int, int]) -> dict[str, Layer]:
    return {
        "F.max_pool2d": lambda u: F.max_pool2d(u, *shape),
        "BetaMaxPool2d, fixed": BetaMaxPool2d(*shape, beta=0.7, learnable=False),
        "BetaMaxPool2d, learned": BetaMaxPool2d(*shape, beta=0.7),
        "BetaMaxPool2d, per channel": BetaMaxPool2d(*shape, beta=0.7, num_channels=channels),
        "written out, learned": written_out_pool(shape),
    }


def written_out_pool(shape: tuple[int, int, int]) -> Layer:
    """Softmax over copies of the windows."""
    kernel, stride, padding = shape
    log_eta = torch.tensor(0.8, requires_grad=True)

    def pool(u: Tensor) -> Tensor:
        padded = F.pad(u, (padding,) * 4, value=-1e9)
        windows = padded.unfold(2, kernel, stride).unfold(3, kernel, stride).flatten(4)
        return ((log_eta.exp() * windows).softmax(-1) * windows).sum(-1)

    return pool


def measured(
    layers: dict[str, Layer], size: tuple[int, ...], rounds: int
) -> dict[str, dict[str, Any]]:
    """CPU seconds of each round, and memory kept, by contestant; one untimed round."""
    u = torch.randn(size, requires_grad=True)
    pull = torch.randn(next(iter(layers.values()))(u).shape)
    found = {name: {"seconds": [], "memory": kept(layer, u)} for name, layer in layers.items()}
    for i in range(rounds + 1):
        for name, layer in layers.items():
            u.grad = None
            start = time.process_time()
            layer(u).backward(pull)
            if i:
                found[name]["seconds"].append(time.process_time() - start)
    return found


def kept(layer: Layer, u: Tensor) -> float:
    """Storage that autograd saves beside the input and the output, in inputs."""
    storages: dict[int, int] = {}

    def save(x: Tensor) -> Tensor:
        storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(save, lambda x: x):
        out = layer(u)
    for x in (u, out):
        storages.pop(x.untyped_storage().data_ptr(), None)
    return sum(storages.values()) / u.untyped_storage().nbytes()


def table(results: dict[str, dict[str, dict[str, Any]]], floor: str) -> str:
    """A markdown table: milliseconds, ratio to the floor; memory in the last column."""
    lines = [f"| ms (ratio to {floor}) | {' | '.join(results)} | memory |"]
    lines.append("|---" * (len(results) + 2) + "|")
    for name in next(iter(results.values())):
        cells, memory = [], []
        for found in results.values():
            own, base = found[name]["seconds"], found[floor]["seconds"]
            ratio = statistics.median(a / b for a, b in zip(own, base, strict=True))
            cells.append(f"{1e3 * statistics.median(own):.3g} ({ratio:.2f})")
            memory.append(found[name]["memory"])
        spread = f"{min(memory):.2g}" if max(memory) - min(memory) < 0.05 else ""
        spread = spread or f"{min(memory):.2g} to {max(memory):.2g}"
        lines.append(f"| {name} | {' | '.join(cells)} | {spread} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
