"""Who asks too often? Counted by fixed windows, in each process and together in Redis; without Redis, nobody.

A process tells Redis once for each hundredth of the limit, and in between counts by itself: so most requests need no
Redis, and who comes in over several processes may go over the limit by a hundredth for each.
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

SHARE_UNTOLD = 100
REMEMBERED = 10_000  # callers


def address_of(request: Any) -> str | None:
    """The caller's address, as far as the proxies that we know of vouch for it; of IPv6 the /64, which one caller has whole.

    Some proxies add a port, and sockets for both kinds show IPv4 as ::ffff:192.0.2.1. None for what is no address.
    """
    ident = throttling.BaseThrottle().get_ident(request) or ""
    for text in (ident, ident.rpartition(":")[0]):
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(text.strip("[]"))
            address = getattr(address, "ipv4_mapped", None) or address
            return str(ipaddress.ip_network((address, 64), strict=False)[0] if address.version == 6 else address)
    return None


class Throttle(throttling.SimpleRateThrottle):
    """DRF's own reads and writes a list of all recent instants; this one counts."""

    # Of each window that this process has met: requests that Redis does not know of, and how many it had counted.
    _windows: dict[str, tuple[int, int]] = {}

    def allow_request(self, request: Any, view: Any = None) -> bool:
        ident = self.rate and self.get_ident_of(request)
        if not ident:
            return True
        limit, seconds = self.parse_rate(self.rate)
        assert limit is not None and seconds  # noqa: S101, PT018
        window, elapsed = divmod(time.time(), seconds)
        self.seconds_left = seconds - elapsed
        try:
            return self._count(f"{self.scope}:{ident}:{int(window)}", limit // SHARE_UNTOLD, seconds) <= limit
        except RedisError as error:
            logger.warning("Requests are not counted: %s", error)
            return True

    def _count(self, name: str, untold_at_most: int, seconds: int) -> int:
        """How many requests there have been in the window, this one among them."""
        untold, told = self._windows.get(name, (0, 0))
        untold += 1
        if untold > untold_at_most:
            key = cache.make_key(f"throttle:{hashlib.sha256(name.encode()).hexdigest()[:32]}")
            with get_redis_connection("default").pipeline(transaction=False) as pipeline:
                told, _ = pipeline.incrby(key, untold).expire(key, seconds).execute()
            untold = 0
        if len(self._windows) >= REMEMBERED:
            self._windows.clear()
        self._windows[name] = untold, told
        return told + untold

    def wait(self) -> float:
        return self.seconds_left

    def get_ident_of(self, request: Any) -> str | None:
        """Whose requests are counted together; None where this throttle counts nothing."""
        raise NotImplementedError


class PerCaller(Throttle):
    """Each user, or each address of those who have not logged in."""

    scope = "user"

    def get_ident_of(self, request: Any) -> str | None:
        return f"user {request.user.pk}" if request.user and request.user.pk else f"address {address_of(request)}"


class LogIns(Throttle):
    """Each address, whichever names it tries, in the admin and by the API together.

    Never a name from wherever it is tried: whoever knew it could keep its owner out.
    """

    scope = "login"

    def get_ident_of(self, request: Any) -> str | None:
        return f"address {address_of(request)}"
