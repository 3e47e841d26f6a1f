"""What happens when everybody comes at once? A thousand investors on one loan at its opening, beside half as many."""

import json
import secrets
import statistics
from collections.abc import Iterator
from itertools import count

import psycopg

from tests.bench import rows
from tests.bench.loading import Load, load, request
from tests.bench.measuring import ROUNDS, Figure, figure, in_turn
from tests.bench.servers import Stage

CROWD = 1_000
ALLOWED = {201, 409, 429}


def figures(stage: Stage) -> Iterator[Figure]:
    numbers = count(1)
    crowd, half = in_turn(lambda: _open(stage, next(numbers), CROWD), lambda: _open(stage, next(numbers), CROWD // 2), rounds=ROUNDS)
    slowest = [max(each.latencies) * 1000 for each in crowd]
    usual = [statistics.median(each.latencies) * 1000 for each in half]
    yield figure("the slowest answer / the median at half", f"{CROWD:,} at once on a loan", "ms", slowest, usual, 10.0, at_most=True)


def _open(stage: Stage, number: int, crowd: int) -> Load:
    run = secrets.token_hex(8)
    body = json.dumps({"amount": "1000.00"})
    path = f"/api/v1/loans/O-{number}/reservations/"
    requests = [request("POST", path, rows.TOKEN.format(n), f"{run}-{n}", body) for n in range(1, crowd + 1)]
    done = load(stage.full.site, iter(requests), crowd)
    if not set(done.statuses) <= ALLOWED:
        raise SystemExit(f"Answers should have been among {ALLOWED}; they were {dict(done.statuses)}.")
    with psycopg.connect(stage.full.url) as connection:
        reservations = connection.execute(
            "SELECT number FROM loans_reservation WHERE loan_id = %s ORDER BY created_at, number", [rows.OPENING + number]
        ).fetchall()
    if [place for (place,) in reservations] != list(range(1, done.statuses[201] + 1)):
        raise SystemExit("The queue is not in order.")
    return done
