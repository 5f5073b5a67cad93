"""Packed JPEG archives: pixels and labels as packed, sizes, and every damage refused in words."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from probact.datasets import jpeg_archive

SHADES = (20, 90, 160, 230)
Arrays = dict[str, np.ndarray]


def pack(files: list[bytes], **others: np.ndarray) -> Arrays:
    offsets = np.cumsum([0, *(len(file) for file in files)])
    return {"jpeg": np.frombuffer(b"".join(files), np.uint8), "offsets": offsets, **others}


def encoded(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=95)
    return stream.getvalue()


def flat_images() -> list[bytes]:
    """Four images 12 high, 8 wide, each of one shade, which JPEG keeps to within rounding."""
    return [encoded(np.full((12, 8, 3), shade, np.uint8)) for shade in SHADES]


@pytest.fixture
def arrays() -> Arrays:
    labels = np.array([0, 1, 1, 0], dtype=np.uint8)
    return pack(flat_images(), labels=labels, class_names=np.array(["cat", "dog"]))


def written(folder: Path, arrays: Arrays) -> Path:
    path = folder / "images.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_images_labels_and_names_come_back(tmp_path: Path, arrays: Arrays) -> None:
    data = jpeg_archive(written(tmp_path, arrays))
    assert (data.images.dtype, data.images.shape) == (torch.uint8, (4, 3, 12, 8))
    for image, shade in zip(data.images, SHADES, strict=True):
        assert (image.int() - shade).abs().max() <= 1
    assert data.labels.dtype == torch.int64
    assert data.labels.tolist() == [0, 1, 1, 0]
    assert data.class_names == ("cat", "dog")
    assert data.floats().max() <= 1.0


def test_indices_pick_in_their_order(tmp_path: Path, arrays: Arrays) -> None:
    path = written(tmp_path, arrays)
    data, whole = jpeg_archive(path, indices=[2, 0]), jpeg_archive(path)
    assert torch.equal(data.images, whole.images[[2, 0]])
    assert data.labels.tolist() == [1, 0]


def test_archive_without_labels_has_empty_ones(tmp_path: Path) -> None:
    data = jpeg_archive(written(tmp_path, pack(flat_images())))
    assert data.labels.shape == (0,)
    assert data.class_names == ()


def test_labels_without_names_are_numbered(tmp_path: Path) -> None:
    data = jpeg_archive(written(tmp_path, pack(flat_images(), labels=np.array([2, 0, 0, 1]))))
    assert data.class_names == ("0", "1", "2")


def test_size_crops_the_centre_and_resizes(tmp_path: Path) -> None:
    tall = np.zeros((24, 8, 3), np.uint8)
    tall[8:16] = 200  # the centre square is bright, both ends are black
    path = written(tmp_path, pack([encoded(tall)]))
    square = jpeg_archive(path, size=4).images
    assert square.shape == (1, 3, 4, 4)
    assert (square.int() - 200).abs().max() <= 4
    assert jpeg_archive(path, size=(6, 2)).images.shape == (1, 3, 6, 2)
    assert torch.equal(jpeg_archive(path, size=(24, 8)).images, jpeg_archive(path).images)


def test_size_agrees_with_torchvisions_crop_and_resize(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (109, 89, 3), dtype=np.uint8)
    path = written(tmp_path, pack([encoded(noise)]))
    protocol = transforms.Compose([transforms.CenterCrop(89), transforms.Resize(64)])
    whole = Image.fromarray(jpeg_archive(path).images[0].permute(1, 2, 0).numpy())
    expected = np.asarray(protocol(whole)).transpose(2, 0, 1)
    np.testing.assert_array_equal(jpeg_archive(path, size=64).images[0], expected)


def test_grey_images_get_three_equal_channels(tmp_path: Path) -> None:
    data = jpeg_archive(
        written(tmp_path, pack([encoded(np.arange(64, dtype=np.uint8).reshape(8, 8))]))
    )
    assert torch.equal(data.images[:, 0], data.images[:, 2])


def test_images_of_several_sizes_need_a_size(tmp_path: Path) -> None:
    files = [*flat_images(), encoded(np.zeros((8, 8, 3), np.uint8))]
    path = written(tmp_path, pack(files))
    with pytest.raises(ValueError, match=r"image 4 is \(8, 8\), image 0 is \(12, 8\).*pass size="):
        jpeg_archive(path)
    assert len(jpeg_archive(path, size=8).images) == 5


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file[: len(file) // 2],
        lambda file: b"\0" * len(file),
        lambda file: file[:2],
        lambda file: b"\x89PNG\r\n\x1a\n" + file,
    ],
    ids=["cut", "zeros", "stub", "no jpeg"],
)
def test_a_corrupt_image_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    files = flat_images()
    files[2] = damage(files[2])
    path = written(tmp_path, pack(files))
    with pytest.raises(ValueError, match="image 2 is no readable JPEG"):
        jpeg_archive(path)
    assert len(jpeg_archive(path, indices=[0, 1, 3]).images) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {"offsets": a["offsets"][[0, 2, 1, 3, 4]]}, "increase, but do not at image 1"),
        (lambda a: {"offsets": a["offsets"][[0, 1, 1, 3, 4]]}, "increase, but do not at image 1"),
        (lambda a: {"offsets": a["offsets"] - 1}, "offsets run from -1"),
        (lambda a: {"offsets": a["offsets"] + 1}, "offsets run from 1 to"),
        (lambda a: {"offsets": a["offsets"][:1]}, r"N \+ 1 >= 2 numbers, got 1"),
        (
            lambda a: {"offsets": a["offsets"].astype(float)},
            "one row of whole numbers, got float64",
        ),
        (lambda a: {"offsets": np.full(3, 2**64 - 1, np.uint64)}, "too large"),
        (
            lambda a: {"jpeg": a["jpeg"].astype(np.int16)},
            r"jpeg must be \(bytes,\) uint8, got int16",
        ),
        (lambda a: {"labels": a["labels"][:3]}, "holds 4 images but 3 labels"),
        (lambda a: {"labels": a["labels"] + 1}, "from 0 to 1, one per class name, got 1 to 2"),
        (
            lambda a: {"labels": a["labels"].astype(float)},
            "labels must be one row of whole numbers",
        ),
        (lambda a: {"class_names": np.arange(2)}, r"class_names must be \(C,\) texts"),
        (lambda a: {"class_names": np.array(["a", None], object)}, "is no readable .npz archive"),
    ],
)
def test_an_inconsistent_archive_is_refused(
    tmp_path: Path, arrays: Arrays, change: Callable[[Arrays], Arrays], message: str
) -> None:
    path = written(tmp_path, {**arrays, **change(arrays)})
    with pytest.raises(ValueError, match=message):
        jpeg_archive(path)


def test_a_stray_label_without_names_costs_no_memory(tmp_path: Path) -> None:
    path = written(tmp_path, pack(flat_images(), labels=np.array([0, 1, 2, 2**60])))
    with pytest.raises(ValueError, match="labels must be from 0 to"):
        jpeg_archive(path)


def test_missing_arrays_and_files_are_named(tmp_path: Path, arrays: Arrays) -> None:
    with pytest.raises(FileNotFoundError, match=r"no image archive .*absent\.npz"):
        jpeg_archive(tmp_path / "absent.npz")
    with pytest.raises(ValueError, match=r"has no array offsets, only \['jpeg'\]"):
        jpeg_archive(written(tmp_path, {"jpeg": arrays["jpeg"]}))
    del arrays["labels"]
    with pytest.raises(ValueError, match="has class_names but no labels"):
        jpeg_archive(written(tmp_path, arrays))


def test_a_damaged_file_is_refused(tmp_path: Path, arrays: Arrays) -> None:
    path = written(tmp_path, arrays)
    whole = path.read_bytes()
    middle = len(whole) // 2
    for bad in (b"", b"text", whole[:middle], whole[:200] + b"\xff" + whole[201:]):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"is no readable \.npz archive"):
            jpeg_archive(path)


@pytest.mark.parametrize("indices", [[], [4], [-1], [0.5]])
def test_indices_outside_are_refused(tmp_path: Path, arrays: Arrays, indices: list[int]) -> None:
    with pytest.raises(ValueError, match="indices must be"):
        jpeg_archive(written(tmp_path, arrays), indices=indices)


@pytest.mark.parametrize("size", [0, -1, (4, 0), (4, 4, 4), 2.5, "8"])
def test_sizes_that_are_none_are_refused(tmp_path: Path, arrays: Arrays, size: object) -> None:
    with pytest.raises(ValueError, match="size must be a side"):
        jpeg_archive(written(tmp_path, arrays), size=size)  # type: ignore[arg-type]
