"""Take each staff action in a browser: select a row, read the preview, give the reason, confirm, and see the outcome."""

import re

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from loans.admin.actions import StaffAction
from loans.models import Loan, Reservation, ReviewItem, StatementImport, Transition
from loans.services import statement_imports
from tests.browser.conftest import in_all_looks, shoot, shoot_all_looks
from tests.factories import LoanFactory, inbound, pending
from tests.loans.admin.test_actions import FIELD_VALUES, REASON, ROWS, address, each_action
from tests.loans.statement_formats.files import Payment, bai2

PICTURE = {"width": 1200, "height": 800}
pytestmark = pytest.mark.django_db(transaction=True)


@each_action
def test_an_action_from_the_list_to_its_outcome(staff: Page, action: StaffAction) -> None:
    row = ROWS[action.model, action.name]()
    transitions = Transition.objects.count()
    name = f"staff-{action.model.__name__.lower()}-{action.name.replace('_', '-')}"
    staff.goto(address(action.model))
    staff.locator(f'input[name="_selected_action"][value="{row.pk}"]').check()
    staff.get_by_label("Action:").select_option(action.name)
    staff.get_by_role("button", name="Run", exact=True).or_(staff.get_by_role("button", name="Go", exact=True)).click()
    expect(staff.get_by_text(action.description)).to_be_visible()
    for field, value in FIELD_VALUES.items():
        if field in action.form.base_fields:
            staff.locator(f'[name="{field}"]').fill(value)
            staff.get_by_role("button", name="Preview").click()
    staff.get_by_label("Reason").fill(REASON)
    shoot_all_looks(staff, name)
    assert Transition.objects.count() == transitions, "a preview writes nothing"
    if "typed_reference" in action.form.base_fields:
        staff.get_by_label("Reference:").fill(str(row))
    staff.get_by_role("button", name=action.button([row]), exact=True).click()
    expect(staff.get_by_text(re.compile(rf"^{re.escape(action.label)}: done for "))).to_be_visible()
    shoot(staff, f"{name}-done")


def test_what_the_evidence_says_of_overbooking(demo: None, staff: Page) -> None:
    loan = Loan.objects.filter(status="open").order_by("-claimed")[0]
    staff.goto("/admin/")
    staff.get_by_role("link", name="The overbooking of all open loans, by evidence").click()
    shoot_all_looks(staff, "staff-overbooking-start")
    staff.get_by_role("link", name=loan.reference).click()
    expect(staff.get_by_text("such loans turn somebody away who has paid")).to_be_visible()
    panel = staff.locator("#overbooking")
    panel.get_by_text("The numbers").click()
    expect(panel.get_by_role("row", name="50.0 %")).to_be_visible()
    for look in in_all_looks(staff):
        panel.scroll_into_view_if_needed()
        shoot(staff, f"staff-overbooking-{look}", full_page=False)


def test_the_steps_of_the_handbook(demo: None, staff: Page) -> None:
    """Follow docs/staff.md from the start page to a closed review item, and take its pictures."""
    review_item = ReviewItem.objects.get(kind="amount_differs", resolved_at=None, reservation__state="pending")
    staff.set_viewport_size(PICTURE)  # type: ignore[arg-type]
    staff.goto("/admin/")
    shoot(staff, "staff-start", full_page=False)
    staff.get_by_role("link", name="Amount differs").first.click()
    expect(staff.get_by_text(review_item.detail)).to_be_visible()

    staff.goto(reverse("admin:loans_reservation_change", args=[review_item.reservation_id]))
    staff.get_by_role("button", name="Accept a smaller amount…").click()
    staff.get_by_label("Reason").fill("The bank kept its fee; agreed on the phone.")
    shoot(staff, "staff-preview", full_page=False)
    staff.get_by_role("button", name="Accept the smaller amount of reservation").click()
    expect(staff.get_by_text(f"Accept a smaller amount: done for {review_item.reservation}.")).to_be_visible()
    shoot(staff, "staff-done", full_page=False)
    reservation = Reservation.objects.get(pk=review_item.reservation_id)
    assert (reservation.amount, reservation.funded_at is not None) == (reservation.received, True)

    staff.goto(reverse("admin:loans_reviewitem_change", args=[review_item.pk]))
    staff.get_by_role("button", name="Resolve…").click()
    staff.get_by_label("Reason").fill("Accepted what came.")
    staff.get_by_role("button", name="Resolve review item").click()
    expect(staff.get_by_text("Resolve: done for")).to_be_visible()
    assert ReviewItem.objects.get(pk=review_item.pk).note == "Accepted what came."

    loan = Loan.objects.filter(status="open").order_by("-claimed")[0]
    staff.goto(reverse("admin:loans_loan_change", args=[loan.pk]))
    expect(staff.get_by_role("heading", name="Queue", exact=False).first).to_be_visible()
    shoot(staff, "staff-loan", full_page=False)
    staff.goto("/admin/loans/reservation/?state__exact=pending")
    staff.get_by_text("Save this view").click()
    staff.get_by_label("Name", exact=True).fill("Money to come")
    staff.keyboard.press("Enter")
    expect(staff.get_by_role("link", name="Money to come")).to_be_visible()
    shoot(staff, "staff-saved-view", full_page=False)


def test_a_statement_from_its_upload_to_its_report(staff: Page) -> None:
    now = timezone.now()
    references = [inbound(pending(LoanFactory(now=now), 5_000, now=now)).reference for _ in range(3)]
    payments = [Payment("5000.00", f"ACH CREDIT ADA LOVELACE {references[0]}", "0701001"), Payment("4999.50", references[1], "0701002")]
    payments += [Payment("-5000.00", f"RETURN R01 {references[2]}", "0701003"), Payment("250.00", "WIRE FROM CHARLES BABBAGE", "0701004")]
    staff.goto("/admin/loans/statementimport/add/")
    file = {"name": "2026-07-01.bai", "mimeType": "text/plain", "buffer": bai2(*payments).encode()}
    staff.get_by_label("Statement").set_input_files(file)  # type: ignore[arg-type]
    shoot_all_looks(staff, "staff-statement-upload")
    staff.get_by_role("button", name="Check").click()
    expect(staff.get_by_text("A worker will take it shortly.")).to_be_visible()
    statement_imports.run_import(StatementImport.objects.get().pk)
    staff.reload()
    expect(staff.get_by_text("Nothing is booked yet.")).to_be_visible()
    shoot_all_looks(staff, "staff-statement-preview")
    staff.get_by_role("link", name="Book…").click()
    staff.get_by_label("Reason").fill("The bank's statement of 1 July.")
    shoot(staff, "staff-statement-book")
    staff.get_by_role("button", name="Book", exact=True).click()
    expect(staff.get_by_text("This page reloads until the worker has ended.")).to_be_visible()
    statement_imports.run_import(StatementImport.objects.get().pk)
    staff.reload()
    expect(staff.get_by_role("heading", name="What followed")).to_be_visible()
    shoot_all_looks(staff, "staff-statement-report")
