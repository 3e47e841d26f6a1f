"""Play small years, and the whole year in `make test-long`."""

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from tests.simulation.__main__ import figures
from tests.simulation.market import Policy, play

SEED = 7


@pytest.mark.long
def test_the_evidence_keeps_its_promise() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(SEED)]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_without_overbooking_nobody_is_turned_away() -> None:
    kept = figures(play(SEED, 300, Policy(Decimal(0))))
    assert (kept.loans, kept.over, kept.turned_away) == (300, 0, 0)
    assert 80 < kept.sold < 95


def test_a_higher_fixed_rate_sells_more_and_turns_more_away() -> None:
    low, high = (figures(play(SEED, 300, Policy(Decimal(rate)))) for rate in ("0.05", "0.25"))
    assert low.sold < high.sold
    assert low.over < high.over


def test_the_evidence_sells_more_than_no_overbooking_at_about_its_risk() -> None:
    kept, none = figures(play(SEED, 600, Policy())), figures(play(SEED, 600, Policy(Decimal(0))))
    assert kept.sold > none.sold + 3
    assert 2 < kept.over < 10


def test_a_seed_gives_the_same_year_again() -> None:
    assert play(SEED, 50, Policy()) == play(SEED, 50, Policy())
    assert play(SEED, 50, Policy()) != play(SEED + 1, 50, Policy())
