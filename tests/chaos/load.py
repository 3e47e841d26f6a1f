"""Play the callers, and record what they were answered: investors who send everything twice, a late and unordered bank, and staff.

A request that was not decided is sent again with the same key until it is. So at the end the record says what must be there.
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
from loans.services.bank_events import Notice
from tests.chaos.initial_data import STAFF
from tests.chaos.staff import ConfirmedAction, StaffSession
from tests.production import BANK_SECRET

TIMEOUT_SECONDS = 30
PAUSE_SECONDS = 0.1
UNDECIDED = {"busy", "request_in_progress"}  # codes of a 409


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
    def is_decision(self) -> bool:
        return self.status != 503 and not (self.status == 409 and self.body["code"] in UNDECIDED)


@dataclass
class Record:
    """What callers were answered, and the promises that an answer broke."""

    reservations: dict[str, str] = field(default_factory=dict)  # amount by id
    transfers: dict[str, str] = field(default_factory=dict)  # reservation by reference
    standing_orders: set[str] = field(default_factory=set)  # ids
    waiting_entries: set[str] = field(default_factory=set)  # ids
    events: dict[str, Notice] = field(default_factory=dict)
    bank_accounts: dict[str, Decimal] = field(default_factory=dict)  # dollars that the bank holds, by reference
    staff_actions: list[ConfirmedAction] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    broken_promises: list[str] = field(default_factory=list)
    slowest_seconds: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Load:
    """All callers, each in a thread. `stop` lets each finish what it began."""

    def __init__(self, port: int, tokens: list[str], draw: random.Random) -> None:
        self.port, self.record = port, Record()
        self.ending, self.abandoned = threading.Event(), threading.Event()
        self.notices: queue.PriorityQueue[tuple[float, str, Notice]] = queue.PriorityQueue()
        self.investors = [self._thread(self._play_investor, token, random.Random(draw.random())) for token in tokens]
        self.staff = [self._thread(self._play_staff, name, random.Random(draw.random())) for name in STAFF]
        self.banks = [self._thread(self._play_bank, random.Random(draw.random())) for _ in range(2)]

    def _thread(self, work: Callable[..., None], *arguments: Any) -> threading.Thread:
        def run() -> None:
            try:
                work(*arguments)
            except Exception as error:  # noqa: BLE001 - any error belongs into the verdict
                self._broken(f"{work.__name__}: {error!r}")

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def stop(self, patience_seconds: float) -> None:
        """Let all callers finish. One that has not after that time was not answered, which breaks a promise."""
        self.ending.set()
        deadline = time.monotonic() + patience_seconds
        for thread in [*self.investors, *self.staff, *self.banks]:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                self._broken(f"a request was not decided {patience_seconds:.0f} seconds after the last fault")
        self.abandoned.set()

    def _broken(self, promise: str) -> None:
        with self.record.lock:
            self.record.broken_promises.append(promise)

    # --- One request ------------------------------------------------------------------------------------------------
    def _send_until_decided(self, method: str, path: str, headers: Callable[[], dict[Any, Any]], body: bytes | None = None) -> Answer:
        tries = 0
        while not self.abandoned.is_set():
            answer = self._send(method, path, headers(), body)
            tries += 1
            if answer and answer.is_decision:
                return replace(answer, tries=tries)
            time.sleep(PAUSE_SECONDS)
        raise TimeoutError(f"{method} {path} was never decided")

    def _send(self, method: str, path: str, headers: dict[Any, Any], body: bytes | None) -> Answer | None:
        """Send it once, and return the answer; None if the connection broke."""
        began = time.monotonic()
        site = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        answer = None
        try:
            site.request(method, path, body, headers)
            response = site.getresponse()
            answer = Answer(response.status, response.headers, response.read().decode())
        except TimeoutError:
            self._broken(f"{method} {path} hung for {TIMEOUT_SECONDS} seconds")
        except (OSError, http.client.HTTPException):
            pass
        finally:
            site.close()
        with self.record.lock:
            self.record.slowest_seconds = max(self.record.slowest_seconds, time.monotonic() - began)
            self.record.answers[str(answer.status) if answer else "broken"] += 1
        if answer:
            self._check(method, path, answer)
        return answer

    def _check(self, method: str, path: str, answer: Answer) -> None:
        if answer.status >= 500 and answer.status != 503:
            self._broken(f"{method} {path}: {answer.status} {answer.text}")
        if answer.status >= 400 and not answer.is_decision and "Retry-After" not in answer.headers:
            self._broken(f"{method} {path}: {answer.status} without Retry-After: {answer.text}")

    # --- Investors --------------------------------------------------------------------------------------------------
    def _play_investor(self, token: str, draw: random.Random) -> None:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._keep_orders(headers, draw)
        continued: set[str] = set()
        while not self.ending.is_set():
            loans = self._send_until_decided("GET", "/api/v1/loans/?status=open&page_size=50", lambda: headers).body["results"]
            if not loans:
                continue
            reference, body = draw.choice(loans)["reference"], {"amount": str(Decimal(draw.randrange(100_000, 600_000)) / 100)}
            answer = self._send_twice(headers, f"loans/{reference}/reservations/", body, draw)
            if answer.status == 201:
                with self.record.lock:
                    self.record.reservations[answer.body["id"]] = answer.body["amount"]
            elif answer.body["code"] == "over_limit":
                self._wait(headers, reference, body, draw)
            # Those that a standing order or an entry of a waiting list became go on like the others.
            reserved = self._send_until_decided("GET", "/api/v1/reservations/?state=reserved", lambda: headers).body["results"]
            for reservation in reserved:
                if reservation["id"] not in continued:
                    continued.add(reservation["id"])
                    self._continue(headers, reservation, draw)
            time.sleep(PAUSE_SECONDS)

    def _keep_orders(self, headers: dict[str, str], draw: random.Random) -> None:
        """Keep two standing orders, and pause one of them."""
        for _ in range(2):
            body = {"amount": f"{draw.randrange(2, 9)}000.00", "at_least": "1000.00", "cap": "40000.00"}
            kept = self._send_twice(headers, "standing-orders/", body, draw)
            with self.record.lock:
                self.record.standing_orders.add(kept.body["id"])
        self._send_twice(headers, f"standing-orders/{kept.body['id']}/pause/", {}, draw)

    def _wait(self, headers: dict[str, str], reference: str, body: dict[str, str], draw: random.Random) -> None:
        joined = self._send_twice(headers, f"loans/{reference}/waiting-list/", body | {"at_least": "1000.00"}, draw)
        if joined.status == 201:
            with self.record.lock:
                self.record.waiting_entries.add(joined.body["id"])

    def _continue(self, headers: dict[str, str], reservation: dict[str, Any], draw: random.Random) -> None:
        chance = draw.random()
        if chance < 0.1:
            self._send_twice(headers, f"reservations/{reservation['id']}/cancel/", {}, draw)
        elif chance < 0.9:
            answer = self._send_twice(
                headers, f"reservations/{reservation['id']}/transfer/", {"method": draw.choice(["ach", "wire"])}, draw
            )
            if answer.status == 200:
                reference = answer.body["transfer"]["reference"]
                with self.record.lock:
                    self.record.transfers[reference] = reservation["id"]
                self._pay(reference, Decimal(reservation["amount"]), draw)

    def _send_twice(self, headers: dict[str, str], path: str, body: dict[str, str], draw: random.Random) -> Answer:
        """Send it twice with one key, half of the time at once. Both answers must be the same."""
        keyed = headers | {"Idempotency-Key": str(uuid4())}
        answers: list[Answer] = []

        def send() -> None:
            answers.append(self._send_until_decided("POST", f"/api/v1/{path}", lambda: keyed, json.dumps(body).encode()))

        other = self._thread(send)
        if draw.random() < 0.5:
            other.join()
        send()
        other.join()
        if len({(answer.status, answer.text) for answer in answers}) > 1:
            self._broken(f"POST {path} was answered in two ways: {answers}")
        return answers[0]

    # --- Staff ------------------------------------------------------------------------------------------------------
    def _play_staff(self, name: str, draw: random.Random) -> None:
        for action in StaffSession(self._send_until_decided, name, draw).work(self.ending):
            with self.record.lock:
                self.record.staff_actions.append(action)

    # --- The bank ---------------------------------------------------------------------------------------------------
    def _pay(self, reference: str, amount: Decimal, draw: random.Random) -> None:
        """Let the bank move money, and report it within four seconds, each report twice and all in any order."""
        part = Decimal(100)
        movements = draw.choices(
            [
                [("cleared", amount)],
                [("cleared", amount - Decimal("0.01"))],
                [("failed", amount)],
                [("failed", amount), ("cleared", amount)],  # a second attempt
                [("cleared", amount), ("failed", amount)],  # returned
                [("cleared", amount), ("failed", part)],  # returned in part
                [("cleared", amount - part), ("cleared", part)],  # in two parts
                [("cleared", amount), ("cleared", part), ("failed", amount)],
            ],
            [10, 1, 1, 2, 2, 2, 2, 1],
        )[0]
        at = datetime.now(UTC)
        for number, (kind, dollars) in enumerate(movements):
            self._move(reference, kind, dollars)
            notice = Notice(f"bank-{uuid4()}", f"transfer.{kind}", reference, dollars, at + timedelta(milliseconds=number))  # type: ignore[arg-type]
            self._report(notice, draw)
            if draw.random() < 0.05 and kind == "cleared":
                self._report(replace(notice, id=f"bank-{uuid4()}"), draw)  # the same money under another id

    def _move(self, reference: str, kind: str, amount: Decimal) -> None:
        """Change the bank's own account of a reference. A failure with nothing there is an attempt that moved no money."""
        with self.record.lock:
            held = self.record.bank_accounts.get(reference, Decimal(0))
            self.record.bank_accounts[reference] = held + amount if kind == "cleared" else max(Decimal(0), held - amount)

    def _report(self, notice: Notice, draw: random.Random) -> None:
        for _ in range(2):
            self.notices.put((time.monotonic() + draw.uniform(0, 4), str(uuid4()), notice))

    def _play_bank(self, draw: random.Random) -> None:
        while not self.abandoned.is_set():
            try:
                due, _, notice = self.notices.get(timeout=1)
            except queue.Empty:
                if self.ending.is_set() and not any(thread.is_alive() for thread in self.investors):
                    return
                continue
            time.sleep(max(0.0, due - time.monotonic()))
            _, body = signed_request(notice, BANK_SECRET)
            answer = self._send_until_decided(
                "POST", "/api/v1/bank-events/", lambda notice=notice: signed_request(notice, BANK_SECRET)[0], body
            )
            if answer.status not in {200, 202}:
                self._broken(f"the bank's {notice} was answered {answer.status} {answer.text}")
            with self.record.lock:
                self.record.events[notice.id] = notice
