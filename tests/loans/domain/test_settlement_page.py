"""docs/settlement.md shows what the rules give, and its commands check a lottery. RENEW_DOCS=1 writes the table anew."""

import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from loans.domain.settlement_rules import RULES, RULES_IN_WORDS, LoanToSettle, lottery, lottery_commitment, lottery_ticket
from tests.loans.domain.test_settlement_rules import Reservation

PAGE = Path(__file__).parents[3] / "docs" / "settlement.md"
TABLE = re.compile(r"(<!-- eight reservations -->\n\n)(.*?)(\n\n)", re.DOTALL)
SEED = "7d1f3a9c5be2408896f04c1d2ab35e67"
LOAN = LoanToSettle(Decimal("100000.00"), lottery_seed=SEED)
AMOUNTS = ("30000.00", "1000.00", "25000.00", "2500.00", "40000.00", "1500.00", "10000.00", "10000.00")
PAID = (5, 2, 8, 1, 3, 7, 4, 6)


def reservations() -> list[Reservation]:
    opening = datetime(2026, 7, 1, 13, tzinfo=UTC)
    return [
        Reservation(number, Decimal(amount), opening + timedelta(hours=paid))
        for number, (amount, paid) in enumerate(zip(AMOUNTS, PAID, strict=True), start=1)
    ]


def table() -> str:
    columns = []
    for rule in RULES.values():
        amounts = {allocation.reservation.number: allocation.amount for allocation in rule(reservations(), LOAN)}
        assert sum(amounts.values()) == LOAN.remaining
        columns.append([f"{amounts[number]:,.2f}" if number in amounts else "–" for number in range(1, 9)])
    lines = [f"| number | reserved | paid | {' | '.join(f'`{name}`' for name in RULES)} |", f"| {' | '.join(['--:'] * 9)} |"]
    for number, (amount, paid) in enumerate(zip(AMOUNTS, PAID, strict=True), start=1):
        lines.append(f"| {number} | {Decimal(amount):,.2f} | {paid} | {' | '.join(column[number - 1] for column in columns)} |")
    return "\n".join(lines)


def test_the_page_settles_eight_reservations_by_every_rule() -> None:
    if os.environ.get("RENEW_DOCS"):
        PAGE.write_text(TABLE.sub(lambda match: match[1] + table() + match[3], PAGE.read_text(), count=1))
    written = TABLE.search(PAGE.read_text())
    assert written
    assert written[2] == table()


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_a_sentence_and_a_paragraph(rule: str) -> None:
    assert RULES_IN_WORDS[rule]
    assert f"**`{rule}`: " in PAGE.read_text()


def test_the_commands_of_the_page_check_the_commitment_and_the_order_of_the_draw() -> None:
    console = re.findall(r"^\$ (.+)\n((?:[^$`].*\n)+)", PAGE.read_text(), re.MULTILINE)
    outputs = {command: subprocess.run(["/bin/bash", "-c", command], capture_output=True, text=True).stdout for command, _ in console}
    assert len(outputs) == 2
    commitment, tickets = outputs.values()
    assert outputs == dict(console), "the page shows what the commands print"
    assert commitment.split()[0] == lottery_commitment(SEED)
    order = [int(line.split()[1]) for line in tickets.splitlines()]
    drawn = [allocation.reservation.number for allocation in lottery(reservations(), LOAN)]
    assert order[: len(drawn)] == drawn
    assert [line.split()[0] for line in tickets.splitlines()] == sorted(lottery_ticket(SEED, number) for number in range(1, 9))
