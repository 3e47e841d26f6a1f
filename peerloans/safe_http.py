"""Call URLs that users enter, without letting them reach our own network (server-side request forgery, SSRF).

The host is looked up once, every address that it has is checked, and the connection goes to one of these addresses. There is no
second look-up, whose answer might differ. Proxies are not used. A redirect is checked like the first URL.
"""

import functools
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import httpcore

MOST_REDIRECTS = 5
REDIRECTS = {301, 302, 303, 307, 308}

_GLOBAL_IPV6 = ipaddress.ip_network("2000::/3")
# Of IANA's special-purpose registries (2025), what Python's own list leaves out or counts as global in one of its versions.
_SPECIAL = [
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # relays of 6to4
        "192.175.48.0/24",  # AS112
        "2001::/23",  # protocol assignments, such as Teredo and ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
]
_ISATAP = 0x5EFE  # in bits 32 to 47, above the IPv4 address that it wraps; two bits above them vary


class Refused(Exception):
    """We do not call this URL. The text says why."""


class Failed(Exception):
    """The other side could not be reached, or did not answer as it should."""


class TooSlow(Failed):
    """The other side was silent for too long, or the whole call took too long."""


def is_public(address: str) -> bool:
    """Return whether the address is reachable on the public Internet. IPv6 addresses that wrap an IPv4 address are not accepted."""
    ip = ipaddress.ip_address(address)
    if not ip.is_global or ip.is_multicast or any(ip in network for network in _SPECIAL):
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        return ip in _GLOBAL_IPV6 and int(ip) >> 32 & 0xFCFF_FFFF != _ISATAP
    return True


def any_address(address: str) -> bool:
    """Accept every address: for callers who can reach this machine's network anyway."""
    return True


@dataclass(frozen=True)
class CallLimits:
    """Which addresses a call may connect to, and how long it may take.

    `deadline` is an instant of `time.monotonic()` for the whole call; `silence_seconds` is for each single read and write.
    """

    is_allowed: Callable[[str], bool]
    deadline: float
    silence_seconds: float = float("inf")

    def seconds_left(self) -> float:
        """Return how many seconds the next read or write may take."""
        return max(min(self.deadline - time.monotonic(), self.silence_seconds), 0.001)


def parse_url(url: str, schemes: Collection[str] = ("https", "http")) -> SplitResult:
    """Return the parts of a URL. Its host is not looked up.

    Raises:
        Refused: the URL is malformed, has another scheme, or holds a user name or password.
    """
    try:
        if not re.fullmatch(r"[\x21-\x7e]+", url):
            raise Refused("Write the address without spaces, and encode characters other than ASCII.")
        parts = urlsplit(url)
        has_valid_port = parts.port != 0  # raises ValueError where the port is not a number
    except ValueError as error:
        raise Refused(f"This is not an address: {error}.") from None
    if parts.scheme not in schemes or not parts.hostname or not has_valid_port:
        raise Refused(f"Write the address as {next(iter(schemes))}://host/path.")
    if "@" in parts.netloc:
        raise Refused("Leave out the user name and password.")
    return parts


def addresses_of(host: str, port: int, is_allowed: Callable[[str], bool]) -> list[str]:
    """Look the host up and return its addresses, without repeats.

    Raises:
        Refused: one of the addresses is not allowed.
        Failed: the host has no address.
    """
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Failed(f"{host} was not found: {error}") from error
    addresses = list(dict.fromkeys(str(socket_address[0]) for *_, socket_address in entries))
    for address in addresses:
        if not is_allowed(address):
            resolved = "" if host == address else f"is {address}, which "
            raise Refused(f"{host} {resolved}is not a public address.")
    return addresses


@contextmanager
def call(method: str, url: SplitResult, limits: CallLimits, headers: Mapping[str, str], body: bytes = b"") -> Iterator[httpcore.Response]:
    """Send one request and yield the response, whose body is still to be read. Redirects are not followed.

    Raises, also while the caller reads the body:
        Refused: the host has an address that is not allowed.
        Failed: there was no proper answer; TooSlow where it took too long.
    """
    target = httpcore.URL(
        scheme=url.scheme,
        host=url.hostname or "",
        port=url.port,
        target=(url.path or "/") + (f"?{url.query}" if url.query else ""),
    )
    all_headers = [("Host", url.netloc), ("User-Agent", "peerloans"), *headers.items()]
    try:
        with (
            httpcore.ConnectionPool(ssl_context=_tls(), network_backend=_CheckedNetwork(limits)) as pool,
            pool.stream(method, target, headers=all_headers, content=body or None) as response,
        ):
            yield response
    except httpcore.TimeoutException as error:
        raise TooSlow("It took too long.") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise Failed(f"The connection failed: {error}") from error


@contextmanager
def download(url: str, limits: CallLimits) -> Iterator[Iterator[bytes]]:
    """Yield what `url` holds, in chunks as they arrive. Up to MOST_REDIRECTS redirects are followed.

    Raises, also while the caller reads the chunks:
        Refused: the URL or a redirect names something that we do not call.
        Failed: there was no proper answer, or its status was not 200; TooSlow where it took too long.
    """
    for _ in range(MOST_REDIRECTS + 1):
        with call("GET", parse_url(url), limits, {}) as response:
            if response.status not in REDIRECTS:
                if response.status != 200:
                    reason = response.extensions.get("reason_phrase", b"").decode("latin-1")
                    raise Failed(f"The server answered {response.status} {reason[:50]}".rstrip() + ". Check the address.")
                yield response.iter_stream()
                return
            location = next((value for name, value in response.headers if name.lower() == b"location"), b"").decode("latin-1")
        try:
            url = urljoin(url, location)
        except ValueError as error:
            raise Refused(f"The server redirects to something that is not an address: {error}.") from None
    raise Failed(f"The server redirected more than {MOST_REDIRECTS} times.")


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


class _CheckedNetwork(httpcore.NetworkBackend):
    """Connect only to addresses that the limits allow, and only within their time."""

    def __init__(self, limits: CallLimits) -> None:
        self._limits = limits

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        *earlier, last = addresses_of(host, port, self._limits.is_allowed)
        for address in earlier:
            try:
                return self._connect(address, port)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._connect(last, port)

    def _connect(self, address: str, port: int) -> httpcore.NetworkStream:
        return _TimedStream(httpcore.SyncBackend().connect_tcp(address, port, self._limits.seconds_left()), self._limits)


class _TimedStream(httpcore.NetworkStream):
    """A connection whose reads and writes each get the time that is left, in place of httpcore's fixed timeouts."""

    def __init__(self, stream: httpcore.NetworkStream, limits: CallLimits) -> None:
        self._stream, self._limits = stream, limits

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._limits.seconds_left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._limits.seconds_left())

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, self._limits.seconds_left()), self._limits)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
