"""How does a change get written? Only here, in three statements, each with its history.

`admit` takes a new reservation into a loan's queue, `sweep` cancels lapsed reservations, and a Ledger's `post` writes whatever was
decided about loans under lock. Each keeps a loan's totals in step with its reservations.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from django.db import IntegrityError, connection
from psycopg.errors import UniqueViolation

from loans.domain.actors import Actor
from loans.domain.idempotency import KEPT_FOR, AnsweredBefore, FirstAnswer, Key, RequestRunning
from loans.domain.limits import FITS_SQL, MEETS_MINIMUM_SQL
from loans.ledger import locks
from loans.models import ONE_ANSWER, Loan, Reservation
from loans.selectors.offers import MAY_BUY
from peerloans.database.prepared import Prepared

# --- A new reservation ----------------------------------------------------------------------------------------------------
# Decision, totals, reservation, history and the request's key in one statement: the loan's row is locked only while it runs, and
# a refusal locks and writes nothing. The instant is read again once the lock has come. Counting what was `forgotten` makes
# that DELETE come before the INSERT of the same key.
_RESERVATION_COLUMNS = [field.attname for field in Reservation._meta.concrete_fields]


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
        SET claimed = claimed + %(amount)s, last_number = last_number + 1, version = version + 1
        WHERE reference = %(reference)s AND status = 'open' AND COALESCE(%(now)s::timestamptz, clock_timestamp()) < closes_at
            AND {MEETS_MINIMUM_SQL} AND {FITS_SQL}
            AND {MAY_BUY} AND (SELECT yes FROM mine) AND NOT EXISTS (SELECT FROM answered)
        RETURNING id, last_number, COALESCE(%(now)s::timestamptz, clock_timestamp()) AS at
    ), reserved AS (
        INSERT INTO loans_reservation
            (id, loan_id, investor_id, number, amount, settled_amount, state, cause, created_at, expires_at, received, refunded, lost)
        SELECT %(id)s, id, %(investor_id)s, last_number, %(amount)s, 0, 'reserved', '', at, at + %(time_to_live)s, 0, 0, 0 FROM admitted
        RETURNING {", ".join(_RESERVATION_COLUMNS)}
    ), history AS (
        INSERT INTO loans_transition
            (at, loan_id, reservation_id, event, from_state, to_state, amount, deadline, rule, actor, user_id, reason)
        SELECT created_at, loan_id, id, 'reserved', '', 'reserved', amount, expires_at, '', %(actor)s, %(user_id)s, '' FROM reserved
    ), kept AS (
        INSERT INTO loans_idempotencykey (user_id, key, digest, status, body, reservation_id, created_at)
        SELECT %(user_id)s, %(key)s, %(digest)s, 201, '', id, clock_timestamp() FROM reserved
        WHERE %(key)s IS NOT NULL AND (SELECT count(*) FROM forgotten) >= 0
    )
    SELECT {", ".join(f"reserved.{name}" for name in _RESERVATION_COLUMNS)}, answered.*, mine.yes
    FROM mine LEFT JOIN reserved ON true LEFT JOIN answered ON true
    """
)


def admit_reservation(
    *,
    reference: str,
    investor_id: int,
    amount: Decimal,
    time_to_live: timedelta,
    actor: Actor,
    key: Key | None = None,
    now: datetime | None,
) -> Reservation | None:
    """Take the reservation in, if the loan is open and has room and the investor may buy; otherwise None, and nothing changes.

    The key is kept with the reservation. Raises AnsweredBefore where it has been answered, and Running.
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
                raise RequestRunning from error
            raise
        row = cursor.fetchone()
    reservation, first, mine = row[: len(_RESERVATION_COLUMNS)], FirstAnswer(*row[len(_RESERVATION_COLUMNS) : -1]), row[-1]
    if reservation[0]:
        admitted = Reservation.from_db(connection.alias, _RESERVATION_COLUMNS, reservation)
        admitted.loan = Loan.from_db(connection.alias, ["id", "reference"], [admitted.loan_id, reference])
        return admitted
    if first.digest:
        raise AnsweredBefore(first)
    if not mine:
        raise RequestRunning
    return None
