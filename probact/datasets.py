"""Images to train and look at: an embedded set, torchvision's published ones, JPEG archives.

Every loader returns an `ImageData`: pixels as stored, in whole numbers; `floats` turns those asked
for into [0, 1]. The train/test split is the publisher's where there is one; `digits` has none and
uses `stratified_split`. Nothing is downloaded unless `download=True` says so.
"""

import difflib
import math
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from probact.files.jpeg_archives import decode_jpegs, read_jpeg_archive

__all__ = [
    "ImageData",
    "cifar10",
    "cifar100",
    "digits",
    "fashion_mnist",
    "jpeg_archive",
    "load",
    "mnist",
    "names",
    "stratified_split",
]

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


class ImageData(NamedTuple):
    """N images of C channels with their classes; labels are empty where an archive has none."""

    images: Tensor  # (N, C, H, W) uint8, as stored: 0 is black, `white` is full intensity
    labels: Tensor  # (N,) int64, or (0,) if unlabelled
    class_names: tuple[str, ...]  # one per class, or () if unlabelled
    white: int = 255

    def floats(self, indices: slice | Tensor | None = None) -> Tensor:
        """Images as float32 in [0, 1], (n, C, H, W): all, or only those of the indices (n,).

        >>> digits(train=False).floats(slice(0, 5)).max()
        tensor(1.)
        """
        chosen = self.images if indices is None else self.images[indices]
        return chosen.to(torch.float32) / self.white


def stratified_split(
    labels: ArrayLike | Tensor, *, test_fraction: float = 0.2, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Indices of the training and the test points (n,), (m,), each increasing, of labels (N,).

    Of a class of n points, round(test_fraction * n) are drawn into the test set, without
    replacement, by numpy's PCG64 generator from `seed`, class by class in increasing order.

    Raises: ValueError if labels are not whole numbers (N,) or the fraction is not within (0, 1).

    >>> train, test = stratified_split([0, 0, 0, 0, 1, 1], test_fraction=0.5)
    >>> len(train), len(test)
    (3, 3)
    """
    classes = np.asarray(labels)
    if classes.ndim != 1 or classes.dtype.kind not in "iu" or len(classes) == 0:
        raise ValueError(
            f"labels must be whole numbers (N,), got {classes.dtype} of shape {classes.shape}"
        )
    if not 0.0 < test_fraction < 1.0:
        raise ValueError(f"test_fraction must lie between 0 and 1, got {test_fraction}")
    rng = np.random.default_rng(seed)
    is_test = np.zeros(len(classes), dtype=bool)
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        count = round(test_fraction * len(members))
        is_test[rng.permutation(members)[:count]] = True
    return torch.from_numpy(np.flatnonzero(~is_test)), torch.from_numpy(np.flatnonzero(is_test))


def digits(*, train: bool, test_fraction: float = 0.2, seed: int = 0) -> ImageData:
    """The 1797 handwritten digits 8x8, grey values 0 to 16, that come with scikit-learn.

    Split by `stratified_split`: 1438 for training and 359 for testing by default.

    Raises: ValueError if `test_fraction` is not within (0, 1).

    >>> digits(train=True).images.shape
    torch.Size([1438, 1, 8, 8])
    """
    from sklearn.datasets import load_digits  # here: a second of import that few runs need

    bunch = load_digits()
    split = stratified_split(bunch.target, test_fraction=test_fraction, seed=seed)
    chosen = split[0] if train else split[1]
    images = torch.from_numpy(bunch.images.astype(np.uint8))[chosen, None]
    labels = torch.from_numpy(bunch.target.astype(np.int64))[chosen]
    return ImageData(images, labels, tuple(str(name) for name in bunch.target_names), white=16)


def mnist(root: str | Path, *, train: bool, download: bool = False) -> ImageData:
    """MNIST: 60 000 training or 10 000 test digits 28x28, from root/MNIST/raw (four IDX files).

    Raises: FileNotFoundError naming what is missing; ValueError if a file is not as it declares.
    """
    return _idx_images("MNIST", tuple("0123456789"), root, train=train, download=download)


def fashion_mnist(root: str | Path, *, train: bool, download: bool = False) -> ImageData:
    """Fashion-MNIST: like `mnist`, garments of ten kinds, from root/FashionMNIST/raw.

    Raises: FileNotFoundError naming what is missing; ValueError if a file is not as it declares.
    """
    from torchvision.datasets import FashionMNIST  # here: not at `import probact`

    names = tuple(FashionMNIST.classes)
    return _idx_images("FashionMNIST", names, root, train=train, download=download)


def cifar10(root: str | Path, *, train: bool, download: bool = False) -> ImageData:
    """CIFAR-10: 50 000 training or 10 000 test images 32x32, from root/cifar-10-batches-py.

    The files are pickles; torchvision opens them only after their MD5 sums are those published.
    Copies packed as JPEG are another data set: `jpeg_archive` reads them.

    Raises: FileNotFoundError naming what is missing; ValueError if an MD5 sum differs.
    """
    return _cifar("CIFAR10", "CIFAR-10", root, train=train, download=download)


def cifar100(root: str | Path, *, train: bool, download: bool = False) -> ImageData:
    """CIFAR-100: 50 000 training or 10 000 test images 32x32, from root/cifar-100-python.

    The hundred fine classes; as `cifar10` otherwise.

    Raises: FileNotFoundError naming what is missing; ValueError if an MD5 sum differs.
    """
    return _cifar("CIFAR100", "CIFAR-100", root, train=train, download=download)


def _cifar(name: str, title: str, root: str | Path, *, train: bool, download: bool) -> ImageData:
    """One split, through the torchvision class of that name."""
    from torchvision import datasets as published  # here: not at `import probact`

    kind = getattr(published, name)
    folder = Path(root) / kind.base_folder
    listed = [*kind.train_list, *kind.test_list]
    if not download:
        _require_files(title, folder, [file for file, _ in listed] + [kind.meta["filename"]])
    try:
        dataset = kind(str(root), train=train, download=download)
    except RuntimeError as error:
        raise ValueError(f"{title} in {folder} cannot be used: {error}") from error
    images = torch.from_numpy(np.ascontiguousarray(dataset.data.transpose(0, 3, 1, 2)))
    return ImageData(images, torch.tensor(dataset.targets), tuple(dataset.classes))


def jpeg_archive(
    path: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    indices: Sequence[int] | None = None,
) -> ImageData:
    """RGB images packed as JPEG in an .npz archive, as `probact.files.jpeg_archives` describes it.

    `indices` picks images by their place in the archive, all by default. `size`, one side or
    (height, width), crops the centre to that shape and resizes it bilinearly; without it the
    images must share one size. Memory: the packed bytes, the result and one image.

    Raises: FileNotFoundError if there is no such file; ValueError if it is no such archive or
    inconsistent, or an image (named by its index) is corrupt or of another size than the first.
    """
    archive = read_jpeg_archive(Path(path))
    chosen = range(len(archive.offsets) - 1) if indices is None else indices
    images = torch.from_numpy(decode_jpegs(archive, chosen, size=size))
    labels = torch.from_numpy(archive.labels)
    if len(labels):
        labels = labels[torch.as_tensor(chosen)]
    return ImageData(images, labels, archive.class_names)


def names() -> tuple[str, ...]:
    """Names that `load` knows.

    >>> names()
    ('cifar10', 'cifar100', 'digits', 'fashion_mnist', 'mnist')
    """
    return tuple(sorted([*_published(), "digits"]))


def load(
    name: str, root: str | Path | None = None, *, train: bool, download: bool = False
) -> ImageData:
    """The data set of that name, as its own loader gives it; `root` for all but `digits`.

    Raises: ValueError if the name is unknown (the closest is suggested), or the root is missing or
    given where there is none; what the loader raises.

    >>> load("digits", train=False).images.shape
    torch.Size([359, 1, 8, 8])
    """
    if name not in names():
        close = difflib.get_close_matches(name.lower().replace("-", "_"), names(), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown data set {name!r}, known are {', '.join(names())}{hint}")
    if name == "digits":
        if root is not None or download:
            raise ValueError("digits comes with scikit-learn: it takes no root and no download")
        return digits(train=train)
    if root is None:
        raise ValueError(f"{name} needs root=, the folder that holds (or is to hold) its files")
    return _published()[name](root, train=train, download=download)


def _published() -> dict[str, Callable[..., ImageData]]:
    return {
        "cifar10": cifar10,
        "cifar100": cifar100,
        "fashion_mnist": fashion_mnist,
        "mnist": mnist,
    }


def _idx_images(
    folder: str, class_names: tuple[str, ...], root: str | Path, *, train: bool, download: bool
) -> ImageData:
    """One split of a data set in MNIST's format, through the torchvision class named `folder`."""
    from torchvision import datasets as published  # here: not at `import probact`

    raw = Path(root) / folder / "raw"
    if not download:
        _require_files(folder, raw, IDX_FILES)
    pair = [raw / name for name in (IDX_FILES[:2] if train else IDX_FILES[2:])]
    if all(file.is_file() for file in pair):
        sizes = [_idx_shape(file, ndim)[0] for file, ndim in zip(pair, (3, 1), strict=True)]
        if sizes[0] != sizes[1]:
            raise ValueError(f"{pair[0]} holds {sizes[0]} images but {pair[1]} {sizes[1]} labels")
    dataset = getattr(published, folder)(str(root), train=train, download=download)
    labels = dataset.targets.to(torch.int64)
    if int(labels.max()) >= len(class_names):
        raise ValueError(f"{pair[1]} holds label {int(labels.max())}, expected 0 to 9")
    return ImageData(dataset.data[:, None], labels, class_names)


def _idx_shape(file: Path, ndim: int) -> tuple[int, ...]:
    """Shape in the header of an IDX file of bytes: magic 0, 0, 8, ndim, then big-endian sizes."""
    with file.open("rb") as stream:
        head = stream.read(4 * (1 + ndim))
    if len(head) < 4 * (1 + ndim) or head[:4] != bytes((0, 0, 8, ndim)):
        raise ValueError(f"{file} is no IDX file of bytes with {ndim} axes (uncompressed?)")
    shape = struct.unpack(f">{ndim}I", head[4:])
    held = file.stat().st_size - len(head)
    if math.prod(shape) == 0 or math.prod(shape) != held:
        raise ValueError(f"{file} declares shape {shape} but holds {held} bytes: cut short?")
    return shape


def _require_files(title: str, folder: Path, files: Sequence[str]) -> None:
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{title} is not in {folder}: missing {', '.join(missing)}. Put the uncompressed "
            "files there, or pass download=True to fetch them (for JPEG archives: jpeg_archive)"
        )
