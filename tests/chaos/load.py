"""Who calls meanwhile, and what were they told? Investors who send everything twice, a bank that is late and out of order, and staff.

A request that was not decided is sent again under the same key until it is, so at the end it is known of each what must be there.
"""

import http.client
import json
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.message import Message
from typing import Any
from uuid import uuid4

from loans.demo.sandbox_bank import signed_request
from loans.services.payments import Notice
from tests.chaos.staff import Deed, Desk
from tests.chaos.stage import STAFF
from tests.production import BANK_SECRET

TIMEOUT_SECONDS = 30
PAUSE_SECONDS = 0.1
PASSING = {"busy", "request_in_progress"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    text: str
    tries: int = 1

    @property
    def body(self) -> Any:
        return json.loads(self.text)

    @property
    def decides(self) -> bool:
        return self.status != 503 and not (self.status == 409 and self.body["code"] in PASSING)


@dataclass
class Told:
    """What callers were told, and what was wrong with it."""

    reservations: dict[str, str] = field(default_factory=dict)  # id: amount
    transfers: dict[str, str] = field(default_factory=dict)  # reference: reservation
    events: dict[str, Notice] = field(default_factory=dict)
    deeds: list[Deed] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Load:
    """All callers, in threads; `stop` lets each finish what it began."""

    def __init__(self, port: int, tokens: list[str], draw: random.Random) -> None:
        self.port, self.told = port, Told()
        self.ending, self.abandoned = threading.Event(), threading.Event()
        self.to_tell: queue.PriorityQueue[tuple[float, str, Notice]] = queue.PriorityQueue()
        self.investors = [self._thread(self._invest, token, random.Random(draw.random())) for token in tokens]
        self.staff = [self._thread(self._be_staff, name, random.Random(draw.random())) for name in STAFF]
        self.banks = [self._thread(self._be_the_bank, random.Random(draw.random())) for _ in range(2)]

    def _thread(self, work: Callable[..., None], *arguments: Any) -> threading.Thread:
        def run() -> None:
            try:
                work(*arguments)
            except Exception as error:  # noqa: BLE001 - it belongs into the verdict
                self._wrong(f"{work.__name__}: {error!r}")

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def stop(self, patience_seconds: float) -> None:
        """Ask all to finish; whoever has not after that time is a fault of the system."""
        self.ending.set()
        deadline = time.monotonic() + patience_seconds
        for thread in [*self.investors, *self.staff, *self.banks]:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                self._wrong(f"a request was not decided {patience_seconds:.0f} seconds after the last fault")
        self.abandoned.set()

    def _wrong(self, what: str) -> None:
        with self.told.lock:
            self.told.wrong.append(what)

    # --- One request ------------------------------------------------------------------------------------------------
    def _decided(self, method: str, path: str, headers: Callable[[], dict[Any, Any]], body: bytes | None = None) -> Answer:
        tries = 0
        while not self.abandoned.is_set():
            answer = self._send(method, path, headers(), body)
            tries += 1
            if answer and answer.decides:
                return replace(answer, tries=tries)
            time.sleep(PAUSE_SECONDS)
        raise TimeoutError(f"{method} {path} was never decided")

    def _send(self, method: str, path: str, headers: dict[Any, Any], body: bytes | None) -> Answer | None:
        """The answer; None where the connection broke."""
        began = time.monotonic()
        site = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        answer = None
        try:
            site.request(method, path, body, headers)
            response = site.getresponse()
            answer = Answer(response.status, response.headers, response.read().decode())
        except TimeoutError:
            self._wrong(f"{method} {path} hung for {TIMEOUT_SECONDS} seconds")
        except (OSError, http.client.HTTPException):
            pass
        finally:
            site.close()
        with self.told.lock:
            self.told.slowest = max(self.told.slowest, time.monotonic() - began)
            self.told.answers[str(answer.status) if answer else "broken"] += 1
        if answer:
            self._check(method, path, answer)
        return answer

    def _check(self, method: str, path: str, answer: Answer) -> None:
        if answer.status >= 500 and answer.status != 503:
            self._wrong(f"{method} {path}: {answer.status} {answer.text}")
        if answer.status >= 400 and not answer.decides and "Retry-After" not in answer.headers:
            self._wrong(f"{method} {path}: {answer.status} without Retry-After: {answer.text}")

    # --- Investors --------------------------------------------------------------------------------------------------
    def _invest(self, token: str, draw: random.Random) -> None:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        while not self.ending.is_set():
            loans = self._decided("GET", "/api/v1/loans/?status=open&page_size=50", lambda: headers).body["results"]
            if not loans:
                continue
            amount = Decimal(draw.randrange(100_000, 600_000)) / 100
            reserved = self._twice(headers, f"loans/{draw.choice(loans)['reference']}/reservations/", {"amount": str(amount)}, draw)
            if reserved.status == 201:
                reservation = reserved.body
                with self.told.lock:
                    self.told.reservations[reservation["id"]] = reservation["amount"]
                self._go_on(headers, reservation, draw)
            time.sleep(PAUSE_SECONDS)

    def _go_on(self, headers: dict[str, str], reservation: dict[str, Any], draw: random.Random) -> None:
        luck = draw.random()
        if luck < 0.1:
            self._twice(headers, f"reservations/{reservation['id']}/cancel/", {}, draw)
        elif luck < 0.9:
            started = self._twice(headers, f"reservations/{reservation['id']}/transfer/", {"method": draw.choice(["ach", "wire"])}, draw)
            if started.status == 200:
                reference = started.body["transfer"]["reference"]
                with self.told.lock:
                    self.told.transfers[reference] = reservation["id"]
                self._pay(reference, Decimal(reservation["amount"]), draw)

    def _twice(self, headers: dict[str, str], path: str, body: dict[str, str], draw: random.Random) -> Answer:
        """Send it twice under one key, half of the time at once; both must be told the same."""
        keyed = headers | {"Idempotency-Key": str(uuid4())}
        answers: list[Answer] = []

        def send() -> None:
            answers.append(self._decided("POST", f"/api/v1/{path}", lambda: keyed, json.dumps(body).encode()))

        beside = self._thread(send)
        if draw.random() < 0.5:
            beside.join()
        send()
        beside.join()
        if len({(answer.status, answer.text) for answer in answers}) > 1:
            self._wrong(f"POST {path} was answered in two ways: {answers}")
        return answers[0]

    # --- Staff ------------------------------------------------------------------------------------------------------
    def _be_staff(self, name: str, draw: random.Random) -> None:
        for deed in Desk(self._decided, name, draw).work(self.ending):
            with self.told.lock:
                self.told.deeds.append(deed)

    # --- The bank ---------------------------------------------------------------------------------------------------
    def _pay(self, reference: str, amount: Decimal, draw: random.Random) -> None:
        """What the bank will say of a transfer: each event twice, later, in any order."""
        kinds = draw.choices([["cleared"], ["failed"], ["cleared", "failed"]], [8, 1, 1])[0]
        amount -= draw.random() < 0.05
        at = datetime.now(UTC)
        for number, kind in enumerate(kinds):
            notice = Notice(f"bank-{uuid4()}", f"transfer.{kind}", reference, amount, at + timedelta(milliseconds=number))  # type: ignore[arg-type]
            for _ in range(2):
                self.to_tell.put((time.monotonic() + draw.uniform(0, 4), str(uuid4()), notice))

    def _be_the_bank(self, draw: random.Random) -> None:
        while not self.abandoned.is_set():
            try:
                due, _, notice = self.to_tell.get(timeout=1)
            except queue.Empty:
                if self.ending.is_set() and not any(thread.is_alive() for thread in self.investors):
                    return
                continue
            time.sleep(max(0.0, due - time.monotonic()))
            _, body = signed_request(notice, BANK_SECRET)
            answer = self._decided("POST", "/api/v1/bank-events/", lambda notice=notice: signed_request(notice, BANK_SECRET)[0], body)
            if answer.status != 200:
                self._wrong(f"the bank's {notice} was answered {answer.status} {answer.text}")
            with self.told.lock:
                self.told.events[notice.id] = notice
