"""`python -m tests.bench.back_office`: time the staff's start page on a million reservations with all their transfers and history.

The database is made anew and dropped at the end. For each state of the cache the script prints the page's time and its number of queries;
then each slow query with its plan. `--keep` leaves the database for a second run, which takes it as it is.
"""

import argparse
import json
import os
import statistics
import time
from typing import Any
from urllib.parse import urlsplit

import psycopg

from peerloans.devserver import embedded
from tests.bench.servers import manage

DATABASE = "peerloans_back_office"
RESERVATIONS, LOANS, INVESTORS = 1_000_000, 10_000, 10_000
SLOW_SECONDS = 0.005
TIMES = 7

# Reservations are spread over a year, 2,740 a day. Those of the last week are live: a quarter is funded and waits, a quarter ends tonight.
# Of the others 70 of 96 have settled, and the rest were canceled.
ROWS = f"""
SET session_replication_role = replica;
INSERT INTO loans_user (id, password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)
    SELECT n, '', false, 'investor-' || n, '', '', '', false, true, now() FROM generate_series(2, {INVESTORS} + 1) n;
INSERT INTO loans_investor (id, user_id, name, accredited_until, unfunded_limit, let_go_limit)
    SELECT id, id, username, '2099-12-31', 999999999999, 32767 FROM loans_user WHERE id > 1;

INSERT INTO loans_loan (id, reference, title, address, city, state, zip, market_cbsa, market_msa, annual_rate, term_months, ltv, amount,
    minimum, overbooking_rate, settlement_rule, status, opens_at, closes_at, settled, claimed, last_number, version)
    SELECT n, 'B-' || n, 'Four flats, B-' || n, '1 Ocean Drive', 'Manhattan Beach', 'CA', '90266', '31080',
        'Los Angeles-Long Beach-Anaheim, CA', 8, 24, 65, 1000000, 1000, 0.25, 'fifo', CASE WHEN n % 10 = 0 THEN 'open' ELSE 'funded' END,
        now() - n * interval '50 minutes', now() + (n - {LOANS} / 50) * interval '1 hour',
        CASE WHEN n % 10 = 0 THEN 700000 ELSE 1000000 END, CASE WHEN n % 10 = 0 THEN 20000 ELSE 0 END, 200, 200
    FROM generate_series(1, {LOANS}) n;

CREATE TEMP TABLE made AS
    SELECT n, gen_random_uuid() AS id, gen_random_uuid() AS transfer_id, gen_random_uuid() AS refund_id,
        CASE WHEN n > {RESERVATIONS} - 20000 THEN 10 * (1 + n % ({LOANS} / 10)) ELSE 1 + n % {LOANS} END AS loan_id,
        2 + n % {INVESTORS} AS investor_id, n AS number, 1000 + n % 9 * 500 AS amount,
        CASE WHEN n > {RESERVATIONS} - 20000 THEN n % 4 ELSE 4 + n % 96 END AS kind,
        now() - ({RESERVATIONS} - n) * interval '31.5 seconds' AS at
    FROM generate_series(1, {RESERVATIONS}) n;

INSERT INTO loans_reservation (id, loan_id, investor_id, number, amount, settled_amount, state, cause, created_at, expires_at,
        funded_at, let_go_at, received, refunded, lost)
    SELECT id, loan_id, investor_id, number, amount, CASE WHEN kind > 29 THEN amount ELSE 0 END,
        CASE WHEN kind > 29 THEN 'settled' WHEN kind > 3 THEN 'canceled' WHEN kind = 2 THEN 'reserved' ELSE 'pending' END,
        CASE WHEN kind BETWEEN 4 AND 29 THEN 'expired' ELSE '' END, at,
        CASE WHEN kind IN (0, 2) THEN now() + (1 + n % 72) * interval '1 hour' WHEN kind = 3
            THEN (date_trunc('day', now() AT TIME ZONE 'America/New_York') + interval '1 day') AT TIME ZONE 'America/New_York' END,
        CASE WHEN kind > 29 OR kind = 1 THEN at + interval '2 days' END, CASE WHEN kind BETWEEN 4 AND 29 THEN at + interval '1 day' END,
        CASE WHEN kind > 25 OR kind = 1 THEN amount ELSE 0 END, CASE WHEN kind BETWEEN 26 AND 29 THEN amount ELSE 0 END, 0
    FROM made;

INSERT INTO loans_transfer (id, reservation_id, direction, method, reference, status, amount, moved, created_at, cleared_at, ended_at)
    SELECT transfer_id, id, 'inbound', 'ach', 'T-' || lpad(to_hex(n), 12, '0'),
        CASE WHEN kind > 25 OR kind = 1 THEN 'cleared' ELSE 'initiated' END,
        amount, CASE WHEN kind > 25 OR kind = 1 THEN amount ELSE 0 END, at, CASE WHEN kind > 25 OR kind = 1 THEN at END, NULL
    FROM made WHERE kind <> 2;
INSERT INTO loans_transfer (id, reservation_id, direction, method, reference, status, amount, moved, created_at, cleared_at, ended_at)
    SELECT refund_id, id, 'refund', 'ach', 'R-' || lpad(to_hex(n), 12, '0'), CASE WHEN n % 1000 = 26 THEN 'due' ELSE 'paid' END,
        amount, CASE WHEN n % 1000 = 26 THEN 0 ELSE amount END, at, NULL, CASE WHEN n % 1000 = 26 THEN NULL ELSE at END
    FROM made WHERE kind BETWEEN 26 AND 29;

INSERT INTO loans_transition (at, loan_id, reservation_id, transfer_id, event, from_state, to_state, amount, rule, actor, reason)
    SELECT event_at, loan_id, id, step_transfer, event, from_state, to_state, amount, '', 'system', '' FROM (
        SELECT at AS event_at, loan_id, id, NULL::uuid AS step_transfer, 'reserved' AS event, '' AS from_state, 'reserved' AS to_state,
            amount FROM made
        UNION ALL SELECT at + interval '1 hour', loan_id, id, NULL, 'transfer_started', 'reserved', 'pending', amount FROM made
            WHERE kind <> 2
        UNION ALL SELECT at + interval '1 hour', loan_id, id, transfer_id, 'initiated', '', 'initiated', amount FROM made WHERE kind <> 2
        UNION ALL SELECT at + interval '2 days', loan_id, id, transfer_id, 'cleared', 'initiated', 'cleared', amount FROM made
            WHERE kind > 25
        UNION ALL SELECT at + interval '2 days', loan_id, id, NULL, 'funded', 'pending', 'pending', amount FROM made WHERE kind > 29
        UNION ALL SELECT at + interval '2 days', loan_id, id, NULL, 'settled', 'pending', 'settled', amount FROM made WHERE kind > 29
        UNION ALL SELECT at + interval '1 day', loan_id, id, NULL, 'expired', 'pending', 'canceled', amount FROM made
            WHERE kind BETWEEN 4 AND 29
    ) AS happened WHERE event_at <= now() ORDER BY event_at;

INSERT INTO loans_delivery (transition_id, reservation_id, status, attempts, created_at, next_attempt_at, ended_at, last_error)
    SELECT id, reservation_id, CASE WHEN id % 5000 = 0 THEN 'waiting' ELSE 'sent' END, 1, at, CASE WHEN id % 5000 = 0 THEN now() END,
        CASE WHEN id % 5000 > 0 THEN at END, '' FROM loans_transition WHERE event = 'reserved';
INSERT INTO loans_bankevent (id, type, source, reference, amount, occurred_at, recorded_at, outcome, transfer_id, number)
    SELECT 'evt-' || reference, 'transfer.cleared', 'notice', reference, amount, created_at, created_at, 'funded', id, 1
    FROM loans_transfer WHERE direction = 'inbound' AND status = 'cleared';
INSERT INTO loans_reviewitem (kind, loan_id, reservation_id, detail, opened_at, resolved_at)
    SELECT CASE WHEN n % 3 = 0 THEN 'late_money' ELSE 'amount_differs' END, loan_id, id, 'Found ' || n, at,
        CASE WHEN n < {RESERVATIONS} - 40000 THEN at END FROM made WHERE kind = 26;
"""


def make(url: str) -> None:
    """Make the rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(ROWS)  # type: ignore[arg-type]
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def measure() -> None:
    """Time the start page with an empty cache, and with what it keeps; print the slow queries with their plans."""
    import django

    django.setup()
    from django.core.cache import cache
    from django.db import connection
    from django.test import Client

    from loans.models import User

    boss = User.objects.filter(username="boss").first() or User.objects.create_superuser("boss", password="x")
    client = Client()
    client.force_login(boss)

    def seconds() -> float:
        start = time.perf_counter()
        assert client.get("/admin/").status_code == 200
        return time.perf_counter() - start

    def queries() -> list[dict[str, str]]:
        connection.force_debug_cursor = True
        seconds()
        connection.force_debug_cursor = False
        return list(connection.queries)  # of this request: Django forgets those of the one before

    seconds()
    cache.delete_pattern("*")
    cold_seconds = seconds()
    cache.delete_pattern("*")
    cold = queries()
    print(f"with nothing kept: {cold_seconds:.3f} s, {len(cold)} queries")  # noqa: T201
    warm = queries()
    times = [seconds() for _ in range(TIMES)]
    print(f"then: {statistics.median(times):.3f} s ({min(times):.3f} to {max(times):.3f}), {len(warm)} queries")  # noqa: T201
    for query in sorted(cold, key=lambda query: -float(query["time"])):
        if float(query["time"]) >= SLOW_SECONDS:
            print(f"\n{query['time']} s: {query['sql'][:300]}")  # noqa: T201
            _explain(connection, query["sql"])


def _explain(connection: Any, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
        plan = cursor.fetchone()[0]
        plan = json.loads(plan) if isinstance(plan, str) else plan
    _print_node(plan[0]["Plan"], 1)


def _print_node(node: dict[str, Any], depth: int) -> None:
    names = " ".join(str(node[key]) for key in ("Node Type", "Index Name", "Relation Name") if key in node)
    print(f"{'  ' * depth}{names}: {node['Actual Rows']:.0f} rows, {node['Actual Total Time']:.1f} ms")  # noqa: T201
    for below in node.get("Plans", []):
        _print_node(below, depth + 1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.back_office", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the database, and take the one that was left")
    options = parser.parse_args()
    os.environ |= {"DEBUG": "1", "DJANGO_SETTINGS_MODULE": "tests.settings"}
    with embedded.running():
        server_url = embedded.database_url()
        url = os.environ["DATABASE_URL"] = urlsplit(server_url)._replace(path=f"/{DATABASE}").geturl()
        with psycopg.connect(server_url, autocommit=True) as connection:
            there = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            try:
                if there is None:
                    connection.execute(f"CREATE DATABASE {DATABASE}")
                    manage("migrate", "--verbosity", "0")
                    make(url)
                measure()
            finally:
                if not options.keep:
                    connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


if __name__ == "__main__":
    main()
