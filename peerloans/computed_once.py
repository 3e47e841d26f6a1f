"""Keep in Redis what is slow to compute, and let only one caller at a time compute it anew."""

import time
from collections.abc import Callable
from typing import TypeVar

from django.core.cache import cache

T = TypeVar("T")

KEPT_SECONDS = 24 * 3600  # a value that is no longer fresh is shown while another one is computed
COMPUTING_SECONDS = 30  # if a value is not there by then, its process was killed
WAIT_SECONDS = 2.0  # without any value; then each computes it
POLL_SECONDS = 0.05


def computed_once(key: str, compute: Callable[[], T], fresh_seconds: float) -> T:
    """Return the value kept under `key`, at most `fresh_seconds` old; or compute and keep it.

    While one caller computes, the others get the last value. Where there is none, they wait for it. Without Redis each computes it.
    """
    wait_until = time.monotonic() + WAIT_SECONDS
    while True:
        last: tuple[float, T] | None = cache.get(key)
        if last and _is_fresh(last, fresh_seconds):
            return last[1]
        # None: Redis is away. False: another caller computes.
        if cache.add(f"{key}:computing", 1, timeout=COMPUTING_SECONDS) is not False or time.monotonic() > wait_until:
            return _compute(key, compute, fresh_seconds)
        if last:
            return last[1]
        time.sleep(POLL_SECONDS)


def _is_fresh(last: tuple[float, object], fresh_seconds: float) -> bool:
    return time.time() - last[0] < fresh_seconds


def _compute(key: str, compute: Callable[[], T], fresh_seconds: float) -> T:
    try:
        # Between the look above and the turn to compute, another caller may have ended.
        last: tuple[float, T] | None = cache.get(key)
        if last and _is_fresh(last, fresh_seconds):
            return last[1]
        value = compute()
        cache.set(key, (time.time(), value), KEPT_SECONDS)
        return value
    finally:
        cache.delete(f"{key}:computing")
