"""An investor's account: who gets in, what is reserved, paid and canceled there, and what a form that is sent twice does."""

import csv
import re
from datetime import timedelta
from html import unescape
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.hashers import make_password
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_otp.oath import totp
from django_otp.plugins.otp_totp.models import TOTPDevice
from knox.models import AuthToken

from loans.api import authentication
from loans.models import Delivery, Investor, Loan, Reservation, Transition
from tests import factories
from tests.factories import InvestorFactory, LoanFactory, UserFactory, fresh

pytestmark = pytest.mark.django_db

LOG_IN = "/account/log-in/"
PASSWORD = "a long password"


@pytest.fixture
def investor() -> Investor:
    return InvestorFactory(user__username="ines", user__password=make_password(PASSWORD))


@pytest.fixture
def signed_in(client: Client, investor: Investor) -> Client:
    client.force_login(investor.user)
    return client


@pytest.fixture
def loan() -> Loan:
    return LoanFactory(reference="PL-0001", now=timezone.now())


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", unescape(response.content.decode()))


def log_in(client: Client, password: str = PASSWORD, **more: str) -> Any:
    return client.post(LOG_IN, {"username": "ines", "password": password} | more)


def key_in(response: Any) -> str:
    found = re.search(r'name="key" value="([^"]+)"', response.content.decode())
    assert found
    return found[1]


def reserve(client: Client, amount: str, key: str = "", **options: Any) -> Any:
    return client.post("/account/reserve/PL-0001/", {"amount": amount, "key": key or str(uuid4())}, **options)


# --- Log-in ---------------------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("investor", "loan")
def test_the_log_in_leads_to_the_page_that_was_asked_for(client: Client) -> None:
    away = client.get("/account/reserve/PL-0001/?amount=5000")
    assert away.headers["Location"] == "/account/log-in/?next=/account/reserve/PL-0001/%3Famount%3D5000"
    response = log_in(client, next="/account/reserve/PL-0001/?amount=5000")
    assert 'value="5000"' in text(client.get(response.headers["Location"]))


@pytest.mark.usefixtures("investor")
@pytest.mark.parametrize("elsewhere", ["https://example.org/", "//example.org/", ""])
def test_the_log_in_leads_nowhere_else(client: Client, elsewhere: str) -> None:
    assert log_in(client, next=elsewhere).headers["Location"] == "/account/"


def test_wrong_passwords_lock_the_name_out(client: Client, investor: Investor, settings: Any) -> None:
    settings.AXES_FAILURE_LIMIT = 3
    assert "No investor has this user name and password" in text(log_in(client, "wrong"))
    assert [log_in(client, "wrong").status_code for _ in range(2)] == [200, 429]
    assert log_in(client).status_code == 429


@pytest.mark.usefixtures("investor")
def test_log_ins_from_one_address_are_limited(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerloans.web.log_in.LogInThrottle.rate", "2/m", raising=False)
    responses = [log_in(client, "wrong") for _ in range(3)]
    assert [response.status_code for response in responses] == [200, 200, 429]
    assert int(responses[-1].headers["Retry-After"]) > 0


def test_a_second_factor_that_is_set_up_is_asked_for(client: Client, investor: Investor) -> None:
    device = TOTPDevice.objects.create(user=investor.user, confirmed=True)
    assert "also asks for a code" in text(log_in(client))
    client.force_login(investor.user)
    assert client.get("/account/").status_code == 302, "a session without the code"
    TOTPDevice.objects.update(throttling_failure_count=0, throttling_failure_timestamp=None)
    assert log_in(client, code=f"{totp(device.bin_key):06}").status_code == 302
    assert client.get("/account/").status_code == 200


def test_staff_are_no_investors(client: Client) -> None:
    UserFactory(username="ines", is_staff=True, password=make_password(PASSWORD))
    assert "No investor has this user name" in text(log_in(client))


def test_logging_out_ends_the_session(signed_in: Client) -> None:
    assert signed_in.get("/account/log-out/").status_code == 405, "a link must not log anyone out"
    signed_in.post("/account/log-out/")
    assert signed_in.get("/account/").status_code == 302


@pytest.mark.usefixtures("investor")
def test_forms_need_a_token_of_their_own_page() -> None:
    assert log_in(Client(enforce_csrf_checks=True)).status_code == 403


# --- Reserve ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("typed", "amount"), [("25000", "25000.00"), ("$25,000", "25000.00"), (" 1,000.5 ", "1000.50")])
def test_an_amount_is_taken_as_people_write_it(signed_in: Client, loan: Loan, typed: str, amount: str) -> None:
    response = reserve(signed_in, typed)
    reservation = Reservation.objects.get()
    assert response.headers["Location"] == f"/account/reservations/{reservation.pk}/"
    assert (str(reservation.amount), reservation.loan_id) == (amount, loan.pk)


@pytest.mark.usefixtures("loan")
@pytest.mark.parametrize("typed", ["", "x", "0", "-5", "1e5", "1.234", "9" * 13, "２０００"])
def test_what_is_no_amount_is_explained_in_the_form(signed_in: Client, typed: str) -> None:
    response = reserve(signed_in, typed)
    assert response.status_code == 400
    assert "Enter an amount of dollars" in text(response)
    assert not Reservation.objects.exists()


@pytest.mark.usefixtures("loan")
def test_a_refusal_is_in_the_services_words_with_what_would_be_accepted(signed_in: Client) -> None:
    below, over = reserve(signed_in, "500"), reserve(signed_in, "100000.01")
    assert (below.status_code, over.status_code) == (400, 409)
    assert '<a href="?amount=1000.00">Use $1,000.00 instead</a>' in text(below)
    assert '<a href="?amount=100000.00">Use $100,000.00 instead</a>' in text(over)
    assert 'value="100000.01"' in text(over), "what was typed stays"
    assert 'value="1000.00"' in text(signed_in.get("/account/reserve/PL-0001/?amount=1000.00"))


@pytest.mark.usefixtures("loan")
def test_a_limit_of_the_investor_is_shown_in_the_form(signed_in: Client, investor: Investor) -> None:
    Investor.objects.filter(pk=investor.pk).update(unfunded_limit=2000)
    response = reserve(signed_in, "5000")
    assert response.status_code == 409
    assert "the most is" in text(response)


def test_those_who_may_not_buy_are_told_so(signed_in: Client, investor: Investor, loan: Loan) -> None:
    Investor.objects.filter(pk=investor.pk).update(accredited_until=None)
    response = reserve(signed_in, "5000")
    assert response.status_code == 403
    assert "Only accredited investors may reserve" in text(response)


@pytest.mark.usefixtures("loan")
def test_the_same_form_sent_twice_reserves_once(signed_in: Client) -> None:
    key = key_in(signed_in.get("/account/reserve/PL-0001/"))
    first, second = reserve(signed_in, "5,000", key), reserve(signed_in, "5000.00", key)
    assert first.headers["Location"] == second.headers["Location"]
    assert Reservation.objects.count() == 1


@pytest.mark.usefixtures("loan")
def test_a_form_from_the_back_button_with_another_amount_asks_again(signed_in: Client) -> None:
    key = key_in(signed_in.get("/account/reserve/PL-0001/"))
    reserve(signed_in, "5000", key)
    again = reserve(signed_in, "6000", key)
    assert again.status_code == 422
    assert "has reserved another amount already" in text(again)
    assert key_in(again) != key
    reserve(signed_in, "6000", key_in(again))
    assert sorted(Reservation.objects.values_list("amount", flat=True)) == [5000, 6000]


@pytest.mark.usefixtures("loan")
def test_a_refused_form_may_be_corrected_and_sent_again(signed_in: Client) -> None:
    refused = reserve(signed_in, "500")
    assert reserve(signed_in, "5000", key_in(refused)).status_code == 302


def test_an_unknown_loan_and_a_draft_are_not_found(signed_in: Client) -> None:
    factories.DraftFactory(reference="PL-0001")
    assert signed_in.get("/account/reserve/PL-0001/").status_code == 404
    assert reserve(signed_in, "5000").status_code == 404
    assert signed_in.get("/account/reserve/PL-0009/").status_code == 404


# --- Pay, cancel, follow ------------------------------------------------------------------------------------------------------
def page_of(reservation: Reservation) -> str:
    return f"/account/reservations/{reservation.pk}/"


def test_from_the_reservation_to_the_settled_part(signed_in: Client, investor: Investor, loan: Loan) -> None:
    reservation = factories.reserved(loan, "5000", investor=investor, now=timezone.now())
    page = page_of(reservation)
    assert "Start the transfer" in text(signed_in.get(page))
    for _ in range(2):  # the second is a double click
        assert signed_in.post(f"{page}transfer/", {"method": "wire"}).headers["Location"] == page
    paying = text(signed_in.get(page))
    assert factories.inbound(reservation).reference in paying
    assert "Wire transfer" in paying
    factories.money_comes(reservation, now=timezone.now())
    assert "Paid, in the queue" in text(signed_in.get(page)) or "is yours" in text(signed_in.get(page))


def test_another_method_is_refused_once_the_transfer_is_started(signed_in: Client, investor: Investor, loan: Loan) -> None:
    reservation = factories.pending(loan, "5000", investor=investor, now=timezone.now())
    response = signed_in.post(f"{page_of(reservation)}transfer/", {"method": "wire"})
    assert response.status_code == 409
    assert 'role="alert"' in text(response)
    assert "ACH transfer" in text(response)
    assert signed_in.post(f"{page_of(reservation)}transfer/", {"method": "cash"}).status_code == 400


def test_canceling_twice_cancels_once(signed_in: Client, investor: Investor, loan: Loan) -> None:
    reservation = factories.reserved(loan, "5000", investor=investor, now=timezone.now())
    for _ in range(2):
        assert signed_in.post(f"{page_of(reservation)}cancel/").status_code == 302
    assert fresh(reservation).state == "canceled"
    assert "You canceled it." in text(signed_in.get(page_of(reservation)))


def test_a_started_transfer_cannot_be_canceled(signed_in: Client, investor: Investor, loan: Loan) -> None:
    reservation = factories.pending(loan, "5000", investor=investor, now=timezone.now())
    assert signed_in.post(f"{page_of(reservation)}cancel/").status_code == 409
    assert fresh(reservation).state == "pending"


def test_a_lapsed_reservation_is_shown_as_expired_before_the_job_has_run(signed_in: Client, investor: Investor, loan: Loan) -> None:
    ago = timezone.now() - timedelta(hours=25)
    old_loan = LoanFactory(reference="PL-0002", now=ago)
    reservation = factories.reserved(old_loan, "5000", investor=investor, now=ago)
    page = text(signed_in.get(page_of(reservation)))
    assert ">Expired<" in page
    assert "Start the transfer<" not in page
    assert signed_in.post(f"{page_of(reservation)}transfer/", {"method": "ach"}).status_code == 409


def test_the_list_has_only_the_investors_own_with_their_places(signed_in: Client, investor: Investor, loan: Loan) -> None:
    now = timezone.now()
    factories.reserved(loan, "3000", now=now)
    mine = factories.reserved(loan, "5000", investor=investor, now=now)
    page = text(signed_in.get("/account/"))
    assert "$5,000.00" in page
    assert "<dt>Place in the queue</dt><dd>2</dd>" in page
    assert page_of(mine) in page
    assert "$3,000.00" not in page


def test_the_list_takes_the_same_number_of_queries_however_long_it_is(signed_in: Client, investor: Investor, loan: Loan) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            signed_in.get("/account/")
        return len(captured)

    factories.reserved(loan, "1000", investor=investor, now=timezone.now())
    signed_in.get("/account/")  # the first page of a session notes when it began
    before = queries()
    for _ in range(3):
        factories.reserved(loan, "1000", investor=investor, now=timezone.now())
    assert queries() == before


@pytest.mark.usefixtures("loan")
@pytest.mark.parametrize(
    "address", ["/account/", "/account/reserve/PL-0001/", "/account/log-in/", "/account/reservations/00000000-0000-4000-8000-000000000000/"]
)
def test_no_cache_keeps_a_page_of_the_account(signed_in: Client, address: str) -> None:
    kept = signed_in.get(address).headers["Cache-Control"]
    assert "private" in kept
    assert "no-store" in kept


def test_the_loans_page_is_ones_own_only_in_its_watch_button(signed_in: Client, loan: Loan) -> None:
    own, everybodys = (client.get("/loans/PL-0001/") for client in (signed_in, Client()))
    assert own.headers["Cache-Control"] == "private, no-store"
    assert everybodys.headers["Cache-Control"] == "public, no-cache"
    without_button = [re.sub(r'<div class="watch".*?</div>', "", text(page)) for page in (own, everybodys)]
    assert without_button[0] == without_button[1]
    assert 'action="/account/reserve/PL-0001/" method="get"' in without_button[0]


# --- Money, messages, documents, password --------------------------------------------------------------------------------------
def test_money_shows_totals_and_refunds(signed_in: Client, investor: Investor, loan: Loan) -> None:
    now = timezone.now()
    factories.settled(loan, "5000", investor=investor, now=now)
    late = factories.reserved(loan, "3000", investor=investor, now=now)
    factories.start_transfer(late, now=now)
    factories.money_comes(late, "3000.50", now=now)
    factories.settled(loan, "7000", now=now)
    page = text(signed_in.get("/account/money/"))
    assert "<dt>Settled (1)</dt><dd>$5,000.00</dd>" in page
    assert "$7,000.00" not in page
    refund = fresh(late).transfers.filter(direction="refund").first()
    assert refund is None or refund.reference in page


def test_messages_are_the_investors_own_with_their_outcome(signed_in: Client, investor: Investor, loan: Loan) -> None:
    now = timezone.now()
    for reservation in (factories.reserved(loan, "5000", investor=investor, now=now), factories.reserved(loan, "3000", now=now)):
        transition = Transition.objects.get(reservation=reservation)
        Delivery.objects.create(
            investor=reservation.investor, transition=transition, reservation=reservation, created_at=now, status="sent", ended_at=now
        )
    page = text(signed_in.get("/account/messages/"))
    assert page.count("You reserved part of loan PL-0001") == 1
    assert "sent " in page


def test_what_settled_is_there_as_csv_and_as_a_page(signed_in: Client, investor: Investor) -> None:
    now = timezone.now()
    loan = LoanFactory(reference="PL-0001", title="=cmd()", now=now)
    factories.settled(loan, "5000", investor=investor, now=now)
    factories.settled(loan, "7000", now=now)
    response = signed_in.get("/account/statement.csv")
    rows = list(csv.reader(response.content.decode().splitlines()))
    assert [row[:6] for row in rows[1:]] == [["PL-0001", "'=cmd()", "1", "5000.00", "8.50", "24"]]
    assert response.headers["Cache-Control"] == "private, no-store"
    assert "<b>$5,000.00</b>" in text(signed_in.get("/account/statement/"))


def test_a_new_password_ends_other_sessions_and_tokens(signed_in: Client, investor: Investor) -> None:
    other = Client()
    other.force_login(investor.user)
    headers = {"Authorization": f"Bearer {AuthToken.objects.create(investor.user)[1]}"}
    assert Client().get("/api/v1/portfolio/", headers=headers).status_code == 200
    new = {"old_password": PASSWORD, "new_password1": "another long one", "new_password2": "another long one"}
    assert signed_in.post("/account/password/", new | {"old_password": "wrong"}).status_code == 400
    assert signed_in.post("/account/password/", new).headers["Location"] == "/account/password/done/"
    assert signed_in.get("/account/password/done/").status_code == 200
    assert other.get("/account/").status_code == 302
    authentication.forget()
    assert Client().get("/api/v1/portfolio/", headers=headers).status_code == 401
