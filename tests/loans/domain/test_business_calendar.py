"""Check banking days against the Federal Reserve's holidays, and deadlines over weekends, holidays and changes of the clock."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loans.domain.business_calendar import (
    NEW_YORK,
    banking_days_after,
    counted_days,
    is_banking_day,
    money_deadline,
    new_york_day,
    transfer_deadline,
)

# The weekdays on which the Federal Reserve is closed. In a year with ten, an eleventh falls on a Saturday and is not kept.
CLOSED = """
    2024-01-01 2024-01-15 2024-02-19 2024-05-27 2024-06-19 2024-07-04 2024-09-02 2024-10-14 2024-11-11 2024-11-28 2024-12-25
    2025-01-01 2025-01-20 2025-02-17 2025-05-26 2025-06-19 2025-07-04 2025-09-01 2025-10-13 2025-11-11 2025-11-27 2025-12-25
    2026-01-01 2026-01-19 2026-02-16 2026-05-25 2026-06-19            2026-09-07 2026-10-12 2026-11-11 2026-11-26 2026-12-25
    2027-01-01 2027-01-18 2027-02-15 2027-05-31            2027-07-05 2027-09-06 2027-10-11 2027-11-11 2027-11-25
               2028-01-17 2028-02-21 2028-05-29 2028-06-19 2028-07-04 2028-09-04 2028-10-09            2028-11-23 2028-12-25
    2029-01-01 2029-01-15 2029-02-19 2029-05-28 2029-06-19 2029-07-04 2029-09-03 2029-10-08 2029-11-12 2029-11-22 2029-12-25
    2030-01-01 2030-01-21 2030-02-18 2030-05-27 2030-06-19 2030-07-04 2030-09-02 2030-10-14 2030-11-11 2030-11-28 2030-12-25
"""
HOLIDAYS = {date.fromisoformat(day) for day in CLOSED.split()}
YEARS = range(2024, 2031)


def test_the_days_before_a_deadline_say_why_some_do_not_count() -> None:
    days = counted_days(date(2026, 11, 20), 5)
    assert [(day.day.day, day.number, day.why) for day in days] == [
        (21, None, "weekend"),
        (22, None, "weekend"),
        (23, 1, ""),
        (24, 2, ""),
        (25, 3, ""),
        (26, None, "Thanksgiving Day"),
        (27, 4, ""),
        (28, None, "weekend"),
        (29, None, "weekend"),
        (30, 5, ""),
    ]


@pytest.fixture
def _busy_threads() -> Iterator[None]:
    """Let Python switch between threads as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("_busy_threads")
def test_threads_that_ask_for_a_year_first_and_together_all_see_its_holidays() -> None:
    threads, years = 4, [year for year in range(2031, 2100) if date(year, 12, 25).weekday() < 5]
    together = Barrier(threads)

    def count_as_banking_days(_: int) -> int:
        count = 0
        for year in years:
            together.wait()
            count += is_banking_day(date(year, 12, 25))
        return count

    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(count_as_banking_days, range(threads))) == [0] * threads


def nth(year: int, month: int, weekday: int, count: int) -> date:
    """Return the first, second, … such weekday of a month; the last where `count` is -1."""
    days = [day for day in (date(year, month, 1) + timedelta(n) for n in range(31)) if day.month == month and day.weekday() == weekday]
    return days[count - 1 if count > 0 else count]


def by_rule(year: int) -> set[date]:
    """Return the holidays by the Federal Reserve's rule: a Sunday's is kept on the Monday after, a Saturday's is not kept."""
    fixed = [date(year, 1, 1), date(year, 6, 19), date(year, 7, 4), date(year, 11, 11), date(year, 12, 25)]
    kept = {day + timedelta(1) if day.weekday() == 6 else day for day in fixed if day.weekday() != 5}
    moving = [(1, 0, 3), (2, 0, 3), (5, 0, -1), (9, 0, 1), (10, 0, 2), (11, 3, 4)]
    return kept | {nth(year, *when) for when in moving}


@pytest.mark.parametrize("year", YEARS)
def test_the_published_table_follows_from_the_published_rule(year: int) -> None:
    assert {day for day in HOLIDAYS if day.year == year} == by_rule(year)


@pytest.mark.parametrize("year", YEARS)
def test_each_day_of_a_year_is_a_banking_day_unless_it_is_a_weekend_or_a_holiday(year: int) -> None:
    days = [date(year, 1, 1) + timedelta(n) for n in range(366)]
    assert [day for day in days if day.year == year and day.weekday() < 5 and not is_banking_day(day)] == sorted(by_rule(year))
    assert not [day for day in days if day.weekday() >= 5 and is_banking_day(day)]


@pytest.mark.parametrize(
    ("started", "last_day"),
    [
        ("2026-07-02", "2026-07-09"),  # the Friday before a Saturday holiday is a banking day
        ("2026-07-04", "2026-07-10"),  # from a Saturday, and a holiday
        ("2026-07-05", "2026-07-10"),  # from a Sunday
        ("2026-09-04", "2026-09-14"),  # over Labor Day
        ("2026-11-23", "2026-12-01"),  # over Thanksgiving
        ("2027-12-23", "2027-12-30"),  # Christmas on a Saturday: Friday the 24th counts
        ("2027-12-28", "2028-01-04"),  # New Year's Day on a Saturday: Friday the 31st counts
        ("2027-07-01", "2027-07-09"),  # Independence Day on a Sunday: Monday the 5th does not count
    ],
)
def test_money_has_five_banking_days(started: str, last_day: str) -> None:
    day = date.fromisoformat(started)
    assert banking_days_after(day, 5)[-1] == date.fromisoformat(last_day)
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=NEW_YORK)
    midnight = datetime.fromisoformat(last_day).replace(tzinfo=NEW_YORK) + timedelta(days=1)
    assert money_deadline(noon) == midnight


@pytest.mark.parametrize(
    ("started", "deadline"),
    [
        # Midnight in New York is 05:00 UTC in winter and 04:00 in summer.
        ("2026-03-05T12:00:00Z", "2026-03-13T04:00:00Z"),  # into summer time
        ("2026-10-29T12:00:00Z", "2026-11-06T05:00:00Z"),  # into winter time
        ("2026-07-03T03:59:59Z", "2026-07-10T04:00:00Z"),  # still 2 July in New York
        ("2026-07-03T04:00:00Z", "2026-07-11T04:00:00Z"),  # already 3 July in New York
    ],
)
def test_the_end_of_the_fifth_banking_day_is_midnight_in_new_york(started: str, deadline: str) -> None:
    assert money_deadline(datetime.fromisoformat(started)) == datetime.fromisoformat(deadline)


@pytest.mark.parametrize("reserved", ["2026-03-07T18:00:00Z", "2026-10-31T18:00:00Z", "2026-07-01T16:00:00Z"])
def test_24_hours_are_24_hours_also_when_the_clocks_change(reserved: str) -> None:
    at = datetime.fromisoformat(reserved)
    assert transfer_deadline(at) - at == timedelta(hours=24)
    assert transfer_deadline(at.astimezone(NEW_YORK)).astimezone(UTC) == transfer_deadline(at)


@given(st.datetimes(datetime(2024, 1, 1), datetime(2030, 12, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_the_money_deadline_leaves_five_whole_banking_days(at: datetime) -> None:
    deadline = money_deadline(at)
    between = [new_york_day(at) + timedelta(n) for n in range(1, 20) if new_york_day(at) + timedelta(n) < new_york_day(deadline)]
    assert [is_banking_day(day) for day in between].count(True) == 5
    assert is_banking_day(between[-1])
    local = deadline.astimezone(NEW_YORK)
    assert (local.hour, local.minute, local.second, local.microsecond) == (0, 0, 0, 0)
