"""When a delivery made at one instant is tried again."""

from datetime import UTC, datetime, timedelta

import pytest

from loans.notifications.backoff import GIVE_UP_AFTER, next_attempt

CREATED = datetime(2026, 7, 1, 16, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("attempts", "jitter", "wait"),
    [
        (1, 0.5, timedelta(seconds=30)),
        (1, 0.0, timedelta(seconds=22.5)),
        (1, 1.0, timedelta(seconds=37.5)),
        (2, 0.5, timedelta(seconds=90)),
        (3, 0.5, timedelta(seconds=270)),
        (6, 0.5, timedelta(seconds=7290)),
        (7, 0.5, timedelta(hours=6)),
        (7, 1.0, timedelta(hours=7.5)),
        (1_000_000, 0.5, timedelta(hours=6)),
    ],
)
def test_waits_grow_from_half_a_minute_to_six_hours(attempts: int, jitter: float, wait: timedelta) -> None:
    assert next_attempt(created_at=CREATED, failed_at=CREATED, attempts=attempts, jitter=jitter) == CREATED + wait


@pytest.mark.parametrize(
    ("failed_after", "again_after"),
    [
        (timedelta(days=2), timedelta(days=2, hours=6)),
        (timedelta(days=2, hours=23), timedelta(days=3)),
        (timedelta(days=3) - timedelta(microseconds=1), timedelta(days=3)),
    ],
)
def test_the_last_attempt_is_made_after_three_days(failed_after: timedelta, again_after: timedelta) -> None:
    assert next_attempt(created_at=CREATED, failed_at=CREATED + failed_after, attempts=20, jitter=0.5) == CREATED + again_after


@pytest.mark.parametrize("late", [timedelta(0), timedelta(days=30)])
def test_a_delivery_that_fails_after_three_days_is_given_up(late: timedelta) -> None:
    assert next_attempt(created_at=CREATED, failed_at=CREATED + GIVE_UP_AFTER + late, attempts=1, jitter=0.5) is None


def test_an_endpoint_that_never_answers_is_tried_19_times() -> None:
    at, attempts = CREATED, 0
    while at:
        attempts += 1
        assert attempts < 100
        at = next_attempt(created_at=CREATED, failed_at=at, attempts=attempts, jitter=0.5)
    assert attempts == 19
