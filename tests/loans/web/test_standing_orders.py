"""The pages of standing orders, and those of loans that are announced."""

from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from loans.models import Investor, StandingOrder
from loans.services.loans import announce_loan, open_loan
from tests.factories import STAFF, DraftFactory, InvestorFactory, LoanFactory, fresh, standing_order

pytestmark = pytest.mark.django_db
ORDERS = "/account/standing-orders/"
FILLED = {"states": "ca, wa", "least_rate": "8", "amount": "$5,000", "at_least": "1,000", "cap": "50000"}


@pytest.fixture
def investor(client: Client) -> Investor:
    investor = InvestorFactory()
    client.force_login(investor.user)
    return investor


def text(response: Any) -> str:
    return " ".join(unescape(response.content.decode()).split())


def test_an_order_is_previewed_then_kept_paused_resumed_and_ended(client: Client, investor: Investor) -> None:
    cheap, dear = LoanFactory(annual_rate="7.00", now=timezone.now()), LoanFactory(now=timezone.now())
    assert "You keep no standing order." in text(client.get(ORDERS))
    shown = text(client.post(f"{ORDERS}new/", FILLED | {"preview": "1"}))
    assert "1 of the 2 loans of the last 180 days match" in shown
    assert dear.reference in shown
    assert cheap.reference not in shown
    assert not StandingOrder.objects.exists()
    kept = client.post(f"{ORDERS}new/", FILLED | {"keep": "1"}, follow=True)
    order = StandingOrder.objects.get()
    assert kept.redirect_chain == [(f"{ORDERS}{order.pk}/", 302)]
    assert (order.states, order.least_rate, order.amount, order.at_least, order.cap) == (["CA", "WA"], 8, 5_000, 1_000, 50_000)
    assert "CA, WA · every metro area · at least 8.00 % a year" in text(kept)
    for change, state in (("pause", "paused"), ("resume", "active"), ("end", "ended")):
        for _ in range(2):
            assert client.post(f"{ORDERS}{order.pk}/{change}/").status_code == 302
        assert fresh(order).state == state
    refused = client.post(f"{ORDERS}{order.pk}/pause/")
    assert (refused.status_code, "not possible" in text(refused)) == (409, True)
    assert "Ended" in text(client.get(ORDERS))


def test_the_page_tells_what_openings_gave_and_why_not(client: Client, investor: Investor) -> None:
    order = standing_order(5_000, investor=investor, least_rate=8)
    LoanFactory(annual_rate="7.00", now=timezone.now())
    got = LoanFactory(now=timezone.now())
    shown = text(client.get(f"{ORDERS}{order.pk}/"))
    assert "Reserved $5,000.00" in shown
    assert "It got nothing of this loan: its rate is lower than you want." in shown
    assert got.reference in shown


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"states": "California"}, "Write states with two letters"),
        ({"amount": "many"}, "Enter an amount of dollars"),
        ({"cap": ""}, "Enter an amount of dollars"),
        ({"cap": "10"}, "The cap of $10.00 is less than $1,000.00"),
        ({"at_least": "6,000"}, "is more than $5,000.00"),
        ({"metros": "00000"}, "Select a valid choice"),
        ({"longest_term_months": "0"}, "greater than or equal to 1"),
    ],
)
def test_what_makes_no_sense_is_explained(client: Client, investor: Investor, changes: dict[str, str], message: str) -> None:
    refused = client.post(f"{ORDERS}new/", FILLED | changes | {"keep": "1"})
    assert 400 <= refused.status_code < 500
    assert message in text(refused)
    assert not StandingOrder.objects.exists()


def test_an_announced_loan_is_shown_with_its_opening(client: Client) -> None:
    draft = DraftFactory(now=timezone.now())
    opens_at = timezone.now() + timedelta(days=2)
    announce_loan(reference=draft.reference, opens_at=opens_at, actor=STAFF)
    market = text(client.get("/"))
    assert "Opening soon" in market
    assert "Opens in" in market
    page = text(client.get(f"/loans/{draft.reference}/"))
    assert "Until then nobody can reserve." in page
    assert "up to $50,000.00 of this loan" in page
    assert "Reserve part of this loan" not in page
    open_loan(reference=draft.reference, actor=STAFF)
    assert "Reserve part of this loan" in text(client.get(f"/loans/{draft.reference}/"))
    assert "Opening soon" not in text(client.get("/?status=funded"))
