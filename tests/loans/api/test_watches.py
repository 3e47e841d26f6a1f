"""Watched loans and documents over HTTP: watch, stop, list one's own, and what a loan says of its documents."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from loans.models import Loan, Watch, WatchNotice
from loans.notifications.watches import notify_watchers
from loans.services import watches
from loans.services.loan_documents import add_document, remove_document
from loans.services.loans import withdraw_loan
from loans.services.staff_overrides import cancel_by_staff
from loans.services.watches import watch_loan
from tests.factories import STAFF, DraftFactory, InvestorFactory, LoanFactory, UserFactory, reserved
from tests.loans.api.conftest import Caller, problem
from tests.loans.api.test_refusals import holding

PDF = b"%PDF-1.7\nOne page.\n%%EOF\n"


def address(loan: Loan) -> str:
    return f"loans/{loan.reference}/watch/"


def watched(investor: Caller, **parameters: str) -> list[str]:
    return [watch["loan"] for watch in investor.get("watches/", **parameters).json()["results"]]


def test_a_repeat_changes_nothing_and_deleting_ends_it(investor: Caller, loan: Loan) -> None:
    first, again = investor.put(address(loan)), investor.put(address(loan), "{}")
    assert (first.status_code, first.json().keys(), first.json()["loan"]) == (200, {"loan", "since"}, loan.reference)
    assert (again.status_code, again.json()) == (200, first.json())
    assert Watch.objects.get().investor == investor.investor
    assert investor.get("watches/").json()["results"] == [first.json()]
    for _ in range(2):
        ended = investor.delete(address(loan))
        assert (ended.status_code, ended.content, ended.headers["Cache-Control"]) == (204, b"", "no-store")
    assert watched(investor) == []
    assert investor.put(address(loan)).json()["since"] > first.json()["since"]


def test_only_ones_own_watches_are_listed_and_ended(investor: Caller, loan: Loan) -> None:
    watch_loan(investor_id=InvestorFactory().pk, reference=loan.reference)
    assert watched(investor) == []
    assert investor.delete(address(loan)).status_code == 204
    assert Watch.objects.get().ended_at is None


def test_the_list_is_newest_first_and_filtered_and_paged(investor: Caller, new_loan: Callable[..., Loan]) -> None:
    loans = [new_loan() for _ in range(3)]
    for loan in loans:
        investor.put(address(loan))
    newest_first = [loan.reference for loan in reversed(loans)]
    assert watched(investor) == newest_first
    assert watched(investor, loan=newest_first[1]) == newest_first[1:2]
    page = investor.get("watches/", page_size=2).json()
    rest = investor.get(page["next"]).json()
    assert [watch["loan"] for watch in page["results"] + rest["results"]] == newest_first
    assert rest["next"] is None
    assert investor.get("watches/", state="open").json()["errors"].keys() == {"state"}
    withdraw_loan(reference=newest_first[0], actor=STAFF, reason="a test")
    assert watched(investor) == newest_first[1:]


def test_what_is_refused(investor: Caller, anyone: Caller, loan: Loan, new_user: Callable[..., Any]) -> None:
    staff, reader = Caller(new_user(is_staff=True)), investor.token_with(["read"])
    for act in ("put", "delete"):
        assert problem(getattr(anyone, act)(address(loan))) == (401, "not_authenticated")
        assert problem(getattr(staff, act)(address(loan))) == (403, "permission_denied")
        assert problem(getattr(reader, act)(address(loan))) == (403, "scope_missing")
        for reference in (DraftFactory().reference, "NONE"):
            assert problem(getattr(investor, act)(f"loans/{reference}/watch/")) == (404, "not_found")
    assert problem(anyone.get("watches/")) == (401, "not_authenticated")
    assert problem(staff.get("watches/")) == (403, "permission_denied")
    assert problem(investor.get(address(loan))) == (405, "method_not_allowed")
    assert problem(investor.post(address(loan))) == (405, "method_not_allowed")
    assert problem(investor.put(address(loan), '{"email": "kim@example.com"}')) == (400, "invalid")
    assert not Watch.objects.exists()


def test_each_scope_does_what_it_names(investor: Caller, loan: Loan) -> None:
    reserver = investor.token_with(["reserve"])
    assert reserver.put(address(loan)).status_code == 200
    assert watched(investor.token_with(["read"])) == [loan.reference]
    assert problem(reserver.get("watches/")) == (403, "scope_missing")
    assert reserver.delete(address(loan)).status_code == 204


def test_one_loan_too_many_is_refused(investor: Caller, new_loan: Callable[..., Loan], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "MOST_WATCHES", 1)
    investor.put(address(new_loan()))
    refused = investor.put(address(new_loan()))
    assert problem(refused) == (400, "invalid")
    assert refused.json()["detail"] == "You watch 1 loans, the most there may be. Stop watching one first."


@pytest.mark.django_db(transaction=True)
def test_a_loan_that_another_transaction_holds_is_busy(investor: Caller, loan: Loan) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")
    with holding("SELECT FROM loans_loan FOR UPDATE"):
        refused = investor.put(address(loan))
    assert problem(refused) == (409, "busy")
    assert "Retry-After" in refused.headers


def test_a_repeat_lets_the_next_email_come(investor: Caller, new_loan: Callable[..., Loan]) -> None:
    """It says, as a look at the loan's page does, that the investor knows what the loan offers now."""
    loan = new_loan(overbooking_rate=Decimal(0))
    for repeats in (True, False, True):
        held = reserved(loan, loan.amount, now=timezone.now())
        if repeats:
            investor.put(address(loan))
        cancel_by_staff(reservation_id=held.pk, actor=STAFF, reason="a test")
        notify_watchers()
    assert WatchNotice.objects.count() == 2


# --- Documents --------------------------------------------------------------------------------------------------------
def test_a_loan_lists_its_documents_and_where_to_get_them(anyone: Caller, loan: Loan) -> None:
    def documents() -> Any:
        return anyone.get(f"loans/{loan.reference}/").json()["documents"]

    assert documents() == []
    user = UserFactory()
    for title, content in (("Appraisal", PDF), ("Title report", PDF + b"\n")):
        add_document(loan_id=loan.pk, title=title, content=content, user_id=user.pk)
    other = add_document(loan_id=LoanFactory(now=timezone.now()).pk, title="Of another loan", content=PDF, user_id=user.pk)[0]
    first, second = documents()
    assert (first["title"], first["size"], second["title"], second["size"]) == ("Appraisal", len(PDF), "Title report", len(PDF) + 1)
    assert first["url"].startswith(f"http://testserver/loans/{loan.reference}/documents/")
    assert [Client().get(document["url"]).content for document in (first, second)] == [PDF, PDF + b"\n"]
    assert not any(document["url"].endswith(f"/{other.pk}/") for document in (first, second))

    remove_document(loan_id=loan.pk, document_id=int(first["url"].split("/")[-2]))
    assert documents() == [second]
    assert Client().get(first["url"]).status_code == 404
