"""When is a failed delivery tried again, and when is it given up?"""

from datetime import datetime, timedelta

FIRST_WAIT = timedelta(seconds=30)
GROWTH = 3
LONGEST_WAIT = timedelta(hours=6)
GIVE_UP_AFTER = timedelta(days=3)
MOST_GROWN = 10  # attempts, by when the longest wait is long reached


def next_attempt(*, created_at: datetime, failed_at: datetime, attempts: int, jitter: float) -> datetime | None:
    """The instant of the attempt after `attempts` that have failed, the last of them at `failed_at`.

    Waits grow threefold from half a minute to six hours, each changed by up to a quarter as `jitter` (0 to 1) says, so
    that what failed together does not come back together. The last attempt is made three days after the delivery
    was `created_at`; None once that has failed.
    """
    last_at = created_at + GIVE_UP_AFTER
    if failed_at >= last_at:
        return None
    grown: int = GROWTH ** min(attempts - 1, MOST_GROWN)
    wait = min(FIRST_WAIT * grown, LONGEST_WAIT)
    return min(failed_at + wait * (0.75 + jitter / 2), last_at)
