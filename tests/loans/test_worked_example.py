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
from loans.models import Investor, Loan, Reservation, StandingOrder, StandingOrderTransition, Transfer
from loans.selectors.offers import loan_offer
from loans.services.expiry import expire_due
from loans.services.loans import announce_loan, close_loan_at_settled, open_announced_loans
from loans.services.payment_files import send_refunds
from loans.services.reservations import cancel_reservation, reserve, start_transfer
from loans.services.settlement import settle_due
from loans.services.staff_overrides import accept_amount, cancel_by_staff, reinstate_reservation
from loans.services.waiting_list import join_waiting_list, serve_waiting_lists
from peerloans.errors import Problem
from tests import factories
from tests.factories import (
    STAFF,
    DraftFactory,
    InvestorFactory,
    LoanFactory,
    money_comes,
    money_fails,
    refund_bounces,
    refund_goes_out,
    standing_order,
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
        dollars = (reservation.received, reservation.settled_amount, reservation.refunded, reservation.waiting, reservation.lost)
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


class AnnouncedLoan:
    """A loan that is announced, opens, and is full. Each call does one thing, and adds what came of it."""

    def __init__(self) -> None:
        self.lines = [f"{'':66}{'claimed':>11}{'waiting':>11}{'available':>11}"]
        self.investors: dict[str, Investor] = {}
        self.loan = DraftFactory(reference="PL-3", overbooking_rate=Decimal(0), now=at(1, 7))
        announce_loan(reference="PL-3", opens_at=at(1, 9), actor=STAFF, now=at(1, 7))
        self.add_line(at(1, 7), "announced: $100,000, no overbooking, opens at 9")

    def investor(self, name: str) -> Investor:
        return self.investors.setdefault(name, InvestorFactory(name=name))

    def add_line(self, now: datetime, event: str) -> None:
        offer = loan_offer("PL-3", now)
        columns = "".join(f"{amount:>11,.2f}" for amount in (offer.claimed, offer.loan.waiting_dollars, offer.available))
        self.lines.append(f"{now.astimezone(NEW_YORK):%a %d %H:%M}  {event:<53}{columns}".rstrip())

    def do(self, now: datetime, event: str, act: Callable[[], object]) -> None:
        """Act, and name the entries that became reservations or ended."""
        before = dict(self.loan.waiting_list.values_list("pk", "state"))
        try:
            act()
        except Problem as problem:
            event = f"{event}: {problem.code}"
        self.add_line(now, event)
        for entry in self.loan.waiting_list.select_related("investor", "reservation").order_by("number"):
            if entry.state != before.get(entry.pk, "waiting"):
                dollars = f" {entry.reservation.amount:,.2f}" if entry.reservation else ""
                self.lines.append(f"{'':14}{entry.investor.name} {entry.state}{dollars}")

    def order(self, name: str, dollars: str, now: datetime, *, at_least: str, cap: str) -> None:
        standing_order(dollars, at_least=at_least, cap=cap, investor=self.investor(name), now=now)
        terms = f"{Decimal(dollars):,.0f} per loan, at least {Decimal(at_least):,.0f}, cap {Decimal(cap):,.0f}"
        self.add_line(now, f"{name}: {terms}")

    def open(self, now: datetime) -> None:
        self.do(now, "the loan opens, with 50,000.00 for standing orders", lambda: open_announced_loans(now))
        for outcome in StandingOrderTransition.objects.filter(loan=self.loan).select_related("order__investor").order_by("id"):
            given = f"reserves {outcome.amount:,.2f}" if outcome.amount else f"passed over: {outcome.obstacle}"
            self.lines.append(f"{'':14}{outcome.order.investor.name} {given}")
        in_line = StandingOrder.objects.filter(state="active").order_by("place").values_list("investor__name", flat=True)
        self.lines.append(f"{'':14}the line is now: {', '.join(in_line)}")

    def reserve(self, name: str, dollars: str, now: datetime) -> None:
        amount, investor = Decimal(dollars), self.investor(name)
        self.do(now, f"{name} reserves {amount:,.2f}", lambda: reserve(reference="PL-3", investor=investor, amount=amount, now=now))

    def wait(self, name: str, dollars: str, now: datetime, at_least: str | None = None) -> None:
        entry = {"amount": Decimal(dollars), "at_least": Decimal(at_least or dollars), "investor": self.investor(name)}
        least = f", at least {entry['at_least']:,.2f}" if at_least else ""
        self.do(now, f"{name} waits for {entry['amount']:,.2f}{least}", lambda: join_waiting_list(reference="PL-3", now=now, **entry))

    def reservation(self, name: str) -> Reservation:
        return Reservation.objects.filter(loan=self.loan, investor=self.investor(name)).latest("number")

    def cancel(self, name: str, now: datetime) -> None:
        self.do(now, f"{name} cancels", lambda: cancel(self.reservation(name), now))

    def pay(self, name: str, now: datetime) -> None:
        def pays() -> None:
            factories.start_transfer(self.reservation(name), now=now)
            money_comes(self.reservation(name), now=now)
            settle_due(now)

        self.do(now, f"{name} pays, and it settles", pays)

    def run_jobs(self, now: datetime, event: str) -> None:
        def run() -> None:
            expire_due(now)
            serve_waiting_lists(now)

        self.do(now, event, run)

    def close(self, now: datetime) -> None:
        self.do(
            now,
            "staff close the loan at what has settled",
            lambda: close_loan_at_settled(reference="PL-3", actor=STAFF, reason="Enough.", now=now),
        )


def cancel(reservation: Reservation, now: datetime) -> None:
    actor = Actor("investor", reservation.investor.user_id)
    cancel_reservation(reservation_id=reservation.pk, actor=actor, investor_id=reservation.investor_id, now=now)


def play_opening() -> str:
    story = AnnouncedLoan()
    story.order("Kim", "30000", at(1, 7, 1), at_least="10000", cap="90000")
    story.order("Lea", "25000", at(1, 7, 2), at_least="5000", cap="10000")
    story.order("Max", "20000", at(1, 7, 3), at_least="20000", cap="90000")
    story.reserve("Ana", "60000", at(1, 8))
    story.open(at(1, 9))
    story.reserve("Ana", "60000", at(1, 9, 1))
    story.reserve("Ben", "1000", at(1, 9, 2))
    story.wait("Cleo", "30000", at(1, 9, 3))
    story.wait("Dan", "20000", at(1, 9, 4), at_least="5000")
    story.wait("Eve", "15000", at(1, 9, 5))
    story.wait("Fay", "45000.50", at(1, 9, 6))
    story.wait("Gil", "50000", at(1, 9, 7))
    story.cancel("Kim", at(1, 10))
    story.reserve("Hal", "1000", at(1, 10, 1))
    story.pay("Cleo", at(1, 11))
    story.run_jobs(at(2, 9, 2), "Lea's and Ana's reservations have expired")
    story.reserve("Hal", "1000", at(2, 9, 3))
    story.run_jobs(at(3, 9, 3), "Dan's and Eve's reservations have expired")
    story.wait("Dan", "9000", at(3, 9, 4), at_least="1000")
    story.close(at(22, 10))
    return "\n".join(story.lines) + "\n"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "play"),
    [("worked example", play), ("a payment that goes wrong", play_payment), ("an opening and a waiting list", play_opening)],
)
def test_the_page_shows_what_happens(name: str, play: Callable[[], str]) -> None:
    played = play()
    example = re.compile(EXAMPLE.format(name), re.DOTALL)
    if os.environ.get("RENEW_DOCS"):
        PAGE.write_text(example.sub(lambda match: match[1] + played + match[3], PAGE.read_text()))
    written = example.search(PAGE.read_text())
    assert written
    assert written[2] == played
