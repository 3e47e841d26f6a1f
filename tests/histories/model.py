"""Model one loan with the rule fifo: the rules of the system, written a second time, small, in whole cents.

The model shares no code with the system except the banking days. Its reservations expire at the instant at which they lapse, so it
needs no job, no locks and no late events.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from loans.domain.deadlines import money_deadline

INVESTORS = 3
MINIMUM = 1_000_00
LIVE = ("reserved", "pending")


class Refused(Exception):
    """The rules do not allow this, and nothing has changed."""


@dataclass(eq=False)
class Payments:
    """The payments under one reference. `here` has the cents of each that has cleared and was not returned, by its number."""

    status: str = "initiated"  # of the first
    here: dict[int, int] = field(default_factory=dict)
    count: int = 1


@dataclass(eq=False)
class Reservation:
    """A reservation, with its money in cents."""

    number: int
    amount: int
    expires_at: datetime | None
    state: str = "reserved"
    cause: str = ""
    funded: bool = False
    accepted: bool = False
    settled: int = 0
    due: int = 0
    paid: int = 0
    lost: int = 0
    transfers: list[Payments] = field(default_factory=list)

    @property
    def received(self) -> int:
        return sum(sum(payments.here.values()) for payments in self.transfers)

    @property
    def waiting(self) -> int:
        return self.received + self.lost - self.settled - self.due - self.paid

    @property
    def current_payment(self) -> int:
        """Return the cents that cleared by the newest transfer."""
        return self.transfers[-1].here.get(1, 0) if self.transfers else 0

    def void_refunds(self, cents: int) -> None:
        void = min(self.due, cents)
        self.due -= void
        self.lost += cents - void

    def adjust_refunds(self) -> None:
        """Owe the money that the state does not keep; void refunds of money that it keeps again, or that is gone."""
        keeps = 0
        if self.state == "pending":
            keeps = self.amount if self.funded else max(self.waiting, 0)
        if self.waiting >= keeps:
            self.due += self.waiting - keeps
        else:
            self.void_refunds(keeps - self.waiting)


def allow(condition: object) -> None:
    """Refuse unless the condition holds."""
    if not condition:
        raise Refused


class Model:
    """One open loan: its reservations, and everything that can happen to them."""

    def __init__(self, amount: int, percent: int, now: datetime, closes_at: datetime) -> None:
        self.amount, self.percent, self.now, self.closes_at = amount, percent, now, closes_at
        self.status = "open"
        self.reservations: list[Reservation] = []

    # --- What it shows -------------------------------------------------------------------------------------------
    @property
    def live(self) -> list[Reservation]:
        return [reservation for reservation in self.reservations if reservation.state in LIVE]

    @property
    def remaining(self) -> int:
        return self.amount - sum(reservation.settled for reservation in self.reservations)

    @property
    def takes_reservations(self) -> bool:
        return self.status == "open" and self.now < self.closes_at

    @property
    def available(self) -> int:
        limit = self.remaining * (100 + self.percent) // 100
        free = min(self.remaining, limit - sum(reservation.amount for reservation in self.live))
        return max(0, free) if self.takes_reservations else 0

    # --- Time ---------------------------------------------------------------------------------------------------------
    def pass_time(self, until: datetime) -> None:
        self.now = until
        for reservation in self.live:
            if reservation.expires_at and reservation.expires_at <= until:
                self.end(reservation, "expired")

    def end(self, reservation: Reservation, cause: str) -> None:
        reservation.state, reservation.cause, reservation.expires_at, reservation.funded, reservation.settled = (
            "canceled",
            cause,
            None,
            False,
            0,
        )
        reservation.adjust_refunds()
        if self.status == "funded" and self.remaining:
            self.status = "open"

    # --- Investors ----------------------------------------------------------------------------------------------------
    def reserve(self, amount: int) -> None:
        allow(self.takes_reservations)
        allow(amount >= MINIMUM or amount == self.remaining)
        allow(amount <= self.available)
        # The investors take turns. One holds at most the loan's amount of which the money is not here.
        turn = len(self.reservations) % INVESTORS
        own = [each for each in self.live if (each.number - 1) % INVESTORS == turn and not each.funded]
        allow(sum(each.amount for each in own) + amount <= max(MINIMUM, self.amount))
        self.reservations.append(Reservation(len(self.reservations) + 1, amount, self.now + timedelta(hours=24)))

    def start_transfer(self, reservation: Reservation) -> None:
        if reservation.state in {"pending", "settled"}:
            return  # a repeat
        allow(reservation.state == "reserved")
        reservation.state, reservation.expires_at = "pending", money_deadline(self.now)
        reservation.transfers.append(Payments())

    def cancel(self, reservation: Reservation) -> None:
        allow(reservation.state == "reserved" or reservation.cause == "canceled_by_investor")
        if reservation.state == "reserved":
            self.end(reservation, "canceled_by_investor")

    # --- The bank -----------------------------------------------------------------------------------------------------
    def clear(self, reservation: Reservation, payments: Payments, amount: int) -> None:
        if payments.status not in {"initiated", "failed"}:
            payments.count += 1
            payments.here[payments.count] = amount
            reservation.due += amount
            return
        payments.status, payments.here[1] = "cleared", amount
        if reservation.state != "pending" or reservation.funded or payments is not reservation.transfers[-1]:
            reservation.due += amount
        elif amount >= reservation.amount:
            reservation.funded, reservation.expires_at = True, None
            reservation.adjust_refunds()

    def fail(self, reservation: Reservation, payments: Payments, amount: int) -> None:
        own = payments is reservation.transfers[-1]
        if payments.status == "initiated":
            payments.status = "failed"
            if own and reservation.state == "pending":
                self.end(reservation, "transfer_failed")
        elif payments.here:
            number = max(payments.here, key=lambda number: (payments.here[number] == amount, number))
            gone = payments.here.pop(number)
            if number == 1:
                payments.status = "returned"
            if number == 1 and own and reservation.state in {"pending", "settled"}:
                self.end(reservation, "payment_returned")
            else:
                reservation.void_refunds(gone)

    def pay(self, reservation: Reservation, amount: int) -> None:
        reservation.due -= amount
        reservation.paid += amount

    # --- Settlement ---------------------------------------------------------------------------------------------------
    def settle(self) -> None:
        if self.status != "open":
            return
        free, all_decided = self.remaining, True
        for reservation in self.live:
            share = min(reservation.amount, free)
            free -= share
            if reservation.funded and share and (share == reservation.amount or all_decided):
                self.buy(reservation, share)
            else:
                all_decided = False
        self.close_if_full()

    def buy(self, reservation: Reservation, share: int) -> None:
        reservation.state, reservation.settled = "settled", share
        reservation.adjust_refunds()

    def close_if_full(self) -> None:
        if self.remaining == 0:
            self.status = "funded"
            self.end_live("loan_funded")

    def end_live(self, cause: str) -> None:
        for reservation in self.live:
            self.end(reservation, cause)

    # --- Staff --------------------------------------------------------------------------------------------------------
    def settle_ahead(self, reservation: Reservation) -> None:
        if reservation.state == "settled":
            return
        allow(reservation.funded)
        self.buy(reservation, min(reservation.amount, self.remaining))
        self.close_if_full()

    def cancel_by_staff(self, reservation: Reservation) -> None:
        allow(reservation.state in LIVE or reservation.cause == "canceled_by_staff")
        if reservation.state in LIVE:
            self.end(reservation, "canceled_by_staff")

    def extend_reservation(self, reservation: Reservation, until: datetime) -> None:
        allow(reservation.expires_at and until > reservation.expires_at)
        reservation.expires_at = until

    def accept_amount(self, reservation: Reservation) -> None:
        if reservation.accepted and reservation.funded and reservation.amount == reservation.current_payment:
            return
        allow(reservation.state == "pending" and not reservation.funded and reservation.current_payment >= MINIMUM)
        reservation.amount, reservation.funded, reservation.accepted, reservation.expires_at = reservation.current_payment, True, True, None
        reservation.adjust_refunds()

    def reinstate(self, reservation: Reservation) -> None:
        allow(reservation.state == "canceled" and self.takes_reservations)
        allow(reservation.amount <= self.available and not reservation.paid)
        reservation.cause = ""
        if reservation.current_payment >= reservation.amount:
            reservation.state, reservation.funded = "pending", True
        elif reservation.transfers and reservation.transfers[-1].status == "initiated":
            reservation.state, reservation.expires_at = "pending", money_deadline(self.now)
        else:
            reservation.state, reservation.expires_at = "reserved", self.now + timedelta(hours=24)
        reservation.adjust_refunds()

    def withdraw(self) -> None:
        allow(self.status in {"open", "withdrawn"})
        self.status = "withdrawn"
        for reservation in self.reservations:
            if reservation.state != "canceled":
                self.end(reservation, "loan_withdrawn")

    def extend_loan(self, closes_at: datetime) -> None:
        allow(self.status == "open" and closes_at > self.closes_at)
        self.closes_at = closes_at

    def close_at_settled(self) -> None:
        allow(self.status in {"open", "funded"} and (self.status == "funded" or self.now >= self.closes_at))
        self.settle()
        if self.status == "open":
            allow(self.remaining < self.amount)
            self.amount, self.status = self.amount - self.remaining, "funded"
            self.end_live("loan_funded")
