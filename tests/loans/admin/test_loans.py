"""Drafts are written in the admin; an open loan's page only shows."""

from decimal import Decimal
from html import unescape
from typing import Any

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import Permission
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from loans.admin.loans import CLONED_FIELDS, LoanAdmin
from loans.admin.tables import ROWS_SHOWN
from loans.models import Loan, Reservation, Transition, User
from loans.services.loans import open_loan, withdraw_loan
from peerloans.wording import deadline_text
from tests.factories import STAFF, DraftFactory, InvestorFactory, funded, reserved
from tests.loans.admin.conftest import open_loan_now, read_page, settled_now

pytestmark = pytest.mark.django_db
PROPERTY: dict[str, Any] = {"title": "A house", "address": "1 Main Street", "city": "Manhattan Beach", "state": "CA", "zip": "90266"}
TERMS: dict[str, Any] = {
    "annual_rate": "7.25",
    "term_months": "12",
    "ltv": "62.50",
    "lien_position": "1",
    "amount": "100000.00",
    "minimum": "1000.00",
    "overbooking_rate": "0.2000",
    "overbooking_policy": "fixed",
    "overbooking_risk": "0.050",
    "overbooking_cap": "0.5000",
    "investor_share": "1.0000",
    "automated_share": "0.5000",
    "settlement_rule": "fifo",
}
FORGED = {
    "status": "funded",
    "settled": "100000.00",
    "claimed": "5.00",
    "version": "77",
    "last_number": "9",
    "opens_at_0": "2020-01-01",
    "closes_at_0": "2030-01-01",
    "no_such_field": "curious",
}


def draft() -> Loan:
    terms = {"amount": Decimal("100000.00"), "annual_rate": Decimal("7.25"), "ltv": Decimal("62.50"), "term_months": 12}
    loan: Loan = DraftFactory(now=timezone.now(), reference="PL-0001", **PROPERTY, **terms)
    return loan


def stored_rows() -> list[Any]:
    return [list(model._default_manager.order_by("pk").values()) for model in (Loan, Transition)]


def test_a_new_loan_is_a_draft_whatever_is_posted(superuser: Client) -> None:
    response = superuser.post("/admin/loans/loan/add/", {"reference": "PL-0001", **PROPERTY, **TERMS, **FORGED})
    assert response.status_code == 302
    loan = Loan.objects.get()
    assert (loan.status, loan.settled, loan.claimed, loan.version, loan.last_number) == ("draft", 0, 0, 0, 0)
    assert (loan.opens_at, loan.closes_at) == (None, None)
    created = Transition.objects.select_related("user").get()
    assert (created.event, created.actor, created.user and created.user.get_username()) == ("created", "staff", "boss")


def test_a_draft_is_edited_through_the_service(superuser: Client) -> None:
    loan = draft()
    posted = {**PROPERTY, **TERMS, **FORGED, "title": "A villa", "amount": "90000.00"}
    assert superuser.post(f"/admin/loans/loan/{loan.pk}/change/", posted).status_code == 302
    loan.refresh_from_db()
    assert (loan.title, loan.amount, loan.status, loan.settled, loan.reference) == ("A villa", Decimal(90_000), "draft", 0, "PL-0001")
    edited = Transition.objects.select_related("user").get(event="edited")
    assert (edited.user and edited.user.get_username(), edited.amount, edited.facts) == ("boss", Decimal(90_000), {"title": "A villa"})


def test_saving_a_draft_unchanged_leaves_no_history(superuser: Client) -> None:
    loan = draft()
    superuser.post(f"/admin/loans/loan/{loan.pk}/change/", {**PROPERTY, **TERMS})
    assert [transition.event for transition in Transition.objects.all()] == ["created"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("amount", "0", "At least 0.01."),
        ("amount", "900000000000.00", "With its overbooking, at most 999999999999.99."),
        ("amount", "9999999999999.00", "no more than 14 digits in total"),
        ("minimum", "999.99", "At least 1000.00."),
        ("overbooking_rate", "-0.1", "At least 0."),
        ("investor_share", "0", "At least 0.0001."),
        ("investor_share", "1.0001", "At most 1"),
        ("automated_share", "-0.1", "At least 0."),
        ("automated_share", "1.0001", "At most 1"),
        ("term_months", "0", "At least 1."),
        ("zip", "9026", "Five digits"),
        ("state", "Cal", "Two capital letters"),
        ("settlement_rule", "auction", "Select a valid choice"),
    ],
)
def test_impossible_terms_are_refused(superuser: Client, field: str, value: str, message: str) -> None:
    response = superuser.post("/admin/loans/loan/add/", {"reference": "PL-0001", **PROPERTY, **TERMS, field: value})
    assert response.status_code == 200
    content = unescape(response.content.decode())
    assert message in content
    assert "is violated" not in content
    assert not Loan.objects.exists()


def test_the_message_of_a_refusal_is_shown(superuser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    loan = draft()
    allowed = "loans.admin.loans.LoanAdmin.has_change_permission"
    monkeypatch.setattr(allowed, lambda *args: True)  # as if the loan were opened after the permission was checked
    open_loan(reference=loan.reference, actor=STAFF)
    before = stored_rows()
    url = f"/admin/loans/loan/{loan.pk}/change/"
    response = superuser.post(url, {**PROPERTY, **TERMS, "title": "A villa"}, follow=True)
    assert response.redirect_chain == [(url, 302)]
    assert "This is open; edited is not possible from there." in response.content.decode()
    assert stored_rows() == before


def test_the_permission_to_view_loans_does_not_let_change_or_add_one(loan_viewer: Client) -> None:
    loan = draft()
    before = stored_rows()
    assert read_page(loan_viewer, f"/admin/loans/loan/{loan.pk}/change/")
    assert loan_viewer.post(f"/admin/loans/loan/{loan.pk}/change/", {**PROPERTY, **TERMS, "title": "A villa"}).status_code == 403
    assert loan_viewer.post("/admin/loans/loan/add/", {"reference": "PL-2", **PROPERTY, **TERMS}).status_code == 403
    assert stored_rows() == before


def test_the_page_shows_the_queue_transfers_and_history_up_to_a_limit(superuser: Client) -> None:
    loan = open_loan_now()
    settled_now(loan)
    for _ in range(ROWS_SHOWN + 2):
        reserved(loan, 1_000, now=timezone.now())
    content = read_page(superuser, f"/admin/loans/loan/{loan.pk}/change/")
    parts = content.split("<h2>")
    queue, transfers, history = next(part for part in parts if part.startswith("Queue")), *parts[-2:]
    assert [part.split(",")[0] for part in (queue, transfers, history)] == ["Queue", "Transfers", "History"]
    assert queue.count("<tr>") == 1 + ROWS_SHOWN
    assert "Show all, not only these 50." in queue
    assert transfers.count("<tr>") == 2
    assert "Show all" not in transfers
    assert history.count("<tr>") == 1 + ROWS_SHOWN


def test_the_page_shows_what_settlement_would_do_now(superuser: Client) -> None:
    loan = open_loan_now()
    waiting = reserved(loan, 60_000, now=timezone.now())
    whole = funded(loan, 30_000, now=timezone.now())
    partly = funded(loan, 20_000, now=timezone.now())
    context = superuser.get(f"/admin/loans/loan/{loan.pk}/change/").context
    assert [(entry.queue_position, entry.reservation, entry.would_get) for entry, _ in context["queue"]] == [
        (1, waiting, None),
        (2, whole, Decimal("30000.00")),
        (3, partly, None),
    ]
    assert [entry.waits_for for entry, _ in context["queue"]] == [None, waiting, waiting]
    page = read_page(superuser, f"/admin/loans/loan/{loan.pk}/change/")
    until = deadline_text(waiting.expires_at)
    for words in (f"its transfer, until {until}", "the next run of the job", f"#1, whose transfer has until {until}"):
        assert words in page
    assert page.index("Queue, next first") < page.index("Annual rate"), "an open loan's queue comes before its fields"
    for part in ("Pending $50,000.00", "Reserved $60,000.00", "Limit of what may be claimed $120,000.00"):
        assert part in context["funding"]
    assert "Reserved" in context["curve"]
    assert not Reservation.objects.filter(state="settled"), "nothing was done"


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("reference", "pl 99", "Letters, digits, hyphens and underscores, such as PL-0012."),
        ("reference", "PL/99", "Letters, digits, hyphens and underscores, such as PL-0012."),
        ("ltv", "650", "At most 100."),
        ("annual_rate", "95", "At most 50."),
        ("term_months", "601", "At most 600."),
    ],
)
def test_terms_beyond_reason_are_refused_in_the_form_and_by_the_database(superuser: Client, name: str, value: str, error: str) -> None:
    page = superuser.post("/admin/loans/loan/add/", {"reference": "PL-0001", **PROPERTY, **TERMS, name: value})
    assert error in page.content.decode()
    with pytest.raises(IntegrityError), transaction.atomic():
        DraftFactory(**{name: value})


def test_the_next_reference_is_proposed(superuser: Client) -> None:
    for reference in ("PL-0009", "PL-0010", "PL-X", "ZZ-9999"):
        DraftFactory(reference=reference)
    assert 'value="PL-0011"' in superuser.get("/admin/loans/loan/add/").content.decode()


def test_an_unknown_zip_is_a_warning(superuser: Client) -> None:
    page = superuser.post("/admin/loans/loan/add/", {"reference": "PL-0001", **PROPERTY, **TERMS, "zip": "00000"}, follow=True)
    assert "ZIP 00000 is not in the ZIP data in use" in page.content.decode()
    assert Loan.objects.get(reference="PL-0001").zip == "00000"


def test_a_loan_that_is_funded_while_its_page_is_made_has_a_page(superuser: Client) -> None:
    loan = open_loan_now(amount=5_000)
    stale = Loan.objects.get(pk=loan.pk)
    settled_now(loan)
    page = site._registry[Loan]
    assert isinstance(page, LoanAdmin)
    assert page.chart_context(stale)["overbooking_chart"] == ""


# --- A clone -----------------------------------------------------------------------------------------------------------------
def test_a_clone_has_the_facts_of_the_loan_and_the_next_reference(superuser: Client) -> None:
    loan = open_loan_now(reference="PL-0041", amount=Decimal("54321.00"), **{**PROPERTY, "settlement_rule": "pro_rata"})
    settled_now(loan)
    assert f'<a href="/admin/loans/loan/add/?clone={loan.pk}">Clone</a>' in read_page(superuser, f"/admin/loans/loan/{loan.pk}/change/")
    response = superuser.get(f"/admin/loans/loan/add/?clone={loan.pk}")
    assert "Add loan: a clone of PL-0041" in response.content.decode()
    form = response.context["adminform"].form
    posted = {name: form[name].value() for name in form.fields}
    assert posted.keys() == {"reference", *CLONED_FIELDS}
    assert superuser.post(f"/admin/loans/loan/add/?clone={loan.pk}", posted).status_code == 302
    clone = Loan.objects.get(reference="PL-0042")
    facts = [[getattr(each, name) for name in CLONED_FIELDS] for each in (clone, Loan.objects.get(pk=loan.pk))]
    assert facts[0] == facts[1]
    assert (clone.status, clone.opens_at, clone.closes_at, clone.settled, clone.claimed, clone.last_number) == (
        "draft",
        None,
        None,
        0,
        0,
        0,
    )
    assert [transition.event for transition in Transition.objects.filter(loan=clone)] == ["created"]


def test_a_fact_of_a_clone_can_be_changed(superuser: Client) -> None:
    loan = draft()
    posted = {"reference": "PL-0002", **PROPERTY, **TERMS, "title": "Another house"}
    assert superuser.post(f"/admin/loans/loan/add/?clone={loan.pk}", posted).status_code == 302
    assert list(Loan.objects.order_by("reference").values_list("title", flat=True)) == ["A house", "Another house"]


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "1 ", "PL-0001", "²", "9" * 30, "1%00"])
def test_a_clone_of_no_loan_is_an_empty_form_with_a_message(superuser: Client, text: str) -> None:
    draft()
    response = superuser.get(f"/admin/loans/loan/add/?clone={text}", follow=True)
    assert response.redirect_chain == [("/admin/loans/loan/add/", 302)]
    assert "There is no such loan to clone." in response.content.decode()
    assert response.context["adminform"].form["title"].value() is None


def test_only_who_may_add_loans_and_view_them_clones_one(client: Client, loan_viewer: Client) -> None:
    loan = draft()
    assert "Clone" not in read_page(loan_viewer, f"/admin/loans/loan/{loan.pk}/change/")
    for number in (loan.pk, 0):
        assert loan_viewer.get(f"/admin/loans/loan/add/?clone={number}").status_code == 403
    adder = User.objects.create_user("adder", is_staff=True)
    adder.user_permissions.add(Permission.objects.get(codename="add_loan"))
    client.force_login(adder)
    page = client.get(f"/admin/loans/loan/add/?clone={loan.pk}", follow=True).content.decode()
    assert "There is no such loan to clone." in page
    assert "A house" not in page


# --- The public page of a draft, and what a loan's page begins with ------------------------------------------------------------
def test_staff_see_the_public_page_of_a_draft_before_it_is_announced(loan_viewer: Client) -> None:
    loan = draft()
    page = read_page(loan_viewer, f"/admin/loans/loan/{loan.pk}/change/")
    assert f'<a href="/admin/loans/loan/{loan.pk}/public-page/">Preview public page</a>' in page
    response = loan_viewer.get(f"/admin/loans/loan/{loan.pk}/public-page/")
    assert response.templates[0].name == "loans/loan.html"
    shown = " ".join(unescape(response.content.decode()).split())
    assert "<b>Preview:</b> only staff see this page; the loan is a draft." in shown
    for fact in ("A house", "1 Main Street, Manhattan Beach, CA", "7.25 %", "62.5 %", "$100,000", "Its opening is not announced"):
        assert fact in shown
    for act in ("<form", "/account/reserve/", "/account/wait/", f"/api/v1/loans/{loan.reference}"):
        assert act not in shown
    assert "no-store" in response.headers["Cache-Control"]
    assert "ETag" not in response.headers


def test_visitors_never_see_the_public_page_of_a_draft(client: Client) -> None:
    loan = draft()
    page = f"/admin/loans/loan/{loan.pk}/public-page/"
    staff_without_permission = User.objects.create_user("new", is_staff=True)
    for user, status in ((None, 302), (InvestorFactory().user, 302), (staff_without_permission, 403)):
        if user:
            client.force_login(user)
        response = client.get(page)
        assert response.status_code == status
        assert b"A house" not in response.content
        assert client.get(f"/loans/{loan.reference}/").status_code == 404
        assert client.get(f"/api/v1/loans/{loan.reference}/").status_code == 404


def test_a_loan_that_is_no_draft_has_no_preview(loan_viewer: Client) -> None:
    loan = open_loan_now(reference="PL-0003")
    address = f"/admin/loans/loan/{loan.pk}/public-page/"
    assert '<a href="/loans/PL-0003/">Public page</a>' in read_page(loan_viewer, f"/admin/loans/loan/{loan.pk}/change/")
    assert loan_viewer.get(address).headers["Location"] == "/loans/PL-0003/"
    assert "Preview:" not in read_page(loan_viewer, "/loans/PL-0003/")
    withdraw_loan(reference="PL-0003", actor=STAFF, reason="It is off.")
    assert "ublic page" not in read_page(loan_viewer, f"/admin/loans/loan/{loan.pk}/change/")
    assert loan_viewer.get(address).status_code == 404
    for number in ("0", "9" * 30):
        assert loan_viewer.get(f"/admin/loans/loan/{number}/public-page/").status_code == 404


def test_a_loans_page_begins_with_its_title_state_available_dollars_and_closing(superuser: Client) -> None:
    loan = open_loan_now(title="A house by the sea", amount=Decimal(10_000))
    reserved(loan, 3_000, now=timezone.now())
    page = read_page(superuser, f"/admin/loans/loan/{loan.pk}/change/")
    assert loan.closes_at
    parts = ("A house by the sea", "<b>Open</b>", "<b>$9,000.00</b>", f"<b>{deadline_text(loan.closes_at)}</b>", "Queue, next first")
    places = [page.index(part) for part in parts]
    assert places == sorted(places)
    assert "<b>Not announced</b>" in read_page(superuser, f"/admin/loans/loan/{draft().pk}/change/")
