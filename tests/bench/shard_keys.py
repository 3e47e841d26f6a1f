"""`python -m tests.bench.shard_keys`: list each statement of the services with its shard key, as if tables were distributed by loan.

Makes a database on the embedded server, calls each service, job and list of the API once in it, and drops it. Prints each statement with
the place that sends it, its tables, where it would go and why; then what of the schema Citus does not take. What Citus takes is from its
documentation and the source of its planner, version 14. `--json` prints the same as one document.
"""

import argparse
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg

from peerloans.devserver import embedded
from tests.bench.servers import manage

if TYPE_CHECKING:
    from tests.bench.services_once import Statement
    from tests.bench.shard_routes import Layout, Route

DATABASE = "peerloans_shard_keys"
LOANS = "loans_loan"
SHOWN = 90  # characters of a statement

_FOREIGN_KEYS = """
    SELECT conrelid::regclass::text, confrelid::regclass::text, attname, attnotnull
    FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]
    WHERE contype = 'f' AND connamespace = 'public'::regnamespace
"""
_OBSTACLES = """
    WITH distributed AS (SELECT name::regclass AS relation, key FROM unnest(%(tables)s::text[], %(keys)s::text[]) AS layout (name, key))
    SELECT 'no column of the loan', relation, '', '' FROM distributed WHERE key IS NULL
    UNION ALL
    SELECT CASE WHEN indisprimary THEN 'primary key without the loan' ELSE 'unique without the loan' END,
        relation, indexrelid::regclass::text, columns
    FROM distributed JOIN pg_index ON indrelid = relation, LATERAL (
        SELECT string_agg(attname, ', ' ORDER BY attnum) AS columns, bool_or(attname = key) AS has_key
        FROM pg_attribute WHERE attrelid = relation AND attnum = ANY(indkey::smallint[])
    ) AS indexed
    WHERE indisunique AND has_key IS NOT TRUE
    UNION ALL
    SELECT 'foreign key without the loan', relation, conname, attname || ' to ' || confrelid::regclass
    FROM distributed JOIN pg_constraint ON conrelid = relation AND contype = 'f'
    JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]
    WHERE confrelid IN (SELECT relation FROM distributed) AND attname IS DISTINCT FROM key
    UNION ALL
    SELECT 'trigger', relation, tgname, '' FROM distributed JOIN pg_trigger ON tgrelid = relation WHERE NOT tgisinternal
    UNION ALL
    SELECT 'ascending number', relation, attname, '' FROM distributed JOIN pg_attribute ON attrelid = relation WHERE attidentity <> ''
    UNION ALL
    SELECT 'transaction number', relation, attname, pg_get_expr(adbin, adrelid)
    FROM distributed JOIN pg_attrdef ON adrelid = relation JOIN pg_attribute ON attrelid = relation AND attnum = adnum
    WHERE pg_get_expr(adbin, adrelid) LIKE '%%xact%%'
    ORDER BY 1, 2, 3
"""
_SEVERAL = re.compile(r"(%s|\((?:%s, )*%s\))(?:, \1)+")  # values of a list, and rows of new values: their number is no difference


@dataclass
class Obstacle:
    """Something of the schema that Citus does not take, or takes with another meaning."""

    rule: str
    table: str
    name: str
    detail: str


@dataclass
class Line:
    """A statement of a service, with where it would go."""

    service: str
    place: str
    text: str
    route: "Route"


def layout_by_loan() -> "Layout":
    """Read from the foreign keys which tables can be distributed by loan: those whose column of the loan is never null.

    A table that refers to one of them is no reference table, since Citus has no foreign key from such a table to a distributed one. It is
    among those without a key.
    """
    from tests.bench.shard_routes import Layout

    references = _rows(_FOREIGN_KEYS)
    keys = {LOANS: "id"} | {table: column for table, other, column, required in references if other == LOANS and required}
    distributed = set(keys)
    while more := {table for table, other, _, _ in references if other in distributed} - distributed:
        distributed |= more
    return Layout(keys, frozenset(distributed - keys.keys()))


def schema_obstacles(layout: "Layout") -> list[Obstacle]:
    """Return what of the constraints, triggers and defaults would have to change for this layout."""
    tables = [*layout.keys, *layout.without_key]
    return [Obstacle(*row) for row in _rows(_OBSTACLES, {"tables": tables, "keys": [layout.keys.get(table) for table in tables]})]


def statement_lines(statements: "Iterable[Statement]", layout: "Layout") -> list[Line]:
    """Return the statements that touch a table or meet an obstacle, each with its route. The length of a list makes no difference."""
    from tests.bench.shard_routes import Catalog, route

    catalog = Catalog()
    lines = [
        Line(each.service, each.place, _SEVERAL.sub(r"\1, …", " ".join(each.text.split())), route(each.sql, layout, catalog))
        for each in statements
    ]
    return [line for line in lines if line.route.tables or line.route.obstacles]


def _rows(sql: str, values: Any = ()) -> list[Any]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()


def make_report() -> dict[str, Any]:
    """Call the services, and return their statements, what of the schema would have to change, and counts of both."""
    from tests.bench.services_once import Recorder, play

    record = Recorder()
    play(record)
    layout = layout_by_loan()
    lines = statement_lines(record.statements.values(), layout)
    obstacles = schema_obstacles(layout)
    doors = {
        "services": _widest(lines, "services."),
        "API": _widest(lines, "GET "),
        "jobs": _widest(lines, "tasks."),
        "all": _widest(lines),
    }
    return {
        "keys": dict(layout.keys),
        "without_key": sorted(layout.without_key),
        "services": record.services,
        "statements": [asdict(line) for line in lines],
        "schema": [asdict(obstacle) for obstacle in obstacles],
        "routes": {door: Counter(line.route.kind for line in each) for door, each in doors.items()},
        "needs": Counter(line.route.need for line in doors["all"] if line.route.need),
        "refused": Counter(obstacle.split(":")[0] for line in doors["all"] for obstacle in line.route.obstacles),
        "rules": Counter(obstacle.rule for obstacle in obstacles),
    }


def _widest(lines: "list[Line]", door: str = "") -> "list[Line]":
    """Return each statement of a door once. Where its values decide, it counts as the one that goes to the most shards."""
    from tests.bench.shard_routes import ROUTES

    widths = list(ROUTES)
    by_text: dict[tuple[str, str], Line] = {}
    for line in sorted(lines, key=lambda line: widths.index(line.route.kind)):
        if line.service.startswith(door):
            by_text[line.place, line.text] = line
    return list(by_text.values())


def _text(report: dict[str, Any]) -> Iterator[str]:
    from tests.bench.shard_routes import ROUTES

    service = ""
    for line in report["statements"]:
        if line["service"] != service:
            service = line["service"]
            yield f"\n{service}"
        route = line["route"]
        obstacles = "".join(f" [{obstacle}]" for obstacle in route["obstacles"])
        yield f"  {route['kind']:<16} {line['place']}: {line['text'][:SHOWN]}"
        yield f"  {'':<16} {', '.join(route['tables'])}: {route['why']}{obstacles}"
    yield "\nOf the schema"
    for obstacle in report["schema"]:
        yield f"  {obstacle['rule']:<28} {obstacle['table']} {obstacle['name']} {obstacle['detail']}"
    yield f"\n{len(report['services'])} calls; different statements by where they would go:"
    doors = report["routes"]
    yield f"  {'':<18}" + "".join(f"{door:>10}" for door in doors)
    for kind, meaning in ROUTES.items():
        yield f"  {kind:<18}" + "".join(f"{counts[kind]:>10}" for counts in doors.values()) + f"  {meaning}"
    for name in ("needs", "refused", "rules"):
        yield f"\n{name}:"
        for what, count in report[name].most_common():
            yield f"  {count:>4} {what}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.shard_keys", description=__doc__)
    parser.add_argument("--json", action="store_true", dest="as_json", help="print one JSON document")
    options = parser.parse_args()
    os.environ |= {"DEBUG": "1", "DJANGO_SETTINGS_MODULE": "tests.settings"}
    with embedded.running():
        server_url = embedded.database_url()
        os.environ["DATABASE_URL"] = urlsplit(server_url)._replace(path=f"/{DATABASE}").geturl()
        with psycopg.connect(server_url, autocommit=True) as server:
            server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
            server.execute(f"CREATE DATABASE {DATABASE}")
            try:
                manage("migrate", "--verbosity", "0")
                import django

                django.setup()
                from django.core.cache import cache

                from peerloans.celery import app

                app.conf.broker_url = "memory://"  # no worker is there to run what services send
                cache.delete_pattern("*")  # what an earlier run left there would spare statements
                report = make_report()
            finally:
                server.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")
    for line in [json.dumps(report, indent=2)] if options.as_json else _text(report):
        print(line)  # noqa: T201


if __name__ == "__main__":
    main()
