"""Compare what a loan's history leads to with what the tables hold, field by field."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, models, transaction

from loans.audit.replay import Replay, ReplayedEntry, ReplayedLoan, ReplayedReservation, ReplayedTransfer, TransitionRow, in_words, replay
from loans.domain.errors import NotFound
from loans.models import Loan, Reservation, Transfer, Transition, WaitingListEntry

ROWS_FETCHED = 2_000  # at a time; a loan may have a million transitions


@dataclass(frozen=True)
class Difference:
    """A field whose replayed and stored values differ. `entity` is the loan, or a reservation, transfer or transition with its id."""

    loan: str
    entity: str
    field: str
    replayed: str
    stored: str

    def __str__(self) -> str:
        return f"{self.loan}, {self.entity}: {self.field} is {self.stored}, by history {self.replayed}."


def verify_loan_history(references: Sequence[str] = ()) -> Iterator[tuple[str, list[Difference]]]:
    """Return an iterator over the loans named, or over all: each one's reference and its differences.

    Only one loan is in memory at a time, read from one snapshot of the database.

    Raises:
        NotFound: a reference belongs to no loan; raised at once, before any loan is verified.
    """
    loans = Loan.objects.order_by("id")
    if references:
        loans = loans.filter(reference__in=references)
    selected = list(loans.values_list("id", "reference"))
    if unknown := sorted(set(references) - {reference for _, reference in selected}):
        raise NotFound(f"There is no loan {', '.join(unknown)}.")
    return ((reference, _differences(loan_id)) for loan_id, reference in selected)


def count_loans(references: Sequence[str] = ()) -> int:
    """Return how many loans `verify_loan_history` iterates over."""
    return len(set(references)) or Loan.objects.count()


def _differences(loan_id: int) -> list[Difference]:
    with _snapshot():
        return list(_compare(Loan.objects.get(pk=loan_id), replay(_history(loan_id))))


@contextmanager
def _snapshot() -> Iterator[None]:
    """Let all reads see the database as it was at the first of them. Within another transaction they see what that sees."""
    is_outermost = not connection.in_atomic_block
    with transaction.atomic():
        if is_outermost:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def _history(loan_id: int) -> Iterator[TransitionRow]:
    fields = (
        "id",
        "at",
        "reservation_id",
        "transfer_id",
        "event",
        "from_state",
        "to_state",
        "amount",
        "deadline",
        "facts",
        "waiting_entry_id",
    )
    rows = Transition.objects.filter(loan_id=loan_id).order_by("id").values_list(*fields)
    return (TransitionRow(*row) for row in rows.iterator(chunk_size=ROWS_FETCHED))


def _compare(loan: Loan, result: Replay) -> Iterator[Difference]:
    for fault in result.faults:
        yield Difference(loan.reference, f"history row {fault.transition_id}", fault.field, fault.expected, fault.value)
    yield from _compare_fields(loan.reference, "the loan", result.loan, _stored_loan(loan))
    reservations = Reservation.objects.filter(loan=loan).order_by("number").iterator(chunk_size=ROWS_FETCHED)
    stored_reservations = ((reservation.pk, _stored_reservation(reservation)) for reservation in reservations)
    yield from _compare_rows(loan.reference, "reservation", result.reservations, stored_reservations)
    transfers = Transfer.objects.filter(reservation__loan=loan).order_by("pk").iterator(chunk_size=ROWS_FETCHED)
    stored_transfers = ((transfer.pk, _stored_transfer(transfer)) for transfer in transfers)
    yield from _compare_rows(loan.reference, "transfer", result.transfers, stored_transfers)
    entries = WaitingListEntry.objects.filter(loan=loan).order_by("number").iterator(chunk_size=ROWS_FETCHED)
    yield from _compare_rows(loan.reference, "waiting entry", result.waiting_list, ((entry.pk, _stored_entry(entry)) for entry in entries))


def _compare_rows(reference: str, kind: str, replayed: dict[UUID, Any], stored: Iterable[tuple[UUID, Any]]) -> Iterator[Difference]:
    without_row = dict(replayed)
    for row_id, stored_row in stored:
        replayed_row = without_row.pop(row_id, None)
        if replayed_row is None:
            yield Difference(reference, f"{kind} {row_id}", "history", "never begun", "there")
        else:
            yield from _compare_fields(reference, f"{kind} {row_id}", replayed_row, stored_row)
    for row_id in without_row:
        yield Difference(reference, f"{kind} {row_id}", "row", "there", "missing")


def _compare_fields(reference: str, entity: str, replayed: Any, stored: Any) -> Iterator[Difference]:
    replayed_values, stored_values = _values(replayed), _values(stored)
    for name, value in stored_values.items():
        if replayed_values.get(name) != value:
            yield Difference(reference, entity, name, in_words(replayed_values.get(name)), in_words(value))


def _values(row: Any) -> dict[str, Any]:
    """Return the row's fields by name. A loan's facts are texts in history; each becomes a value of its field."""
    values = {name: getattr(row, name) for name in row.__slots__ if name != "facts"}
    facts = {name: _loan_field(name).to_python(text) for name, text in getattr(row, "facts", {}).items()}
    return values | facts


def _loan_field(name: str) -> "models.Field[Any, Any]":
    field = Loan._meta.get_field(name)
    assert isinstance(field, models.Field)  # noqa: S101
    return field


def _stored_loan(loan: Loan) -> ReplayedLoan:
    return ReplayedLoan(
        status=loan.status,
        amount=loan.amount,
        opens_at=loan.opens_at,
        closes_at=loan.closes_at,
        settled=loan.settled,
        claimed=loan.claimed,
        last_number=loan.last_number,
        waiting_entries=loan.waiting_entries,
        waiting_dollars=loan.waiting_dollars,
        facts={name: str(getattr(loan, name)) for name in Loan.FACTS},
    )


def _stored_reservation(reservation: Reservation) -> ReplayedReservation:
    return ReplayedReservation(
        number=reservation.number,
        created_at=reservation.created_at,
        state=reservation.state,
        cause=reservation.cause,
        amount=reservation.amount,
        settled_amount=reservation.settled_amount,
        expires_at=reservation.expires_at,
        funded=reservation.funded_at is not None,
        let_go_at=reservation.let_go_at,
        standing_order=str(reservation.standing_order_id) if reservation.standing_order_id else None,
        received=reservation.received,
        refunded=reservation.refunded,
        lost=reservation.lost,
    )


def _stored_transfer(transfer: Transfer) -> ReplayedTransfer:
    return ReplayedTransfer(transfer.reservation_id, transfer.created_at, transfer.status, transfer.amount, transfer.moved)


def _stored_entry(entry: WaitingListEntry) -> ReplayedEntry:
    reservation = str(entry.reservation_id) if entry.reservation_id else None
    return ReplayedEntry(entry.number, entry.joined_at, entry.amount, entry.at_least, entry.state, reservation, entry.ended_at)
