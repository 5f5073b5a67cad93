"""Headers that lie about what follows, and one that is only odd."""

import io
import json
import struct
import zipfile

import numpy as np
import pytest
import torch

from probact.files.checkpoints import read_tensors, tensor_shapes


def hostile_bytes(header: str | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    raw = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def header_file(data=bytes(8), **entries):
    return hostile_bytes(json.dumps(entries), data)


HOSTILE_SAFETENSORS = {
    "empty": b"",
    "short": b"\x01\x02",
    "length beyond the file": hostile_bytes("{}", length=1000),
    "huge length": hostile_bytes("{}", length=1 << 63),
    "not json": hostile_bytes("{nonsense", b""),
    "not utf-8": hostile_bytes(b"\xff\xfe{}"),
    "a list": hostile_bytes("[]"),
    "deep json": hostile_bytes("[" * 200_000),
    "duplicate names": hostile_bytes('{"a":%s,"a":%s}' % ((json.dumps(entry()),) * 2), bytes(8)),
    "nan": hostile_bytes('{"a": NaN}'),
    "entry no object": header_file(a=3),
    "missing offsets": header_file(a={"dtype": "F32", "shape": [2]}),
    "unknown dtype": header_file(a=entry(dtype="F33")),
    "dtype no text": header_file(a=entry(dtype=3)),
    "negative size": header_file(a=entry(shape=(-2,))),
    "boolean size": header_file(a=entry(shape=(True, 2))),
    "float size": header_file(a=entry(shape=(2.0,))),
    "overflowing product": header_file(a=entry(shape=(1 << 62, 1 << 62, 8))),
    "many axes": header_file(a=entry(shape=[1 << 62] * 100)),
    "size against offsets": header_file(a=entry(shape=(3,))),
    "reversed offsets": header_file(a=entry(offsets=(8, 0))),
    "beyond the end": header_file(a=entry(shape=(4,), offsets=(0, 16))),
    "trailing data": header_file(bytes(9), a=entry()),
    "hole": header_file(bytes(16), a=entry(offsets=(8, 16))),
    "overlap": header_file(bytes(8), a=entry(), b=entry()),
}


@pytest.mark.parametrize("case", HOSTILE_SAFETENSORS)
def test_hostile_safetensors(tmp_path, case):
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(HOSTILE_SAFETENSORS[case])
    for read in (tensor_shapes, read_tensors):
        with pytest.raises(ValueError, match=r"hostile\.safetensors"):
            read(path)


def test_misaligned_safetensors_header(tmp_path):
    path = tmp_path / "odd.safetensors"
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})
    header += " " * (3 - len(header) % 8 + 8)
    path.write_bytes(hostile_bytes(header, np.float32([1, 2]).tobytes()))
    assert read_tensors(path)["w"].tolist() == [1.0, 2.0]


def npy_bytes(shape: str, descr: str = "<f8", data: bytes = b"") -> bytes:
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        npy_bytes("(1000000000000,)"),
        npy_bytes("(2,)", data=bytes(15)),
        npy_bytes("(2,)", data=bytes(17)),
        npy_bytes("(2,)", descr="<U4", data=bytes(32)),
        npy_bytes("(2,)", descr="|O", data=bytes(16)),
        npy_bytes("(1+1,)", data=bytes(16)),
        b"\x93NUMPY\x07\x00" + bytes(100),
    ],
)
def test_hostile_npy(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("w.npy", content)
    for name in ("x.npy", "x.npz"):
        with pytest.raises(ValueError, match=name):
            read_tensors(tmp_path / name)


def test_archives_that_unpack_too_far(tmp_path):
    head = npy_bytes("(268435456,)")  # 2 GiB of zeros in 2 MB
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", head)
    raw = bytearray((tmp_path / "bomb.npz").read_bytes())
    where = raw.index(b"PK\x01\x02") + 24  # the size in the central directory
    raw[where : where + 4] = struct.pack("<I", len(head) + (1 << 31))
    (tmp_path / "bomb.npz").write_bytes(raw)
    with pytest.raises(ValueError, match="unpacks"):
        tensor_shapes(tmp_path / "bomb.npz")

    plain = io.BytesIO()
    torch.save({"w": torch.zeros(4096)}, plain)
    with (
        zipfile.ZipFile(plain) as source,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in source.namelist():
            archive.writestr(name, source.read(name))
    with pytest.raises(ValueError, match=r"bomb\.pt.*more than the file"):
        tensor_shapes(tmp_path / "bomb.pt")
