"""Chromium, a live server, and a page in which every error fails the test.

If the environment names a folder as SCREENSHOTS, screenshots are saved there.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import Group
from django.core.management.color import no_style
from django.db import connection, transaction
from django.db.models import Model
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Page, sync_playwright

from loans.demo import scenario
from loans.models import User
from tests.conftest import written_models

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDE, PHONE = {"width": 1500, "height": 950}, {"width": 390, "height": 844}
LOOKS = {
    "wide-light": (WIDE, "light"),
    "phone-light": (PHONE, "light"),
    "phone-dark": (PHONE, "dark"),
    "wide-dark": (WIDE, "dark"),
}
PLAYWRIGHT_SECONDS = 10


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Chromium, for these tests only: Django refuses its ORM where an event loop runs, as Playwright's does."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium is installed here; Debian has it as the package chromium")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


_demo: dict[type[Model], bytes] = {}  # the demo's rows, as COPY writes them


@pytest.fixture
def demo(transactional_db: None) -> None:
    """The demo, in a database without other rows. It is played once for all tests of this process (2.5 s), and then copied (0.2 s)."""
    if not _demo:
        scenario.fill(timezone.now())
        with connection.cursor() as cursor:
            for model in written_models():
                with cursor.copy(f"COPY {model._meta.db_table} TO STDOUT") as rows:
                    _demo[model] = b"".join(rows)
        return
    with transaction.atomic(), connection.cursor() as cursor:
        for model, kept in _demo.items():
            with cursor.copy(f"COPY {model._meta.db_table} FROM STDIN") as rows:
                rows.write(kept)
        for statement in connection.ops.sequence_reset_sql(no_style(), list(_demo)):
            cursor.execute(statement)


@pytest.fixture
def page(chromium: Browser, live_server) -> Iterator[Page]:  # type: ignore[no-untyped-def]
    """A fresh page, wide and light. At the end it must have logged no error and asked no other host for anything."""
    context = chromium.new_context(base_url=live_server.url, viewport=WIDE, color_scheme="light", reduced_motion="reduce")  # type: ignore[arg-type]
    context.set_default_timeout(1000 * PLAYWRIGHT_SECONDS)
    page, errors = context.new_page(), []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(live_server.url) else errors.append(request.url))
    yield page
    context.close()
    assert [error for error in errors if "the server responded with a status of 4" not in error] == []


@pytest.fixture
def staff(page: Page, live_server) -> Page:  # type: ignore[no-untyped-def]
    """A page with a user of Operations signed in."""
    user = User.objects.create_user("olga", first_name="Olga", is_staff=True)
    user.groups.add(Group.objects.get(name="Operations"))
    client = Client()
    client.force_login(user)
    cookie = client.cookies["sessionid"]
    page.context.add_cookies([{"name": "sessionid", "value": cookie.value, "url": live_server.url}])
    return page


def in_all_looks(page: Page, looks: Iterable[str] = tuple(LOOKS)) -> Iterator[str]:
    """Show the open page in each of the looks, and yield its name."""
    for look in looks:
        viewport, scheme = LOOKS[look]
        page.set_viewport_size(viewport)  # type: ignore[arg-type]
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        yield look


def serious(page: Page) -> list[str]:
    """Return the barriers that axe finds in the page and rates as serious or critical."""
    # Without preloading, which fetches style sheets again and puts them inline, against our policy.
    violations = Axe().run(page, options={"resultTypes": ["violations"], "preload": False}).response["violations"]
    return [
        f"{rule['id']}: {node['html']} {node['failureSummary']}"
        for rule in violations
        if rule["impact"] in {"serious", "critical"}
        for node in rule["nodes"]
    ]


def shoot(page: Page, name: str, *, full_page: bool = True) -> None:
    """Save a screenshot, if SCREENSHOTS names a folder."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=full_page, animations="disabled")


def assert_fits_and_is_accessible(page: Page, name: str = "", *, looks: Iterable[str] = tuple(LOOKS), full_page: bool = True) -> None:
    """Fail where the page is wider than the screen in one of the looks, or axe finds a barrier. Save screenshots of this name, if given."""
    for look in in_all_looks(page, looks):
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than the screen, {look}"
        assert serious(page) == [], f"{name}, {look}"
        if name:
            shoot(page, f"{name}-{look}", full_page=full_page)


def shoot_all_looks(page: Page, name: str) -> None:
    if "SCREENSHOTS" in os.environ:
        for look in in_all_looks(page):
            shoot(page, f"{name}-{look}")
