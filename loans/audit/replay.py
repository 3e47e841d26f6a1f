"""What does a loan's history say that the loan looks like now?

Folds the rows of one loan's history, oldest first, from nothing into its present picture, and notes every row that
cannot follow from those before it. Knows neither the tables nor how the rows were written.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from loans.domain.errors import IllegalTransition
from loans.domain.money import NOTHING
from loans.domain.states import (
    LIVE,
    LOAN_TRANSITIONS,
    RESERVATION_TRANSITIONS,
    TRANSFER_TRANSITIONS,
    Event,
    LoanEvent,
    LoanStatus,
    State,
    TransferEvent,
    TransferStatus,
    state_after,
)


@dataclass(frozen=True, slots=True)
class Step:
    """A row of history, as plain values."""

    id: int
    at: datetime
    reservation: UUID | None
    transfer: UUID | None
    event: str
    from_state: str
    to_state: str
    amount: Decimal
    deadline: datetime | None
    facts: Mapping[str, str] | None = None


@dataclass(slots=True)
class LoanPicture:
    status: str = ""
    amount: Decimal = NOTHING
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    settled: Decimal = NOTHING
    claimed: Decimal = NOTHING
    last_number: int = 0
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class ReservationPicture:
    number: int
    created_at: datetime
    state: str = ""
    cause: str = ""
    amount: Decimal = NOTHING
    settled_amount: Decimal = NOTHING
    expires_at: datetime | None = None
    funded: bool = False
    received: Decimal = NOTHING
    refunded: Decimal = NOTHING
    lost: Decimal = NOTHING


@dataclass(slots=True)
class TransferPicture:
    reservation: UUID
    created_at: datetime
    status: str = ""
    amount: Decimal = NOTHING


@dataclass(frozen=True, slots=True)
class Fault:
    """A row of history that cannot follow from those before it: which field of it says what, and what was to be expected."""

    row: int
    field: str
    says: str
    expected: str


@dataclass(slots=True)
class Picture:
    """A loan with its reservations and transfers, and the rows that cannot be."""

    loan: LoanPicture = field(default_factory=LoanPicture)
    reservations: dict[UUID, ReservationPicture] = field(default_factory=dict)
    transfers: dict[UUID, TransferPicture] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


class _Impossible(Exception):
    """This row cannot follow from those before it."""

    def __init__(self, field: str, says: object, expected: object) -> None:
        self.field, self.says, self.expected = field, shown(says), shown(expected)


def replay(history: Iterable[Step]) -> Picture:
    """The picture that one loan's rows, in the order of their ids, add up to. A row that cannot be is noted and left out."""
    picture = Picture()
    last: datetime | None = None
    for step in history:
        if last and step.at < last:
            picture.faults.append(Fault(step.id, "at", str(step.at), f"no earlier than {last}"))
        last = step.at
        try:
            _fold(picture, step)
        except _Impossible as error:
            picture.faults.append(Fault(step.id, error.field, error.says, error.expected))
        except IllegalTransition as error:
            picture.faults.append(Fault(step.id, "event", step.event, f"one that is possible then: {error.detail}"))
        except ValueError:
            picture.faults.append(Fault(step.id, "event", step.event, "one that there is"))
    for reservation in picture.reservations.values():
        picture.loan.settled += reservation.settled_amount
        picture.loan.claimed += reservation.amount if reservation.state in LIVE else NOTHING
    return picture


def _fold(picture: Picture, step: Step) -> None:
    if step.transfer:
        _fold_transfer(picture, step, step.transfer)
    elif step.reservation:
        _fold_reservation(picture, step, step.reservation)
    else:
        _fold_loan(picture.loan, step)


def _fold_loan(loan: LoanPicture, step: Step) -> None:
    event = LoanEvent(step.event)
    _must_agree("from_state", step.from_state, loan.status)
    if event == LoanEvent.CREATED:
        _must_agree("to_state", step.to_state, LoanStatus.DRAFT)
    else:
        _must_agree("to_state", step.to_state, state_after(LOAN_TRANSITIONS, LoanStatus(loan.status), event))
    if event not in {LoanEvent.CREATED, LoanEvent.EDITED, LoanEvent.CLOSED_AT_SETTLED}:
        _must_agree("amount", step.amount, loan.amount)
    if event == LoanEvent.OPENED:
        loan.opens_at = step.at
    loan.status, loan.amount, loan.closes_at = step.to_state, step.amount, step.deadline
    loan.facts.update(step.facts or {})


def _fold_reservation(picture: Picture, step: Step, key: UUID) -> None:
    event = Event(step.event)
    if event == Event.RESERVED and key not in picture.reservations:
        _must_agree("from_state", step.from_state, "")
        _must_agree("to_state", step.to_state, State.RESERVED)
        picture.loan.last_number += 1
        reservation = ReservationPicture(number=picture.loan.last_number, created_at=step.at, amount=step.amount)
        picture.reservations[key] = reservation
    else:
        reservation = _known(picture.reservations, key)
        _must_agree("from_state", step.from_state, reservation.state)
        _must_agree("to_state", step.to_state, state_after(RESERVATION_TRANSITIONS, State(reservation.state), event))
        _take_amount(reservation, step, event)
    reservation.state = step.to_state
    reservation.expires_at = step.deadline
    reservation.cause = reservation.cause if event == Event.LOST else ""
    if reservation.state == State.CANCELED and event != Event.LOST:
        reservation.cause, reservation.settled_amount, reservation.funded = event, NOTHING, False
    elif event == Event.FUNDED or (event == Event.REINSTATED_PENDING and step.deadline is None):
        reservation.funded = True


def _take_amount(reservation: ReservationPicture, step: Step, event: Event) -> None:
    if event == Event.LOST:
        reservation.lost += step.amount
    elif event == Event.SETTLED:
        reservation.settled_amount = step.amount
    elif event == Event.AMOUNT_ACCEPTED:
        reservation.amount = step.amount
    else:
        _must_agree("amount", step.amount, reservation.settled_amount or reservation.amount)


def _fold_transfer(picture: Picture, step: Step, key: UUID) -> None:
    event = TransferEvent(step.event)
    if step.reservation is None:
        raise _Impossible("reservation", None, "the one that the transfer is for")
    reservation = _known(picture.reservations, step.reservation)
    if key in picture.transfers:
        transfer = picture.transfers[key]
        _must_agree("from_state", step.from_state, transfer.status)
        _must_agree("to_state", step.to_state, state_after(TRANSFER_TRANSITIONS, TransferStatus(transfer.status), event))
        _must_agree("reservation", step.reservation, transfer.reservation)
        if event != TransferEvent.CLEARED:
            _must_agree("amount", step.amount, transfer.amount)
    else:
        _must_agree("from_state", step.from_state, "")
        if step.to_state not in _BEGINNINGS or step.to_state != event:
            raise _Impossible("to_state", step.to_state, "one that a transfer begins with")
        transfer = picture.transfers[key] = TransferPicture(step.reservation, created_at=step.at)
    transfer.status, transfer.amount = step.to_state, step.amount
    reservation.received += _SIGN_RECEIVED.get(event, 0) * step.amount
    reservation.refunded += _SIGN_REFUNDED.get(event, 0) * step.amount


_BEGINNINGS = {TransferStatus.INITIATED, TransferStatus.CLEARED, TransferStatus.DUE}
_SIGN_RECEIVED = {TransferEvent.CLEARED: 1, TransferEvent.RETURNED: -1}
_SIGN_REFUNDED = {TransferEvent.DUE: 1, TransferEvent.VOIDED: -1}


def _known(reservations: Mapping[UUID, ReservationPicture], key: UUID) -> ReservationPicture:
    if key not in reservations:
        raise _Impossible("reservation", key, "one that has been reserved")
    return reservations[key]


def _must_agree(field: str, says: object, expected: object) -> None:
    if says != expected:
        raise _Impossible(field, says, expected)


def shown(value: object) -> str:
    """The value in words."""
    return "nothing" if value in ("", None) else str(value)
