"""Waiting lists over HTTP: join, follow, leave, and what a refused reservation says of them."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from loans.models import Loan, WaitingListEntry
from loans.services.staff_overrides import cancel_by_staff
from tests.factories import STAFF, LoanFactory, reserved
from tests.loans.api.conftest import Caller, problem

FIELDS = {"id", "loan", "amount", "at_least", "state", "list_position", "dollars_before", "reservation", "joined_at", "ended_at"}


@pytest.fixture
def full(loan: Loan) -> Loan:
    """A loan of which nothing is available."""
    now = loan.opens_at
    assert now
    reserved(loan, loan.amount, now=now)
    reserved(loan, loan.amount / 5, now=now)
    return loan


def join(investor: Caller, loan: Loan, amount: str = "5000.00", key: str | None = None, **more: Any) -> Any:
    return investor.post(f"loans/{loan.reference}/waiting-list/", {"amount": amount, **more}, key=key)


def test_from_waiting_to_a_reservation(full: Loan, investor: Caller, new_investor: Callable[..., Caller]) -> None:
    first = join(new_investor(), full, "10000.00").json()
    assert (first["list_position"], first["dollars_before"]) == (1, "0.00")
    joined = join(investor, full, at_least="2000.00")
    assert joined.status_code == 201
    body = joined.json()
    assert set(body) == FIELDS
    assert (body["loan"], body["amount"], body["at_least"], body["state"]) == (full.reference, "5000.00", "2000.00", "waiting")
    assert (body["list_position"], body["dollars_before"], body["reservation"], body["ended_at"]) == (2, "10000.00", None, None)
    assert investor.get("waiting-list/").json()["results"] == [body]

    refused = investor.post(f"loans/{full.reference}/reservations/", {"amount": "1000.00"})
    assert problem(refused) == (409, "over_limit")
    assert refused.json()["waiting_list"] == {"entries": 2, "dollars": "15000.00"}

    held = full.reservations.get(number=2)
    cancel_by_staff(reservation_id=held.pk, actor=STAFF, reason="asked for")
    (placed,) = investor.get("waiting-list/").json()["results"]
    assert (placed["state"], placed["list_position"], placed["dollars_before"]) == ("placed", None, None)
    reservation = investor.get(f"reservations/{placed['reservation']}/").json()
    assert (reservation["amount"], reservation["state"], reservation["created_at"]) == ("5000.00", "reserved", placed["ended_at"])
    assert investor.get(f"loans/{full.reference}/").json()["available"] == "5000.00"


def test_joining_a_loan_with_room_makes_the_reservation_at_once(loan: Loan, investor: Caller) -> None:
    body = join(investor, loan).json()
    assert body["state"] == "placed"
    assert investor.get(f"reservations/{body['reservation']}/").json()["amount"] == "5000.00"


def test_leaving(full: Loan, investor: Caller, new_investor: Callable[..., Caller]) -> None:
    path = f"waiting-list/{join(investor, full).json()['id']}/leave/"
    assert problem(new_investor().post(path)) == (404, "not_found")
    left = investor.post(path)
    assert (left.status_code, left.json()["state"], left.json()["list_position"]) == (200, "left", None)
    assert investor.post(path).json() == left.json()
    assert problem(investor.post(f"waiting-list/{uuid4()}/leave/")) == (404, "not_found")
    again = join(investor, full).json()
    WaitingListEntry.objects.filter(pk=again["id"]).update(state="removed", ended_at=full.opens_at)
    assert problem(investor.post(f"waiting-list/{again['id']}/leave/")) == (409, "illegal_transition")


def test_a_repeat_with_the_same_key_joins_once(full: Loan, investor: Caller) -> None:
    first, again = join(investor, full, key="k"), join(investor, full, key="k")
    assert (again.json(), again.headers["Idempotency-Replayed"]) == (first.json(), "true")
    assert problem(join(investor, full, "6000.00", key="k")) == (422, "idempotency_key_reused")
    assert join(investor, full).json() == first.json()
    assert problem(join(investor, full, "6000.00")) == (409, "illegal_transition")


def test_what_is_refused(full: Loan, investor: Caller, anyone: Caller) -> None:
    assert problem(join(anyone, full)) == (401, "not_authenticated")
    assert problem(join(investor, full, "999.99")) == (400, "below_minimum")
    assert problem(join(investor, full, at_least="5000.01")) == (400, "invalid")
    assert problem(join(investor, full, str(full.amount + 1))) == (400, "invalid")
    assert problem(investor.post("loans/NONE/waiting-list/", {"amount": "5000.00"})) == (404, "not_found")
    assert WaitingListEntry.objects.count() == 0


def test_the_list_is_filtered(full: Loan, investor: Caller) -> None:
    other = LoanFactory(now=full.opens_at)
    join(investor, full)
    join(investor, other)

    def states(**parameters: str) -> list[str]:
        return [entry["state"] for entry in investor.get("waiting-list/", **parameters).json()["results"]]

    assert states() == ["placed", "waiting"]
    assert states(loan=full.reference) == states(state="waiting") == ["waiting"]
    assert investor.get("waiting-list/", state="gone").json()["errors"].keys() == {"state"}
    assert Decimal(investor.get("waiting-list/", loan=other.reference).json()["results"][0]["amount"]) == 5_000
