"""Measure the service `reserve` beside one prepared statement that writes the same rows."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from itertools import count

import psycopg

from tests.bench import rows, servers
from tests.bench.figures import Figure, figure, in_turn

SECONDS = 0.7
WARM_UP = 8  # calls of each client before it is measured, so that its statements are prepared
CASES = (("one hot loan", 1), ("1,000 loans", 1_000))
CLIENTS = (8, 32)
GROWTH_CLIENTS = 8  # whose growth is measured as well
AMOUNT = Decimal("1000.00")


def figures(databases: servers.Databases) -> Iterator[Figure]:
    full, small = databases.full, databases.tenth
    for kind, loans in CASES:
        for clients in CLIENTS:
            ours, baseline, *tenth = in_turn(
                partial(_rates, full, "service", loans, clients),
                partial(_rates, full, "statement", loans, clients),
                *([partial(_rates, small, "service", loans, clients)] if clients == GROWTH_CLIENTS else []),
            )
            amount = f"{kind}, {clients} clients"
            yield figure("services.reserve / prepared statement", amount, "1/s", ours, baseline, 0.5, tenth=tenth[0] if tenth else None)


def waiting_lists(databases: servers.Databases) -> Iterator[Figure]:
    """Measure a reservation of a loan with a waiting list beside one without, and joining a list beside reserving."""
    full = databases.full
    amount = "one hot loan, 8 clients"
    with_list, without = in_turn(partial(_rates, full, "behind a list", 1, 8), partial(_rates, full, "service", 1, 8), rounds=3)
    yield figure("services.reserve with / without a waiting list", amount, "1/s", with_list, without, None)
    join, reserve = in_turn(partial(_rates, full, "join and leave", 1, 8), partial(_rates, full, "reserve and cancel", 1, 8), rounds=3)
    yield figure("join a list and leave / reserve and cancel", amount, "1/s", join, reserve, None)


def _rates(database: servers.Database, kind: str, loans: int, clients: int) -> float:
    return sum(database.call_in_both(_rate, kind, loans, clients))


def _rate(kind: str, loans: int, clients: int) -> float:
    """Return the reservations per second of this process, which plays its share of the clients."""
    global _turns
    _turns = count(servers.together() * rows.INVESTORS // servers.PROCESSES)
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
    once, close = WAYS[kind]()
    for _ in range(WARM_UP):
        once(f"B-{random.randint(1, loans)}")
    ready.wait()
    count, end = 0, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        once(f"B-{random.randint(1, loans)}")
        count += 1
    counts.append(count)
    close()


_turns = count()


def _next_investor() -> int:
    """Return the number of the investor whose turn it is. Chosen at random, one investor would often reserve twice at once."""
    return next(_turns) % rows.INVESTORS


Way = tuple[Callable[[str], object], Callable[[], None]]


def _by_service() -> Way:
    from django.db import connections

    from loans.models import Investor
    from loans.services.reservations import reserve

    investors = [Investor(pk=number, user_id=number) for number in range(1, rows.INVESTORS + 1)]
    return lambda reference: reserve(reference=reference, investor=investors[_next_investor()], amount=AMOUNT), connections.close_all


def _by_statement() -> Way:
    from loans.models.fields import uuid7
    from tests.bench.baselines import RESERVE

    connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, prepare_threshold=0)

    def once(reference: str) -> object:
        values = {"id": uuid7(), "reference": reference, "amount": AMOUNT, "investor_id": 1 + _next_investor()}
        return connection.execute(RESERVE, values).fetchone()

    return once, connection.close


def _behind_a_list() -> Way:
    reserve, close = _by_service()
    return lambda _: reserve("W-1"), close


def _join_and_leave() -> Way:
    from django.db import connections

    from loans.models import Investor
    from loans.services.waiting_list import join_waiting_list, leave_waiting_list

    # Each client has an investor of its own, who is not among those who wait already.
    investor = Investor.objects.get(pk=random.randint(1, rows.INVESTORS - 101))

    def once(_: str) -> None:
        entry = join_waiting_list(reference="W-FULL", investor=investor, amount=AMOUNT)
        leave_waiting_list(entry_id=entry.pk, investor=investor)

    return once, connections.close_all


def _reserve_and_cancel() -> Way:
    from loans.domain.actors import Actor
    from loans.models import Reservation
    from loans.services.reservations import cancel_reservation

    reserve, close = _by_service()

    def once(reference: str) -> None:
        reservation = reserve(reference)
        assert isinstance(reservation, Reservation)
        actor = Actor("investor", reservation.investor_id)
        cancel_reservation(reservation_id=reservation.pk, actor=actor, investor_id=reservation.investor_id)

    return once, close


WAYS = {
    "service": _by_service,
    "statement": _by_statement,
    "behind a list": _behind_a_list,
    "join and leave": _join_and_leave,
    "reserve and cancel": _reserve_and_cancel,
}
