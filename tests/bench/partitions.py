"""`python -m tests.bench.partitions --rows 6000000`: try history in one table and in one partition for each month, beside each other.

Both tables have the columns, checks and indexes of history, and the same rows, spread over two years. The partitioned one has the month
in its primary key, as PostgreSQL demands. Neither has triggers or foreign keys. The database is dropped at the end.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from urllib.parse import urlsplit

import psycopg

from peerloans.devserver import embedded
from tests.bench.servers import manage

DATABASE = "peerloans_partitions"
MONTHS = 24
ROWS_OF_A_LOAN = 1_200  # two hundred reservations, each with six rows
TIMES = 5
TABLES = ("flat", "monthly")

# A reservation has six rows, an hour apart. {step} is the time between two rows of the whole table.
FILL = """
    INSERT INTO {table} (id, at, loan_id, reservation_id, event, from_state, to_state, amount, rule, actor, user_id, reason, txid)
    SELECT n, '2025-01-01Z'::timestamptz + n * interval '{step} s', n / {rows_of_a_loan},
        md5((n / 6)::text)::uuid, CASE n % 6 WHEN 0 THEN 'reserved' WHEN 5 THEN 'settled' ELSE 'cleared' END, 'reserved', 'pending', 1000,
        '', 'system', 1, '', n::text::xid8
    FROM generate_series({first}, {last}) n
"""
INSERT = """
    INSERT INTO {table} (id, at, loan_id, reservation_id, event, from_state, to_state, amount, rule, actor, user_id, reason)
    VALUES (%s, '2026-12-31Z', %s, gen_random_uuid(), 'reserved', '', 'reserved', 1000, '', 'system', 1, '')
"""


def make(connection: psycopg.Connection, rows: int) -> None:
    """Make both tables. Each gets its indexes after its rows."""
    months = [f"{2025 + number // 12}-{number % 12 + 1:02}-01" for number in range(MONTHS + 1)]
    definitions = connection.execute(
        "SELECT indexdef FROM pg_indexes WHERE tablename = 'loans_transition' AND indexname NOT LIKE '%_pkey'"
    ).fetchall()
    columns = "LIKE loans_transition INCLUDING DEFAULTS INCLUDING CONSTRAINTS"
    connection.execute(f"CREATE TABLE flat ({columns}, PRIMARY KEY (id))")
    connection.execute(f"CREATE TABLE monthly ({columns}, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)")
    for number, (start, end) in enumerate(pairwise(months)):
        connection.execute(f"CREATE TABLE monthly_{number} PARTITION OF monthly FOR VALUES FROM ('{start}Z') TO ('{end}Z')")
    step = 729 * 86_400 / rows
    for table in TABLES:
        start_seconds = time.perf_counter()
        connection.execute(FILL.format(table=table, step=step, rows_of_a_loan=ROWS_OF_A_LOAN, first=1, last=rows))
        for (definition,) in definitions:
            name = definition.split()[2]
            connection.execute(definition.replace(f" {name} ", f" {name}_{table} ").replace("public.loans_transition", table))
        say(f"{table}: {rows:,} rows with their indexes in {time.perf_counter() - start_seconds:.0f} s")
    connection.execute("VACUUM ANALYZE flat, monthly")
    connection.execute("CHECKPOINT")


def compare(connection: psycopg.Connection, rows: int) -> None:
    """Time the same work on both tables, in turn."""
    next_ids = iter(range(rows + 1, 10 * rows))

    def insert(table: str) -> None:
        with connection.transaction():
            for _ in range(1_000):
                connection.execute(INSERT.format(table=table), [next(next_ids), 1])

    def read(sql: str) -> Callable[[str], None]:
        return lambda table: [connection.execute(sql.format(table=table)).fetchall() for _ in range(20)] and None

    old_loan, middle = rows // ROWS_OF_A_LOAN // 8, rows // 2
    work: dict[str, Callable[[str], None]] = {
        "insert 1,000 rows, one statement each": insert,
        "20 × the history of a loan, for a replay": read(f"SELECT * FROM {{table}} WHERE loan_id = {old_loan} ORDER BY id"),
        "20 × the history of a reservation": read(
            f"SELECT * FROM {{table}} WHERE reservation_id = md5('{middle // 6}')::uuid ORDER BY txid, id"
        ),
        "20 × the next 1,000 for the fan-out": read(
            f"SELECT * FROM {{table}} WHERE (txid, id) > ('{rows - 5_000}'::xid8, {rows - 5_000}) ORDER BY txid, id LIMIT 1000"
        ),
        "20 × the next 1,000, with a bound on the time": read(
            f"SELECT * FROM {{table}} WHERE (txid, id) > ('{rows - 5_000}'::xid8, {rows - 5_000}) AND at > '2026-11-01Z'"
            " ORDER BY txid, id LIMIT 1000"
        ),
        "sums of the last two weeks": read("SELECT event, count(*), sum(amount) FROM {table} WHERE at > '2026-12-17Z' GROUP BY event"),
    }
    for name, way in work.items():
        seconds: dict[str, list[float]] = {table: [] for table in TABLES}
        for number in range(TIMES + 1):
            for table in TABLES if number % 2 else reversed(TABLES):
                start = time.perf_counter()
                way(table)
                seconds[table].append(time.perf_counter() - start)
        flat, monthly = (statistics.median(seconds[table][1:]) * 1000 for table in TABLES)
        say(f"{name:<50} flat {flat:8.1f} ms   monthly {monthly:8.1f} ms   ratio {monthly / flat:.2f}")


def remove_a_month(connection: psycopg.Connection) -> None:
    """Time how the oldest month goes: deleted and vacuumed, or detached."""
    for table, statements in {
        "flat": ("DELETE FROM flat WHERE at < '2025-02-01Z'", "VACUUM flat"),
        "monthly": ("ALTER TABLE monthly DETACH PARTITION monthly_0 CONCURRENTLY", "DROP TABLE monthly_0"),
    }.items():
        for statement in statements:
            start = time.perf_counter()
            connection.execute(statement)
            say(f"{table}: {statement}: {time.perf_counter() - start:.2f} s")


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.partitions", description=__doc__)
    parser.add_argument("--rows", type=int, default=6_000_000)
    options = parser.parse_args()
    os.environ |= {"DEBUG": "1", "DJANGO_SETTINGS_MODULE": "tests.settings"}
    with embedded.running():
        server_url = embedded.database_url()
        url = os.environ["DATABASE_URL"] = urlsplit(server_url)._replace(path=f"/{DATABASE}").geturl()
        with psycopg.connect(server_url, autocommit=True) as server:
            server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
            server.execute(f"CREATE DATABASE {DATABASE}")
            try:
                manage("migrate", "--verbosity", "0")
                with psycopg.connect(url, autocommit=True) as connection:
                    make(connection, options.rows)
                    compare(connection, options.rows)
                    remove_a_month(connection)
            finally:
                server.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


if __name__ == "__main__":
    main()
