"""How fast does a site answer? One thread that only copies bytes plays all clients; it tells what share of a core it took."""

import math
import re
import resource
import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass
class Load:
    """What the clients saw: the statuses, and how many seconds each answer took."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    own_share: float = 0.0  # of one core, taken by the clients themselves

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    @property
    def p99(self) -> float:
        """Milliseconds."""
        return sorted(self.latencies)[math.ceil(len(self.latencies) * 0.99) - 1] * 1000


def request(method: str, path: str, token: str = "", key: str = "", body: str = "") -> bytes:
    """A request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench"]
    lines += [f"Authorization: Bearer {token}"] if token else []
    lines += [f"Idempotency-Key: {key}"] if key else []
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


class _Client:
    """One connection, with one request on it at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, what: bytes) -> None:
        self.received, self.end = b"", 0
        self.started = time.perf_counter()
        self.socket.sendall(what)

    def answered(self) -> bool:
        """Takes in what has come; tells whether that was the rest of the answer."""
        more = self.socket.recv(1 << 18)
        if not more:
            raise SystemExit("A site hung up on the bench.")
        self.received += more
        if not self.end and (head := self.received.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self.received, 0, head)
            self.end = head + 4 + (int(length[1]) if length else 0)
        return 0 < self.end <= len(self.received)

    @property
    def status(self) -> int:
        return int(self.received[9:12])


def load(port: int, requests: Iterator[bytes], clients: int, seconds: float = math.inf) -> Load:
    """Let each of the clients ask again as soon as it is answered, until the time is up or there is no request left."""
    _allow_sockets(clients + 100)
    seen, selector = Load(), selectors.EpollSelector() if hasattr(selectors, "EpollSelector") else selectors.DefaultSelector()
    waiting = [_Client(port) for _ in range(clients)]
    for client in waiting:
        selector.register(client.socket, selectors.EVENT_READ, client)
    busy, own, start = clients, time.process_time(), time.perf_counter()
    for client in waiting:
        client.send(next(requests))
    while busy:
        for ready, _ in selector.select(timeout=60):
            client = ready.data
            if client.answered():
                now = time.perf_counter()
                seen.latencies.append(now - client.started)
                seen.statuses[client.status] += 1
                what = next(requests, None) if now - start < seconds else None
                if what:
                    client.send(what)
                else:
                    selector.unregister(client.socket)
                    client.socket.close()  # a kept connection would keep others from being taken in
                    busy -= 1
    seen.seconds = time.perf_counter() - start
    seen.own_share = (time.process_time() - own) / seen.seconds
    selector.close()
    return seen


def _allow_sockets(number: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
