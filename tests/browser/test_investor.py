"""An investor in a browser: from the public page of a loan to a settled part of it, by keyboard alone."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.hashers import make_password
from django.db.models import Count
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django.fixtures import Settings

from loans.demo import sandbox_bank
from loans.models import Investor, Loan, Reservation
from loans.notifications.deliveries import deliver_due
from loans.services.bank_events import record_bank_event
from loans.services.loans import announce_loan
from loans.services.loans import open_loan as open_now
from loans.services.settlement import settle_due
from tests.browser.conftest import assert_fits_and_is_accessible, in_all_looks, serious, shoot, shoot_all_looks
from tests.browser.test_market import open_loan, tab_to
from tests.factories import STAFF, DraftFactory, InvestorFactory, canceled, funded, pending, reserved, settled, waiting
from tests.loans.notifications.listener import Listener, listening

PASSWORD = "a long password"
PICTURE = {"width": 1100, "height": 800}
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def investor(live_server) -> Investor:  # type: ignore[no-untyped-def]
    investor: Investor = InvestorFactory(user__username="ines", user__password=make_password(PASSWORD), name="Inês Ramos")
    return investor


def log_in(page: Page) -> None:
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    tab_to(page, "id_username")
    page.keyboard.type("ines")
    tab_to(page, "id_password")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")


def the_bank_pays() -> None:
    """Let the sandbox bank report what it received, and run the job that settles."""
    habits = sandbox_bank.Habits(timedelta(0), fail=0, late=0, short=0, seed=1)
    for notice in sandbox_bank.notices(habits, timezone.now()):
        record_bank_event(notice)
    settle_due()


@pytest.fixture
def listener(settings: Settings) -> Iterator[Listener]:
    """A system of the investor's on this machine, which receives webhooks without TLS."""
    settings.WEBHOOKS_ALLOW_PRIVATE_NETWORKS = settings.DEBUG = True
    with listening() as server:
        yield server


@pytest.mark.usefixtures("investor")
def test_from_a_loan_to_a_settled_part_of_it_by_keyboard_alone(page: Page) -> None:
    open_loan(reference="PL-0001", title="Four flats by the sea")
    page.set_viewport_size(PICTURE)  # type: ignore[arg-type]
    page.goto("/loans/PL-0001/")
    shoot(page, "investor-loan")
    tab_to(page, "amount")
    page.keyboard.type("500")
    page.keyboard.press("Enter")
    log_in(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Reserve part of a loan")
    tab_to(page, "Reserve")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Reserve at least")
    shoot(page, "investor-refused")
    expect(page.get_by_label("Amount in dollars")).to_be_focused()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type("25,000")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("$25,000.00")
    shoot(page, "investor-reserved")
    page.keyboard.press("Tab")
    for _ in range(30):
        if page.evaluate("document.activeElement.value") == "ach":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    tab_to(page, "Start the transfer")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Wire transfer")).to_be_visible()
    expect(page.locator("code")).to_have_text(Reservation.objects.get().transfers.get().reference)
    shoot(page, "investor-pay")
    the_bank_pays()
    tab_to(page, "Refresh")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=2, name="Settled")).to_be_visible()
    shoot(page, "investor-settled")


@pytest.mark.usefixtures("investor")
def test_the_back_button_and_a_double_click_reserve_once(page: Page) -> None:
    open_loan(reference="PL-0001")
    page.goto("/account/reserve/PL-0001/?amount=5000")
    log_in(page)
    page.get_by_role("button", name="Reserve").dblclick()
    expect(page.get_by_role("heading", level=1)).to_contain_text("$5,000.00")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Reserve part of a loan")
    page.go_forward()
    expect(page.get_by_role("heading", level=1)).to_contain_text("$5,000.00")
    assert Reservation.objects.count() == 1


def test_every_page_of_the_account_fits_every_screen_and_is_accessible(page: Page, investor: Investor) -> None:
    now = timezone.now()
    loan = open_loan(reference="PL-0001", title="Four flats by the sea")
    states = {make.__name__: make(loan, 5000, investor=investor, now=now) for make in (reserved, pending, canceled, settled)}
    settled(loan, 1000, now=now)
    states["funded"] = funded(loan, 12_000, investor=investor, now=now)
    full = open_loan(reference="PL-FULL", title="Eight flats on the hill")
    reserved(full, full.amount, now=now)
    reserved(full, full.amount / 5, now=now)
    waiting(full, 20_000, now=now)
    waiting(full, 5_000, at_least=2_000, investor=investor, now=now)
    page.goto("/account/")
    shoot_all_looks(page, "account-log-in")
    log_in(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("My reservations")
    pages = {name: f"/account/reservations/{reservation.pk}/" for name, reservation in states.items()}
    others = {name: f"/account/{name}/" for name in ("waiting-list", "money", "messages", "statement", "tokens", "webhooks", "password")}
    others["wait"] = "/account/wait/PL-FULL/?amount=5000"
    for name, address in (others | {"list": "/account/", "reserve": "/account/reserve/PL-0001/?amount=5000"} | pages).items():
        page.goto(address)
        shoot_all_looks(page, f"account-{name}")
        for look in in_all_looks(page, ["wide-light", "phone-dark"]):
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than the screen, {look}"
            assert serious(page) == [], f"{name}, {look}"


@pytest.mark.usefixtures("investor")
def test_a_standing_order_is_kept_and_an_opening_serves_it(page: Page) -> None:
    """An order is previewed and kept; a loan opens with too low a rate, then an announced one opens."""
    open_loan(reference="PL-0001", title="Four flats by the sea", market_cbsa="31080", market_msa="Los Angeles-Long Beach-Anaheim, CA")
    page.goto("/account/standing-orders/")
    log_in(page)
    page.get_by_role("button", name="New standing order").press("Enter")
    for name, value in {"states": "ca, wa", "least_rate": "8", "amount": "5,000", "at_least": "1,000", "cap": "50,000"}.items():
        page.locator(f"[name={name}]").fill(value)
    page.get_by_role("button", name="See which loans match").press("Enter")
    expect(page.get_by_role("heading", level=2, name="match")).to_have_text("1 of the 1 loans of the last 180 days match")
    assert serious(page) == []
    shoot_all_looks(page, "account-order-new")
    shoot(page, "investor-order-new")
    page.get_by_role("button", name="Keep this order").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Standing order")
    open_loan(reference="PL-0002", title="Eight flats on the hill", annual_rate=Decimal("7.00"))
    announced = DraftFactory(reference="PL-0003", title="Six flats in the old town", now=timezone.now())
    announce_loan(reference="PL-0003", opens_at=timezone.now() + timedelta(hours=3), actor=STAFF)
    page.goto("/")
    expect(page.get_by_role("heading", name="Opening soon")).to_be_visible()
    shoot_all_looks(page, "market-upcoming")
    page.get_by_role("link", name="Six flats in the old town").press("Enter")
    expect(page.get_by_text("Until then nobody can reserve.")).to_be_visible()
    assert serious(page) == []
    shoot_all_looks(page, "loan-upcoming")
    open_now(reference=announced.reference, actor=STAFF)
    page.goto("/account/standing-orders/")
    page.locator("h2 a").press("Enter")
    expect(page.get_by_text("its rate is lower than you want.")).to_be_visible()
    expect(page.get_by_text("Reserved $5,000.00")).to_be_visible()
    assert_fits_and_is_accessible(page, looks=["wide-light", "phone-dark"])
    shoot_all_looks(page, "account-order")
    shoot(page, "investor-order")


def test_a_program_is_let_in_by_keyboard_alone(page: Page, investor: Investor, listener: Listener) -> None:
    """A token is made and revoked; an endpoint is added, tested, and gets a message."""
    page.goto("/account/tokens/")
    log_in(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("My tokens")
    tab_to(page, "name")
    page.keyboard.type("Portfolio bot")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("It is not shown again.")
    assert serious(page) == []
    shoot_all_looks(page, "account-token-new")
    page.get_by_role("button", name="Revoke the token Portfolio bot").press("Enter")
    expect(page.get_by_text("No program has a token of yours.")).to_be_visible()
    page.get_by_role("link", name="Webhooks").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("My webhooks")
    tab_to(page, "url")
    page.keyboard.type(listener.url)
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("The endpoint is added.")
    assert serious(page) == []
    shoot_all_looks(page, "account-webhook-new")
    page.get_by_role("button", name="Send a test message").press("Enter")
    expect(page.get_by_role("status")).to_have_text("The endpoint took the test message.")
    now = timezone.now()
    loan = open_loan(reference="PL-0001", title="Four flats by the sea")
    canceled(loan, 5000, investor=investor, now=now)
    deliver_due()
    listener.status = 503
    reserved(loan, 5000, investor=investor, now=now)
    deliver_due()
    page.get_by_role("link", name="All endpoints").press("Enter")
    page.get_by_role("link", name=listener.url).press("Enter")
    expect(page.get_by_role("row", name="reservation.canceled")).to_contain_text("sent")
    expect(page.get_by_role("cell", name="The answer was 503.")).to_be_visible()
    shoot_all_looks(page, "account-webhook")
    assert_fits_and_is_accessible(page, looks=["wide-light", "phone-dark"])


def test_the_demo_can_be_walked_through(demo: None, page: Page) -> None:
    busiest = Investor.objects.annotate(count=Count("reservations")).latest("count").user
    page.set_viewport_size(PICTURE)  # type: ignore[arg-type]
    page.goto(f"/loans/{Loan.objects.filter(status='open').latest('claimed').reference}/")
    shoot(page, "investor-loan", full_page=False)
    page.goto("/account/")
    page.get_by_label("User name").fill(busiest.username)
    page.get_by_label("Password").fill("demo")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("My reservations")
    expect(page.get_by_role("heading", level=2).first).to_be_visible()
    shoot_all_looks(page, "account-demo")


@pytest.mark.usefixtures("investor")
def test_a_loan_is_watched_with_one_press_and_listed(page: Page) -> None:
    loan = open_loan(reference="PL-0001", title="Four flats by the sea", overbooking_rate=Decimal(0))
    reserved(loan, 100_000, now=timezone.now())
    page.goto("/loans/PL-0001/")
    shoot_all_looks(page, "loan-watch-visitor")
    page.get_by_role("link", name="Log in to watch this loan").click()
    log_in(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Four flats by the sea")
    tab_to(page, "Watch this loan")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Stop watching")).to_be_in_viewport()
    shoot_all_looks(page, "loan-watched")
    assert_fits_and_is_accessible(page)
    page.get_by_role("link", name="Loans you watch").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Loans I watch")
    shoot_all_looks(page, "account-watches")
    assert_fits_and_is_accessible(page)
    page.get_by_role("button", name="Stop watching PL-0001").click()
    expect(page.get_by_text("You watch no loan.")).to_be_visible()
