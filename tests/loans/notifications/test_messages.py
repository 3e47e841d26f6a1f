"""What messages say, in e-mails and webhooks."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core import mail
from django.db import connection, transaction
from standardwebhooks import Webhook

from loans.domain.states import LOSSES, RESERVATION_TRANSITIONS, ReservationEvent, ReservationState, WaitingListEvent
from loans.models import Delivery, Investor, Reservation, Transition
from loans.notifications.deliveries import deliver_due
from loans.notifications.feed import START, read_feed
from loans.notifications.messages import OF_RESERVATION, OF_TRANSFER, OF_WAITING_ENTRY, message_id, message_of
from loans.services.loans import withdraw_loan
from loans.services.staff_overrides import accept_amount, cancel_by_staff, extend_reservation, reinstate_reservation
from loans.services.waiting_list import leave_waiting_list, remove_from_waiting_list
from tests import factories
from tests.factories import NOON, STAFF, InvestorFactory, LoanFactory
from tests.loans.notifications.conftest import SOON, add_endpoint, investor_without_mailbox
from tests.loans.notifications.listener import Listener

pytestmark = pytest.mark.django_db(transaction=True)


def test_every_event_of_a_reservation_has_a_message() -> None:
    """Except a loss, which is ours and not the investor's."""
    events = {event for _, event in RESERVATION_TRANSITIONS} | {ReservationEvent.RESERVED}
    assert OF_RESERVATION.keys() == events - LOSSES
    causes = {event for (_, event), state in RESERVATION_TRANSITIONS.items() if state == ReservationState.CANCELED} - LOSSES
    assert causes == {event for event, message in OF_RESERVATION.items() if message.why}


def test_every_event_of_a_waiting_list_has_a_message() -> None:
    assert OF_WAITING_ENTRY.keys() == set(WaitingListEvent)


def wait_and_end_in_every_way(investor: Investor) -> None:
    """Join full loans, and end in each way: placed, left, removed, and with the loan."""
    loans = [LoanFactory(reference=f"LN-8{number}", overbooking_rate=Decimal(0)) for number in range(4)]
    held = [factories.reserved(loan, 100_000) for loan in loans]
    factories.waiting(loans[0], 20_000)
    entries = [factories.waiting(loan, 10_000, investor=investor) for loan in loans]
    cancel_by_staff(reservation_id=held[0].pk, actor=STAFF, reason="asked for", now=NOON)
    leave_waiting_list(entry_id=entries[1].pk, investor=investor, now=NOON)
    remove_from_waiting_list(entry_id=entries[2].pk, actor=STAFF, reason="for staff only", now=NOON)
    withdraw_loan(reference=loans[3].reference, actor=STAFF, reason="sold elsewhere", now=NOON)


def test_an_investor_hears_of_a_waiting_list_by_email() -> None:
    investor = InvestorFactory()
    wait_and_end_in_every_way(investor)
    deliver_due(SOON)
    bodies = [" ".join(message.body.split()) for message in mail.outbox if message.to == [investor.user.email]]
    for sentence in (
        "You wait for $10,000.00 of loan LN-80. Your place on its waiting list is 2; $20,000.00 wait before you.",
        "Your place on its waiting list is 1. When it is your turn",
        "Your turn on the waiting list of loan LN-80 has come: $10,000.00 are reserved for you.",
        "You no longer wait for $10,000.00 of loan LN-81. You left the list.",
        "of loan LN-82. Our staff removed you from the list.",
        "of loan LN-83. The loan takes no more reservations.",
    ):
        assert any(sentence in body for body in bodies), sentence
    assert not any("for staff only" in body for body in bodies)


def test_webhooks_and_the_feed_tell_of_a_waiting_list_in_its_order(listener: Listener) -> None:
    investor = investor_without_mailbox()
    add_endpoint(investor, listener.url)
    wait_and_end_in_every_way(investor)
    for _ in range(3):
        deliver_due(SOON)
    sent = [json.loads(body) for _, body in listener.got]
    (joined, placed) = (body for body in sent if body["data"]["loan"] == "LN-80" and body["type"].startswith("waiting_list"))
    assert (joined["type"], joined["data"]["list_position"], joined["data"]["dollars_before"]) == ("waiting_list.joined", 2, "20000.00")
    assert (placed["type"], placed["data"]["amount"]) == ("waiting_list.placed", "10000.00")
    assert placed["data"]["reservation"] == str(Reservation.objects.get(investor=investor).pk)
    assert placed["data"]["waiting_entry"] == joined["data"]["waiting_entry"]
    feed = read_feed(investor.pk, START, 100).transitions
    assert sorted(message_id(transition) for transition in feed) == sorted(headers["webhook-id"] for headers, _ in listener.got)
    assert [transition.event for transition in feed if transition.waiting_entry_id][-3:] == ["left", "removed", "ended"]


def go_through_every_message(investor: Investor) -> None:
    """Act on reservations of one loan until every e-mail text is used."""
    loan = LoanFactory(reference="LN-7")
    first = factories.reserved(loan, 30_000, investor=investor)
    extend_reservation(reservation_id=first.pk, expires_at=NOON + timedelta(days=2), actor=STAFF, reason="a holiday", now=NOON)
    factories.start_transfer(first, method="wire")
    factories.money_comes(first, 29_999)
    accept_amount(reservation_id=first.pk, actor=STAFF, reason="a dollar short", now=NOON)
    in_parts = factories.pending(loan, 4_000, investor=investor)
    for minute, amount in enumerate([3_000, 1_000], start=1):
        factories.money_comes(in_parts, amount, now=NOON + timedelta(minutes=minute))
    factories.money_fails(in_parts, 3_000, occurred_at=NOON + timedelta(seconds=61))
    factories.money_comes(in_parts, 3_000, now=NOON + timedelta(minutes=5))
    factories.money_fails(in_parts, 500, now=NOON + timedelta(minutes=6))
    second = factories.funded(loan, 2_000, investor=investor)
    cancel_by_staff(reservation_id=second.pk, actor=STAFF, reason="for staff only", now=NOON)
    reinstate_reservation(reservation_id=second.pk, actor=STAFF, reason="a mistake", now=NOON)
    factories.settled(loan, 3_000, investor=investor)
    withdraw_loan(reference=loan.reference, actor=STAFF, reason="sold elsewhere", now=NOON)
    for refund in first.transfers.filter(status="due"):
        factories.refund_goes_out(refund)
        factories.refund_bounces(refund, now=NOON + timedelta(minutes=7))


def test_emails_say_in_plain_text_what_happened() -> None:
    investor = InvestorFactory(name="O'Hara & Söhne <Ltd>")
    go_through_every_message(investor)
    for now in (SOON, SOON + timedelta(minutes=1)):  # many mails to one investor come one after the other
        counts = deliver_due(now)
        assert counts.failed == counts.given_up == 0
    texts = [str(message.body) for message in mail.outbox]
    assert {message.template for message in {**OF_RESERVATION, **OF_TRANSFER}.values()} == {
        message_of(delivery.transition).template for delivery in Delivery.objects.select_related("transition")
    }
    for text in texts:
        assert text.startswith("Hello O'Hara & Söhne <Ltd>,\n\n")
        assert "None" not in text
        assert "for staff only" not in text
    assert {message.subject for message in mail.outbox} >= {"You reserved part of loan LN-7", "You bought part of loan LN-7"}
    transfer_started = next(text for text in texts if "Send $30,000.00 by wire" in text)
    assert factories.inbound(Reservation.objects.get(amount=29_999)).reference in transfer_started
    assert "The money must reach us by 11:59 pm ET, Wed Jul 8, 2026." in transfer_started
    assert all(message.to == [investor.user.email] for message in mail.outbox)


def test_webhooks_send_what_history_records(listener: Listener) -> None:
    investor = investor_without_mailbox()
    endpoint = add_endpoint(investor, listener.url)
    reservation = factories.pending(LoanFactory(reference="LN-7"), investor=investor)
    deliver_due(SOON)
    messages = [Webhook(endpoint.secret).verify(body, headers) for headers, body in listener.got]
    assert [message["type"] for message in messages] == ["reservation.reserved", "reservation.transfer_started"]
    assert messages[1]["timestamp"] == "2026-07-01T16:00:00Z"
    assert messages[1]["data"] == {
        "reservation": str(reservation.pk),
        "standing_order": None,
        "waiting_entry": None,
        "list_position": None,
        "dollars_before": None,
        "loan": "LN-7",
        "event": "transfer_started",
        "from": "reserved",
        "to": "pending",
        "amount": "10000.00",
        "expires_at": "2026-07-09T04:00:00Z",
        "reference": factories.inbound(reservation).reference,
        "method": "ach",
        "at": "2026-07-01T16:00:00Z",
    }


def test_a_row_number_that_comes_again_after_a_restore_makes_another_id() -> None:
    """A sequence goes back with its database. Here the rows go, and their sequence is set back."""
    loan, investor = LoanFactory(), InvestorFactory()
    ids = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT last_value FROM loans_transition_id_seq")
        (last,) = cursor.fetchone()
        for minute in range(2):
            with transaction.atomic():
                reservation = factories.reserved(loan, 1_000, investor=investor, now=NOON + timedelta(minutes=minute))
                transition = Transition.objects.get(reservation=reservation)
                ids.append((transition.pk, message_id(transition)))
                transaction.set_rollback(True)
            cursor.execute("SELECT setval('loans_transition_id_seq', %s)", [last])
    (first_pk, first), (second_pk, second) = ids
    assert first_pk == second_pk
    assert first != second
