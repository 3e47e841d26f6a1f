"""Measure a crowd: a thousand investors who reserve on one loan at the same moment, beside half as many.

The second figure is of a crowd that comes while the loan opens, which serves 250 of 10,000 standing orders first.
"""

import json
import secrets
import statistics
import threading
import time
from collections.abc import Iterator
from itertools import count

import psycopg

from tests.bench import rows
from tests.bench.figures import Figure, figure, in_turn
from tests.bench.http_load import Load, load, request
from tests.bench.openings import open_draft
from tests.bench.servers import Databases

CROWD = 1_000
ALLOWED = {201, 409, 429}
HEAD_START_SECONDS = 0.05  # of the opening, so that the crowd finds it under way


def figures(databases: Databases) -> Iterator[Figure]:
    loans, upcoming = count(1), count(rows.DRAFT + 201)
    databases.full.call(len, ())  # start the process that opens loans
    crowd, half, at_opening = in_turn(
        lambda: _reserve_at_once(databases, f"O-{next(loans)}", CROWD),
        lambda: _reserve_at_once(databases, f"O-{next(loans)}", CROWD // 2),
        lambda: _come_at_the_opening(databases, next(upcoming)),
        rounds=3,
    )
    usual = [statistics.median(each.latencies) * 1000 for each in half]
    for name, loads in ((f"{CROWD:,} at once on a loan", crowd), (f"{CROWD:,} at an opening", at_opening)):
        slowest = [max(each.latencies) * 1000 for each in loads]
        yield figure("the slowest answer / the median at half", name, "ms", slowest, usual, 10.0, at_most=True)


def _come_at_the_opening(databases: Databases, draft: int) -> Load:
    opening = threading.Thread(target=databases.full.call, args=(open_draft, draft, 250))
    opening.start()
    time.sleep(HEAD_START_SECONDS)
    result = _reserve_at_once(databases, f"D-{draft}", CROWD)
    opening.join()
    return result


def _reserve_at_once(databases: Databases, reference: str, crowd: int) -> Load:
    run = secrets.token_hex(8)
    body = json.dumps({"amount": "1000.00"})
    path = f"/api/v1/loans/{reference}/reservations/"
    requests = [request("POST", path, rows.TOKEN.format(n), f"{run}-{n}", body) for n in range(1, crowd + 1)]
    result = load(databases.full.site, iter(requests), crowd)
    if not set(result.statuses) <= ALLOWED:
        raise SystemExit(f"Answers should have been among {ALLOWED}; they were {dict(result.statuses)}.")
    with psycopg.connect(databases.full.url) as connection:
        numbers = connection.execute(
            "SELECT reservation.number, standing_order_id IS NULL FROM loans_reservation AS reservation"
            " JOIN loans_loan AS loan ON loan.id = loan_id WHERE reference = %s ORDER BY reservation.created_at, reservation.number",
            [reference],
        ).fetchall()
    if [number for number, _ in numbers] != list(range(1, len(numbers) + 1)):
        raise SystemExit("The queue is not in order.")
    if sum(is_of_crowd for _, is_of_crowd in numbers) != result.statuses[201]:
        raise SystemExit("Somebody was answered what is not there.")
    return result
