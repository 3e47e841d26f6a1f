"""Limit how often a caller may ask, in fixed windows of time. Without Redis there is no limit.

The rates and their defaults are the settings THROTTLE, THROTTLE_DOWNLOAD and THROTTLE_LOGIN in peerloans/settings.py.

Redis counts the requests of all processes. Each process reports to it once for every hundredth of the limit and counts by
itself in between, so most requests need no Redis. A caller who is served by several processes may therefore exceed the limit
by a hundredth for each of them.
"""

import contextlib
import hashlib
import ipaddress
import logging
import time
from typing import Any

from django.core.cache import cache
from django_redis import get_redis_connection
from redis.exceptions import RedisError
from rest_framework import throttling

logger = logging.getLogger(__name__)

REPORTS_PER_LIMIT = 100
REMEMBERED_WINDOWS = 10_000


def address_of(request: Any) -> str | None:
    """Return the caller's IP address, as far as the configured proxies vouch for it, or None if it is no address.

    Some proxies add a port, and dual-stack sockets write IPv4 as ::ffff:192.0.2.1. Of an IPv6 address this is the /64
    network, which usually belongs to one caller.
    """
    ident = throttling.BaseThrottle().get_ident(request) or ""
    for text in (ident, ident.rpartition(":")[0]):
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(text.strip("[]"))
            address = getattr(address, "ipv4_mapped", None) or address
            return str(ipaddress.ip_network((address, 64), strict=False)[0] if address.version == 6 else address)
    return None


class Throttle(throttling.SimpleRateThrottle):
    """Count requests, where DRF's own throttle reads and writes a list of their instants."""

    # By window: how many requests Redis had counted at this process's last report, and how many this process has had since.
    _counts: dict[str, tuple[int, int]] = {}

    def allow_request(self, request: Any, view: Any = None) -> bool:
        caller = self.rate and self.caller_of(request)
        if not caller:
            return True
        limit, seconds = self.parse_rate(self.rate)
        assert limit is not None and seconds  # noqa: S101, PT018
        window, elapsed = divmod(time.time(), seconds)
        self.seconds_left = seconds - elapsed
        try:
            return self._count(f"{self.scope}:{caller}:{int(window)}", limit, seconds) <= limit
        except RedisError as error:
            logger.warning("Requests are not counted: %s", error)
            return True

    def _count(self, window: str, limit: int, seconds: int) -> int:
        """Count one more request. Return how many there have been in the window, this one included."""
        reported, unreported = self._counts.get(window, (0, 0))
        unreported += 1
        if unreported > limit // REPORTS_PER_LIMIT:
            reported, unreported = self._report(window, unreported, seconds), 0
        if len(self._counts) >= REMEMBERED_WINDOWS:
            self._counts.clear()
        self._counts[window] = reported, unreported
        return reported + unreported

    def _report(self, window: str, requests: int, seconds: int) -> int:
        """Add requests to the window's count in Redis. Return the count of all processes."""
        key = cache.make_key(f"throttle:{hashlib.sha256(window.encode()).hexdigest()[:32]}")
        with get_redis_connection("default").pipeline(transaction=False) as pipeline:
            total, _ = pipeline.incrby(key, requests).expire(key, seconds).execute()
        return int(total)

    def wait(self) -> float:
        return self.seconds_left

    def caller_of(self, request: Any) -> str | None:
        """Return whose requests are counted together, or None if this throttle does not count the request."""
        raise NotImplementedError


class CallerThrottle(Throttle):
    """Limit each user, and each address of callers who have not logged in."""

    scope = "user"

    def caller_of(self, request: Any) -> str | None:
        return f"user {request.user.pk}" if request.user and request.user.pk else f"address {address_of(request)}"


class DownloadThrottle(CallerThrottle):
    """Limit the files that each user gets, and each address of visitors. A file may take as long as a hundred other requests."""

    scope = "download"


class LogInThrottle(Throttle):
    """Limit the log-ins of each address, in the admin and over the API together.

    They are never counted by user name alone, since then anyone who knows a name could lock its owner out.
    """

    scope = "login"

    def caller_of(self, request: Any) -> str | None:
        return f"address {address_of(request)}"
