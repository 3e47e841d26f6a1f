"""A review item's page: what to do, the buttons that do it, and the evidence."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from loans.admin.actions import ACTIONS
from loans.admin.review_items import NEXT_ACTS
from loans.models import BankEvent, ReviewItem
from tests.factories import inbound, money_comes, pending
from tests.loans.admin.conftest import open_loan_now, open_review_item, read_page

pytestmark = pytest.mark.django_db


def address(item: ReviewItem) -> str:
    return reverse("admin:loans_reviewitem_change", args=[item.pk])


def test_each_kind_says_what_to_do_by_actions_that_exist() -> None:
    assert NEXT_ACTS.keys() == set(ReviewItem.KINDS)
    on = {field: ReviewItem._meta.get_field(field).related_model for field in ("loan", "reservation", "bank_event")}
    named = {(on[field], name) for _, acts in NEXT_ACTS.values() for field, names in acts.items() for name in names}
    assert named <= {(action.model, action.name) for action in ACTIONS}


def test_a_payment_that_is_too_small_is_accepted_from_the_item(superuser: Client) -> None:
    reservation = pending(open_loan_now(reference="PL-0010"), 5_000, now=timezone.now())
    money_comes(reservation, "4999.00", now=timezone.now())
    item = ReviewItem.objects.get(kind="amount_differs")
    page = read_page(superuser, address(item))
    assert "Accept the amount that came, or wait for the rest until the deadline." in page
    assert "Accept a smaller amount: PL-0010 #1…" in page
    assert inbound(reservation).reference in page
    assert "4,999.00" in page, "the report of the bank is evidence"
    (act,) = superuser.get(address(item)).context["next_acts"]
    begun = superuser.post(act.address, {"action": act.action.name, "_selected_action": act.row.pk})
    assert "Accept a smaller amount" in begun.content.decode()


def test_what_its_reader_may_not_do_or_the_state_forbids_is_not_offered(superuser: Client, client: Client) -> None:
    reservation = pending(open_loan_now(), 5_000, now=timezone.now())
    item = open_review_item("x", loan=reservation.loan, reservation=reservation)
    context: Any = superuser.get(address(item)).context
    assert context["next_acts"] == [], "a live reservation cannot be reinstated"
    ReviewItem.objects.update(resolved_at=timezone.now())
    assert "advice" not in superuser.get(address(item)).context


def test_an_item_about_nothing_has_a_page(superuser: Client) -> None:
    item = ReviewItem.objects.create(kind="restored", detail="x", opened_at=timezone.now())
    now = item.opened_at
    BankEvent.objects.create(id="strange", type="transfer.cleared", reference="?", amount=1, occurred_at=now, recorded_at=now)
    page = read_page(superuser, address(item))
    assert "Follow" in page
    assert "strange" not in page, "a report that it is not about is no evidence"
