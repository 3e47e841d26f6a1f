"""What every test stands on: real servers, joined for the session."""

import contextlib

import pytest

from peerloans import embedded

_servers = contextlib.ExitStack()


def pytest_sessionstart(session: pytest.Session) -> None:
    _servers.enter_context(embedded.running())


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Take this process's own keys and queue out of Redis (tests/settings.py); a running system may use it too."""
    from django.core.cache import cache

    from peerloans.celery import app

    cache.delete_pattern("*")
    with app.connection_for_write() as connection:
        for queue in app.amqp.queues.values():
            bound = queue(connection.default_channel)
            bound.declare()  # a queue is deleted only by a connection that knows it
            bound.delete()


def pytest_unconfigure(config: pytest.Config) -> None:
    _servers.close()


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    """ZIP answers remembered from one test would outlive its rolled-back data."""
    from cbsa import lookup

    lookup.forget()
