"""Speed and memory of activation patterns: recording, packing, Hamming distances.

One thread, one run: every round makes each measurement in turn and counts the CPU seconds of the
process; reported are medians over rounds. Recording is beside a plain pass of the same network on
the same batch; distances of all pairs of rows are beside one call of scipy's pdist on booleans.
Memory is the peak of numpy's during a call. The last table times every statistic once, on the
patterns of an AlexNet-like network, untrained, on noise in place of CIFAR-10. Run as

    OMP_NUM_THREADS=1 python benchmarks/patterns.py [--quick] [--json results.json]
"""

import argparse
import json
import os
import platform
import resource
import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch
from regions import geometry, geometry_lines
from scipy.spatial.distance import pdist
from torch import nn

from probact.analysis.patterns import (
    PackedPatterns,
    activation_probabilities,
    bernoulli_test,
    collect,
    condensed_hamming,
    constellations,
    dependence_test,
    hamming_blocks,
    hamming_counts,
    marginal_test,
    record,
    strict_constellations,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--bits", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="2000 rows, images of 32 x 32")
    parser.add_argument("--json", type=Path, help="also write every number to this file")
    args = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        parser.error("set OMP_NUM_THREADS=1: one thread is what is measured")
    torch.set_num_threads(1)
    if args.quick:
        args.rows = min(args.rows, 2000)
    versions = {m.__name__: m.__version__ for m in (np, scipy, torch)}
    results = {"python": platform.python_version(), **versions, "rows": args.rows}
    results |= {"bits": args.bits, "hamming": distances(args), "recording": recording(args)}
    results |= {"statistics": statistics_of_patterns(args), "resident_megabytes": resident()}
    results |= {"geometry": geometry(args.rounds)}
    print(report(results))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


def random_bits(args: argparse.Namespace) -> np.ndarray:
    return np.random.default_rng(0).random((args.rows, args.bits), np.float32) < 0.5


def total(packed: PackedPatterns) -> int:
    """Sum of all distances, a block at a time."""
    return sum(int(block.sum()) for _, block in hamming_blocks(packed))


DISTANCES: dict[str, Callable[[PackedPatterns], Any]] = {
    "condensed_hamming, uint16": condensed_hamming,
    "hamming_counts": hamming_counts,
    "hamming_blocks, both triangles": total,
}


def distances(args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row per way: CPU seconds, how many times faster than scipy, added megabytes."""
    bits = random_bits(args)
    packed = PackedPatterns.from_bits(bits)
    few = packed.rows(slice(0, 3))
    spent: dict[str, list[float]] = {name: [] for name in DISTANCES}
    for function in DISTANCES.values():
        function(few)  # compile
    for _ in range(args.rounds):
        for name, function in DISTANCES.items():
            spent[name].append(seconds(function, packed))
    tracemalloc.start()
    start = time.process_time()
    expected = pdist(bits, "hamming")
    scipy_seconds = time.process_time() - start
    megabytes = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    found = condensed_hamming(packed)
    assert np.array_equal(np.rint(expected * args.bits).astype(found.dtype), found)
    name = "scipy pdist, hamming, booleans"
    rows = [{"way": name, "seconds": scipy_seconds, "times": 1.0, "megabytes": megabytes}]
    for name, values in spent.items():
        median = statistics.median(values)
        row: dict[str, Any] = {"way": name, "seconds": median, "times": scipy_seconds / median}
        rows.append({**row, "megabytes": added_megabytes(DISTANCES[name], packed)})
    return rows


def seconds(function: Callable[..., Any], *values: Any) -> float:
    start = time.process_time()
    function(*values)
    return time.process_time() - start


def added_megabytes(function: Callable[..., Any], *values: Any) -> float:
    """Peak of numpy's memory during a call."""
    tracemalloc.start()
    function(*values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def networks(quick: bool) -> dict[str, tuple[nn.Module, torch.Tensor]]:
    """Networks by name, and a batch of 32 images."""
    from torchvision.models import resnet18, vgg11_bn

    torch.manual_seed(0)
    side = 32 if quick else 224
    layers = [nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    conv = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 10))
    small, large = torch.randn(32, 3, 32, 32), torch.randn(32, 3, side, side)
    return {
        "three convolutions, 32 x 32": (conv.eval(), small),
        "ResNet-18, 32 x 32": (resnet18().eval(), small),
        f"ResNet-18, {side} x {side}": (resnet18().eval(), large),
        "VGG-11-BN, 32 x 32": (vgg11_bn().eval(), small),
    }


def recording(args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row per network: milliseconds of a pass, and the ratios of record and collect to it."""
    rows = []
    for name, (net, x) in networks(args.quick).items():
        ways = {"plain": plain, "record": recorded, "collect": collected}
        spent: dict[str, list[float]] = {way: [] for way in ways}
        for i in range(args.rounds + 1):
            for way, function in ways.items():
                took = seconds(function, net, x)
                if i:
                    spent[way].append(took)
        medians = {way: statistics.median(values) for way, values in spent.items()}
        row: dict[str, Any] = {"network": name, "milliseconds": 1e3 * medians["plain"]}
        row |= {way: medians[way] / medians["plain"] for way in ("record", "collect")}
        rows.append(row)
    return rows


def small_alexnet() -> nn.Module:
    """Five convolutions and two wide layers for images of 32 x 32: 51 200 ReLUs."""
    widths, parts = (3, 64, 192, 384, 256, 256), []
    for i in range(5):
        conv = nn.Conv2d(widths[i], widths[i + 1], 3, 2 if i == 0 else 1, 1)
        parts += [conv, nn.ReLU(inplace=True)]
        if i in (0, 1, 4):
            parts.append(nn.MaxPool2d(2))
    head = [nn.Flatten(), nn.Linear(1024, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU()]
    return nn.Sequential(*parts, *head, nn.Linear(4096, 10)).eval()


def statistics_of_patterns(args: argparse.Namespace) -> dict[str, float]:
    """CPU seconds of every statistic of `rows` patterns, each once."""
    torch.manual_seed(0)
    net, kept = small_alexnet(), list[PackedPatterns]()
    noise = (torch.randn(min(100, args.rows - i), 3, 32, 32) for i in range(0, args.rows, 100))
    spent = {"collect": seconds(lambda: kept.append(collect(net, noise)))}
    packed = kept[0]
    functions = [activation_probabilities, bernoulli_test, marginal_test, dependence_test]
    for function in (*functions, constellations):
        spent[function.__name__] = seconds(function, packed)
    spent["strict_constellations"] = seconds(strict_constellations, packed, 3000)
    return spent


def resident() -> float:
    """Most memory that this process has held, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def plain(net: nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad():
        net(x)


def recorded(net: nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad(), record(net):
        net(x)


def collected(net: nn.Module, x: torch.Tensor) -> None:
    collect(net, x, batch_size=len(x))


def report(results: dict[str, Any]) -> str:
    lines = [f"{results['rows']} x {results['bits']} bits, all pairs:", ""]
    lines += ["| way | seconds | times scipy | added MB |", "|---|---|---|---|"]
    for row in results["hamming"]:
        numbers = f"{row['seconds']:.3g} | {row['times']:.3g} | {row['megabytes']:.0f}"
        lines.append(f"| {row['way']} | {numbers} |")
    lines += ["", "A batch of 32:", "", "| network | plain, ms | record | collect |"]
    lines.append("|---|---|---|---|")
    for row in results["recording"]:
        numbers = f"{row['milliseconds']:.3g} | {row['record']:.2f} | {row['collect']:.2f}"
        lines.append(f"| {row['network']} | {numbers} |")
    lines += ["", f"{results['rows']} patterns of an AlexNet-like network, CPU seconds:", ""]
    lines += [f"- {name}: {took:.3g}" for name, took in results["statistics"].items()]
    lines.append(f"- peak of the process so far: {results['resident_megabytes']:.0f} MB")
    return "\n".join([*lines, "", *geometry_lines(results["geometry"])])


if __name__ == "__main__":
    main()
