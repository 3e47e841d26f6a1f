"""What staff see of overbooking: on a loan's page, on the page of all open loans, and in the preview of the action."""

from decimal import Decimal
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from loans.models import Loan, Transition
from loans.services.overbooking import set_overbooking
from tests.factories import STAFF, DraftFactory, funded, pending, reserved, settled
from tests.loans.admin.conftest import open_loan_now, read_page

pytestmark = pytest.mark.django_db


def panel(client: Client, loan: Loan) -> str:
    _, _, page = read_page(client, f"/admin/loans/loan/{loan.pk}/change/").partition("<h2>Overbooking by evidence</h2>")
    return page.partition("</section>")[0]


def test_the_loans_page_says_what_its_rate_means_in_words_numbers_and_a_chart(superuser: Client) -> None:
    loan = open_loan_now()
    now = timezone.now()
    for make in (reserved, pending, funded):
        make(loan, 5_000, now=now)
    shown = panel(superuser, loan)
    evidence = superuser.get(f"/admin/loans/loan/{loan.pk}/change/").context["overbooking"]
    assert evidence.sentence in shown
    assert evidence.sentence.startswith("If you keep 20 %: fewer than 1 of 100 such loans turn somebody away who has paid, by $")
    assert "stay unsold. At " in evidence.sentence
    share = (0 + 20 * 1 / 4) / (2 + 20)  # as reserved: two of two kept
    pending_share = (0 + 20 * 1 / 3) / (1 + 20)
    assert [probability for _, probability in evidence.reservations] == pytest.approx(
        [(1 - share) * (1 - pending_share), 1 - pending_share, 1]
    )
    assert f"{evidence.present.expected_paid:,.2f}" in shown
    assert "of “Overbooking of" in shown
    assert shown.count('scope="row">') >= 41  # the numbers of the chart, and the two tables


def test_the_present_and_the_recommended_rate_stand_in_the_curve(superuser: Client) -> None:
    shown = panel(superuser, open_loan_now(overbooking_rate=Decimal("0.25")))
    assert 'class="line amount" d="M250.0,0 250.0,1000"' in shown
    assert 'class="line limit"' in shown


@pytest.mark.parametrize("make", [DraftFactory, open_loan_now])
def test_drafts_and_open_loans_have_the_panel(superuser: Client, make: Any) -> None:
    assert "of 100 such loans" in panel(superuser, make())


def test_a_funded_loan_has_none(superuser: Client) -> None:
    settled(loan := open_loan_now(), 100_000, now=timezone.now())
    assert not panel(superuser, loan)


def test_the_changes_are_listed_with_their_numbers(superuser: Client) -> None:
    loan = open_loan_now()
    set_overbooking(reference=loan.reference, overbooking_policy="evidence", actor=STAFF, reason="We try it.")
    shown = panel(superuser, loan)
    assert "overbooking policy evidence" in shown
    assert "reserved lapse 0.5000" in shown
    assert "We try it." in shown


def test_the_preview_of_the_action_shows_the_loan_afterwards_and_changes_nothing(superuser: Client) -> None:
    loan = open_loan_now()
    reserved(loan, 100_000, now=timezone.now())
    posted = {"action": "set_overbooking", "_selected_action": loan.pk, "overbooking_policy": "fixed", "overbooking_rate": "0.5"}
    page = superuser.post("/admin/loans/loan/", posted | {"step": "preview"}).content.decode()
    rate, available = ("<td>20 %", "<td>50 %"), ('<td class="money">$20,000.00', '<td class="money">$50,000.00')
    for now, afterwards in (rate, available):
        assert f"{now}</td>" in page
        assert f"{afterwards}</td>" in page
    assert not Transition.objects.filter(event="overbooking_set").exists()


PAGE = "/admin/loans/loan/overbooking/"


def test_the_page_shows_every_open_loan_and_their_sum(superuser: Client) -> None:
    loans = [open_loan_now(), open_loan_now()]
    DraftFactory()
    reserved(loans[0], 5_000, now=timezone.now())
    overbooking = superuser.get(PAGE).context["overbooking"]
    assert {row.reference for row in overbooking.rows} == {loan.reference for loan in loans}
    assert overbooking.unfilled == sum(row.unfilled for row in overbooking.rows) > 0
    assert PAGE in read_page(superuser, "/admin/")


def test_the_page_remembers_it_for_ten_minutes(superuser: Client) -> None:
    open_loan_now()
    assert len(superuser.get(PAGE).context["overbooking"].rows) == 1
    open_loan_now()
    assert len(superuser.get(PAGE).context["overbooking"].rows) == 1
    cache.delete_pattern("*")
    assert len(superuser.get(PAGE).context["overbooking"].rows) == 2
