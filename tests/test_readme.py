"""The README: its Python runs from top to bottom, its two commands are one line each."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore::probact.inference.SamplingWarning")  # few draws, to be quick
def test_python_blocks_run_in_order():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 3
    names: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["a"].shape == (1000, 16)
    assert names["P"].sum(1).allclose(names["P"].new_ones(10))
    assert "tied vMF" in names["table"]
    assert names["summary"].loc["concentration", "r_hat"] < 1.1


def test_commands_are_one_line_each():
    for name in ("demo", "tests"):
        block = re.search(rf"<!-- command: {name} -->\n```sh\n(.*?)```", README, re.DOTALL)
        assert block is not None
        assert block.group(1).count("\n") == 1


def test_every_path_of_the_map_exists():
    root = Path(__file__).parent.parent
    links = re.findall(r"\]\(((?!http)[^)]+)\)", README)
    paths = re.findall(r"^\| `([^`]+)`", README.split("## Map")[1], re.MULTILINE)
    for path in [*links, *paths]:
        assert (root / path).exists(), path
