"""What becomes of a reservation or a loan of the demo: each function is a scene (play.py) to name in a plan (plans.py).

A new story calls the services as an investor, the bank or staff would, and yields `story.after(…)` where time passes. It may begin
with another one by `yield from`.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

from loans.demo.play import Moment, Play, Scene
from loans.domain.actors import Actor
from loans.domain.states import Direction
from loans.models import Investor, Reservation, Transfer
from loans.services.loans import close_loan_at_settled, extend_loan, withdraw_loan
from loans.services.reservations import cancel_reservation, reserve, start_transfer
from loans.services.settlement import settle_due
from loans.services.staff_overrides import accept_amount, cancel_by_staff, extend_reservation

LEAST_WIRE = 50_000  # dollars; smaller amounts come by ACH


@dataclass
class Story:
    """An investor and their reservation, and what can happen to it."""

    play: Play
    reference: str
    investor: Investor
    amount: Decimal
    reservation: Reservation = field(default_factory=Reservation)

    def after(self, *, days: int = 0, minutes: int = 0) -> Moment:
        """Return the moment so many banking days and minutes later."""
        return self.play.moment.later(days=days, minutes=minutes)

    def random(self, least: int, most: int) -> int:
        """Return a random whole number."""
        return self.play.random_number(least, most)

    def reserve(self) -> None:
        self.reservation = reserve(reference=self.reference, investor=self.investor, amount=self.amount, now=self.play.at)
        self.play.sweep_after_deadline(self.reservation)

    def start_transfer(self) -> None:
        method = "wire" if self.amount >= LEAST_WIRE else "ach"
        self.reservation = start_transfer(reservation_id=self.reservation.pk, method=method, actor=self.actor, now=self.play.at)
        self.play.sweep_after_deadline(self.reservation)

    def bank_reports(self, kind: str, amount: Decimal | None = None, *, earlier: timedelta = timedelta(minutes=4)) -> None:
        """Let the bank report on the transfer, about the whole amount unless another is given."""
        transfer = Transfer.objects.filter(reservation=self.reservation, direction=Direction.INBOUND).earliest("created_at")
        self.play.bank_reports(kind, transfer.reference, amount or self.amount, earlier=earlier)

    def staff_action(self, reason: str) -> dict[str, Any]:
        """Return the arguments of a staff service that acts on the reservation now."""
        return {"reservation_id": self.reservation.pk, "actor": self.play.staff, "reason": reason, "now": self.play.at}

    @property
    def actor(self) -> Actor:
        return Actor("investor", self.investor.user_id)


# --- Reservations -----------------------------------------------------------------------------------------------------
def reserves(story: Story) -> Scene:
    story.reserve()
    yield from ()  # nothing else happens to it, but a scene is a generator


def cancels(story: Story) -> Scene:
    story.reserve()
    yield story.after(minutes=story.random(30, 300))
    cancel_reservation(reservation_id=story.reservation.pk, actor=story.actor, investor_id=story.investor.pk, now=story.play.at)


def starts_transfer(story: Story) -> Scene:
    story.reserve()
    yield story.after(minutes=story.random(20, 200))
    story.start_transfer()


def pays(story: Story) -> Scene:
    yield from starts_transfer(story)
    yield story.after(days=story.random(1, 2), minutes=story.random(0, 200))
    story.bank_reports("transfer.cleared")


def transfer_fails(story: Story) -> Scene:
    yield from starts_transfer(story)
    yield story.after(days=2, minutes=story.random(0, 200))
    story.bank_reports("transfer.failed")


def payment_is_returned(story: Story) -> Scene:
    yield from pays(story)
    yield story.after(days=3)
    story.bank_reports("transfer.failed")


def pays_late(story: Story) -> Scene:
    yield from starts_transfer(story)
    yield story.after(days=6)
    story.bank_reports("transfer.cleared")


def pays_in_time_but_is_reported_late(story: Story) -> Scene:
    yield from starts_transfer(story)
    yield story.after(days=6)
    paid_at = story.play.instant(Moment(story.play.moment.day - 1, 16 * 60))
    story.bank_reports("transfer.cleared", earlier=story.play.at - paid_at)


def pays_twice(story: Story) -> Scene:
    yield from pays(story)
    yield story.after(days=1)
    story.bank_reports("transfer.cleared")


def pays_too_much(story: Story) -> Scene:
    yield from starts_transfer(story)
    yield story.after(days=2)
    story.bank_reports("transfer.cleared", story.amount + 500)


def pays_too_little(story: Story) -> Scene:
    yield from starts_transfer(story)
    yield story.after(days=1)
    story.bank_reports("transfer.cleared", story.amount - 250)


def pays_too_little_and_staff_accept(story: Story) -> Scene:
    yield from pays_too_little(story)
    yield story.after(minutes=180)
    accept_amount(**story.staff_action("The bank kept its fee; agreed on the phone."))
    settle_due(story.play.at)


def is_canceled_by_staff(story: Story) -> Scene:
    yield from starts_transfer(story)
    yield story.after(days=1)
    cancel_by_staff(**story.staff_action("The investor asked for it by e-mail."))


def is_extended_by_staff(story: Story) -> Scene:
    story.reserve()
    yield story.after(minutes=120)
    expires_at = story.play.at + timedelta(days=7)
    story.reservation = extend_reservation(**story.staff_action("The firm's board meets next week."), expires_at=expires_at)
    story.play.sweep_after_deadline(story.reservation)


# --- Loans ------------------------------------------------------------------------------------------------------------
def is_withdrawn(play: Play, reference: str) -> Scene:
    yield Moment(-7, 15 * 60)
    withdraw_loan(reference=reference, actor=play.staff, reason="The borrower has sold the house.", now=play.at)


def is_withdrawn_as_draft(play: Play, reference: str) -> Scene:
    yield Moment(-9, 11 * 60)
    withdraw_loan(reference=reference, actor=play.staff, reason="The appraisal came in too low.", now=play.at)


def is_closed_at_settled(play: Play, reference: str) -> Scene:
    yield Moment(-4, 14 * 60)
    close_loan_at_settled(reference=reference, actor=play.staff, reason="The borrower takes what is there.", now=play.at)


def is_extended(play: Play, reference: str) -> Scene:
    yield Moment(-3, 9 * 60)
    closes_at = play.instant(Moment(12, 17 * 60))
    extend_loan(reference=reference, closes_at=closes_at, actor=play.staff, reason="Two more weeks for the last third.", now=play.at)
