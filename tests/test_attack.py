"""`make attack` as a test: every attack once."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
def test_every_attack_is_held_off() -> None:
    command = [sys.executable, "-m", "tests.attack", "--port", "8141"]
    run = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
