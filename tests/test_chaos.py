"""The short form of `make chaos`. docs/reliability.md explains it."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
def test_every_promise_is_kept_through_twenty_faults() -> None:
    command = [sys.executable, "-m", "tests.chaos", "--faults", "20", "--minutes", "3"]
    ended = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
