"""The worked example of docs/rules.md is what the services do, line by line. `RENEW_DOCS=1` writes it into the page."""

import os
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from loans.domain.actors import Actor
from loans.domain.business_calendar import NEW_YORK
from loans.domain.states import Direction
from loans.models import Loan, Reservation, Transfer
from loans.selectors.offers import loan_offer
from loans.services.reservations import reserve, start_transfer
from loans.services.settlement import settle_due
from loans.services.staff_overrides import accept_amount
from peerloans.errors import Problem
from tests.factories import STAFF, InvestorFactory, LoanFactory, money_comes

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rules.md"
EXAMPLE = re.compile(r"(<!-- worked example -->\n```text\n)(.*?)(```\n)", re.DOTALL)


class Example:
    """One loan with four investors. Each method does one thing, and adds a line to the page."""

    def __init__(self) -> None:
        self.lines = [f"{'':66}{'settled':>11}{'claimed':>11}{'limit':>11}{'available':>11}"]
        LoanFactory(reference="PL-1", now=at(1, 9))
        self.add_line(at(1, 9), "the loan opens: $100,000, overbooking 20 %")
        self.reservations: dict[str, Reservation] = {}
        self.investors = {name: InvestorFactory(name=name) for name in ("Ana", "Ben", "Cleo", "Dan")}

    def add_line(self, now: datetime, event: str) -> None:
        offer = loan_offer("PL-1", now)
        dollars = (offer.loan.settled, offer.claimed, offer.limit, offer.available)
        columns = "".join(f"{amount:>11,.2f}" for amount in dollars)
        self.lines.append(f"{now.astimezone(NEW_YORK):%a %d %H:%M}  {event:<53}{columns}".rstrip())

    def reserve(self, name: str, dollars: str, now: datetime) -> None:
        amount = Decimal(dollars)
        try:
            reservation = reserve(reference="PL-1", investor=self.investors[name], amount=amount, now=now)
        except Problem as problem:
            self.add_line(now, f"{name} asks for {amount:,.2f}: {problem.code}")
        else:
            self.reservations[name] = reservation
            self.add_line(now, f"{name} reserves {amount:,.2f}, number {reservation.number}")

    def start_transfer(self, name: str, method: str, now: datetime) -> None:
        reservation = start_transfer(reservation_id=self.reservations[name].pk, method=method, actor=Actor("investor"), now=now)
        assert reservation.expires_at
        self.add_line(now, f"{name} starts a transfer, deadline {reservation.expires_at.astimezone(NEW_YORK):%a %d %H:%M}")

    def pay(self, name: str, dollars: str, now: datetime) -> None:
        outcome = money_comes(self.reservations[name], dollars, now=now)
        self.add_line(now, f"{name}'s {Decimal(dollars):,.2f} arrive: {outcome}".replace("_", " "))

    def accept_amount(self, name: str, now: datetime) -> None:
        accept_amount(reservation_id=self.reservations[name].pk, actor=STAFF, reason="A cent short.", now=now)
        self.add_line(now, f"staff accept {name}'s payment, a cent short")

    def settle(self, now: datetime) -> None:
        settled_before = set(Reservation.objects.filter(state="settled"))
        settle_due(now)
        settled = [row for row in Reservation.objects.filter(state="settled").order_by("number") if row not in settled_before]
        results = [f"{reservation.investor.name} {reservation.settled_amount:,.2f}" for reservation in settled]
        self.add_line(now, f"the rule runs: {', '.join(results) or 'nothing to settle yet'}")

    def end(self, now: datetime) -> None:
        loan = Loan.objects.get(reference="PL-1")
        refund = Transfer.objects.get(direction=Direction.REFUND)
        self.add_line(now, f"the loan is {loan.status}; {refund.amount:,.2f} are refunded to {refund.reservation.investor.name}")


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """Return an instant in July 2026; the hour is New York's, four behind UTC."""
    return datetime(2026, 7, day, hour + 4, minute, tzinfo=UTC)


def play() -> str:
    example = Example()
    example.reserve("Ana", "60000", at(1, 9, 1))
    example.reserve("Ben", "40000", at(1, 9, 2))
    example.reserve("Cleo", "20000", at(1, 9, 3))
    example.reserve("Dan", "1000", at(1, 9, 4))
    example.start_transfer("Cleo", "wire", at(1, 10))
    example.start_transfer("Ben", "ach", at(1, 11))
    example.start_transfer("Ana", "ach", at(2, 8))
    example.pay("Cleo", "20000", at(2, 9))
    example.settle(at(2, 9, 5))
    example.pay("Ben", "39999.99", at(6, 9))
    example.accept_amount("Ben", at(6, 10))
    example.settle(at(6, 10, 1))
    example.reserve("Dan", "1000", at(6, 11))
    example.pay("Ana", "60000", at(7, 9))
    example.settle(at(7, 9, 1))
    example.end(at(7, 9, 1))
    return "\n".join(example.lines) + "\n"


@pytest.mark.django_db
def test_the_page_shows_what_happens() -> None:
    played = play()
    if os.environ.get("RENEW_DOCS"):
        PAGE.write_text(EXAMPLE.sub(lambda match: match[1] + played + match[3], PAGE.read_text()))
    written = EXAMPLE.search(PAGE.read_text())
    assert written
    assert written[2] == played
