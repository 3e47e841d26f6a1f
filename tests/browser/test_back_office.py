"""The pages of staff in a browser: what the first screen shows, on a phone too, without serious barriers."""

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from loans.demo import scenario
from tests.browser.conftest import in_all_looks, serious, shoot, shoot_all_looks

SCREEN = {"width": 1280, "height": 800}
# What reaches beyond the right edge, where the page itself can be scrolled sideways.
TOO_WIDE = """() => document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("body *")]
    .filter(each => each.getBoundingClientRect().right > innerWidth && !each.closest(".scrolled"))
    .map(each => each.outerHTML.slice(0, 100))"""
pytestmark = pytest.mark.django_db(transaction=True)


def no_barrier_and_no_overflow(page: Page) -> None:
    for look in in_all_looks(page):
        assert page.evaluate(TOO_WIDE) == [], look
        assert serious(page) == [], look


def test_today_on_one_screen(staff: Page) -> None:
    scenario.fill(timezone.now())
    staff.set_viewport_size(SCREEN)  # type: ignore[arg-type]
    staff.goto("/admin/")
    shoot(staff, "back-office-today", full_page=False)
    shoot_all_looks(staff, "back-office-today")
    no_barrier_and_no_overflow(staff)
    staff.set_viewport_size(SCREEN)  # type: ignore[arg-type]
    for name in ("Needs a person", "Flow by day", "Jobs", "Open loans, closing next"):
        heading = staff.get_by_role("heading", name=name)
        box = heading.bounding_box()
        assert box, name
        assert box["y"] + box["height"] < SCREEN["height"], f"{name} is below the first screen"
    staff.get_by_role("link", name="Money waits for its turn").click()
    expect(staff.get_by_text("reservation")).not_to_have_count(0)
