"""The outbox: real transactions, real servers. Time is passed in; attempts that run at once are ordered by events, not by sleeping."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import pytest
from django.core import mail
from django.db import connection, transaction
from pytest_django.fixtures import Settings
from standardwebhooks import Webhook

from loans.domain.states import RESERVATION_TRANSITIONS, Event, State
from loans.models import Delivery, DeliveryStatus, Investor, OutboxCursor, Reservation, ReviewItem, Transition, WebhookEndpoint
from loans.notifications import outbox
from loans.notifications.messages import OF_RESERVATION, OF_TRANSFER
from loans.services.loans import withdraw_loan
from loans.services.staff_overrides import accept_amount, cancel_by_staff, extend_reservation, reinstate_reservation
from tests import factories
from tests.factories import NOON, STAFF, InvestorFactory, LoanFactory
from tests.loans.notifications.listener import Listener, listening

pytestmark = pytest.mark.django_db(transaction=True)

SOON = NOON + timedelta(minutes=1)


def endpoint(investor: Investor, url: str) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(investor=investor, url=url)


def silent_investor() -> Investor:
    """One without a mailbox, so that only webhooks are due."""
    return InvestorFactory(user__email="")


def told() -> list[str]:
    """The events that deliveries were made for, in order."""
    return [delivery.transition.event for delivery in Delivery.objects.select_related("transition")]


def types(listener: Listener) -> list[str]:
    return [json.loads(body)["type"].removeprefix("reservation.") for _, body in listener.got]


@contextmanager
def elsewhere(work: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """Do `work` in a transaction of another connection that stays open until the given function is called."""
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


# --- Reading history on -------------------------------------------------------------------------------------------------
def test_each_step_becomes_one_delivery_a_target() -> None:
    loan, investor = LoanFactory(), InvestorFactory()
    endpoint(investor, "https://one.example/")
    endpoint(investor, "https://two.example/")
    endpoint(InvestorFactory(), "https://another.example/")
    factories.reserved(loan, investor=investor)
    assert outbox.fan_out(NOON) == Transition.objects.count()
    assert [str(delivery.endpoint) for delivery in Delivery.objects.order_by("id")] == [
        "https://one.example/",
        "https://two.example/",
        "None",
    ]
    assert outbox.fan_out(NOON) == 0
    assert Delivery.objects.count() == 3


def test_targets_are_known_mailboxes_and_enabled_endpoints() -> None:
    investor = silent_investor()
    WebhookEndpoint.objects.create(investor=investor, url="https://one.example/", enabled=False)
    factories.reserved(LoanFactory(), investor=investor)
    outbox.fan_out(NOON)
    assert told() == []


def test_nothing_is_skipped_though_a_later_transaction_commits_first() -> None:
    loans = [LoanFactory(), LoanFactory()]
    outbox.fan_out(NOON)
    investor = InvestorFactory()
    with elsewhere(lambda: factories.reserved(loans[0], 11_000, investor=investor)) as commit:
        factories.reserved(loans[1], 22_000)
        assert outbox.fan_out(NOON) == 0  # the one that still runs may have been first
        commit()
    first, second = Transition.objects.filter(event=Event.RESERVED).order_by("id")
    assert first.amount == 11_000
    assert first.txid < second.txid
    assert outbox.fan_out(NOON) == 2
    assert list(Delivery.objects.values_list("transition_id", flat=True)) == [first.pk, second.pk]


def test_nothing_is_skipped_though_a_lower_id_appears_after_a_higher_one_was_read() -> None:
    """The younger transaction writes first, so has the lower id, and commits last."""
    loans = [LoanFactory(), LoanFactory()]
    outbox.fan_out(NOON)
    with ExitStack() as younger:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id()")
            commit = younger.enter_context(elsewhere(lambda: factories.reserved(loans[0], 22_000)))
            factories.reserved(loans[1], 11_000)
        assert outbox.fan_out(NOON) == 1
        commit()
    assert outbox.fan_out(NOON) == 1
    assert list(Transition.objects.filter(event=Event.RESERVED).order_by("id").values_list("amount", flat=True)) == [22_000, 11_000]
    assert [delivery.transition.amount for delivery in Delivery.objects.order_by("id")] == [11_000, 22_000]


def test_what_was_rolled_back_is_told_to_nobody() -> None:
    with transaction.atomic():
        factories.reserved(LoanFactory())
        transaction.set_rollback(True)
    outbox.fan_out(NOON)
    assert told() == []


def test_batches_continue_where_the_last_one_ended() -> None:
    loan = LoanFactory()
    for _ in range(3):
        factories.reserved(loan, 1_000)
    read = []
    while count := outbox.fan_out(NOON, batch=2):
        read.append(count)
    assert read == [2, 2, 1]
    assert told() == [Event.RESERVED] * 3
    last = Transition.objects.order_by("-txid", "-id")[0]
    assert (OutboxCursor.objects.get().txid, OutboxCursor.objects.get().transition_id) == (last.txid, last.pk)


def test_two_readers_at_once_make_nothing_twice() -> None:
    factories.reserved(LoanFactory())
    outbox.fan_out(NOON, batch=1)

    def hold_the_cursor() -> None:
        OutboxCursor.objects.select_for_update().get()

    with elsewhere(hold_the_cursor):
        assert outbox.fan_out(NOON) == 0
    assert outbox.fan_out(NOON) > 0
    assert told() == [Event.RESERVED]


def test_history_from_a_dump_is_noticed_and_the_remedy_works() -> None:
    loan = LoanFactory()
    factories.reserved(loan)
    outbox.fan_out(NOON)
    OutboxCursor.objects.update(txid=2**62)
    factories.reserved(loan)
    outbox.deliver_due(NOON)
    review_item = ReviewItem.objects.get(kind="job_failed")
    assert told() == [Event.RESERVED]
    with connection.cursor() as cursor:
        cursor.execute(review_item.detail.split("until you run: ")[1])
    factories.reserved(loan)
    outbox.fan_out(NOON)
    assert told() == [Event.RESERVED] * 3


# --- What is said -------------------------------------------------------------------------------------------------------
def test_every_step_of_a_reservation_is_announced() -> None:
    """But for a loss, which is ours alone."""
    assert OF_RESERVATION.keys() == ({event for _, event in RESERVATION_TRANSITIONS} | {Event.RESERVED}) - {Event.LOST}
    causes = {event for (_, event), state in RESERVATION_TRANSITIONS.items() if state == State.CANCELED} - {Event.LOST}
    assert causes == {event for event, said in OF_RESERVATION.items() if said.why}


def life(investor: Investor) -> None:
    """Steps that between them use every text."""
    loan = LoanFactory(reference="LN-7")
    bought = factories.reserved(loan, 30_000, investor=investor)
    extend_reservation(reservation_id=bought.pk, expires_at=NOON + timedelta(days=2), actor=STAFF, reason="a holiday", now=NOON)
    factories.start_transfer(bought, method="wire")
    factories.money_comes(bought, 29_999)
    accept_amount(reservation_id=bought.pk, actor=STAFF, reason="a dollar short", now=NOON)
    again = factories.funded(loan, 2_000, investor=investor)
    cancel_by_staff(reservation_id=again.pk, actor=STAFF, reason="known to staff alone", now=NOON)
    reinstate_reservation(reservation_id=again.pk, actor=STAFF, reason="a mistake", now=NOON)
    factories.settled(loan, 3_000, investor=investor)
    withdraw_loan(reference=loan.reference, actor=STAFF, reason="sold elsewhere", now=NOON)
    for refund in bought.transfers.filter(status="due"):
        factories.refund_goes_out(refund)


def test_mails_tell_every_step_in_plain_text() -> None:
    investor = InvestorFactory(name="O'Hara & Söhne <Ltd>")
    life(investor)
    outcome = outbox.deliver_due(SOON)
    assert outcome.failed == outcome.given_up == 0
    texts = [str(message.body) for message in mail.outbox]
    assert {announced.template for announced in {**OF_RESERVATION, **OF_TRANSFER}.values()} == {
        outbox.announcement(delivery.transition).template for delivery in Delivery.objects.select_related("transition")
    }
    for text in texts:
        assert text.startswith("Hello O'Hara & Söhne <Ltd>,\n\n")
        assert "None" not in text
        assert "known to staff alone" not in text
    assert {message.subject for message in mail.outbox} >= {"You have reserved a piece of LN-7", "You have bought a piece of LN-7"}
    started = next(text for text in texts if "We await $30,000.00 by wire" in text)
    assert factories.inbound(Reservation.objects.get(amount=29_999)).reference in started
    assert "The money must be here by July 9, 2026, 00:00, New York time" in started
    assert all(message.to == [investor.user.email] for message in mail.outbox)


def test_webhooks_tell_what_history_has(listener: Listener) -> None:
    investor = silent_investor()
    hook = endpoint(investor, listener.url)
    claim = factories.pending(LoanFactory(reference="LN-7"), investor=investor)
    outbox.deliver_due(SOON)
    messages = [Webhook(hook.secret).verify(body, headers) for headers, body in listener.got]
    assert [message["type"] for message in messages] == ["reservation.reserved", "reservation.transfer_started"]
    assert messages[1]["timestamp"] == "2026-07-01T16:00:00Z"
    assert messages[1]["data"] == {
        "reservation": str(claim.pk),
        "loan": "LN-7",
        "event": "transfer_started",
        "from": "reserved",
        "to": "pending",
        "amount": "10000.00",
        "expires_at": "2026-07-09T04:00:00Z",
        "reference": factories.inbound(claim).reference,
        "method": "ach",
        "at": "2026-07-01T16:00:00Z",
    }


# --- Sending ------------------------------------------------------------------------------------------------------------
def test_a_delivery_is_tried_until_the_endpoint_is_up_and_says_the_same_each_time(listener: Listener) -> None:
    investor = silent_investor()
    endpoint(investor, listener.url)
    factories.reserved(LoanFactory(), investor=investor)
    listener.status, now = 503, SOON
    for attempts in (1, 2, 3):
        assert outbox.deliver_due(now) == outbox.Outcome(failed=1)
        assert outbox.deliver_due(now) == outbox.Outcome()  # not before its time
        delivery = Delivery.objects.get()
        assert (delivery.attempts, delivery.last_error) == (attempts, "The answer was 503.")
        assert delivery.next_attempt_at
        now = delivery.next_attempt_at
    listener.status = 200
    assert outbox.deliver_due(now) == outbox.Outcome(sent=1)
    assert len(listener.got) == 4
    assert len(set(listener.ids())) == 1
    assert len({body for _, body in listener.got}) == 1
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.ended_at, delivery.last_error) == (DeliveryStatus.SENT, now, "")


def test_a_failing_delivery_holds_back_its_own_reservation_at_its_own_target_only(listener: Listener) -> None:
    loan, investor = LoanFactory(), silent_investor()
    endpoint(investor, listener.url)
    first, other = factories.reserved(loan, investor=investor), factories.reserved(loan, investor=investor)
    listener.status = 500
    outbox.deliver_due(SOON)
    assert len(listener.got) == 2
    with listening() as up:
        endpoint(investor, up.url)
        factories.start_transfer(first)
        factories.start_transfer(other)
        Delivery.objects.filter(reservation=other).update(next_attempt_at=SOON)
        listener.status = 200
        outbox.deliver_due(SOON)
        assert types(up) == ["transfer_started", "transfer_started"]
    assert types(listener)[2:] == ["reserved", "transfer_started"]
    assert {json.loads(body)["data"]["reservation"] for _, body in listener.got[2:]} == {str(other.pk)}
    outbox.deliver_due(SOON + timedelta(minutes=1))
    assert types(listener)[4:] == ["reserved", "transfer_started"]
    assert {json.loads(body)["data"]["reservation"] for _, body in listener.got[4:]} == {str(first.pk)}


def test_an_endpoint_that_does_not_answer_delays_no_other(private_networks: None) -> None:
    """The silent one is let go only by what the other one gets: were that held back, the test would fail."""
    loan = LoanFactory()
    with listening() as silent, listening() as live:
        slow, quick = silent_investor(), silent_investor()
        endpoint(slow, silent.url)
        endpoint(quick, live.url)
        silent.hold = threading.Event()
        for _ in range(outbox.SLOTS + 1):
            factories.reserved(loan, 1_000, investor=slow)
        for _ in range(outbox.SLOTS_OF_TARGET * 2):
            factories.reserved(loan, 1_000, investor=quick)
        live.after, live.then = outbox.SLOTS_OF_TARGET * 2, silent.hold
        outcome = outbox.deliver_due(SOON)
        assert silent.hold.is_set()
        assert outcome == outbox.Outcome(sent=outbox.SLOTS + 1 + outbox.SLOTS_OF_TARGET * 2)


def test_what_fails_for_three_days_is_a_review_item_for_staff_who_may_send_it_again(listener: Listener) -> None:
    investor = silent_investor()
    endpoint(investor, listener.url)
    claim = factories.reserved(LoanFactory(), investor=investor)
    listener.status, now = 500, SOON
    outbox.fan_out(SOON)
    for _ in range(100):
        outcome = outbox.deliver_due(now)
        if outcome.given_up:
            break
        now = Delivery.objects.get().next_attempt_at or now
    assert now == SOON + timedelta(days=3)
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.ended_at, delivery.next_attempt_at) == (DeliveryStatus.GIVEN_UP, now, None)
    review_item = ReviewItem.objects.get(kind="delivery_given_up")
    assert review_item.reservation == claim
    assert review_item.detail == f"reservation.reserved could not be delivered to {listener.url} for three days. The answer was 500."
    assert outbox.deliver_due(now + timedelta(days=1)) == outbox.Outcome()
    listener.status = 200
    assert outbox.send_again([delivery], now) == 1
    assert outbox.deliver_due(now) == outbox.Outcome(sent=1)
    assert len(set(listener.ids())) == 1


def test_a_given_up_delivery_lets_the_next_one_go(listener: Listener) -> None:
    investor = silent_investor()
    endpoint(investor, listener.url)
    claim = factories.reserved(LoanFactory(), investor=investor)
    outbox.fan_out(NOON)
    factories.start_transfer(claim)
    listener.status, late = 500, NOON + timedelta(days=3)
    outbox.fan_out(late)
    delivery = Delivery.objects.first()
    assert delivery
    outbox.deliver_due(late)
    assert types(listener) == ["reserved", "transfer_started"]
    assert list(Delivery.objects.values_list("status", flat=True)) == [DeliveryStatus.GIVEN_UP, DeliveryStatus.WAITING]


def test_a_worker_killed_between_sending_and_recording_sends_again(listener: Listener) -> None:
    investor = silent_investor()
    endpoint(investor, listener.url)
    factories.reserved(LoanFactory(), investor=investor)
    outbox.fan_out(SOON)
    for delivery in outbox.take_due_deliveries(SOON):
        outbox.send(delivery)
    assert outbox.deliver_due(SOON) == outbox.Outcome()  # the lease still runs
    assert outbox.deliver_due(SOON + outbox.LEASE) == outbox.Outcome(sent=1)
    assert len(listener.got) == 2
    assert len(set(listener.ids())) == 1


def test_two_workers_at_once_take_each_delivery_once() -> None:
    loan = LoanFactory()
    for _ in range(3):
        factories.reserved(loan, 1_000)
    outbox.fan_out(SOON)
    taken: list[Delivery] = []
    with elsewhere(lambda: taken.extend(outbox.take_due_deliveries(SOON))):
        assert outbox.take_due_deliveries(SOON) == []
    assert len(taken) == 3
    assert outbox.take_due_deliveries(SOON) == []


def test_no_network_call_is_made_inside_a_transaction(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    investor = silent_investor()
    endpoint(investor, listener.url)
    factories.reserved(LoanFactory(), investor=investor)
    inside: list[bool] = []
    real = outbox.ThreadPoolExecutor.submit

    def submit(*arguments: object) -> object:
        inside.append(connection.in_atomic_block)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(outbox.ThreadPoolExecutor, "submit", submit)
    outbox.deliver_due(SOON)
    assert inside == [False]


def test_a_mail_server_that_refuses_is_tried_again(settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    factories.reserved(LoanFactory())
    assert outbox.deliver_due(SOON) == outbox.Outcome(failed=1)
    assert "refused" in Delivery.objects.get().last_error
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    assert outbox.deliver_due(SOON + timedelta(minutes=1)) == outbox.Outcome(sent=1)
    assert len(mail.outbox) == 1


def test_mails_of_one_step_carry_one_name_on_every_attempt() -> None:
    factories.reserved(LoanFactory())
    outbox.fan_out(SOON)
    for _ in range(2):
        for delivery in outbox.take_due_deliveries(SOON):
            outbox.send(delivery)
        Delivery.objects.update(next_attempt_at=SOON)
    first, second = (message.message()["Message-ID"] for message in mail.outbox)
    assert first == second


def test_a_private_address_is_never_called_though_it_was_registered(settings: Settings) -> None:
    settings.DEBUG = True
    investor = silent_investor()
    with listening() as inside:
        endpoint(investor, inside.url)
        factories.reserved(LoanFactory(), investor=investor)
        assert outbox.deliver_due(SOON) == outbox.Outcome(failed=1)
        assert inside.got == []
    assert "not a public address" in Delivery.objects.get().last_error


def test_an_endpoint_disabled_meanwhile_gets_nothing(listener: Listener) -> None:
    investor = silent_investor()
    hook = endpoint(investor, listener.url)
    factories.reserved(LoanFactory(), investor=investor)
    outbox.fan_out(SOON)
    WebhookEndpoint.objects.update(enabled=False)
    assert outbox.deliver_due(SOON) == outbox.Outcome(failed=1)
    assert listener.got == []
    assert Delivery.objects.get(endpoint=hook).last_error == "The endpoint is disabled."
