"""Measure the service `reserve` beside one prepared statement that writes the same rows."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from uuid import uuid4

import psycopg

from tests.bench import rows, servers
from tests.bench.figures import Figure, figure, in_turn

SECONDS = 0.7
WARM_UP = 8  # calls of each client before it is measured, so that its statements are prepared
CASES = (("one hot loan", 1), ("1,000 loans", 1_000))
CLIENTS = (8, 32)
AMOUNT = Decimal("1000.00")


def figures(databases: servers.Databases) -> Iterator[Figure]:
    full, small = databases.full, databases.tenth
    for kind, loans in CASES:
        for clients in CLIENTS:
            ours, baseline, tenth = in_turn(
                partial(_rates, full, "service", loans, clients),
                partial(_rates, full, "statement", loans, clients),
                partial(_rates, small, "service", loans, clients),
            )
            yield figure("services.reserve / prepared statement", f"{kind}, {clients} clients", "1/s", ours, baseline, 0.6, tenth=tenth)


def _rates(database: servers.Database, kind: str, loans: int, clients: int) -> float:
    return sum(database.call_in_both(_rate, kind, loans, clients))


def _rate(kind: str, loans: int, clients: int) -> float:
    """Return the reservations per second of this process, which plays its share of the clients."""
    counts: list[int] = []
    ready = threading.Barrier(clients // servers.PROCESSES + 1)
    threads = [threading.Thread(target=_client, args=(kind, loans, ready, counts)) for _ in range(clients // servers.PROCESSES)]
    for thread in threads:
        thread.start()
    servers.together()
    ready.wait()
    for thread in threads:
        thread.join()
    return sum(counts) / SECONDS


def _client(kind: str, loans: int, ready: threading.Barrier, counts: list[int]) -> None:
    once, close = {"service": _by_service, "statement": _by_statement}[kind]()
    for _ in range(WARM_UP):
        once(f"B-{random.randint(1, loans)}")
    ready.wait()
    count, end = 0, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        once(f"B-{random.randint(1, loans)}")
        count += 1
    counts.append(count)
    close()


Way = tuple[Callable[[str], object], Callable[[], None]]


def _by_service() -> Way:
    from django.db import connections

    from loans.models import Investor
    from loans.services.reservations import reserve

    investors = [Investor(pk=number, user_id=number) for number in range(1, rows.INVESTORS + 1)]
    return lambda reference: reserve(reference=reference, investor=random.choice(investors), amount=AMOUNT), connections.close_all


def _by_statement() -> Way:
    from tests.bench.baselines import RESERVE

    connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, prepare_threshold=0)

    def once(reference: str) -> object:
        values = {"id": uuid4(), "reference": reference, "amount": AMOUNT, "investor_id": random.randint(1, rows.INVESTORS)}
        return connection.execute(RESERVE, values).fetchone()

    return once, connection.close
