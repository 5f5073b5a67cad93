"""
Distillation by class and by image
==================================

Tables 2 and 3 of Seo, Lee & Han (2021). A student is trained on images and labels; what its
teacher knows comes in by image (KD: the teacher's soft output for every image), by class (CKD: the
class relations p_T(j | i) of the teacher's final layer, eq. 7, which take no image) or by both.
Under a shift the student's images, for training as for testing, are changed by chance
(photometric) or lose resolution (downsample), while the teacher was trained without.

Label smoothing (0.1) says what soft targets are worth that know no class from another. Targets of
the relations as printed are far softer than that, because the final layer reads activations of
length one. So there are two fair pairs: CKD beside matched smoothing, which gives the own class
the same probability in the mean; and sharpened CKD, whose logits are scaled until the own class
has the mean probability of label smoothing, beside label smoothing.

Each seed has a teacher, a draw of images and a start of the student's own, which all methods
share: differences are paired by seed. KD is 0.1 of the label's loss and 0.9 of the
teacher's at temperature 4 (Tian et al. 2020); CKD+KD has the relations in the place of the label.
The paper prints neither these numbers nor how the relations were estimated.

``--concentration`` is ``85`` as printed, or ``cosine:0.5`` for the kappa at which activations have
that mean cosine to their class weight. At the 128 dimensions of the paper's networks the two are
the same; the output says both.

Full size (``--root``; MNIST, Fashion-MNIST, CIFAR-10 or its JPEG copies, CIFAR-100): ConvNets and
2000 images for the student, about a quarter of an hour on a CPU core. ``--full``: WRN-40-2 and
WRN-16-2, all images and 240 epochs, for a GPU. ``--self``: the student has the teacher's
architecture. ``--quick``: the digits of scikit-learn, a minute. Every run is kept in ``--out``;
the same command goes on where it was stopped.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accuracy_tables import draw, show, show_printed, show_teachers, summary
from runs import arguments, held_out_digits, kept_numbers, save_numbers
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn

import probact as pa
from probact.arrays import check_count
from probact.datasets import ImageData
from probact.models import distillation
from probact.nn import ConvNet, WideResNet, accuracy, crop_and_flip, train_classifier
from probact.nn.shifts import downsample, photometric

METHODS = (
    "label", "label smoothing", "matched smoothing", "KD", "CKD", "sharpened CKD", "CKD+KD",
)  # fmt: skip
SMOOTHING = 0.1
DATA = ("mnist", "fashion_mnist", "cifar10", "cifar10_jpeg", "cifar100")
JPEGS = ("CIFAR10/cifar10_train_jpeg.npz", "CIFAR10/cifar10_test_jpeg.npz")


class Plan(NamedTuple):
    """Data, networks (teacher, then student) and how they are trained."""

    train: ImageData
    test: ImageData
    nets: tuple[Callable[[], nn.Module], Callable[[], nn.Module]]
    num_images: tuple[int, int]
    epochs: tuple[int, int]
    options: dict[str, Any]  # of train_classifier
    augment: bool
    device: torch.device


def images(name: str, root: Path) -> list[ImageData]:
    """Training and test images."""
    if name == "cifar10_jpeg":
        return [pa.datasets.jpeg_archive(root / path) for path in JPEGS]
    return [pa.datasets.load(name, root, train=is_train) for is_train in (True, False)]


def planned(args: argparse.Namespace) -> Plan:
    data = held_out_digits() if args.quick else images(args.data, args.root)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(device if args.device == "auto" else args.device)
    shape, count = tuple(data[0].images.shape[1:]), len(data[0].class_names)
    convnet, wide = partial(ConvNet, shape, count), partial(WideResNet, shape, count, widening=2)
    if args.full:
        nets = partial(wide, depth=40), partial(wide, depth=40 if args.self else 16)
        every, options = len(data[0].labels), {"optimiser": sgd, "schedule": three_drops}
        return Plan(*data, nets, (every, every), (240, 240), options, True, device)
    if args.quick:
        nets, size, epochs = (partial(convnet, 16, width=8), partial(convnet, 8, width=4)), 448, 8
    else:
        nets = partial(convnet, 128, width=16), partial(convnet, 32, width=4)
        size, epochs = 15_000, 4
    nets = (nets[0], nets[0]) if args.self else nets
    numbers = (size, min(size, args.images)), (epochs, args.epochs)
    return Plan(*data, nets, *numbers, {}, shape[0] == 3, device)


def sgd(parameters: Any) -> torch.optim.Optimizer:
    """The optimiser of Tian et al. 2020."""
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=5e-4)


def three_drops(optimiser: torch.optim.Optimizer) -> Any:
    """Its rate: a tenth after 150, 180 and 210 of 240 epochs."""
    return torch.optim.lr_scheduler.MultiStepLR(optimiser, [150, 180, 210])


def shift(name: str) -> Callable[[Tensor, Generator], Tensor]:
    """What "none", "photometric:S" or "downsample:F" does to a batch of images."""
    kind, _, size = name.partition(":")
    if kind == "photometric":
        return lambda x, generator: photometric(x, float(size), generator)
    if kind == "downsample":
        return lambda x, generator: downsample(x, float(size))
    if name != "none":
        raise ValueError(f"a shift is none, photometric:S or downsample:F, not {name}")
    return lambda x, generator: x


def trained(
    plan: Plan, which: int, seed: int, change: str, loss: Callable[..., Tensor] | None = None
) -> nn.Module:
    """Teacher (0) or student (1); the student's images are among the teacher's."""
    order = torch.randperm(len(plan.train.labels), generator=Generator().manual_seed(seed))
    rows = order[: plan.num_images[which]]
    x, y = plan.train.floats(rows).to(plan.device), plan.train.labels[rows].to(plan.device)

    def transform(batch: Tensor, generator: Generator) -> Tensor:
        batch = shift(change)(batch, generator)
        return crop_and_flip(batch, generator) if plan.augment else batch

    torch.manual_seed(2 * seed + which)
    net = plan.nets[which]().to(plan.device)
    options = {"epochs": plan.epochs[which], "seed": seed, **plan.options}
    for _ in train_classifier(net, x, y, transform=transform, loss=loss, **options):
        pass
    return net.eval()


def score(plan: Plan, net: nn.Module, change: str) -> float:
    """Accuracy on the test images, changed; the changes are the same for every network."""
    x = shift(change)(plan.test.floats(), Generator().manual_seed(0))
    return accuracy(net, x.to(plan.device), plan.test.labels.to(plan.device), batch_size=250)


def teacher_of(plan: Plan, seed: int, path: Path) -> nn.Module:
    """The teacher of a seed, trained without shift, or as an earlier run kept it."""
    if path.is_file():
        net = plan.nets[0]().to(plan.device)
        net.load_state_dict(load_file(path))
        return net.eval()
    net = trained(plan, 0, seed, "none")
    state = {key: value.cpu().contiguous() for key, value in net.state_dict().items()}
    save_file(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)
    return net


def law_of(
    net: nn.Module, concentration: str, num_classes: int, scale: float = 1.0
) -> pa.models.VMFClassifier:
    """The teacher's vMF classifier at "85" or at "cosine:0.5", its logits times `scale`."""
    head = pa.find_head(net, num_classes=num_classes)
    kind, _, value = concentration.partition(":")
    weight = scale * head.weight.float()
    bias = None if head.bias is None else scale * head.bias
    if kind == "cosine":
        return pa.models.VMFClassifier.from_mean_cosine(weight, float(value), bias=bias)
    return pa.models.VMFClassifier(weight, float(concentration), bias=bias)


def sharpened(relations: Callable[[float], Tensor], own: float) -> Tensor:
    """Relations of the scale of logits at which the own class has the mean probability `own`."""
    low, high = -6.0, 12.0  # log2 of the scale
    for _ in range(30):
        middle = 0.5 * (low + high)
        below = float(relations(2.0**middle).diagonal().mean()) < own
        low, high = (middle, high) if below else (low, middle)
    return relations(2.0**middle)


def losses(net: nn.Module, relations: Tensor, sharp: Tensor) -> dict[str, Callable[..., Tensor]]:
    """The training loss of each method."""
    labels = torch.eye(len(relations), device=relations.device)
    matched = distillation.matched_smoothing(relations)
    smooth = partial(distillation.smoothed_relations, len(relations))
    loss = distillation.teacher_loss
    return {
        "label": loss(labels),
        "label smoothing": loss(smooth(SMOOTHING).to(labels)),
        "matched smoothing": loss(smooth(matched).to(labels)),
        "KD": loss(labels, teacher=net),
        "CKD": loss(relations),
        "sharpened CKD": loss(sharp),
        "CKD+KD": loss(relations, teacher=net),
    }


def run_seed(plan: Plan, args: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Teacher's readings and every student's accuracies of one seed."""
    folder = args.out / "runs"
    folder.mkdir(exist_ok=True)
    teacher = teacher_of(plan, seed, folder / f"teacher_{seed}.safetensors")
    law_at = partial(law_of, teacher, args.concentration, len(plan.train.class_names))

    def relations_at(scale: float) -> Tensor:
        return law_at(scale).class_relations(args.draws, seed=seed)

    law, relations = law_at(), relations_at(1.0)
    sharp = sharpened(relations_at, 1.0 - SMOOTHING + SMOOTHING / law.num_classes)
    methods, kappa = losses(teacher, relations, sharp), law.fixed_concentration
    readings: dict[str, Any] = {
        "kappa": float(kappa),
        "mean_cosine": float(pa.special.bessel_ratio(kappa, law.dim)),
        "own_prob": float(relations.diagonal().mean()),
        "own_prob_sharpened": float(sharp.diagonal().mean()),
        "weight_norm": float(torch.linalg.vector_norm(law.weight, dim=1).mean()),
        "accuracy": {change: score(plan, teacher, change) for change in args.shifts},
    }
    found: dict[str, Any] = {"teacher": readings, "students": {}}
    for change in args.shifts:
        for method in args.methods:

            def make(change: str = change, method: str = method) -> dict[str, Any]:
                net = trained(plan, 1, seed, change, methods[method])
                unshifted = score(plan, net, "none")
                shifted = unshifted if change == "none" else score(plan, net, change)
                return {"accuracy": shifted, "unshifted": unshifted}

            slug = f"{change}_{method}_{seed}".replace(":", "_").replace(" ", "_")
            numbers = kept_numbers(folder / f"{slug}.json", make)
            found["students"].setdefault(change, {})[method] = numbers
            print(f"seed {seed}, {change}, {method}: {numbers['accuracy']:.4f}", flush=True)
    return found


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", choices=DATA, default="mnist")
    parser.add_argument("--full", action="store_true", help="wide ResNets, for a GPU")
    parser.add_argument("--self", action="store_true", help="students like their teachers")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--shifts", nargs="+", help="none, photometric:S, downsample:F")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--concentration", default="85", help="kappa, or cosine:C")
    parser.add_argument("--images", type=int, default=2000, help="of the student")
    parser.add_argument("--epochs", type=int, default=20, help="of the student")
    parser.add_argument("--draws", type=int, default=10_000, help="activations a class")
    parser.add_argument("--device", default="auto")
    return parser


def check_concentration(text: str) -> None:
    """Refuse what no classifier takes, before a teacher is trained."""
    kind, _, value = text.rpartition(":")
    if kind not in ("", "cosine"):
        raise ValueError(f"--concentration must be a number or cosine:C, got {text}")
    if kind:
        pa.models.VMFClassifier.from_mean_cosine(torch.eye(2), float(value))
    else:
        pa.models.VMFClassifier(torch.eye(2), float(value))


def main(argv: Sequence[str] | None = None) -> None:
    parser = options()
    args = arguments(__doc__, argv, [], parser)
    quick = ["none", "downsample:0.25"]
    args.shifts = args.shifts or (quick if args.quick else [*quick, "photometric:0.8"])
    try:
        check_count(args.seeds, "--seeds")
        check_count(args.images, "--images", smallest=2)
        check_concentration(args.concentration)
        for change in args.shifts:
            shift(change)(torch.zeros(1, 1, 8, 8), Generator())
        plan = planned(args)
    except (FileNotFoundError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    apart = ("out", "root", "device", "methods", "shifts", "seeds")  # may differ from run to run
    setting = {k: v for k, v in vars(args).items() if k not in apart}
    if kept_numbers(args.out / "setting.json", lambda: setting) != setting:
        raise SystemExit(f"{args.out} is of another setting: choose another --out")
    seeds = [run_seed(plan, args, args.seed + s) for s in range(args.seeds)]
    tables = {reading: summary(seeds, reading) for reading in ("accuracy", "unshifted")}
    show("Accuracy on test images shifted as the student's, per cent", tables["accuracy"])
    for base in ("label", "label smoothing", "matched smoothing"):
        tables[f"minus {base}"] = summary(seeds, "accuracy", base)
        show(f"Gain over {base}, paired by seed, points", tables[f"minus {base}"], "+")
    show("Accuracy on test images as they are, per cent", tables["unshifted"])
    show_teachers(seeds, args.seed)
    show_printed()
    save_numbers(args.out / "numbers.json", {"setting": setting, "seeds": seeds, **tables})
    draw(seeds, args.out / "accuracies.png")


if __name__ == "__main__":
    main()
