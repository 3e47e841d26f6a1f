"""Measure how fast a site answers. One thread plays all clients and only copies bytes; it measures its own share of a core too."""

import math
import re
import resource
import selectors
import socket
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass
class Load:
    """The statuses that the clients were answered, and the seconds that each answer took."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    own_share: float = 0.0  # of one core, taken by the clients themselves

    @property
    def rate(self) -> float:
        """Return the answers per second."""
        return len(self.latencies) / self.seconds

    @property
    def median(self) -> float:
        """Return the median of the answers' milliseconds."""
        return statistics.median(self.latencies) * 1000

    @property
    def p99(self) -> float:
        """Return the 99th percentile of the answers' milliseconds."""
        return sorted(self.latencies)[math.ceil(len(self.latencies) * 0.99) - 1] * 1000


def request(method: str, path: str, token: str = "", key: str = "", body: str = "", cookie: str = "") -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench"]
    lines += [f"Authorization: Bearer {token}"] if token else []
    lines += [f"Idempotency-Key: {key}"] if key else []
    lines += [f"Cookie: {cookie}"] if cookie else []
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


class _Client:
    """One connection, with one request on it at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        self.received, self.end = b"", 0
        self.started = time.perf_counter()
        self.socket.sendall(data)

    def receive(self) -> bool:
        """Read what has arrived, and return whether the answer is complete."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise SystemExit("A site closed the connection.")
        self.received += data
        if not self.end and (head := self.received.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self.received, 0, head)
            self.end = head + 4 + (int(length[1]) if length else 0)
        return 0 < self.end <= len(self.received)

    @property
    def status(self) -> int:
        return int(self.received[9:12])


def load(port: int, requests: Iterator[bytes], clients: int, seconds: float = math.inf) -> Load:
    """Let each client send its next request as soon as it is answered, until the time is up or no request is left."""
    _allow_sockets(clients + 100)
    result, selector = Load(), selectors.DefaultSelector()
    connected = [_Client(port) for _ in range(clients)]
    for client in connected:
        selector.register(client.socket, selectors.EVENT_READ, client)
    busy, own, start = clients, time.process_time(), time.perf_counter()
    for client in connected:
        client.send(next(requests))
    while busy:
        for ready, _ in selector.select(timeout=60):
            client = ready.data
            if client.receive():
                now = time.perf_counter()
                result.latencies.append(now - client.started)
                result.statuses[client.status] += 1
                data = next(requests, None) if now - start < seconds else None
                if data:
                    client.send(data)
                else:
                    selector.unregister(client.socket)
                    client.socket.close()  # a kept connection would occupy a thread of the site
                    busy -= 1
    result.seconds = time.perf_counter() - start
    result.own_share = (time.process_time() - own) / result.seconds
    selector.close()
    return result


def _allow_sockets(number: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
