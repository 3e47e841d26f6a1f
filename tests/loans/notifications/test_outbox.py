"""Reading history: real transactions, of several connections where their order matters."""

from contextlib import ExitStack

import pytest
from django.db import connection, transaction

from loans.domain.states import ReservationEvent
from loans.models import Delivery, OutboxCursor, ReviewItem, Transition, WebhookEndpoint
from loans.notifications import outbox
from tests import factories
from tests.factories import NOON, InvestorFactory, LoanFactory
from tests.loans.notifications.conftest import add_endpoint, investor_without_mailbox, open_transaction, restore_from_another_server

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


# --- Restored databases -------------------------------------------------------------------------------------------------
def amounts_announced() -> list[int]:
    return [int(delivery.transition.amount or 0) for delivery in Delivery.objects.order_by("id").select_related("transition")]


def test_messages_go_on_by_themselves_after_a_dump_was_restored_into_another_server() -> None:
    loan = LoanFactory()
    factories.reserved(loan, 1_000)
    outbox.fan_out_all(NOON)
    factories.reserved(loan, 2_000)  # the dump has it unread
    restore_from_another_server()
    factories.reserved(loan, 3_000)  # on the new server, before a worker runs there
    outbox.fan_out_all(NOON)
    factories.reserved(loan, 4_000)
    outbox.fan_out_all(NOON)
    assert amounts_announced() == [1_000, 2_000, 3_000, 4_000]
    assert "2026-07-01 16:00:00 UTC" in ReviewItem.objects.get(kind="restored").detail


def test_nothing_old_is_announced_again_after_two_restores() -> None:
    """An endpoint that was added since would get what was announced long ago."""
    loan, investor = LoanFactory(), InvestorFactory()
    for amount in (1_000, 2_000):
        factories.reserved(loan, amount, investor=investor)
        outbox.fan_out_all(NOON)
        restore_from_another_server()
        outbox.fan_out_all(NOON)
    add_endpoint(investor, "https://one.example/")
    factories.reserved(loan, 3_000, investor=investor)
    outbox.fan_out_all(NOON)
    assert amounts_announced() == [1_000, 2_000, 3_000, 3_000]


def test_a_batch_that_ends_within_the_restored_part_is_continued() -> None:
    loan = LoanFactory()
    for amount in (1_000, 2_000, 3_000):
        factories.reserved(loan, amount)
    restore_from_another_server()
    counts = [outbox.fan_out(NOON, batch=2) for _ in range(3)]
    factories.reserved(loan, 4_000)
    assert (counts, outbox.fan_out(NOON, batch=2)) == ([2, 2, 1], 1)
    assert amounts_announced() == [1_000, 2_000, 3_000, 4_000]


def test_the_first_server_and_the_same_one_again_need_no_person() -> None:
    for _ in range(2):
        factories.reserved(LoanFactory())
        outbox.fan_out_all(NOON)
    assert ReviewItem.objects.count() == 0


def test_a_restore_that_keeps_the_transaction_numbers_needs_a_person_too() -> None:
    """A restore to a point in time, and a standby that took over: what they lost is not known here."""
    factories.reserved(LoanFactory())
    outbox.fan_out_all(NOON)
    server = OutboxCursor.objects.get().server
    OutboxCursor.objects.update(server=server.replace("timeline 1", "timeline 0"))
    factories.reserved(LoanFactory())
    outbox.fan_out_all(NOON)
    assert announced_events() == [ReservationEvent.RESERVED] * 2
    assert "timeline 0" in ReviewItem.objects.get(kind="restored").detail
