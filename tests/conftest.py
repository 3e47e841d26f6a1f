"""What every test stands on: real servers, joined for the session."""

import contextlib

import pytest

from peerloans import embedded

_servers = contextlib.ExitStack()


def pytest_sessionstart(session: pytest.Session) -> None:
    _servers.enter_context(embedded.running())


def pytest_unconfigure(config: pytest.Config) -> None:
    _servers.close()


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    """ZIP answers remembered from one test would outlive its rolled-back data."""
    from cbsa import lookup

    lookup.forget()
