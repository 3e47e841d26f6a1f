"""A kept connection is not asked by a query whether it works, and one that has ended is replaced before it is used."""

from collections.abc import Iterator
from time import monotonic

import pytest
from django.db import connection
from django.db.backends.postgresql import base

from peerloans.database.backend.base import DatabaseWrapper


@pytest.fixture
def kept(db: None) -> Iterator[DatabaseWrapper]:
    """A second connection, such as the last request left."""
    wrapper = connection.copy()
    wrapper.connect()
    yield wrapper
    wrapper.close()


def backend_pid(wrapper: DatabaseWrapper) -> int:
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    return int(pid)


def next_request(wrapper: DatabaseWrapper) -> None:
    """Do what Django does with each connection before a request."""
    wrapper.close_if_unusable_or_obsolete()
    wrapper.health_check_done = False


def test_a_working_connection_is_kept_without_a_query(kept: DatabaseWrapper, monkeypatch: pytest.MonkeyPatch) -> None:
    before = backend_pid(kept)
    monkeypatch.setattr(base.DatabaseWrapper, "is_usable", lambda _: pytest.fail("A query was sent."))
    next_request(kept)
    assert backend_pid(kept) == before


def test_a_connection_that_the_server_ended_is_replaced(kept: DatabaseWrapper) -> None:
    before = backend_pid(kept)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [before])
    deadline = monotonic() + 5
    while not kept._has_something_to_read():
        assert monotonic() < deadline
    next_request(kept)
    assert backend_pid(kept) != before


def test_a_closed_connection_is_replaced(kept: DatabaseWrapper) -> None:
    before = backend_pid(kept)
    assert kept.connection
    kept.connection.close()
    next_request(kept)
    assert backend_pid(kept) != before
