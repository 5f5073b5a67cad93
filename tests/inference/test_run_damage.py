"""Damaged run directories: refused in one line, or recovered to the bit with one warning."""

import os
import shutil
import warnings

import numpy as np
import pytest
from conjugate import SMALL, NormalGibbs, NormalModel, X, run, same_draws

import probact.inference as pi
from probact.files.run_errors import CorruptRun
from probact.inference.checkpoints.run_files import (
    as_entry,
    read_arrays,
    read_json,
    write_arrays,
    write_json,
)

OFTEN = {"commit_every": 5, "save_warmup": True}
CLASSES = ("config.json", "manifest-", "draws-", "warmup-", "state-")


@pytest.fixture(scope="module")
def whole():
    return run(save_warmup=True)


@pytest.fixture(scope="module", params=["finished", "interrupted"])
def saved(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damage") / "run"
    if request.param == "finished":
        run(checkpoint=folder, **OFTEN)
    else:
        with pytest.raises(pi.Interrupted):
            run(checkpoint=folder, kernel=NormalGibbs(signal_at={128: 2}), **OFTEN)
    return folder


def resume(folder):
    """The run, and what was told of damage."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = pi.sample(
            NormalModel(), X, kernel=NormalGibbs(), checkpoint=folder, **SMALL, save_warmup=True
        )
    told = [str(w.message) for w in caught if "continuing from" in str(w.message)]
    assert all(w.category is pi.SamplingWarning for w in caught)
    return made, told


def outcome(folder, whole):
    """One of "refused", "recovered" with a warning, "harmless" without; anything else fails."""
    try:
        made, told = resume(folder)
    except CorruptRun as error:
        (line,) = str(error).splitlines()
        return "refused" if str(folder) in line else line
    assert same_draws(made, whole)
    assert len(told) <= 1
    assert resume(folder)[1] == []  # once recovered, it stays so
    return "recovered" if told else "harmless"


def flip(path, rng):
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    path.write_bytes(data)


def cut(path, rng):
    os.truncate(path, rng.integers(path.stat().st_size))


def overwrite(path, rng):
    path.write_bytes(rng.bytes(path.stat().st_size))


def remove(path, rng):
    path.unlink()


def replace_by_link(path, rng):
    target = path.with_name("elsewhere")
    path.rename(target)
    path.symlink_to(target)


def extend(path, rng):
    with path.open("ab") as stream:
        stream.write(rng.bytes(100))


DAMAGE = (flip, cut, overwrite, remove, replace_by_link)


def damage_one_file(folder, kind, damage, rng):
    """The name of the file of this kind that was damaged."""
    paths = sorted(path for path in folder.rglob("*") if path.name.startswith(kind))
    path = paths[rng.integers(len(paths))]
    damage(path, rng)
    return path.name


def damage_many(saved, whole, tmp_path, times):
    rng, outcomes = np.random.default_rng(times), {}
    for i in range(times):
        kind, damage = CLASSES[i % len(CLASSES)], DAMAGE[i // len(CLASSES) % len(DAMAGE)]
        folder = tmp_path / f"{i}"
        shutil.copytree(saved, folder)
        damage_one_file(folder, kind, damage, rng)
        outcomes.setdefault(kind, set()).add(outcome(folder, whole))
        shutil.rmtree(folder)
    return outcomes


def check_outcomes(outcomes):
    assert set(outcomes) == set(CLASSES)
    assert outcomes["manifest-"] <= {"recovered", "refused"}
    assert "recovered" in outcomes["manifest-"]
    assert outcomes["warmup-"] == {"refused"}  # in both generations
    # the older state may be damaged unseen: nothing needs it
    assert outcomes["state-"] <= {"recovered", "harmless"}
    assert outcomes["draws-"] <= {"recovered", "refused"}


def test_each_kind_of_file_damaged_in_each_way(saved, whole, tmp_path):
    check_outcomes(damage_many(saved, whole, tmp_path, 25))


@pytest.mark.slow
def test_250_damaged_files(saved, whole, tmp_path):
    check_outcomes(damage_many(saved, whole, tmp_path, 250))


def test_bytes_and_files_beyond_the_commit_are_cut(saved, whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(saved, folder)
    rng = np.random.default_rng(0)
    for path in [*folder.rglob("*.safetensors")]:
        extend(path, rng)
    (folder / "chain-0" / "draws-000099.safetensors").write_bytes(b"never committed")
    (folder / "chain-0" / ".state-000099.safetensors.7.part").write_bytes(b"")
    (folder / ".config.json.7.part").write_bytes(b"")
    assert outcome(folder, whole) == "harmless"
    names = {path.name for path in folder.rglob("*")}
    assert not [name for name in names if name.endswith(".part") or "99" in name]


def test_both_manifests_missing_are_not_a_new_chain(saved, whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(saved, folder)
    for path in folder.glob("chain-0/manifest-*.json"):
        path.unlink()
    assert outcome(folder, whole) == "refused"


def test_files_of_another_run_are_refused(saved, whole, tmp_path):
    folder, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(saved, folder)
    run(checkpoint=other, **OFTEN)
    shutil.rmtree(folder / "chain-0")
    shutil.copytree(other / "chain-0", folder / "chain-0")
    assert outcome(folder, whole) == "refused"


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b'{"sha256": "", "content": {}, "content": {}}',
        b'{"sha256": NaN, "content": {}}',
        b"\xff\xfe",
        b"",
        b'{"sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",'
        b' "content": {}}',
    ],
    ids=["deep", "twice", "nan", "no text", "empty", "no format"],
)
def test_hostile_json_is_refused(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_bytes(text)
    with pytest.raises(ValueError):
        read_json(path, "probact-run")


def test_a_sealed_config_with_other_contents_is_refused(saved, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(saved, folder)
    content = read_json(folder / "config.json", "probact-run")
    for change in ({"settings": 3}, {"settings": {"draws": "12"}}, {"versions": None}):
        write_json(folder / "config.json", {**content, **change})
        with pytest.raises(CorruptRun, match=r"config\.json"):
            resume(folder)


@pytest.mark.parametrize("name", ["../draws-000001.safetensors", "draws-1.safetensors", "/etc/x"])
def test_names_in_a_manifest_are_never_paths(name):
    with pytest.raises(ValueError, match="which is no file of arrays"):
        as_entry([name, 10, "0" * 64, 1])


def test_arrays_are_checked_again_as_they_are_read(tmp_path):
    path = tmp_path / "draws-000001.safetensors"
    entry = write_arrays(path, {"a": np.ones(3)}, 3)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # of a number: the header stays whole
    path.write_bytes(data)
    with pytest.raises(ValueError, match="its checksum differs"):
        read_arrays(tmp_path, entry)


def test_content_that_is_whole_but_not_its_own_is_refused(tmp_path):
    """Only the checksum can tell: the file is sound JSON of the right form."""
    path = tmp_path / "config.json"
    write_json(path, {"format": "probact-run", "version": 1, "position": 12})
    path.write_text(path.read_text().replace('"position": 12', '"position": 13'))
    with pytest.raises(ValueError, match="its checksum differs"):
        read_json(path, "probact-run")
