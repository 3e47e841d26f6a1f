"""Play somebody at a browser: pages with cookies, and the admin's actions with their preview and confirmation."""

import http.client
import re
import time
from http.cookies import SimpleCookie
from typing import NamedTuple
from urllib.parse import urlencode

from tests.attack.site import Site

FORM = "application/x-www-form-urlencoded"
PAUSE_SECONDS = 0.1  # between two pages, since these attacks are not about speed


class Page(NamedTuple):
    status: int
    text: str
    location: str


class Browser:
    """A browser at an address of its own, logged in to the admin."""

    def __init__(self, site: Site, username: str, password: str, address: str) -> None:
        self.site, self.address = site, address
        self.cookies = SimpleCookie[str]()
        self.get("/admin/login/")
        page = self.post("/admin/login/", {"username": username, "password": password, "next": "/admin/"})
        assert page.status == 302, f"{username} could not log in: {page.status}"

    def get(self, path: str) -> Page:
        return self._request("GET", path, None)

    def post(self, path: str, form: dict[str, str]) -> Page:
        return self._request("POST", path, urlencode(form | {"csrfmiddlewaretoken": self.cookies["csrftoken"].value}))

    def act(self, path: str, action: str, row: object, **fields: str) -> str:
        """Take an action of the list at `path` for a row, as far as the pages let it go, and return all that they say."""
        form = {"action": action, "_selected_action": str(row), "reason": "an attack of our own", **fields}
        preview = self.post(path, form | {"step": "preview"})
        previewed = dict(re.findall(r'name="(previewed-[^"]+)" value="(\w+)"', preview.text))
        answer = self.post(path, form | previewed | {"step": "confirm"})
        page = self.get(answer.location) if answer.status == 302 else answer
        return preview.text + answer.text + page.text

    def _request(self, method: str, path: str, body: str | None) -> Page:
        connection = http.client.HTTPConnection("127.0.0.1", self.site.port, timeout=30)
        headers = {"X-Forwarded-For": self.address, "Content-Type": FORM, "Cookie": self.cookies.output(["key"], "", ";").strip()}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            for cookie in answer.headers.get_all("Set-Cookie", []):
                self.cookies.load(cookie)
            time.sleep(PAUSE_SECONDS)
            return Page(answer.status, answer.read().decode(errors="replace"), answer.headers.get("Location", ""))
        finally:
            connection.close()
