"""Play a loan under any settlement rule and overbooking rate: its investors, its bank, its staff and the clock.

This is the loan of a "what if": it follows the same rules as the services, and keeps only what decides who gets how much. It tracks no
transfers and no refunds. Amounts are dollars.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from loans.domain import loan_limits
from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.settlement_rules import DEFAULT_RULE, RULES, Allocation, LoanToSettle
from loans.domain.states import LIVE, RESERVATION_TRANSITIONS, LoanStatus, ReservationEvent, ReservationState

REFUSED = "refused"
"""The cause of a reservation that was not admitted in a play, although it was in fact."""


@dataclass(slots=True)
class PlayedReservation:
    """A reservation in a play. `paid` says whether its whole amount has been received and was not returned."""

    number: int
    amount: Decimal
    expires_at: datetime | None = None
    state: str = ReservationState.RESERVED
    cause: str = ""
    settled: Decimal = ZERO_DOLLARS
    funded_at: datetime | None = None
    paid: bool = False
    by_staff: bool = False

    @property
    def is_live(self) -> bool:
        """Whether it is reserved or pending."""
        return self.state in LIVE


@dataclass(slots=True)
class PlayedLoan:
    """A loan in a play. Its methods return whether what they stand for was possible; if not, they change nothing."""

    amount: Decimal = ZERO_DOLLARS
    minimum: Decimal = loan_limits.LEAST_MINIMUM
    overbooking_rate: Decimal = loan_limits.DEFAULT_OVERBOOKING_RATE
    rule: str = DEFAULT_RULE
    status: str = LoanStatus.DRAFT
    closes_at: datetime | None = None
    settled: Decimal = ZERO_DOLLARS
    reservations: dict[UUID, PlayedReservation] = field(default_factory=dict)
    live: dict[UUID, PlayedReservation] = field(default_factory=dict)

    @property
    def remaining(self) -> Decimal:
        """What is still for sale, in dollars."""
        return self.amount - self.settled

    def is_closed(self, at: datetime) -> bool:
        """Return whether the closing has passed."""
        return self.closes_at is not None and self.closes_at <= at

    def available(self, at: datetime) -> Decimal:
        """Return how many dollars one more reservation may take."""
        return ZERO_DOLLARS if self.is_closed(at) else self.available_despite_closing

    @property
    def available_despite_closing(self) -> Decimal:
        """How many dollars one more reservation might take if the loan had not closed."""
        if self.status != LoanStatus.OPEN:
            return ZERO_DOLLARS
        claimed = sum((reservation.amount for reservation in self.live.values()), ZERO_DOLLARS)
        return loan_limits.available(self.remaining, self.overbooking_rate, claimed)

    # --- The clock --------------------------------------------------------------------------------------------------
    def pass_time(self, at: datetime) -> bool:
        """Cancel the reservations whose deadline has come, and return whether there were any."""
        lapsed = [key for key, reservation in self.live.items() if reservation.expires_at and reservation.expires_at <= at]
        for key in lapsed:
            self._cancel(key, ReservationEvent.EXPIRED)
        return bool(lapsed)

    # --- Investors and the bank -------------------------------------------------------------------------------------
    def reserve(self, key: UUID, number: int, amount: Decimal, expires_at: datetime | None, at: datetime) -> bool:
        """Admit a reservation. One that is not admitted is kept as canceled, with the cause REFUSED."""
        reservation = self.reservations[key] = PlayedReservation(number, amount, expires_at)
        if amount <= self.available(at) and loan_limits.meets_minimum(amount, self.minimum, self.remaining):
            self.live[key] = reservation
            return True
        reservation.state, reservation.cause, reservation.expires_at = ReservationState.CANCELED, REFUSED, None
        return False

    def start_transfer(self, key: UUID, deadline: datetime | None) -> bool:
        """Make a reservation pending, with this deadline for its money."""
        reservation = self.reservations[key]
        if reservation.state != ReservationState.RESERVED:
            return False
        reservation.state, reservation.expires_at = ReservationState.PENDING, deadline
        return True

    def receive_money(self, key: UUID, amount: Decimal, at: datetime) -> bool:
        """Fund a pending reservation, whose amount becomes `amount`."""
        reservation = self.reservations[key]
        if reservation.state != ReservationState.PENDING or reservation.funded_at:
            return False
        reservation.amount, reservation.funded_at, reservation.expires_at, reservation.paid = amount, at, None, True
        return True

    def follow_money(self, key: UUID, amount: Decimal) -> bool:
        """Give a reservation the amount that is left of its money, also after it has settled."""
        reservation = self.reservations[key]
        if reservation.state == ReservationState.CANCELED:
            return False
        reservation.amount = amount
        if reservation.settled > amount:
            self.settled -= reservation.settled - amount
            reservation.settled = amount
            self._reopen_if_not_sold_out()
        return True

    def unfund(self, key: UUID, deadline: datetime | None) -> bool:
        """Let a funded reservation wait for its money again."""
        reservation = self.reservations[key]
        if not reservation.is_live:
            return False
        reservation.funded_at, reservation.expires_at, reservation.paid = None, deadline, False
        return True

    def cancel(self, key: UUID, cause: ReservationEvent) -> bool:
        """Cancel a reservation where its state allows that cause. A payment that was returned is no longer paid."""
        reservation = self.reservations[key]
        if (reservation.state, cause) not in RESERVATION_TRANSITIONS:
            return False
        self._cancel(key, cause)
        if cause == ReservationEvent.PAYMENT_RETURNED:
            reservation.paid = False
        return True

    def _cancel(self, key: UUID, cause: str) -> None:
        reservation = self.reservations[key]
        self.settled -= reservation.settled
        reservation.state, reservation.cause, reservation.settled = ReservationState.CANCELED, cause, ZERO_DOLLARS
        reservation.expires_at = reservation.funded_at = None
        self.live.pop(key, None)
        self._reopen_if_not_sold_out()

    def _reopen_if_not_sold_out(self) -> None:
        if self.status == LoanStatus.FUNDED and self.remaining:
            self.status = LoanStatus.OPEN

    # --- Settlement -------------------------------------------------------------------------------------------------
    def allocations(self, at: datetime, lottery_seed: str) -> Mapping[UUID, Decimal]:
        """Return what the rule gives now, by reservation. Changes nothing."""
        if self.status != LoanStatus.OPEN:
            return {}
        keys = {reservation.number: key for key, reservation in self.live.items()}
        queue = [self.live[keys[number]] for number in sorted(keys)]
        loan = LoanToSettle(self.remaining, self.is_closed(at), self.minimum, lottery_seed)
        allocations: list[Allocation] = RULES[self.rule](queue, loan)
        return {keys[allocation.reservation.number]: allocation.amount for allocation in allocations}

    def settle(self, at: datetime, lottery_seed: str) -> None:
        """Apply the rule. If nothing remains after that, the loan is funded and its live reservations are canceled."""
        for key, amount in self.allocations(at, lottery_seed).items():
            if amount:
                self._settle(key, amount)
            else:
                self._cancel(key, ReservationEvent.NO_SHARE)
        self._fund_if_sold_out()

    def settle_ahead(self, key: UUID) -> bool:
        """Settle a funded reservation ahead of its turn, as staff did."""
        reservation = self.reservations[key]
        if not (reservation.is_live and reservation.funded_at and self.status == LoanStatus.OPEN):
            return False
        self._settle(key, min(reservation.amount, self.remaining))
        reservation.by_staff = True
        self._fund_if_sold_out()
        return True

    def _settle(self, key: UUID, amount: Decimal) -> None:
        reservation = self.live.pop(key)
        reservation.state, reservation.settled, reservation.by_staff = ReservationState.SETTLED, amount, False
        self.settled += amount

    def _fund_if_sold_out(self) -> None:
        if self.status == LoanStatus.OPEN and not self.remaining:
            self.status = LoanStatus.FUNDED
            self._cancel_all(lambda reservation: reservation.is_live, ReservationEvent.LOAN_FUNDED)

    def _cancel_all(self, chosen: Callable[[PlayedReservation], bool], cause: ReservationEvent) -> None:
        for key in [key for key, reservation in self.reservations.items() if chosen(reservation)]:
            self._cancel(key, cause)

    # --- Staff ------------------------------------------------------------------------------------------------------
    def extend_reservation(self, key: UUID, deadline: datetime | None) -> bool:
        """Give a live reservation another deadline."""
        reservation = self.reservations[key]
        if not reservation.is_live or reservation.funded_at:
            return False
        reservation.expires_at = deadline
        return True

    def reinstate(self, key: UUID, state: str, deadline: datetime | None, at: datetime, *, funded_at: datetime | None) -> bool:
        """Make a canceled reservation live again. With `funded_at` its money is here, and has been since then."""
        return self._make_live(key, state, deadline, self.available(at), funded_at)

    def revive(self, key: UUID, amount: Decimal, deadline: datetime | None, *, funded_at: datetime | None) -> bool:
        """Make a reservation live again that the bank had canceled, with the amount that its money allows; also after the closing."""
        return self._make_live(key, ReservationState.PENDING, deadline, self.available_despite_closing, funded_at, amount)

    def _make_live(
        self, key: UUID, state: str, deadline: datetime | None, room: Decimal, funded_at: datetime | None, amount: Decimal | None = None
    ) -> bool:
        reservation = self.reservations[key]
        amount = reservation.amount if amount is None else amount
        if reservation.state != ReservationState.CANCELED or reservation.cause == REFUSED or amount > room:
            return False
        reservation.amount = amount
        reservation.state, reservation.cause, reservation.expires_at = state, "", deadline
        reservation.funded_at, reservation.paid = funded_at, funded_at is not None
        self.live[key] = reservation
        return True

    def extend(self, closes_at: datetime | None) -> bool:
        """Let the loan close at another instant."""
        if self.status != LoanStatus.OPEN:
            return False
        self.closes_at = closes_at
        return True

    def withdraw(self) -> bool:
        """Withdraw the loan, which cancels all its reservations."""
        if self.status not in {LoanStatus.DRAFT, LoanStatus.UPCOMING, LoanStatus.OPEN}:
            return False
        self.status = LoanStatus.WITHDRAWN
        self._cancel_all(lambda reservation: reservation.state != ReservationState.CANCELED, ReservationEvent.LOAN_WITHDRAWN)
        return True

    def close_at_settled(self, at: datetime, lottery_seed: str) -> bool:
        """Apply the rule once more, then lower the amount to what has settled, which funds the loan."""
        self.settle(at, lottery_seed)
        if self.status == LoanStatus.OPEN and self.settled:
            self.amount = self.settled
            self._fund_if_sold_out()
        return self.status == LoanStatus.FUNDED
