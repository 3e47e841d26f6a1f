"""Who asks too often? Counted in Redis, by fixed windows; without Redis, nobody."""

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
    """DRF's own reads and writes a list of all recent instants; this one counts, in one round trip that cannot race."""

    def allow_request(self, request: Any, view: Any = None) -> bool:
        ident = self.rate and self.get_ident_of(request)
        if not ident:
            return True
        limit, seconds = self.parse_rate(self.rate)
        assert limit is not None and seconds  # noqa: S101, PT018
        window, elapsed = divmod(time.time(), seconds)
        self.seconds_left = seconds - elapsed
        key = cache.make_key(f"throttle:{self.scope}:{hashlib.sha256(ident.encode()).hexdigest()[:32]}:{int(window)}")
        try:
            with get_redis_connection("default").pipeline(transaction=False) as pipeline:
                count, _ = pipeline.incr(key).expire(key, seconds).execute()
        except RedisError as error:
            logger.warning("Requests are not counted: %s", error)
            return True
        return int(count) <= limit

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
