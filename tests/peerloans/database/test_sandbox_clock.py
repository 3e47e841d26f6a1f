"""A sandbox's clock is moved for all that asks the database for the time, and for no system that is real."""

from contextlib import closing
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, ExpressionWrapper
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from loans.models import User
from peerloans.database.clock import database_now, real_now
from peerloans.database.sandbox_clock import move_forward
from tests.factories import UserFactory
from tests.peerloans.test_settings import manage
from tests.production import ENVIRONMENT

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
TIMES = "SELECT clock_timestamp(), statement_timestamp(), now(), pg_catalog.clock_timestamp()"


@pytest.fixture
def _in_sandbox(settings: Settings) -> None:
    settings.DEBUG = True


def ahead(of: BaseDatabaseWrapper = connection) -> list[int]:  # type: ignore[assignment]
    """Return by how many whole minutes each of PostgreSQL's clocks is ahead of the real time, as statements without a schema see them."""
    with of.cursor() as cursor:
        cursor.execute(TIMES)
        *times, real = cursor.fetchone()
    return [round((at - real) / MINUTE) for at in times]


@pytest.mark.django_db
@pytest.mark.usefixtures("_in_sandbox")
def test_every_clock_moves_by_the_sum_of_the_spans() -> None:
    assert ahead() == [0, 0, 0]
    move_forward(DAY)
    assert ahead() == [1440] * 3
    move_forward(90 * MINUTE)
    assert ahead() == [1530] * 3
    assert round((database_now(None) - real_now(None)) / MINUTE) == 1530
    UserFactory()
    at: datetime = User.objects.annotate(at=ExpressionWrapper(Now(), DateTimeField())).get().at  # type: ignore[attr-defined]
    assert round((at - real_now(None)) / MINUTE) == 1530


@pytest.mark.usefixtures("_in_sandbox", "clock_put_back")
def test_kept_statements_of_other_connections_see_it() -> None:
    """The statement is prepared before the schema exists, and again kept between the moves."""
    with closing(connection.copy()) as other:
        assert ahead(other) == [0, 0, 0]
        move_forward(DAY)
        assert ahead(other) == [1440] * 3
        move_forward(DAY)
        assert ahead(other) == [2880] * 3


@pytest.mark.django_db
def test_no_clock_moves_where_debug_is_off() -> None:
    with pytest.raises(RuntimeError):
        move_forward(DAY)
    assert ahead() == [0, 0, 0]


@pytest.mark.parametrize(("debug", "found"), [("", "not_found False"), ("1", "sandbox-clock True")])
def test_production_has_neither_the_path_nor_connections_that_would_see_it(debug: str, found: str) -> None:
    lines = (
        "from django.conf import settings; from django.urls import resolve; match = resolve('/api/sandbox/clock/');"
        "print(match.url_name or match.func.__name__, 'sandbox' in str(settings.DATABASES))"
    )
    shown = manage(ENVIRONMENT | ({"DEBUG": debug} if debug else {}), "shell", "--no-imports", "-c", lines)
    assert shown.stdout.strip() == found, shown.stderr
