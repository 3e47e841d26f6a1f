"""A second person approves what moves much money, and staff cannot act on what is their own."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction

from loans.domain.actors import Actor
from loans.domain.errors import ApprovalNeeded, IllegalTransition, NotPermitted
from loans.models import ApprovalRequest, BankEvent, Reservation, ReviewItem, Transition
from loans.services.approvals import approve, reject, request_approval
from loans.services.bank_events import assign_bank_event, record_bank_event
from loans.services.investor_limits import change_investor_limits
from loans.services.loans import withdraw_loan
from loans.services.refunds import mark_refund_paid
from loans.services.review_items import resolve_review_item
from loans.services.settlement import settle_ahead_of_turn
from loans.services.staff_overrides import cancel_by_staff, record_money
from tests.factories import NOON, STAFF, InvestorFactory, LoanFactory, UserFactory, fresh, funded, inbound, notice, pending, reserved

pytestmark = pytest.mark.django_db
LIMIT, ABOVE = Decimal(10_000), Decimal("10000.01")


def member_of_staff() -> Actor:
    return Actor("staff", UserFactory(is_staff=True).pk)


def recorded(amount: Decimal) -> tuple[Callable[..., Any], dict[str, Any]]:
    reservation = pending(LoanFactory(), amount)
    return record_money, {"reservation_id": reservation.pk, "notice_id": uuid4(), "occurred_at": NOON}


def assigned(amount: Decimal) -> tuple[Callable[..., Any], dict[str, Any]]:
    reservation = pending(LoanFactory(), amount)
    record_bank_event(notice("transfer.cleared", "rent", amount, event="evt-1"), now=NOON)
    return assign_bank_event, {"bank_event_id": "evt-1", "reference": inbound(reservation).reference}


def marked_paid(amount: Decimal) -> tuple[Callable[..., Any], dict[str, Any]]:
    reservation = funded(LoanFactory(), amount)
    cancel_by_staff(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=NOON)
    refund = reservation.transfers.get(direction="refund")
    return mark_refund_paid, {"transfer_id": refund.pk, "notice_id": uuid4(), "occurred_at": NOON}


def settled_ahead(amount: Decimal) -> tuple[Callable[..., Any], dict[str, Any]]:
    return settle_ahead_of_turn, {"reservation_id": funded(LoanFactory(), amount).pk}


ACTS = {"record_money": recorded, "assign": assigned, "mark_paid": marked_paid, "settle_ahead": settled_ahead}
each_act = pytest.mark.parametrize("act", ACTS)


def requested(act: str) -> tuple[ApprovalRequest, Actor]:
    _, arguments = ACTS[act](ABOVE)
    requester = member_of_staff()
    loan_id = Reservation.objects.get().loan_id
    request = request_approval(
        act=act, arguments=arguments, description="an act", loan_id=loan_id, actor=requester, reason="Money came.", now=NOON
    )
    return ApprovalRequest.objects.get(pk=request.pk), requester


@each_act
def test_one_person_may_move_up_to_the_limit_alone(act: str) -> None:
    service, arguments = ACTS[act](LIMIT)
    service(**arguments, actor=member_of_staff(), reason="a test", now=NOON)


@each_act
def test_above_the_limit_one_person_alone_changes_nothing(act: str) -> None:
    service, arguments = ACTS[act](ABOVE)
    before = list(Transition.objects.values()), list(BankEvent.objects.values())
    with pytest.raises(ApprovalNeeded):
        service(**arguments, actor=member_of_staff(), reason="a test", now=NOON)
    assert (list(Transition.objects.values()), list(BankEvent.objects.values())) == before


@each_act
def test_what_another_approves_is_done_once_and_history_names_both(act: str) -> None:
    request, requester = requested(act)
    assert ReviewItem.objects.get(kind="approval_requested").resolved_at is None
    last = Transition.objects.latest("id").pk
    approver = member_of_staff()
    approve(request_id=request.pk, actor=approver, reason="I saw it too.", now=NOON)
    written = Transition.objects.filter(id__gt=last)
    assert set(written.values_list("user", "approved_by", "reason")) == {(requester.user_id, approver.user_id, "Money came.")}
    assert fresh(request).state == "approved"
    assert ReviewItem.objects.get(kind="approval_requested").resolved_by_id == approver.user_id
    with pytest.raises(IllegalTransition):
        approve(request_id=request.pk, actor=approver, reason="again", now=NOON)


@pytest.mark.parametrize("decide", [approve, reject])
def test_who_requested_it_does_not_decide(decide: Callable[..., Any]) -> None:
    request, requester = requested("record_money")
    with pytest.raises(NotPermitted):
        decide(request_id=request.pk, actor=requester, reason="myself", now=NOON)
    with pytest.raises(IntegrityError, match="approval_by_another"), transaction.atomic():
        ApprovalRequest.objects.update(state="approved", decided_by=requester.user_id, decided_at=NOON)


def test_what_is_rejected_is_not_done() -> None:
    request, _ = requested("record_money")
    reject(request_id=request.pk, actor=member_of_staff(), reason="The statement has no such line.", now=NOON)
    assert (fresh(request).state, Reservation.objects.get().received) == ("rejected", 0)
    with pytest.raises(IllegalTransition):
        approve(request_id=request.pk, actor=member_of_staff(), reason="a test", now=NOON)


def test_the_same_request_again_is_one() -> None:
    request, requester = requested("settle_ahead")
    again = request_approval(
        act=request.act, arguments={}, description="an act", loan_id=request.loan_id, actor=requester, reason="again", now=NOON
    )
    assert again == request


def test_only_the_decision_resolves_the_item_of_a_request() -> None:
    request, _ = requested("record_money")
    item = ReviewItem.objects.get(kind="approval_requested")
    with pytest.raises(IllegalTransition, match="Approve or reject"):
        resolve_review_item(review_item_id=item.pk, actor=member_of_staff(), reason="done", now=NOON)
    approver = member_of_staff()
    reject(request_id=request.pk, actor=approver, reason="no", now=NOON)
    assert fresh(item).resolved_by_id == approver.user_id


@pytest.mark.parametrize("through", ["user", "approver"])
def test_nobody_changes_or_approves_what_is_their_own(through: str) -> None:
    investor = InvestorFactory()
    loan = LoanFactory()
    reservation = reserved(loan, 5_000, investor=investor)
    own = Actor("staff", investor.user_id) if through == "user" else Actor("staff", UserFactory().pk, approver_id=investor.user_id)
    for act in (
        lambda: cancel_by_staff(reservation_id=reservation.pk, actor=own, reason="a test", now=NOON),
        lambda: withdraw_loan(reference=loan.reference, actor=own, reason="a test", now=NOON),
    ):
        with pytest.raises(NotPermitted):
            act()
    assert fresh(reservation).state == "reserved"


def test_nobody_changes_their_own_limits() -> None:
    investor = InvestorFactory()
    with pytest.raises(NotPermitted):
        change_investor_limits(
            investor_id=investor.pk, unfunded_limit=Decimal(1_000_000), actor=Actor("staff", investor.user_id), reason="a test"
        )
