"""The search of the whole back office: forgiving of case, hyphens, zeros and spaces, by kind, and only what its reader may view."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from loans.admin.search import loan_references
from peerloans.admin.site_search import ROWS_SHOWN
from tests.factories import InvestorFactory, UserFactory, inbound, pending
from tests.loans.admin.conftest import open_loan_now

pytestmark = pytest.mark.django_db


def found(client: Client, words: str) -> dict[str, list[str]]:
    context: Any = client.get("/admin/search/", {"q": words}).context
    return {kind.kind: [row.name for row in kind.rows] for kind in context["kinds"]}


@pytest.mark.parametrize("written", ["PL-0010", "pl-0010", "pl 10", "PL10", "pl_010", " PL-10 "])
def test_a_loan_is_found_however_its_reference_is_written(written: str) -> None:
    assert "PL-0010" in loan_references(written)


def test_what_is_found_of_a_loan_is_grouped_by_kind(superuser: Client) -> None:
    loan, other = open_loan_now(reference="PL-0010"), open_loan_now(reference="PL-0100")
    reservation = pending(loan, 5_000, now=timezone.now(), investor=InvestorFactory(name="Kim"))
    pending(other, 5_000, now=timezone.now())
    transfer = inbound(reservation)
    assert found(superuser, "pl 10") == {"loans": ["PL-0010"], "reservations": ["PL-0010 #1"], "transfers": [transfer.reference]}
    page = superuser.get("/admin/search/", {"q": "pl 10"}).content.decode()
    assert "Kim, $5,000.00, pending" in page
    assert f"inbound $5,000.00 for PL-0010 #1, {transfer.status}" in page


def test_an_investor_is_found_by_the_beginning_of_an_email_and_a_payment_by_its_reference(superuser: Client) -> None:
    kim = InvestorFactory(name="Kim Lee", user=UserFactory(email="kim.lee@example.org"))
    transfer = inbound(pending(open_loan_now(reference="PL-0010"), 5_000, now=timezone.now(), investor=kim))
    of_kim = {"reservations": ["PL-0010 #1"], "transfers": [transfer.reference]}
    assert found(superuser, "KIM.LEE@exam") == {"investors": ["Kim Lee"], **of_kim}
    assert found(superuser, transfer.reference.lower().replace("-", " ")) == of_kim


def test_the_only_row_that_is_found_is_shown_at_once(superuser: Client) -> None:
    only = InvestorFactory(name="Lea Only")
    answer = superuser.get("/admin/search/", {"q": "lea only"})
    assert (answer.status_code, answer.headers["Location"]) == (302, reverse("admin:loans_investor_change", args=[only.pk]))


def test_a_kind_shows_its_first_rows_and_leads_to_the_others(superuser: Client) -> None:
    for number in range(ROWS_SHOWN + 1):
        InvestorFactory(name=f"Many {number}")
    page = superuser.get("/admin/search/", {"q": "many"}).content.decode()
    assert page.count("/change/") == ROWS_SHOWN
    assert "/admin/loans/investor/?q=many" in page


def test_only_what_the_reader_may_view_is_searched(loan_viewer: Client) -> None:
    loan = open_loan_now(reference="PL-0010")
    pending(loan, 5_000, now=timezone.now())
    answer = loan_viewer.get("/admin/search/", {"q": "pl 10"})
    assert answer.headers["Location"] == reverse("admin:loans_loan_change", args=[loan.pk])


def test_nothing_found_says_what_could_be_searched(superuser: Client) -> None:
    for words in ("", "zzz", "%", "PL-1 #99999999999999999999", "\0", "x" * 5_000):
        assert "Search for a loan" in superuser.get("/admin/search/", {"q": words}).content.decode()


def test_a_row_that_is_named_exactly_is_shown_at_once(superuser: Client) -> None:
    reservation = pending(open_loan_now(reference="PL-0010"), 5_000, now=timezone.now())
    loan, transfer = reservation.loan, inbound(reservation)
    for words, row in ((f"{loan} #1".lower(), reservation), ("pl-0010", loan), (transfer.reference.lower(), transfer)):
        answer = superuser.get("/admin/search/", {"q": words})
        assert answer.headers["Location"] == reverse(f"admin:loans_{row._meta.model_name}_change", args=[row.pk])
