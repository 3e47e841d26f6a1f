"""Standing orders over HTTP: keep, follow, pause and end them, see what openings gave, and preview criteria."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from loans.models import StandingOrder
from loans.services.loans import announce_loan, open_loan
from tests.factories import STAFF, DraftFactory
from tests.loans.api.conftest import Caller, problem

WANTED: dict[str, Any] = {"states": ["CA", "WA"], "least_rate": "8.00", "amount": "5000.00", "at_least": "1000.00", "cap": "50000.00"}


def keep(investor: Caller, key: str | None = None, **changes: Any) -> Any:
    return investor.post("standing-orders/", {name: value for name, value in (WANTED | changes).items() if value is not None}, key=key)


def opened(**fields: Any) -> str:
    draft = DraftFactory(now=timezone.now(), **fields)
    open_loan(reference=draft.reference, actor=STAFF)
    return str(draft.reference)


def test_from_an_order_to_a_reservation_and_what_each_opening_gave(investor: Caller) -> None:
    created = keep(investor)
    assert created.status_code == 201
    order = created.json()
    assert order == {
        "id": order["id"],
        "states": ["CA", "WA"],
        "metros": [],
        "least_rate": "8.00",
        "greatest_ltv": None,
        "longest_term_months": None,
        "amount": "5000.00",
        "at_least": "1000.00",
        "cap": "50000.00",
        "used": "0.00",
        "state": "active",
        "line_position": 1,
        "created_at": order["created_at"],
        "ended_at": None,
    }
    cheap, dear = opened(annual_rate="7.00"), opened()
    assert investor.get("standing-orders/").json()["results"] == [order | {"used": "5000.00"}]
    (reservation,) = investor.get("reservations/").json()["results"]
    newest, oldest = investor.get(f"standing-orders/{order['id']}/openings/").json()["results"]
    assert newest == {
        "loan": dear,
        "at": reservation["created_at"],
        "amount": "5000.00",
        "reservation": reservation["id"],
        "obstacle": None,
    }
    assert (oldest["loan"], oldest["amount"], oldest["reservation"], oldest["obstacle"]) == (cheap, None, None, "rate")


def test_an_order_is_paused_resumed_and_ended(investor: Caller) -> None:
    order = keep(investor).json()
    for act, state, position in (("pause", "paused", None), ("resume", "active", 1), ("end", "ended", None)):
        for _ in range(2):
            changed = investor.post(f"standing-orders/{order['id']}/{act}/", {})
            assert (changed.status_code, changed.json()["state"], changed.json()["line_position"]) == (200, state, position)
    assert problem(investor.post(f"standing-orders/{order['id']}/pause/", {})) == (409, "illegal_transition")
    assert investor.get("standing-orders/?state=active").json()["results"] == []
    assert investor.get(f"standing-orders/{order['id']}/").json()["ended_at"] is not None


def test_the_same_request_with_the_same_key_keeps_one_order(investor: Caller) -> None:
    key = str(uuid4())
    first, again = keep(investor, key), keep(investor, key)
    assert first.json() == again.json()
    assert StandingOrder.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"states": ["ca"]}, "states"),
        ({"states": "CA"}, "states"),
        ({"metros": ["Los Angeles"]}, "metros"),
        ({"least_rate": "-1"}, "least_rate"),
        ({"greatest_ltv": "101"}, "greatest_ltv"),
        ({"longest_term_months": 0}, "longest_term_months"),
        ({"amount": "0.00"}, "amount"),
        ({"cap": "x"}, "cap"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(investor: Caller, changes: dict[str, Any], field: str) -> None:
    refused = keep(investor, **changes)
    assert problem(refused) == (400, "invalid")
    assert field in refused.json()["errors"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"at_least": "5000.01"}, (400, "invalid")), ({"at_least": "999.00"}, (400, "below_minimum")), ({"cap": "999.00"}, (400, "invalid"))],
)
def test_dollars_that_no_loan_could_serve_are_refused(investor: Caller, changes: dict[str, Any], expected: tuple[int, str]) -> None:
    refused = keep(investor, **changes)
    assert refused.json()["code"] == expected[1]


def test_a_preview_says_which_loans_would_have_matched_and_keeps_nothing(investor: Caller) -> None:
    cheap, dear = opened(annual_rate="7.00"), opened()
    body = investor.post("standing-orders/preview/", {"least_rate": "8.00"}).json()
    assert body["matching"] == 1
    assert [(each["loan"], each["obstacle"]) for each in body["loans"]] == [(dear, None), (cheap, "rate")]
    assert not StandingOrder.objects.exists()


def test_an_upcoming_loan_is_listed_with_its_opening_and_takes_no_reservation(investor: Caller) -> None:
    opens_at = timezone.now() + timedelta(days=1)
    loan = announce_loan(reference=DraftFactory(now=timezone.now()).reference, opens_at=opens_at, actor=STAFF)
    (listed,) = investor.get("loans/?status=upcoming").json()["results"]
    assert (listed["reference"], listed["status"], listed["remaining"]) == (loan.reference, "upcoming", "100000.00")
    assert investor.get(f"loans/{loan.reference}/").json()["available"] == "0.00"
    refused = investor.post(f"loans/{loan.reference}/reservations/", {"amount": "5000.00"})
    assert problem(refused) == (409, "loan_not_open")
    assert (refused.json()["loan_status"], "it opens at" in refused.json()["detail"]) == ("upcoming", True)
