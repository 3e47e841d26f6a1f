"""The first page of the admin: what needs a person, today's figures, and the loans that close next."""

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from loans.charts import lapsed_shares_chart
from loans.domain.business_calendar import NEW_YORK, end_of_day, new_york_day
from loans.models import Reservation, ReviewItem
from loans.selectors.daily_figures import daily_figures, forget_daily_figures, weekly_exits
from loans.services.expiry import expire_due
from loans.services.staff_overrides import cancel_by_staff
from tests.factories import STAFF, LoanFactory, funded, pending, reserved
from tests.loans.admin.conftest import open_loan_now, open_review_item, read_page, settled_now

pytestmark = pytest.mark.django_db


def start_of_day(at: datetime) -> datetime:
    return datetime.combine(new_york_day(at), time(), NEW_YORK)


def test_the_figures_of_today(superuser: Client) -> None:
    loan = open_loan_now()
    reserved(loan, 5_000, now=timezone.now())
    day = superuser.get("/admin/").context["day"]
    assert (day["happened"][0].label, day["happened"][0].count, day["happened"][0].dollars) == ("Reserved", 1, Decimal("5000.00"))
    assert [offer.loan for offer, _ in day["loans"]] == [loan]


def test_the_tiles_say_what_waits_with_dollars_and_age_and_lead_to_it(superuser: Client) -> None:
    now = timezone.now()
    loan = open_loan_now()
    waiting, tonight = funded(loan, 5_000, now=now), reserved(loan, 2_000, now=now)
    Reservation.objects.filter(pk=tonight.pk).update(expires_at=end_of_day(now))
    pending(loan, 1_000, now=now)
    refunded = funded(loan, 3_000, now=now)
    cancel_by_staff(reservation_id=refunded.pk, actor=STAFF, reason="A test.")
    old = open_review_item("Old.", loan=loan, reservation=waiting)
    ReviewItem.objects.update(opened_at=now - timedelta(days=3))
    open_review_item("New.")
    shown = superuser.get("/admin/").context["shown_tiles"]
    assert [(tile.label, tile.waiting.count, tile.waiting.dollars, tile.is_late) for tile in shown] == [
        ("Money waits for its turn", 1, Decimal("5000.00"), False),
        ("Lapses tonight", 1, Decimal("2000.00"), False),
        ("In review for over two days", 1, Decimal("5000.00"), True),
        ("Refunds to send", 1, Decimal("3000.00"), False),
        ("Messages failing", 0, None, False),
    ]
    lists = [list(superuser.get(tile.address).context["cl"].result_list) for tile in shown]
    assert lists[:3] == [[waiting], [tonight], [old]]
    assert [refund.reservation for refund in lists[3]] == [refunded]
    assert lists[4] == []


def test_the_tiles_are_those_of_what_the_reader_may_view(loan_viewer: Client) -> None:
    assert loan_viewer.get("/admin/").context["shown_tiles"] == []


def test_the_figures_of_a_day_are_those_of_its_history() -> None:
    now = timezone.now()
    loan = LoanFactory(now=now - timedelta(days=6))
    settled_now(loan)
    gone = reserved(loan, 2_000, now=now - timedelta(days=5))
    expire_due(now)
    days = daily_figures(now)
    assert (days[0].day.weekday(), len(days)) == (0, 50 + new_york_day(now).weekday())
    assert days[-1][:4] == (new_york_day(now), Decimal("5000.00"), Decimal("5000.00"), Decimal("2000.00"))
    assert days[-1][4:] == (2, 1, 1, 0), "two left reserved, one of them lapsed; one left pending"
    assert [day.day for day in days if day.reserved] == [new_york_day(gone.created_at), new_york_day(now)]


def test_a_day_that_has_ended_is_read_once_and_today_always(django_assert_num_queries: Any) -> None:
    now = timezone.now()
    loan = LoanFactory(now=now - timedelta(days=6))
    reserved(loan, 2_000, now=now - timedelta(days=5))
    first = daily_figures(now)
    reserved(loan, 3_000, now=now - timedelta(days=4))  # the past does not change; a restored database may have another
    reserved(loan, 4_000, now=now)
    with django_assert_num_queries(1) as queries:
        again = daily_figures(now)
    assert again[:-1] == first[:-1]
    assert again[-1].reserved == 4_000
    assert str(start_of_day(now).astimezone(UTC).date()) in queries.captured_queries[0]["sql"], "only today is read"
    forget_daily_figures(now)
    assert [day.reserved for day in daily_figures(now) if day.reserved] == [2_000, 3_000, 4_000]


def test_a_day_is_kept_only_an_hour_after_its_end() -> None:
    midnight = start_of_day(timezone.now())
    loan = LoanFactory(now=midnight - timedelta(days=6))
    daily_figures(midnight + timedelta(minutes=59))
    reserved(loan, 2_000, now=midnight - timedelta(seconds=1))  # committed after midnight
    for later in (timedelta(minutes=59), timedelta(minutes=61)):
        assert daily_figures(midnight + later)[-2].reserved == 2_000


def test_the_share_that_lapsed_in_each_state() -> None:
    now, two_weeks_ago = timezone.now(), timezone.now() - timedelta(weeks=2)
    loan = LoanFactory(now=two_weeks_ago - timedelta(days=5))
    for _ in range(3):
        pending(loan, 1_000, now=two_weeks_ago)
    reserved(loan, 1_000, now=two_weeks_ago)
    expire_due(two_weeks_ago + timedelta(days=2))  # one transfer was never started
    pending(loan, 1_000, now=now)
    rows = weekly_exits(daily_figures(now + timedelta(days=1)))
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
    waiting = superuser.get("/admin/").context["waiting"]
    assert [(line.what, line.count) for line in waiting] == [("Late money", 1), ("Loans past their closing", 1)]
    review_items, loans = (superuser.get(line.address).context["cl"].result_list for line in waiting)
    assert [review_item.detail for review_item in review_items] == ["Two."]
    assert list(loans) == [overdue]


def test_a_late_job_is_named_above_the_table_of_all(beat_ticks: None, superuser: Client) -> None:
    assert "All run on time." in read_page(superuser, "/admin/")
    PeriodicTask.objects.filter(task="loans.tasks.expire").update(date_changed=timezone.now() - timedelta(hours=1))
    name = PeriodicTask.objects.get(task="loans.tasks.expire").name
    above, _ = read_page(superuser, "/admin/").split("Each job")
    assert "All run on time." not in above
    assert name in above


def test_the_page_lists_only_what_its_reader_may_view(loan_viewer: Client) -> None:
    open_review_item("One.")
    LoanFactory(now=timezone.now() - timedelta(weeks=4))
    assert [line.what for line in loan_viewer.get("/admin/").context["waiting"]] == ["Loans past their closing"]
