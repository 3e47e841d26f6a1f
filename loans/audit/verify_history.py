"""Do the tables say what history says? Compares a loan's replayed history with its rows, field by field."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import models

from loans.audit.replay import LoanPicture, Picture, ReservationPicture, Step, TransferPicture, replay, shown
from loans.domain.errors import NotFound
from loans.models import Loan, Reservation, Transfer, Transition
from peerloans.database.clock import consistent_snapshot

CHUNK = 2_000  # Rows fetched at a time.


@dataclass(frozen=True)
class Difference:
    """A field of which history and the tables do not say the same; `entity` is the loan, or a reservation, transfer or row with its id."""

    loan: str
    entity: str
    field: str
    replayed: str
    stored: str

    def __str__(self) -> str:
        return f"{self.loan}, {self.entity}: {self.field} is {self.stored}, by history {self.replayed}."


def verify_loan_history(references: Sequence[str] = ()) -> Iterator[tuple[str, list[Difference]]]:
    """Each loan, all where none is named, with what differs; one loan in memory at a time. Raises NotFound before the first."""
    loans = Loan.objects.order_by("id")
    if references:
        loans = loans.filter(reference__in=references)
    named = list(loans.values_list("id", "reference"))
    if unknown := sorted(set(references) - {reference for _, reference in named}):
        raise NotFound(f"There is no loan {', '.join(unknown)}.")
    return ((reference, _differences(loan_id)) for loan_id, reference in named)


def count(references: Sequence[str] = ()) -> int:
    """How many loans `verify` goes through."""
    return len(set(references)) or Loan.objects.count()


def _differences(loan_id: int) -> list[Difference]:
    with consistent_snapshot():
        loan = Loan.objects.get(pk=loan_id)
        picture = replay(_history(loan_id))
        return list(_compare(loan, picture))


def _history(loan_id: int) -> Iterator[Step]:
    fields = ("id", "at", "reservation_id", "transfer_id", "event", "from_state", "to_state", "amount", "deadline", "facts")
    rows = Transition.objects.filter(loan_id=loan_id).order_by("id").values_list(*fields)
    return (Step(*row) for row in rows.iterator(chunk_size=CHUNK))


def _compare(loan: Loan, picture: Picture) -> Iterator[Difference]:
    for fault in picture.faults:
        yield Difference(loan.reference, f"history row {fault.row}", fault.field, fault.expected, fault.says)
    yield from _differing(loan.reference, "the loan", picture.loan, _loan_as_stored(loan))
    reservations = Reservation.objects.filter(loan=loan).order_by("number").iterator(chunk_size=CHUNK)
    yield from _each(
        loan, "reservation", picture.reservations, ((reservation.pk, _reservation_as_stored(reservation)) for reservation in reservations)
    )
    transfers = Transfer.objects.filter(reservation__loan=loan).order_by("pk").iterator(chunk_size=CHUNK)
    yield from _each(loan, "transfer", picture.transfers, ((row.pk, _transfer_as_stored(row)) for row in transfers))


def _each(loan: Loan, kind: str, replayed: dict[UUID, Any], stored: Iterator[tuple[UUID, Any]]) -> Iterator[Difference]:
    for key, row in stored:
        known = replayed.pop(key, None)
        if known is None:
            yield Difference(loan.reference, f"{kind} {key}", "history", "never begun", "there")
        else:
            yield from _differing(loan.reference, f"{kind} {key}", known, row)
    for key in replayed:
        yield Difference(loan.reference, f"{kind} {key}", "row", "there", "missing")


def _differing(reference: str, entity: str, replayed: Any, stored: Any) -> Iterator[Difference]:
    by_history, by_table = _flat(replayed), _flat(stored)
    for name in by_table:
        if by_history.get(name) != by_table[name]:
            yield Difference(reference, entity, name, shown(by_history.get(name)), shown(by_table[name]))


def _flat(picture: Any) -> dict[str, Any]:
    values = {name: getattr(picture, name) for name in picture.__slots__ if name != "facts"}
    facts = getattr(picture, "facts", {})
    return values | {name: _field(name).to_python(text) for name, text in facts.items()}


def _field(name: str) -> "models.Field[Any, Any]":
    found = Loan._meta.get_field(name)
    assert isinstance(found, models.Field)  # noqa: S101
    return found


def _loan_as_stored(loan: Loan) -> LoanPicture:
    facts = {name: str(getattr(loan, name)) for name in Loan.FACTS}
    return LoanPicture(loan.status, loan.amount, loan.opens_at, loan.closes_at, loan.settled, loan.claimed, loan.last_number, facts)


def _reservation_as_stored(reservation: Reservation) -> ReservationPicture:
    return ReservationPicture(
        number=reservation.number,
        created_at=reservation.created_at,
        state=reservation.state,
        cause=reservation.cause,
        amount=reservation.amount,
        settled_amount=reservation.settled_amount,
        expires_at=reservation.expires_at,
        funded=reservation.funded_at is not None,
        received=reservation.received,
        refunded=reservation.refunded,
        lost=reservation.lost,
    )


def _transfer_as_stored(transfer: Transfer) -> TransferPicture:
    return TransferPicture(transfer.reservation_id, transfer.created_at, transfer.status, transfer.amount)
