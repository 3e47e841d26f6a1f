"""A mail server that takes a second for each mail, and an investor who causes many mails, delay no other investor."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection
from pytest_django.fixtures import Settings

from loans import tasks
from loans.domain.actors import Actor
from loans.models import Delivery, Investor, Loan, OutboxCursor
from loans.notifications import deliveries, outbox
from loans.services.reservations import cancel_reservation
from loans.services.settlement import settle_due
from tests import factories
from tests.factories import NOON, InvestorFactory, LoanFactory
from tests.loans.notifications.conftest import SOON, add_endpoint, investor_without_mailbox
from tests.loans.notifications.listener import Listener

pytestmark = pytest.mark.django_db(transaction=True)
SECONDS_EACH = 1.0


class SlowBackend(EmailBackend):
    """Takes a second for each mail."""

    def send_messages(self, messages: Any) -> int:
        time.sleep(SECONDS_EACH)
        return super().send_messages(messages)


@pytest.fixture
def sending(settings: Settings) -> Iterator[threading.Thread]:
    """A run that sends, in a thread of its own. Start it, and it is joined at the end."""
    settings.EMAIL_BACKEND = f"{__name__}.SlowBackend"

    def run() -> None:
        try:
            deliveries.deliver_due()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    yield thread
    thread.join()


def churn(loan: Loan, investor: Investor, times: int) -> None:
    """Reserve and cancel so often, which causes two mails each time."""
    for _ in range(times):
        reservation = factories.reserved(loan, 1_000, investor=investor)
        actor = Actor("investor", investor.user_id)
        cancel_reservation(reservation_id=reservation.pk, actor=actor, investor_id=investor.pk, now=NOON)


def wait_until(condition: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_slow_mail_server_stops_nothing_else(sending: threading.Thread, listener: Listener) -> None:
    loan, waits = LoanFactory(), factories.funded(LoanFactory())
    for _ in range(8):
        factories.reserved(loan, 1_000)
    with_webhooks = investor_without_mailbox()
    add_endpoint(with_webhooks, listener.url)
    started = time.monotonic()
    sending.start()
    wait_until(lambda: OutboxCursor.objects.filter(sending_until__isnull=False).exists(), 5)
    # Another run, a webhook of a reservation made meanwhile, and settlement.
    assert tasks.deliver() == "0 messages were sent, 0 failed and are tried again, 0 were given up."
    factories.reserved(loan, 1_000, investor=with_webhooks)
    assert settle_due(NOON) == 1
    assert factories.fresh(waits).state == "settled"
    wait_until(lambda: listener.got, SECONDS_EACH + 2 * deliveries.HISTORY_SECONDS)
    assert sending.is_alive()
    sending.join()
    assert time.monotonic() - started >= 3 * SECONDS_EACH
    assert len(mail.outbox) >= 11, "what was made during the run was sent by the run"
    assert not Delivery.objects.filter(status="waiting").exists()


def test_the_mails_of_one_investor_come_one_after_the_other_and_those_of_others_in_between() -> None:
    loan, busy, quiet = LoanFactory(), InvestorFactory(let_go_limit=100), InvestorFactory()
    churn(loan, busy, 15)
    outbox.fan_out_all(NOON)
    churn(loan, busy, 15)
    factories.reserved(loan, 1_000, investor=quiet)
    outbox.fan_out_all(NOON)

    def due_at(investor: Investor) -> list[float]:
        due = Delivery.objects.filter(reservation__investor=investor).order_by("id").values_list("next_attempt_at", flat=True)
        return [(at - NOON).total_seconds() for at in due if at]

    assert due_at(busy) == [0] * 10 + list(range(50))
    assert due_at(quiet) == [0]
    deliveries.deliver_due(NOON)
    assert [message.to for message in mail.outbox if message.to != [busy.user.email]] == [[quiet.user.email]]


def test_webhooks_wait_for_nothing(listener: Listener) -> None:
    investor = InvestorFactory(user__email="", let_go_limit=100)
    add_endpoint(investor, listener.url)
    churn(LoanFactory(), investor, 15)
    deliveries.deliver_due(SOON)
    assert len(listener.got) == 30


def test_a_run_that_was_killed_keeps_others_from_sending_only_for_a_while() -> None:
    factories.reserved(LoanFactory())
    assert outbox.begin_sending(deliveries.RUN_LEASE, SOON)
    assert deliveries.deliver_due(SOON).sent == 0
    assert deliveries.deliver_due(SOON + deliveries.RUN_LEASE).sent == 1


def test_deliveries_have_a_queue_of_their_own() -> None:
    names = [name for name in current_app.tasks if name.startswith(("loans.", "cbsa."))]
    queues = {name: current_app.amqp.router.route({"queue": None}, name)["queue"].name for name in names}
    assert {name for name, queue in queues.items() if queue.endswith("deliveries")} == {"loans.tasks.deliver"}
    assert len(set(queues.values())) == 2
