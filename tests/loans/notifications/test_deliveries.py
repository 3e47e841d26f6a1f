"""Sending deliveries to real servers. Time is passed in; attempts that run at once are ordered by events, not by sleeping."""

import json
import threading
from datetime import timedelta

import pytest
from django.core import mail
from django.db import connection
from pytest_django.fixtures import Settings

from loans.models import Delivery, DeliveryStatus, ReviewItem, WebhookEndpoint
from loans.notifications import deliveries, outbox
from loans.notifications.deliveries import DeliveryCounts
from tests import factories
from tests.factories import NOON, LoanFactory
from tests.loans.notifications.conftest import SOON, add_endpoint, investor_without_mailbox, open_transaction
from tests.loans.notifications.listener import Listener, listening

pytestmark = pytest.mark.django_db(transaction=True)


def types(listener: Listener) -> list[str]:
    return [json.loads(body)["type"].removeprefix("reservation.") for _, body in listener.got]


def test_a_delivery_is_retried_with_the_same_body_until_the_endpoint_is_up(listener: Listener) -> None:
    investor = investor_without_mailbox()
    add_endpoint(investor, listener.url)
    factories.reserved(LoanFactory(), investor=investor)
    listener.status, now = 503, SOON
    for attempts in (1, 2, 3):
        assert deliveries.deliver_due(now) == DeliveryCounts(failed=1)
        assert deliveries.deliver_due(now) == DeliveryCounts()  # not before its time
        delivery = Delivery.objects.get()
        assert (delivery.attempts, delivery.last_error) == (attempts, "The answer was 503.")
        assert delivery.next_attempt_at
        now = delivery.next_attempt_at
    listener.status = 200
    assert deliveries.deliver_due(now) == DeliveryCounts(sent=1)
    assert len(listener.got) == 4
    assert len(set(listener.ids())) == 1
    assert len({body for _, body in listener.got}) == 1
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.ended_at, delivery.last_error) == (DeliveryStatus.SENT, now, "")


def test_a_failed_delivery_holds_back_only_the_same_reservation_at_the_same_target(listener: Listener) -> None:
    loan, investor = LoanFactory(), investor_without_mailbox()
    add_endpoint(investor, listener.url)
    first, other = factories.reserved(loan, investor=investor), factories.reserved(loan, investor=investor)
    listener.status = 500
    deliveries.deliver_due(SOON)
    assert len(listener.got) == 2
    with listening() as up:
        add_endpoint(investor, up.url)
        factories.start_transfer(first)
        factories.start_transfer(other)
        Delivery.objects.filter(reservation=other).update(next_attempt_at=SOON)
        listener.status = 200
        deliveries.deliver_due(SOON)
        assert types(up) == ["transfer_started", "transfer_started"]
    assert types(listener)[2:] == ["reserved", "transfer_started"]
    assert {json.loads(body)["data"]["reservation"] for _, body in listener.got[2:]} == {str(other.pk)}
    deliveries.deliver_due(SOON + timedelta(minutes=1))
    assert types(listener)[4:] == ["reserved", "transfer_started"]
    assert {json.loads(body)["data"]["reservation"] for _, body in listener.got[4:]} == {str(first.pk)}


def test_an_endpoint_that_does_not_answer_does_not_delay_others(private_networks: None) -> None:
    """The silent endpoint answers only once the live one has received everything. If that were held back, the test would fail."""
    loan = LoanFactory()
    with listening() as silent, listening() as live:
        slow, quick = investor_without_mailbox(), investor_without_mailbox()
        add_endpoint(slow, silent.url)
        add_endpoint(quick, live.url)
        silent.hold = threading.Event()
        for _ in range(deliveries.ATTEMPTS_AT_ONCE + 1):
            factories.reserved(loan, 1_000, investor=slow)
        for _ in range(deliveries.ATTEMPTS_AT_ONCE_PER_TARGET * 2):
            factories.reserved(loan, 1_000, investor=quick)
        live.after, live.then = deliveries.ATTEMPTS_AT_ONCE_PER_TARGET * 2, silent.hold
        counts = deliveries.deliver_due(SOON)
        assert silent.hold.is_set()
        assert counts == DeliveryCounts(sent=deliveries.ATTEMPTS_AT_ONCE + 1 + deliveries.ATTEMPTS_AT_ONCE_PER_TARGET * 2)


def test_a_delivery_that_fails_for_three_days_becomes_a_review_item_and_can_be_retried(listener: Listener) -> None:
    investor = investor_without_mailbox()
    add_endpoint(investor, listener.url)
    reservation = factories.reserved(LoanFactory(), investor=investor)
    listener.status, now = 500, SOON
    outbox.fan_out(SOON)
    for _ in range(100):
        counts = deliveries.deliver_due(now)
        if counts.given_up:
            break
        now = Delivery.objects.get().next_attempt_at or now
    assert now == SOON + timedelta(days=3)
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.ended_at, delivery.next_attempt_at) == (DeliveryStatus.GIVEN_UP, now, None)
    review_item = ReviewItem.objects.get(kind="delivery_given_up")
    assert review_item.reservation == reservation
    assert review_item.detail == f"reservation.reserved could not be delivered to {listener.url} for three days. The answer was 500."
    assert deliveries.deliver_due(now + timedelta(days=1)) == DeliveryCounts()
    listener.status = 200
    assert deliveries.retry_given_up([delivery], now) == 1
    assert deliveries.deliver_due(now) == DeliveryCounts(sent=1)
    assert len(set(listener.ids())) == 1


def test_a_delivery_that_was_given_up_does_not_hold_back_the_next_one(listener: Listener) -> None:
    investor = investor_without_mailbox()
    add_endpoint(investor, listener.url)
    reservation = factories.reserved(LoanFactory(), investor=investor)
    outbox.fan_out(NOON)
    factories.start_transfer(reservation)
    listener.status, late = 500, NOON + timedelta(days=3)
    outbox.fan_out(late)
    delivery = Delivery.objects.first()
    assert delivery
    deliveries.deliver_due(late)
    assert types(listener) == ["reserved", "transfer_started"]
    assert list(Delivery.objects.values_list("status", flat=True)) == [DeliveryStatus.GIVEN_UP, DeliveryStatus.WAITING]


def test_a_delivery_is_sent_again_after_its_lease_if_the_worker_was_killed(listener: Listener) -> None:
    investor = investor_without_mailbox()
    add_endpoint(investor, listener.url)
    factories.reserved(LoanFactory(), investor=investor)
    outbox.fan_out(SOON)
    for delivery in deliveries.take_due(SOON):
        deliveries.send(delivery)
    assert deliveries.deliver_due(SOON) == DeliveryCounts()  # the lease still runs
    assert deliveries.deliver_due(SOON + deliveries.LEASE) == DeliveryCounts(sent=1)
    assert len(listener.got) == 2
    assert len(set(listener.ids())) == 1


def test_two_workers_never_take_the_same_delivery() -> None:
    loan = LoanFactory()
    for _ in range(3):
        factories.reserved(loan, 1_000)
    outbox.fan_out(SOON)
    taken: list[Delivery] = []
    with open_transaction(lambda: taken.extend(deliveries.take_due(SOON))):
        assert deliveries.take_due(SOON) == []
    assert len(taken) == 3
    assert deliveries.take_due(SOON) == []


def test_no_attempt_starts_inside_a_transaction(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    investor = investor_without_mailbox()
    add_endpoint(investor, listener.url)
    factories.reserved(LoanFactory(), investor=investor)
    in_transaction: list[bool] = []
    real = deliveries.ThreadPoolExecutor.submit

    def submit(*arguments: object) -> object:
        in_transaction.append(connection.in_atomic_block)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(deliveries.ThreadPoolExecutor, "submit", submit)
    deliveries.deliver_due(SOON)
    assert in_transaction == [False]


def test_an_email_is_retried_when_the_mail_server_refuses(settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    factories.reserved(LoanFactory())
    assert deliveries.deliver_due(SOON) == DeliveryCounts(failed=1)
    assert "refused" in Delivery.objects.get().last_error
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    assert deliveries.deliver_due(SOON + timedelta(minutes=1)) == DeliveryCounts(sent=1)
    assert len(mail.outbox) == 1


def test_every_attempt_at_an_email_has_the_same_message_id() -> None:
    factories.reserved(LoanFactory())
    outbox.fan_out(SOON)
    for _ in range(2):
        for delivery in deliveries.take_due(SOON):
            deliveries.send(delivery)
        Delivery.objects.update(next_attempt_at=SOON)
    first, second = (message.message()["Message-ID"] for message in mail.outbox)
    assert first == second


def test_a_registered_private_address_is_not_called(settings: Settings) -> None:
    settings.DEBUG = True
    investor = investor_without_mailbox()
    with listening() as private:
        add_endpoint(investor, private.url)
        factories.reserved(LoanFactory(), investor=investor)
        assert deliveries.deliver_due(SOON) == DeliveryCounts(failed=1)
        assert private.got == []
    assert "not a public address" in Delivery.objects.get().last_error


def test_an_endpoint_disabled_in_the_meantime_receives_nothing(listener: Listener) -> None:
    investor = investor_without_mailbox()
    endpoint = add_endpoint(investor, listener.url)
    factories.reserved(LoanFactory(), investor=investor)
    outbox.fan_out(SOON)
    WebhookEndpoint.objects.update(enabled=False)
    assert deliveries.deliver_due(SOON) == DeliveryCounts(failed=1)
    assert listener.got == []
    assert Delivery.objects.get(endpoint=endpoint).last_error == "The endpoint is disabled."
