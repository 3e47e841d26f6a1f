"""Take a new reservation into a loan's queue, or refuse it, in one statement.

One statement decides, counts, writes the reservation, its history and the Idempotency-Key, and commits. So the row of the loan is
locked only while the statement runs, and a refusal locks and writes nothing. Its plan is kept (see docs/performance.md).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import uuid4

from django.db import IntegrityError, connection
from psycopg.errors import UniqueViolation

from loans.domain.actors import Actor
from loans.domain.idempotency import KEPT_FOR, FirstAnswer, Key
from loans.domain.states import ReservationState
from loans.ledger.bulk_write import exact
from loans.ledger.locks import KEY_LOCK
from loans.models import ONE_ANSWER, Loan, Reservation
from loans.selectors.offers import MAY_BUY
from peerloans.database.prepared import Prepared

# The rules of loans/domain/limits.py once more, over the columns of loans_loan.
REMAINING = "(amount - settled)"
LIMIT = "trunc((amount - settled) * (1 + overbooking_rate), 2)"
MEETS_MINIMUM = f"(%(amount)s >= minimum OR ({REMAINING} < minimum AND %(amount)s = {REMAINING}))"
FITS = f"(%(amount)s <= {REMAINING} AND %(amount)s <= {LIMIT} - claimed)"

_ADMIT = Prepared(
    f"""
    WITH key AS MATERIALIZED (
        -- Lock the key until the end of the transaction, without waiting. Without a key there is nothing to lock.
        SELECT %(key)s::text IS NULL OR pg_try_advisory_xact_lock({KEY_LOCK}) AS is_ours
    ), answered AS MATERIALIZED (
        -- The first answer to the key, while it counts.
        SELECT digest, status, body, reservation_id FROM loans_idempotencykey
        WHERE user_id = %(user_id)s AND key = %(key)s AND created_at > clock_timestamp() - %(kept_for)s::interval
    ), outdated AS (
        -- Delete an answer that no longer counts, to make place for the new one.
        DELETE FROM loans_idempotencykey
        WHERE user_id = %(user_id)s AND key = %(key)s AND created_at <= clock_timestamp() - %(kept_for)s RETURNING id
    ), admitted AS (
        -- Decide, lock the loan and count the reservation. The instant is read again once the lock has come.
        UPDATE loans_loan
        SET claimed = claimed + %(amount)s, last_number = last_number + 1, version = version + 1
        WHERE reference = %(reference)s AND status = 'open' AND COALESCE(%(now)s::timestamptz, clock_timestamp()) < closes_at
            AND {MEETS_MINIMUM} AND {FITS} AND {MAY_BUY}
            AND (SELECT is_ours FROM key) AND NOT EXISTS (SELECT FROM answered)
        RETURNING id AS loan_id, last_number AS number, COALESCE(%(now)s::timestamptz, clock_timestamp()) AS at
    ), reserved AS (
        -- The reservation, with the next number of the loan's queue.
        INSERT INTO loans_reservation
            (id, loan_id, investor_id, number, amount, settled_amount, state, cause, created_at, expires_at, received, refunded, lost)
        SELECT %(id)s, loan_id, %(investor_id)s, number, %(amount)s, 0, 'reserved', '', at, at + %(time_to_live)s, 0, 0, 0
        FROM admitted
        RETURNING id, loan_id, number, amount, created_at, expires_at
    ), history AS (
        -- Its first transition.
        INSERT INTO loans_transition
            (at, loan_id, reservation_id, event, from_state, to_state, amount, deadline, rule, actor, user_id, reason)
        SELECT created_at, loan_id, id, 'reserved', '', 'reserved', amount, expires_at, '', %(actor)s, %(user_id)s, '' FROM reserved
    ), kept AS (
        -- Keep the key with the reservation. The join makes PostgreSQL finish the DELETE of the same key first.
        INSERT INTO loans_idempotencykey (user_id, key, digest, status, body, reservation_id, created_at)
        SELECT %(user_id)s, %(key)s, %(digest)s, 201, '', reserved.id, clock_timestamp()
        FROM reserved CROSS JOIN (SELECT count(*) FROM outdated) AS deleted
        WHERE %(key)s IS NOT NULL
    )
    SELECT key.is_ours, answered.digest, answered.status, answered.body, answered.reservation_id,
        reserved.loan_id, reserved.number, reserved.amount, reserved.created_at, reserved.expires_at
    FROM key LEFT JOIN answered ON true LEFT JOIN reserved ON true
    """
)


class _Row(NamedTuple):
    """The one row that the statement returns. Fields of what does not exist are None."""

    key_is_ours: bool
    # The first answer to the key:
    digest: Any
    status: Any
    body: Any
    reservation_id: Any
    # The new reservation:
    loan_id: Any
    number: Any
    amount: Any
    created_at: Any
    expires_at: Any


@dataclass(frozen=True)
class Admission:
    """What became of a request: a reservation, the first answer to its key, or a key that another request holds; else a refusal."""

    reservation: Reservation | None = None
    first_answer: FirstAnswer | None = None
    key_in_use: bool = False

    @property
    def refused(self) -> bool:
        """Return whether the loan is not open, has too little available, or the investor or the amount does not qualify."""
        return not (self.reservation or self.first_answer or self.key_in_use)


def admit_reservation(
    *,
    reference: str,
    investor_id: int,
    amount: Decimal,
    time_to_live: timedelta,
    actor: Actor,
    key: Key | None = None,
    now: datetime | None = None,
) -> Admission:
    """Take a reservation of `amount` dollars into the loan's queue, if the rules allow it, and keep the key with it.

    Without `now`, the database's clock decides. Whatever does not lead to a reservation changes nothing.

    Raises:
        ValueError: the amount has fractions of a cent.
    """
    reservation_id = uuid4()
    values: dict[str, Any] = {
        "id": reservation_id,
        "reference": reference,
        "investor_id": investor_id,
        "amount": exact(amount),
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
            # Another request took the key after this statement had begun to look.
            if isinstance(error.__cause__, UniqueViolation) and error.__cause__.diag.constraint_name == ONE_ANSWER:
                return Admission(key_in_use=True)
            raise
        row = _Row._make(cursor.fetchone())
    if row.loan_id:
        reservation = Reservation(
            id=reservation_id,
            loan=Loan.from_db(connection.alias, ["id", "reference"], [row.loan_id, reference]),
            investor_id=investor_id,
            number=row.number,
            amount=row.amount,
            state=ReservationState.RESERVED,
            created_at=row.created_at,
            expires_at=row.expires_at,
        )
        reservation._state.adding = False
        return Admission(reservation)
    if row.digest:
        return Admission(first_answer=FirstAnswer(row.digest, row.status, row.body, row.reservation_id))
    return Admission(key_in_use=not row.key_is_ours)
