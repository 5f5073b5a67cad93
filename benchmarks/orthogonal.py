"""Speed and memory of layers with orthogonal rows: QR beside torch's and geotorch's maps.

Each contestant is a linear layer (K, D) in float32; a step works out its weight and the gradient
of a linear function of it with respect to what the optimiser moves. One thread. Every round runs
each contestant once, in turn, and counts the CPU seconds of the process; reported are medians over
rounds and the median ratio to ours. A contestant that needs over two seconds a step is run three
times, over ten seconds once. Memory is the largest resident set during a first step beyond that
before it (Linux), or what CUDA's allocator says; the error is the largest cosine of two rows. Run

    OMP_NUM_THREADS=1 python benchmarks/orthogonal.py [--peers DIR] [--quick] [--json FILE]
    python benchmarks/orthogonal.py --device cuda
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from probact.nn import orthogonalize

OURS = "probact, QR"
SHAPES = ((64, 64), (192, 864), (256, 3072))
Make = Callable[[nn.Linear], nn.Linear]


class GramSchmidt(nn.Module):
    """Row by row, as in the paper."""

    def forward(self, weight: Tensor) -> Tensor:
        basis: list[Tensor] = []
        for row in weight:
            left = row
            for done in basis:
                left = left - (row @ done) / (done @ done) * done
            basis.append(left)
        return torch.stack(basis)


def one_by_one(layer: nn.Linear) -> nn.Linear:
    parametrize.register_parametrization(layer, "weight", GramSchmidt())
    return layer


def torch_map(name: str) -> Make:
    return lambda layer: parametrizations.orthogonal(layer, orthogonal_map=name)


def contestants() -> dict[str, Make]:
    makes: dict[str, Make] = {
        OURS: orthogonalize,
        "probact, QR, learned lengths": lambda layer: orthogonalize(layer, norm="learned"),
        "Gram-Schmidt row by row": one_by_one,
        "torch cayley": torch_map("cayley"),
        "torch householder": torch_map("householder"),
        "torch matrix_exp": torch_map("matrix_exp"),
    }
    geotorch = imported("geotorch")
    if geotorch is not None:
        for triv in ("expm", "cayley"):
            makes[f"geotorch {triv}"] = with_geotorch(geotorch, triv)
    return makes


def with_geotorch(geotorch: Any, triv: str) -> Make:
    def make(layer: nn.Linear) -> nn.Linear:
        geotorch.orthogonal(layer, "weight", triv=triv)
        return layer

    return make


def imported(name: str) -> Any:
    """A peer, or None where it is not installed."""
    try:
        return __import__(name)
    except ImportError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="3 rounds, 64 x 64 only")
    parser.add_argument("--only", nargs="+", help="contestants whose name holds one of these")
    parser.add_argument("--peers", type=Path, help="folder from which peers may be imported")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="also write every number to this file")
    args = parser.parse_args()
    if args.device == "cpu" and os.environ.get("OMP_NUM_THREADS") != "1":
        parser.error("set OMP_NUM_THREADS=1: contestants must not differ in threads")
    if args.peers:
        sys.path.append(str(args.peers))
    torch.set_num_threads(1)
    rounds, shapes = (3, SHAPES[:1]) if args.quick else (args.rounds, SHAPES)
    results: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__}
    for shape in shapes:
        results[f"{shape[0]} x {shape[1]}"] = compare(shape, rounds, args)
    print(report(results))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


def compare(shape: tuple[int, int], rounds: int, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each round, memory and error of every contestant at one shape."""
    rows: dict[str, Any] = {}
    steps: dict[str, Callable[[], None]] = {}
    for name, make in contestants().items():
        if name != OURS and args.only and not any(part in name for part in args.only):
            continue
        torch.manual_seed(0)
        layer = make(nn.Linear(shape[1], shape[0], bias=False)).to(args.device)
        steps[name] = training_step(layer)
        first = seconds_of(steps[name], args.device)  # also compiles and warms
        again = seconds_of(steps[name], args.device) if first < 10.0 else first
        count = rounds if again < 2.0 else 3 if again < 10.0 else 1
        rows[name] = {
            "rounds": count,
            "seconds": [again],
            "memory": memory_of(make, shape, args.device) if again < 10.0 else None,
            "cosine": largest_cosine(layer.weight),
        }
    for number in range(1, rounds):
        for name, step in steps.items():
            if number < rows[name]["rounds"]:
                rows[name]["seconds"].append(seconds_of(step, args.device))
    return rows


def training_step(layer: nn.Linear) -> Callable[[], None]:
    pull = torch.randn_like(layer.weight.detach())

    def step() -> None:
        layer.zero_grad()
        (layer.weight * pull).sum().backward()

    return step


def seconds_of(step: Callable[[], None], device: str) -> float:
    """CPU seconds of the process; on a GPU, seconds of wall time."""
    if device == "cpu":
        start = time.process_time()
        step()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def memory_of(make: Make, shape: tuple[int, int], device: str) -> float | None:
    """MiB that the first step takes at its worst beyond what is held before it.

    In a forked process that ends with it: in this one, memory that was freed may be used again.
    """
    if device != "cpu":
        step = training_step(make(nn.Linear(shape[1], shape[0], bias=False)).to(device))
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    if not Path("/proc/self/clear_refs").exists():
        return None
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        step = training_step(make(nn.Linear(shape[1], shape[0], bias=False)))
        Path("/proc/self/clear_refs").write_text("5")  # forget the largest resident set so far
        before = status("VmRSS")
        step()
        os.write(writer, str((status("VmHWM") - before) / 2**10).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        return float(stream.read())


def status(field: str) -> int:
    """KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def largest_cosine(weight: Tensor) -> float:
    rows = nn.functional.normalize(weight.detach().double(), dim=1)
    return float((rows @ rows.T).fill_diagonal_(0.0).abs().max())


def report(results: dict[str, Any]) -> str:
    lines = [f"python {results['python']}, torch {results['torch']}"]
    for shape, rows in results.items():
        if not isinstance(rows, dict):
            continue
        lines += [f"\n### {shape}\n", "| | ms | ratio | MiB | largest cosine |", "|---" * 5 + "|"]
        ours = rows[OURS]["seconds"]
        for name, row in rows.items():
            pairs = zip(row["seconds"], ours, strict=False)
            ratio = statistics.median(a / b for a, b in pairs)
            memory = "" if row["memory"] is None else f"{row['memory']:.1f}"
            lines.append(
                f"| {name} | {1e3 * statistics.median(row['seconds']):.3g} | {ratio:.3g} | "
                f"{memory} | {row['cosine']:.0e} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
