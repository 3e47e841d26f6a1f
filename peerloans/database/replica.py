"""Decide which database a list or a page reads: the replica while it is fresh enough, or else the primary.

Only lists and pages ask. Decisions, single objects and everything that writes use the primary.

Each process finds out how fresh the replica is, at most once a second, from positions in the write-ahead log. It notes the primary's
position and the instant before it asked. A replica that has replayed up to a noted position shows everything that was written
before that instant. So no other machine's clock takes part.

A user who has just written reads the primary, because of a mark in Redis, and so sees what they did. Without a replica or
without Redis, and while the replica is too far behind, everybody reads the primary.
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
LAG_SECONDS = 5.0  # the oldest that a list may be
CHECK_SECONDS = 1.0  # between two checks of a process
AWAY_SECONDS = 10.0  # until the next check of a replica that did not answer
# Longer than the oldest that a list may be: when the mark is gone, the replica has what the user wrote.
MARK_SECONDS = int(LAG_SECONDS + CHECK_SECONDS) + 4

_WRITTEN = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"
_REPLAYED = "SELECT pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')"


class Freshness:
    """How old the replica is at most, as this process knows it. Instants are seconds of the process's monotonic clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notes: deque[tuple[float, int]] = deque(maxlen=int(MARK_SECONDS / CHECK_SECONDS))
        self._next_check_at = self._as_of = float("-inf")

    def age_seconds(self) -> float:
        """Return how old the replica is at most; infinite while that is unknown. One thread at a time checks, others do not wait."""
        if time.monotonic() >= self._next_check_at and self._lock.acquire(blocking=False):
            try:
                self._check()
            finally:
                self._lock.release()
        return time.monotonic() - self._as_of

    def _check(self) -> None:
        self._next_check_at = time.monotonic() + CHECK_SECONDS
        try:
            self._notes.append((time.monotonic(), _position(DEFAULT_DB_ALIAS, _WRITTEN)))
            replayed = _position(REPLICA, _REPLAYED)
        except Error as error:
            logger.warning("The replica is not used: %s", error)
            self._as_of, self._next_check_at = float("-inf"), time.monotonic() + AWAY_SECONDS
            return
        self._as_of = max((at for at, position in self._notes if position <= replayed), default=float("-inf"))


def _position(alias: str, query: str) -> int:
    """Return the database's position in the write-ahead log, in bytes."""
    with connections[alias].cursor() as cursor:
        cursor.execute(query)
        (position,) = cursor.fetchone()
    if position is None:
        raise Error(f"The database {alias} replays nothing.")
    return int(position)


_freshness = Freshness()


def for_anyone() -> str:
    """Return the database for a public list or page."""
    if REPLICA in settings.DATABASES and _freshness.age_seconds() <= LAG_SECONDS:
        return REPLICA
    return DEFAULT_DB_ALIAS


def for_user(user_id: int | None) -> str:
    """Return the database for the user's own lists."""
    alias = for_anyone()
    if alias == REPLICA and _has_written(user_id):
        return DEFAULT_DB_ALIAS
    return alias


def mark_write(user_id: int | None) -> None:
    """Let the user's lists come from the primary for the next seconds."""
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
