"""Measure a crowd: a thousand investors who reserve on one loan at the same moment, beside half as many."""

import json
import secrets
import statistics
from collections.abc import Iterator
from itertools import count

import psycopg

from tests.bench import rows
from tests.bench.figures import ROUNDS, Figure, figure, in_turn
from tests.bench.http_load import Load, load, request
from tests.bench.servers import Databases

CROWD = 1_000
ALLOWED = {201, 409, 429}


def figures(databases: Databases) -> Iterator[Figure]:
    loans = count(1)
    crowd, half = in_turn(
        lambda: _reserve_at_once(databases, next(loans), CROWD), lambda: _reserve_at_once(databases, next(loans), CROWD // 2), rounds=ROUNDS
    )
    slowest = [max(each.latencies) * 1000 for each in crowd]
    usual = [statistics.median(each.latencies) * 1000 for each in half]
    yield figure("the slowest answer / the median at half", f"{CROWD:,} at once on a loan", "ms", slowest, usual, 10.0, at_most=True)


def _reserve_at_once(databases: Databases, number: int, crowd: int) -> Load:
    run = secrets.token_hex(8)
    body = json.dumps({"amount": "1000.00"})
    path = f"/api/v1/loans/O-{number}/reservations/"
    requests = [request("POST", path, rows.TOKEN.format(n), f"{run}-{n}", body) for n in range(1, crowd + 1)]
    result = load(databases.full.site, iter(requests), crowd)
    if not set(result.statuses) <= ALLOWED:
        raise SystemExit(f"Answers should have been among {ALLOWED}; they were {dict(result.statuses)}.")
    with psycopg.connect(databases.full.url) as connection:
        numbers = connection.execute(
            "SELECT number FROM loans_reservation WHERE loan_id = %s ORDER BY created_at, number", [rows.OPENING + number]
        ).fetchall()
    if [number for (number,) in numbers] != list(range(1, result.statuses[201] + 1)):
        raise SystemExit("The queue is not in order.")
    return result
