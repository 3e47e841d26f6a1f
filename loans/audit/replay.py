"""Replay a loan's history from empty: apply its transitions in order, and note each one that cannot follow from those before it.

Knows neither the tables nor how the transitions were written, so that it is a second opinion on both.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.errors import IllegalTransition
from loans.domain.states import (
    CANCELED_BY_BANK,
    INBOUND_STATUSES,
    LETTING_GO,
    LIVE,
    LOAN_TRANSITIONS,
    LOSSES,
    REFUND_STATUSES,
    RESERVATION_TRANSITIONS,
    TRANSFER_TRANSITIONS,
    WAITING_LIST_TRANSITIONS,
    LoanEvent,
    LoanStatus,
    ReservationEvent,
    ReservationState,
    TransferEvent,
    TransferStatus,
    WaitingListEvent,
    WaitingListState,
    state_after,
)

EVIDENCE = "evidence"  # Among the facts: the numbers by which a change was decided. They are no fields of the loan.
OPENS_AT = "opens_at"  # Among the facts: the opening that was announced.


@dataclass(frozen=True, slots=True)
class TransitionRow:
    """A transition as plain values. It is about an entry of the waiting list, a transfer, a reservation, or else the loan."""

    id: int
    at: datetime
    reservation: UUID | None
    transfer: UUID | None
    event: str
    from_state: str
    to_state: str
    amount: Decimal
    deadline: datetime | None
    facts: dict[str, Any] | None = None
    waiting_entry: UUID | None = None


@dataclass(slots=True)
class ReplayedLoan:
    """A loan as its history describes it. `settled` and `claimed` are the sums of its reservations, the others those of its list."""

    status: str = ""
    amount: Decimal = ZERO_DOLLARS
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    settled: Decimal = ZERO_DOLLARS
    claimed: Decimal = ZERO_DOLLARS
    last_number: int = 0
    waiting_entries: int = 0
    waiting_dollars: Decimal = ZERO_DOLLARS
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class ReplayedReservation:
    """A reservation as its history describes it."""

    number: int
    created_at: datetime
    state: str = ""
    cause: str = ""
    amount: Decimal = ZERO_DOLLARS
    settled_amount: Decimal = ZERO_DOLLARS
    expires_at: datetime | None = None
    funded: bool = False
    let_go_at: datetime | None = None
    standing_order: str | None = None
    received: Decimal = ZERO_DOLLARS
    refunded: Decimal = ZERO_DOLLARS
    lost: Decimal = ZERO_DOLLARS


@dataclass(slots=True)
class ReplayedTransfer:
    """A transfer as its history describes it."""

    reservation: UUID
    created_at: datetime
    status: str = ""
    amount: Decimal = ZERO_DOLLARS
    moved: Decimal = ZERO_DOLLARS


@dataclass(slots=True)
class ReplayedEntry:
    """An entry of the waiting list as its history describes it. `reservation` is the id of what it became, as text."""

    number: int
    joined_at: datetime
    amount: Decimal
    at_least: Decimal
    state: str = WaitingListState.WAITING
    reservation: str | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """A transition that cannot follow from those before it: the field that contradicts them, its value, and what was expected."""

    transition_id: int
    field: str
    value: str
    expected: str


@dataclass(slots=True)
class Replay:
    """A loan with its reservations, transfers and waiting list as its history describes them, and the transitions that were left out."""

    loan: ReplayedLoan = field(default_factory=ReplayedLoan)
    reservations: dict[UUID, ReplayedReservation] = field(default_factory=dict)
    transfers: dict[UUID, ReplayedTransfer] = field(default_factory=dict)
    waiting_list: dict[UUID, ReplayedEntry] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


class _Contradiction(Exception):
    """A field of a transition contradicts the transitions before it."""

    def __init__(self, field: str, value: object, expected: object) -> None:
        self.field, self.value, self.expected = field, in_words(value), in_words(expected)


def replay(history: Iterable[TransitionRow]) -> Replay:
    """Return what one loan's transitions, in the order of their ids, lead to. One that cannot follow is noted and changes nothing."""
    result = Replay()
    last_at: datetime | None = None
    for row in history:
        if last_at and row.at < last_at:
            result.faults.append(Fault(row.id, "at", str(row.at), f"no earlier than {last_at}"))
        last_at = row.at
        try:
            _apply(result, row)
        except _Contradiction as error:
            result.faults.append(Fault(row.id, error.field, error.value, error.expected))
        except IllegalTransition as error:
            result.faults.append(Fault(row.id, "event", row.event, f"one that is possible then: {error.detail}"))
        except ValueError:
            result.faults.append(Fault(row.id, "event", row.event, "one that there is"))
    for reservation in result.reservations.values():
        result.loan.settled += reservation.settled_amount
        if reservation.state in LIVE:
            result.loan.claimed += reservation.amount
    for entry in result.waiting_list.values():
        if entry.state == WaitingListState.WAITING:
            result.loan.waiting_entries += 1
            result.loan.waiting_dollars += entry.amount
    return result


def _apply(result: Replay, row: TransitionRow) -> None:
    if row.waiting_entry:
        _apply_to_entry(result, row, row.waiting_entry)
    elif row.transfer:
        _apply_to_transfer(result, row, row.transfer)
    elif row.reservation:
        _apply_to_reservation(result, row, row.reservation)
    else:
        _apply_to_loan(result.loan, row)


def _apply_to_loan(loan: ReplayedLoan, row: TransitionRow) -> None:
    event = LoanEvent(row.event)
    _expect("from_state", row.from_state, loan.status)
    if event == LoanEvent.CREATED:
        _expect("to_state", row.to_state, LoanStatus.DRAFT)
    else:
        _expect("to_state", row.to_state, state_after(LOAN_TRANSITIONS, LoanStatus(loan.status), event))
    if event not in {LoanEvent.CREATED, LoanEvent.EDITED, LoanEvent.CLOSED_AT_SETTLED}:
        _expect("amount", row.amount, loan.amount)
    if event == LoanEvent.ANNOUNCED:
        loan.opens_at = datetime.fromisoformat(_fact(row, OPENS_AT))
    elif event == LoanEvent.OPENED:
        loan.opens_at = row.at
    elif row.from_state == LoanStatus.UPCOMING and event == LoanEvent.WITHDRAWN:
        loan.opens_at = None
    loan.status, loan.amount, loan.closes_at = row.to_state, row.amount, row.deadline
    loan.facts.update({name: value for name, value in (row.facts or {}).items() if name not in {EVIDENCE, OPENS_AT}})


def _apply_to_reservation(result: Replay, row: TransitionRow, reservation_id: UUID) -> None:
    event = ReservationEvent(row.event)
    if event == ReservationEvent.RESERVED and reservation_id not in result.reservations:
        _expect("from_state", row.from_state, "")
        _expect("to_state", row.to_state, ReservationState.RESERVED)
        result.loan.last_number += 1
        reservation = ReplayedReservation(number=result.loan.last_number, created_at=row.at, amount=row.amount)
        reservation.standing_order = (row.facts or {}).get("standing_order")
        result.reservations[reservation_id] = reservation
    else:
        reservation = _reservation(result, reservation_id)
        _expect("from_state", row.from_state, reservation.state)
        _expect("to_state", row.to_state, state_after(RESERVATION_TRANSITIONS, ReservationState(reservation.state), event))
        _apply_amount(reservation, row, event)
    reservation.state = row.to_state
    deadline, reservation.expires_at = reservation.expires_at, row.deadline
    if event in LOSSES:
        return  # a loss changes neither the state nor its cause
    reservation.cause, reservation.let_go_at = "", None
    if event in LETTING_GO:
        # An expired reservation counts as let go from its deadline on, not from when the job recorded that.
        reservation.let_go_at = deadline if event == ReservationEvent.EXPIRED else row.at
    if reservation.state == ReservationState.CANCELED:
        reservation.cause, reservation.settled_amount, reservation.funded = event, ZERO_DOLLARS, False
    elif event in {ReservationEvent.FUNDED, ReservationEvent.REINSTATED_PENDING, ReservationEvent.REVIVED, ReservationEvent.UNFUNDED}:
        reservation.funded = row.deadline is None


def _apply_to_entry(result: Replay, row: TransitionRow, entry_id: UUID) -> None:
    event = WaitingListEvent(row.event)
    if event == WaitingListEvent.JOINED:
        _expect("from_state", row.from_state, "")
        _expect("to_state", row.to_state, WaitingListState.WAITING)
        if entry_id in result.waiting_list:
            raise _Contradiction("event", event, "one that is possible then: it has joined before")
        number = len(result.waiting_list) + 1
        result.waiting_list[entry_id] = ReplayedEntry(number, row.at, row.amount, Decimal(_fact(row, "at_least")))
        return
    if entry_id not in result.waiting_list:
        raise _Contradiction("waiting_entry", entry_id, "one that has joined")
    entry = result.waiting_list[entry_id]
    _expect("from_state", row.from_state, entry.state)
    _expect("to_state", row.to_state, state_after(WAITING_LIST_TRANSITIONS, WaitingListState(entry.state), event))
    if event == WaitingListEvent.PLACED:
        entry.reservation = _fact(row, "reservation")
        _expect("amount", row.amount, _reservation(result, UUID(entry.reservation)).amount)
    else:
        _expect("amount", row.amount, entry.amount)
    entry.state, entry.ended_at = row.to_state, row.at


def _fact(row: TransitionRow, name: str) -> str:
    if name not in (row.facts or {}):
        raise _Contradiction("facts", row.facts, f"some with {name}")
    return str((row.facts or {})[name])


def _apply_amount(reservation: ReplayedReservation, row: TransitionRow, event: ReservationEvent) -> None:
    if event in LOSSES:
        reservation.lost += row.amount if event == ReservationEvent.LOST else -row.amount
    elif event == ReservationEvent.SETTLED:
        reservation.settled_amount = row.amount
    elif event in {ReservationEvent.AMOUNT_ACCEPTED, ReservationEvent.REVIVED, ReservationEvent.UNFUNDED}:
        reservation.amount = row.amount
    elif event in CANCELED_BY_BANK and not reservation.settled_amount:
        reservation.amount = row.amount  # All that was expected is open again.
    elif event == ReservationEvent.AMOUNT_FOLLOWED:
        reservation.amount = row.amount
        reservation.settled_amount = min(reservation.settled_amount, row.amount)
    else:
        _expect("amount", row.amount, reservation.settled_amount or reservation.amount)


_FIRST_EVENTS = {TransferEvent.INITIATED, TransferEvent.DUE}
_MONEY_MOVED = {TransferEvent.CLEARED, TransferEvent.PAID, TransferEvent.PAID_IN_PART}
_MONEY_CAME_BACK = {TransferEvent.RETURNED, TransferEvent.RETURNED_IN_PART, TransferEvent.BOUNCED, TransferEvent.BOUNCED_IN_PART}


def _apply_to_transfer(result: Replay, row: TransitionRow, transfer_id: UUID) -> None:
    event = TransferEvent(row.event)
    if row.reservation is None:
        raise _Contradiction("reservation", None, "the one that the transfer is for")
    reservation = _reservation(result, row.reservation)
    if transfer_id in result.transfers:
        transfer = result.transfers[transfer_id]
        _expect("from_state", row.from_state, transfer.status)
        _expect("to_state", row.to_state, state_after(TRANSFER_TRANSITIONS, TransferStatus(transfer.status), event))
        _expect("reservation", row.reservation, transfer.reservation)
    else:
        _expect("from_state", row.from_state, "")
        if row.to_state != event or event not in _FIRST_EVENTS:
            raise _Contradiction("to_state", row.to_state, "one that a transfer begins with")
        transfer = result.transfers[transfer_id] = ReplayedTransfer(row.reservation, created_at=row.at, amount=row.amount)
    refunded_before = _refunded(transfer)
    _move(transfer, row, event)
    if row.to_state in INBOUND_STATUSES:
        reservation.received += row.amount * ((event in _MONEY_MOVED) - (event in _MONEY_CAME_BACK))
    else:
        reservation.refunded += _refunded(transfer) - refunded_before


def _move(transfer: ReplayedTransfer, row: TransitionRow, event: TransferEvent) -> None:
    if event in _MONEY_MOVED:
        transfer.moved += row.amount
    elif event in _MONEY_CAME_BACK:
        transfer.moved -= row.amount
    elif event == TransferEvent.ACCEPTED:
        transfer.amount = row.amount
    elif event in {TransferEvent.SENT, TransferEvent.VOIDED, TransferEvent.VOIDED_IN_PART}:
        _expect("amount", row.amount, transfer.amount - transfer.moved)
    else:
        _expect("amount", row.amount, transfer.amount)
    if event == TransferEvent.VOIDED_IN_PART or (event == TransferEvent.PAID and transfer.status == TransferStatus.VOID):
        transfer.amount = transfer.moved
    transfer.status = row.to_state


def _refunded(transfer: ReplayedTransfer) -> Decimal:
    """Return what a refund takes out of its reservation: all of it while it is due or sent, then what was paid."""
    if transfer.status in {TransferStatus.DUE, TransferStatus.SENT}:
        return transfer.amount
    return transfer.moved if transfer.status in REFUND_STATUSES else ZERO_DOLLARS


def _reservation(result: Replay, reservation_id: UUID) -> ReplayedReservation:
    if reservation_id not in result.reservations:
        raise _Contradiction("reservation", reservation_id, "one that has been reserved")
    return result.reservations[reservation_id]


def _expect(field: str, value: object, expected: object) -> None:
    if value != expected:
        raise _Contradiction(field, value, expected)


def in_words(value: object) -> str:
    """Return the value as text, and an empty one as "nothing"."""
    return "nothing" if value in ("", None) else str(value)
