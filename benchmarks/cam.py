"""Speed of node maps: the closed form beside gradients and torchcam, at the size of MobileNetV2.

One thread, one run. The network is torchvision's MobileNetV2 without training, its head's weights
drawn from a Laplace law; asked are the maps of seven nodes of one class, four noisy passes each.
Contenders: a forward pass alone (the floor); `node_cam` in closed form and by gradients; and
torchcam's SmoothGradCAMpp, if it can be imported, with the head's other weights of the class set
to zero, node after node. Reported are medians of CPU seconds over interleaved rounds, and ratios.
Run as

    pip install torchcam          # optional
    OMP_NUM_THREADS=1 python benchmarks/cam.py [--quick] [--json results.json]
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v2

from probact.models.neuron_split import NeuronTree, node_cam, split_tree

try:
    from torchcam.methods import SmoothGradCAMpp
except ImportError:
    SmoothGradCAMpp = None

NODES = ("", "+", "++", "+++", "-", "--", "---")
LABEL, SAMPLES, NOISE = 3, 4, 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=1, help="in a batch")
    parser.add_argument("--quick", action="store_true", help="3 rounds")
    parser.add_argument("--json", type=Path, help="also write every number to this file")
    args = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        parser.error("set OMP_NUM_THREADS=1: contestants must not differ in threads")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = mobilenet_v2(weights=None).eval()
    with torch.no_grad():
        net.classifier[1].weight.copy_(torch.distributions.Laplace(0.0, 0.03).sample((1000, 1280)))
    x, tree = torch.randn(args.images, 3, 224, 224), split_tree(net, max_depth=3)
    seconds = measured(contestants(net, x, tree), 3 if args.quick else args.rounds)
    results = {"machine": machine(), "images": args.images, "seconds": seconds}
    print(report(results))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


def machine() -> dict[str, str]:
    return {"python": platform.python_version(), "torch": torch.__version__}


def contestants(net: nn.Module, x: Tensor, tree: NeuronTree) -> dict[str, Callable[[], Any]]:
    def forward() -> None:
        with torch.no_grad():
            net(x)

    def ours(closed_form: bool) -> Callable[[], Tensor]:
        return lambda: node_cam(
            net, x, LABEL, NODES, tree=tree, layer="features", head="classifier",
            num_samples=SAMPLES, noise=NOISE, closed_form=closed_form,
        )  # fmt: skip

    tasks: dict[str, Callable[[], Any]] = {
        "forward pass": forward,
        "node_cam, closed form": ours(True),
        "node_cam, gradients": ours(False),
    }
    if SmoothGradCAMpp is not None:
        tasks["torchcam"] = lambda: by_torchcam(net, x, tree)
    return tasks


def by_torchcam(net: nn.Module, x: Tensor, tree: NeuronTree) -> list[Tensor]:
    weight = net.classifier[1].weight
    row = weight.detach()[LABEL].clone()
    shape, maps = tuple(x.shape[1:]), []
    options = {"num_samples": SAMPLES, "std": NOISE, "input_shape": shape}
    with SmoothGradCAMpp(net, "features", **options) as extractor:
        for name in NODES:
            sign = -1.0 if name.startswith("-") else 1.0
            kept = tree.mask(LABEL, name)
            with torch.no_grad():
                weight[LABEL] = torch.where(kept, sign * row, 0.0)
            maps.append(extractor(LABEL, net(x))[0])
    with torch.no_grad():
        weight[LABEL] = row
    return maps


def measured(tasks: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each task in each round, a first round aside."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for i in range(rounds + 1):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            if i:
                seconds[name].append(time.process_time() - start)
    return seconds


def report(results: dict[str, Any]) -> str:
    seconds = results["seconds"]
    lines = [", ".join(f"{k} {v}" for k, v in results["machine"].items()), ""]
    lines += ["| | CPU ms for seven nodes | over the closed form (range) |", "|---|---|---|"]
    for name, spent in seconds.items():
        ratios = [a / b for a, b in zip(spent, seconds["node_cam, closed form"], strict=True)]
        lines.append(
            f"| {name} | {1000 * statistics.median(spent):.0f} | {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
