"""How does a change get written? Only here, in three statements, each with its history.

`admit` takes a new reservation into a loan's queue, `sweep` cancels lapsed reservations, and a Ledger's `post` writes whatever was
decided about loans under lock. Each keeps a loan's totals in step with its reservations.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from loans.domain.actors import SYSTEM, Actor

# --- Lapsed reservations --------------------------------------------------------------------------------------------------
# `due` names the reservations and the instant `at` of the sweep; those that changed since it looked are left for the next one.
_SWEEP = """
    WITH {due}, canceled AS (
        UPDATE loans_reservation AS reservation
        SET state = 'canceled', cause = 'expired', expires_at = NULL, refunded = due.received + due.lost
        FROM due
        WHERE reservation.id = due.id AND reservation.expires_at = due.expires_at AND reservation.state = due.state
            AND reservation.received = due.received AND reservation.refunded = due.refunded
        RETURNING reservation.id, reservation.loan_id, due.state, reservation.amount, due.expires_at, due.at,
            due.received + due.lost - due.refunded AS owed
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


_LAPSED_COLUMNS = "id, loan_id, state, amount, expires_at, received, refunded, lost"

# Of all loans: the oldest beyond a point in time, but for loans that somebody else holds. They come with the next sweep.
# The instant that history gets is read once the locks have come, so that a loan's history never runs backwards.
_SWEEP_OLDEST = (
    _SWEEP.format(
        due=f"""
        oldest AS MATERIALIZED (
            SELECT {_LAPSED_COLUMNS} FROM loans_reservation
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
class ExpiredBatch:
    """One batch of the sweep over all loans: how many were due, how many it canceled, and where it got to."""

    due: int
    canceled: int
    expires_at: datetime
    id: UUID


def expire_oldest(
    *, at: datetime, batch: int, after: tuple[datetime, UUID], actor: Actor = SYSTEM, now: datetime | None = None
) -> ExpiredBatch | None:
    """Cancel the oldest reservations that have lapsed at `at`, beyond `after`, at most `batch` of them. None where none is left."""
    values: dict[str, Any] = {"at": at, "now": now, "batch": batch, "after": after[0], "after_id": after[1]}
    values |= {"actor": actor.kind, "user_id": actor.user_id}
    with connection.cursor() as cursor:
        cursor.execute(_SWEEP_OLDEST, values)
        row = cursor.fetchone()
    return ExpiredBatch(*row) if row else None
