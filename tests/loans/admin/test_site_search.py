"""The search of the whole back office: forgiving of case, hyphens, zeros and spaces, by kind, and only what its reader may view."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from loans.admin.search import loan_references
from loans.models import User
from peerloans.admin import site_search
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
    assert found(superuser, transfer.reference[:9].lower()) == of_kim
    assert found(superuser, "lee kim") == {"investors": ["Kim Lee"], **of_kim}
    assert found(superuser, "lee ann") == {}


def test_what_the_words_name_in_full_is_shown_at_once(superuser: Client) -> None:
    kim = InvestorFactory(name="Kim Lee", user=UserFactory(username="kim", email="kim.lee@example.org"))
    reservation = pending(open_loan_now(reference="PL-0010"), 5_000, now=timezone.now(), investor=kim)
    transfer = inbound(reservation)
    pages = {
        "pl 10 #1": ("reservation", reservation),
        "PL-0010#1": ("reservation", reservation),
        transfer.reference: ("transfer", transfer),
        transfer.reference.lower().replace("-", " "): ("transfer", transfer),
        "KIM.LEE@example.org": ("investor", kim),
        "Kim": ("investor", kim),
    }
    for words, (name, row) in pages.items():
        answer = superuser.get("/admin/search/", {"q": words})
        assert answer.headers.get("Location") == reverse(f"admin:loans_{name}_change", args=[row.pk]), words


def test_an_e_mail_of_two_investors_shows_both(superuser: Client) -> None:
    for name in ("Kim", "Lee"):
        InvestorFactory(name=name, user=UserFactory(email="shared@example.org"))
    assert found(superuser, "shared@example.org") == {"investors": ["Lee", "Kim"]}


def test_staff_are_found_among_users_and_investors_only_among_investors(superuser: Client) -> None:
    colleague = UserFactory(username="sam.support", first_name="Sam", last_name="Okoro", is_staff=True, is_active=False)
    InvestorFactory(name="Sam Investor", user=UserFactory(username="sam.invests"))
    assert found(superuser, "sam") == {"users": [colleague.username], "investors": ["Sam Investor"]}
    page = superuser.get("/admin/search/", {"q": "sam"}).content.decode()
    assert "Sam Okoro, sam.support@example.org, staff, not active" in page


def test_who_may_view_users_and_no_investors_finds_investors_among_users(client: Client) -> None:
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_user"))
    client.force_login(viewer)
    for number in range(2):
        InvestorFactory(name=f"Sam {number}", user=UserFactory(username=f"sam{number}"))
    assert found(client, "sam") == {"users": ["sam0", "sam1"]}


def test_the_newest_rows_come_first_however_many_there_are(superuser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    loan = open_loan_now(reference="PL-0010")
    many = [InvestorFactory(name=f"Many {number}") for number in range(3)]
    for investor in many:
        pending(loan, 5_000, now=timezone.now(), investor=investor)
    newest_first = ["PL-0010 #3", "PL-0010 #2", "PL-0010 #1"]
    assert found(superuser, "many")["reservations"] == newest_first
    monkeypatch.setattr(site_search, "MOST_SORTED", 2)
    assert found(superuser, "many")["reservations"] == newest_first


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
    for words, row in ((f"{loan} #1".lower(), reservation), (transfer.reference.lower(), transfer)):
        answer = superuser.get("/admin/search/", {"q": words})
        assert answer.headers["Location"] == reverse(f"admin:loans_{row._meta.model_name}_change", args=[row.pk])
