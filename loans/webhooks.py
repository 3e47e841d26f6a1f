"""How does a message reach an investor's own system? Signed as Standard Webhooks prescribes, and only to a public address.

Whoever names an address could make us call into our own network. So the host's addresses are looked up once, all of
them are checked, and the connection goes to one of those checked: there is no second look-up that might answer
otherwise. Redirects are not followed, proxies not used.
"""

import functools
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpcore
from django.conf import settings
from standardwebhooks import Webhook

MOST_SECONDS = 10.0  # for the whole of one attempt, however slowly the other side lets its answer drip

_GLOBAL_IPV6 = ipaddress.ip_network("2000::/3")


class Refused(Exception):
    """The address is none that we call; the text says why."""


class Failed(Exception):
    """The other side did not take the message."""


def send(*, url: str, secret: str, message_id: str, body: str, most_seconds: float = MOST_SECONDS) -> None:
    """Deliver the JSON `body` to `url`, or raise Refused or Failed. The same `message_id` tells a repeat.

    Any status from 200 to 299 counts as taken; what else the answer holds is not read.
    """
    address = checked(url)
    at = datetime.now(UTC)
    headers: dict[bytes | str, bytes | str] = {
        "Host": address.netloc,
        "Content-Type": "application/json",
        "User-Agent": "peerloans",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, at, body),
    }
    target = httpcore.URL(
        scheme=address.scheme,
        host=address.hostname or "",
        port=address.port,
        target=(address.path or "/") + (f"?{address.query}" if address.query else ""),
    )
    calls = _CheckedCalls(time.monotonic() + most_seconds)
    try:
        with (
            httpcore.ConnectionPool(ssl_context=_tls(), network_backend=calls) as pool,
            pool.stream("POST", target, headers=headers, content=body.encode()) as response,
        ):
            status = response.status
    except httpcore.TimeoutException:
        raise Failed(f"There was no answer within {most_seconds:g} seconds.") from None
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise Failed(f"The connection failed: {error}") from error
    if not 200 <= status < 300:
        raise Failed(f"The answer was {status}.")


def checked(url: str) -> SplitResult:
    """The parts of an address in a form that we call; Refused otherwise. Its host is not looked up here."""
    schemes = ["https", "http"] if settings.DEBUG else ["https"]
    try:
        if not re.fullmatch(r"[\x21-\x7e]+", url):
            raise Refused("Write the address without spaces, and other than ASCII letters encoded.")
        address = urlsplit(url)
        port_is_right = address.port != 0  # looking at it raises ValueError where it is no number
    except ValueError as error:
        raise Refused(f"This is not an address: {error}.") from None
    if address.scheme not in schemes or not address.hostname or not port_is_right:
        raise Refused(f"Write the address as {schemes[0]}://host/path.")
    if "@" in address.netloc:
        raise Refused("Leave out the user name; messages are signed instead.")
    return address


def addresses_of(host: str, port: int) -> list[str]:
    """The host's addresses, all of them public; Refused where one is not, Failed where there is none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Failed(f"{host} is not found: {error}") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not settings.WEBHOOKS_ALLOW_PRIVATE_NETWORKS:
        for address in addresses:
            if not is_public(address):
                raise Refused(f"{host} is {address}, which is not a public address.")
    return addresses


def is_public(address: str) -> bool:
    """Whether the whole Internet knows the address. One that only wraps an IPv4 address is refused, whichever that is."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        return ip in _GLOBAL_IPV6 and ip.is_global and not (ip.sixtofour or ip.teredo)
    return ip.is_global and not ip.is_multicast


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


class _CheckedCalls(httpcore.NetworkBackend):
    """Connects to checked addresses only. All that is done with the connection ends at `deadline`."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline

    def left(self) -> float:
        """Seconds until the deadline."""
        return max(self.deadline - time.monotonic(), 0.001)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        *others, last = addresses_of(host, port)
        for address in others:
            try:
                return self._connect(address, port)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._connect(last, port)

    def _connect(self, address: str, port: int) -> httpcore.NetworkStream:
        return _Timed(httpcore.SyncBackend().connect_tcp(address, port, self.left()), self)


class _Timed(httpcore.NetworkStream):
    """A connection on which each step may take what is left of the whole time."""

    def __init__(self, stream: httpcore.NetworkStream, calls: _CheckedCalls) -> None:
        self._stream, self._calls = stream, calls

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._calls.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._calls.left())

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, self._calls.left()), self._calls)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
