"""Bank events over HTTP: which signatures are accepted, what is read, and what is answered."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from loans.models import BankEvent, Loan, Reservation, Transfer, Transition
from tests.loans.api.conftest import Caller, problem

OLD, NEW, STRANGE = ("whsec_" + text for text in ("b2xkb2xkb2xkb2xkb2xkb2xk", "bmV3bmV3bmV3bmV3bmV3bmV3", "c3RyYW5nZXN0cmFuZ2VzdHJh"))


@pytest.fixture(autouse=True)
def _secrets(settings: Any) -> None:
    settings.BANK_WEBHOOK_SECRETS = [NEW, OLD]


@pytest.fixture
def pending(investor: Caller, loan: Loan) -> str:
    """The reference to put on the payment of a pending reservation of 5,000 dollars."""
    reservation = investor.post(f"loans/{loan.reference}/reservations/", {"amount": 5000}).json()
    return str(investor.post(f"reservations/{reservation['id']}/transfer/", {"method": "wire"}).json()["transfer"]["reference"])


def event(reference: str, **facts: Any) -> dict[str, Any]:
    fields = {"id": "evt-1", "type": "transfer.cleared", "reference": reference, "amount": "5000.00"}
    return fields | {"occurred_at": "2026-03-02T15:00:00Z"} | facts


def send(body: Any, secret: str = NEW, at: datetime | None = None, **changed: str) -> Any:
    text, at = json.dumps(body), at or datetime.now(UTC)
    signed = {"webhook-id": "msg-1", "webhook-timestamp": str(int(at.timestamp()))}
    signed["webhook-signature"] = Webhook(secret).sign("msg-1", at, text)
    headers = {name: value for name, value in (signed | changed).items() if value}
    return Caller().post("bank-events/", text, headers=headers)


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_money_clears_once(pending: str, secret: str) -> None:
    for _ in range(2):
        answer = send(event(pending), secret)
        assert (answer.status_code, answer.json()) == (200, {"id": "evt-1", "outcome": "funded"})
    assert Reservation.objects.get().received == 5000
    assert Transfer.objects.get().status == "cleared"


def test_forgeries_write_nothing_and_do_not_block_a_true_event(pending: str) -> None:
    forged = [send(event(pending, id=f"evt-{number}"), STRANGE) for number in range(100)]
    assert {problem(answer) for answer in forged} == {(400, "invalid_signature")}
    assert not BankEvent.objects.exists()
    assert send(event(pending)).status_code == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"secret": STRANGE},
        {"at": datetime.now(UTC) - timedelta(hours=1)},
        {"at": datetime.now(UTC) + timedelta(hours=1)},
        {"webhook-id": "msg-2"},
        {"webhook-id": ""},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "soon"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,é"},
        {"webhook-signature": "v2,AAAA"},
    ],
)
def test_only_the_banks_signature_is_accepted(pending: str, changed: dict[str, Any]) -> None:
    assert problem(send(event(pending), **changed)) == (400, "invalid_signature")
    assert not BankEvent.objects.exists()


def test_a_body_that_is_not_text(pending: str) -> None:
    headers = {"webhook-id": "m", "webhook-timestamp": str(int(datetime.now(UTC).timestamp())), "webhook-signature": "v1,AAAA"}
    assert problem(Caller().post("bank-events/", b"\xff", headers=headers)) == (400, "invalid_signature")


@pytest.mark.parametrize(("debug", "status"), [(True, 200), (False, 400)])
def test_without_a_secret_events_are_accepted_in_debug_only(pending: str, settings: Any, debug: bool, status: int) -> None:
    settings.BANK_WEBHOOK_SECRETS, settings.DEBUG = [], debug
    assert Caller().post("bank-events/", event(pending)).status_code == status


@pytest.mark.parametrize("kind", ["transfer.cleared", "transfer.failed", "refund.paid"])
def test_an_unknown_reference_is_kept_for_staff(db: None, kind: str) -> None:
    answer = send(event("T-UNKNOWN", type=kind))
    assert (answer.status_code, answer.json()["outcome"]) == (202, "unknown_reference")
    assert BankEvent.objects.get().reference == "T-UNKNOWN"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", ""), ("id", "x" * 101), ("id", "a\0b"), ("type", "transfer.lost"), ("reference", None), ("amount", "-1"), ("amount", 0.001),
        ("occurred_at", "yesterday"), ("occurred_at", "2026-03-02T15:00:00"), ("occurred_at", "0001-01-01T00:00:00+14:00"), ("note", "hi"),
        ("occurred_at", "9999-12-31T23:59:59-05:00"), ("occurred_at", "1999-12-31T00:00:00Z"),
    ],
)  # fmt: skip
def test_a_malformed_event(db: None, field: str, value: Any) -> None:
    answer = send(event("T-1") | {field: value})
    assert problem(answer) == (400, "invalid")
    assert list(answer.json()["errors"]) == [field]


def test_sums_beyond_the_columns_are_refused_and_change_nothing(pending: str) -> None:
    assert send(event(pending, amount="999999999999.99")).status_code == 200
    before = Reservation.objects.values().get(), list(Transfer.objects.values()), Transition.objects.count()
    answer = send(event(pending, id="evt-2", amount="999999999999.99", occurred_at="2026-07-02T00:00:00Z"))
    assert problem(answer) == (400, "invalid")
    assert "more would have moved for one reservation than $999,999,999,999.99" in answer.json()["detail"]
    assert (Reservation.objects.values().get(), list(Transfer.objects.values()), Transition.objects.count()) == before
    assert BankEvent.objects.count() == 1
