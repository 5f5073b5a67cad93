"""Data sets: disjoint stratified splits, loaders against files written here, errors in words."""

import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from probact import datasets

PATTERN = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(
    2, 3, 4
)  # two images, three rows, four columns


def test_digits_are_scikit_learns_own_split_in_two() -> None:
    from sklearn.datasets import load_digits

    train, test = datasets.digits(train=True), datasets.digits(train=False)
    assert (len(train.labels), len(test.labels)) == (1438, 359)
    rows = torch.cat([train.images, test.images]).reshape(1797, 64).to(torch.float64)
    order = np.lexsort(rows.numpy().T)
    bunch = load_digits()
    expected = np.lexsort(bunch.data.T)
    np.testing.assert_array_equal(rows.numpy()[order], bunch.data[expected])
    labels = torch.cat([train.labels, test.labels]).numpy()
    np.testing.assert_array_equal(labels[order], bunch.target[expected])


def test_digits_floats_are_the_pixels_over_sixteen() -> None:
    data = datasets.digits(train=False)
    x = data.floats()
    assert (x.dtype, x.shape, data.images.dtype) == (torch.float32, (359, 1, 8, 8), torch.uint8)
    assert (x.min(), x.max()) == (0.0, 1.0)
    assert torch.equal(x * 16, data.images.float())
    picked = torch.tensor([5, 2])
    assert torch.equal(data.floats(picked), x[picked])
    assert data.class_names == tuple("0123456789")


def test_split_takes_its_share_of_every_class_and_every_point_once() -> None:
    labels = np.repeat([3, 1, 7], [10, 25, 4])
    train, test = datasets.stratified_split(labels, test_fraction=0.3, seed=1)
    assert sorted(torch.cat([train, test]).tolist()) == list(range(39))
    counts = {label: int((labels[test] == label).sum()) for label in (3, 1, 7)}
    assert counts == {3: 3, 1: 8, 7: 1}  # round(3.0), round(7.5), round(1.2)


def test_split_depends_on_the_seed_alone() -> None:
    labels = torch.arange(200) % 4
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    once, again, other = (datasets.stratified_split(labels, seed=seed)[1] for seed in (0, 0, 1))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@pytest.mark.parametrize(
    ("labels", "fraction", "message"),
    [
        ([[0, 1]], 0.2, r"labels must be whole numbers \(N,\)"),
        ([0.0, 1.0], 0.2, "got float64"),
        ([], 0.2, "labels must be whole numbers"),
        ([0, 1], 0.0, "test_fraction must lie between"),
        ([0, 1], 1.0, "test_fraction must lie between"),
    ],
)
def test_split_refuses(labels: list[object], fraction: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        datasets.stratified_split(labels, test_fraction=fraction)


def write_idx(file: Path, array: np.ndarray) -> None:
    """An IDX file of bytes, as MNIST's page describes it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    file.write_bytes(head + array.astype(np.uint8).tobytes())


@pytest.fixture(params=["MNIST", "FashionMNIST"])
def idx_root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A root with one small data set in MNIST's format, whose folder is its only entry."""
    raw = tmp_path / request.param / "raw"
    for split, images in (("train", PATTERN), ("t10k", PATTERN[:1] + 100)):
        write_idx(raw / f"{split}-images-idx3-ubyte", images)
        write_idx(raw / f"{split}-labels-idx1-ubyte", np.arange(len(images)) + 8)
    return tmp_path


def load_idx(root: Path, *, train: bool) -> datasets.ImageData:
    name = {"MNIST": "mnist", "FashionMNIST": "fashion_mnist"}[next(root.iterdir()).name]
    return datasets.load(name, root, train=train)


def test_idx_files_come_back_as_written(idx_root: Path) -> None:
    train, test = load_idx(idx_root, train=True), load_idx(idx_root, train=False)
    np.testing.assert_array_equal(train.images, PATTERN[:, None])
    np.testing.assert_array_equal(test.images, PATTERN[:1, None] + 100)
    assert (train.labels.tolist(), test.labels.tolist()) == ([8, 9], [8])
    assert train.labels.dtype == torch.int64
    assert len(train.class_names) == 10


def test_missing_files_are_named_with_what_to_do(tmp_path: Path, idx_root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"MNIST is not in .*nowhere") as caught:
        datasets.mnist(tmp_path / "nowhere", train=True)
    assert "train-images-idx3-ubyte" in str(caught.value)
    assert "download=True" in str(caught.value)
    next(idx_root.glob("*/raw/t10k-labels*")).unlink()
    with pytest.raises(FileNotFoundError, match=r"missing t10k-labels-idx1-ubyte\. Put"):
        load_idx(idx_root, train=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:-1], r"declares shape \(2, 3, 4\) but holds 23 bytes"),
        (lambda raw: raw + b"0", r"declares shape \(2, 3, 4\) but holds 25 bytes"),
        (lambda raw: b"\x1f\x8b" + raw[2:], "is no IDX file of bytes with 3 axes"),
        (lambda raw: raw[:7], "is no IDX file"),
        (lambda raw: b"", "is no IDX file"),
        (lambda raw: raw[:4] + struct.pack(">3I", 1, 6, 4) + raw[16:], "1 images but .* 2 labels"),
    ],
)
def test_damaged_idx_files_are_refused(
    idx_root: Path, change: Callable[[bytes], bytes], message: str
) -> None:
    file = next(idx_root.glob("*/raw/train-images*"))
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(ValueError, match=message):
        load_idx(idx_root, train=True)


def test_idx_label_without_a_class_is_refused(idx_root: Path) -> None:
    write_idx(next(idx_root.glob("*/raw/train-labels*")), np.array([3, 10]))
    with pytest.raises(ValueError, match="holds label 10, expected 0 to 9"):
        load_idx(idx_root, train=True)


@pytest.fixture
def cifar_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One image per batch file in CIFAR-10's own layout, its check sums waived."""
    lists = [
        [[name, None] for name, _ in part] for part in (CIFAR10.train_list, CIFAR10.test_list)
    ]
    monkeypatch.setattr(CIFAR10, "train_list", lists[0])
    monkeypatch.setattr(CIFAR10, "test_list", lists[1])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": None})
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for index, (name, _) in enumerate([*lists[0], *lists[1]]):
        pixels = (np.arange(3072) % 256 + index).astype(np.uint8)[None]
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": [index]}))
    label_names = [f"kind {k}" for k in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": label_names}))
    return tmp_path


def test_cifar_planes_become_channels(cifar_root: Path) -> None:
    train, test = (datasets.load("cifar10", cifar_root, train=train) for train in (True, False))
    assert train.images.shape == (5, 3, 32, 32)
    assert train.labels.tolist() == [0, 1, 2, 3, 4]
    assert test.labels.tolist() == [5]
    # a batch row holds 1024 red, then 1024 green, then 1024 blue bytes, each row by row
    expected = ((np.arange(3072) % 256 + 5) % 256).reshape(3, 32, 32)
    np.testing.assert_array_equal(test.images[0], expected)
    assert test.class_names[9] == "kind 9"


def test_cifar_missing_or_altered_is_refused(
    cifar_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", "0" * 32]])
    with pytest.raises(ValueError, match=r"CIFAR-10 in .*cifar-10-batches-py cannot be used"):
        datasets.cifar10(cifar_root, train=True)
    (cifar_root / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(FileNotFoundError, match=r"missing data_batch_3\. Put"):
        datasets.cifar10(cifar_root, train=True)


def test_cifar100_has_its_fine_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CIFAR100, "train_list", [["train", None]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", None]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": None})
    with pytest.raises(
        FileNotFoundError, match=r"CIFAR-100 is not in .*missing train, test, meta"
    ):
        datasets.load("cifar100", tmp_path, train=True)
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for index, name in enumerate(("train", "test")):
        pixels = (np.arange(3072) % 256 + index).astype(np.uint8)[None]
        labels = {"fine_labels": [90 + index], "coarse_labels": [3]}
        (folder / name).write_bytes(pickle.dumps({"data": pixels, **labels}))
    names = [f"kind {k}" for k in range(100)]
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    test = datasets.load("cifar100", tmp_path, train=False)
    assert test.labels.tolist() == [91]
    assert test.class_names[91] == "kind 91"
    expected = ((np.arange(3072) % 256 + 1) % 256).reshape(3, 32, 32)
    np.testing.assert_array_equal(test.images[0], expected)


def test_load_suggests_and_asks_for_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'fashion_mnist'"):
        datasets.load("Fashion-MNIST", tmp_path, train=True)
    with pytest.raises(ValueError, match=r"unknown data set 'zzz', known are cifar10, .*mnist$"):
        datasets.load("zzz", train=True)
    with pytest.raises(ValueError, match="mnist needs root="):
        datasets.load("mnist", train=True)
    with pytest.raises(ValueError, match="digits comes with scikit-learn"):
        datasets.load("digits", tmp_path, train=True)


def test_importing_leaves_torchvision_out() -> None:
    code = (
        "import sys, probact, probact.datasets as d; "
        "d.digits(train=True); assert 'torchvision' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def shared(*parts: str) -> Path:
    """A place in the folder of real data, which may be named by PROBACT_SHARED."""
    path = Path(os.environ.get("PROBACT_SHARED") or "PROBACT_SHARED").joinpath("data", *parts)
    if not path.exists():
        pytest.skip(f"no real data at {path}; PROBACT_SHARED names its folder")
    return path


def test_real_mnist_has_the_published_class_counts() -> None:
    test = datasets.mnist(shared("MNIST").parent, train=False)
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]  # LeCun's test set
    assert torch.bincount(test.labels).tolist() == counts
    assert test.images.shape == (10_000, 1, 28, 28)


def test_real_fashion_mnist_is_balanced() -> None:
    test = datasets.fashion_mnist(shared("FashionMNIST").parent, train=False)
    assert torch.bincount(test.labels).tolist() == [1000] * 10
    assert test.class_names[9] == "Ankle boot"


@pytest.mark.parametrize(
    ("parts", "shape", "num_classes"),
    [
        (("CIFAR10", "cifar10_test_jpeg.npz"), (3, 32, 32), 10),
        (("CelebA", "celeba_first10000_89x109_jpeg.npz"), (3, 109, 89), 0),
        (("ImageNetSamples", "imagenet_samples_224_jpeg.npz"), (3, 224, 224), 1000),
    ],
)
def test_real_archives_open(
    parts: tuple[str, ...], shape: tuple[int, ...], num_classes: int
) -> None:
    data = datasets.jpeg_archive(shared(*parts), indices=[41, 7])
    assert data.images.shape == (2, *shape)
    assert len(data.class_names) == num_classes
    assert len(data.labels) == (2 if num_classes else 0)
    if num_classes == 1000:
        assert data.class_names[data.labels[0]] == "whiptail, whiptail lizard"
