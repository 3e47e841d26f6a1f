"""Cancel lapsed reservations: of the loans in a unit of work, and of all loans when the job runs.

A reservation has lapsed when its deadline has passed. It has expired once it is stored as canceled with the cause `expired`. One
statement writes that, the loans' totals, the refunds of money that was received, and history.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from django.db import connection

from loans.domain.actors import SYSTEM
from loans.models import Loan

_LAPSED_COLUMNS = "id, loan_id, state, amount, expires_at, received, refunded, lost"

# What both statements share. Each begins with a CTE `lapsed`: the reservations to cancel, and `at`, the instant that history records.
_EXPIRE = """
    canceled AS (
        -- Cancel them, unless another transaction has changed one since `lapsed` read it, which may have been before the loan was
        -- locked. Nothing of these reservations has settled, so received + lost = refunded + waiting
        -- (loans/domain/refunds.py). Of the waiting money, as much as was lost is recovered, and the rest is refunded. Then nothing
        -- waits: refunded = received + lost, both less what is recovered.
        UPDATE loans_reservation AS reservation
        SET state = 'canceled', cause = 'expired', expires_at = NULL, let_go_at = lapsed.expires_at,
            refunded = lapsed.received + lapsed.lost - recovered, lost = lapsed.lost - recovered
        FROM (SELECT *, LEAST(lost, received + lost - refunded) AS recovered FROM lapsed) AS lapsed
        WHERE reservation.id = lapsed.id AND reservation.expires_at = lapsed.expires_at AND reservation.state = lapsed.state
            AND reservation.received = lapsed.received AND reservation.refunded = lapsed.refunded
        RETURNING reservation.id, reservation.loan_id, lapsed.state, reservation.amount, lapsed.expires_at, lapsed.at,
            recovered, lapsed.received + lapsed.lost - lapsed.refunded - recovered AS to_refund
    ), released AS (
        -- Take them out of their loans' totals.
        UPDATE loans_loan SET claimed = claimed - freed, version = version + 1
        FROM (SELECT loan_id, sum(amount) AS freed FROM canceled GROUP BY loan_id) AS freed_dollars
        WHERE loans_loan.id = loan_id
    ), refunds AS (
        -- Refund the money that they received, which was too little to fund them.
        INSERT INTO loans_transfer (id, reservation_id, direction, method, reference, status, amount, moved, created_at)
        SELECT refund_id, id, 'refund', '', 'R-' || upper(left(replace(refund_id::text, '-', ''), 12)), 'due', to_refund, 0, at
        FROM (SELECT gen_random_uuid() AS refund_id, id, to_refund, at FROM canceled WHERE to_refund > 0) AS refunded
        RETURNING id, reservation_id, amount
    ), history AS (
        -- Record the cancellations, what covers a loss, and the refunds.
        INSERT INTO loans_transition
            (at, loan_id, reservation_id, transfer_id, event, from_state, to_state, amount, rule, actor, user_id, reason)
        SELECT at, loan_id, id, NULL::uuid, 'expired', state, 'canceled', amount, '', %(actor)s, NULL::integer, '' FROM canceled
        UNION ALL
        SELECT at, loan_id, id, NULL, 'recovered', 'canceled', 'canceled', recovered, '', %(actor)s, NULL, ''
        FROM canceled WHERE recovered > 0
        UNION ALL
        SELECT at, loan_id, reservation_id, refunds.id, 'due', '', 'due', refunds.amount, '', %(actor)s, NULL, ''
        FROM refunds JOIN canceled ON canceled.id = reservation_id
    )
"""

_EXPIRE_OF_LOANS = f"""
    WITH lapsed AS MATERIALIZED (
        -- In each loan, the earliest deadline first: take a reservation while those before it free fewer dollars than are needed.
        SELECT * FROM (
            SELECT {_LAPSED_COLUMNS}, %(at)s::timestamptz AS at,
                sum(amount) OVER (PARTITION BY loan_id ORDER BY expires_at, id) - amount AS freed_before
            FROM loans_reservation
            WHERE loan_id = ANY(%(loan_ids)s) AND state IN ('reserved', 'pending') AND expires_at <= %(at)s
        ) AS in_order
        WHERE %(needed)s::numeric IS NULL OR freed_before < %(needed)s
    ), {_EXPIRE}
    SELECT loan_id, sum(amount), count(*) FROM canceled GROUP BY loan_id
"""

_EXPIRE_OLDEST = f"""
    WITH oldest AS MATERIALIZED (
        -- The next batch. Only live reservations that are not funded have a deadline (a constraint), so the state is not asked for.
        SELECT {_LAPSED_COLUMNS} FROM loans_reservation
        WHERE expires_at <= %(at)s AND (expires_at, id) > (%(after)s, %(after_id)s) ORDER BY expires_at, id LIMIT %(size)s
    ), locked AS MATERIALIZED (
        -- Their loans. One that another transaction holds is skipped, and left for the next run.
        SELECT id FROM loans_loan WHERE id IN (SELECT loan_id FROM oldest) ORDER BY id FOR UPDATE SKIP LOCKED
    ), under_lock AS MATERIALIZED (
        -- The clock is read when all are locked, so that a loan's history never runs backwards.
        SELECT COALESCE(%(now)s::timestamptz, clock_timestamp()) AS at FROM (SELECT count(*) FROM locked) AS all_locks
    ), lapsed AS MATERIALIZED (
        -- Those of the batch whose loans are locked.
        SELECT oldest.*, under_lock.at FROM under_lock, oldest JOIN locked ON locked.id = oldest.loan_id
    ), {_EXPIRE}
    SELECT (SELECT count(*) FROM oldest), (SELECT count(*) FROM canceled), last.expires_at, last.id
    FROM (SELECT expires_at, id FROM oldest ORDER BY expires_at DESC, id DESC LIMIT 1) AS last
"""


def expire_lapsed(loans: Sequence[Loan], at: datetime, needed: Decimal | None = None) -> int:
    """Cancel the reservations of these loans that have lapsed by `at`, and return how many.

    The caller holds the locks of the loans. `needed` is in dollars: in each loan, cancel the earliest deadlines first and stop
    once so many are freed; None cancels all. The objects in `loans` get the new totals and versions.
    """
    by_id = {loan.pk: loan for loan in loans}
    expired = 0
    with connection.cursor() as cursor:
        cursor.execute(_EXPIRE_OF_LOANS, {"loan_ids": list(by_id), "at": at, "needed": needed, "actor": SYSTEM.kind})
        for loan_id, freed, count in cursor.fetchall():
            by_id[loan_id].claimed -= freed
            by_id[loan_id].version += 1
            expired += count
    return expired


class BatchEnd(NamedTuple):
    """The last reservation of a batch, by its deadline and id. The next batch continues after it."""

    expires_at: datetime
    reservation_id: UUID


BEFORE_ALL = BatchEnd(datetime(1, 1, 1, tzinfo=UTC), UUID(int=0))


class ExpiredBatch(NamedTuple):
    """A batch over all loans: how many reservations had lapsed, how many of them were canceled, and where it ended."""

    lapsed: int
    canceled: int
    end: BatchEnd


def expire_oldest(*, at: datetime, size: int, after: BatchEnd = BEFORE_ALL, now: datetime | None = None) -> ExpiredBatch | None:
    """Cancel the next `size` lapsed reservations over all loans, the earliest deadline first, going on from `after`: the batch before.

    `at` only selects; it is one instant for all batches of a run. `now` is the instant that history records; None is the database's
    clock once the loans are locked. Loans that another transaction holds are skipped. Return None if no lapsed reservation is left.
    """
    values = {"at": at, "now": now, "size": size, "actor": SYSTEM.kind, "after": after.expires_at, "after_id": after.reservation_id}
    with connection.cursor() as cursor:
        cursor.execute(_EXPIRE_OLDEST, values)
        row = cursor.fetchone()
    if not row:
        return None
    lapsed, canceled, *end = row
    return ExpiredBatch(lapsed, canceled, BatchEnd(*end))
