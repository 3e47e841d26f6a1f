"""Decide when a failed delivery is tried again, and when it is given up."""

from datetime import datetime, timedelta

FIRST_WAIT = timedelta(seconds=30)
GROWTH = 3
LONGEST_WAIT = timedelta(hours=6)
GIVE_UP_AFTER = timedelta(days=3)
GROWING_ATTEMPTS = 10  # The wait reaches LONGEST_WAIT well before; this keeps the power small.


def next_attempt(*, created_at: datetime, failed_at: datetime, attempts: int, jitter: float) -> datetime | None:
    """Return when to try again after `attempts` failed attempts, the last at `failed_at`; None where the delivery is given up.

    Waits grow threefold from half a minute to six hours. `jitter` (0 to 1) changes each by up to a quarter, so that deliveries
    that failed together do not return together. The last attempt takes place three days after `created_at`.
    """
    last_attempt_at = created_at + GIVE_UP_AFTER
    if failed_at >= last_attempt_at:
        return None
    factor: int = GROWTH ** min(attempts - 1, GROWING_ATTEMPTS)
    wait = min(FIRST_WAIT * factor, LONGEST_WAIT)
    return min(failed_at + wait * (0.75 + jitter / 2), last_attempt_at)
