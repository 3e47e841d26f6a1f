"""Start or join the real servers for the session, and remove each test's rows and keys after it."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
from django.apps import apps
from django.core.cache import cache
from django.db import connection, transaction
from django.db.models import Model
from django.test import TransactionTestCase
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from cbsa import lookup
from loans.api import authentication
from loans.models import StaffGroupGrant
from peerloans.celery import app as celery_app
from peerloans.devserver import embedded

_servers = contextlib.ExitStack()

hypothesis.settings.register_profile("short", max_examples=60, deadline=None)
hypothesis.settings.register_profile("long", max_examples=2_000, deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))


def pytest_sessionstart(session: pytest.Session) -> None:
    _servers.enter_context(embedded.running())


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Take this process's own keys and queue out of Redis (tests/settings.py); a running system may use it too."""
    cache.delete_pattern("*")
    with celery_app.connection_for_write() as broker:
        for queue in celery_app.amqp.queues.values():
            bound = queue(broker.default_channel)
            bound.declare()  # a queue is deleted only by a connection that knows it
            bound.delete()


def pytest_unconfigure(config: pytest.Config) -> None:
    _servers.close()


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    """What is remembered of one test would outlive its rolled-back data."""
    lookup.forget()
    authentication.forget()


@contextlib.contextmanager
def history_unprotected(cursor: Any) -> Iterator[None]:
    """Let the block change history, its chain and comments, as only the schema's owner can."""
    triggers = [
        ("loans_transition", "append_only"),
        ("loans_historyblock", "blocks_append_only"),
        ("loans_standingordertransition", "standing_orders_append_only"),
        ("loans_reviewcomment", "comments_append_only"),
    ]
    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # PostgreSQL alters no table with checks still to come
    for table, trigger in triggers:
        cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
    yield
    for table, trigger in triggers:
        cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER {trigger}")


_FILLED_BY_MIGRATIONS = ["auth", "contenttypes", "django_celery_beat"]


def written_models() -> list[type[Model]]:
    """The models whose tables tests write. What migrations put elsewhere (groups, schedules) stays for the next test."""
    return [model for model in apps.get_models() if model._meta.app_label not in _FILLED_BY_MIGRATIONS and model is not StaffGroupGrant]


def remove_committed_rows(_test: TransactionTestCase | None = None) -> None:
    """Empty the tables that tests write. Only here are history's triggers lifted, by DDL."""
    tables = [model._meta.db_table for model in written_models()]
    with transaction.atomic(), connection.cursor() as cursor, history_unprotected(cursor):
        cursor.execute(f"TRUNCATE {', '.join(tables)} CASCADE")
    celery_app.control.purge()


@pytest.fixture(autouse=True, scope="session")
def _history_survives_no_commit() -> Iterator[None]:
    """Tests with real commits end with our clean-up in place of Django's flush, which history's trigger would refuse."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", remove_committed_rows)
        yield


@pytest.fixture(autouse=True)
def _fresh_redis() -> Iterator[None]:
    """No test sees another's keys."""
    yield
    cache.delete_pattern("*")


@pytest.fixture
def beat_ticks(db: None) -> None:
    """No scheduled job is late, however long ago the migrations put it on the schedule."""
    PeriodicTask.objects.update(last_run_at=timezone.now(), date_changed=timezone.now())


_LOCK = re.compile(r"\bFOR UPDATE\b|\bUPDATE loans_loan\b")
_WRITE = re.compile(r'\bINSERT INTO "?loans_|(?<!FOR )\bUPDATE "?loans_|\bDELETE FROM "?loans_')


@pytest.fixture
def locks_first() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """`with locks_first():` fails unless what runs in it takes the loan's lock, and takes it before it writes anything."""

    @contextlib.contextmanager
    def watch() -> Iterator[None]:
        with CaptureQueriesContext(connection) as captured:
            yield
        statements = [query["sql"] for query in captured.captured_queries]
        locked = next((index for index, sql in enumerate(statements) if _LOCK.search(sql)), None)
        assert locked is not None, f"no lock among {statements}"
        assert not [sql for sql in statements[:locked] if _WRITE.search(sql)], "written before the lock"

    return watch


@pytest.fixture
def clock_put_back(transactional_db: None) -> Iterator[None]:
    """Put the sandbox's clock back after a test that moves it with real commits, so that the next test has the real time."""
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS sandbox CASCADE")
