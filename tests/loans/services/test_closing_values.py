"""Play reservations around the close of days in March 2026, and run the job in time, late, and again."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from loans.domain.business_calendar import closing_time, last_ended_banking_days
from loans.models import ClosingValue
from loans.services.closing_values import record_due_closing_values
from loans.services.expiry import expire_due
from loans.services.loans import withdraw_loan
from loans.services.settlement import settle_loans
from tests.factories import (
    STAFF,
    DraftFactory,
    LoanFactory,
    fresh,
    funded,
    money_comes,
    money_fails,
    pending,
    refund_goes_out,
    reserved,
)

MONDAY = datetime(2026, 3, 2, 15, tzinfo=UTC)  # ten o'clock in New York
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
CLOSE = closing_time(date(2026, 3, 2))

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
def test_a_banking_day_has_closed_at_18_in_new_york(at: datetime, days: list[str]) -> None:
    assert [day.isoformat() for day in last_ended_banking_days(at, 2)] == days


def test_the_value_is_that_of_the_close_without_lapsed_reservations() -> None:
    loan = LoanFactory(now=MONDAY, amount=Decimal(10_000))
    funded(loan, 2000, now=MONDAY)
    settle_loans([loan.pk], now=MONDAY + HOUR)
    reserved(loan, 1500, now=MONDAY + HOUR)
    reserved(loan, 1000, now=CLOSE - 24 * HOUR)  # lapses at the close
    pending(loan, 1200, now=MONDAY + 2 * HOUR)
    assert record_due_closing_values(CLOSE) == 1
    assert series(loan) == [("03-02", Decimal(8000), Decimal(2000), Decimal(2700))]


def test_there_is_none_before_the_close_and_none_of_drafts_and_withdrawn_loans() -> None:
    loan, withdrawn, draft = (
        LoanFactory(now=MONDAY, amount=Decimal(10_000)),
        LoanFactory(now=MONDAY, amount=Decimal(10_000)),
        DraftFactory(now=MONDAY),
    )
    withdraw_loan(reference=withdrawn.reference, actor=STAFF, reason="sold", now=MONDAY + HOUR)
    assert record_due_closing_values(CLOSE - timedelta(microseconds=1)) == 0
    assert record_due_closing_values(CLOSE) == 1
    assert [len(series(each)) for each in (loan, withdrawn, draft)] == [1, 0, 0]


def play(run_at: list[datetime]) -> list[tuple[str, Decimal, Decimal, Decimal]]:
    """Play three days of one loan, with the job running at these instants, and return the loan's closing values."""
    loan = LoanFactory(now=MONDAY, amount=Decimal(6000))

    def job_until(instant: datetime) -> None:
        while run_at and run_at[0] <= instant:
            record_due_closing_values(run_at.pop(0))

    funded(loan, 2000, now=MONDAY)
    returned = funded(loan, 3000, now=MONDAY)
    reserved(loan, 1000, now=MONDAY)
    job_until(MONDAY + 5 * HOUR)
    settle_loans([loan.pk], now=MONDAY + 5 * HOUR)
    job_until(MONDAY + DAY)
    money_fails(returned, now=MONDAY + DAY)
    expire_due(MONDAY + DAY + HOUR)
    funded(loan, 1500, now=MONDAY + DAY + HOUR)
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
def test_the_series_is_the_same_when_the_job_runs_late_or_twice(runs: str) -> None:
    assert play(list(RUNS[runs])) == [
        ("03-02", Decimal(1000), Decimal(5000), Decimal(1000)),
        ("03-03", Decimal(4000), Decimal(2000), Decimal(1500)),
        ("03-04", Decimal(2500), Decimal(3500), Decimal(0)),
    ]


def test_a_written_value_is_never_changed() -> None:
    loan = LoanFactory(now=MONDAY, amount=Decimal(10_000))
    ClosingValue.objects.create(loan=loan, day=date(2026, 3, 2), remaining=1, settled=2, claimed=3)
    assert record_due_closing_values(CLOSE + HOUR) == 0
    assert series(loan) == [("03-02", 1, 2, 3)]


def test_loans_beyond_one_batch_are_closed_too() -> None:
    loans = [LoanFactory(now=MONDAY, amount=Decimal(10_000)) for _ in range(5)]
    assert record_due_closing_values(CLOSE, batch=2) == len(loans)


def test_a_loss_counts_in_no_total() -> None:
    loan = LoanFactory(now=MONDAY, amount=Decimal(10_000))
    reservation = funded(loan, 1000, now=MONDAY)
    money_comes(reservation, 300, now=MONDAY + HOUR)
    refund_goes_out(reservation.transfers.get(direction="refund"), now=MONDAY + HOUR)
    money_fails(reservation, 300, now=MONDAY + 2 * HOUR)
    assert fresh(reservation).lost == 300
    record_due_closing_values(CLOSE)
    assert series(loan) == [("03-02", Decimal(10000), Decimal(0), Decimal(1000))]
