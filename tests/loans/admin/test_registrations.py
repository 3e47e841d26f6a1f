from datetime import timedelta
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from loans.admin.registrations import ROWS_SHOWN
from loans.charts import lapsed_shares_chart
from loans.domain import business_calendar
from loans.models import BankEvent, ClosingValue, Investor, Loan, Reservation, ReviewItem, Transfer, Transition
from loans.selectors.dashboard import weekly_exits
from loans.services.expiry import expire_due
from loans.services.loans import open_loan
from loans.services.settlement import settle_loans
from loans.services.staff_overrides import cancel_by_staff
from tests.loans import stage

pytestmark = pytest.mark.django_db
FACTS: dict[str, Any] = {"title": "A house", "address": "1 Main Street", "city": "Manhattan Beach", "state": "CA", "zip": "90266"}
TERMS: dict[str, Any] = {
    "annual_rate": "7.25",
    "term_months": "12",
    "ltv": "62.50",
    "amount": "100000.00",
    "minimum": "1000.00",
    "overbooking_rate": "0.2000",
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
    "state_of_mind": "curious",
}


@pytest.fixture
def staff(client: Client) -> Client:
    """The admin as a superuser sees it, who may do whatever Django's permissions can allow."""
    client.force_login(get_user_model().objects.create_superuser("boss", password="x"))
    return client


@pytest.fixture
def clerk(client: Client) -> Client:
    """The admin as somebody sees it who may only look at loans."""
    user = get_user_model().objects.create_user("clerk", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_loan"))
    client.force_login(user)
    return client


def a_draft(number: int = 1) -> Loan:
    facts = {"amount": Decimal("100000.00"), "annual_rate": Decimal("7.25"), "ltv": Decimal("62.50")}
    return stage.draft(timezone.now(), reference=f"PL-{number:04}", **(FACTS | facts))


def an_open_loan(number: int = 1) -> Loan:
    return open_loan(reference=a_draft(number).reference, actor=stage.STAFF)


def a_settled_reservation(loan: Loan) -> Reservation:
    reservation = stage.funded_reservation(loan, 5_000, timezone.now())
    settle_loans([loan.pk])
    return reservation


def a_review_item(detail: str, **about: Any) -> None:
    ReviewItem.objects.create(kind="late_money", detail=detail, opened_at=timezone.now(), **about)


def page(client: Client, address: str, status: int = 200) -> str:
    response = client.get(address)
    assert response.status_code == status
    return unescape(response.content.decode())


def stored() -> list[Any]:
    """Every row of what is kept."""
    kept = (Loan, Reservation, Transfer, Transition, BankEvent, ReviewItem, ClosingValue)
    return [list(model.objects.order_by("pk").values()) for model in kept]


def one_of_each() -> dict[str, Any]:
    loan, at = an_open_loan(), timezone.now()
    reservation = a_settled_reservation(loan)
    a_review_item("It came late.", loan=loan, reservation=reservation)
    ClosingValue.objects.create(loan=loan, day=at.date(), remaining=1, settled=2, claimed=3)
    kept = (Loan, Reservation, Transfer, Transition, BankEvent, ReviewItem, ClosingValue)
    return {model._meta.model_name: model.objects.first().pk for model in kept}


def test_every_page_answers_and_none_offers_to_delete(staff: Client) -> None:
    for name, key in one_of_each().items():
        assert "deletelink" not in page(staff, f"/admin/loans/{name}/{key}/change/")
        listed = page(staff, f"/admin/loans/{name}/")
        assert "delete_selected" not in listed
        assert page(staff, f"/admin/loans/{name}/?q=PL-0001")


def test_a_superuser_can_neither_change_nor_add_nor_delete_what_is_kept(staff: Client) -> None:
    keys = one_of_each()
    before = stored()
    for name, key in keys.items():
        forged = {**FACTS, **TERMS, **FORGED, "amount": "1.00", "event": "settled", "detail": "", "_save": "Save"}
        assert staff.post(f"/admin/loans/{name}/{key}/change/", forged).status_code == 403
        assert staff.post(f"/admin/loans/{name}/{key}/delete/", {"post": "yes"}).status_code == 403
        staff.post(f"/admin/loans/{name}/", {"action": "delete_selected", "_selected_action": [key], "post": "yes"})
        if name != "loan":
            assert staff.post(f"/admin/loans/{name}/add/", forged).status_code == 403
    assert stored() == before


def test_a_new_loan_is_a_draft_whatever_is_posted(staff: Client) -> None:
    answer = staff.post("/admin/loans/loan/add/", {"reference": "PL-0001", **FACTS, **TERMS, **FORGED})
    assert answer.status_code == 302
    loan = Loan.objects.get()
    assert (loan.status, loan.settled, loan.claimed, loan.version, loan.last_number) == ("draft", 0, 0, 0, 0)
    assert (loan.opens_at, loan.closes_at) == (None, None)
    created = Transition.objects.get()
    assert (created.event, created.actor, created.user.get_username()) == ("created", "staff", "boss")


def test_a_draft_is_edited_through_the_service(staff: Client) -> None:
    loan = a_draft()
    answer = staff.post(f"/admin/loans/loan/{loan.pk}/change/", {**FACTS, **TERMS, **FORGED, "title": "A villa", "amount": "90000.00"})
    assert answer.status_code == 302
    loan.refresh_from_db()
    assert (loan.title, loan.amount, loan.status, loan.settled, loan.reference) == ("A villa", Decimal(90_000), "draft", 0, "PL-0001")
    edited = Transition.objects.get(event="edited")
    assert (edited.user.get_username(), edited.amount, edited.facts) == ("boss", Decimal(90_000), {"title": "A villa"})


def test_saving_a_draft_unchanged_leaves_no_history(staff: Client) -> None:
    loan = a_draft()
    staff.post(f"/admin/loans/loan/{loan.pk}/change/", {**FACTS, **TERMS})
    assert [row.event for row in Transition.objects.all()] == ["created"]


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("amount", "0", "At least 0.01."),
        ("minimum", "999.99", "At least 1000.00."),
        ("overbooking_rate", "-0.1", "At least 0."),
        ("term_months", "0", "At least 1."),
        ("zip", "9026", "Five digits"),
        ("state", "Cal", "Two capital letters"),
        ("settlement_rule", "lottery", "Select a valid choice"),
    ],
)
def test_a_loan_that_cannot_be(staff: Client, field: str, value: str, told: str) -> None:
    answer = staff.post("/admin/loans/loan/add/", {"reference": "PL-0001", **FACTS, **TERMS, field: value})
    assert answer.status_code == 200
    content = unescape(answer.content.decode())
    assert told in content
    assert "is violated" not in content
    assert not Loan.objects.exists()


def test_a_refusal_of_the_service_is_told(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    loan = a_draft()
    allowed = "loans.admin.LoanAdmin.has_change_permission"
    monkeypatch.setattr(allowed, lambda *args: True)  # as if it were opened between the look and the write
    open_loan(reference=loan.reference, actor=stage.STAFF)
    before = stored()
    address = f"/admin/loans/loan/{loan.pk}/change/"
    answer = staff.post(address, {**FACTS, **TERMS, "title": "A villa"}, follow=True)
    assert answer.redirect_chain == [(address, 302)]
    assert "This is open; edited is not possible from there." in answer.content.decode()
    assert stored() == before


def test_looking_needs_no_more_than_permission_to_look_and_gives_no_more(clerk: Client) -> None:
    loan = a_draft()
    before = stored()
    assert clerk.post(f"/admin/loans/loan/{loan.pk}/change/", {**FACTS, **TERMS, "title": "A villa"}).status_code == 403
    assert clerk.post("/admin/loans/loan/add/", {"reference": "PL-2", **FACTS, **TERMS}).status_code == 403
    assert stored() == before


def test_an_investor_is_kept_with_the_user_once_named(staff: Client) -> None:
    ana, other = stage.investor(), get_user_model().objects.create(username="other")
    posted = {"name": "Ana B.", "accredited_until": "2030-01-01", "user": other.pk}
    assert staff.post(f"/admin/loans/investor/{ana.pk}/change/", posted).status_code == 302
    assert staff.post(f"/admin/loans/investor/{ana.pk}/delete/", {"post": "yes"}).status_code == 403
    kept = Investor.objects.get()
    assert (kept.name, kept.user_id) == ("Ana B.", ana.user_id)


def test_a_loans_page_shows_its_queue_transfers_and_history_and_no_more_than_fits(staff: Client) -> None:
    loan = an_open_loan()
    a_settled_reservation(loan)
    for _ in range(ROWS_SHOWN + 2):
        stage.reserve(loan, 1_000, timezone.now())
    content = page(staff, f"/admin/loans/loan/{loan.pk}/change/")
    queue, transfers, history = content.split("<h2>")[-3:]
    assert [part.split(",")[0] for part in (queue, transfers, history)] == ["Queue", "Transfers", "History"]
    assert queue.count("<tr>") == 1 + ROWS_SHOWN
    assert "There are more than these 50." in queue
    assert transfers.count("<tr>") == 2
    assert "There are more" not in transfers
    assert history.count("<tr>") == 1 + ROWS_SHOWN


@pytest.mark.parametrize("name", ["loan", "reservation", "transfer", "transition", "bankevent", "reviewitem", "closingvalue", "investor"])
def test_the_number_of_queries_does_not_grow_with_the_rows(staff: Client, django_assert_num_queries, name: str) -> None:  # type: ignore[no-untyped-def]
    def more(number: int) -> Loan:
        loan = an_open_loan(number)
        reservation = a_settled_reservation(loan)
        a_review_item("It came late.", loan=loan, reservation=reservation)
        ClosingValue.objects.create(loan=loan, day=timezone.localdate(), remaining=1, settled=2, claimed=3)
        return loan

    more(1)
    page(staff, "/admin/")  # what is read once for all: content types
    with django_assert_num_queries(7 if name == "loan" else 6, exact=False) as few:
        page(staff, f"/admin/loans/{name}/")
    for number in range(2, 8):
        more(number)
    with django_assert_num_queries(len(few)):
        page(staff, f"/admin/loans/{name}/")


def test_the_number_of_queries_of_a_page_does_not_grow(staff: Client, django_assert_num_queries) -> None:  # type: ignore[no-untyped-def]
    loan = an_open_loan()
    reservation = a_settled_reservation(loan)
    addresses = [f"/admin/loans/loan/{loan.pk}/change/", f"/admin/loans/reservation/{reservation.pk}/change/"]
    for address in addresses:
        page(staff, address)
        with django_assert_num_queries(10, exact=False) as few:
            page(staff, address)
        for _ in range(4):
            a_settled_reservation(loan)
        with django_assert_num_queries(len(few)):
            page(staff, address)


def test_a_loans_page_tells_what_settlement_would_do_now(staff: Client) -> None:
    loan = an_open_loan()
    waits = stage.reserve(loan, 60_000, timezone.now())
    whole = stage.funded_reservation(loan, 30_000, timezone.now())
    partly = stage.funded_reservation(loan, 20_000, timezone.now())
    shown = staff.get(f"/admin/loans/loan/{loan.pk}/change/").context
    assert [(entry.position, entry.reservation, entry.would_get) for entry in shown["queue"]] == [
        (1, waits, None),
        (2, whole, Decimal("30000.00")),
        (3, partly, None),
    ]
    for part in ("Pending $50,000.00", "Reserved $60,000.00", "Limit of what may be claimed $120,000.00"):
        assert part in shown["funding"]
    assert "Reserved" in shown["curve"]
    assert not Reservation.objects.filter(state="settled"), "nothing was done"


def test_a_reservations_page_explains_its_deadline_and_tells_its_life(staff: Client) -> None:
    loan = an_open_loan()
    reservation = stage.reserve(loan, 5_000, timezone.now())
    address = f"/admin/loans/reservation/{reservation.pk}/change/"
    assert "24 hours to start its transfer" in page(staff, address)
    stage.start(reservation, timezone.now())
    shown = staff.get(address).context
    counted = [day.number for day in shown["deadline"].days if day.number]
    assert counted == list(range(1, business_calendar.BANKING_DAYS_FOR_MONEY + 1))
    assert [step.event for step in shown["steps"]][:2] == ["reserved", "transfer_started"]
    cancel_by_staff(reservation_id=reservation.pk, actor=stage.STAFF, reason="She asked by phone.")
    content = page(staff, address)
    assert "<q>She asked by phone.</q>" in content
    assert "so no clock runs" in content


def test_a_reservation_is_found_by_its_id_and_nothing_by_another_word(staff: Client) -> None:
    reservation = stage.reserve(an_open_loan(), 5_000, timezone.now())
    found = staff.get(f"/admin/loans/reservation/?q={reservation.pk}").context["cl"].result_list
    assert list(found) == [reservation]
    assert not staff.get("/admin/loans/reservation/?q=nobody").context["cl"].result_list


def test_the_first_page_tells_the_day(staff: Client) -> None:
    loan = an_open_loan()
    stage.reserve(loan, 5_000, timezone.now())
    day = staff.get("/admin/").context["day"]
    assert (day["happened"][0].label, day["happened"][0].count, day["happened"][0].dollars) == ("Reserved", 1, Decimal("5000.00"))
    assert [(total.count, total.dollars) for total in day["lapsing"]] == [(0, Decimal(0)), (1, Decimal("5000.00"))]
    assert [offer.loan for offer, _ in day["loans"]] == [loan]


def test_the_first_page_draws_what_share_lapsed_in_each_phase() -> None:
    now, before = timezone.now(), timezone.now() - timedelta(weeks=2)
    loan = stage.open_loan(before - timedelta(days=5), reference="PL-LAPSES", amount=Decimal("100000.00"))
    for reservation in [stage.reserve(loan, 1_000, before) for _ in range(4)][:3]:
        stage.start(reservation, before)
    expire_due(before + timedelta(days=2))  # one was never started
    stage.start(stage.reserve(loan, 1_000, now), now)
    rows = weekly_exits(now + timedelta(days=1))
    assert sum(row.exits for row in rows if row.state == "reserved") == 5
    assert sum(row.lapsed for row in rows if row.state == "reserved") == 1
    assert "Pending, no money came" in lapsed_shares_chart(rows)


def test_the_first_page_takes_the_same_queries_however_much_there_is(staff: Client, django_assert_max_num_queries: Any) -> None:
    page(staff, "/admin/")
    with django_assert_max_num_queries(30) as few:
        page(staff, "/admin/")
    for number in range(2, 5):
        a_settled_reservation(an_open_loan(number))
        a_review_item(f"Case {number}.")
    with django_assert_max_num_queries(len(few) + 1):  # the funding of the first open loan
        page(staff, "/admin/")


def test_the_first_page_lists_what_needs_a_person(staff: Client) -> None:
    assert "Nothing that you can see waits for a person." in page(staff, "/admin/")
    for detail in ("One.", "Two."):
        a_review_item(detail)
    ReviewItem.objects.filter(detail="One.").update(resolved_at=timezone.now())
    overdue = stage.open_loan(timezone.now() - timedelta(weeks=4), reference="PL-OVERDUE")
    an_open_loan()
    returning = stage.funded_reservation(an_open_loan(2), 5_000, timezone.now())
    cancel_by_staff(reservation_id=returning.pk, actor=stage.STAFF, reason="A test.")
    refund = Transfer.objects.get(direction="refund")
    waiting = staff.get("/admin/").context["waiting"]
    assert [(line.what, line.count) for line in waiting] == [("Late money", 1), ("Loans past their closing", 1), ("Refunds due", 1)]
    review_items, loans, refunds = (staff.get(line.address).context["cl"].result_list for line in waiting)
    assert [review_item.detail for review_item in review_items] == ["Two."]
    assert (list(loans), list(refunds)) == ([overdue], [refund])


def test_the_first_page_lists_only_what_its_reader_may_see(clerk: Client) -> None:
    a_review_item("One.")
    stage.open_loan(timezone.now() - timedelta(weeks=4))
    assert [line.what for line in clerk.get("/admin/").context["waiting"]] == ["Loans past their closing"]
