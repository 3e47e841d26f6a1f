"""Look at how loans are shared out: the basis of allotment, a lottery that can be checked, what if, and the chances in the queue."""

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect

from loans.models import Loan, User
from loans.services.settlement import settle_loans
from tests.browser.conftest import in_all_looks, serious, shoot_all_looks
from tests.factories import LoanFactory, fresh, funded, pending, reserved

pytestmark = pytest.mark.django_db(transaction=True)


def sold_out(**fields: object) -> Loan:
    now = timezone.now()
    loan: Loan = LoanFactory(now=now, **fields)
    for amount in (60_000, 30_000, 20_000, 5_000):
        funded(loan, amount, now=now)
    pending(loan, 5_000, now=now)
    settle_loans([loan.pk])
    return fresh(loan)  # type: ignore[no-any-return]


def sign_in_staff(page: Page, url: str) -> None:
    user = User.objects.create_user("olga", is_staff=True)
    user.groups.add(Group.objects.get(name="Operations"))
    client = Client()
    client.force_login(user)
    page.context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": url}])


def assert_no_look_scrolls_sideways(page: Page) -> None:
    for look in in_all_looks(page):
        width = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert width[0] <= width[1], f"{look}: the page scrolls sideways"


def test_a_funded_loan_shows_how_it_was_shared_out(page: Page) -> None:
    loan = sold_out(settlement_rule="lottery")
    page.goto(f"/loans/{loan.reference}/")
    expect(page.get_by_role("heading", name="How it was shared out")).to_be_visible()
    expect(page.get_by_text(loan.lottery_seed, exact=True)).to_be_visible()
    assert_no_look_scrolls_sideways(page)
    for look in in_all_looks(page):
        assert serious(page) == [], look
    shoot_all_looks(page, "allotment")


def test_staff_play_a_loan_under_another_rule(page: Page, live_server) -> None:  # type: ignore[no-untyped-def]
    loan = sold_out()
    sign_in_staff(page, live_server.url)
    page.goto(f"/admin/loans/loan/{loan.pk}/change/")
    page.get_by_role("link", name="What if").click()
    page.get_by_label("Settlement rule").select_option("equal_awards")
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("cell", name="-$15,000.00")).to_be_visible()
    assert_no_look_scrolls_sideways(page)
    shoot_all_looks(page, "what-if")


def test_staff_see_the_chances_in_the_queue(page: Page, live_server) -> None:  # type: ignore[no-untyped-def]
    now = timezone.now()
    loan = LoanFactory(now=now)
    for amount in (60_000, 30_000, 20_000, 5_000):
        reserved(loan, amount, now=now)
    sign_in_staff(page, live_server.url)
    page.goto(f"/admin/loans/loan/{loan.pk}/change/")
    expect(page.get_by_role("columnheader", name="Chance of all")).to_be_visible()
    shoot_all_looks(page, "queue-chances")
