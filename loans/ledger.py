"""How does a change get written? Only here, in three statements, each with its history.

`admit` takes a new claim into a loan's queue, `sweep` cancels lapsed claims, and a Ledger's `post` writes whatever was
decided about loans under lock. Each keeps a loan's totals in step with its claims.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID, uuid4

from celery import current_app
from django.core.cache import cache
from django.db import IntegrityError, connection, models, transaction
from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from loans import locks, money, remaining
from loans.keys import KEPT_FOR, AnsweredBefore, First, Key, Running
from loans.limits import FITS_SQL, MEETS_MINIMUM_SQL
from loans.models import ONE_ANSWER, Case, Loan, Reservation, Transfer, Transition
from loans.selectors import MAY_BUY
from loans.states import (
    LIVE,
    LOAN_MOVES,
    MOVES,
    TRANSFER_MOVES,
    Direction,
    Event,
    LoanEvent,
    LoanStatus,
    State,
    TransferEvent,
    TransferStatus,
    after,
)
from peerloans.cursors import Prepared

EVERYTHING = Decimal("Infinity")
DELIVER_TASK = "loans.tasks.deliver"


@dataclass(frozen=True)
class Actor:
    """Who does it; history names them."""

    kind: Literal["investor", "staff", "bank", "system"]
    user_id: int | None = None


SYSTEM = Actor("system")
BANK = Actor("bank")


# --- A new claim ----------------------------------------------------------------------------------------------------
# Decision, totals, claim, history and the request's key in one statement: the loan's row is locked only while it runs, and
# a refusal locks and writes nothing. The instant is read again once the lock has come. Counting what was `forgotten` makes
# that DELETE come before the INSERT of the same key.
_CLAIM_COLUMNS = [field.attname for field in Reservation._meta.concrete_fields]
_ADMIT = Prepared(
    f"""
    WITH mine AS MATERIALIZED (
        SELECT %(key)s::text IS NULL OR pg_try_advisory_xact_lock({locks.OF_A_KEY}) AS yes
    ), answered AS MATERIALIZED (
        SELECT digest, status, body, reservation_id FROM loans_idempotencykey
        WHERE user_id = %(user_id)s AND key = %(key)s AND created_at > clock_timestamp() - %(kept_for)s::interval
    ), forgotten AS (
        DELETE FROM loans_idempotencykey
        WHERE user_id = %(user_id)s AND key = %(key)s AND created_at <= clock_timestamp() - %(kept_for)s RETURNING id
    ), admitted AS (
        UPDATE loans_loan
        SET claimed = claimed + %(amount)s, places = places + 1, version = version + 1
        WHERE reference = %(reference)s AND status = 'open' AND COALESCE(%(now)s::timestamptz, clock_timestamp()) < closes_at
            AND {MEETS_MINIMUM_SQL} AND {FITS_SQL}
            AND {MAY_BUY} AND (SELECT yes FROM mine) AND NOT EXISTS (SELECT FROM answered)
        RETURNING id, places, COALESCE(%(now)s::timestamptz, clock_timestamp()) AS at
    ), reserved AS (
        INSERT INTO loans_reservation
            (id, loan_id, investor_id, place, amount, settled_amount, state, cause, created_at, expires_at, received, refunded, lost)
        SELECT %(id)s, id, %(investor_id)s, places, %(amount)s, 0, 'reserved', '', at, at + %(time_to_live)s, 0, 0, 0 FROM admitted
        RETURNING {", ".join(_CLAIM_COLUMNS)}
    ), history AS (
        INSERT INTO loans_transition
            (at, loan_id, reservation_id, event, from_state, to_state, amount, deadline, rule, actor, user_id, reason)
        SELECT created_at, loan_id, id, 'reserved', '', 'reserved', amount, expires_at, '', %(actor)s, %(user_id)s, '' FROM reserved
    ), kept AS (
        INSERT INTO loans_idempotencykey (user_id, key, digest, status, body, reservation_id, created_at)
        SELECT %(user_id)s, %(key)s, %(digest)s, 201, '', id, clock_timestamp() FROM reserved
        WHERE %(key)s IS NOT NULL AND (SELECT count(*) FROM forgotten) >= 0
    )
    SELECT {", ".join(f"reserved.{name}" for name in _CLAIM_COLUMNS)}, answered.*, mine.yes
    FROM mine LEFT JOIN reserved ON true LEFT JOIN answered ON true
    """
)


def admit(
    *,
    reference: str,
    investor_id: int,
    amount: Decimal,
    time_to_live: timedelta,
    actor: Actor,
    key: Key | None = None,
    now: datetime | None,
) -> Reservation | None:
    """Take the claim in, if the loan is open and has room and the investor may buy; otherwise None, and nothing changes.

    The key is kept with the claim. Raises AnsweredBefore where it has been answered, and Running.
    """
    values: dict[str, Any] = {
        "id": uuid4(),
        "reference": reference,
        "investor_id": investor_id,
        "amount": amount,
        "time_to_live": time_to_live,
        "actor": actor.kind,
        "user_id": actor.user_id,
        "key": key and key.text,
        "digest": key and key.digest,
        "kept_for": KEPT_FOR,
        "now": now,
    }
    with connection.cursor() as cursor:
        try:
            cursor.execute(_ADMIT, values)
        except IntegrityError as error:
            if isinstance(error.__cause__, UniqueViolation) and error.__cause__.diag.constraint_name == ONE_ANSWER:
                raise Running from error
            raise
        row = cursor.fetchone()
    claim, first, mine = row[: len(_CLAIM_COLUMNS)], First(*row[len(_CLAIM_COLUMNS) : -1]), row[-1]
    if claim[0]:
        admitted = Reservation.from_db(connection.alias, _CLAIM_COLUMNS, claim)
        admitted.loan = Loan.from_db(connection.alias, ["id", "reference"], [admitted.loan_id, reference])
        return admitted
    if first.digest:
        raise AnsweredBefore(first)
    if not mine:
        raise Running
    return None


# --- Lapsed claims --------------------------------------------------------------------------------------------------
# `due` names the claims and the instant `at` of the sweep; those that changed since it looked are left for the next one.
_SWEEP = """
    WITH {due}, canceled AS (
        UPDATE loans_reservation AS claim
        SET state = 'canceled', cause = 'expired', expires_at = NULL, refunded = due.received + due.lost
        FROM due
        WHERE claim.id = due.id AND claim.expires_at = due.expires_at AND claim.state = due.state
            AND claim.received = due.received AND claim.refunded = due.refunded
        RETURNING claim.id, claim.loan_id, due.state, claim.amount, due.expires_at, due.at, due.received + due.lost - due.refunded AS owed
    ), released AS (
        UPDATE loans_loan SET claimed = claimed - freed.amount, version = version + 1
        FROM (SELECT loan_id, sum(amount) AS amount FROM canceled GROUP BY loan_id) AS freed
        WHERE loans_loan.id = freed.loan_id
    ), refunds AS (
        INSERT INTO loans_transfer (id, reservation_id, direction, method, reference, payment, status, amount, created_at)
        SELECT refund, id, 'refund', '', 'R-' || upper(left(replace(refund::text, '-', ''), 12)), 1, 'due', owed, at
        FROM (SELECT gen_random_uuid() AS refund, id, owed, at FROM canceled WHERE owed > 0) AS owing
        RETURNING id, reservation_id, amount
    ), history AS (
        INSERT INTO loans_transition
            (at, loan_id, reservation_id, transfer_id, event, from_state, to_state, amount, rule, actor, user_id, reason)
        SELECT at, loan_id, id, NULL::uuid, 'expired', state, 'canceled', amount, '', %(actor)s, %(user_id)s::integer, ''
        FROM canceled
        UNION ALL
        SELECT at, loan_id, reservation_id, refunds.id, 'due', '', 'due', refunds.amount, '', %(actor)s, %(user_id)s, ''
        FROM refunds JOIN canceled ON canceled.id = reservation_id
    )
"""

_CLAIM = "id, loan_id, state, amount, expires_at, received, refunded, lost"

# Of loans under lock: oldest first, until `needed` dollars are free.
_SWEEP_LOANS = (
    _SWEEP.format(
        due=f"""
        due AS MATERIALIZED (
            SELECT * FROM (
                SELECT {_CLAIM}, %(at)s::timestamptz AS at,
                    sum(amount) OVER (PARTITION BY loan_id ORDER BY expires_at, id) - amount AS freed_before
                FROM loans_reservation
                WHERE loan_id = ANY(%(loan_ids)s) AND state IN ('reserved', 'pending') AND expires_at <= %(at)s
            ) AS lapsed
            WHERE freed_before < %(needed)s
        )"""
    )
    + "SELECT loan_id, sum(amount), count(*) FROM canceled GROUP BY loan_id"
)

# Of all loans: the oldest beyond a point in time, but for loans that somebody else holds. They come with the next sweep.
# The instant that history gets is read once the locks have come, so that a loan's history never runs backwards.
_SWEEP_OLDEST = (
    _SWEEP.format(
        due=f"""
        oldest AS MATERIALIZED (
            SELECT {_CLAIM} FROM loans_reservation
            WHERE expires_at <= %(at)s AND (expires_at, id) > (%(after)s, %(after_id)s) ORDER BY expires_at, id LIMIT %(batch)s
        ), locked AS MATERIALIZED (
            SELECT id FROM loans_loan WHERE id IN (SELECT loan_id FROM oldest) ORDER BY id FOR UPDATE SKIP LOCKED
        ), under_lock AS MATERIALIZED (
            SELECT COALESCE(%(now)s::timestamptz, clock_timestamp()) AS at FROM (SELECT count(*) FROM locked) AS all_of_them
        ), due AS MATERIALIZED (
            SELECT oldest.*, under_lock.at FROM under_lock, oldest JOIN locked ON locked.id = oldest.loan_id
        )"""
    )
    + """
    SELECT (SELECT count(*) FROM oldest), (SELECT count(*) FROM canceled), last.expires_at, last.id
    FROM (SELECT expires_at, id FROM oldest ORDER BY expires_at DESC, id DESC LIMIT 1) AS last
    """
)


@dataclass(frozen=True)
class Swept:
    """One batch of the sweep over all loans: how many were due, how many it canceled, and where it got to."""

    due: int
    canceled: int
    expires_at: datetime
    id: UUID


def sweep_oldest(
    *, at: datetime, batch: int, after: tuple[datetime, UUID], actor: Actor = SYSTEM, now: datetime | None = None
) -> Swept | None:
    """Cancel the oldest claims that have lapsed at `at`, beyond `after`, at most `batch` of them. None where none is left."""
    values: dict[str, Any] = {"at": at, "now": now, "batch": batch, "after": after[0], "after_id": after[1]}
    values |= {"actor": actor.kind, "user_id": actor.user_id}
    with connection.cursor() as cursor:
        cursor.execute(_SWEEP_OLDEST, values)
        row = cursor.fetchone()
    return Swept(*row) if row else None


def open_case(kind: str, detail: str, *, at: datetime, loan_id: int | None = None, reservation_id: UUID | None = None) -> None:
    """List something for staff; once, for as long as it is open."""
    Case.objects.bulk_create(
        [Case(kind=kind, detail=detail[:1000], loan_id=loan_id, reservation_id=reservation_id, opened_at=at)], ignore_conflicts=True
    )


def close_case(case: Case, *, user_id: int | None, note: str, at: datetime) -> None:
    """Take a case off the list; what is found anew is listed anew."""
    case.closed_at, case.closed_by_id, case.note = at, user_id, note
    case.save(update_fields=["closed_at", "closed_by", "note"])


def new_loan(loan: Loan, *, actor: Actor, at: datetime) -> Loan:
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
class Ledger:
    """Loans under lock and the changes decided on them, written together by `post`.

    Lapsed claims of the loans are canceled first, so what is decided here never meets one.
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
        """Take one step with a claim. `changes` are its new amount, settled_amount, expires_at or funded_at."""
        loan = self.loans[reservation.loan_id]
        origin = State(reservation.state)
        state = after(MOVES, origin, event)
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
        """Expect money for the claim."""
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
        transfer.status = after(TRANSFER_MOVES, origin, event)
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
        loan.status = after(LOAN_MOVES, origin, event)
        for field, value in changes.items():
            setattr(loan, field, value)
        self._changed_loans[loan.pk] = loan
        self._record(loan, event, origin, loan.status, loan.amount, deadline=loan.closes_at, facts=_facts(changes))

    def case(self, kind: str, detail: str, reservation: Reservation) -> None:
        """List something about a claim for staff."""
        open_case(kind, detail, at=self.at, loan_id=reservation.loan_id, reservation_id=reservation.pk)

    def _balance(self, reservation: Reservation) -> None:
        """Make the refund that the claim's new state calls for, or take back what is too much of one."""
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
            self.case("loss", f"{amount} dollars were refunded and then taken back by the bank.", reservation)
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
        values = {loan.pk: remaining.Remaining(loan.remaining, self.at, loan.version) for loan in self._changed_loans.values()}

        def publish() -> None:
            remaining.publish(values)

        transaction.on_commit(publish, robust=True)
        transaction.on_commit(_deliver_soon, robust=True)


def _deliver_soon() -> None:
    """Have investors told a second from now, once for all that is committed until then; the deliver job would within a minute.

    New reservations wait for that job: waking it would make them dearer.
    """
    if cache.add("deliver_soon", 1, timeout=1):
        current_app.send_task(DELIVER_TASK, countdown=1)


@contextmanager
def opened(locked: locks.Locked, *, actor: Actor, reason: str = "") -> Iterator[Ledger]:
    """A ledger over loans under lock, posted at the end."""
    ledger = Ledger(locked, actor=actor, reason=reason)
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
