"""The worked example of docs/rules.md is what the system does.

Plays it through the services and compares every line. `RENEW_DOCS=1` writes what was played into the page.
"""

import os
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model

from loans.domain.actors import Actor
from loans.domain.business_calendar import NEW_YORK
from loans.domain.states import Direction
from loans.models import Investor, Loan, Reservation, Transfer
from loans.selectors.offers import loan_offer
from loans.services.loans import create_loan, open_loan
from loans.services.payments import Notice, record_bank_event
from loans.services.reservations import reserve, start_transfer
from loans.services.settlement import settle_due
from loans.services.staff_overrides import accept_amount
from peerloans.errors import Problem

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rules.md"
EXAMPLE = re.compile(r"(<!-- worked example -->\n```text\n)(.*?)(```\n)", re.DOTALL)
STAFF = Actor("staff")
OFFERED = Decimal("100000.00")


class Story:
    """One loan and its people, telling what happens."""

    def __init__(self) -> None:
        self.lines = [f"{'':66}{'settled':>11}{'claimed':>11}{'limit':>11}{'available':>11}"]
        facts = {"title": "An example", "address": "1 Main Street", "city": "Manhattan Beach", "state": "CA", "zip": "90266"}
        terms = {"annual_rate": Decimal("7.50"), "term_months": 12, "ltv": Decimal("65.00"), "amount": OFFERED}
        create_loan(Loan(reference="PL-1", **facts, **terms), actor=STAFF, now=at(1, 9))
        open_loan(reference="PL-1", actor=STAFF, now=at(1, 9))
        self.tell(at(1, 9), "the loan opens: $100,000, overbooking 20 %")
        self.reservations: dict[str, Reservation] = {}
        self.investors = {name: investor(name) for name in ("Ana", "Ben", "Cleo", "Dan")}

    def tell(self, now: datetime, what: str) -> None:
        offer = loan_offer("PL-1", now)
        money = (offer.loan.settled, offer.claimed, offer.limit, offer.available)
        self.lines.append(f"{now.astimezone(NEW_YORK):%a %d %H:%M}  {what:<53}" + "".join(f"{value:>11,.2f}" for value in money))

    def reserves(self, name: str, dollars: str, now: datetime) -> None:
        try:
            self.reservations[name] = reserve(reference="PL-1", investor=self.investors[name], amount=Decimal(dollars), now=now)
            self.tell(now, f"{name} reserves {Decimal(dollars):,.2f}, place {self.reservations[name].number}")
        except Problem as refusal:
            self.tell(now, f"{name} asks for {Decimal(dollars):,.2f}: {refusal.code}")

    def starts(self, name: str, method: str, now: datetime) -> None:
        reservation = start_transfer(reservation_id=self.reservations[name].pk, method=method, actor=Actor("investor"), now=now)
        assert reservation.expires_at
        self.tell(now, f"{name} starts a transfer, time until {reservation.expires_at.astimezone(NEW_YORK):%a %d %H:%M}")

    def pays(self, name: str, dollars: str, now: datetime) -> None:
        transfer = Transfer.objects.get(reservation=self.reservations[name], direction=Direction.INBOUND)
        notice = Notice(f"{name}-{now}", "transfer.cleared", transfer.reference, Decimal(dollars), now)
        self.tell(now, f"{name}'s {Decimal(dollars):,.2f} are here: {record_bank_event(notice, now=now)}".replace("_", " "))

    def settles(self, now: datetime) -> None:
        before = set(Reservation.objects.filter(state="settled"))
        settle_due(now)
        settled = [
            reservation for reservation in Reservation.objects.filter(state="settled").order_by("number") if reservation not in before
        ]
        who = ", ".join(f"{reservation.investor.name} {reservation.settled_amount:,.2f}" for reservation in settled)
        self.tell(now, f"the rule runs: {who or 'nobody yet'}")


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """An instant in July 2026; New York is four hours behind UTC."""
    return datetime(2026, 7, day, hour + 4, minute, tzinfo=UTC)


def investor(name: str) -> Investor:
    user = get_user_model().objects.create_user(name.lower())
    return Investor.objects.create(user=user, name=name, accredited_until=at(31, 0).date())


def play() -> str:
    story = Story()
    story.reserves("Ana", "60000", at(1, 9, 1))
    story.reserves("Ben", "40000", at(1, 9, 2))
    story.reserves("Cleo", "20000", at(1, 9, 3))
    story.reserves("Dan", "1000", at(1, 9, 4))
    story.starts("Cleo", "wire", at(1, 10))
    story.starts("Ben", "ach", at(1, 11))
    story.starts("Ana", "ach", at(2, 8))
    story.pays("Cleo", "20000", at(2, 9))
    story.settles(at(2, 9, 5))
    story.pays("Ben", "39999.99", at(6, 9))
    accept_amount(reservation_id=story.reservations["Ben"].pk, actor=STAFF, reason="A cent short.", now=at(6, 10))
    story.tell(at(6, 10), "staff accept Ben's amount, a cent less than he reserved")
    story.settles(at(6, 10, 1))
    story.reserves("Dan", "1000", at(6, 11))
    story.pays("Ana", "60000", at(7, 9))
    story.settles(at(7, 9, 1))
    loan = Loan.objects.get(reference="PL-1")
    refund = Transfer.objects.get(direction=Direction.REFUND)
    story.tell(at(7, 9, 1), f"the loan is {loan.status}; {refund.amount:,.2f} go back to {refund.reservation.investor.name}")
    return "\n".join(line.rstrip() for line in story.lines) + "\n"


@pytest.mark.django_db
def test_the_page_tells_what_happens() -> None:
    played = play()
    if os.environ.get("RENEW_DOCS"):
        PAGE.write_text(EXAMPLE.sub(lambda found: found[1] + played + found[3], PAGE.read_text()))
    found = EXAMPLE.search(PAGE.read_text())
    assert found
    assert found[2] == played
