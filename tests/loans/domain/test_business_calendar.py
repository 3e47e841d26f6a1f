"""Check banking days against the Federal Reserve's holidays."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from threading import Barrier

import pytest

from loans.domain.business_calendar import (
    days_until_deadline,
    is_banking_day,
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
    days = days_until_deadline(date(2026, 11, 20), 5)
    assert [(day.day.day, day.number, day.reason_not_counted) for day in days] == [
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
