"""Measure the opening of a loan that 10,000 standing orders want, beside one statement that writes the same rows."""

import time
from collections.abc import Callable, Iterator
from itertools import count

import psycopg

from tests.bench import rows
from tests.bench.figures import Figure, figure, in_turn
from tests.bench.servers import Database, Databases

# line: the active orders, in their order. served: as many as the loan's share has room for; they move to the end of the line.
# Then the reservations, their history, and what each order got.
OPEN = """
WITH line AS MATERIALIZED (
    SELECT id, investor_id, place, row_number() OVER (ORDER BY place) AS number FROM loans_standingorder WHERE state = 'active'
), made AS (
    INSERT INTO loans_reservation (id, loan_id, investor_id, number, standing_order_id, amount, settled_amount, state, cause, created_at,
        expires_at, received, refunded, lost)
    SELECT gen_random_uuid(), %(loan)s, investor_id, number, id, 1000, 0, 'reserved', '', now(), now() + interval '1 day', 0, 0, 0
    FROM line WHERE number <= %(served)s
    RETURNING id, number, standing_order_id, expires_at
), history AS (
    INSERT INTO loans_transition (at, loan_id, reservation_id, event, from_state, to_state, amount, deadline, rule, facts, actor, reason)
    SELECT now(), %(loan)s, id, 'reserved', '', 'reserved', 1000, expires_at, '', jsonb_build_object('standing_order', standing_order_id),
        'system', '' FROM made ORDER BY number
), moved AS (
    UPDATE loans_standingorder AS moving SET place = last.place + number
    FROM made, (SELECT max(place) AS place FROM line) AS last WHERE moving.id = standing_order_id
), outcomes AS (
    INSERT INTO loans_standingordertransition (at, order_id, event, from_state, to_state, place, loan_id, amount, obstacle, actor)
    SELECT now(), id, CASE WHEN number <= %(served)s THEN 'placed' ELSE 'passed_over' END, 'active', 'active', place, %(loan)s,
        CASE WHEN number <= %(served)s THEN 1000 END, CASE WHEN number <= %(served)s THEN '' ELSE 'line' END, 'system'
    FROM line ORDER BY number
)
UPDATE loans_loan SET status = 'open', opens_at = now(), closes_at = now() + interval '21 days',
    claimed = %(served)s * 1000, last_number = %(served)s, version = version + 1 WHERE id = %(loan)s
"""


def figures(databases: Databases) -> Iterator[Figure]:
    full = databases.full
    full.call(len, ())  # start the process
    for name, served, first in (("2,500 of 10,000 served", rows.ORDERS // 4, 0), ("10,000 of 10,000 served", rows.ORDERS, 100)):
        drafts = count(rows.DRAFT + first + 1)
        ours, one = in_turn(_opening(full, drafts, served), _statement(full, drafts, served), rounds=3)
        yield figure("open_loan / one statement for all", name, "s", ours, one, None, at_most=True)


def _opening(database: Database, drafts: Iterator[int], served: int) -> Callable[[], float]:
    return lambda: database.call(open_draft, next(drafts), served)


def open_draft(draft: int, served: int) -> float:
    """Open the loan in a process of the bench, and return the seconds. Check how many orders it served."""
    from loans.domain.actors import SYSTEM
    from loans.services.loans import open_loan

    start = time.perf_counter()
    loan = open_loan(reference=f"D-{draft}", actor=SYSTEM)
    seconds = time.perf_counter() - start
    if loan.reservations.exclude(standing_order=None).count() != served:
        raise SystemExit(f"{served} orders should have been served.")
    return seconds


def _statement(database: Database, drafts: Iterator[int], served: int) -> Callable[[], float]:
    def run() -> float:
        with psycopg.connect(database.url, autocommit=True) as connection:
            start = time.perf_counter()
            connection.execute(OPEN, {"loan": next(drafts), "served": served})
            return time.perf_counter() - start

    return run
