"""Check deadlines over weekends, holidays and changes of the clock."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loans.domain.business_calendar import NEW_YORK, banking_days_after, is_banking_day, new_york_day
from loans.domain.deadlines import money_deadline, one_banking_day_later, start_deadline


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
    assert start_deadline(at) - at == timedelta(hours=24)
    assert start_deadline(at.astimezone(NEW_YORK)).astimezone(UTC) == start_deadline(at)


@given(st.datetimes(datetime(2024, 1, 1), datetime(2030, 12, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_the_money_deadline_leaves_five_whole_banking_days(at: datetime) -> None:
    deadline = money_deadline(at)
    between = [new_york_day(at) + timedelta(n) for n in range(1, 20) if new_york_day(at) + timedelta(n) < new_york_day(deadline)]
    assert [is_banking_day(day) for day in between].count(True) == 5
    assert is_banking_day(between[-1])
    local = deadline.astimezone(NEW_YORK)
    assert (local.hour, local.minute, local.second, local.microsecond) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("deadline", "later"),
    [
        ("2026-12-04T00:00", "2026-12-05T00:00"),  # the end of Thursday: the end of Friday
        ("2026-12-05T00:00", "2026-12-08T00:00"),  # the end of Friday: the end of Monday
        ("2026-11-26T00:00", "2026-11-28T00:00"),  # the end of the day before Thanksgiving
        ("2026-12-03T15:20", "2026-12-04T15:20"),
        ("2026-12-04T15:20", "2026-12-07T15:20"),
        ("2026-10-31T01:30", "2026-11-02T01:30"),  # clocks go back in between
    ],
)
def test_one_banking_day_later(deadline: str, later: str) -> None:
    at = datetime.fromisoformat(deadline).replace(tzinfo=NEW_YORK)
    assert one_banking_day_later(at) == datetime.fromisoformat(later).replace(tzinfo=NEW_YORK)
    assert one_banking_day_later(at.astimezone(UTC)).tzinfo is UTC
