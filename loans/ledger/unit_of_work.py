"""How does a change get written? Only here, in three statements, each with its history.

`admit` takes a new reservation into a loan's queue, `sweep` cancels lapsed reservations, and a Ledger's `post` writes whatever was
decided about loans under lock. Each keeps a loan's totals in step with its reservations.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from celery import current_app
from django.core.cache import cache
from django.db import connection, models, transaction
from psycopg.types.json import Jsonb

from loans import remaining_cache
from loans.domain import money
from loans.domain.actors import SYSTEM, Actor
from loans.domain.states import (
    LIVE,
    LOAN_TRANSITIONS,
    RESERVATION_TRANSITIONS,
    TRANSFER_TRANSITIONS,
    Direction,
    Event,
    LoanEvent,
    LoanStatus,
    State,
    TransferEvent,
    TransferStatus,
    state_after,
)
from loans.ledger import locks
from loans.ledger.expiry import _LAPSED_COLUMNS, _SWEEP
from loans.ledger.review_items import open_review_item
from loans.models import Loan, Reservation, Transfer, Transition

EVERYTHING = Decimal("Infinity")


DELIVER_TASK = "loans.tasks.deliver"

# Of loans under lock: oldest first, until `needed` dollars are free.
_SWEEP_LOANS = (
    _SWEEP.format(
        due=f"""
        due AS MATERIALIZED (
            SELECT * FROM (
                SELECT {_LAPSED_COLUMNS}, %(at)s::timestamptz AS at,
                    sum(amount) OVER (PARTITION BY loan_id ORDER BY expires_at, id) - amount AS freed_before
                FROM loans_reservation
                WHERE loan_id = ANY(%(loan_ids)s) AND state IN ('reserved', 'pending') AND expires_at <= %(at)s
            ) AS lapsed
            WHERE freed_before < %(needed)s
        )"""
    )
    + "SELECT loan_id, sum(amount), count(*) FROM canceled GROUP BY loan_id"
)


def insert_draft(loan: Loan, *, actor: Actor, at: datetime) -> Loan:
    """Keep a new draft, with the first line of its history."""
    loan.created_at = at
    loan.save(force_insert=True)
    Transition.objects.create(
        at=at,
        loan=loan,
        event=LoanEvent.CREATED,
        to_state=loan.status,
        amount=loan.amount,
        facts=_facts(vars(loan)),
        actor=actor.kind,
        user_id=actor.user_id,
    )
    return loan


def _facts(changes: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(changes[name]) for name in Loan.FACTS if name in changes}


# --- Whatever was decided about loans under lock ----------------------------------------------------------------------
class UnitOfWork:
    """Loans under lock and the changes decided on them, written together by `post`.

    Lapsed reservations of the loans are canceled first, so what is decided here never meets one.
    """

    def __init__(self, locked: locks.Locked, *, actor: Actor, reason: str = "", needed: Decimal = EVERYTHING) -> None:
        self.loans = {loan.pk: loan for loan in locked.loans}
        self.at = locked.at
        self.actor = actor
        self.reason = reason
        self.swept = 0
        self._changed_loans: dict[int, Loan] = {}
        self._reservations: dict[UUID, Reservation] = {}
        self._transfers: dict[UUID, Transfer] = {}
        self._history: list[Transition] = []
        self._sweep(needed)

    @property
    def loan(self) -> Loan:
        """The loan, where there is only one."""
        (loan,) = self.loans.values()
        return loan

    def _sweep(self, needed: Decimal) -> None:
        values: dict[str, Any] = {
            "loan_ids": list(self.loans),
            "at": self.at,
            "needed": needed,
            "actor": SYSTEM.kind,
            "user_id": SYSTEM.user_id,
        }
        with connection.cursor() as cursor:
            cursor.execute(_SWEEP_LOANS, values)
            for loan_id, freed, count in cursor.fetchall():
                self.loans[loan_id].claimed -= freed
                self.loans[loan_id].version += 1
                self.swept += count

    def move(self, reservation: Reservation, event: Event, *, rule: str = "", **changes: Any) -> None:
        """Take one step with a reservation. `changes` are its new amount, settled_amount, expires_at or funded_at."""
        loan = self.loans[reservation.loan_id]
        origin = State(reservation.state)
        state = state_after(RESERVATION_TRANSITIONS, origin, event)
        loan.claimed -= reservation.amount if origin in LIVE else 0
        loan.settled -= reservation.settled_amount
        leaving = reservation.settled_amount
        if state == State.CANCELED:
            changes |= {"settled_amount": money.NOTHING, "expires_at": None, "funded_at": None}
        for field, value in changes.items():
            setattr(reservation, field, value)
        reservation.state = state
        reservation.cause = event if state == State.CANCELED else ""
        loan.claimed += reservation.amount if state in LIVE else 0
        loan.settled += reservation.settled_amount
        amount = reservation.settled_amount or leaving or reservation.amount
        self._reservations[reservation.pk] = reservation
        self._changed_loans[loan.pk] = loan
        self._record(loan, event, origin, state, amount, reservation=reservation, deadline=reservation.expires_at, rule=rule)
        if loan.status == LoanStatus.FUNDED and loan.remaining:
            self.move_loan(loan, LoanEvent.REOPENED)
        self._balance(reservation)

    def start_transfer(self, reservation: Reservation, method: str) -> Transfer:
        """Expect money for the reservation."""
        transfer = Transfer(reservation=reservation, direction=Direction.INBOUND, method=method, status=TransferStatus.INITIATED)
        transfer.reference = "T-" + transfer.pk.hex[:12].upper()
        self._new_transfer(transfer, TransferEvent.INITIATED, reservation.amount)
        return transfer

    def receive_again(self, transfer: Transfer, payment: int, amount: Decimal, occurred_at: datetime) -> None:
        """Money that came once more for the same reference: a transfer of its own, which goes back whole."""
        reservation = transfer.reservation
        again = Transfer(reservation=reservation, direction=Direction.INBOUND, method=transfer.method, payment=payment)
        again.reference, again.status = transfer.reference, TransferStatus.CLEARED
        again.cleared_at, again.occurred_at = self.at, occurred_at
        self._new_transfer(again, TransferEvent.CLEARED, amount)
        reservation.received += amount
        self.refund(reservation, amount)

    def move_transfer(
        self, transfer: Transfer, event: TransferEvent, *, amount: Decimal | None = None, occurred_at: datetime | None = None
    ) -> None:
        """Take one step with a transfer; what its reservation has received and been refunded follows."""
        reservation = transfer.reservation
        origin = TransferStatus(transfer.status)
        transfer.status = state_after(TRANSFER_TRANSITIONS, origin, event)
        transfer.amount = transfer.amount if amount is None else amount
        transfer.occurred_at = occurred_at or transfer.occurred_at
        if event == TransferEvent.CLEARED:
            transfer.cleared_at, transfer.ended_at = self.at, None
            reservation.received += transfer.amount
        else:
            transfer.ended_at = self.at
        if event == TransferEvent.RETURNED:
            reservation.received -= transfer.amount
        if event == TransferEvent.VOIDED:
            reservation.refunded -= transfer.amount
        self._transfers[transfer.pk] = transfer
        self._reservations[reservation.pk] = reservation
        self._record(self.loans[reservation.loan_id], event, origin, transfer.status, transfer.amount, transfer=transfer)

    def move_loan(self, loan: Loan, event: LoanEvent, **changes: Any) -> None:
        """Take one step with a loan. `changes` are its new amount, opens_at, closes_at or facts."""
        origin = LoanStatus(loan.status)
        loan.status = state_after(LOAN_TRANSITIONS, origin, event)
        for field, value in changes.items():
            setattr(loan, field, value)
        self._changed_loans[loan.pk] = loan
        self._record(loan, event, origin, loan.status, loan.amount, deadline=loan.closes_at, facts=_facts(changes))

    def add_review_item(self, kind: str, detail: str, reservation: Reservation) -> None:
        """List something about a reservation for staff."""
        open_review_item(kind, detail, at=self.at, loan_id=reservation.loan_id, reservation_id=reservation.pk)

    def _balance(self, reservation: Reservation) -> None:
        """Make the refund that the reservation's new state calls for, or take back what is too much of one."""
        owed = money.owed(
            reservation.state, funded=reservation.funded_at is not None, amount=reservation.amount, waiting=reservation.waiting
        )
        if owed > 0:
            self.refund(reservation, owed)
        elif owed < 0:
            self.take_back(reservation, -owed)

    def refund(self, reservation: Reservation, amount: Decimal) -> None:
        """Owe the investor `amount` dollars."""
        refund = Transfer(reservation=reservation, direction=Direction.REFUND, status=TransferStatus.DUE)
        refund.reference = "R-" + refund.pk.hex[:12].upper()
        self._new_transfer(refund, TransferEvent.DUE, amount)
        reservation.refunded += amount

    def take_back(self, reservation: Reservation, amount: Decimal) -> None:
        """Void refunds of `amount` dollars for money that is no longer here; what is paid already is a loss."""
        for refund in reservation.transfers.filter(status=TransferStatus.DUE).order_by("-created_at", "-id"):
            if amount > 0:
                refund.reservation = reservation
                self.move_transfer(refund, TransferEvent.VOIDED)
                amount -= refund.amount
        if amount > 0:
            reservation.lost += amount
            loan, state = self.loans[reservation.loan_id], reservation.state
            self._record(loan, Event.LOST, state, state, amount, reservation=reservation, deadline=reservation.expires_at)
            self.add_review_item("loss", f"{amount} dollars were refunded and then taken back by the bank.", reservation)
        elif amount < 0:
            self.refund(reservation, -amount)

    def _new_transfer(self, transfer: Transfer, event: TransferEvent, amount: Decimal) -> None:
        transfer.amount, transfer.created_at = amount, self.at
        self._transfers[transfer.pk] = transfer
        self._reservations[transfer.reservation.pk] = transfer.reservation
        self._record(self.loans[transfer.reservation.loan_id], event, "", transfer.status, amount, transfer=transfer)

    def _record(
        self,
        loan: Loan,
        event: str,
        from_state: str,
        to_state: str,
        amount: Decimal,
        *,
        reservation: Reservation | None = None,
        transfer: Transfer | None = None,
        deadline: datetime | None = None,
        rule: str = "",
        facts: Mapping[str, str] | None = None,
    ) -> None:
        self._history.append(
            Transition(
                at=self.at,
                loan=loan,
                reservation=transfer.reservation if transfer else reservation,
                transfer=transfer,
                event=event,
                from_state=from_state,
                to_state=to_state,
                amount=amount,
                deadline=deadline,
                rule=rule,
                facts=Jsonb(facts) if facts else None,
                actor=self.actor.kind,
                user_id=self.actor.user_id,
                reason=self.reason,
            )
        )

    def post(self) -> None:
        """Write everything, in one statement; tell Redis after commit."""
        if not self._history:
            return
        statement, parameters = _post_statement(
            list(self._changed_loans.values()), list(self._reservations.values()), list(self._transfers.values()), self._history
        )
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
        for loan in self._changed_loans.values():
            loan.version += 1
        values = {loan.pk: remaining_cache.Remaining(loan.remaining, self.at, loan.version) for loan in self._changed_loans.values()}

        def publish() -> None:
            remaining_cache.publish(values)

        transaction.on_commit(publish, robust=True)
        transaction.on_commit(_deliver_soon, robust=True)


def _deliver_soon() -> None:
    """Have investors told a second from now, once for all that is committed until then; the deliver job would within a minute.

    New reservations wait for that job: waking it would make them dearer.
    """
    if cache.add("deliver_soon", 1, timeout=1):
        current_app.send_task(DELIVER_TASK, countdown=1)


@contextmanager
def unit_of_work(locked: locks.Locked, *, actor: Actor, reason: str = "") -> Iterator[UnitOfWork]:
    """A ledger over loans under lock, posted at the end."""
    ledger = UnitOfWork(locked, actor=actor, reason=reason)
    yield ledger
    ledger.post()


_LOAN_FIELDS = ("id", "status", "amount", "opens_at", "closes_at", "settled", "claimed", *Loan.FACTS)


_RESERVATION_FIELDS = (
    "id",
    "state",
    "cause",
    "amount",
    "settled_amount",
    "expires_at",
    "funded_at",
    "received",
    "refunded",
    "lost",
)


_TRANSFER_CHANGES = ("status", "amount", "cleared_at", "ended_at", "occurred_at")


_TRANSFER_FIELDS = ("id", "reservation_id", "direction", "method", "reference", "payment", "created_at", *_TRANSFER_CHANGES)


_TRANSITION_FIELDS = (
    "at",
    "loan_id",
    "reservation_id",
    "transfer_id",
    "event",
    "from_state",
    "to_state",
    "amount",
    "deadline",
    "rule",
    "facts",
    "actor",
    "user_id",
    "reason",
)


def _post_statement(
    loans: list[Loan], reservations: list[Reservation], transfers: list[Transfer], history: list[Transition]
) -> tuple[str, list[Any]]:
    """The one statement and its values: each table's rows come as one array a column."""
    values: list[Any] = []

    def rows(model: type[models.Model], fields: Sequence[str], instances: Sequence[models.Model]) -> str:
        arrays = []
        for field in fields:
            arrays.append(f"%s::{_column(model, field).db_type(connection)}[]")
            values.append([getattr(instance, field) for instance in instances])
        return f"unnest({', '.join(arrays)}) WITH ORDINALITY AS new({', '.join(fields)}, line)"

    statement = f"""
        WITH reservations AS (
            UPDATE loans_reservation AS old SET {_assign(_RESERVATION_FIELDS[1:], "new")}
            FROM {rows(Reservation, _RESERVATION_FIELDS, reservations)} WHERE old.id = new.id
        ), transfers AS (
            INSERT INTO loans_transfer ({", ".join(_TRANSFER_FIELDS)})
            SELECT {", ".join(_TRANSFER_FIELDS)} FROM {rows(Transfer, _TRANSFER_FIELDS, transfers)}
            ON CONFLICT (id) DO UPDATE SET {_assign(_TRANSFER_CHANGES, "excluded")}
        ), history AS (
            INSERT INTO loans_transition ({", ".join(_TRANSITION_FIELDS)})
            SELECT {", ".join(_TRANSITION_FIELDS)} FROM {rows(Transition, _TRANSITION_FIELDS, history)} ORDER BY line
        )
        UPDATE loans_loan AS old SET {_assign(_LOAN_FIELDS[1:], "new")}, version = old.version + 1
        FROM {rows(Loan, _LOAN_FIELDS, loans)} WHERE old.id = new.id
    """
    return statement, values


def _column(model: type[models.Model], field: str) -> "models.Field[Any, Any]":
    """The model's field that the column belongs to."""
    found = model._meta.get_field(field)
    assert isinstance(found, models.Field)  # noqa: S101
    return found


def _assign(fields: Sequence[str], source: str) -> str:
    return ", ".join(f"{field} = {source}.{field}" for field in fields)
