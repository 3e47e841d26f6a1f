"""The pages on which an investor lets programs in: tokens, and webhook endpoints with what was sent to them."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.test import Client
from django.utils import timezone
from standardwebhooks import Webhook

from loans.models import Delivery, Investor, NamedToken, User, WebhookEndpoint
from loans.notifications import deliveries, outbox
from loans.notifications.endpoints import MOST_ENABLED
from loans.services.named_tokens import MOST_TOKENS
from tests.factories import InvestorFactory, LoanFactory, fresh, reserved
from tests.loans.notifications.listener import Listener

pytestmark = pytest.mark.django_db
TOKENS, WEBHOOKS = "/account/tokens/", "/account/webhooks/"
FORM = {"name": "Portfolio bot", "scopes": ["read"], "days": "7"}
URL = "https://hooks.example.org/peerloans"


@pytest.fixture
def investor(client: Client) -> Investor:
    investor = InvestorFactory()
    client.force_login(investor.user)
    return investor


@pytest.fixture
def endpoint(investor: Investor, listener: Listener) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(investor=investor, url=listener.url)


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", unescape(response.content.decode()))


def secret_in(response: Any) -> str:
    secret = re.search(r'<code class="secret">([^<]+)</code>', response.content.decode())
    assert secret
    return secret[1]


def portfolio(token: str) -> int:
    return Client().get("/api/v1/portfolio/", headers={"Authorization": f"Bearer {token}"}).status_code


# --- Tokens ---------------------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("investor")
def test_a_token_is_shown_once_works_and_is_revoked(client: Client) -> None:
    token = secret_in(client.post(TOKENS, FORM))
    named = NamedToken.objects.get()
    assert named.scopes == ["read"]
    assert abs(named.expires_at - named.created_at - timedelta(days=7)) < timedelta(minutes=1)
    listed = text(client.get(TOKENS))
    assert "Portfolio bot" in listed
    assert token not in listed
    assert portfolio(token) == 200
    assert client.post(f"{TOKENS}{named.pk}/revoke/").headers["Location"] == TOKENS
    assert portfolio(token) == 401
    assert "No program has a token of yours." in text(client.get(TOKENS))


@pytest.mark.usefixtures("investor")
def test_another_investors_token_is_neither_seen_nor_revoked(client: Client) -> None:
    client.post(TOKENS, FORM)
    other = Client()
    other.force_login(InvestorFactory().user)
    assert "Portfolio bot" not in text(other.get(TOKENS))
    assert other.post(f"{TOKENS}{NamedToken.objects.get().pk}/revoke/").status_code == 404
    assert NamedToken.objects.exists()


@pytest.mark.usefixtures("investor")
@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"scopes": []}, {"scopes": ["account"]}, {"days": "367"}, {"days": "0"}, {"name": "x" * 101}]
)
def test_a_form_that_is_wrong_makes_no_token(client: Client, wrong: dict[str, Any]) -> None:
    response = client.post(TOKENS, FORM | wrong)
    assert (response.status_code, response.content.decode().count('role="alert"')) == (400, 1)
    assert not NamedToken.objects.exists()


@pytest.mark.usefixtures("investor")
def test_more_tokens_than_there_may_be_are_refused(client: Client) -> None:
    for _ in range(MOST_TOKENS):
        client.post(TOKENS, FORM)
    refused = client.post(TOKENS, FORM)
    assert (refused.status_code, "Revoke one first." in text(refused)) == (400, True)
    assert NamedToken.objects.count() == MOST_TOKENS


def test_a_session_makes_no_token_once_the_password_has_changed(
    client: Client, investor: Investor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password changes after the session was checked and before the token is made."""
    get_user = "django.contrib.auth.middleware.get_user"

    def checked_just_before(request: Any) -> User:
        user = User.objects.select_related("investor").get(pk=request.session[SESSION_KEY])
        investor.user.set_password("another long password")
        investor.user.save()
        return user

    monkeypatch.setattr(get_user, checked_just_before)
    refused = client.post(TOKENS, FORM)
    assert (refused.status_code, "Log in again." in text(refused)) == (403, True)
    assert not NamedToken.objects.exists()


# --- Webhook endpoints ----------------------------------------------------------------------------------------------------
def test_an_endpoints_secret_is_shown_once(client: Client, investor: Investor) -> None:
    secret = secret_in(client.post(WEBHOOKS, {"url": URL}))
    endpoint = WebhookEndpoint.objects.get(investor=investor)
    assert (endpoint.url, endpoint.secret) == (URL, secret)
    for page in (WEBHOOKS, f"{WEBHOOKS}{endpoint.pk}/"):
        shown = text(client.get(page))
        assert URL in shown
        assert secret not in shown


@pytest.mark.usefixtures("investor")
@pytest.mark.parametrize("url", ["", "nonsense", "https://127.0.0.1/", "ftp://example.org/"])
def test_a_url_that_is_never_called_is_refused(client: Client, url: str, settings: Any) -> None:
    settings.WEBHOOKS_ALLOW_PRIVATE_NETWORKS = False
    response = client.post(WEBHOOKS, {"url": url})
    assert (response.status_code, response.content.decode().count('role="alert"')) == (400, 1)
    assert not WebhookEndpoint.objects.exists()


def test_at_most_five_are_enabled(client: Client, endpoint: WebhookEndpoint) -> None:
    page = f"{WEBHOOKS}{endpoint.pk}/"
    assert client.post(f"{page}disable/").headers["Location"] == page
    for _ in range(MOST_ENABLED):
        client.post(WEBHOOKS, {"url": URL})
    for refused in (client.post(WEBHOOKS, {"url": URL}), client.post(f"{page}enable/")):
        assert (refused.status_code, "Disable one first." in text(refused)) == (400, True)
    client.post(f"{WEBHOOKS}{WebhookEndpoint.objects.latest('pk').pk}/disable/")
    assert client.post(f"{page}enable/").headers["Location"] == page
    assert fresh(endpoint).enabled


def test_a_test_message_says_what_came_of_it(client: Client, endpoint: WebhookEndpoint, listener: Listener) -> None:
    test = f"{WEBHOOKS}{endpoint.pk}/test/"
    assert "The endpoint took the test message." in text(client.post(test))
    listener.status = 503
    assert "The test message was not taken. The answer was 503." in text(client.post(test))
    assert len(listener.got) == 2


def test_a_new_secret_is_shown_once_and_both_sign(client: Client, endpoint: WebhookEndpoint, listener: Listener) -> None:
    page = f"{WEBHOOKS}{endpoint.pk}/"
    secret = secret_in(client.post(f"{page}rotate/"))
    assert secret not in (shown := text(client.get(page)))
    assert "is signed with the former secret, too" in shown
    client.post(f"{page}test/")
    ((headers, body),) = listener.got
    for valid in (endpoint.secret, secret):
        assert Webhook(valid).verify(body, headers)
    WebhookEndpoint.objects.update(former_secret_until=timezone.now() - timedelta(seconds=1))
    assert "former secret" not in text(client.get(page))


def test_what_was_sent_is_listed_and_sent_again(client: Client, endpoint: WebhookEndpoint, listener: Listener) -> None:
    reserved(LoanFactory(now=timezone.now()), investor=endpoint.investor, now=timezone.now())
    outbox.fan_out_all()
    deliveries.deliver_due()
    delivery, page = Delivery.objects.get(endpoint=endpoint), f"{WEBHOOKS}{endpoint.pk}/"
    assert "reservation.reserved" in (shown := text(client.get(page)))
    assert "Send again" in shown
    assert client.post(f"{page}deliveries/{delivery.pk}/send-again/").headers["Location"] == page
    assert "Send again" not in text(client.get(page)), "it waits"
    deliveries.deliver_due()
    assert len(listener.got) == 2


def test_nobody_else_sees_or_changes_them(endpoint: WebhookEndpoint) -> None:
    other = Client()
    other.force_login(InvestorFactory().user)
    page = f"{WEBHOOKS}{endpoint.pk}/"
    assert other.get(page).status_code == 404
    for what in ("test/", "rotate/", "disable/", "enable/", "deliveries/1/send-again/"):
        assert other.post(f"{page}{what}").status_code == 404, what
    assert endpoint.url not in text(other.get(WEBHOOKS))
    assert (fresh(endpoint).secret, fresh(endpoint).enabled) == (endpoint.secret, True)
