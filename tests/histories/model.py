"""Model one loan with the rule fifo and the line of standing orders: the rules of the system a second time, small, in whole cents.

The model shares no code with the system except the banking days. Its reservations expire at the instant at which they lapse, so it
needs no job, no locks and no late events.

What the bank did is not booked report by report. After each report, everything that was reported of a payment is read anew in the
order of the bank's times, and the reservation follows what comes of it. Refunds due and losses are not booked either: they are what
the money that is here leaves over, or lacks.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from loans.domain.deadlines import money_deadline
from tests.histories.bank import Account, Line, in_order, moved

INVESTORS = 3
MINIMUM = 1_000_00
MOST_ORDERS = 10  # of one investor
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
        return self.account.moved


@dataclass
class Payment:
    """What the reports of one payment say of the reservation that it is for, if nothing else had happened to it."""

    expected: int
    amount: int = 0
    received: int = 0
    is_funded: bool = False
    ended: str = ""  # the cause

    def read(self, lines: Iterable[Line], gone: int) -> "Payment":
        """Read all reports in the bank's order, and last what the bank paid out of it although we had declared the refund void.

        What it paid out while nothing had been received is lost at once: it ends no payment that is still to come.
        """
        self.amount = self.expected
        read: list[Line] = []
        for line in in_order(lines):
            read.append(line)
            self._follow(moved(read), is_attempt=not any(earlier.onward for earlier in read))
        if self.received:
            self._follow(self.received - gone, is_attempt=False)
        else:
            self.received -= gone
        return self

    def _follow(self, received: int, *, is_attempt: bool) -> None:
        before, self.received = self.received, received
        if received > before:
            self.ended = ""
            self.is_funded |= received >= self.amount
        elif received < before:
            if self.is_funded and MINIMUM <= received < self.amount:
                self.amount = received
            elif received <= 0 or (self.is_funded and received < self.amount):
                self.is_funded, self.ended, self.amount = False, "payment_returned", self.expected
        elif is_attempt and not received:
            self.ended = "transfer_failed"


@dataclass(eq=False)
class Order:
    """A standing order. `elsewhere` is what it reserved of other loans, in cents, with the deadline of each."""

    investor: int
    amount: int
    at_least: int
    cap: int
    is_for_this_state: bool
    state: str = "active"
    elsewhere: list[tuple[int, datetime]] = field(default_factory=list)


@dataclass(eq=False)
class Reservation:
    """A reservation, with its money in cents. `expected` is what its newest transfer is to bring."""

    number: int
    investor: int
    amount: int
    deadline: datetime
    state: str = "reserved"
    cause: str = ""
    funded: bool = False
    settled: int = 0
    order: Order | None = None
    expected: int = 0
    was_funded: bool = False
    was_accepted: bool = False
    is_closing_piece: bool = False
    transfers: list[Account] = field(default_factory=list)
    refunds: dict[str, Refund] = field(default_factory=dict)

    @property
    def expires_at(self) -> datetime | None:
        return self.deadline if self.state in LIVE and not self.funded else None

    @property
    def received(self) -> int:
        return sum(transfer.moved for transfer in self.transfers)

    @property
    def sent(self) -> int:
        return sum(refund.sent for refund in self.refunds.values())

    @property
    def gone(self) -> int:
        return sum(refund.gone for refund in self.refunds.values())

    @property
    def payment(self) -> Payment:
        """Return what is reported of the newest transfer."""
        gone = sum(refund.gone for refund in self.refunds.values() if refund.was_void)
        return Payment(self.expected).read(self.transfers[-1].counted if self.transfers else [], gone)

    @property
    def keeps(self) -> int:
        if self.state == "pending":
            # While the whole amount is not here, nothing is lost: the reservation keeps what is left of it.
            return self.amount if self.funded else max(0, min(self.payment.received, self.received - self.sent - self.gone))
        return self.settled

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
        return self.keeps - self.settled

    def cancel(self, cause: str) -> None:
        self.was_funded = self.funded
        self.state, self.cause, self.funded, self.settled = "canceled", cause, False, 0


@dataclass(eq=False)
class Entry:
    """An entry of the waiting list; `number` is that of the reservation that it became."""

    investor: int
    amount: int
    at_least: int
    state: str = "waiting"
    number: int | None = None


def allow(condition: object) -> None:
    """Refuse unless the condition holds."""
    if not condition:
        raise Refused


class Model:
    """One loan: its reservations, and everything that can happen to them. Other loans only open."""

    def __init__(self, amount: int, percent: int, now: datetime, closes_at: datetime) -> None:
        self.amount, self.percent, self.now, self.closes_at = amount, percent, now, closes_at
        self.status = "upcoming"
        self.reservations: list[Reservation] = []
        self.entries: list[Entry] = []
        self.line: list[Order] = []

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
    def waiting(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.state == "waiting"]

    @property
    def unclaimed(self) -> int:
        """What is free for those who wait."""
        limit = self.remaining * (100 + self.percent) // 100
        free = min(self.remaining, limit - sum(reservation.amount for reservation in self.live))
        return max(0, free) if self.status == "open" else 0

    @property
    def room(self) -> int:
        """What is free for a reservation that was made before the closing, and lives on after it: nobody overtakes the list."""
        return max(0, self.unclaimed - sum(entry.amount for entry in self.waiting))

    @property
    def available(self) -> int:
        return self.room if self.takes_reservations else 0

    # --- Time ---------------------------------------------------------------------------------------------------------
    def pass_time(self, until: datetime) -> None:
        self.now = until
        for reservation in self.live:
            if reservation.expires_at and reservation.expires_at <= until:
                self.end(reservation, "expired")

    def end(self, reservation: Reservation, cause: str) -> None:
        reservation.cancel(cause)
        self.reopen_if_not_full()

    def reopen_if_not_full(self) -> None:
        if self.status == "funded" and self.remaining:
            self.status = "open"

    # --- Investors ----------------------------------------------------------------------------------------------------
    def reserve(self, investor: int, amount: int, at_least: int) -> None:
        allow(self.takes_reservations and at_least <= amount)
        taken = max(at_least, min(amount, self.available))
        allow(self.is_enough(taken))
        allow(taken <= self.available)
        allow(taken <= self.may_hold(investor))
        self.add(investor, taken)

    def is_enough(self, amount: int) -> bool:
        return amount >= MINIMUM or amount == self.remaining

    def may_hold(self, investor: int) -> int:
        """An investor holds at most the loan's amount of which the money is not here."""
        own = [each for each in self.live if each.investor == investor and not each.funded]
        return max(MINIMUM, self.amount) - sum(each.amount for each in own)

    def add(self, investor: int, amount: int, order: Order | None = None) -> int:
        reservation = Reservation(len(self.reservations) + 1, investor, amount, self.now + timedelta(hours=24), order=order)
        reservation.is_closing_piece = amount < MINIMUM
        self.reservations.append(reservation)
        return reservation.number

    # --- Standing orders ----------------------------------------------------------------------------------------------
    def keep_order(self, order: Order) -> None:
        allow(MINIMUM <= order.at_least <= order.amount and order.at_least <= order.cap)
        allow(sum(each.investor == order.investor and each.state != "ended" for each in self.line) < MOST_ORDERS)
        self.line.append(order)

    def change_order(self, order: Order, state: str) -> None:
        allow(state == order.state or order.state != "ended")
        order.state = state

    def used(self, order: Order) -> int:
        """What is live or settled through the order."""
        here = sum(each.settled or each.amount for each in self.reservations if each.order is order and each.state != "canceled")
        return here + sum(amount for amount, deadline in order.elsewhere if deadline > self.now)

    def open(self) -> list[int]:
        self.status = "open"
        outcomes = self.serve_line(self.amount)
        for order, amount in outcomes:
            if amount:
                self.add(order.investor, amount, order)
        return [amount for _, amount in outcomes]

    def open_another(self, amount: int) -> list[int]:
        """Open another loan of that amount, of which no one reserves anything after its opening."""
        outcomes = self.serve_line(amount)
        for order, reserved in outcomes:
            if reserved:
                order.elsewhere.append((reserved, self.now + timedelta(hours=24)))
        return [reserved for _, reserved in outcomes]

    def serve_line(self, amount: int) -> list[tuple[Order, int]]:
        """Return what each active order gets of a new loan, in the order of the line.

        Half of the loan is theirs. If they wanted more than that, those who got something go to the end.
        """
        share, wanted = amount // 2, 0
        holds: dict[int, int] = {}
        outcomes = []
        for order in [each for each in self.line if each.state == "active"]:
            wish = min(order.amount, order.cap - self.used(order), max(MINIMUM, amount) - holds.get(order.investor, 0))
            if not order.is_for_this_state or wish < order.at_least:
                outcomes.append((order, 0))
                continue
            wanted += wish
            reserved = min(wish, share)
            if reserved < order.at_least:
                reserved = 0
            share -= reserved
            holds[order.investor] = holds.get(order.investor, 0) + reserved
            outcomes.append((order, reserved))
        if wanted > amount // 2:
            placed = [order for order, reserved in outcomes if reserved]
            self.line = [order for order in self.line if order not in placed] + placed
        return outcomes

    # --- The waiting list ---------------------------------------------------------------------------------------------
    def join(self, investor: int, amount: int, at_least: int) -> None:
        for entry in self.waiting:
            if entry.investor == investor:
                allow((entry.amount, entry.at_least) == (amount, at_least))
                return
        allow(self.takes_reservations and at_least <= amount <= self.remaining)
        allow(self.is_enough(amount) and self.is_enough(at_least))
        allow(at_least <= self.may_hold(investor))
        self.entries.append(Entry(investor, amount, at_least))

    def end_entry(self, entry: Entry, state: str) -> None:
        allow(entry.state in {"waiting", state})
        entry.state = state

    def serve(self) -> None:
        """Give those who wait what is free, in their order. Who gets too little waits on."""
        for entry in self.waiting if self.takes_reservations else []:
            amount = min(entry.amount, self.unclaimed, self.may_hold(entry.investor))
            if amount >= entry.at_least and self.is_enough(amount):
                entry.state, entry.number = "placed", self.add(entry.investor, amount)

    def end_list(self) -> None:
        for entry in self.waiting:
            entry.state = "ended"

    def start_transfer(self, reservation: Reservation) -> bool:
        """Return whether a transfer was started: a repeat starts none."""
        if reservation.state in {"pending", "settled"}:
            return False
        allow(reservation.state == "reserved")
        reservation.state, reservation.deadline = "pending", money_deadline(self.now)
        return True

    def add_transfer(self, reservation: Reservation, transfer: Account) -> None:
        reservation.transfers.append(transfer)
        reservation.expected = reservation.amount

    def cancel(self, reservation: Reservation) -> None:
        allow(reservation.state == "reserved" or reservation.cause == "canceled_by_investor")
        if reservation.state == "reserved":
            self.end(reservation, "canceled_by_investor")

    # --- The bank -----------------------------------------------------------------------------------------------------
    def follow_payment(self, reservation: Reservation, before: Payment) -> None:
        """Let the reservation follow what the bank has reported of its payment, if that is something else than before."""
        payment = reservation.payment
        if payment == before:
            return
        if reservation.state == "canceled" and reservation.cause in BY_THE_BANK:
            if payment.ended:
                reservation.cause, reservation.amount = payment.ended, reservation.expected
            else:
                self.revive(reservation, payment)
        elif reservation.state == "settled" and 0 < reservation.settled <= payment.received:
            pass  # What it bought is paid for, whatever else was returned.
        elif reservation.state in {"pending", "settled"}:
            if payment.ended:
                if reservation.state == "pending":
                    reservation.amount = reservation.expected
                self.end(reservation, payment.ended)
            elif payment.is_funded:
                self.change_amount(reservation, payment.amount)
                reservation.funded = True
            elif reservation.funded:
                self.unfund(reservation, payment)
        self.reopen_if_not_full()

    def revive(self, reservation: Reservation, payment: Payment) -> None:
        """Make a reservation that the bank had canceled live again.

        It has time left, or had been funded and is again; the loan has room for it; and its money is still here.
        """
        in_time = reservation.deadline > self.now or (reservation.was_funded and payment.is_funded)
        is_here = reservation.surplus >= (payment.amount if payment.is_funded else payment.received)
        if in_time and is_here and payment.amount <= self.room:
            reservation.state, reservation.cause = "pending", ""
            reservation.amount, reservation.funded = payment.amount, payment.is_funded

    def change_amount(self, reservation: Reservation, amount: int) -> None:
        """Change the amount to what the money allows; it grows again only if it has not settled, and if there is room for it."""
        if reservation.settled:
            reservation.amount = reservation.settled = amount
        elif amount - reservation.amount <= (self.room if amount > reservation.amount else 0):
            reservation.amount = amount

    def unfund(self, reservation: Reservation, payment: Payment) -> None:
        """Wait for the rest again, where the money counted as complete before a report came out of order; or keep what is here."""
        if reservation.state == "pending" and reservation.deadline > self.now:
            self.change_amount(reservation, payment.amount)
            reservation.funded = False
        elif payment.received >= MINIMUM:
            self.change_amount(reservation, payment.received)
        else:
            self.end(reservation, "payment_returned")

    def refund_reported(self, refund: Refund, gone_before: int, *, fails: bool) -> None:
        """Note what the bank reported of a refund: it is no longer sent, unless the report is of an attempt before it was paid."""
        if refund.gone != gone_before or (fails and not refund.gone):
            refund.sent = 0

    def send(self, refund: Refund, amount: int) -> None:
        refund.sent = amount

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

    def close_if_full(self) -> None:
        if self.remaining == 0:
            self.status = "funded"
            self.end_live("loan_funded")
            self.end_list()

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
        reservation.deadline = until

    def accept_amount(self, reservation: Reservation) -> None:
        if reservation.was_accepted and reservation.funded and reservation.amount == reservation.expected:
            return
        accepted = reservation.waiting
        allow(reservation.state == "pending" and not reservation.funded and accepted > 0)
        allow(accepted >= MINIMUM or reservation.is_closing_piece)
        reservation.amount = reservation.expected = accepted
        reservation.funded = reservation.was_accepted = True

    def reinstate(self, reservation: Reservation) -> None:
        allow(reservation.state == "canceled" and self.takes_reservations)
        allow(reservation.amount <= self.available and not reservation.sent and not reservation.gone)
        reservation.cause = ""
        if reservation.transfers and reservation.payment.received >= reservation.amount:
            reservation.state, reservation.funded = "pending", True
        elif reservation.transfers and not reservation.transfers[-1].lines:
            reservation.state, reservation.deadline = "pending", money_deadline(self.now)
        else:
            reservation.state, reservation.deadline = "reserved", self.now + timedelta(hours=24)

    def withdraw(self) -> None:
        allow(self.status in {"open", "withdrawn"})
        self.status = "withdrawn"
        self.end_list()
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
            self.end_list()
