"""How do we call an address that somebody else names? Once looked up, checked, and connected to that very address.

Whoever names an address could make us call into our own network. So the host's addresses are looked up once, all of
them are checked, and the connection goes to one of those checked: there is no second look-up that might answer
otherwise. Proxies are not used. A redirect is an address like any other, checked in the same way.
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


class Refused(Exception):
    """The address is none that we call; the text says why."""


class Failed(Exception):
    """The other side did not do its part."""


class TooSlow(Failed):
    """It sent nothing for too long, or had not ended in the time for the whole."""


def is_public(address: str) -> bool:
    """Whether the whole Internet knows the address. One that only wraps an IPv4 address is refused, whichever that is."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        return ip in _GLOBAL_IPV6 and ip.is_global and not (ip.sixtofour or ip.teredo)
    return ip.is_global and not ip.is_multicast


def anywhere(address: str) -> bool:
    """Lets every address pass: for whoever sits on this machine anyway."""
    return True


@dataclass(frozen=True)
class Reach:
    """Which addresses a call may go to, and how long it may take: to the `deadline` of time.monotonic(), without a longer silence."""

    allowed: Callable[[str], bool]
    deadline: float
    silence_seconds: float = float("inf")

    def left(self) -> float:
        """Seconds that the next step may take."""
        return max(min(self.deadline - time.monotonic(), self.silence_seconds), 0.001)


def parts(url: str, schemes: Collection[str] = ("https", "http")) -> SplitResult:
    """The parts of an address in a form that we call; Refused otherwise. Its host is not looked up here."""
    try:
        if not re.fullmatch(r"[\x21-\x7e]+", url):
            raise Refused("Write the address without spaces, and other than ASCII letters encoded.")
        address = urlsplit(url)
        port_is_right = address.port != 0  # looking at it raises ValueError where it is no number
    except ValueError as error:
        raise Refused(f"This is not an address: {error}.") from None
    if address.scheme not in schemes or not address.hostname or not port_is_right:
        raise Refused(f"Write the address as {next(iter(schemes))}://host/path.")
    if "@" in address.netloc:
        raise Refused("Leave out the user name and password.")
    return address


def addresses_of(host: str, port: int, allowed: Callable[[str], bool]) -> list[str]:
    """The host's addresses, all of them allowed; Refused where one is not, Failed where there is none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Failed(f"{host} is not found: {error}") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if not allowed(address):
            raise Refused(f"{host} is {address}, which is not a public address.")
    return addresses


@contextmanager
def call(method: str, address: SplitResult, reach: Reach, headers: Mapping[str, str], body: bytes = b"") -> Iterator[httpcore.Response]:
    """The answer to one request, its body still to be read. Raises Refused or Failed, also out of the reading."""
    target = httpcore.URL(
        scheme=address.scheme,
        host=address.hostname or "",
        port=address.port,
        target=(address.path or "/") + (f"?{address.query}" if address.query else ""),
    )
    sent: dict[bytes | str, bytes | str] = {"Host": address.netloc, "User-Agent": "peerloans"}
    sent.update(headers)
    try:
        with (
            httpcore.ConnectionPool(ssl_context=_tls(), network_backend=_CheckedCalls(reach)) as pool,
            pool.stream(method, target, headers=sent, content=body or None) as response,
        ):
            yield response
    except httpcore.TimeoutException as error:
        raise TooSlow("It took too long.") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise Failed(f"The connection failed: {error}") from error


@contextmanager
def download(url: str, reach: Reach) -> Iterator[Iterator[bytes]]:
    """What lies at `url`, in chunks as they come; redirects are followed. Raises Refused or Failed, also out of the reading."""
    for _ in range(MOST_REDIRECTS + 1):
        with call("GET", parts(url), reach, {}) as response:
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
            raise Refused(f"The server redirects to what is not an address: {error}.") from None
    raise Failed(f"The server redirected more than {MOST_REDIRECTS} times.")


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


class _CheckedCalls(httpcore.NetworkBackend):
    """Connects within reach only."""

    def __init__(self, reach: Reach) -> None:
        self.reach = reach

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        *others, last = addresses_of(host, port, self.reach.allowed)
        for address in others:
            try:
                return self._connect(address, port)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._connect(last, port)

    def _connect(self, address: str, port: int) -> httpcore.NetworkStream:
        return _Timed(httpcore.SyncBackend().connect_tcp(address, port, self.reach.left()), self.reach)


class _Timed(httpcore.NetworkStream):
    """A connection on which each step may take what is left."""

    def __init__(self, stream: httpcore.NetworkStream, reach: Reach) -> None:
        self._stream, self._reach = stream, reach

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._reach.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._reach.left())

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, self._reach.left()), self._reach)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
