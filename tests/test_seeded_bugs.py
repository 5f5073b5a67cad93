"""Every bug of the tables `seeded_*_bugs` is caught by the tests that it names."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from seeded_activation_bugs import ACTIVATION_BUGS
from seeded_bugs import Bug
from seeded_factorial_bugs import FACTORIAL_BUGS
from seeded_fit_bugs import FIT_BUGS
from seeded_frequency_bugs import FREQUENCY_BUGS
from seeded_head_bugs import HEAD_BUGS
from seeded_kernel_bugs import KERNEL_BUGS
from seeded_laplace_bugs import LAPLACE_BUGS
from seeded_pattern_bugs import PATTERN_MODEL_BUGS
from seeded_polya_bugs import POLYA_BUGS
from seeded_run_bugs import RUN_BUGS
from seeded_split_bugs import SPLIT_BUGS
from seeded_vae_bugs import VAE_BUGS

BUGS = (
    KERNEL_BUGS
    + RUN_BUGS
    + FIT_BUGS
    + VAE_BUGS
    + FACTORIAL_BUGS
    + POLYA_BUGS
    + FREQUENCY_BUGS
    + LAPLACE_BUGS
    + HEAD_BUGS
    + SPLIT_BUGS
    + ACTIVATION_BUGS
    + PATTERN_MODEL_BUGS
)
ROOT = Path(__file__).parents[1]
COPIED = ("probact", "tests", "pyproject.toml")
CAUGHT = re.compile(r"^FAILED (tests/\S+)", re.MULTILINE)
#      pytest on the package in the folder of the copy, and on no installed one
PYTEST = """
import sys
from pathlib import Path
import probact, pytest
if not Path(probact.__file__).is_relative_to(Path.cwd()):
    sys.exit(f"{probact.__file__} is not the copy's")
sys.exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def test_the_table_fits_the_code() -> None:
    """What is to be replaced stands there once, and the tests are there."""
    assert len({bug.name for bug in BUGS}) == len(BUGS)
    counts = {bug.name: (ROOT / bug.file).read_text().count(bug.old) for bug in BUGS}
    assert {name: n for name, n in counts.items() if n != 1} == {}
    assert [bug.name for bug in BUGS if bug.old == bug.new] == []
    for path in {path for bug in BUGS for path in bug.tests}:
        file, _, function = path.partition("::")
        assert f"def {function or 'test_'}" in (ROOT / file).read_text(), path


def pytest_in(folder: Path, tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PYTEST, *tests],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which all the tests that the table names pass."""
    folder = tmp_path_factory.mktemp("sound")
    for name in COPIED:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy2(ROOT / name, folder / name)
    tests = Counter(path for bug in BUGS for path in bug.tests)
    done = pytest_in(folder, tuple(tests))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def seed_bug(folder: Path, bug: Bug) -> None:
    path = folder / bug.file
    text = path.read_text()
    assert text.count(bug.old) == 1
    path.write_text(text.replace(bug.old, bug.new))
    if "import compiled\n" in text:  # numba does not see a change of what a function calls
        for pattern in ("*.nbi", "*.nbc"):
            for kept in folder.rglob(pattern):
                kept.unlink()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_bug_is_caught(bug: Bug, sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(sound, folder)  # with the times of the files: what is compiled stays valid
    try:
        seed_bug(folder, bug)
        done = pytest_in(folder, bug.tests)
    finally:
        shutil.rmtree(folder)
    caught = CAUGHT.search(done.stdout)
    assert done.returncode == 1, done.stdout + done.stderr
    assert caught, done.stdout + done.stderr
    print(f"caught by {caught[1]}")  # shown by pytest -rP
