"""Reading history: real transactions, of several connections where their order matters."""

from contextlib import ExitStack

import pytest
from django.db import connection, transaction

from loans.domain.states import ReservationEvent
from loans.models import Delivery, OutboxCursor, ReviewItem, Transition, WebhookEndpoint
from loans.notifications import deliveries, outbox
from tests import factories
from tests.factories import NOON, InvestorFactory, LoanFactory
from tests.loans.notifications.conftest import add_endpoint, investor_without_mailbox, open_transaction

pytestmark = pytest.mark.django_db(transaction=True)


def announced_events() -> list[str]:
    """The events that deliveries were made for, in order."""
    return [delivery.transition.event for delivery in Delivery.objects.select_related("transition")]


def test_a_transition_becomes_one_delivery_for_each_target() -> None:
    loan, investor = LoanFactory(), InvestorFactory()
    add_endpoint(investor, "https://one.example/")
    add_endpoint(investor, "https://two.example/")
    add_endpoint(InvestorFactory(), "https://another.example/")
    factories.reserved(loan, investor=investor)
    assert outbox.fan_out(NOON) == Transition.objects.count()
    assert [str(delivery.endpoint) for delivery in Delivery.objects.order_by("id")] == [
        "https://one.example/",
        "https://two.example/",
        "None",
    ]
    assert outbox.fan_out(NOON) == 0
    assert Delivery.objects.count() == 3


def test_investors_without_mailbox_and_disabled_endpoints_are_no_targets() -> None:
    investor = investor_without_mailbox()
    WebhookEndpoint.objects.create(investor=investor, url="https://one.example/", enabled=False)
    factories.reserved(LoanFactory(), investor=investor)
    outbox.fan_out(NOON)
    assert announced_events() == []


def test_nothing_is_skipped_when_a_later_transaction_commits_first() -> None:
    loans = [LoanFactory(), LoanFactory()]
    outbox.fan_out(NOON)
    investor = InvestorFactory()
    with open_transaction(lambda: factories.reserved(loans[0], 11_000, investor=investor)) as commit:
        factories.reserved(loans[1], 22_000)
        assert outbox.fan_out(NOON) == 0  # the open transaction may be the older one
        commit()
    first, second = Transition.objects.filter(event=ReservationEvent.RESERVED).order_by("id")
    assert first.amount == 11_000
    assert first.txid < second.txid
    assert outbox.fan_out(NOON) == 2
    assert list(Delivery.objects.values_list("transition_id", flat=True)) == [first.pk, second.pk]


def test_nothing_is_skipped_when_a_lower_id_appears_after_a_higher_one_was_read() -> None:
    """The younger transaction writes first, so it has the lower id, and it commits last."""
    loans = [LoanFactory(), LoanFactory()]
    outbox.fan_out(NOON)
    with ExitStack() as younger:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id()")
            commit = younger.enter_context(open_transaction(lambda: factories.reserved(loans[0], 22_000)))
            factories.reserved(loans[1], 11_000)
        assert outbox.fan_out(NOON) == 1
        commit()
    assert outbox.fan_out(NOON) == 1
    assert list(Transition.objects.filter(event=ReservationEvent.RESERVED).order_by("id").values_list("amount", flat=True)) == [
        22_000,
        11_000,
    ]
    assert [delivery.transition.amount for delivery in Delivery.objects.order_by("id")] == [11_000, 22_000]


def test_a_rolled_back_transition_is_not_announced() -> None:
    with transaction.atomic():
        factories.reserved(LoanFactory())
        transaction.set_rollback(True)
    outbox.fan_out(NOON)
    assert announced_events() == []


def test_each_batch_continues_where_the_last_one_ended() -> None:
    loan = LoanFactory()
    for _ in range(3):
        factories.reserved(loan, 1_000)
    counts = []
    while count := outbox.fan_out(NOON, batch=2):
        counts.append(count)
    assert counts == [2, 2, 1]
    assert announced_events() == [ReservationEvent.RESERVED] * 3
    last = Transition.objects.order_by("-txid", "-id")[0]
    assert (OutboxCursor.objects.get().txid, OutboxCursor.objects.get().transition_id) == (last.txid, last.pk)


def test_two_readers_at_once_make_no_delivery_twice() -> None:
    factories.reserved(LoanFactory())
    outbox.fan_out(NOON, batch=1)

    def hold_the_cursor() -> None:
        OutboxCursor.objects.select_for_update().get()

    with open_transaction(hold_the_cursor):
        assert outbox.fan_out(NOON) == 0
    assert outbox.fan_out(NOON) > 0
    assert announced_events() == [ReservationEvent.RESERVED]


def test_a_restored_history_becomes_a_review_item_whose_remedy_works() -> None:
    loan = LoanFactory()
    factories.reserved(loan)
    outbox.fan_out(NOON)
    OutboxCursor.objects.update(txid=2**62)
    factories.reserved(loan)
    deliveries.deliver_due(NOON)
    review_item = ReviewItem.objects.get(kind="job_failed")
    assert announced_events() == [ReservationEvent.RESERVED]
    with connection.cursor() as cursor:
        cursor.execute(review_item.detail.split("until you run: ")[1])
    factories.reserved(loan)
    outbox.fan_out(NOON)
    assert announced_events() == [ReservationEvent.RESERVED] * 3
