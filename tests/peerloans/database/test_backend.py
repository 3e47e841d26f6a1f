"""A kept connection is not asked whether it stands, and one that has ended is replaced before it is used."""

from collections.abc import Iterator
from time import monotonic

import pytest
from django.db import connection
from django.db.backends.postgresql import base

from peerloans.database.backend.base import DatabaseWrapper


@pytest.fixture
def kept(db: None) -> Iterator[DatabaseWrapper]:
    """Another connection, as one that the last request has left."""
    wrapper = connection.copy()
    wrapper.connect()
    yield wrapper
    wrapper.close()


def backend_of(wrapper: DatabaseWrapper) -> int:
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    return int(pid)


def next_request(wrapper: DatabaseWrapper) -> None:
    """What Django does with each connection before a request."""
    wrapper.close_if_unusable_or_obsolete()
    wrapper.health_check_done = False


def test_one_that_stands_is_kept_without_a_question(kept: DatabaseWrapper, monkeypatch: pytest.MonkeyPatch) -> None:
    before = backend_of(kept)
    monkeypatch.setattr(base.DatabaseWrapper, "is_usable", lambda _: pytest.fail("It was asked."))
    next_request(kept)
    assert backend_of(kept) == before


def test_one_that_the_server_ended_is_replaced(kept: DatabaseWrapper) -> None:
    before = backend_of(kept)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [before])
    deadline = monotonic() + 5
    while not kept._something_to_read():
        assert monotonic() < deadline
    next_request(kept)
    assert backend_of(kept) != before


def test_one_that_is_closed_is_replaced(kept: DatabaseWrapper) -> None:
    before = backend_of(kept)
    assert kept.connection
    kept.connection.close()
    next_request(kept)
    assert backend_of(kept) != before
