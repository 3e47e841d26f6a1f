"""Play the rest of the site: callers who ask for different things, each on a connection and from an address of its own."""

import http.client
import random
import statistics
import threading
import time
from dataclasses import dataclass, field

PATHS = ("/livez", "/ziptocbsa/90266", "/api/v1/loans/", "/", "/admin/login/")
PAUSE_SECONDS = 0.02
PATIENCE_SECONDS = 20


@dataclass
class Waits:
    """How many seconds each answer took, and what went wrong."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds) if self.seconds else float("inf")

    @property
    def worst(self) -> float:
        return max(self.seconds, default=float("inf"))

    def __str__(self) -> str:
        return f"{self.median * 1000:.1f} / {self.worst * 1000:.0f} ms"


class Others:
    """Ask until `stop`, in a thread."""

    def __init__(self, port: int) -> None:
        self._port, self._waits, self._stopping = port, Waits(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> Waits:
        self._stopping.set()
        self._thread.join(PATIENCE_SECONDS + 1)
        return self._waits

    def _run(self) -> None:
        number = 0
        while not self._stopping.wait(PAUSE_SECONDS):
            path = PATHS[number % len(PATHS)]
            number += 1
            started = time.monotonic()
            try:
                status = self._status(path)
            except (OSError, http.client.HTTPException) as error:
                self._waits.failures.append(f"{path}: {error!r}")
                continue
            self._waits.seconds.append(time.monotonic() - started)
            if status != 200:
                self._waits.failures.append(f"{path} was answered {status}")

    def _status(self, path: str) -> int:
        site = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)
        address = f"10.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(256)}"
        try:
            site.request("GET", path, headers={"X-Forwarded-For": address})
            response = site.getresponse()
            response.read()
            return response.status
        finally:
            site.close()
