"""What the tests of notifications share: targets, and a transaction of another connection that stays open."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import connection, transaction

from loans.models import Investor, OutboxCursor, WebhookEndpoint
from tests.conftest import history_unprotected
from tests.factories import NOON, InvestorFactory

SOON = NOON + timedelta(minutes=1)
OTHER_NUMBERS = 1_000_000_000  # above the transaction numbers of a server for tests


def add_endpoint(investor: Investor, url: str) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(investor=investor, url=url)


def investor_without_mailbox() -> Investor:
    """An investor for whom only webhooks become due."""
    return InvestorFactory(user__email="")


@contextmanager
def open_transaction(work: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """Do `work` in a transaction of another connection, and yield the function that commits it."""
    done, commit = threading.Event(), threading.Event()

    def run() -> None:
        try:
            with transaction.atomic():
                work()
                done.set()
                commit.wait(30)
        finally:
            done.set()
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert done.wait(30)

    def finish() -> None:
        commit.set()
        thread.join()

    try:
        yield finish
    finally:
        finish()


def restore_from_another_server() -> None:
    """Leave the database as a dump leaves it in a server whose transaction numbers are far lower."""
    with transaction.atomic(), connection.cursor() as cursor, history_unprotected(cursor):
        for table in ("loans_transition", "loans_outboxcursor"):
            cursor.execute(f"UPDATE {table} SET txid = (txid::text::bigint + {OTHER_NUMBERS})::text::xid8 WHERE txid < '{OTHER_NUMBERS}'")
    OutboxCursor.objects.update(server="another one")
