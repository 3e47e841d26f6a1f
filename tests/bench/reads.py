"""Measure reads: lists, pages, the event feed, outlooks, a ZIP, and what remains of loans."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from tests.bench import imports, rows
from tests.bench.figures import Figure, figure, in_turn
from tests.bench.http_load import load, request
from tests.bench.posts import expecting
from tests.bench.servers import Database, Databases, manage

SECONDS = 0.7
CLIENTS = 8
CALLS = 300
OUTLOOKS = 50


def lists(databases: Databases) -> Iterator[Figure]:
    for path, bare, target in (("loans/", "/loans", 0.45), ("reservations/", "/reservations", 0.3)):
        ours = request("GET", f"/api/v1/{path}?page_size=100", token=rows.TOKEN.format(1))
        yield _gets(f"GET {path} / bare view with json", "100 rows", databases, ours, request("GET", bare), target)


def events(databases: Databases) -> Iterator[Figure]:
    """Measure the first page of the feed of an investor with a thousand reservations, four hundred of them canceled."""
    ours = request("GET", "/api/v1/events/?page_size=100", token=rows.TOKEN.format(1))
    ours_rates, bare = in_turn(
        lambda: _rate(databases.full.site, ours), lambda: _rate(databases.full.baselines, request("GET", "/events")), rounds=3
    )
    yield figure("GET events/ / bare view with json", "100 events", "1/s", ours_rates, bare, None)


def outlooks(databases: Databases) -> Iterator[Figure]:
    """Measure the outlook of one reservation in a long queue beside one in a short queue. None is remembered."""
    long, short = in_turn(lambda: _outlooks(databases.full, 1_000), lambda: _outlooks(databases.full, 100), rounds=3)
    yield figure("GET outlook/ / the same among 100", "1,000 in the queue", "ms", long, short, 10.0, at_most=True)


def _outlooks(database: Database, size: int) -> float:
    """Return the median milliseconds of the outlooks of some reservations of the loan, each asked for once."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("UPDATE loans_loan SET version = version + 1 WHERE reference = %s", [f"C-{size}"])
        reservations = connection.execute(
            "SELECT id, investor_id FROM loans_reservation WHERE loan_id = (SELECT id FROM loans_loan WHERE reference = %s)"
            " ORDER BY random() LIMIT %s",
            [f"C-{size}", OUTLOOKS],
        ).fetchall()
    requests = (
        request("GET", f"/api/v1/reservations/{reservation}/outlook/", token=rows.TOKEN.format(investor))
        for reservation, investor in reservations
    )
    return expecting(200, load(database.site, requests, 1)).median


def pages(databases: Databases) -> Iterator[Figure]:
    """Measure the market and the start page of the staff, one request after the other.

    The market sorts all open loans. Of the start page, Redis keeps the figures of former days.
    """
    sessions = {database: f"sessionid={database.call(_log_in)}" for database in (databases.full, databases.tenth)}
    for name, path, target in (("GET / (the market)", "/", 2.0), ("GET admin/ (the start page of the staff)", "/admin/", 1.3)):

        def page(database: Database, path: str = path) -> float:
            get = request("GET", path, cookie=sessions[database] if path != "/" else "")
            return expecting(200, load(database.site, repeat(get), 1, 2 * SECONDS)).median

        ours, tenth = in_turn(partial(page, databases.full), partial(page, databases.tenth), rounds=3)
        yield figure(f"{name} / at a tenth", "1,000,000 reservations", "ms", ours, tenth, target, at_most=True)


def _log_in() -> str:
    """Make an administrator, and return the key of a session."""
    from django.test import Client

    from loans.models import User

    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client.cookies["sessionid"].value


def zips(databases: Databases) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as name:
        for database, times in ((databases.tenth, 1), (databases.full, 10)):
            files = imports.make_files(Path(name), times)
            manage("import_cbsa", "--zips", files[0], "--metros", files[1], "--vintage", "bench", "--force", DATABASE_URL=database.url)
    ours = request("GET", f"/ziptocbsa/{imports.A_ZIP}")
    yield _gets("GET ziptocbsa/… / view of a constant", "one ZIP", databases, ours, request("GET", "/constant"), 0.5)
    ours = request("GET", f"/cbsa?search={imports.A_NAME}")
    yield _gets("GET cbsa?search=… / view of a constant", "eleven areas", databases, ours, request("GET", "/constant"), 0.1)


def _gets(work: str, amount: str, databases: Databases, our_request: bytes, bare_request: bytes, target: float) -> Figure:
    ours, baseline, tenth = in_turn(
        lambda: _rate(databases.full.site, our_request),
        lambda: _rate(databases.full.baselines, bare_request),
        lambda: _rate(databases.tenth.site, our_request),
        rounds=3,
    )
    return figure(work, amount, "1/s", ours, baseline, target, tenth=tenth)


def _rate(port: int, what: bytes) -> float:
    return expecting(200, load(port, repeat(what), CLIENTS, SECONDS)).rate


def remaining(databases: Databases) -> Iterator[Figure]:
    databases.full.call(_publish)
    for number in (1, 100):
        ours, redis, tenth = in_turn(
            partial(databases.full.call, _read_remaining, number),
            partial(databases.full.call, _by_redis, number),
            partial(databases.full.call, _read_remaining, number // 10 or 1),
        )
        growth = {"tenth": tenth, "times": 10} if number > 1 else {}
        yield figure("remaining / redis-py GET or MGET", f"{number} loans", "µs", ours, redis, 2.0, at_most=True, **growth)


class _Loan(NamedTuple):
    """The columns of a loan that the list reads."""

    pk: int
    remaining: Decimal = Decimal(1_000_000)
    version: int = 1


def _loans(number: int) -> list[Any]:
    return [_Loan(pk) for pk in range(1, number + 1)]


def _publish() -> None:
    from loans import remaining_cache

    for loan in _loans(100):
        remaining_cache.publish({loan.pk: remaining_cache.Remaining(Decimal(999_000), datetime.now(UTC), 2)})


def _read_remaining(number: int) -> float:
    from loans import remaining_cache

    loans, now = _loans(number), datetime.now(UTC)
    return _microseconds(lambda: remaining_cache.read(loans, now))


def _by_redis(number: int) -> float:
    import redis
    from django.core.cache import cache

    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    keys = [cache.make_key(f"remaining:{pk}") for pk in range(1, number + 1)]
    return _microseconds(lambda: client.get(keys[0]) if number == 1 else client.mget(keys))


def _microseconds(call: Callable[[], object]) -> float:
    call()
    start = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - start) / CALLS * 1e6
