"""Model one loan with the rule fifo: the rules of the system, written a second time, small, in whole cents.

The model shares no code with the system except the banking days. Its reservations expire at the instant at which they lapse, so it
needs no job, no locks and no late events.

What the bank did is not booked report by report. After each report, everything that was reported of the payment since our own last
act on the reservation (a step of the investor, of staff, of settlement or of the clock) is played again in the order of the bank's
times. Refunds due and losses are not booked either: they are what the money that is here leaves over, or lacks.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from loans.domain.deadlines import money_deadline
from tests.histories.bank import Account, Line, in_order, moved

MINIMUM = 1_000_00
LIVE = ("reserved", "pending")
BY_THE_BANK = ("transfer_failed", "payment_returned")


class Refused(Exception):
    """The rules do not allow this, and nothing has changed."""


@dataclass(eq=False)
class Refund:
    """A refund: what the bank has done with it, what it was last sent for, and whether it was void when the bank paid it."""

    account: Account
    sent: int = 0
    was_void: bool = False

    @property
    def gone(self) -> int:
        return moved(self.account.lines)


@dataclass
class Claim:
    """What a reservation claims and holds."""

    state: str
    amount: int
    cause: str = ""
    funded: bool = False
    settled: int = 0

    def cancel(self, cause: str) -> None:
        self.state, self.cause, self.funded, self.settled = "canceled", cause, False, 0

    def follow(self, received: int, now_received: int, *, is_attempt: bool = False) -> int:
        """Follow the money from what was received to what is received now, and return that."""
        if now_received > received:
            self.money_comes(now_received)
        elif now_received < received:
            self.money_goes(now_received)
        elif is_attempt and self.state == "pending":
            self.cancel("transfer_failed")
        return now_received

    def money_comes(self, received: int) -> None:
        """Follow the money that came: it makes `received` in all. What the bank alone had canceled lives again."""
        if self.state == "canceled" and self.cause in BY_THE_BANK:
            self.state, self.cause = "pending", ""
        if self.state == "pending" and received >= self.amount:
            self.funded = True

    def money_goes(self, received: int) -> None:
        """Follow the money that went: it leaves `received`."""
        if self.funded and received < (self.settled or self.amount):
            if received < MINIMUM:
                self.cancel("payment_returned")
            else:
                self.amount, self.settled = received, min(self.settled, received)
        elif self.state == "pending" and received <= 0:
            self.cancel("payment_returned")


@dataclass(eq=False)
class Reservation:
    """A reservation, with its money in cents. `before` and `heard` are its claim and the reports at our last act on it."""

    number: int
    claim: Claim
    deadline: datetime
    transfers: list[Account] = field(default_factory=list)
    refunds: dict[str, Refund] = field(default_factory=dict)
    was_funded: bool = False
    was_accepted: bool = False
    is_closing_piece: bool = False
    before: Claim = field(init=False)
    heard: list[Line] = field(default_factory=list)
    gone_before: int = 0

    def __post_init__(self) -> None:
        self.before = replace(self.claim)

    @property
    def state(self) -> str:
        return self.claim.state

    @property
    def amount(self) -> int:
        return self.claim.amount

    @property
    def expires_at(self) -> datetime | None:
        return self.deadline if self.state in LIVE and not self.claim.funded else None

    @property
    def received(self) -> int:
        return sum(moved(transfer.lines) for transfer in self.transfers)

    @property
    def sent(self) -> int:
        return sum(refund.sent for refund in self.refunds.values())

    @property
    def gone(self) -> int:
        return sum(refund.gone for refund in self.refunds.values())

    @property
    def wrongly_gone(self) -> int:
        """Return what the bank paid out although we had declared the refund void."""
        return sum(refund.gone for refund in self.refunds.values() if refund.was_void)

    @property
    def payment(self) -> int:
        """Return what is here of the newest transfer."""
        return moved(self.transfers[-1].lines) - self.wrongly_gone if self.transfers else 0

    @property
    def keeps(self) -> int:
        if self.state == "pending":
            return self.amount if self.claim.funded else max(0, self.payment)
        return self.claim.settled

    @property
    def surplus(self) -> int:
        return self.received - self.keeps - self.sent - self.gone

    @property
    def due(self) -> int:
        return max(0, self.surplus)

    @property
    def lost(self) -> int:
        return max(0, -self.surplus)

    @property
    def waiting(self) -> int:
        return self.keeps - self.claim.settled

    def act(self) -> None:
        """Note that we act: what the bank reports from here on is played on what is here now."""
        self.before, self.heard = replace(self.claim), list(self.transfers[-1].lines) if self.transfers else []
        self.gone_before = self.wrongly_gone
        self.was_funded |= self.claim.funded

    def played_again(self) -> Claim:
        """Return the claim as it was at our last act, after what the bank did since, in the order of its times."""
        claim, lines = replace(self.before), list(self.heard)
        received = moved(lines) - self.gone_before
        for line in in_order([line for line in self.transfers[-1].lines if line not in self.heard]):
            lines.append(line)
            is_attempt = not line.onward and not any(earlier.onward for earlier in lines)
            received = claim.follow(received, moved(lines) - self.gone_before, is_attempt=is_attempt)
        claim.follow(received, self.payment)
        return claim


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
        return self.amount - sum(reservation.claim.settled for reservation in self.reservations)

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
        reservation.claim.cancel(cause)
        reservation.act()
        self.reopen_if_not_full()

    def reopen_if_not_full(self) -> None:
        if self.status == "funded" and self.remaining:
            self.status = "open"

    # --- Investors ----------------------------------------------------------------------------------------------------
    def reserve(self, amount: int) -> None:
        allow(self.takes_reservations)
        allow(amount >= MINIMUM or amount == self.remaining)
        allow(amount <= self.available)
        reservation = Reservation(len(self.reservations) + 1, Claim("reserved", amount), self.now + timedelta(hours=24))
        reservation.is_closing_piece = amount < MINIMUM
        self.reservations.append(reservation)

    def start_transfer(self, reservation: Reservation) -> bool:
        """Return whether a transfer was started: a repeat starts none."""
        if reservation.state in {"pending", "settled"}:
            return False
        allow(reservation.state == "reserved")
        reservation.claim.state, reservation.deadline = "pending", money_deadline(self.now)
        return True

    def add_transfer(self, reservation: Reservation, transfer: Account) -> None:
        reservation.transfers.append(transfer)
        reservation.was_funded = False
        reservation.act()

    def cancel(self, reservation: Reservation) -> None:
        allow(reservation.state == "reserved" or reservation.claim.cause == "canceled_by_investor")
        if reservation.state == "reserved":
            self.end(reservation, "canceled_by_investor")

    # --- The bank -----------------------------------------------------------------------------------------------------
    def follow_payment(self, reservation: Reservation) -> None:
        """Let the claim follow what the bank has reported of the newest transfer, and of refunds that it paid against our word.

        A reservation that the bank had canceled lives again only if it has time left, or had been funded and is again; if the
        loan has room for it; and if its money is still here.
        """
        reservation.was_funded |= reservation.claim.funded
        claim, was = reservation.played_again(), reservation.claim
        if claim.state == "pending" and was.state not in LIVE:
            reservation.claim = replace(claim)
            reservation.claim.cancel(was.cause or "payment_returned")
            self.reopen_if_not_full()
            in_time = reservation.deadline > self.now or (claim.funded and reservation.was_funded)
            is_here = reservation.received - reservation.sent - reservation.gone >= min(claim.amount, reservation.payment) > 0
            if not (in_time and is_here and claim.amount <= self.available):
                return
        reservation.claim = claim
        self.reopen_if_not_full()

    def refund_reported(self, refund: Refund, gone_before: int, line: Line) -> None:
        """Note what the bank reported of a refund: it is no longer sent, unless the report is of an attempt before it was paid."""
        if refund.gone != gone_before or (not line.onward and not refund.gone):
            refund.sent = 0

    def send(self, reservation: Reservation, refund: Refund, amount: int) -> None:
        refund.sent = amount
        reservation.act()

    # --- Settlement ---------------------------------------------------------------------------------------------------
    def settle(self) -> None:
        if self.status != "open":
            return
        free, all_decided = self.remaining, True
        for reservation in self.live:
            share = min(reservation.amount, free)
            free -= share
            if reservation.claim.funded and share and (share == reservation.amount or all_decided):
                self.buy(reservation, share)
            else:
                all_decided = False
        self.close_if_full()

    def buy(self, reservation: Reservation, share: int) -> None:
        reservation.claim.state, reservation.claim.settled = "settled", share
        reservation.act()

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
        allow(reservation.claim.funded)
        self.buy(reservation, min(reservation.amount, self.remaining))
        self.close_if_full()

    def cancel_by_staff(self, reservation: Reservation) -> None:
        allow(reservation.state in LIVE or reservation.claim.cause == "canceled_by_staff")
        if reservation.state in LIVE:
            self.end(reservation, "canceled_by_staff")

    def extend_reservation(self, reservation: Reservation, until: datetime) -> None:
        allow(reservation.expires_at and until > reservation.expires_at)
        reservation.deadline = until
        reservation.act()

    def accept_amount(self, reservation: Reservation) -> None:
        if reservation.was_accepted and reservation.claim.funded and reservation.amount == reservation.payment:
            return
        allow(reservation.state == "pending" and not reservation.claim.funded and reservation.payment)
        allow(reservation.payment >= MINIMUM or reservation.is_closing_piece)
        reservation.claim.amount, reservation.claim.funded, reservation.was_accepted = reservation.payment, True, True
        reservation.act()

    def reinstate(self, reservation: Reservation) -> None:
        allow(reservation.state == "canceled" and self.takes_reservations)
        allow(reservation.amount <= self.available and not reservation.sent and not reservation.gone)
        claim = reservation.claim
        claim.cause = ""
        if reservation.payment >= reservation.amount:
            claim.state, claim.funded = "pending", True
        elif reservation.transfers and not reservation.transfers[-1].lines:
            claim.state, reservation.deadline = "pending", money_deadline(self.now)
        else:
            claim.state, reservation.deadline = "reserved", self.now + timedelta(hours=24)
        reservation.was_funded = False
        reservation.act()

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
