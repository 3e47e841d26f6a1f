"""Which database may a list or a page read? The replica, as long as it is fresh enough for whoever reads.

Only lists and pages ask here; decisions, single objects and everything that writes stay with the primary. How fresh the
replica is, each process finds out at most once a second, by comparing positions in the write-ahead log: what the
replica has replayed was written by the primary no later than when we saw the primary there. No clock of another machine
takes part. Whoever has written lately, by a mark in Redis, reads the primary, so investors see what they have done.
Without a replica, without Redis, or when the replica has fallen behind, everybody reads the primary.
"""

import logging
import threading
import time
from collections import deque

from django.conf import settings
from django.core.cache import cache
from django.db import DEFAULT_DB_ALIAS, Error, connections
from django_redis import get_redis_connection
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

REPLICA = "replica"
LAG_SECONDS = 5.0  # how old may be what a list shows
LOOK_SECONDS = 1.0  # how long a look at both servers is taken for the present state
AWAY_SECONDS = 10.0  # how long a replica that did not answer is left alone
# Longer than what a list may show is old: when the mark has gone, the replica has what it stood for.
MARK_SECONDS = int(LAG_SECONDS + LOOK_SECONDS) + 4

_POSITION = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"
_REPLAYED = "SELECT pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')"


class Freshness:
    """When the primary was where the replica is now, by this process's clock, in seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: deque[tuple[float, int]] = deque(maxlen=int(MARK_SECONDS / LOOK_SECONDS))
        self._look_again_at = self.as_of = float("-inf")

    def age(self) -> float:
        """How old, at most, is what the replica shows; infinite where nobody knows."""
        if time.monotonic() >= self._look_again_at and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        return time.monotonic() - self.as_of

    def _look(self) -> None:
        self._look_again_at = time.monotonic() + LOOK_SECONDS
        try:
            self._seen.append((time.monotonic(), _ask(DEFAULT_DB_ALIAS, _POSITION)))
            replayed = _ask(REPLICA, _REPLAYED)
        except Error as error:
            logger.warning("The replica is left out: %s", error)
            self.as_of, self._look_again_at = float("-inf"), time.monotonic() + AWAY_SECONDS
            return
        self.as_of = max((at for at, position in self._seen if position <= replayed), default=float("-inf"))


def _ask(alias: str, question: str) -> int:
    with connections[alias].cursor() as cursor:
        cursor.execute(question)
        (answer,) = cursor.fetchone()
    if answer is None:
        raise Error(f"The database {alias} replays nothing.")
    return int(answer)


_freshness = Freshness()


def for_anyone() -> str:
    """The database that a public list or page reads."""
    if REPLICA in settings.DATABASES and _freshness.age() <= LAG_SECONDS:
        return REPLICA
    return DEFAULT_DB_ALIAS


def for_user(user_id: int | None) -> str:
    """The database that this user's own lists read."""
    alias = for_anyone()
    if alias == REPLICA and _has_written(user_id):
        return DEFAULT_DB_ALIAS
    return alias


def wrote(user_id: int | None) -> None:
    """Let the user's next lists come from the primary."""
    if REPLICA in settings.DATABASES:
        try:
            get_redis_connection("default").set(_mark(user_id), 1, ex=MARK_SECONDS)
        except RedisError as error:
            logger.warning("Lists of user %s may lack what was just done: %s", user_id, error)


def _has_written(user_id: int | None) -> bool:
    try:
        return bool(get_redis_connection("default").exists(_mark(user_id)))
    except RedisError:
        return True


def _mark(user_id: int | None) -> str:
    return cache.make_key(f"wrote:{user_id}")
