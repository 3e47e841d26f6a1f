"""Reservations are played around the close of days in March 2026, and the job runs in time, late, or again."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from loans.domain.business_calendar import close_of, closed_banking_days
from loans.models import ClosingValue
from loans.services.closing_values import record_due_closing_values
from loans.services.expiry import expire_due
from loans.services.loans import withdraw_loan
from loans.services.settlement import settle_loans
from tests.loans import stage
from tests.loans.stage import MONDAY, STAFF

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
CLOSE = close_of(date(2026, 3, 2))

pytestmark = pytest.mark.django_db


def series(loan) -> list[tuple[str, Decimal, Decimal, Decimal]]:
    values = ClosingValue.objects.filter(loan=loan).order_by("day")
    return [(f"{value.day:%m-%d}", value.remaining, value.settled, value.claimed) for value in values]


CLOSED = [
    (datetime(2026, 3, 2, 22, 59, tzinfo=UTC), ["2026-02-26", "2026-02-27"]),  # a minute before six in New York
    (datetime(2026, 3, 2, 23, 0, tzinfo=UTC), ["2026-02-27", "2026-03-02"]),
    (datetime(2026, 3, 3, 4, 0, tzinfo=UTC), ["2026-02-27", "2026-03-02"]),
    (datetime(2026, 3, 7, 23, 0, tzinfo=UTC), ["2026-03-05", "2026-03-06"]),  # a Saturday
    (datetime(2026, 7, 3, 22, 0, tzinfo=UTC), ["2026-07-02", "2026-07-03"]),  # in summer; the holiday falls on the Saturday after
    (datetime(2026, 9, 8, 12, 0, tzinfo=UTC), ["2026-09-03", "2026-09-04"]),  # the morning after Labor Day
]


@pytest.mark.parametrize(("at", "days"), CLOSED)
def test_which_banking_days_have_closed(at: datetime, days: list[str]) -> None:
    assert [day.isoformat() for day in closed_banking_days(at, 2)] == days


def test_the_value_is_of_the_close_without_lapsed_reservations() -> None:
    loan = stage.open_loan()
    stage.funded_reservation(loan, 2000)
    settle_loans([loan.pk], now=MONDAY + HOUR)
    stage.reserve(loan, 1500, MONDAY + HOUR)
    stage.reserve(loan, 1000, CLOSE - 24 * HOUR)  # lapses with the bell
    stage.start(stage.reserve(loan, 1200, MONDAY + 2 * HOUR), MONDAY + 2 * HOUR)
    assert record_due_closing_values(CLOSE) == 1
    assert series(loan) == [("03-02", Decimal(8000), Decimal(2000), Decimal(2700))]


def test_before_the_close_there_is_none_and_of_drafts_and_the_withdrawn_never() -> None:
    loan, withdrawn, draft = stage.open_loan(), stage.open_loan(), stage.draft()
    withdraw_loan(reference=withdrawn.reference, actor=STAFF, reason="sold", now=MONDAY + HOUR)
    assert record_due_closing_values(CLOSE - timedelta(microseconds=1)) == 0
    assert record_due_closing_values(CLOSE) == 1
    assert [len(series(each)) for each in (loan, withdrawn, draft)] == [1, 0, 0]


def play(run_at: list[datetime]) -> list[tuple[str, Decimal, Decimal, Decimal]]:
    """The same three days of one loan, with the job running at the given instants; the last of them after all."""
    loan = stage.open_loan(amount=Decimal(6000))

    def job_until(instant: datetime) -> None:
        while run_at and run_at[0] <= instant:
            record_due_closing_values(run_at.pop(0))

    stage.funded_reservation(loan, 2000)
    returned = stage.funded_reservation(loan, 3000)
    stage.reserve(loan, 1000, MONDAY)
    job_until(MONDAY + 5 * HOUR)
    settle_loans([loan.pk], now=MONDAY + 5 * HOUR)
    job_until(MONDAY + DAY)
    stage.tell(returned, "transfer.failed", at=MONDAY + DAY)
    expire_due(MONDAY + DAY + HOUR)
    stage.funded_reservation(loan, 1500, MONDAY + DAY + HOUR)
    job_until(MONDAY + 2 * DAY)
    settle_loans([loan.pk], now=MONDAY + 2 * DAY)
    job_until(MONDAY + 2 * DAY + 5 * HOUR)
    withdraw_loan(reference=loan.reference, actor=STAFF, reason="sold", now=CLOSE + 2 * DAY + HOUR)
    job_until(CLOSE + 9 * DAY)
    return series(loan)


IN_TIME = [CLOSE, CLOSE + DAY, CLOSE + 2 * DAY, CLOSE + 3 * DAY]
RUNS = {
    "in time": IN_TIME,
    "every one twice": sorted(IN_TIME * 2),
    "the next morning": [close + 12 * HOUR for close in IN_TIME],
    "once, after days without it": [CLOSE + 8 * DAY],
}


@pytest.mark.parametrize("runs", RUNS)
def test_late_or_twice_gives_the_same_series(runs: str) -> None:
    assert play(list(RUNS[runs])) == [
        ("03-02", Decimal(1000), Decimal(5000), Decimal(1000)),
        ("03-03", Decimal(4000), Decimal(2000), Decimal(1500)),
        ("03-04", Decimal(2500), Decimal(3500), Decimal(0)),
    ]


def test_a_written_value_is_never_changed() -> None:
    loan = stage.open_loan()
    ClosingValue.objects.create(loan=loan, day=date(2026, 3, 2), remaining=1, settled=2, claimed=3)
    assert record_due_closing_values(CLOSE + HOUR) == 0
    assert series(loan) == [("03-02", 1, 2, 3)]


def test_loans_beyond_one_batch_are_closed_too() -> None:
    loans = [stage.open_loan() for _ in range(5)]
    assert record_due_closing_values(CLOSE, batch=2) == len(loans)


def test_a_loss_after_the_close_or_before_it_counts_in_no_total() -> None:
    loan = stage.open_loan()
    reservation = stage.funded_reservation(loan, 1000)
    stage.tell(reservation, "transfer.cleared", 300, at=MONDAY + HOUR)
    stage.tell(reservation, "refund.paid", at=MONDAY + HOUR)
    stage.tell(reservation, "transfer.failed", 300, at=MONDAY + 2 * HOUR)
    reservation.refresh_from_db()
    assert reservation.lost == 300
    record_due_closing_values(CLOSE)
    assert series(loan) == [("03-02", Decimal(10000), Decimal(0), Decimal(1000))]
