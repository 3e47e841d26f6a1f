"""Play a loan's recorded history again, under its own settlement rule and overbooking rate or under others.

Investors, the bank, the clock and staff do what history records, at the same instants. The rule and the limit decide anew. Under the loan's
own rule and rate that gives what happened, to the cent. Three things are not known, and are assumed:

- Reservations that were refused are not recorded, so a higher rate admits no more than in fact.
- A reservation that ended when the loan was funded is taken to do nothing further, unless its money came later.
- The rule is taken to have run after each change, unless history shows that it ran only later.

Amounts are dollars.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.played_loan import REFUSED, PlayedLoan, PlayedReservation
from loans.domain.states import LIVE, LOSSES, LoanEvent, LoanStatus, ReservationEvent, ReservationState, TransferEvent, TransferStatus


class HistoryRow(NamedTuple):
    """A transition of the loan. It is about a transfer, or else a reservation, or else the loan."""

    at: datetime
    reservation: UUID | None
    transfer: UUID | None
    event: str
    from_state: str
    to_state: str
    amount: Decimal
    deadline: datetime | None
    rule: str
    actor: str
    facts: dict[str, str] | None


class RunOfRule(NamedTuple):
    """The rule runs. `lottery_seed` is empty where no seed has been revealed for that moment."""

    at: datetime
    lottery_seed: str


class RecordedEvent(NamedTuple):
    """Something that history records, as it is played.

    `amount` are the dollars of the reservation or the loan. `funded_at` is when the money of a reinstated reservation was here.
    """

    row: HistoryRow
    event: str
    amount: Decimal
    number: int
    lottery_seed: str
    funded_at: datetime | None


@dataclass(frozen=True, slots=True)
class StaffAct:
    """Something that staff did by hand, to a reservation or to the loan, and whether it was possible in the play."""

    at: datetime
    event: str
    number: int | None
    possible: bool


@dataclass(slots=True)
class Play:
    """A loan after its play, and what staff did in it."""

    loan: PlayedLoan
    staff_acts: list[StaffAct] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PlayTerms:
    """Under what a history is played. None leaves the loan's own rule, or its own rate at each moment.

    `lottery_seed` is used where no seed has been revealed.
    """

    rule: str | None = None
    overbooking_rate: Decimal | None = None
    lottery_seed: str = ""


OWN_TERMS = PlayTerms()
# These do not change what the rule gives: a reservation without money joins the end of the queue, or only its deadline changes.
_WITHOUT_EFFECT_ON_RULE = {ReservationEvent.RESERVED, ReservationEvent.TRANSFER_STARTED}
_BY_RULE = {ReservationEvent.NO_SHARE, ReservationEvent.LOAN_FUNDED}
# A transfer in these statuses may still bring or lose money in a play. One that was returned has ended its reservation there too.
_UNDECIDED = {TransferStatus.INITIATED, TransferStatus.CLEARED, TransferStatus.FAILED}
# What a payment does to a reservation in a play, where in fact the reservation was canceled before the payment's event.
_LATE_PAYMENTS = {
    TransferEvent.CLEARED: ReservationEvent.FUNDED,
    TransferEvent.FAILED: ReservationEvent.TRANSFER_FAILED,
    TransferEvent.RETURNED: ReservationEvent.PAYMENT_RETURNED,
}
_BY_STAFF = {
    ReservationEvent.SETTLED,
    ReservationEvent.EXTENDED,
    ReservationEvent.AMOUNT_ACCEPTED,
    ReservationEvent.CANCELED_BY_STAFF,
    ReservationEvent.REINSTATED_RESERVED,
    ReservationEvent.REINSTATED_PENDING,
    LoanEvent.WITHDRAWN,
    LoanEvent.CLOSED_AT_SETTLED,
}


class Script:
    """A loan's history as something to play: what happened, and when the rule ran; and what became of the loan in fact.

    `until` is the instant up to which it is played.
    """

    def __init__(self, history: Iterable[HistoryRow], until: datetime, lottery_seed: str = "") -> None:
        self.until = until
        self.steps: list[RecordedEvent | RunOfRule] = []
        self.fact = PlayedLoan()
        self._stand_in_seed = lottery_seed
        self._newest_transfers: dict[UUID, UUID] = {}
        self._cleared_at: dict[UUID, datetime] = {}
        self._received: defaultdict[UUID, Decimal] = defaultdict(lambda: ZERO_DOLLARS)  # by transfer
        self._gave_nothing: bool | None = None  # what the rule gave when it was last asked; None once that may have changed
        self._closed = False
        rows = list(history)
        instants = sorted({row.deadline for row in rows if row.deadline})
        seeds = _seeds_revealed_next(rows)
        next_instant = 0
        for index, row in enumerate(rows):
            if index and row.at > rows[index - 1].at:
                self._run_if_it_gave_nothing(rows[index - 1].at, seeds[index - 1])
                while next_instant < len(instants) and instants[next_instant] < row.at:
                    self._run_if_it_gave_nothing(instants[next_instant], seeds[index - 1])
                    next_instant += 1
            self._add(row, seeds[index])
        if rows:
            for instant in (rows[-1].at, *instants[next_instant:], until):
                if rows[-1].at <= instant <= until:
                    self._run_if_it_gave_nothing(instant, "")

    def _run_if_it_gave_nothing(self, at: datetime, seed: str) -> None:
        """Let the rule run after what is recorded so far, unless it would have settled something: then it had not run yet."""
        if self.fact.pass_time(at) or self.fact.is_closed(at) != self._closed:
            self._gave_nothing, self._closed = None, self.fact.is_closed(at)
        if self._gave_nothing is None:
            self._gave_nothing = not self.fact.allocations(at, seed or self._stand_in_seed)
        if self._gave_nothing:
            self.steps.append(RunOfRule(at, seed))

    def _add(self, row: HistoryRow, seed: str) -> None:
        if row.reservation and (row.event in _BY_RULE or (row.event == ReservationEvent.SETTLED and row.rule != "staff")):
            run = RunOfRule(row.at, seed)
            if row.event != ReservationEvent.LOAN_FUNDED and self.steps[-1:] != [run]:
                self.steps.append(run)
        elif event := self._event_to_play(row):
            number = self._number(row)
            funded_at = self._cleared_at.get(self._newest_transfers.get(row.reservation)) if row.reservation else None  # type: ignore[arg-type]
            amount = self.fact.reservations[row.reservation].amount if row.transfer and row.reservation else row.amount
            self.steps.append(RecordedEvent(row, event, amount, number, seed, funded_at if row.deadline is None else None))
        self._note_fact(row)

    def _number(self, row: HistoryRow) -> int:
        if row.reservation in self.fact.reservations:
            return self.fact.reservations[row.reservation].number
        return len(self.fact.reservations) + 1

    def _event_to_play(self, row: HistoryRow) -> str:
        """Return the event by which the row is played; empty where it follows from others, or concerns no money that we await."""
        if not row.transfer or not row.reservation:
            return row.event
        fact = self.fact.reservations[row.reservation]
        if fact.state != ReservationState.CANCELED or row.from_state not in _UNDECIDED:
            return ""
        if (
            row.event == TransferEvent.CLEARED
            and not self._received[row.transfer] < fact.amount <= self._received[row.transfer] + row.amount
        ):
            return ""
        return _LATE_PAYMENTS.get(row.event, "")  # type: ignore[call-overload,no-any-return]

    def _note_fact(self, row: HistoryRow) -> None:
        """Let `fact` become what the row says, whatever the rules say."""
        if row.event not in _WITHOUT_EFFECT_ON_RULE:
            self._gave_nothing = None
        if row.transfer:
            if row.event == TransferEvent.INITIATED and row.reservation:
                self._newest_transfers[row.reservation] = row.transfer
            elif row.event == TransferEvent.CLEARED and row.from_state:
                self._cleared_at[row.transfer] = row.at
                self._received[row.transfer] += row.amount
            elif row.event in {TransferEvent.RETURNED, TransferEvent.RETURNED_IN_PART}:
                self._received[row.transfer] -= row.amount
        elif row.reservation and row.event not in LOSSES:
            _note_reservation(self.fact, row, row.reservation, self._cleared_at.get(self._newest_transfers.get(row.reservation)))  # type: ignore[arg-type]
        elif not row.reservation:
            _note_terms(self.fact, row, OWN_TERMS)
            self.fact.status, self.fact.amount, self.fact.closes_at = row.to_state, row.amount, row.deadline

    def play(self, terms: PlayTerms = OWN_TERMS) -> Play:
        """Return the loan as it would be under these terms."""
        play = Play(PlayedLoan())
        loan, changed, closed = play.loan, False, False
        for step in self.steps:
            at = step.at if isinstance(step, RunOfRule) else step.row.at
            seed = step.lottery_seed or terms.lottery_seed or self._stand_in_seed
            changed |= loan.pass_time(at) or loan.is_closed(at) != closed
            closed = loan.is_closed(at)
            if isinstance(step, RecordedEvent):
                changed |= step.event not in _WITHOUT_EFFECT_ON_RULE
                _play_event(play, step, terms, seed)
            elif changed:
                loan.settle(at, seed)
                changed = False
        loan.pass_time(self.until)
        return play


def _seeds_revealed_next(rows: Sequence[HistoryRow]) -> list[str]:
    """Return for each row the seed of the lottery that is revealed next, at this row or a later one; empty where none is."""
    seeds, seed = [], ""
    for row in reversed(rows):
        seed = (row.facts or {}).get("lottery_seed") or seed
        seeds.append(seed)
    return seeds[::-1]


def _note_terms(loan: PlayedLoan, row: HistoryRow, terms: PlayTerms) -> None:
    facts = row.facts or {}
    loan.minimum = Decimal(facts.get("minimum", loan.minimum))
    loan.rule = terms.rule or facts.get("settlement_rule", loan.rule)
    recorded_rate = Decimal(facts.get("overbooking_rate", loan.overbooking_rate))
    loan.overbooking_rate = recorded_rate if terms.overbooking_rate is None else terms.overbooking_rate


def _note_reservation(loan: PlayedLoan, row: HistoryRow, key: UUID, cleared_at: datetime | None) -> None:
    reservation = loan.reservations.setdefault(key, PlayedReservation(len(loan.reservations) + 1, row.amount))
    loan.settled -= reservation.settled
    reservation.state, reservation.expires_at = row.to_state, row.deadline
    reservation.settled = row.amount if row.to_state == ReservationState.SETTLED else ZERO_DOLLARS
    loan.settled += reservation.settled
    if row.event in {ReservationEvent.AMOUNT_ACCEPTED, ReservationEvent.AMOUNT_FOLLOWED, ReservationEvent.REVIVED} or (
        row.event == ReservationEvent.PAYMENT_RETURNED and row.from_state != ReservationState.SETTLED
    ):
        reservation.amount = row.amount
    if row.event == ReservationEvent.FUNDED:
        reservation.funded_at = row.at
    elif row.event == ReservationEvent.REINSTATED_PENDING and row.deadline is None:
        reservation.funded_at = cleared_at or row.at
    elif row.event in {ReservationEvent.REVIVED, ReservationEvent.UNFUNDED}:
        reservation.funded_at = row.at if row.deadline is None else None
    elif row.to_state == ReservationState.CANCELED:
        reservation.funded_at, reservation.cause = None, row.event
    if row.to_state in LIVE:
        loan.live[key] = reservation
    else:
        loan.live.pop(key, None)


# --- Playing one event ------------------------------------------------------------------------------------------------
def _play_event(play: Play, step: RecordedEvent, terms: PlayTerms, seed: str) -> None:
    row, event = step.row, step.event
    possible: bool | None
    if row.reservation is None:
        _note_terms(play.loan, row, terms)
        handle_loan = _LOAN_EVENTS.get(event)
        possible = handle_loan(play.loan, row, seed) if handle_loan else None
    else:
        handle = _RESERVATION_EVENTS.get(event)
        possible = handle(play.loan, row.reservation, step) if handle else None
    if row.actor == "staff" and event in _BY_STAFF and possible is not None:
        play.staff_acts.append(StaffAct(row.at, event, step.number if row.reservation else None, possible))


def _draft(loan: PlayedLoan, row: HistoryRow, seed: str) -> None:
    loan.amount = row.amount


def _announce(loan: PlayedLoan, row: HistoryRow, seed: str) -> None:
    loan.status, loan.closes_at = LoanStatus.UPCOMING, row.deadline


def _open(loan: PlayedLoan, row: HistoryRow, seed: str) -> None:
    loan.status, loan.closes_at = LoanStatus.OPEN, row.deadline


_LOAN_EVENTS: dict[str, Callable[[PlayedLoan, HistoryRow, str], Any]] = {
    LoanEvent.CREATED: _draft,
    LoanEvent.EDITED: _draft,
    LoanEvent.ANNOUNCED: _announce,
    LoanEvent.OPENED: _open,
    LoanEvent.EXTENDED: lambda loan, row, seed: loan.extend(row.deadline),
    LoanEvent.WITHDRAWN: lambda loan, row, seed: loan.withdraw(),
    LoanEvent.CLOSED_AT_SETTLED: lambda loan, row, seed: loan.close_at_settled(row.at, seed),
}


def _reinstate(loan: PlayedLoan, key: UUID, step: RecordedEvent) -> bool:
    row = step.row
    already_live = loan.reservations[key].state != ReservationState.CANCELED
    funded_at = step.funded_at or row.at if row.deadline is None else None
    return already_live or loan.reinstate(key, row.to_state, row.deadline, row.at, funded_at=funded_at)


def _revive(loan: PlayedLoan, key: UUID, step: RecordedEvent) -> bool:
    row = step.row
    if loan.reservations[key].state != ReservationState.CANCELED:
        return True
    return loan.revive(key, row.amount, row.deadline, funded_at=row.at if row.deadline is None else None)


def _cancel(loan: PlayedLoan, key: UUID, step: RecordedEvent) -> bool:
    possible = loan.cancel(key, ReservationEvent(step.event))
    if possible and step.event == ReservationEvent.PAYMENT_RETURNED and step.row.from_state != ReservationState.SETTLED:
        loan.reservations[key].amount = step.amount  # A return of all the money gives it the amount that it had before any return.
    return possible


_RESERVATION_EVENTS: dict[str, Callable[[PlayedLoan, UUID, RecordedEvent], bool]] = {
    ReservationEvent.RESERVED: lambda loan, key, step: loan.reserve(key, step.number, step.amount, step.row.deadline, step.row.at),
    ReservationEvent.TRANSFER_STARTED: lambda loan, key, step: loan.start_transfer(key, step.row.deadline),
    ReservationEvent.FUNDED: lambda loan, key, step: loan.receive_money(key, min(step.amount, loan.reservations[key].amount), step.row.at),
    ReservationEvent.EXTENDED: lambda loan, key, step: loan.extend_reservation(key, step.row.deadline),
    # The money is accepted by the event `funded` that follows, whose amount is the smaller one.
    ReservationEvent.AMOUNT_ACCEPTED: lambda loan, key, step: loan.reservations[key].state == ReservationState.PENDING,
    ReservationEvent.AMOUNT_FOLLOWED: lambda loan, key, step: loan.follow_money(key, step.amount),
    ReservationEvent.UNFUNDED: lambda loan, key, step: loan.unfund(key, step.row.deadline),
    ReservationEvent.REVIVED: _revive,
    ReservationEvent.SETTLED: lambda loan, key, step: loan.settle_ahead(key),
    ReservationEvent.REINSTATED_RESERVED: _reinstate,
    ReservationEvent.REINSTATED_PENDING: _reinstate,
    ReservationEvent.CANCELED_BY_INVESTOR: _cancel,
    ReservationEvent.CANCELED_BY_STAFF: _cancel,
    ReservationEvent.TRANSFER_FAILED: _cancel,
    ReservationEvent.PAYMENT_RETURNED: _cancel,
}


# --- Comparing two plays ----------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Change:
    """What a reservation got in fact, and what it would have got."""

    number: int
    amount: Decimal
    got: Decimal
    would_get: Decimal
    cause: str
    """Why it would have been canceled; empty if it would not."""

    @property
    def difference(self) -> Decimal:
        """How many dollars more it would have got."""
        return self.would_get - self.got


@dataclass(frozen=True, slots=True)
class Totals:
    """The dollars of a play: settled, and still for sale; of paid reservations that were cut or got nothing because the loan was sold
    out; of money that goes back for any reason; and of reservations that were not admitted."""

    settled: Decimal
    unfilled: Decimal
    turned_away: Decimal
    refunded: Decimal
    refused: Decimal


def totals(loan: PlayedLoan) -> Totals:
    """Return the dollars of a play."""
    rows = loan.reservations.values()
    for_lack_of_dollars = {ReservationEvent.LOAN_FUNDED, ReservationEvent.NO_SHARE, ""}  # No cause: it settled, perhaps in part.
    paid_and_ended = [row for row in rows if row.paid and not row.is_live]
    return Totals(
        settled=loan.settled,
        unfilled=loan.remaining,
        turned_away=sum((row.amount - row.settled for row in paid_and_ended if row.cause in for_lack_of_dollars), ZERO_DOLLARS),
        refunded=sum((row.amount - row.settled for row in paid_and_ended), ZERO_DOLLARS),
        refused=sum((row.amount for row in rows if row.cause == REFUSED), ZERO_DOLLARS),
    )


def changes(fact: PlayedLoan, other: PlayedLoan) -> Iterator[Change]:
    """Yield each reservation with what it got and would have got, in the order of their numbers."""
    for key, row in fact.reservations.items():
        would = other.reservations[key]
        yield Change(row.number, would.amount, row.settled, would.settled, would.cause)
