"""The first page of the admin: what needs a person, today's figures, and the loans that close next."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from loans.charts import lapsed_shares_chart
from loans.models import ReviewItem, Transfer
from loans.selectors.dashboard import weekly_exits
from loans.services.expiry import expire_due
from loans.services.staff_overrides import cancel_by_staff
from tests.factories import STAFF, LoanFactory, funded, pending, reserved
from tests.loans.admin.conftest import open_loan_now, open_review_item, read_page, settled_now

pytestmark = pytest.mark.django_db


def test_the_figures_of_today(superuser: Client) -> None:
    loan = open_loan_now()
    reserved(loan, 5_000, now=timezone.now())
    day = superuser.get("/admin/").context["day"]
    assert (day["happened"][0].label, day["happened"][0].count, day["happened"][0].dollars) == ("Reserved", 1, Decimal("5000.00"))
    assert [(total.count, total.dollars) for total in day["lapsing"]] == [(0, Decimal(0)), (1, Decimal("5000.00"))]
    assert [offer.loan for offer, _ in day["loans"]] == [loan]


def test_the_share_that_lapsed_in_each_state() -> None:
    now, two_weeks_ago = timezone.now(), timezone.now() - timedelta(weeks=2)
    loan = LoanFactory(now=two_weeks_ago - timedelta(days=5))
    for _ in range(3):
        pending(loan, 1_000, now=two_weeks_ago)
    reserved(loan, 1_000, now=two_weeks_ago)
    expire_due(two_weeks_ago + timedelta(days=2))  # one transfer was never started
    pending(loan, 1_000, now=now)
    rows = weekly_exits(now + timedelta(days=1))
    assert sum(row.exits for row in rows if row.state == "reserved") == 5
    assert sum(row.lapsed for row in rows if row.state == "reserved") == 1
    assert "Pending, no money received" in lapsed_shares_chart(rows)


def test_the_page_takes_the_same_queries_for_more_rows(superuser: Client, django_assert_max_num_queries: Any) -> None:
    read_page(superuser, "/admin/")
    with django_assert_max_num_queries(30) as few:
        read_page(superuser, "/admin/")
    for number in range(2, 5):
        settled_now(open_loan_now())
        open_review_item(f"Finding {number}.")
    with django_assert_max_num_queries(len(few) + 1):  # the funding of the first open loan
        read_page(superuser, "/admin/")


def test_what_needs_a_person(superuser: Client) -> None:
    assert "Nothing that you can see waits for a person." in read_page(superuser, "/admin/")
    for detail in ("One.", "Two."):
        open_review_item(detail)
    ReviewItem.objects.filter(detail="One.").update(resolved_at=timezone.now())
    overdue = LoanFactory(now=timezone.now() - timedelta(weeks=4))
    open_loan_now()
    refunded = funded(open_loan_now(), 5_000, now=timezone.now())
    cancel_by_staff(reservation_id=refunded.pk, actor=STAFF, reason="A test.")
    refund = Transfer.objects.get(direction="refund")
    waiting = superuser.get("/admin/").context["waiting"]
    assert [(line.what, line.count) for line in waiting] == [("Late money", 1), ("Loans past their closing", 1), ("Refunds due", 1)]
    review_items, loans, refunds = (superuser.get(line.address).context["cl"].result_list for line in waiting)
    assert [review_item.detail for review_item in review_items] == ["Two."]
    assert (list(loans), list(refunds)) == ([overdue], [refund])


def test_the_page_lists_only_what_its_reader_may_view(loan_viewer: Client) -> None:
    open_review_item("One.")
    LoanFactory(now=timezone.now() - timedelta(weeks=4))
    assert [line.what for line in loan_viewer.get("/admin/").context["waiting"]] == ["Loans past their closing"]
