"""Measure reads: the lists, a ZIP, and what remains of loans."""

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

from tests.bench import imports, rows
from tests.bench.figures import Figure, figure, in_turn
from tests.bench.http_load import load, request
from tests.bench.posts import expecting
from tests.bench.servers import Databases, manage

SECONDS = 0.7
CLIENTS = 8
CALLS = 300


def lists(databases: Databases) -> Iterator[Figure]:
    for path, bare in (("loans/", "/loans"), ("reservations/", "/reservations")):
        ours = request("GET", f"/api/v1/{path}?page_size=100", token=rows.TOKEN.format(1))
        yield _gets(f"GET {path} / bare view with json", "100 rows", databases, ours, request("GET", bare), 0.4)


def zips(databases: Databases) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as name:
        for database, times in ((databases.tenth, 1), (databases.full, 10)):
            files = imports.make_files(Path(name), times)
            manage("import_cbsa", "--zips", files[0], "--metros", files[1], "--vintage", "bench", "--force", DATABASE_URL=database.url)
    ours = request("GET", f"/ziptocbsa/{imports.A_ZIP}")
    yield _gets("GET ziptocbsa/… / view of a constant", "one ZIP", databases, ours, request("GET", "/constant"), 0.6)
    ours = request("GET", f"/cbsa?search={imports.A_NAME}")
    yield _gets("GET cbsa?search=… / view of a constant", "eleven areas", databases, ours, request("GET", "/constant"), 0.1)


def _gets(work: str, amount: str, databases: Databases, our_request: bytes, bare_request: bytes, target: float) -> Figure:
    def get(port: int, what: bytes) -> float:
        return expecting(200, load(port, repeat(what), CLIENTS, SECONDS)).rate

    ours, baseline, tenth = in_turn(
        lambda: get(databases.full.site, our_request),
        lambda: get(databases.full.baselines, bare_request),
        lambda: get(databases.tenth.site, our_request),
    )
    return figure(work, amount, "1/s", ours, baseline, target, tenth=tenth)


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
