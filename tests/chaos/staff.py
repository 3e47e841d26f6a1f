"""What do staff do meanwhile? They act on whatever they find, by the pages of the admin: a list, a preview, a reason, a confirmation."""

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

from tests.chaos.stage import FEWEST_OPEN, PASSWORD, terms

PAUSE_SECONDS = 0.2
LOANS, CLAIMS, TRANSFERS = (f"/admin/loans/{name}/" for name in ("loan", "reservation", "transfer"))
OPEN_LOANS = f"{LOANS}?status__exact=open"


@dataclass(frozen=True)
class Deed:
    """What one of the staff tried, and whether they were told that it is done. Its reason names it in history."""

    action: str
    row: str
    reason: str
    done: bool
    tries: int


def _instant(from_now: timedelta = timedelta()) -> str:
    return f"{localtime() + from_now:%Y-%m-%dT%H:%M}"


def _in_days(name: str, fewest: int, most: int) -> Callable[[random.Random], dict[str, str]]:
    # Hardly ever the instant that it has already, which would change nothing.
    return lambda draw: {name: _instant(timedelta(days=draw.randint(fewest, most), minutes=draw.randint(0, 1439)))}


def _nothing(draw: random.Random) -> dict[str, str]:
    return {}


def _notice(draw: random.Random) -> dict[str, str]:
    return {"notice_id": str(uuid4()), "occurred_at": _instant()}


# An action, the list with rows for it, and what its form asks for beside the reason.
ACTIONS: list[tuple[str, str, Callable[[random.Random], dict[str, str]]]] = [
    ("cancel", f"{CLAIMS}?state__exact=reserved", _nothing),
    ("cancel", f"{CLAIMS}?state__exact=pending", _nothing),
    ("reinstate", f"{CLAIMS}?state__exact=canceled", _nothing),
    ("accept_amount", f"{CLAIMS}?state__exact=pending", _nothing),
    ("settle_ahead", f"{CLAIMS}?state__exact=pending", _nothing),
    ("extend", f"{CLAIMS}?state__exact=pending", _in_days("expires_at", 8, 10)),
    ("mark_paid", f"{TRANSFERS}?direction__exact=refund&status__exact=due", _notice),
    ("extend", OPEN_LOANS, _in_days("closes_at", 22, 30)),
]


class Desk:
    """One of the staff at a browser. `decided` sends a request again, with the same form, until it is answered."""

    def __init__(self, decided: Callable[..., Any], name: str, draw: random.Random) -> None:
        self.decided, self.name, self.draw = decided, name, draw
        self.cookies = SimpleCookie[str]()

    def work(self, ending: threading.Event) -> Iterator[Deed]:
        """One thing after the other, until then: an action on a row drawn by lot, a new loan where few are open."""
        self._get("/admin/login/")
        self._post("/admin/login/", {"username": self.name, "password": PASSWORD, "next": "/admin/"})
        while not ending.wait(PAUSE_SECONDS):
            action, found, fields = self.draw.choice(ACTIONS)
            rows = self._rows(found)
            if found == OPEN_LOANS and len(rows) < FEWEST_OPEN:
                new = terms(f"CH-{uuid4().hex[:8]}", self.draw)
                self._post(f"{LOANS}add/", new)  # one that is sent again is refused, as the reference is taken
                found = f"{LOANS}?q={new['reference']}"
                yield from self._act("open", found, self._rows(found), {"closes_at": ""})
            elif rows:
                yield from self._act(action, found, rows, fields(self.draw))

    def _act(self, action: str, found: str, rows: list[str], fields: dict[str, str]) -> Iterator[Deed]:
        row, reason = self.draw.choice(rows), f"{self.name} while everything breaks {uuid4()}"
        form = {"action": action, "_selected_action": row, "reason": reason, **fields}
        preview = self._post(found, form | {"step": "preview"}).text
        if 'value="confirm"' not in preview:  # the rules refuse
            return
        previewed = dict(re.findall(r'name="(previewed-[^"]+)" value="(\w+)"', preview))
        # A page that was lost on its way has taken its words back from nobody; the next would show them again.
        self.cookies.pop("messages", None)
        answer = self._post(found, form | previewed | {"step": "confirm"})
        told = self._get(answer.headers["Location"]).text if answer.status == 302 else answer.text
        yield Deed(action, row, reason, ": done for" in told, answer.tries)

    def _rows(self, found: str) -> list[str]:
        return re.findall(r'name="_selected_action" value="([^"]+)"', self._get(found).text)

    # --- The browser ------------------------------------------------------------------------------------------------
    def _get(self, path: str) -> Any:
        return self._ask("GET", path, {})

    def _post(self, path: str, form: dict[str, Any]) -> Any:
        headers = {"X-CSRFToken": self.cookies["csrftoken"].value, "Content-Type": "application/x-www-form-urlencoded"}
        return self._ask("POST", path, headers, urlencode(form).encode())

    def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> Any:
        headers["Cookie"] = "; ".join(f"{name}={cookie.value}" for name, cookie in self.cookies.items())
        answer = self.decided(method, path, lambda: headers, body)
        for cookie in answer.headers.get_all("Set-Cookie", []):
            self.cookies.load(cookie)
        if answer.status not in {200, 302} or "/admin/login/" in answer.headers.get("Location", ""):
            raise AssertionError(f"{method} {path}: {answer.status} {answer.text}")
        return answer
