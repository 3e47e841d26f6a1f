"""Fixtures that several folders of tests for loans share."""

from collections.abc import Iterator

import pytest
from pytest_django.fixtures import Settings

from tests.loans.notifications.listener import Listener, listening


@pytest.fixture
def private_networks(settings: Settings) -> None:
    """Let webhooks go to this machine, without TLS."""
    settings.WEBHOOKS_ALLOW_PRIVATE_NETWORKS = True
    settings.DEBUG = True


@pytest.fixture
def listener(private_networks: None) -> Iterator[Listener]:
    """An investor's system that receives webhooks."""
    with listening() as server:
        yield server
