"""Play staff who act on random rows by the pages of the admin: a list, a preview, a reason, a confirmation."""

import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from django.utils.timezone import localtime

from tests.chaos.initial_data import FEWEST_OPEN_LOANS, PASSWORD, loan_fields

PAUSE_SECONDS = 0.2
LOANS, RESERVATIONS, TRANSFERS = (f"/admin/loans/{name}/" for name in ("loan", "reservation", "transfer"))
OPEN_LOANS = f"{LOANS}?status__exact=open"


@dataclass(frozen=True)
class ConfirmedAction:
    """An action that staff confirmed in so many tries, and whether the page said that it is done. Its reason is unique in history."""

    action: str
    row: str
    reason: str
    done: bool
    tries: int


def _instant(from_now: timedelta = timedelta()) -> str:
    return f"{localtime() + from_now:%Y-%m-%dT%H:%M}"


def _in_days(name: str, fewest: int, most: int) -> Callable[[random.Random], dict[str, str]]:
    # With random minutes it is hardly ever the instant that the row has already, which would change nothing.
    return lambda draw: {name: _instant(timedelta(days=draw.randint(fewest, most), minutes=draw.randint(0, 1439)))}


def _nothing(draw: random.Random) -> dict[str, str]:
    return {}


def _notice(draw: random.Random) -> dict[str, str]:
    return {"notice_id": str(uuid4()), "occurred_at": _instant()}


# The action, the list with rows for it, and the values of its form's fields except the reason.
ACTIONS: list[tuple[str, str, Callable[[random.Random], dict[str, str]]]] = [
    ("cancel", f"{RESERVATIONS}?state__exact=reserved", _nothing),
    ("cancel", f"{RESERVATIONS}?state__exact=pending", _nothing),
    ("reinstate", f"{RESERVATIONS}?state__exact=canceled", _nothing),
    ("accept_amount", f"{RESERVATIONS}?state__exact=pending", _nothing),
    ("settle_ahead", f"{RESERVATIONS}?state__exact=pending", _nothing),
    ("extend", f"{RESERVATIONS}?state__exact=pending", _in_days("expires_at", 8, 10)),
    ("mark_paid", f"{TRANSFERS}?direction__exact=refund&status__exact=due", _notice),
    ("extend", OPEN_LOANS, _in_days("closes_at", 22, 30)),
]


class StaffSession:
    """A member of staff at a browser. `send_until_decided` repeats a request, with the same form, until it is answered."""

    def __init__(self, send_until_decided: Callable[..., Any], name: str, draw: random.Random) -> None:
        self.send_until_decided, self.name, self.draw = send_until_decided, name, draw
        self.cookies = SimpleCookie[str]()

    def work(self, ending: threading.Event) -> Iterator[ConfirmedAction]:
        """Do one action after the other on random rows until `ending` is set; make a new loan and open or announce it when few are open."""
        self._get("/admin/login/")
        self._post("/admin/login/", {"username": self.name, "password": PASSWORD, "next": "/admin/"})
        while not ending.wait(PAUSE_SECONDS):
            action, list_path, form_fields = self.draw.choice(ACTIONS)
            rows = self._rows(list_path)
            if list_path == OPEN_LOANS and len(rows) < FEWEST_OPEN_LOANS:
                loan = loan_fields(f"CH-{uuid4().hex[:8]}", self.draw)
                self._post(f"{LOANS}add/", loan)  # a repeat is refused, because the reference is taken
                list_path = f"{LOANS}?q={loan['reference']}"
                action, opening = self.draw.choice([("open", {}), ("announce", {"opens_at": _instant(timedelta(minutes=1))})])
                yield from self._act(action, list_path, self._rows(list_path), {"closes_at": "", **opening})
            elif rows:
                yield from self._act(action, list_path, rows, form_fields(self.draw))

    def _act(self, action: str, list_path: str, rows: list[str], fields: dict[str, str]) -> Iterator[ConfirmedAction]:
        row, reason = self.draw.choice(rows), f"{self.name} while everything breaks {uuid4()}"
        form = {"action": action, "_selected_action": row, "reason": reason, **fields}
        preview = self._post(list_path, form | {"step": "preview"}).text
        if 'value="confirm"' not in preview:  # the rules refuse
            return
        previewed = dict(re.findall(r'name="(previewed-[^"]+)" value="(\w+)"', preview))
        # If a page was lost on its way, its messages are still in the cookie, and the next page would show them.
        self.cookies.pop("messages", None)
        answer = self._post(list_path, form | previewed | {"step": "confirm"})
        page = self._get(answer.headers["Location"]).text if answer.status == 302 else answer.text
        yield ConfirmedAction(action, row, reason, ": done for" in page, answer.tries)

    def _rows(self, list_path: str) -> list[str]:
        return re.findall(r'name="_selected_action" value="([^"]+)"', self._get(list_path).text)

    # --- The browser ------------------------------------------------------------------------------------------------
    def _get(self, path: str) -> Any:
        return self._request("GET", path, {})

    def _post(self, path: str, form: dict[str, Any]) -> Any:
        headers = {"X-CSRFToken": self.cookies["csrftoken"].value, "Content-Type": "application/x-www-form-urlencoded"}
        return self._request("POST", path, headers, urlencode(form).encode())

    def _request(self, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> Any:
        headers["Cookie"] = "; ".join(f"{name}={cookie.value}" for name, cookie in self.cookies.items())
        answer = self.send_until_decided(method, path, lambda: headers, body)
        for cookie in answer.headers.get_all("Set-Cookie", []):
            self.cookies.load(cookie)
        if answer.status not in {200, 302} or "/admin/login/" in answer.headers.get("Location", ""):
            raise AssertionError(f"{method} {path}: {answer.status} {answer.text}")
        return answer
