"""The worked examples of docs/rules.md are what the services do, line by line. `RENEW_DOCS=1` writes them into the page."""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from loans.domain.actors import Actor
from loans.domain.business_calendar import NEW_YORK
from loans.domain.states import Direction
from loans.models import Loan, Reservation, Transfer
from loans.selectors.offers import loan_offer
from loans.services.payment_files import send_refunds
from loans.services.reservations import reserve, start_transfer
from loans.services.settlement import settle_due
from loans.services.staff_overrides import accept_amount, cancel_by_staff, reinstate_reservation
from peerloans.errors import Problem
from tests.factories import (
    STAFF,
    InvestorFactory,
    LoanFactory,
    money_comes,
    money_fails,
    refund_bounces,
    refund_goes_out,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rules.md"
EXAMPLE = r"(<!-- {} -->\n```text\n)(.*?)(```\n)"


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


class Payment:
    """One reservation, to which the bank does all kinds of things. Each method does one of them, and adds a line to the page."""

    def __init__(self) -> None:
        self.lines = [f"{'':66}{'received':>11}{'settled':>11}{'refunded':>11}{'waiting':>11}{'lost':>11}"]
        loan = LoanFactory(reference="PL-2", now=at(1, 9))
        self.reservation = reserve(reference=loan.reference, investor=InvestorFactory(name="Eve"), amount=Decimal(5_000), now=at(1, 9))
        start_transfer(reservation_id=self.reservation.pk, method="ach", actor=Actor("investor"), now=at(1, 9, 1))
        self.add_line(at(1, 9, 1), "Eve reserves 5,000.00 and starts a transfer")

    @property
    def refund(self) -> Transfer:
        return Transfer.objects.filter(direction=Direction.REFUND).latest("created_at")

    def add_line(self, now: datetime, event: str) -> None:
        self.reservation.refresh_from_db()
        reservation = self.reservation
        dollars = (reservation.received, reservation.settled_amount, reservation.refunded, reservation.waiting_money, reservation.lost)
        columns = "".join(f"{amount:>11,.2f}" for amount in dollars)
        self.lines.append(f"{now.astimezone(NEW_YORK):%a %d %H:%M}  {event:<53}{columns}".rstrip())

    def clears(self, dollars: str, now: datetime) -> None:
        self.add_line(now, f"{Decimal(dollars):,.2f} arrive: {in_words(money_comes(self.reservation, dollars, now=now))}")

    def fails(self, dollars: str, now: datetime, occurred_at: datetime) -> None:
        outcome = money_fails(self.reservation, dollars, now=now, occurred_at=occurred_at)
        self.add_line(now, f"{Decimal(dollars):,.2f} failed {occurred_at.astimezone(NEW_YORK):%a %d %H:%M}: {in_words(outcome)}")

    def settle(self, now: datetime) -> None:
        settle_due(now)
        self.add_line(now, "the rule runs")

    def cancel(self, now: datetime) -> None:
        cancel_by_staff(reservation_id=self.reservation.pk, actor=STAFF, reason="She asked.", now=now)
        self.add_line(now, f"staff cancel: {in_words(self.refund.status)}")

    def reinstate(self, now: datetime) -> None:
        reinstate_reservation(reservation_id=self.reservation.pk, actor=STAFF, reason="She asked.", now=now)
        self.add_line(now, f"staff reinstate: the refund is {self.refund.status}")

    def send_refunds(self, now: datetime) -> None:
        send_refunds(refund_ids=[self.refund.pk], actor=STAFF, reason="The weekly run.", now=now)
        self.add_line(now, f"staff send the refund: {self.refund.status}")

    def refund_paid(self, now: datetime) -> None:
        outcome = refund_goes_out(self.refund, now=now)
        self.reservation.refresh_from_db()
        self.add_line(now, f"the bank paid it: {in_words(outcome)}, {self.reservation.state}")

    def refund_bounces(self, now: datetime) -> None:
        outcome = refund_bounces(self.refund, now=now)
        self.add_line(now, f"the refund came back: {in_words(outcome)}; it is {self.refund.status}")


def in_words(code: str) -> str:
    return code.replace("_", " ")


def play_payment() -> str:
    payment = Payment()
    payment.clears("0.01", at(2, 9))
    payment.clears("5000", at(2, 10))
    payment.fails("5000", at(2, 11), occurred_at=at(2, 8))
    payment.settle(at(2, 12))
    payment.fails("100", at(6, 9), occurred_at=at(6, 8))
    payment.fails("9000", at(6, 10), occurred_at=at(6, 9))
    payment.fails("4900.01", at(7, 9), occurred_at=at(7, 8))
    payment.clears("5000", at(7, 10))
    payment.cancel(at(7, 11))
    payment.send_refunds(at(7, 12))
    payment.refund_bounces(at(8, 9))
    payment.reinstate(at(8, 10))
    payment.refund_paid(at(8, 11))
    payment.fails("5000", at(9, 9), occurred_at=at(9, 8))
    return "\n".join(payment.lines) + "\n"


def compare_with_page(name: str, played: str) -> None:
    """Compare what was played with the example of that name on the page, or write it there."""
    example = re.compile(EXAMPLE.format(name), re.DOTALL)
    if os.environ.get("RENEW_DOCS"):
        PAGE.write_text(example.sub(lambda match: match[1] + played + match[3], PAGE.read_text()))
    written = example.search(PAGE.read_text())
    assert written
    assert written[2] == played


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "play"), [("worked example", play), ("a payment that goes wrong", play_payment)])
def test_the_page_shows_what_happens(name: str, play: Callable[[], str]) -> None:
    compare_with_page(name, play())
