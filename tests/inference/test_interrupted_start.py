"""Ctrl-C of a terminal, which reaches children too, while they are still importing."""

import os
import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import sys, warnings, torch, probact as pa
if __name__ == "__main__":
    warnings.simplefilter("ignore")
    x = torch.randn(3000, 10, generator=torch.Generator().manual_seed(0)).double()
    model = pa.models.DPGMM(pa.distributions.NormalInverseWishart.from_data(x))
    print("go", flush=True)
    pa.sample(model, x, draws=9999, tune=5, chains=2, processes=2, checkpoint=sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.2, 1.0, 4.0])
def test_the_run_ends_with_the_way_to_go_on(tmp_path, delay):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)  # data of 240 kB fill the pipe to a child
    child = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout.readline().strip() == "go"
    time.sleep(delay)
    os.killpg(child.pid, signal.SIGINT)
    _, errors = child.communicate(timeout=120)
    assert "Interrupted: SIGINT" in errors
    assert "resume(" in errors
