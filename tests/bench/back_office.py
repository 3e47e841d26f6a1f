"""`python -m tests.bench.back_office`: time the pages of the back office on a million reservations, and at the demo's size.

The pages are the start page, each list as it stands and with each choice of its filters, searches, the newest row of each list, the rows
with the most that belongs to them, and what each staff action asks or shows before it is confirmed. The script prints the milliseconds
and the queries of each page as it is timed, then all of them, the slowest first, and each slow query with its plan.

The databases are made anew and dropped at the end. `--keep` leaves them for another run, which takes them as they are; `--only` times the
pages whose names contain this text.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import psycopg

from peerloans.devserver import embedded
from tests.bench.back_office_rows import ROWS
from tests.bench.servers import manage

DATABASE, DEMO = "peerloans_back_office", "peerloans_back_office_demo"
TARGET_MS = 200
SLOW_QUERY_SECONDS = 0.02
TIMES = 5
PATIENCE_SECONDS = 2.0  # a page that takes longer is timed once
SEARCHES = ("B-10", "b 10 #3", "T-0000000F", "investor-77", "INVESTOR-77", "nothing-like-this", "Four", "late_money")


@dataclass(frozen=True)
class Page:
    """A page by a name that is the same on all databases, and what asks for it."""

    name: str
    address: str
    posted: dict[str, Any] | None = None


@dataclass
class Timing:
    """What a page took. `plans` are its slow queries, each with its plan, where the page is over the target."""

    milliseconds: float
    queries: int
    plans: list[str] = field(default_factory=list)


def make_million(url: str) -> None:
    """Make the rows."""
    manage("migrate", "--verbosity", "0")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(ROWS)  # type: ignore[arg-type]
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def make_demo(url: str) -> None:
    """Play the demo."""
    manage("migrate", "--verbosity", "0")
    manage("seed_demo", DJANGO_SETTINGS_MODULE="peerloans.settings")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def time_pages(url: str, only: str) -> dict[str, Timing]:
    """Time the pages on a database, in a process of its own."""
    os.environ |= {"DATABASE_URL": url, "DEBUG": "1", "DJANGO_SETTINGS_MODULE": "tests.settings"}
    import django

    django.setup()
    from django.core.cache import cache
    from django.test import Client

    from loans.models import User
    from peerloans import urls  # noqa: F401  # registers all pages of the admin

    boss = User.objects.filter(username="bench-boss").first() or User.objects.create_superuser("bench-boss", password="x")
    client = Client()
    client.force_login(boss)
    timings = {}
    if only in (name := "start page, with nothing kept"):
        client.get("/admin/")
        cache.delete_pattern("*")
        timings[name] = _time(client, Page(name, "/admin/"), at_once=True)
    for page in [*_pages(boss)]:
        if only in page.name:
            timings[page.name] = timing = _time(client, page)
            print(f"{timing.milliseconds:6.0f} ms {timing.queries:4} queries  {page.name}", file=sys.stderr, flush=True)  # noqa: T201
    return timings


def _time(client: Any, page: Page, *, at_once: bool = False) -> Timing:
    from django.db import connection

    def seconds() -> float:
        start = time.perf_counter()
        response = client.get(page.address) if page.posted is None else client.post(page.address, page.posted)
        assert response.status_code in {200, 302}, (page, response.status_code)
        return time.perf_counter() - start

    first = seconds()
    taken = first if at_once or first > PATIENCE_SECONDS else statistics.median(seconds() for _ in range(TIMES))
    connection.force_debug_cursor = True
    seconds()
    connection.force_debug_cursor = False
    queries = list(connection.queries)  # of this request: Django forgets those of the one before
    timing = Timing(1000 * taken, len(queries))
    if timing.milliseconds > TARGET_MS:
        timing.plans = [_plan(query) for query in queries if float(query["time"]) >= SLOW_QUERY_SECONDS]
    return timing


def _pages(user: Any) -> Iterator[Page]:
    """Yield the pages, whatever rows the database has."""
    from django.contrib import admin

    yield Page("start page", "/admin/")
    yield Page("overbooking of the open loans", "/admin/loans/loan/overbooking/")
    for words in SEARCHES:
        yield Page(f"search of all: {words}", f"/admin/search/?{urlencode({'q': words})}")
    for model, model_admin in admin.site._registry.items():
        yield from _pages_of_list(user, model_admin, f"{model._meta.app_label}/{model._meta.model_name}")
    yield from _pages_of_rows()
    yield from _previews()


def _pages_of_list(user: Any, model_admin: Any, model: str) -> Iterator[Page]:
    from django.test import RequestFactory

    address = f"/admin/{model}/"
    yield Page(f"list {model}", address)
    yield Page(f"list {model}, its second page", f"{address}?p=2")
    request = RequestFactory().get(address)
    request.user = user
    changelist = model_admin.get_changelist_instance(request)
    for filter_ in changelist.filter_specs:
        for choice in filter_.choices(changelist):
            if not choice["selected"]:
                yield Page(f"list {model}, {filter_.title}: {choice['display']}", address + choice["query_string"])
    if changelist.search_fields:
        for words in SEARCHES:
            yield Page(f"list {model}, search: {words}", f"{address}?{urlencode({'q': words})}")
    sortable = model_admin.get_sortable_by(request)
    for position, name in enumerate(changelist.list_display):
        if name not in sortable or position in changelist.get_ordering_field_columns() or changelist.get_ordering_field(name) is None:
            continue
        yield Page(f"list {model}, by {getattr(name, '__name__', name)}", f"{address}?o={position}")
    row = model_admin.get_queryset(request).order_by(*changelist.get_ordering(request, changelist.root_queryset)).first()
    if row is not None:
        yield Page(f"page {model}, first of the list", f"{address}{row.pk}/change/")
        yield Page(f"page {model}, first of the list: its log", f"{address}{row.pk}/history/")
    if model_admin.has_add_permission(request):
        yield Page(f"page {model}, add", f"{address}add/")


def _pages_of_rows() -> Iterator[Page]:
    """Yield the pages of the rows with the most that belongs to them."""
    from django.db.models import Count

    from loans.domain.states import LIVE, LoanStatus
    from loans.models import Loan, Reservation

    live = Reservation.objects.filter(state__in=LIVE).order_by()
    crowded = live.values_list("loan").annotate(Count("pk")).order_by("-pk__count", "loan")[0][0]
    busiest = Reservation.objects.order_by().values_list("investor").annotate(Count("pk")).order_by("-pk__count", "investor")[0][0]
    funded = Loan.objects.filter(status=LoanStatus.FUNDED).values_list("pk", flat=True)[0]
    reservations = {
        "last of the longest queue": live.filter(loan=crowded).latest("number"),
        "settled": Reservation.objects.filter(loan=funded)[0],
    }
    yield Page("page loans/loan, with the longest queue", f"/admin/loans/loan/{crowded}/change/")
    yield Page("page loans/loan, with the longest queue: what if", f"/admin/loans/loan/{crowded}/what-if/")
    yield Page("page loans/loan, with the longest queue: public page", f"/loans/{Loan.objects.get(pk=crowded).reference}/")
    yield Page("page loans/loan, funded", f"/admin/loans/loan/{funded}/change/")
    yield Page("page loans/loan, funded: what if", f"/admin/loans/loan/{funded}/what-if/")
    yield Page("page loans/investor, with the most reservations", f"/admin/loans/investor/{busiest}/change/")
    for name, reservation in reservations.items():
        yield Page(f"page loans/reservation, {name}", f"/admin/loans/reservation/{reservation.pk}/change/")
    for model in ("reservation", "transfer", "delivery", "waitinglistentry", "standingorder", "webhookendpoint"):
        yield Page(f"list loans/{model}, of the investor with the most reservations", f"/admin/loans/{model}/?investor={busiest}")


def _previews() -> Iterator[Page]:
    """Yield the first page of each staff action on a row whose state allows it, and of canceling all that a list shows."""
    from loans.admin.actions import ACTIONS
    from loans.domain.states import LIVE
    from loans.models import Reservation

    for action in ACTIONS:
        row = next((row for row in action.model._default_manager.all()[:5000] if action.is_possible_for(row)), None)
        if row is not None:
            yield _preview(action, [row])
    (cancel,) = (action for action in ACTIONS if action.model is Reservation and action.name == "cancel")
    yield _preview(cancel, list(Reservation.objects.filter(state__in=LIVE)[:50]))


def _preview(action: Any, rows: list[Any]) -> Page:
    model = f"{action.model._meta.app_label}/{action.model._meta.model_name}"
    posted = {"action": action.name, "_selected_action": [row.pk for row in rows]}
    return Page(f"action {model}: {action.label}, {len(rows)} rows", f"/admin/{model}/", posted)


def _plan(query: dict[str, str]) -> str:
    from django.db import connection, transaction

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query['sql']}")
        plan = cursor.fetchone()[0]
        transaction.set_rollback(True)  # ANALYZE carries out what a preview has undone
        plan = json.loads(plan) if isinstance(plan, str) else plan
    return "\n".join([f"{query['time']} s: {query['sql'][:300]}", *_nodes(plan[0]["Plan"], 1)])


def _nodes(node: dict[str, Any], depth: int) -> Iterator[str]:
    names = " ".join(str(node[key]) for key in ("Node Type", "Index Name", "Relation Name") if key in node)
    yield f"{'  ' * depth}{names}: {node['Actual Rows']:.0f} rows, {node['Actual Total Time']:.1f} ms"
    for below in node.get("Plans", []):
        yield from _nodes(below, depth + 1)


def _print(million: dict[str, Timing], demo: dict[str, Timing]) -> None:
    print("| page | ms | queries | ms, demo | queries, demo |\n| --- | --: | --: | --: | --: |")  # noqa: T201
    for name in sorted({**demo, **million}, key=lambda name: -million.get(name, demo.get(name, Timing(0, 0))).milliseconds):
        cells = [f"{each.milliseconds:.0f} | {each.queries}" if (each := timings.get(name)) else " | " for timings in (million, demo)]
        print(f"| {name} | {' | '.join(cells)} |")  # noqa: T201
    for name, timing in million.items():
        for plan in timing.plans:
            print(f"\n{name}\n{plan}")  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.back_office", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the databases, and take those that were left")
    parser.add_argument("--only", default="", help="time the pages whose names contain this")
    options = parser.parse_args()
    os.environ |= {"DEBUG": "1", "DJANGO_SETTINGS_MODULE": "tests.settings"}
    with embedded.running():
        server_url = embedded.database_url()
        timings = []
        with psycopg.connect(server_url, autocommit=True) as connection:
            for database, make in ((DATABASE, make_million), (DEMO, make_demo)):
                url = os.environ["DATABASE_URL"] = urlsplit(server_url)._replace(path=f"/{database}").geturl()
                try:
                    if connection.execute("SELECT FROM pg_database WHERE datname = %s", [database]).fetchone() is None:
                        connection.execute(f"CREATE DATABASE {database}")  # type: ignore[call-overload]
                        make(url)
                    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                        timings.append(pool.submit(time_pages, url, options.only).result())
                finally:
                    if not options.keep:
                        connection.execute(f"DROP DATABASE {database} WITH (FORCE)")  # type: ignore[call-overload]
        _print(*timings)


if __name__ == "__main__":
    main()
