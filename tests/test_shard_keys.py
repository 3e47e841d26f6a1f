"""List the statements of the services with their shard keys (tests/bench/shard_keys.py)."""

import inspect
import json
import pkgutil
import re
from collections import Counter
from importlib import import_module

import pytest
from django.db import connection, transaction

from loans import services
from tests.bench.services_once import Recorder, play
from tests.bench.shard_keys import layout_by_loan, make_report, schema_obstacles
from tests.bench.shard_routes import Catalog, Route, route

pytestmark = pytest.mark.django_db

LOAN, RESERVATION, HISTORY, TRANSFER = "loans_loan", "loans_reservation", "loans_transition", "loans_transfer"
JOINED = f"{LOAN} AS loan JOIN {RESERVATION} AS reservation ON reservation.loan_id = loan.id"
NEW_HISTORY = f"INSERT INTO {HISTORY} (loan_id, at, event, from_state, to_state, rule, actor, reason)"
NEW_WATCH = "INSERT INTO loans_watch (loan_id, investor_id, since, known_at)"
RESERVED = "now(), 'reserved', '', 'reserved', '', 'system', ''"


def routed(sql: str) -> Route:
    return route(sql, layout_by_loan(), Catalog())


@pytest.mark.parametrize(
    ("kind", "sql"),
    [
        ("one shard", f"SELECT id FROM {RESERVATION} WHERE loan_id = 5 AND number > 3"),
        ("each shard", f"SELECT id FROM {RESERVATION} WHERE investor_id = 5"),
        ("each shard", f"SELECT id FROM {RESERVATION} WHERE loan_id = 5 OR investor_id = 5"),
        ("each shard", f"SELECT id FROM {RESERVATION} WHERE loan_id > 5"),
        ("one shard", f"SELECT loan.id FROM {JOINED} WHERE loan.id = 5"),
        ("one shard", f"SELECT loan.id FROM {JOINED} WHERE reservation.loan_id = 5"),
        ("each shard", f"SELECT loan.id FROM {JOINED} WHERE loan.reference = 'A'"),
        ("all shards", f"SELECT loan.id FROM {LOAN} AS loan JOIN {RESERVATION} AS reservation ON number = last_number WHERE loan.id = 5"),
        ("all shards", f"SELECT (SELECT count(*) FROM {RESERVATION} WHERE loan_id = 6) FROM {LOAN} WHERE id = 5"),
        # An outer join, and NOT EXISTS, bind only what is inside.
        ("one shard", f"SELECT loan.id FROM {JOINED.replace('JOIN', 'LEFT JOIN')} WHERE loan.id = 5"),
        ("each shard", f"SELECT loan.id FROM {JOINED.replace('JOIN', 'LEFT JOIN')} AND reservation.loan_id = 5"),
        ("one shard", f"SELECT id FROM {LOAN} AS loan WHERE id = 5 AND NOT EXISTS (SELECT FROM {RESERVATION} WHERE loan_id = loan.id)"),
        (
            "each shard",
            f"SELECT id FROM {LOAN} AS loan WHERE NOT EXISTS (SELECT FROM {RESERVATION} WHERE loan_id = loan.id AND loan_id = 5)",
        ),
        ("one shard", f"SELECT id FROM {LOAN} WHERE id IN (SELECT loan_id FROM {RESERVATION} WHERE loan_id = 5)"),
        ("some shards", f"SELECT id FROM {LOAN} WHERE id = ANY('{{5, 6}}')"),
        ("one shard", f"SELECT id FROM {LOAN} WHERE id = ANY('{{5}}'::smallint[])"),
        ("one shard", f"SELECT id FROM {LOAN} WHERE id IN (5)"),
        ("each shard", f"SELECT loan.id FROM {JOINED} WHERE loan.id = ANY('{{5}}')"),
        ("some shards", f"SELECT id FROM {LOAN} WHERE id IN (5, 6)"),
        ("one shard", f"{NEW_HISTORY} VALUES (5, {RESERVED}), (5, {RESERVED})"),
        ("one shard", f"{NEW_WATCH} VALUES (5, 1, now(), now()) ON CONFLICT (investor_id, loan_id) DO UPDATE SET since = EXCLUDED.since"),
        ("all shards", f"{NEW_HISTORY} SELECT 6, {RESERVED} FROM {LOAN} WHERE id = 5"),
        ("each shard", f"{NEW_HISTORY} SELECT id, {RESERVED} FROM {LOAN}"),
        (
            "one shard",
            f"WITH changed AS (UPDATE {LOAN} SET version = 1 WHERE id = 5 RETURNING version, id AS changed_id)"
            f" {NEW_HISTORY} SELECT changed_id, {RESERVED} FROM changed UNION ALL SELECT 5, {RESERVED}",
        ),
        ("no column", f"SELECT id FROM {TRANSFER} WHERE reference = 'T'"),
        ("reference tables", "SELECT id FROM loans_investor WHERE id = 5"),
        ("no table", "SELECT clock_timestamp()"),
        ("no table", "SAVEPOINT one"),
    ],
)
def test_a_statement_goes_where_its_keys_lead(kind: str, sql: str) -> None:
    assert routed(sql).kind == kind


def test_a_route_says_by_what_the_rows_are_found_and_what_is_in_the_way() -> None:
    by_id = routed(f"SELECT id FROM {RESERVATION} WHERE id = '00000000-0000-0000-0000-000000000000' FOR UPDATE")
    assert (by_id.why, by_id.need) == ("loans_reservation by id", "the id of another row")
    assert by_id.obstacles == ["FOR UPDATE of several shards"]
    assert routed(f"SELECT id FROM {LOAN} WHERE id = 5 FOR UPDATE").obstacles == []
    with_clock = routed(f"UPDATE {LOAN} SET closes_at = clock_timestamp() WHERE id = 5")
    assert (with_clock.why, with_clock.obstacles) == ("by loans_loan.id", ["volatile function in a write"])
    assert routed("UPDATE loans_investor SET version = 1 WHERE id = 5").obstacles == ["write on every node: loans_investor"]
    assert routed("SELECT pg_advisory_xact_lock(1)").obstacles == ["advisory lock"]


def test_the_layout_and_its_obstacles_are_those_of_the_schema() -> None:
    layout = layout_by_loan()
    assert (layout.keys[LOAN], layout.keys[RESERVATION], layout.keys[HISTORY]) == ("id", "loan_id", "loan_id")
    assert TRANSFER in layout.without_key
    assert "loans_investor" not in layout.without_key | layout.keys.keys()
    obstacles = {(each.rule, each.table, each.name) for each in schema_obstacles(layout)}
    assert {
        ("no column of the loan", TRANSFER, ""),
        ("unique without the loan", TRANSFER, "loans_transfer_reference_key"),
        ("primary key without the loan", RESERVATION, "loans_reservation_pkey"),
        ("trigger", HISTORY, "append_only"),
        ("transaction number", HISTORY, "txid"),
    } <= obstacles
    names = {name for _, _, name in obstacles}
    assert not names & {"loans_loan_pkey", "closing_value_once"}, "these have the loan's id"


# The services and jobs that are listed call these.
WITHIN_OTHERS = {
    "services.cache_refresh.report_drift",
    "services.settlement.settle_loans",
    "services.settlement.settle_one_loan",
    "services.statement_imports.fail_exhausted_imports",
    "services.statement_imports.stalled_imports",
    "services.statements.book_statement",
    "services.statements.check_statement",
    "services.waiting_list.serve_waiting_list",
}


@pytest.mark.django_db(transaction=True)
def test_each_service_and_each_list_of_the_api_is_called_and_its_statements_listed() -> None:
    report = make_report()
    called = {name.split(",")[0] for name in report["services"]}
    assert _services() - called == WITHIN_OTHERS
    assert called == {line["service"].split(",")[0] for line in report["statements"]}


@pytest.mark.django_db(transaction=True)
def test_postgresql_leaves_out_the_same_partitions_as_the_routes() -> None:
    """Tables that are partitioned by the hash of the same keys, 16 times each, show which shards a plan reads."""
    record = Recorder()
    play(record)
    layout, catalog = layout_by_loan(), Catalog()
    routes = [(each.sql, route(each.sql, layout, catalog)) for each in record.statements.values() if "ON CONFLICT" not in each.text]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA shards; SET LOCAL search_path = shards, public")
        for table, key in layout.keys.items():
            cursor.execute(f"CREATE TABLE shards.{table} (LIKE public.{table}) PARTITION BY HASH ({key})")
            for number in range(16):
                values = f"FOR VALUES WITH (MODULUS 16, REMAINDER {number})"
                cursor.execute(f"CREATE TABLE shards.{table}_{number} PARTITION OF shards.{table} {values}")
        cursor.execute(f"ALTER TABLE shards.{LOAN} ADD PRIMARY KEY (id)")
        compared = Counter[str]()
        for sql, expected in routes:
            if expected.kind not in {"one shard", "each shard", "all shards"}:
                continue
            cursor.execute(f"EXPLAIN (FORMAT JSON) {sql.replace('%', '%%')}", ())
            partitions = re.findall(r'"Relation Name": "(loans_[a-z]+)_([0-9]+)"', json.dumps(cursor.fetchone()[0]))
            if partitions:  # none, where PostgreSQL sees that no row can be found
                numbers = {number for _, number in partitions}
                assert (len(numbers) == 1) == (expected.kind == "one shard"), (sql, partitions)
                compared[expected.kind] += 1
        transaction.set_rollback(True)
    assert min(compared.values()) > 5, compared


def _services() -> set[str]:
    """Return the services: the functions that take the present time or an actor."""
    modules = [import_module(f"loans.services.{module.name}") for module in pkgutil.iter_modules(services.__path__)]
    return {
        f"{module.__name__.removeprefix('loans.')}.{name}"
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
        if {"now", "actor"} & inspect.signature(function).parameters.keys()
    }
