"""What a preview says in total, and how several rows add up as if the action were done to one after the other."""

from datetime import timedelta
from decimal import Decimal
from html import unescape

import pytest
from django.test import Client
from django.utils import timezone

from loans.admin.actions import StaffAction
from loans.models import ApprovalRequest, Loan, Reservation, ReviewItem, Transfer, Transition
from loans.selectors.offers import loan_offer
from loans.services.payment_files import send_refunds
from loans.services.staff_overrides import cancel_by_staff
from tests.factories import STAFF, DraftFactory, InvestorFactory, LoanFactory, fresh, pending, waiting
from tests.loans.admin.test_actions import (
    REASON,
    ROWS,
    Page,
    address,
    each_action,
    find,
    funded_now,
    open_loan,
    open_review_item,
    operator,
    outcome_of,
    reserved_now,
    stored_rows,
)

__all__ = ["operator"]
pytestmark = pytest.mark.django_db


def summary(page: Page) -> str:
    text = page.response.context["summary"]
    assert text in page.text.replace('<span class="unbroken">', "").replace("</span>", "")
    return str(text)


@each_action
def test_every_action_says_what_it_does_in_total(operator: Client, action: StaffAction) -> None:
    later = timezone.localtime() + timedelta(minutes=2)  # than the money that is taken back
    fields = {"occurred_at": f"{later:%Y-%m-%dT%H:%M}"} if action.name == "reverse" else {}
    said = summary(Page(operator, action, ROWS[action.model, action.name](), **fields))
    assert said.endswith(".")
    assert "changes; it may be done already" not in said
    assert "refused" not in said


# --- One row -----------------------------------------------------------------------------------------------------------------
def test_a_withdrawal_in_total(operator: Client) -> None:
    loan, investor = open_loan(), InvestorFactory()
    reserved_now(loan, 1_000)
    for amount in (2_000, 3_000):
        funded_now(loan, amount)
    Reservation.objects.exclude(amount=1_000).update(investor=investor)
    assert summary(Page(operator, find(Loan, "withdraw"), loan)) == (
        "1 loan is withdrawn; 3 reservations become canceled; 1 investor is refunded $5,000.00; $6,000.00 is no longer available."
    )


def test_an_opening_in_total(operator: Client) -> None:
    drafts = [DraftFactory(amount=Decimal(10_000), now=timezone.now()) for _ in range(2)]
    assert summary(Page(operator, find(Loan, "open"), *drafts)) == "2 loans open; $20,000.00 becomes available."


def test_an_action_that_does_nothing_says_so(operator: Client) -> None:
    reservation = reserved_now()
    cancel_by_staff(reservation_id=reservation.pk, actor=STAFF, reason=REASON)
    assert (
        summary(Page(operator, find(Reservation, "cancel"), reservation))
        == "No loan, reservation or transfer changes; it may be done already."
    )


def test_a_refund_that_is_paid_in_total(operator: Client) -> None:
    cancel_by_staff(reservation_id=funded_now().pk, actor=STAFF, reason=REASON)
    assert (
        summary(Page(operator, find(Transfer, "mark_paid"), Transfer.objects.get(direction="refund"))) == "1 refund of $5,000.00 is paid."
    )


def test_a_refund_that_bounces_before_it_was_paid(operator: Client) -> None:
    cancel_by_staff(reservation_id=funded_now().pk, actor=STAFF, reason=REASON)
    refund = Transfer.objects.get(direction="refund")
    send_refunds(refund_ids=[refund.pk], actor=STAFF, reason=REASON)
    page = Page(operator, find(Transfer, "mark_bounced"), refund)
    assert summary(page) == "1 refund of $5,000.00 is due again; 1 review item opens."


# --- Several rows, one after the other ---------------------------------------------------------------------------------------
def test_two_cancellations_on_one_loan_add_up(operator: Client) -> None:
    """Of $10,000.00 at most $12,000.00 may be claimed, and $11,000.00 is."""
    loan = open_loan()
    rows = [reserved_now(loan, amount) for amount in (5_000, 4_000)]
    reserved_now(loan, 2_000)
    page = Page(operator, find(Reservation, "cancel"), *rows)
    assert summary(page) == "2 reservations become canceled; $9,000.00 becomes available."
    first, second = page.response.context["previews"]
    assert (first.offer_before.available, second.offer_after.available) == (Decimal("1000.00"), Decimal("10000.00"))
    assert (second.offer_before.claimed, second.offer_before.available) == (first.offer_after.claimed, first.offer_after.available)
    assert second.offer_after.claimed == Decimal("2000.00")
    ((before, after),) = page.response.context["loans_in_total"]
    assert (before.claimed, after.claimed) == (Decimal("11000.00"), Decimal("2000.00"))
    assert "After the rows above" in page.text
    page.confirm()
    assert (loan_offer(loan.reference).claimed, loan_offer(loan.reference).available) == (Decimal("2000.00"), Decimal("10000.00"))


def test_rows_of_different_loans_do_not_follow_each_other(operator: Client) -> None:
    page = Page(operator, find(Reservation, "cancel"), reserved_now(), reserved_now())
    assert summary(page) == "2 reservations become canceled; $6,000.00 becomes available."
    assert page.response.context["loans_in_total"] == []
    assert "After the rows above" not in page.text


def test_several_rows_that_serve_a_waiting_list_do_what_was_shown_at_the_first_confirmation(operator: Client) -> None:
    """The first cancellation serves the first who waits, so the second finds another list."""
    loan = open_loan()
    rows = [reserved_now(loan, amount) for amount in (6_000, 6_000)]
    entries = [waiting(loan, 5_000, now=timezone.now()) for _ in range(3)]
    page = Page(operator, find(Reservation, "cancel"), *rows)
    previews = page.response.context["previews"]
    assert summary(page) == "2 reservations become canceled; 2 reservations of $10,000.00 are made."
    assert [sum(transition.event == "reserved" for transition in preview.transitions) for preview in previews] == [1, 1]
    last = Transition.objects.latest("id").pk
    assert f"Cancel: done for {', '.join(map(str, rows))}." in page.confirm()
    written = [outcome_of(transition) for transition in Transition.objects.filter(id__gt=last).order_by("id")]
    assert [outcome_of(transition) for preview in previews for transition in preview.transitions] == written
    assert [fresh(entry).state for entry in entries] == ["placed", "placed", "waiting"]


def test_the_last_row_gets_what_remains_after_the_rows_before(operator: Client) -> None:
    loan = open_loan()
    rows = [funded_now(loan, amount) for amount in (6_000, 6_000)]
    page = Page(operator, find(Reservation, "settle_ahead"), *reversed(rows))
    assert summary(page) == ("1 loan becomes funded; 2 reservations settle for $10,000.00; 1 investor is refunded $2,000.00.")
    page.confirm()
    assert [fresh(row).settled_amount for row in rows] == [Decimal("6000.00"), Decimal("4000.00")], "in the order of the queue"


def test_a_refused_row_changes_nothing_for_the_others(operator: Client) -> None:
    loan = open_loan()
    rows = [reserved_now(loan, 1_000) for _ in range(3)]
    cancel_by_staff(reservation_id=rows[1].pk, actor=STAFF, reason=REASON)
    page = Page(operator, find(Reservation, "extend"), *rows)
    assert summary(page) == "2 reservations get a later deadline. 1 of 3 rows is refused and stays as before."
    alone = Page(operator, find(Reservation, "extend"), rows[1])
    assert summary(alone) == "1 row is refused and stays as before."
    assert 'value="confirm"' not in alone.text


def test_what_needs_an_approval_changes_nothing_for_the_rows_after_it(operator: Client) -> None:
    loan = LoanFactory(amount=Decimal(100_000), now=timezone.now())
    rows = [pending(loan, amount, now=timezone.now()) for amount in (50_000, 2_000, 50_000)]
    before = stored_rows()
    page = Page(operator, find(Reservation, "record_money"), *rows)
    assert summary(page) == (
        "$2,000.00 is received; 1 reservation of $2,000.00 becomes funded. "
        "2 of 3 rows have to be approved by another member of staff. "
        "Once approved: $100,000.00 is received; 2 reservations of $100,000.00 become funded."
    )
    assert stored_rows() == before
    page.confirm()
    assert ApprovalRequest.objects.count() == 2
    assert sorted(Reservation.objects.values_list("received", flat=True)) == [0, 0, Decimal("2000.00")]


def test_what_history_does_not_record_is_counted_by_rows(operator: Client) -> None:
    items = [open_review_item(), ReviewItem.objects.create(kind="drift", detail="Two cents.", opened_at=timezone.now())]
    assert summary(Page(operator, find(ReviewItem, "resolve"), *items)) == "2 review items are resolved."


def test_rows_that_changed_are_shown_again_one_after_the_other(operator: Client) -> None:
    loan = open_loan()
    rows = [reserved_now(loan, amount) for amount in (5_000, 4_000)]
    page = Page(operator, find(Reservation, "cancel"), *rows)
    Reservation.objects.update(expires_at=timezone.now().replace(year=2098))
    assert "which changed since the preview" in page.confirm()
    assert summary(page) == "2 reservations become canceled; $7,000.00 becomes available."
    assert "Cancel: done for" in page.confirm()


# --- The way back ------------------------------------------------------------------------------------------------------------
def test_a_preview_leads_back_to_the_page_where_it_began(operator: Client) -> None:
    reservation = reserved_now()
    own_page = f"/admin/loans/reservation/{reservation.pk}/change/"
    content = operator.get(own_page).content.decode()
    assert f'name="row_page" value="{reservation.pk}"' in content
    begun = {"action": "extend", "_selected_action": reservation.pk}
    ways = {
        (address(Reservation) + "?state=reserved", ""): ("list", address(Reservation) + "?state=reserved"),
        (address(Reservation), str(reservation.pk)): ("reservation", own_page),
        (address(Reservation), "../../../logout"): ("list", address(Reservation)),
    }
    for (posted_to, row_page), (name, back) in ways.items():
        content = unescape(operator.post(posted_to, begun | {"row_page": row_page}).content.decode())
        assert f'<a href="{back}" class="closelink">Back to the {name}</a>' in content
    again = operator.post(address(Reservation), begun | {"row_page": reservation.pk, "step": "preview", "reason": ""})
    assert again.context["origin"].back_address == own_page
