"""The pages of staff in a browser: what the first screen shows, on a phone too, without serious barriers."""

import pytest
from playwright.sync_api import Locator, Page, expect

from loans.models import ReviewItem, Transfer
from peerloans.wording import dollars_text, instant_text
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
        assert "\n".join(serious(page)) == "", look


def test_today_on_one_screen(demo: None, staff: Page) -> None:
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


def test_late_money_is_resolved_by_four_clicks(demo: None, staff: Page) -> None:
    clicks = 0

    def click(target: Locator) -> None:
        nonlocal clicks
        target.click()
        clicks += 1

    staff.set_viewport_size(SCREEN)  # type: ignore[arg-type]
    staff.goto("/admin/")
    click(staff.get_by_role("link", name="Late money"))
    expect(staff.locator("#result_list")).to_be_visible()
    listed = staff.url
    shoot(staff, "back-office-review-list", full_page=False)
    click(staff.locator("#result_list tbody th a").first)
    expect(staff.get_by_role("heading", name="Owner and comments")).to_be_visible()
    shoot(staff, "back-office-review-item", full_page=False)
    shoot_all_looks(staff, "back-office-review-item")
    no_barrier_and_no_overflow(staff)
    click(staff.get_by_role("button", name="Resolve…"))
    staff.get_by_label("Reason").fill("It is refunded already.")
    shoot_all_looks(staff, "back-office-review-resolve")
    no_barrier_and_no_overflow(staff)
    click(staff.get_by_role("button", name="Resolve review item"))
    expect(staff.get_by_text("Resolve: done for")).to_be_visible()
    assert (clicks, staff.url) == (4, listed), "and the filters of the list stay"
    assert ReviewItem.objects.filter(kind="late_money", resolved_at=None).count() == 0


def test_an_item_is_taken_and_commented(demo: None, staff: Page) -> None:
    item = ReviewItem.objects.get(kind="deadline_missed")
    staff.goto(f"/admin/loans/reviewitem/{item.pk}/change/")
    staff.get_by_role("button", name="Take it").click()
    expect(staff.get_by_text("olga works on it.")).to_be_visible()
    staff.get_by_label("Comment, which stays as it is").fill("The investor calls back at four.")
    staff.get_by_role("button", name="Comment", exact=True).click()
    expect(staff.get_by_text("The investor calls back at four.")).to_be_visible()
    shoot_all_looks(staff, "back-office-review-comment")
    no_barrier_and_no_overflow(staff)


def test_where_is_my_refund_is_answered_from_a_name_by_one_click(demo: None, staff: Page) -> None:
    refund = Transfer.objects.select_related("reservation__investor").filter(direction="refund", status="paid").latest("pk")
    name = refund.reservation.investor.name
    staff.set_viewport_size(SCREEN)  # type: ignore[arg-type]
    staff.goto("/admin/")
    staff.keyboard.press("/")
    staff.keyboard.type(name.lower())
    staff.keyboard.press("Enter")
    staff.get_by_role("link", name=name, exact=True).click()
    expect(staff.get_by_role("heading", level=2, name=name, exact=True)).to_be_visible()
    row = staff.get_by_role("row").filter(has_text=refund.reference)
    expect(row).to_contain_text(dollars_text(refund.amount))
    expect(row).to_contain_text("paid")
    expect(row).to_contain_text(instant_text(refund.ended_at))
    row.get_by_role("link", name=refund.reference).click()
    expect(staff.get_by_role("heading", level=2, name=refund.reference)).to_be_visible()
