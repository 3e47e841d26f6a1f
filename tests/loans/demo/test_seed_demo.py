import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from io import StringIO
from itertools import cycle
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.models import F, Q, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone
from pytest_django.fixtures import Settings

from cbsa.models import Dataset
from loans import remaining_cache
from loans.audit.reconciliation import find_breaches
from loans.audit.verify_history import verify_loan_history
from loans.demo import scenario
from loans.demo.documents import pdf_page
from loans.demo.play import FIRST_DAY
from loans.domain.actors import Actor
from loans.domain.business_calendar import NEW_YORK, is_banking_day, last_ended_banking_days, new_york_day
from loans.domain.states import LIVE, Direction, LoanStatus, ReservationState, TransferStatus
from loans.models import Delivery, Investor, Loan, LoanDocument, Reservation, ReviewItem, Transfer, Transition, User, Watch, WatchedLoan
from loans.notifications import outbox
from loans.notifications.watches import notify_watchers
from loans.selectors.loans import all_loan_ids
from loans.services.bank_events import Notice, record_bank_event
from loans.services.loans import extend_loan
from loans.services.reservations import cancel_reservation
from loans.services.watches import note_availability

pytestmark = pytest.mark.django_db
ZERO = Decimal(0)


def run_seed_demo(settings: Settings) -> str:
    settings.DEBUG = True
    output = StringIO()
    call_command("seed_demo", stdout=output)
    return output.getvalue()


@pytest.mark.django_db(transaction=True)
def test_it_shows_every_state_and_leaves_something_to_try(settings: Settings) -> None:
    output = run_seed_demo(settings)
    assert "password demo" in output
    assert Loan.objects.filter(market_msa__gt="").values("market_msa").distinct().count() >= 12
    assert set(Loan.objects.values_list("status", flat=True)) == set(LoanStatus)
    assert set(Reservation.objects.values_list("state", flat=True)) == set(ReservationState)
    assert set(Transfer.objects.values_list("status", flat=True)) == set(TransferStatus) - {TransferStatus.VOID, TransferStatus.SENT}
    assert set(ReviewItem.objects.values_list("kind", flat=True)) == {
        "transfer_failed",
        "amount_differs",
        "late_money",
        "deadline_missed",
        "second_payment",
        "payment_returned",
        "loan_reopened",
    }
    assert Loan.objects.filter(status="open", settled__gte=F("amount") * Decimal("0.95")).exists()
    assert Loan.objects.filter(status="open", claimed__gt=F("amount") - F("settled")).exists()
    users = {user.username: user for user in User.objects.all()}
    assert all(user.check_password("demo") for user in (users["staff"], users["investor20"]))
    assert users["staff"].is_superuser
    assert users["investor20"].investor
    assert Investor.objects.exclude(user__email="").count() == 20
    assert remaining_cache.compare(all_loan_ids()).drift == []

    assert outbox.fan_out() == notify_watchers() == 0  # investors are not notified of what was played, but of what comes
    assert not Delivery.objects.exists()

    watches = Watch.objects.filter(investor=users["investor1"].investor).values_list("loan__reference", flat=True)
    assert list(watches) == ["PL-0005", "PL-0018"]
    extend_loan(reference="PL-0005", closes_at=timezone.now() + timedelta(days=9), actor=Actor("staff"), reason="More time to sell it")
    assert notify_watchers() == 1
    assert Delivery.objects.get().watch_notice.loan.reference == "PL-0005"
    Delivery.objects.all().delete()

    reserved = Reservation.objects.filter(state=ReservationState.RESERVED, expires_at__gt=timezone.now()).first()
    assert reserved
    cancel_reservation(reservation_id=reserved.pk, actor=Actor("investor"), investor_id=reserved.investor_id)
    transfer = Transfer.objects.filter(status=TransferStatus.INITIATED, reservation__expires_at__gt=timezone.now()).first()
    assert transfer
    notice = Notice("try", "transfer.cleared", transfer.reference, transfer.amount, timezone.now())
    assert record_bank_event(notice) == "funded"
    assert outbox.fan_out()
    assert Delivery.objects.exists()

    before = Loan.objects.count(), Transition.objects.count(), Dataset.objects.count()
    with pytest.raises(CommandError, match="only fills an empty database") as refusal:
        run_seed_demo(settings)
    assert refusal.value.returncode == 1
    assert (Loan.objects.count(), Transition.objects.count(), Dataset.objects.count()) == before


@pytest.mark.parametrize("lines", [[], ["Appraisal"], ["(a) \\ ((b", "Café – 60 %", ""]])
def test_a_document_is_a_pdf_whose_objects_are_where_its_table_says(lines: list[str]) -> None:
    pdf = pdf_page(lines)
    assert pdf.startswith(b"%PDF-1.4\n")
    assert pdf.endswith(b"%%EOF\n")
    start = int(pdf.split(b"startxref\n")[1].split(b"\n")[0])
    table = pdf[start:].splitlines(keepends=True)
    assert table[:3] == [b"xref\n", b"0 6\n", b"0000000000 65535 f \n"]
    for number, entry in enumerate(table[3:8], start=1):
        assert len(entry) == 20
        assert pdf[int(entry[:10]) :].startswith(b"%d 0 obj\n" % number)
    assert table[8] == b"trailer\n"
    (length,), (stream,) = re.findall(rb"/Length (\d+)", pdf), re.findall(rb"stream\n(.*)\nendstream", pdf, re.DOTALL)
    assert int(length) == len(stream)
    shown = [re.sub(r"\\(.)", r"\1", line) for line in re.findall(r"^\((.*)\) Tj T\*$", stream.decode("cp1252"), re.MULTILINE)]
    assert shown == lines


@pytest.mark.parametrize(
    "now",
    [
        "2026-07-06T09:30",  # a Monday after a holiday on Saturday, before which Friday is a banking day
        "2026-07-08T00:02",
        "2026-09-08T00:00",  # midnight itself, after a Monday holiday
        "2026-11-01T02:05",  # an hour that comes after a repeated one
        "2026-11-22T23:58",  # a Sunday
        "2026-11-26T12:00",  # Thanksgiving
        "2026-11-27T23:59:59",  # a banking day that has closed, between Thanksgiving and a weekend
        "2026-12-31T18:00",  # Christmas and a weekend behind
        "2027-01-04T00:00:30",  # the turn of the year behind
        "2027-03-14T03:05",  # the hour before this one was left out
        "2027-07-06T12:00",  # after a holiday on Sunday, kept on Monday
        "2028-02-29T01:00",
    ],
)
def test_the_money_adds_up_and_the_same_happens_on_every_kind_of_day(now: str) -> None:
    assert story_at(datetime.fromisoformat(now)) == usual_story()


@pytest.mark.long
def test_the_same_happens_on_every_day_of_two_years() -> None:
    """Days with the same pattern of banking days before them are alike; one of each pattern is played, at different hours."""
    hours = cycle([time(), time(3, 5), time(9, 30), time(18), time(23, 59, 59)])
    day_of_pattern = {pattern(date(2026, 1, 1) + timedelta(days=n)): date(2026, 1, 1) + timedelta(days=n) for n in range(2 * 365)}
    for day, hour in zip(day_of_pattern.values(), hours, strict=False):
        assert story_at(datetime.combine(day, hour)) == usual_story(), f"{day} {hour}"


def pattern(day: date) -> tuple[int, ...]:
    """Return whether the day is a banking day, and how many days ago each earlier one was that the demo uses."""
    return is_banking_day(day), *((day - earlier).days for earlier in banking_days_before(day))


def banking_days_before(day: date) -> list[date]:
    return last_ended_banking_days(datetime.combine(day, time(), NEW_YORK), -FIRST_DAY)


@cache
def usual_story() -> list[tuple[str, ...]]:
    """Return what happens in an August without holidays."""
    return story_at(datetime.fromisoformat("2026-08-19T12:00"))


def story_at(in_new_york: datetime) -> list[tuple[str, ...]]:
    now = in_new_york.replace(tzinfo=NEW_YORK).astimezone(UTC)  # as the database gives it
    with transaction.atomic():
        scenario.fill(now)
        history = Transition.objects.order_by("loan__reference", "id")
        assert not history.filter(at__gt=now).exists()
        assert new_york_day(history.earliest("at").at) == banking_days_before(new_york_day(now))[0]
        assert [loan.created_at for loan in Loan.objects.order_by("id")] == [
            row.at for row in history.filter(event="created").order_by("loan_id")
        ]
        story = list(history.values_list("loan__reference", "event", "to_state", "amount", "actor"))
        story += ReviewItem.objects.order_by("loan__reference", "id").values_list("loan__reference", "kind")
        note_availability(None, now)
        story += WatchedLoan.objects.order_by("loan").values_list("loan__reference", "is_available", "available_since")
        story += Watch.objects.order_by("loan").values_list("loan__reference", "investor__name")
        story += LoanDocument.objects.order_by("id").values_list("loan__reference", "title", "sha256")
        assert_the_money_adds_up(now)
        transaction.set_rollback(True)
    return story


def assert_the_money_adds_up(now: datetime) -> None:
    def total(column: str, **conditions: Any) -> Coalesce:
        return Coalesce(Sum(f"transfers__{column}", filter=Q(**{f"transfers__{name}": value for name, value in conditions.items()})), ZERO)

    reservations = Reservation.objects.annotate(
        total_received=total("moved", direction=Direction.INBOUND),
        total_refunded=total("amount", status__in=[TransferStatus.DUE, TransferStatus.SENT]) + total("moved", status=TransferStatus.PAID),
    )
    for reservation in reservations:
        waiting = reservation.total_received - reservation.settled_amount - reservation.total_refunded
        assert waiting == reservation.waiting_money >= 0
        assert not waiting or reservation.state == ReservationState.PENDING
    for loan in Loan.objects.all():
        sums = loan.reservations.aggregate(
            settled=Coalesce(Sum("settled_amount"), ZERO), claimed=Coalesce(Sum("amount", filter=Q(state__in=LIVE)), ZERO)
        )
        assert sums == {"settled": loan.settled, "claimed": loan.claimed}
    assert not [difference for _, differences in verify_loan_history() for difference in differences]
    assert not find_breaches(now)


def test_without_debug_the_command_refuses_because_the_password_is_public(settings: Settings) -> None:
    settings.DEBUG = False
    with pytest.raises(CommandError, match="DEBUG") as refusal:
        call_command("seed_demo")
    assert refusal.value.returncode == 1
    assert not Loan.objects.exists()
