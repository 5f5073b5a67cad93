"""Weight files: what their own libraries write is read; what they never write is refused."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from probact.files.checkpoints import inner_state_dict, read_tensors, tensor_shapes

STATE = {
    "fc.weight": torch.arange(6, dtype=torch.float64).reshape(2, 3),
    "fc.bias": torch.tensor([1.0, -1.0]),
    "steps": torch.tensor(7),
}


def same(a, b):
    return a.keys() == b.keys() and all(
        torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a
    )


def write(folder: Path, form: str) -> Path:
    path = folder / f"net{form}"
    if form == ".safetensors":
        save_file(STATE, path, metadata={"format": "pt"})
    elif form == ".npz":
        np.savez_compressed(path, **{k: v.numpy() for k, v in STATE.items()})
    elif form == ".index.json":
        save_file({"fc.weight": STATE["fc.weight"]}, folder / "net-1.safetensors")
        torch.save({k: STATE[k] for k in ("fc.bias", "steps")}, folder / "net-2.bin")
        places = dict.fromkeys(STATE, "net-2.bin") | {"fc.weight": "net-1.safetensors"}
        path.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=form != ".bin")
    return path


@pytest.mark.parametrize("form", [".safetensors", ".index.json", ".pt", ".pth", ".bin", ".npz"])
def test_round_trip(tmp_path, form):
    path = write(tmp_path, form)
    shapes = tensor_shapes(path)
    assert shapes == {"fc.weight": (2, 3), "fc.bias": (2,), "steps": ()}
    assert same(read_tensors(str(path)), STATE)
    assert same(read_tensors(path, ["fc.bias"]), {"fc.bias": STATE["fc.bias"]})
    with pytest.raises(LookupError, match=r"fc\.weights.*fc\.weight"):
        read_tensors(path, ["fc.weights"])


@pytest.mark.parametrize("form", [".safetensors", ".pt"])
def test_tensors_own_their_memory(tmp_path, form):
    path = write(tmp_path, form)
    weight = read_tensors(path, ["fc.weight"])["fc.weight"]
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(weight, STATE["fc.weight"])
    assert weight.untyped_storage().nbytes() == weight.nbytes


def test_shards_not_asked_for_may_be_damaged_inside(tmp_path):
    path = write(tmp_path, ".index.json")
    shard = tmp_path / "net-1.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\xff")  # values, not the header
    assert same(read_tensors(path, ["fc.bias"]), {"fc.bias": STATE["fc.bias"]})


def test_npy_byte_and_memory_order(tmp_path):
    path = tmp_path / "weights.npy"
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3).astype(">f4"))
    np.save(path, array)
    assert tensor_shapes(path) == {"arr_0": (2, 3)}
    got = read_tensors(path)["arr_0"]
    assert got.dtype == torch.float32
    assert got.tolist() == array.tolist()


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "model_ema"])
def test_inside_training_checkpoints(tmp_path, key):
    torch.save({"epoch": 3, "optimizer": {"lr": 0.1}, key: STATE}, tmp_path / "run.pt")
    assert same(read_tensors(tmp_path / "run.pt"), STATE)


def test_first_wrapper_with_tensors_is_taken():
    found = inner_state_dict({"state_dict": {}, "model": {"a": torch.ones(1)}, "epoch": 1})
    assert list(found) == ["a"]
    with pytest.raises(ValueError, match="no tensors"):
        inner_state_dict({"epoch": 1})


def test_bare_tensor_and_no_state_dict(tmp_path):
    torch.save(torch.ones(2, 3), tmp_path / "w.pt")
    assert tensor_shapes(tmp_path / "w.pt") == {"arr_0": (2, 3)}
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"list\.pt.*a list"):
        tensor_shapes(tmp_path / "list.pt")


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_are_never_run(tmp_path, zipped):
    torch.save(
        {"w": torch.ones(1), "x": Payload(str(tmp_path / "harm"))},
        tmp_path / "evil.pt",
        _use_new_zipfile_serialization=zipped,
    )
    (tmp_path / "raw.bin").write_bytes(pickle.dumps(Payload(str(tmp_path / "harm"))))
    np.save(tmp_path / "evil.npy", np.array([Payload(str(tmp_path / "harm"))], dtype=object))
    np.savez(tmp_path / "evil.npz", w=np.array([Payload(str(tmp_path / "harm"))], dtype=object))
    for name in ("evil.pt", "raw.bin", "evil.npy", "evil.npz"):
        with pytest.raises(ValueError, match=name) as refused:
            read_tensors(tmp_path / name)
        assert "weights_only" not in str(refused.value)  # no advice to load unsafely
    assert not (tmp_path / "harm").exists()


def test_every_truncation_is_refused(tmp_path):
    for form in (".safetensors", ".npz", ".pt", ".bin"):
        whole = write(tmp_path, form).read_bytes()
        path = tmp_path / f"cut{form}"
        for size in range(0, len(whole), max(1, len(whole) // 40)):
            path.write_bytes(whole[:size])
            with pytest.raises(ValueError, match="cut"):
                read_tensors(path)


INDICES = {
    "parent": {"weight_map": {"w": "../secret.safetensors"}},
    "absolute": {"weight_map": {"w": "/secret.safetensors"}},
    "windows": {"weight_map": {"w": "..\\secret.safetensors"}},
    "drive": {"weight_map": {"w": "C:secret.safetensors"}},
    "folder": {"weight_map": {"w": "a/secret.safetensors"}},
    "dots": {"weight_map": {"w": ".."}},
    "nothing": {"weight_map": {"w": ""}},
    "itself": {"weight_map": {"w": "net.index.json"}},
    "zero byte": {"weight_map": {"w": "a\0.safetensors"}},
    "no text": {"weight_map": {"w": 3}},
    "no map": {"metadata": {}},
    "list": [],
    "not in shard": {"weight_map": {"other": "shard.safetensors"}},
}


@pytest.mark.parametrize("case", INDICES)
def test_hostile_index(tmp_path, case):
    folder = tmp_path / "inner"
    folder.mkdir()
    save_file({"w": torch.ones(2)}, tmp_path / "secret.safetensors")
    save_file({"w": torch.ones(2)}, folder / "shard.safetensors")
    (folder / "net.index.json").write_text(json.dumps(INDICES[case]))
    with pytest.raises(ValueError, match=r"net\.index\.json"):
        read_tensors(folder / "net.index.json")


def test_missing_shard_and_duplicate_in_index(tmp_path):
    path = tmp_path / "net.index.json"
    path.write_text('{"weight_map": {"w": "gone.safetensors"}}')
    with pytest.raises(FileNotFoundError, match="gone"):
        tensor_shapes(path)
    path.write_text('{"weight_map": {"w": "a.bin", "w": "b.bin"}}')
    with pytest.raises(ValueError, match="twice"):
        tensor_shapes(path)


def test_paths(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.pt"):
        tensor_shapes(tmp_path / "gone.pt")
    with pytest.raises(ValueError, match="regular file"):
        read_tensors(tmp_path)
    (tmp_path / "notes.txt").write_text("weights")
    with pytest.raises(ValueError, match="suffixes"):
        tensor_shapes(tmp_path / "notes.txt")
    with pytest.raises(TypeError, match="names"):
        read_tensors(write(tmp_path, ".pt"), "fc.weight")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(ValueError, match="regular file"):
        tensor_shapes(tmp_path / "pipe.pt")
