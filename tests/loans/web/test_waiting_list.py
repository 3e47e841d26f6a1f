"""The pages of waiting lists: join from a refused reservation, follow one's place, leave."""

from decimal import Decimal
from html import unescape
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from loans.models import Investor, Loan, WaitingListEntry
from loans.notifications import outbox
from loans.services.staff_overrides import cancel_by_staff
from tests.factories import STAFF, InvestorFactory, LoanFactory, fresh, reserved, waiting

pytestmark = pytest.mark.django_db
LIST = "/account/waiting-list/"


@pytest.fixture
def investor(client: Client) -> Investor:
    investor = InvestorFactory()
    client.force_login(investor.user)
    return investor


@pytest.fixture
def loan() -> Loan:
    """A loan of which nothing is available, and for which one waits."""
    loan = LoanFactory(reference="PL-0001", overbooking_rate=Decimal(0), now=timezone.now())
    reserved(loan, 100_000, now=timezone.now())
    waiting(loan, 30_000, now=timezone.now())
    return loan


def text(response: Any) -> str:
    return unescape(response.content.decode())


def test_from_a_refusal_to_a_place_on_the_list_and_away(client: Client, investor: Investor, loan: Loan) -> None:
    refused = client.post("/account/reserve/PL-0001/", {"amount": "5,000", "key": str(uuid4())})
    assert refused.status_code == 409
    assert 'href="/account/wait/PL-0001/?amount=5%2C000"' in refused.content.decode()
    shown = client.get("/account/wait/PL-0001/", {"amount": "5,000"})
    assert "1, for $30,000" in text(shown)
    joined = client.post("/account/wait/PL-0001/", {"amount": "5,000", "at_least": "2,000"}, follow=True)
    assert joined.redirect_chain == [(LIST, 302)]
    assert "Place on the list" in text(joined)
    entry = WaitingListEntry.objects.get(investor=investor)
    assert (entry.amount, entry.at_least, entry.state) == (5_000, 2_000, "waiting")
    left = client.post(f"{LIST}{entry.pk}/leave/", follow=True)
    assert "Place on the list" not in text(left)
    assert fresh(entry).state == "left"
    assert client.post(f"{LIST}{entry.pk}/leave/").status_code == 302


def test_what_cannot_wait_is_explained(client: Client, investor: Investor, loan: Loan) -> None:
    below = client.post("/account/wait/PL-0001/", {"amount": "999"})
    assert (below.status_code, "Reserve at least $1,000.00." in text(below)) == (400, True)
    wrong = client.post("/account/wait/PL-0001/", {"amount": "many", "at_least": "few"})
    assert (wrong.status_code, text(wrong).count("Enter an amount of dollars, such as")) == (400, 2)
    assert client.get("/account/wait/NONE/").status_code == 404
    assert not WaitingListEntry.objects.filter(investor=investor).exists()


def test_a_placed_entry_leads_to_its_reservation(client: Client, investor: Investor, loan: Loan) -> None:
    entry = waiting(loan, 70_000, investor=investor, now=timezone.now())
    cancel_by_staff(reservation_id=loan.reservations.get().pk, actor=STAFF, reason="asked for")
    reservation = fresh(entry).reservation
    assert f'href="/account/reservations/{reservation.pk}/"' in client.get(LIST).content.decode()
    refused = client.post(f"{LIST}{entry.pk}/leave/")
    assert (refused.status_code, "left is not possible" in text(refused)) == (409, True)


def test_messages_about_a_list_lead_to_it(client: Client, investor: Investor, loan: Loan) -> None:
    waiting(loan, 70_000, investor=investor, now=timezone.now())
    outbox.fan_out_all()
    assert f'<a href="{LIST}">' in client.get("/account/messages/").content.decode()


def test_a_loan_with_room_is_reserved_at_once(client: Client, investor: Investor) -> None:
    LoanFactory(reference="PL-0002", now=timezone.now())
    joined = client.post("/account/wait/PL-0002/", {"amount": "5,000"})
    assert joined.headers["Location"] == f"/account/reservations/{investor.reservations.get().pk}/"


def test_another_investors_entry_is_not_found(client: Client, investor: Investor, loan: Loan) -> None:
    other = WaitingListEntry.objects.get()
    assert client.post(f"{LIST}{other.pk}/leave/").status_code == 404
    assert "You wait for no loan." in text(client.get(LIST))
    page = text(client.get("/loans/PL-0001/"))
    assert "$30,000.00 wait already, and are served before you." in page
    assert "Amount in dollars" not in page
