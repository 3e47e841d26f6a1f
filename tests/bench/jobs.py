"""Measure the jobs that expire and settle, beside one statement that writes the same rows."""

import time
from collections.abc import Callable, Iterator

import psycopg

from tests.bench.figures import Figure, figure, in_turn
from tests.bench.servers import Database, Databases

EXPIRE = """
WITH canceled AS (
    UPDATE loans_reservation SET state = 'canceled', cause = 'expired', let_go_at = expires_at, expires_at = NULL WHERE expires_at <= now()
    RETURNING id, loan_id, amount
)
INSERT INTO loans_transition (at, loan_id, reservation_id, event, from_state, to_state, amount, rule, actor, reason)
SELECT now(), loan_id, id, 'expired', 'reserved', 'canceled', amount, '', 'system', '' FROM canceled
"""
UNDO_EXPIRE = """
UPDATE loans_reservation SET state = 'reserved', cause = '', let_go_at = NULL, expires_at = due.expires_at FROM bench_due AS due
    WHERE due.id = loans_reservation.id;
UPDATE loans_loan SET claimed = bench_loan.claimed FROM bench_loan
    WHERE loans_loan.id = bench_loan.id AND loans_loan.id IN (SELECT loan_id FROM bench_due)
"""

# queue: what each funded reservation gets under fifo, by window functions. moved: the reservations, settled or canceled. refunds: of
# what they did not get. history: of the reservations, the refunds and the loans. Then the loans, with their sums from moved.
SETTLE = """
WITH queue AS (
    SELECT reservation.id, loan_id, reservation.amount,
        GREATEST(0, LEAST(reservation.amount, loan.amount - settled - sum(reservation.amount) OVER in_order + reservation.amount)) AS share
    FROM loans_reservation reservation JOIN loans_loan loan ON loan.id = loan_id
    WHERE reservation.state = 'pending' AND expires_at IS NULL
    WINDOW in_order AS (PARTITION BY loan_id ORDER BY number)
), moved AS (
    UPDATE loans_reservation AS reservation
    SET state = CASE WHEN share > 0 THEN 'settled' ELSE 'canceled' END, cause = CASE WHEN share > 0 THEN '' ELSE 'loan_funded' END,
        settled_amount = share, funded_at = CASE WHEN share > 0 THEN funded_at END, refunded = reservation.amount - share
    FROM queue WHERE reservation.id = queue.id
    RETURNING reservation.id, reservation.loan_id, reservation.amount, reservation.state, share
), refunds AS (
    INSERT INTO loans_transfer (id, reservation_id, direction, method, reference, payment_number, status, amount, created_at)
    SELECT refund, id, 'refund', '', 'R-' || upper(left(replace(refund::text, '-', ''), 12)), 1, 'due', amount - share, now()
    FROM (SELECT gen_random_uuid() AS refund, * FROM moved WHERE share < amount) AS owing
    RETURNING id, reservation_id, amount
), history AS (
    INSERT INTO loans_transition (at, loan_id, reservation_id, transfer_id, event, from_state, to_state, amount, rule, actor, reason)
    SELECT now(), loan_id, id, NULL::uuid, CASE WHEN share > 0 THEN 'settled' ELSE 'loan_funded' END, 'pending', state, amount,
        CASE WHEN share > 0 THEN 'fifo' ELSE '' END, 'system', '' FROM moved
    UNION ALL
    SELECT now(), loan_id, reservation_id, refunds.id, 'due', '', 'due', refunds.amount, '', 'system', ''
    FROM refunds JOIN moved ON moved.id = reservation_id
    UNION ALL
    SELECT DISTINCT now(), loan_id, NULL::uuid, NULL::uuid, 'funded', 'open', 'funded', 0, '', 'system', '' FROM moved
)
UPDATE loans_loan SET status = 'funded', settled = settled + total, claimed = claimed - asked, version = version + 1
FROM (SELECT loan_id, sum(share) AS total, sum(amount) AS asked FROM moved GROUP BY loan_id) AS sums WHERE loans_loan.id = loan_id
"""
UNDO_SETTLE = """
UPDATE loans_reservation SET state = 'pending', cause = '', settled_amount = 0, funded_at = now(), refunded = 0 WHERE loan_id > 3000000
    AND loan_id < 4000000;
UPDATE loans_loan SET status = 'open', settled = 0, claimed = bench_loan.claimed FROM bench_loan
    WHERE loans_loan.id = bench_loan.id AND loans_loan.id > 3000000 AND loans_loan.id < 4000000
"""
EMPTY_HISTORY = """
ALTER TABLE loans_transition DISABLE TRIGGER append_only;
TRUNCATE loans_transition, loans_transfer CASCADE;
ALTER TABLE loans_transition ENABLE TRIGGER append_only
"""


def expiries(databases: Databases) -> Iterator[Figure]:
    _ready(databases)
    for database in (databases.full, databases.tenth):
        _undo(database, UNDO_EXPIRE)  # an import that changes a loan's market also sweeps its lapsed reservations
    due = "SELECT count(*) FROM loans_reservation WHERE expires_at <= now()"
    hot: list[tuple[float, float]] = []

    def job(database: Database) -> Callable[[], float]:
        return lambda: _timed(database, lambda: hot.append(database.call(_expire)), due, UNDO_EXPIRE)

    ours, bare, tenth = in_turn(
        job(databases.full), lambda: _statement(databases.full, EXPIRE, due, UNDO_EXPIRE), job(databases.tenth), warm_up=False
    )
    yield figure("expire_due / bare UPDATE and INSERT", "100,000 of 1,000,000", "s", ours, bare, 2.0, at_most=True, tenth=tenth, times=10)
    yield figure("  share of HOT updates", "of its reservations", "", [a for a, _ in hot], [1.0] * len(hot), None)


def settlements(databases: Databases) -> Iterator[Figure]:
    _ready(databases)
    waiting = "SELECT count(*) FROM loans_reservation WHERE state = 'pending' AND expires_at IS NULL"

    def job(database: Database) -> Callable[[], float]:
        return lambda: _timed(database, lambda: database.call(_settle), waiting, UNDO_SETTLE)

    ours, one, tenth = in_turn(
        job(databases.full), lambda: _statement(databases.full, SETTLE, waiting, UNDO_SETTLE), job(databases.tenth), warm_up=False
    )
    yield figure("settle_due / one statement for all", "1,000 loans of 100", "s", ours, one, 4.0, at_most=True, tenth=tenth, times=10)


def _ready(databases: Databases) -> None:
    """Start the processes. A warm-up round would take too long, but no measured round should wait for a start."""
    databases.full.call(len, ())
    databases.tenth.call(len, ())


def _expire() -> tuple[int, int]:
    """Run the job; return how many updates of reservations were HOT, and how many there were."""
    from django.db import connection

    from loans.services.expiry import expire_due

    query = "SELECT pg_stat_force_next_flush(), n_tup_hot_upd, n_tup_upd FROM pg_stat_user_tables WHERE relname = 'loans_reservation'"
    with connection.cursor() as cursor:
        _, hot, updated = cursor.execute(query).fetchone()
        expire_due()
        cursor.execute("SELECT pg_stat_force_next_flush()")
        _, hot_now, updated_now = cursor.execute(query).fetchone()
    return hot_now - hot, updated_now - updated


def _settle() -> int:
    from loans.services.settlement import settle_due

    return settle_due()


def _statement(database: Database, statement: str, left_query: str, undo: str) -> float:
    with psycopg.connect(database.url, autocommit=True) as connection:
        return _timed(database, lambda: connection.execute(statement), left_query, undo)


def _timed(database: Database, work: Callable[[], object], left_query: str, undo: str) -> float:
    """Return the seconds of the work, which must leave nothing to do; then undo it."""
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    with psycopg.connect(database.url, autocommit=True) as connection:
        count = connection.execute(left_query).fetchone()
        if count != (0,):
            raise SystemExit(f"The work was left undone: {count}.")
    _undo(database, undo)
    return seconds


def _undo(database: Database, statements: str) -> None:
    database.execute(EMPTY_HISTORY, statements, "VACUUM ANALYZE loans_reservation, loans_loan", "CHECKPOINT")
