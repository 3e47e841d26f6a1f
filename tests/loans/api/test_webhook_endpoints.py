"""Investors manage the webhook endpoints of their own systems, and no others."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.utils import timezone
from standardwebhooks import Webhook

from loans.api import examples
from loans.models import Delivery, Loan, WebhookEndpoint
from loans.notifications import deliveries, outbox
from loans.notifications.endpoints import MOST_ENABLED
from tests.loans.api.conftest import Caller, problem
from tests.loans.notifications.listener import Listener

URL = "https://hooks.example.org/peerloans"


def add(caller: Caller, url: str = URL) -> dict[str, Any]:
    made = caller.post("webhook-endpoints/", {"url": url})
    assert made.status_code == 201, made.content
    body: dict[str, Any] = made.json()
    return body


def test_a_secret_is_shown_once(investor: Caller) -> None:
    made = add(investor)
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    listed = investor.get("webhook-endpoints/")
    assert listed.json() == {"results": [made]}
    assert secret not in listed.content.decode()


@pytest.mark.parametrize(
    "url", ["http://hooks.example.org/", "https://127.0.0.1/", "https://10.0.0.1:8443/x", "ftp://example.org/", "nonsense"]
)
def test_a_url_that_is_never_called_is_refused(investor: Caller, url: str) -> None:
    refused = investor.post("webhook-endpoints/", {"url": url})
    assert problem(refused) == (400, "invalid")
    assert list(refused.json()["errors"]) == ["url"]
    assert not WebhookEndpoint.objects.exists()


def test_at_most_five_are_enabled(investor: Caller) -> None:
    made = [add(investor) for _ in range(MOST_ENABLED)]
    assert problem(investor.post("webhook-endpoints/", {"url": URL})) == (400, "invalid")
    first = f"webhook-endpoints/{made[0]['id']}"
    assert investor.post(f"{first}/disable/").json()["enabled"] is False
    add(investor)
    assert problem(investor.post(f"{first}/enable/")) == (400, "invalid")
    assert investor.post(f"{first}/disable/").status_code == 200  # a repeat


def test_nobody_else_sees_or_changes_them(investor: Caller, new_investor: Callable[..., Caller]) -> None:
    endpoint = add(investor)["id"]
    other = new_investor()
    for path in ("test/", "rotate/", "disable/", "enable/", "deliveries/1/send-again/"):
        assert problem(other.post(f"webhook-endpoints/{endpoint}/{path}")) == (404, "not_found")
    assert problem(other.get(f"webhook-endpoints/{endpoint}/deliveries/")) == (404, "not_found")
    assert other.get("webhook-endpoints/").json() == {"results": []}
    assert problem(investor.post(f"webhook-endpoints/{2**70}/rotate/")) == (404, "not_found")
    assert investor.token_with(["read", "reserve"]).post(f"webhook-endpoints/{endpoint}/rotate/").json()["needed_scope"] == "account"


def test_a_test_message_says_what_came_of_it(investor: Caller, listener: Listener) -> None:
    secret = WebhookEndpoint.objects.create(investor=investor.investor, url=listener.url).secret
    test = f"webhook-endpoints/{WebhookEndpoint.objects.get().pk}/test/"
    assert investor.post(test).json() == {"delivered": True, "error": None}
    ((headers, body),) = listener.got
    message = Webhook(secret).verify(body, headers)
    assert message == examples.TEST_MESSAGE | {"timestamp": message["timestamp"], "data": {"endpoint": WebhookEndpoint.objects.get().pk}}
    assert message["timestamp"].endswith("Z")
    listener.status = 503
    assert investor.post(test).json() == {"delivered": False, "error": "The answer was 503."}
    cache.add(f"webhook-test:{investor.investor.pk}", 1)  # as if another were under way
    assert problem(investor.post(test)) == (409, "busy")


def test_both_secrets_sign_for_a_day_after_a_rotation(investor: Caller, listener: Listener) -> None:
    endpoint = WebhookEndpoint.objects.create(investor=investor.investor, url=listener.url)
    former = endpoint.secret
    rotated = investor.post(f"webhook-endpoints/{endpoint.pk}/rotate/").json()
    assert rotated["secret"] != former
    investor.post(f"webhook-endpoints/{endpoint.pk}/test/")
    ((headers, body),) = listener.got
    for secret in (former, rotated["secret"]):
        assert Webhook(secret).verify(body, headers)
    endpoint.refresh_from_db()
    assert endpoint.secrets(timezone.now() + timedelta(hours=25)) == [rotated["secret"]]


def test_what_was_sent_is_listed_and_sent_again(investor: Caller, loan: Loan, listener: Listener) -> None:
    endpoint = WebhookEndpoint.objects.create(investor=investor.investor, url=listener.url)
    investor.post(f"loans/{loan.reference}/reservations/", {"amount": 1000})
    outbox.fan_out_all()
    deliveries.deliver_due()
    path = f"webhook-endpoints/{endpoint.pk}/deliveries/"
    (sent,) = investor.get(path).json()["results"]
    assert (sent["type"], sent["status"], sent["attempts"], sent["event"]) == (
        "reservation.reserved",
        "sent",
        1,
        listener.got[0][0]["webhook-id"],
    )
    for _ in range(2):
        assert investor.post(f"{path}{sent['id']}/send-again/").json()["status"] == "waiting"
    deliveries.deliver_due()
    assert [headers["webhook-id"] for headers, _ in listener.got] == [sent["event"]] * 2
    assert Delivery.objects.get(endpoint=endpoint).status == "sent"
    assert problem(investor.post(f"{path}{2**70}/send-again/")) == (404, "not_found")
