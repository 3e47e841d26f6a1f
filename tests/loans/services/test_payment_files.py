"""Send refunds in a payment file: which lines it has, and which refunds it refuses."""

import csv
from datetime import timedelta
from uuid import uuid4

import pytest

from loans.domain.errors import IllegalTransition, Invalid, NotFound
from loans.models import PaymentFile, Transfer, Transition
from loans.services.payment_files import MOST_SENT_AT_ONCE, send_refunds
from loans.services.staff_overrides import cancel_by_staff
from tests.factories import NOON, STAFF, LoanFactory, fresh, funded, inbound

pytestmark = pytest.mark.django_db
LATER = NOON + timedelta(minutes=1)


def with_refund() -> Transfer:
    reservation = funded(LoanFactory())
    cancel_by_staff(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=NOON)
    return reservation.transfers.get(direction="refund")


def test_a_payment_file_names_each_refund_once_and_is_kept_as_it_was() -> None:
    first, second = with_refund(), with_refund()
    second.reservation.investor.name = "=cmd()"
    second.reservation.investor.save()
    file = send_refunds(refund_ids=[second.pk, first.pk], actor=STAFF, reason="a test", now=NOON)
    header, *lines = csv.reader(file.content.splitlines())
    assert header == ["reference", "amount", "currency", "investor", "loan", "payment_references"]
    expected = [
        [refund.reference, "10000.00", "USD", name, refund.reservation.loan.reference, inbound(refund.reservation).reference]
        for refund, name in ((first, first.reservation.investor.name), (second, "'=cmd()"))
    ]
    assert sorted(lines) == sorted(expected)
    assert Transition.objects.filter(event="sent", reason="a test").count() == 2
    with pytest.raises(IllegalTransition):
        send_refunds(refund_ids=[first.pk], actor=STAFF, reason="again", now=LATER)
    assert PaymentFile.objects.count() == 1


def test_a_file_of_no_refunds_or_of_too_many_is_refused() -> None:
    refund = with_refund()
    for refund_ids in ([], [refund.pk, *(uuid4() for _ in range(MOST_SENT_AT_ONCE))]):
        with pytest.raises(Invalid):
            send_refunds(refund_ids=refund_ids, actor=STAFF, reason="a test", now=NOON)
    assert (fresh(refund).status, PaymentFile.objects.count()) == ("due", 0)


def test_one_refund_that_is_not_due_keeps_all_from_being_sent() -> None:
    sent, due = with_refund(), with_refund()
    send_refunds(refund_ids=[sent.pk], actor=STAFF, reason="a test", now=NOON)
    with pytest.raises(IllegalTransition):
        send_refunds(refund_ids=[due.pk, sent.pk], actor=STAFF, reason="a test", now=LATER)
    assert (fresh(due).status, PaymentFile.objects.count()) == ("due", 1)


def test_refunds_that_are_gone_are_named_in_the_refusal() -> None:
    with pytest.raises(NotFound, match="There are no such refunds"):
        send_refunds(refund_ids=[uuid4()], actor=STAFF, reason="a test", now=NOON)
