"""Measure reservations over HTTP: beside a bare view, beside a site as tutorials teach it, and by the size of the queue."""

import json
import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count

import psycopg

from tests.bench import rows
from tests.bench.figures import Figure, figure, in_turn
from tests.bench.http_load import Load, load, request
from tests.bench.reserve_service import CASES, CLIENTS, GROWTH_CLIENTS
from tests.bench.servers import Database, Databases

SECONDS = 0.7
JOINING = 150
# The neighbours do not count on the loan's row what they reserve.
RECOUNT = """
UPDATE loans_loan SET claimed = (
    SELECT sum(amount) FROM loans_reservation WHERE loan_id = loans_loan.id AND state IN ('reserved', 'pending')
) WHERE reference IN ('C-100', 'C-10000')
"""
LEAVE = """
UPDATE loans_waitinglistentry SET state = 'left', ended_at = now() WHERE state = 'waiting' AND number > 100;
UPDATE loans_loan SET waiting_entries = 100, waiting_dollars = 100000 WHERE reference = 'W-FULL'
"""


def figures(databases: Databases) -> Iterator[Figure]:
    full, small = databases.full, databases.tenth
    for kind, loans in CASES:
        for clients in CLIENTS:
            ours, bare, tutorial, *tenth = in_turn(
                partial(reserve, full, "B-{}", loans, clients),
                partial(_bare, full, loans, clients),
                partial(_tutorial, full, "B-{}", loans, clients),
                *([partial(reserve, small, "B-{}", loans, clients)] if clients == GROWTH_CLIENTS else []),
            )
            amount = f"{kind}, {clients} clients"
            growth = rates(tenth[0]) if tenth else None
            yield figure("POST reservations / bare view", amount, "1/s", rates(ours), rates(bare), 0.5, tenth=growth)
            yield figure("  its 99th percentile", amount, "ms", [x.p99 for x in ours], [x.p99 for x in bare], 3.0, at_most=True)
            yield figure(
                "  share of a core that the clients took", amount, "", [x.own_share for x in ours], [x.own_share for x in bare], None
            )
            yield figure("POST reservations / tutorial", amount, "1/s", rates(ours), rates(tutorial), 4.0)


def queues(databases: Databases) -> Iterator[Figure]:
    """Measure whether the number of live reservations on a loan matters."""
    few, *more = rows.SIZES
    *ours, tutorial = in_turn(
        *(partial(reserve, databases.full, f"C-{size}", 1, 8) for size in rows.SIZES), partial(_tutorial, databases.full, "C-10000", 1, 8)
    )
    by_size = dict(zip(rows.SIZES, map(rates, ours), strict=True))
    for size in more:
        yield figure("POST reservations / the same on 100 reservations", f"{size:,} reservations", "1/s", by_size[size], by_size[few], 0.85)
    yield figure("POST reservations / tutorial", "10,000 reservations", "1/s", by_size[10_000], rates(tutorial), 4.0)


def neighbours(databases: Databases) -> Iterator[Figure]:
    """Measure loans with few and many live reservations beside the sites of neighbours, and the tutorial's without our partial indexes.

    Then its sum reads all rows of the loan, by the index that a foreign key has.
    """
    full, small = databases.full, databases.tenth
    for size in (100, 10_000):
        loan = f"C-{size}"
        ours, tickets, stock = in_turn(
            partial(reserve, full, loan, 1, 8),
            partial(_tutorial, full, loan, 1, 8, "tickets"),
            partial(_tutorial, full, loan, 1, 8, "stock"),
            rounds=3,
        )
        yield figure("POST reservations / holds counted, a lock", f"{size:,} reservations", "1/s", rates(ours), rates(tickets), None)
        yield figure("POST reservations / stock rows, no lock", f"{size:,} reservations", "1/s", rates(ours), rates(stock), None)
    with _without_partial_indexes(small):
        ours, tutorial = in_turn(partial(reserve, full, "C-10000", 1, 8), partial(_tutorial, small, "C-10000", 1, 8), rounds=3)
    yield figure("POST reservations / tutorial's own index", "10,000 reservations", "1/s", rates(ours), rates(tutorial), None)
    full.execute(RECOUNT)


@contextmanager
def _without_partial_indexes(database: Database) -> Iterator[None]:
    with psycopg.connect(database.url, autocommit=True) as connection:
        indexes = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'loans_reservation' AND indexdef LIKE '% WHERE %'"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        yield
        for _, definition in indexes:
            connection.execute(definition)


def refusals(databases: Databases) -> Iterator[Figure]:
    """Measure refusals. They write nothing, except with an Idempotency-Key: then the refusal is stored, in a commit of its own."""
    for amount, keyed, target in (("a full loan", False, 1.0), ("with a key", True, None)):
        refused, accepted = in_turn(
            partial(reserve, databases.full, "FULL", 1, 8, expected=409, keyed=keyed),
            partial(reserve, databases.full, "B-1", 1, 8, keyed=keyed),
            rounds=3,
        )
        yield figure("POST reservations, a refusal / an acceptance", amount, "1/s", rates(refused), rates(accepted), target)


def joining(databases: Databases) -> Iterator[Figure]:
    """Measure joining the waiting list of a full loan on which a hundred wait, over HTTP."""
    ours, bare = in_turn(partial(_join, databases.full), partial(_bare_join, databases.full), rounds=3)
    yield figure("POST waiting-list / bare view", f"{JOINING} join, 8 clients", "1/s", rates(ours), rates(bare), None)


def rates(loads: list[Load]) -> list[float]:
    return [each.rate for each in loads]


def expecting(status: int, result: Load) -> Load:
    """Return the result; end the bench if any answer has another status."""
    if set(result.statuses) != {status}:
        raise SystemExit(f"Answers should have been {status}; they were {dict(result.statuses)}.")
    return result


def reserve(database: Database, reference: str, loans: int, clients: int, *, expected: int = 201, keyed: bool = True) -> Load:
    """Reserve on a random loan, each time as another investor and with a new Idempotency-Key."""
    run, body = secrets.token_hex(8), json.dumps({"amount": "1000.00"})
    requests = (
        request(
            "POST",
            f"/api/v1/loans/{reference.format(random.randint(1, loans))}/reservations/",
            token=rows.TOKEN.format(1 + number % rows.INVESTORS),
            key=f"{run}-{number}" if keyed else "",
            body=body,
        )
        for number in count()
    )
    return expecting(expected, load(database.site, requests, clients, SECONDS))


def _bare(database: Database, loans: int, clients: int) -> Load:
    body = json.dumps({"amount": "1000.00"})
    requests = (request("POST", f"/reserve/B-{random.randint(1, loans)}", body=body) for _ in count())
    return expecting(201, load(database.baselines, requests, clients, SECONDS))


def _tutorial(database: Database, reference: str, loans: int, clients: int, site: str = "tutorial") -> Load:
    requests = (
        request(
            "POST",
            f"/{site}/",
            token=rows.TOKEN.format(1 + number % rows.INVESTORS),
            body=json.dumps({"reference": reference.format(random.randint(1, loans)), "amount": "1000.00"}),
        )
        for number in count()
    )
    return expecting(201, load(database.baselines, requests, clients, SECONDS))


def _join(database: Database) -> Load:
    path, body = "/api/v1/loans/W-FULL/waiting-list/", json.dumps({"amount": "1000.00"})
    requests = [request("POST", path, token=rows.TOKEN.format(investor), body=body) for investor in range(1, JOINING + 1)]
    database.execute(LEAVE)
    return expecting(201, load(database.site, iter(requests), 8))


def _bare_join(database: Database) -> Load:
    bodies = [json.dumps({"amount": "1000.00", "investor": investor}) for investor in range(1, JOINING + 1)]
    database.execute(LEAVE)
    return expecting(201, load(database.baselines, (request("POST", "/join/W-FULL", body=body) for body in bodies), 8))
