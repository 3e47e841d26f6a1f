"""What does expiring cost? The job against the bare UPDATE and INSERT of the same rows."""

import time
from collections.abc import Callable, Iterator

import psycopg

from tests.bench.measuring import Comparison, Figure

LOANS, CLAIMS_EACH = 10_000, 100
DUE_EVERY = 10

MADE = f"""
INSERT INTO auth_user (id, password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)
    VALUES (1, '', false, 'bench', '', '', '', false, true, now());
INSERT INTO loans_investor (id, user_id, name) VALUES (1, 1, 'bench');
INSERT INTO loans_loan (id, reference, title, address, city, state, zip, market_cbsa, market_msa, annual_rate, term_months, ltv, amount,
        minimum, overbooking_rate, settlement_rule, status, opens_at, closes_at, settled, claimed, places, version)
    SELECT n, 'B-' || n, '', '', '', '', '', '', '', 8, 12, 60, 1000000, 1000, 0.2, 'fifo', 'open', now(), now() + interval '9 days',
        0, {CLAIMS_EACH} * 400, {CLAIMS_EACH}, 0
    FROM generate_series(1, {LOANS}) n;
-- Of ten claims one is due, three are live, six ended long ago; the due ones are spread over all pages.
INSERT INTO loans_reservation (id, loan_id, investor_id, place, amount, settled_amount, state, cause, created_at, expires_at,
        received, refunded, lost)
    SELECT gen_random_uuid(), 1 + n % {LOANS}, 1, 1 + n / {LOANS}, 1000, 0,
        CASE WHEN kind < 4 THEN 'reserved' ELSE 'canceled' END, CASE WHEN kind < 4 THEN '' ELSE 'canceled_by_investor' END, now(),
        CASE WHEN kind = 0 THEN now() - n * interval '1 ms' WHEN kind < 4 THEN now() + interval '1 day' END, 0, 0, 0
    FROM (SELECT n, n / {LOANS} % {DUE_EVERY} AS kind FROM generate_series(0, {LOANS * CLAIMS_EACH - 1}) n) AS numbered;
CREATE TABLE due AS SELECT id, expires_at FROM loans_reservation WHERE expires_at <= now();
"""

BARE = """
WITH canceled AS (
    UPDATE loans_reservation SET state = 'canceled', cause = 'expired', expires_at = NULL WHERE expires_at <= now()
    RETURNING id, loan_id, amount
)
INSERT INTO loans_transition (at, loan_id, reservation_id, event, from_state, to_state, amount, rule, actor, reason)
SELECT now(), loan_id, id, 'expired', 'reserved', 'canceled', amount, '', 'system', '' FROM canceled
"""

AGAIN = f"""
UPDATE loans_reservation SET state = 'reserved', cause = '', expires_at = due.expires_at FROM due WHERE due.id = loans_reservation.id;
UPDATE loans_loan SET claimed = {CLAIMS_EACH} * 400 WHERE claimed <> {CLAIMS_EACH} * 400;
ALTER TABLE loans_transition DISABLE TRIGGER append_only;
TRUNCATE loans_transition, loans_delivery;
ALTER TABLE loans_transition ENABLE TRIGGER append_only;
"""


def figures(url: str) -> Iterator[Figure]:
    from loans import expiring

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(MADE)
        _settle_down(connection)

        def job() -> float:
            return _timed(lambda: expiring.expire_due())

        def bare() -> float:
            return _timed(lambda: connection.execute(BARE))

        def _timed(work: Callable[[], object]) -> float:
            start = time.perf_counter()
            work()
            seconds = time.perf_counter() - start
            left = connection.execute("SELECT count(*) FROM loans_reservation WHERE expires_at <= now()").fetchone()
            assert left == (0,)
            connection.execute(AGAIN)
            _settle_down(connection)
            return seconds

        due = LOANS * CLAIMS_EACH // DUE_EVERY
        amount = f"{due:,} of {LOANS * CLAIMS_EACH:,}"
        yield Comparison("expire, in batches, with totals", amount, "s", job, bare, 2.0, at_most=True).measure()


def _settle_down(connection: psycopg.Connection) -> None:
    for table in ("loans_reservation", "loans_loan", "loans_transition"):
        connection.execute(f"VACUUM ANALYZE {table}")
    connection.execute("CHECKPOINT")
