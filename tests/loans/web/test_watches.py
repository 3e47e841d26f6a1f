"""Watching a loan from its public page: who sees which button, what caches may keep, and the list in the account."""

from decimal import Decimal
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from loans.domain.watches import MOST_WATCHES
from loans.models import Delivery, Investor, Loan, Watch, WatchNotice
from loans.notifications.watches import notify_watchers
from loans.services import watches
from loans.services.loans import withdraw_loan
from loans.services.staff_overrides import cancel_by_staff
from loans.services.watches import watch_loan
from loans.web.watches import WATCHES_PER_PAGE
from tests.factories import STAFF, DraftFactory, InvestorFactory, LoanFactory, UserFactory, reserved, settled

pytestmark = pytest.mark.django_db
LIST, PAGE = "/account/watches/", "/loans/PL-0001/"
WATCH, STOP = "/account/watch/PL-0001/", "/account/watch/PL-0001/stop/"


@pytest.fixture
def investor(client: Client) -> Investor:
    investor: Investor = InvestorFactory()
    client.force_login(investor.user)
    return investor


@pytest.fixture
def loan() -> Loan:
    return LoanFactory(reference="PL-0001", title="Four flats", overbooking_rate=Decimal(0), now=timezone.now())


def text(response: Any) -> str:
    return unescape(response.content.decode())


@pytest.mark.usefixtures("loan")
def test_one_click_watches_and_one_stops(client: Client, investor: Investor) -> None:
    assert f'action="{WATCH}"' in text(client.get(PAGE))
    for _ in range(2):
        watched = client.post(WATCH, follow=True)
        assert watched.redirect_chain == [(f"{PAGE}#watch", 302)]
        assert f'action="{STOP}"' in text(watched)
        assert f'action="{WATCH}"' not in text(watched)
    assert Watch.objects.get().investor == investor
    assert "Four flats" in text(client.get(LIST))
    stopped = client.post(STOP, {"from": "list"}, follow=True)
    assert stopped.redirect_chain == [(LIST, 302)]
    assert "You watch no loan." in text(stopped)
    assert client.post(STOP).headers["Location"] == f"{PAGE}#watch"


@pytest.mark.usefixtures("loan")
def test_a_visitor_is_led_to_the_log_in_and_back(client: Client) -> None:
    page = client.get(PAGE)
    assert 'href="/account/log-in/?next=/loans/PL-0001/%23watch"' in text(page)
    assert page.headers["Cache-Control"] == "public, no-cache"
    assert "csrf" not in text(page)
    assert client.post(WATCH).headers["Location"] == "/account/log-in/?next=/account/"
    client.force_login(UserFactory(is_staff=True))
    assert "Log in to watch this loan" in text(client.get(PAGE)), "staff are not investors"


def test_no_cache_keeps_the_page_of_who_has_logged_in(client: Client, investor: Investor, loan: Loan) -> None:
    page = client.get(PAGE)
    assert page.headers["Cache-Control"] == "private, no-store"
    assert "ETag" not in page.headers
    assert "Cookie" in page.headers["Vary"]


def test_a_forged_click_is_refused(investor: Investor, loan: Loan) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(investor.user)
    assert client.post(WATCH).status_code == 403
    assert not Watch.objects.exists()


def test_only_ones_own_loans_are_listed(client: Client, investor: Investor, loan: Loan) -> None:
    watch_loan(investor_id=InvestorFactory().pk, reference=loan.reference)
    assert "You watch no loan." in text(client.get(LIST))
    client.post(STOP)
    assert Watch.objects.get().ended_at is None


@pytest.mark.parametrize("reference", ["PL-0002", "PL-9999"])
def test_what_the_public_does_not_see_is_not_found(client: Client, investor: Investor, reference: str) -> None:
    DraftFactory(reference="PL-0002")
    assert client.post(f"/account/watch/{reference}/").status_code == 404
    assert client.post(f"/account/watch/{reference}/stop/").status_code == 404
    assert client.get(f"/loans/{reference}/").status_code == 404
    assert not Watch.objects.exists()


def test_a_withdrawn_loan_drops_out_of_the_list(client: Client, investor: Investor, loan: Loan) -> None:
    client.post(WATCH)
    withdraw_loan(reference=loan.reference, actor=STAFF, reason="a test")
    assert "You watch no loan." in text(client.get(LIST))


def test_one_loan_too_many_is_explained_above_the_list(
    client: Client, investor: Investor, loan: Loan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches, "MOST_WATCHES", 1)
    watch_loan(investor_id=investor.pk, reference=LoanFactory(now=timezone.now()).reference)
    refused = client.post(WATCH)
    assert refused.status_code == 400
    assert f'role="alert">You watch {1} loans, the most there may be.' in text(refused)
    assert MOST_WATCHES == 200


def test_a_look_at_the_page_lets_the_next_email_come(client: Client, investor: Investor, loan: Loan) -> None:
    held = reserved(loan, 100_000, now=timezone.now())
    client.post(WATCH)
    cancel_by_staff(reservation_id=held.pk, actor=STAFF, reason="a test")
    assert [notify_watchers(), notify_watchers()] == [1, 0]
    held = reserved(loan, 100_000, now=timezone.now())
    client.get(PAGE)
    cancel_by_staff(reservation_id=held.pk, actor=STAFF, reason="a test")
    assert [notify_watchers(), notify_watchers()] == [1, 0]
    assert WatchNotice.objects.count() == Delivery.objects.exclude(watch_notice=None).count() == 2
    assert f"Dollars of loan {loan.reference} are available" in text(client.get("/account/messages/"))


def test_a_funded_loan_offers_no_watch_but_lets_one_stop(client: Client, investor: Investor, loan: Loan) -> None:
    client.post(WATCH)
    settled(loan, 100_000, now=timezone.now())
    assert f'action="{STOP}"' in text(client.get(PAGE))
    client.post(STOP)
    assert 'id="watch"' not in text(client.get(PAGE))
    assert 'id="watch"' not in text(Client().get(PAGE))


def test_the_list_has_pages_that_stay_small(client: Client, investor: Investor) -> None:
    for number in range(WATCHES_PER_PAGE + 1):
        loan = LoanFactory(reference=f"LN-{number:03}", title="Four flats by the sea " * 4, now=timezone.now())
        watch_loan(investor_id=investor.pk, reference=loan.reference)
    first = client.get(LIST)
    assert first.content.count(b'class="loan"') == WATCHES_PER_PAGE
    assert len(first.content) < 40_000
    assert "LN-000" not in text(first)
    assert "LN-000" in text(client.get(f"{LIST}?page=2"))
    assert client.get(f"{LIST}?page=x").status_code == 404
