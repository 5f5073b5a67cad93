"""The package builds without the two links at the top level, and ships its data files."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import probact

ROOT = Path(__file__).parent.parent


def test_public_names_are_there():
    for name in probact.__all__:
        assert hasattr(probact, name), name


def test_import_leaves_torchvision_out():
    code = "import sys, probact; print({'torchvision'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torchvision" not in done.stdout


def test_nothing_imports_through_the_links():
    pattern = re.compile(r"^\s*(from|import)\s+(models|inference)\b", re.MULTILINE)
    for folder in ("probact", "tests", "examples", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not pattern.search(path.read_text(encoding="utf-8")), path


def test_models_and_inference_do_not_import_each_other():
    for here, there in (("models", "inference"), ("inference", "models")):
        for path in (ROOT / "probact" / here).glob("*.py"):
            assert f"probact.{there}" not in path.read_text(encoding="utf-8"), path


def test_models_never_use_the_global_parameter_store():
    for path in (ROOT / "probact" / "models").rglob("*.py"):
        assert not re.search(r"pyro\.param\(", path.read_text(encoding="utf-8")), path


@pytest.mark.slow
def test_wheel_and_sdist_build_where_the_links_are_text_files(tmp_path):
    source = tmp_path / "source"
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        origin = ROOT / name
        text = os.readlink(origin).encode() if origin.is_symlink() else origin.read_bytes()
        target.write_bytes(text)
    subprocess.run([sys.executable, "-m", "build", "-o", tmp_path, source], check=True)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {"probact/models/vmf_classifier.py", "tests/conftest.py", "README.md"} <= members
    assert not {"models", "inference"} & members
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {
        "probact/py.typed",
        "probact/templates/report.html",
        "probact/chapters/law_table.json",
        "probact/chapters/penultimate/words.py",
    } <= set(names)
    assert all(name.startswith(("probact/", "probact-")) for name in names)
