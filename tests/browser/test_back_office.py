"""The pages of the back office: on a phone and wide, light and dark, with axe, and by keyboard."""

import re
from collections.abc import Iterator

import pytest
from django.contrib import admin
from django.core import mail
from django.db.models import Count, Q
from django.urls import reverse
from playwright.sync_api import Page, expect

from loans.models import Investor, Loan, Reservation, Transfer, User
from tests.browser.conftest import PHONE, assert_fits_and_is_accessible, in_all_looks, serious, shoot, shoot_all_looks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def staff(demo: None, staff: Page) -> Page:
    """A page with a user of Operations signed in, in the demo's data."""
    return staff


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


def test_the_first_screen_of_a_loan_has_its_facts_and_its_queue(staff: Page) -> None:
    loan = Loan.objects.filter(status="open", reservations__state="pending").order_by("reference")[0]
    staff.set_viewport_size({"width": 1280, "height": 800})
    staff.goto(reverse("admin:loans_loan_change", args=[loan.pk]))
    facts = staff.locator(".at-a-glance")
    for words in (loan.title, "Open", "Available", "Closes"):
        expect(facts).to_contain_text(words)
    queue = staff.locator("section", has=staff.get_by_role("heading", name="Queue, next first"))
    shoot(staff, "staff-loan-first-screen", full_page=False)
    for part in (facts, queue.locator("tbody tr").first):
        box = part.bounding_box()
        assert box
        assert box["y"] + box["height"] < 800


# The references in tables that are written on more than one line.
BROKEN_REFERENCES = """() => {
    const found = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const text = texts.currentNode;
        if (!text.parentElement.closest("table")) continue;
        for (const match of text.data.matchAll(/\\b[A-Z]{1,2}-[0-9A-Z]{4,}( #[0-9]+)?/g)) {
            const range = document.createRange();
            range.setStart(text, match.index);
            range.setEnd(text, match.index + match[0].length);
            const lines = new Set([...range.getClientRects()].filter(box => box.width).map(box => Math.round(box.top)));
            if (lines.size > 1) found.push(match[0]);
        }
    }
    return found;
}"""


def test_on_a_phone_references_stay_on_one_line(staff: Page) -> None:
    staff.set_viewport_size(PHONE)  # type: ignore[arg-type]
    assert Transfer.objects.filter(direction="refund", status="due").exists()
    loan = Loan.objects.filter(status="open", reservations__state="pending").order_by("reference")[0]
    pages = [
        "/admin/",
        "/admin/loans/reviewitem/",
        "/admin/loans/loan/overbooking/",
        "/admin/loans/paymentfile/add/",
        reverse("admin:loans_loan_change", args=[loan.pk]),
        reverse("admin:loans_investor_change", args=[Reservation.objects.filter(loan=loan)[0].investor_id]),
    ]
    for address in pages:
        staff.goto(address)
        assert staff.locator("table", has_text="PL-0").or_(staff.locator("table", has_text="T-")).count(), address
        assert staff.evaluate(BROKEN_REFERENCES) == [], address
    staff.goto(pages[-2])
    staff.evaluate("document.querySelectorAll('.unbroken').forEach(each => { each.style.whiteSpace = 'normal'; })")
    assert staff.evaluate(BROKEN_REFERENCES), "without the rule they break"


def test_a_draft_is_cloned_and_its_public_page_previewed(staff: Page) -> None:
    draft = Loan.objects.filter(status="draft")[0]
    staff.goto(reverse("admin:loans_loan_change", args=[draft.pk]))
    staff.get_by_role("link", name="Clone").click()
    staff.get_by_label("Title").fill("The house next door")
    staff.get_by_role("button", name="Save", exact=True).click()
    clone = Loan.objects.latest("pk")
    assert (clone.title, clone.status, clone.amount) == ("The house next door", "draft", draft.amount)
    staff.goto(reverse("admin:loans_loan_change", args=[clone.pk]))
    staff.get_by_role("link", name="Preview public page").click()
    expect(staff.get_by_role("note")).to_have_text("Preview: only staff see this page; the loan is a draft. Back to the loan")
    assert_fits_and_is_accessible(staff, "staff-public-page-of-a-draft")
    staff.get_by_role("link", name="Back to the loan").click()
    expect(staff.get_by_role("heading", level=2, name=clone.reference)).to_be_visible()


def test_a_document_is_added_to_a_loan_and_offered_on_its_page(staff: Page) -> None:
    loan = Loan.objects.get(reference="PL-0001")
    staff.goto(reverse("admin:loans_loan_change", args=[loan.pk]))
    staff.get_by_role("link", name="Add a document…").click()
    assert_fits_and_is_accessible(staff)
    staff.get_by_label("Title").fill("Appraisal, June 2026")
    staff.get_by_label("PDF").set_input_files({"name": "a.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7\n" + b"x" * 300_000})
    staff.get_by_role("button", name="Add", exact=True).click()
    expect(staff.get_by_role("link", name="Remove Appraisal, June 2026")).to_be_visible()
    assert_fits_and_is_accessible(staff, "staff-documents")
    staff.get_by_role("link", name="Public page").click()
    expect(staff.get_by_text("PDF, 293.0 KB")).to_be_visible()
    assert_fits_and_is_accessible(staff, "loan-documents")
    with staff.expect_download() as downloaded:
        staff.get_by_role("link", name="Appraisal, June 2026").click()
    assert re.fullmatch(r"PL-0001-\d+\.pdf", downloaded.value.suggested_filename)


def test_several_rows_in_one_preview(staff: Page) -> None:
    loan = Loan.objects.filter(status="open").annotate(count=Count("reservations", filter=Q(reservations__state="pending"))).latest("count")
    staff.goto(f"/admin/loans/reservation/?state__exact=pending&q={loan.reference}")
    rows = staff.locator("input.action-select")
    assert rows.count() > 1
    for number in range(2):
        rows.nth(number).check()
    staff.get_by_label("Action:").select_option("cancel")
    staff.get_by_role("button", name="Run", exact=True).or_(staff.get_by_role("button", name="Go", exact=True)).click()
    expect(staff.get_by_role("status")).to_contain_text("2 reservations become canceled")
    assert_fits_and_is_accessible(staff, "staff-several-rows")
    staff.get_by_role("link", name="Keep 2 reservations").click()
    expect(staff).to_have_url(re.compile(r"state__exact=pending"))


def test_a_view_of_a_list_is_saved_by_keyboard_and_kept_above_it(staff: Page) -> None:
    staff.goto("/admin/loans/reservation/?state__exact=pending")
    staff.get_by_text("Save this view").focus()
    staff.keyboard.press("Enter")
    staff.get_by_label("Name", exact=True).fill("Money to come")
    staff.keyboard.press("Enter")
    view = staff.get_by_role("navigation", name="Saved views").get_by_role("link", name="Money to come")
    expect(view).to_have_attribute("aria-current", "true")
    staff.goto("/admin/loans/reservation/")
    view.click()
    expect(staff).to_have_url(re.compile(r"state__exact=pending$"))
    assert_fits_and_is_accessible(staff, "staff-saved-view", full_page=False)
    staff.get_by_role("button", name="Remove “Money to come”").click()
    expect(view).to_have_count(0)


def test_a_colleague_is_invited_and_chooses_a_password(staff: Page, live_server) -> None:  # type: ignore[no-untyped-def]
    User.objects.filter(username="olga").update(is_superuser=True)
    staff.goto("/admin/loans/user/")
    staff.get_by_role("link", name="Invite a colleague").click()
    for label, text in {"E-mail": "rita@example.com", "First name": "Rita", "Last name": "Roe"}.items():
        staff.get_by_label(label).fill(text)
    staff.get_by_label("Role").select_option("Support")
    assert_fits_and_is_accessible(staff, "staff-invite")
    staff.get_by_role("button", name="Send the invitation").click()
    expect(staff.get_by_text("The invitation is sent to rita@example.com.")).to_be_visible()
    (address,) = re.findall(r"http\S+/admin/invitation/\S+", str(mail.outbox[-1].body))
    staff.context.clear_cookies()
    staff.goto(address)
    expect(staff.get_by_text("Your user name is rita@example.com.")).to_be_visible()
    assert_fits_and_is_accessible(staff, "staff-invitation")
    for label in ("New password:", "New password confirmation:"):
        staff.get_by_label(label).fill("seven crooked lighthouses")
    staff.get_by_role("button", name="Set the password").click()
    staff.get_by_label("Username:").fill("rita@example.com")
    staff.get_by_label("Password:").fill("seven crooked lighthouses")
    staff.get_by_role("button", name="Log in").click()
    expect(staff.get_by_role("heading", level=1, name="Today")).to_be_visible()
