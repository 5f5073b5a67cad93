"""Images packed as JPEG files, one after the other, in one .npz archive.

Arrays of the archive: `jpeg` (bytes,) uint8; `offsets` (N + 1,) whole numbers, image i being
jpeg[offsets[i]:offsets[i + 1]]; optional `labels` (N,) from 0; optional, with labels,
`class_names` (C,) texts. Others are left alone. No pickles are read.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from probact.files.headers import npz_shapes

__all__ = ["JpegArchive", "decode_jpegs", "read_jpeg_archive"]


MAX_UNNAMED = 100_000  # classes that may go without names: a stray label must not fill memory


class JpegArchive(NamedTuple):
    """A checked archive, still packed."""

    jpeg: NDArray[np.uint8]  # (bytes,)
    offsets: NDArray[np.int64]  # (N + 1,)
    labels: NDArray[np.int64]  # (N,), or (0,) if unlabelled
    class_names: tuple[str, ...]  # (C,), or () if unlabelled


def read_jpeg_archive(path: Path) -> JpegArchive:
    """The packed images of a file, checked but not decoded.

    Labels without names get the names "0", "1", ... up to the largest label.

    Raises: FileNotFoundError if there is no such file; ValueError if it is no such archive, the
    offsets do not increase within the bytes, or the labels do not fit images and names.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no image archive {path}: expected an .npz file with the arrays jpeg and offsets"
        )
    arrays = _read_arrays(path)
    jpeg, offsets = arrays["jpeg"], arrays["offsets"]
    if jpeg.dtype != np.uint8 or jpeg.ndim != 1:
        raise ValueError(f"{path}: jpeg must be (bytes,) uint8, got {jpeg.dtype} {jpeg.shape}")
    starts = _whole_numbers(path, "offsets", offsets)
    if len(starts) < 2:
        raise ValueError(f"{path}: offsets must hold N + 1 >= 2 numbers, got {len(starts)}")
    falling = np.flatnonzero(np.diff(starts) <= 0)
    if len(falling):
        raise ValueError(f"{path}: offsets must increase, but do not at image {falling[0]}")
    if starts[0] < 0 or starts[-1] > len(jpeg):
        raise ValueError(
            f"{path}: offsets run from {starts[0]} to {starts[-1]}, jpeg has {len(jpeg)} bytes"
        )
    labels, names = _read_labels(path, arrays, len(starts) - 1)
    return JpegArchive(jpeg.astype(np.uint8, copy=False), starts, labels, names)


def decode_jpegs(
    archive: JpegArchive, indices: Sequence[int], *, size: int | tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """RGB pixels (n, 3, H, W) of the images of the indices (n,), decoded one at a time.

    `size`, a side or (height, width): the centre of each image, cropped to that shape and resized
    bilinearly. Grey images get three equal channels. What libjpeg repairs by itself passes.

    Raises: ValueError if there are no indices or one is outside the archive, the size is not
    positive, an image cannot be decoded, or images differ in size and `size` is None.
    """
    count = len(archive.offsets) - 1
    chosen = _whole_numbers("jpeg archive", "indices", np.asarray(indices))
    outside = chosen[(chosen < 0) | (chosen >= count)]
    if len(chosen) == 0 or len(outside):
        found = f"got {outside[0]}" if len(outside) else "got none"
        raise ValueError(f"indices must be from 0 to {count - 1}, {found}")
    shape = (size, size) if isinstance(size, int) else size
    if shape is not None and not (
        isinstance(shape, tuple)
        and len(shape) == 2
        and all(type(s) is int and s > 0 for s in shape)
    ):
        raise ValueError(f"size must be a side or (height, width) of 1 or more, got {size!r}")
    first = _decode(archive, int(chosen[0]), shape)
    pixels = np.empty((len(chosen), 3, *first.shape[:2]), dtype=np.uint8)
    for row, index in enumerate(chosen):
        image = _decode(archive, int(index), shape)  # (H, W, 3)
        if image.shape != first.shape:
            raise ValueError(
                f"image {index} is {image.shape[:2]}, image {chosen[0]} is {first.shape[:2]} "
                "(height, width): pass size= to bring them to one"
            )
        pixels[row] = image.transpose(2, 0, 1)
    return pixels


def _decode(archive: JpegArchive, index: int, shape: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) of one image."""
    packed = archive.jpeg[archive.offsets[index] : archive.offsets[index + 1]].tobytes()
    try:
        with Image.open(io.BytesIO(packed), formats=["JPEG"]) as image:
            rgb = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(f"image {index} is no readable JPEG: {error}") from error
    if shape is not None:
        rgb = _centred(rgb, *shape)
    return np.asarray(rgb)


def _centred(image: Image.Image, height: int, width: int) -> Image.Image:
    """The largest central part of that shape, resized; cropped first, lest its edges bleed in."""
    scale = min(image.width / width, image.height / height)
    across, down = max(1, round(scale * width)), max(1, round(scale * height))
    left, top = round((image.width - across) / 2), round((image.height - down) / 2)
    part = image.crop((left, top, left + across, top + down))
    return part.resize((width, height), Image.Resampling.BILINEAR)


def _read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays of the format that the file holds, each unpacked once."""
    wanted = ("jpeg", "offsets", "labels", "class_names")
    try:
        held = npz_shapes(path)
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in wanted if name in held}
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        raise ValueError(f"{path} is no readable .npz archive: {error}") from error
    missing = [name for name in wanted[:2] if name not in arrays]
    if missing:
        raise ValueError(f"{path} has no array {' and '.join(missing)}, only {sorted(held)}")
    return arrays


def _read_labels(
    path: Path, arrays: dict[str, NDArray[np.generic]], count: int
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels (N,) and names (C,), both empty where there are no labels."""
    if "labels" not in arrays:
        if "class_names" in arrays:
            raise ValueError(f"{path} has class_names but no labels")
        return np.empty(0, dtype=np.int64), ()
    labels = _whole_numbers(path, "labels", arrays["labels"])
    if len(labels) != count:
        raise ValueError(f"{path} holds {count} images but {len(labels)} labels")
    if "class_names" in arrays:
        names = arrays["class_names"]
    else:
        names = np.arange(min(max(labels.max() + 1, 1), MAX_UNNAMED)).astype(str)
    if names.ndim != 1 or names.dtype.kind != "U":
        raise ValueError(
            f"{path}: class_names must be (C,) texts, got {names.dtype} {names.shape}"
        )
    if labels.min() < 0 or labels.max() >= len(names):
        raise ValueError(
            f"{path}: labels must be from 0 to {len(names) - 1}, one per class name, "
            f"got {labels.min()} to {labels.max()}"
        )
    return labels, tuple(str(name) for name in names)


def _whole_numbers(where: Path | str, name: str, array: NDArray[np.generic]) -> NDArray[np.int64]:
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{where}: {name} must be one row of whole numbers, got {array.dtype}")
    if array.dtype == np.uint64 and len(array) and int(array.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"{where}: {name} holds {array.max()}, too large")
    return array.astype(np.int64)
