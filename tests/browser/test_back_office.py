"""The pages of the back office: on a phone and wide, light and dark, with axe, and by keyboard."""

from collections.abc import Iterator

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import Count
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from loans.demo import scenario
from loans.models import Investor, Reservation, User
from tests.browser.conftest import PHONE, in_all_looks, serious, shoot, shoot_all_looks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def staff(page: Page, live_server) -> Page:  # type: ignore[no-untyped-def]
    """A page with a user of Operations signed in, in the demo's data."""
    scenario.fill(timezone.now())
    user = User.objects.create_user("olga", first_name="Olga", is_staff=True)
    user.groups.add(Group.objects.get(name="Operations"))
    client = Client()
    client.force_login(user)
    page.context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}])
    return page


def addresses() -> Iterator[tuple[str, str]]:
    """Yield a name and the address of each list, and of the newest row's page in it."""
    yield "start", "/admin/"
    yield "search", "/admin/search/?q=pl"
    for model in admin.site._registry:
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        yield f"list-{name}", reverse(f"admin:{name}_changelist")
        row = model._default_manager.order_by("-pk").first()
        if row is not None:
            yield f"row-{name}", reverse(f"admin:{name}_change", args=[row.pk])


def test_every_page_fits_every_screen_and_is_accessible(staff: Page) -> None:
    faults, shown = [], 0
    for name, address in addresses():
        response = staff.goto(address)
        if response is None or response.status == 403:
            continue  # what Operations may not view
        assert response.status == 200, name
        shown += 1
        for look in in_all_looks(staff, ["wide-light", "phone-dark"]):
            if not staff.evaluate("document.documentElement.scrollWidth <= innerWidth"):
                faults.append(f"{name} is wider than the screen, {look}")
            faults += [f"{name}, {look}: {barrier}" for barrier in serious(staff)]
    assert faults == []
    assert shown > 40


def test_on_a_phone_the_sections_fold_into_one_menu(staff: Page) -> None:
    staff.goto("/admin/loans/transfer/")
    for name in ("Sections", "Money"):
        expect(staff.get_by_role("navigation", name=name)).to_be_visible()
    expect(staff.get_by_text("Menu: Money")).to_be_hidden()
    staff.set_viewport_size(PHONE)  # type: ignore[arg-type]
    for name in ("Sections", "Money"):
        expect(staff.get_by_role("navigation", name=name)).to_be_hidden()
    menu = staff.get_by_role("navigation", name="Menu")
    expect(menu).to_be_hidden()
    staff.get_by_text("Menu: Money").click()
    expect(menu.get_by_role("link", name="Transfers")).to_have_attribute("aria-current", "page")
    assert staff.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert serious(staff) == []
    shoot(staff, "staff-menu-phone", full_page=False)
    menu.get_by_role("link", name="Loans", exact=True).click()
    expect(staff.get_by_role("heading", level=1)).to_have_text("Select loan to change")


def test_a_reservation_is_found_and_a_list_is_walked_by_keyboard_alone(staff: Page) -> None:
    reservation = Reservation.objects.select_related("loan").order_by("pk")[0]
    staff.goto("/admin/")
    staff.keyboard.press("/")
    expect(staff.get_by_label("Search everything")).to_be_focused()
    staff.keyboard.type(f"{reservation.loan} #{reservation.number}".lower())
    staff.keyboard.press("Enter")
    expect(staff.get_by_role("heading", level=2, name=str(reservation))).to_be_visible()
    staff.goto("/admin/loans/loan/")
    rows = staff.locator("#result_list tbody th a")
    for key, row in (("j", 0), ("j", 1), ("j", 2), ("k", 1)):
        staff.keyboard.press(key)
        expect(rows.nth(row)).to_be_focused()
    name = rows.nth(1).inner_text()
    staff.keyboard.press("Enter")
    expect(staff.get_by_role("heading", level=2, name=name)).to_be_visible()


def test_the_pages_of_a_phone_call(staff: Page) -> None:
    """Screenshots of the menu, a list, the search and an investor's page."""
    busiest = Investor.objects.annotate(count=Count("reservations")).latest("count")
    pages = {"reservations": "/admin/loans/reservation/", "search": "/admin/search/?q=pl+10"}
    for name, address in (pages | {"investor": reverse("admin:loans_investor_change", args=[busiest.pk])}).items():
        staff.goto(address)
        shoot_all_looks(staff, f"staff-office-{name}")
