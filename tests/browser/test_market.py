"""The public pages in a browser: wide and on a phone, light and dark, by keyboard, and as a screen reader gets them."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

import cbsa
from cbsa.imports import service
from loans.demo import scenario
from loans.models import Loan
from tests import factories
from tests.browser.conftest import in_all_looks, serious, shoot_all_looks

pytestmark = pytest.mark.django_db(transaction=True)

PAGES = {
    "market": "/",
    "market-wrong": "/?state=Texas&min_rate=high",
    "loan": "/loans/PL-0001/",
    "loan-funded": "/loans/PL-0002/",
    "zip": "/zip/90266/",
    "zip-unknown": "/zip/00501/",
    "metros": "/metros/",
    "metros-found": "/metros/?search=portland",
    "metro": "/metros/31080/",
    "metro-division": "/metros/31084/",
    "metro-absent": "/metros/41980/",
    "nothing": "/loans/PL-9999/",
}


@pytest.fixture
def _zip_data(live_server) -> None:  # type: ignore[no-untyped-def]
    folder = Path(cbsa.__file__).with_name("demo")
    service.run(zips=str(folder / "zips.csv"), metros=str(folder / "metros.csv"), vintage="2015", actor="tester")


def open_loan(**fields: object) -> Loan:
    now = timezone.now()
    return factories.LoanFactory(now=now, closes_at=now + timedelta(days=9), **fields)


@pytest.mark.usefixtures("_zip_data")
def test_pages_fit_every_screen_and_are_accessible(page: Page) -> None:
    scenario.fill(timezone.now())
    for name, address in PAGES.items():
        page.goto(address)
        shoot_all_looks(page, name)
        for look in in_all_looks(page, ["wide-light", "phone-dark"]):
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than the screen, {look}"
            assert serious(page) == [], f"{name}, {look}"


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))


def tab_to(page: Page, name: str) -> None:
    """Move the focus by keyboard until it is on `name`. The focus must always be visible."""
    for _ in range(30):
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", focused(page)
        if focused(page) == name:
            return
    pytest.fail(f"Tab does not lead to {name}, only to {focused(page)}")


@pytest.mark.usefixtures("_zip_data")
def test_loans_can_be_found_by_keyboard_alone(page: Page) -> None:
    open_loan(reference="LN-A", title="By the sea", annual_rate=Decimal("7.00"))
    open_loan(reference="LN-B", title="On the hill", annual_rate=Decimal("9.00"))
    open_loan(reference="LN-C", title="By the lake", zip="32003", state="FL", annual_rate=Decimal("8.00"))
    page.goto("/")
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.keyboard.press("Enter")
    tab_to(page, "msa")
    page.keyboard.type("Los Angeles")
    tab_to(page, "Show")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="2 open loans")).to_be_visible()
    tab_to(page, "Highest rate")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Highest rate")).to_have_attribute("aria-current", "true")
    expect(page.get_by_role("heading", level=3)).to_have_text(["On the hill", "By the sea"])
    expect(page.get_by_role("heading", name="2 open loans")).to_be_in_viewport()
    tab_to(page, "By the sea")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("By the sea")
    page.go_back()
    page.get_by_role("link", name="Clear").click()
    expect(page.get_by_role("heading", level=3)).to_have_count(3)


def test_a_filter_that_is_not_valid_is_explained_in_its_field(page: Page) -> None:
    open_loan()
    page.goto("/")
    page.get_by_label("Rate at least").fill("high")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Rate at least")).to_have_accessible_description("Enter a number.")
    expect(page.get_by_role("alert")).to_contain_text("A filter is not valid.")
    page.get_by_label("Rate at least").fill("8")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="1 open loan")).to_be_visible()


@pytest.mark.usefixtures("_zip_data")
def test_the_zip_search_leads_to_the_zip(page: Page) -> None:
    page.goto("/")
    page.get_by_role("textbox", name="ZIP code").fill("9026")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("alert")).to_contain_text("'9026' is not a ZIP code")
    page.get_by_role("textbox", name="ZIP code").fill("90266-1234")
    page.keyboard.press("Enter")
    expect(page).to_have_url("/zip/90266/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Los Angeles-Long Beach-Anaheim, CA")
