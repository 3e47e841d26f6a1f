"""Measure the jobs that expire and settle, beside one statement that writes the same rows.

No round has to be undone: each takes other reservations. Those to expire lapse on different days, and those to settle are made before.
"""

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import count

import psycopg

from tests.bench import rows
from tests.bench.figures import Figure, figure, in_turn
from tests.bench.servers import Database, Databases

EXPIRE = """
WITH canceled AS (
    UPDATE loans_reservation SET state = 'canceled', cause = 'expired', let_go_at = expires_at, expires_at = NULL WHERE expires_at <= %s
    RETURNING id, loan_id, amount
), released AS (
    UPDATE loans_loan SET claimed = claimed - freed.amount, version = version + 1
    FROM (SELECT loan_id, sum(amount) AS amount FROM canceled GROUP BY loan_id) AS freed WHERE loans_loan.id = freed.loan_id
)
INSERT INTO loans_transition (at, loan_id, reservation_id, event, from_state, to_state, amount, rule, actor, reason)
SELECT now(), loan_id, id, 'expired', 'reserved', 'canceled', amount, '', 'system', '' FROM canceled
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
    INSERT INTO loans_transfer (id, reservation_id, direction, method, reference, status, amount, moved, created_at)
    SELECT refund, id, 'refund', '', 'R-' || upper(left(replace(refund::text, '-', ''), 12)), 'due', amount - share, 0, now()
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
ROUNDS = 3
OVERSOLD = 3_000_000  # the ids of the loans to settle are above


def expiries(databases: Databases) -> Iterator[Figure]:
    _ready(databases)
    days = {database: _days_of_lapses(database) for database in (databases.full, databases.tenth)}
    hot: list[tuple[float, float]] = []

    def job(database: Database) -> float:
        at = next(days[database])
        return _timed(database, lambda: hot.append(database.call(_expire, at)), _LAPSED, at)

    def statement() -> float:
        at = next(days[databases.full])
        return _timed(databases.full, lambda: databases.full.execute(EXPIRE, at), _LAPSED, at)

    job(databases.full)  # the first one finds nothing in memory
    hot.clear()
    ours, bare, tenth = in_turn(
        lambda: job(databases.full), statement, lambda: job(databases.tenth), rounds=rows.LAPSE_DAYS // 2, warm_up=False
    )
    yield figure("expire_due / one statement for all", "100,000 of 1,000,000", "s", ours, bare, 2.0, at_most=True, tenth=tenth, times=10)
    yield figure("  share of HOT updates", "of its reservations", "", [a for a, _ in hot], [1.0] * len(hot), None)


def _days_of_lapses(database: Database) -> Iterator[datetime]:
    """Yield an instant of each day on which reservations lapse. Each tenth lapses within minutes, and so does none in between."""
    with psycopg.connect(database.url) as connection:
        first = connection.execute("SELECT min(expires_at) FROM loans_reservation WHERE loan_id < 1000000").fetchone()
    assert first
    return (first[0] + timedelta(days=number, hours=12) for number in count())


def settlements(databases: Databases) -> Iterator[Figure]:
    _ready(databases)
    first_ids = count(OVERSOLD, 1_000)

    def settle(database: Database, loans: int, work: Callable[[], object]) -> float:
        database.execute(rows.OVERSOLD.format(first=next(first_ids), loans=loans))
        database.execute("ANALYZE loans_reservation, loans_loan")  # or the plan of the one statement takes minutes
        return _timed(database, work, _WAITING)

    ours, one, tenth = in_turn(
        lambda: settle(databases.full, 1_000, lambda: databases.full.call(_settle)),
        lambda: settle(databases.full, 1_000, lambda: databases.full.execute(SETTLE)),
        lambda: settle(databases.tenth, 100, lambda: databases.tenth.call(_settle)),
        rounds=ROUNDS,
        warm_up=False,
    )
    yield figure("settle_due / one statement for all", "1,000 loans of 100", "s", ours, one, 2.0, at_most=True, tenth=tenth, times=10)


def _ready(databases: Databases) -> None:
    """Start the processes. A warm-up round would take too long, but no measured round should wait for a start."""
    databases.full.call(len, ())
    databases.tenth.call(len, ())


def _expire(at: datetime) -> tuple[int, int]:
    """Run the job; return how many updates of reservations were HOT, and how many there were."""
    from django.db import connection

    from loans.services.expiry import expire_due

    query = "SELECT pg_stat_force_next_flush(), n_tup_hot_upd, n_tup_upd FROM pg_stat_user_tables WHERE relname = 'loans_reservation'"
    with connection.cursor() as cursor:
        _, hot, updated = cursor.execute(query).fetchone()
        expire_due(at)
        cursor.execute("SELECT pg_stat_force_next_flush()")
        _, hot_now, updated_now = cursor.execute(query).fetchone()
    return hot_now - hot, updated_now - updated


def _settle() -> int:
    from loans.services.settlement import settle_due

    return settle_due()


_LAPSED = "SELECT count(*) FROM loans_reservation WHERE expires_at <= %s"
_WAITING = "SELECT count(*) FROM loans_reservation WHERE state = 'pending' AND expires_at IS NULL"


def _timed(database: Database, work: Callable[[], object], left: str, *values: object) -> float:
    """Return the seconds of the work, which must leave nothing to do."""
    database.execute("CHECKPOINT")
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    with psycopg.connect(database.url) as connection:
        row = connection.execute(left, values).fetchone()  # type: ignore[call-overload]
    if row != (0,):
        raise SystemExit(f"The work was left undone: {row}.")
    return seconds
