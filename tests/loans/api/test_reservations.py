"""An investor's reservations over HTTP: every step, every error, every list."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from loans.domain.actors import Actor
from loans.models import Loan, Reservation
from loans.services.bank_events import Notice, record_bank_event
from loans.services.loans import withdraw_loan
from loans.services.settlement import settle_loans
from tests.factories import STAFF
from tests.loans.api.conftest import Caller, problem

FIELDS = {"id", "loan", "amount", "settled_amount", "state", "cause", "created_at", "expires_at", "transfer", "refund"}


def reserve(investor: Caller, loan: Loan, amount: Any = "5000.00") -> Any:
    return investor.post(f"loans/{loan.reference}/reservations/", {"amount": amount})


def settle(loan: Loan, step: Any) -> None:
    """Report the money of the started transfer as the bank, and settle the loan."""
    transfer = step.json()["transfer"]
    now = Reservation.objects.get(pk=step.json()["id"]).created_at
    record_bank_event(Notice(str(uuid4()), "transfer.cleared", transfer["reference"], Decimal(step.json()["amount"]), now))
    settle_loans([loan.pk])


def test_at_least(investor: Caller, loan: Loan) -> None:
    path = f"loans/{loan.reference}/reservations/"
    too_much = investor.post(path, {"amount": "5000.00", "at_least": "5000.01"})
    assert (problem(too_much), too_much.json()["errors"]) == ((400, "invalid"), {"at_least": ["Give at most the amount."]})
    amount = str(loan.amount + 1)
    assert problem(investor.post(path, {"amount": amount, "at_least": amount})) == (409, "over_limit")
    made = investor.post(path, {"amount": amount, "at_least": "1000.00"})
    assert (made.status_code, Decimal(made.json()["amount"])) == (201, loan.amount)


def test_from_reserved_to_settled(investor: Caller, loan: Loan) -> None:
    made = reserve(investor, loan)
    assert made.status_code == 201
    body = made.json()
    assert set(body) == FIELDS
    assert (body["loan"], body["amount"], body["state"], body["cause"]) == (loan.reference, "5000.00", "reserved", None)
    assert (body["transfer"], body["refund"]) == (None, None)
    path = f"reservations/{body['id']}/"
    assert investor.get(path).json() == body | {"number": 1, "queue_position": 1}
    assert investor.get(path.replace(body["id"], body["id"].upper())).json()["id"] == body["id"]
    assert investor.get(path, year="2026").json()["errors"] == {"year": ["There is no such parameter. Known parameters: none."]}

    started = investor.post(path + "transfer/", {"method": "wire"})
    assert (started.status_code, started.json()["state"]) == (200, "pending")
    assert started.json()["transfer"]["method"] == "wire"
    assert investor.post(path + "transfer/", {"method": "wire"}).json() == started.json()
    other_way = investor.post(path + "transfer/", {"method": "ach"})
    assert problem(other_way) == (409, "illegal_transition")
    assert other_way.json()["state"] == "pending"

    settle(loan, started)
    settled = investor.get(path).json()
    assert (settled["state"], settled["settled_amount"], settled["queue_position"]) == ("settled", "5000.00", None)
    assert settled["transfer"]["status"] == "cleared"
    events = [row["event"] for row in investor.get(path + "history/").json()["results"]]
    assert events == ["reserved", "transfer_started", "initiated", "cleared", "funded", "settled"]
    assert problem(investor.post(path + "cancel/")) == (409, "illegal_transition")


def test_canceling(investor: Caller, loan: Loan) -> None:
    path = f"reservations/{reserve(investor, loan).json()['id']}/cancel/"
    canceled = investor.post(path)
    assert (canceled.status_code, canceled.json()["state"], canceled.json()["cause"]) == (200, "canceled", "canceled_by_investor")
    assert canceled.json()["expires_at"] is None
    assert investor.post(path).json() == canceled.json()
    assert investor.client.generic("POST", f"/api/v1/{path}", headers=investor.headers).status_code == 200  # no body at all


def test_a_refund_is_shown(investor: Caller, loan: Loan) -> None:
    path = f"reservations/{reserve(investor, loan).json()['id']}/"
    settle(loan, investor.post(path + "transfer/", {"method": "ach"}))
    withdraw_loan(reference=loan.reference, actor=Actor("staff"), reason="a test")
    assert investor.get(path).json()["refund"] == {"amount": "5000.00", "status": "due"}


@pytest.mark.parametrize("amount", ["5000.00", "5000.5", "5000", 5000, 5000.5, "005000"])
def test_amounts_that_are_accepted(investor: Caller, loan: Loan, amount: Any) -> None:
    assert reserve(investor, loan, amount).json()["amount"] == f"{Decimal(str(amount)):.2f}"


@pytest.mark.parametrize(
    "amount",
    [
        '"1000.001"', "1000.001", '"1e3"', "1e3", "1E+4", '"NaN"', "NaN", '"Infinity"', "Infinity", "-Infinity", '"-1000"', "-1000",
        "1" + "0" * 30, f'"{10**30}"', "1e30", "1e99999999999999999999", "true", "false", "0", '"0.00"', "null", "[]", "{}", '""',
        '" 1000"',
        '"1_000"', '"1,000"', '"١٠٠٠"', '"$1000"', '"0x10"', "1000.100",
    ],
)  # fmt: skip
def test_amounts_that_are_refused(investor: Caller, loan: Loan, amount: str) -> None:
    answer = investor.post(f"loans/{loan.reference}/reservations/", f'{{"amount": {amount}}}')
    assert problem(answer) == (400, "invalid")
    assert answer.json()["errors"].keys() <= {"amount", "non_field_errors"}
    assert not Reservation.objects.exists()


@pytest.mark.parametrize(
    "body", ["", "{", "[]", '"x"', "1", "{}", '{"amount": "5000.00", "ammount": 1}', "[" * 60_000, "1" * 10_000, b"\xff"]
)
def test_bodies_that_are_refused(investor: Caller, loan: Loan, body: Any) -> None:
    assert problem(investor.post(f"loans/{loan.reference}/reservations/", body)) == (400, "invalid")
    unknown = investor.post(f"loans/{loan.reference}/reservations/", {"amount": "5000.00", "ammount": 1})
    assert list(unknown.json()["errors"]) == ["ammount"]


@pytest.mark.parametrize("until", [None, date(2020, 1, 1)])
def test_not_accredited(new_investor: Callable[..., Caller], loan: Loan, until: date | None) -> None:
    assert problem(reserve(new_investor(accredited_until=until), loan)) == (403, "not_accredited")


def test_a_loan_that_is_not_open(investor: Caller, loan: Loan) -> None:
    withdraw_loan(reference=loan.reference, actor=STAFF, reason="a test")
    answer = reserve(investor, loan)
    assert problem(answer) == (409, "loan_not_open")
    assert answer.json()["loan_status"] == "withdrawn"


def test_an_expired_reservation(investor: Caller, loan: Loan) -> None:
    reservation = reserve(investor, loan).json()
    lapsed = Reservation.objects.get().created_at - timedelta(hours=1)
    Reservation.objects.update(expires_at=lapsed)
    for path, body in (("transfer/", {"method": "ach"}), ("cancel/", {})):
        answer = investor.post(f"reservations/{reservation['id']}/{path}", body)
        assert problem(answer) == (409, "reservation_expired")
        assert answer.json()["expired_at"]
    assert investor.get(f"reservations/{reservation['id']}/").json()["queue_position"] is None


def test_an_unknown_reservation_or_one_of_another_investor(investor: Caller, new_investor: Callable[..., Caller], loan: Loan) -> None:
    reservation = reserve(new_investor(), loan).json()
    for reservation_id in (reservation["id"], uuid4()):
        path = f"reservations/{reservation_id}/"
        answers = [investor.get(path), investor.get(path + "history/")]
        answers += [investor.post(path + "transfer/", {"method": "ach"}), investor.post(path + "cancel/")]
        assert {problem(answer) for answer in answers} == {(404, "not_found")}
    assert problem(investor.get("reservations/1/")) == (404, "not_found")
    assert problem(investor.post("loans/NO-SUCH/reservations/", {"amount": "5000"})) == (404, "not_found")
    assert Reservation.objects.get().state == "reserved"


@pytest.mark.parametrize("body", [{}, {"method": "cash"}, {"method": None}, {"method": "ach", "when": "now"}])
def test_no_such_method(investor: Caller, loan: Loan, body: Any) -> None:
    path = f"reservations/{reserve(investor, loan).json()['id']}/transfer/"
    assert problem(investor.post(path, body)) == (400, "invalid")


def test_the_list_is_newest_first(investor: Caller, new_investor: Callable[..., Caller], new_loan: Callable[..., Loan]) -> None:
    loans = [new_loan(), new_loan()]
    mine = [reserve(investor, loan).json() for loan in (*loans, *loans)]
    reserve(new_investor(), loans[0])
    investor.post(f"reservations/{mine[0]['id']}/cancel/")
    page = investor.get("reservations/", page_size=3).json()
    rest = investor.get(page["next"]).json()
    assert [row["id"] for row in page["results"] + rest["results"]] == [row["id"] for row in reversed(mine)]
    assert rest["next"] is None
    assert set(page["results"][0]) == FIELDS
    assert len(investor.get("reservations/", loan=loans[0].reference, state="reserved").json()["results"]) == 1
    assert problem(investor.get("reservations/", state="gone")) == (400, "invalid")
    assert problem(investor.get("reservations/", colour="red")) == (400, "invalid")


def test_queries_do_not_grow_with_the_list(investor: Caller, loan: Loan) -> None:
    reservations = [reserve(investor, loan).json() for _ in range(4)]
    for reservation in reservations:
        investor.post(f"reservations/{reservation['id']}/transfer/", {"method": "ach"})
    for path, most in (("reservations/", 2), (f"reservations/{reservations[0]['id']}/history/", 2), ("portfolio/", 1)):
        with CaptureQueriesContext(connection) as queries:
            assert investor.get(path).status_code == 200
        assert len(queries) == most, path


def test_a_reservation_is_one_statement_after_the_token(investor: Caller, loan: Loan) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert reserve(investor, loan).status_code == 201
    # The savepoint is there only because the test is a transaction.
    assert len([query for query in queries if "SAVEPOINT" not in query["sql"]]) == 2


def test_shared_caches_keep_no_private_answers(investor: Caller, loan: Loan) -> None:
    made = reserve(investor, loan)
    assert made.headers["Cache-Control"] == "no-store"
    shown = investor.get(f"reservations/{made.json()['id']}/")
    assert shown.headers["Cache-Control"] == "private, no-cache"
    assert investor.get(f"reservations/{made.json()['id']}/", headers={"If-None-Match": shown.headers["ETag"]}).status_code == 304


def test_the_portfolio(investor: Caller, new_loan: Callable[..., Loan]) -> None:
    here, elsewhere = new_loan(), new_loan()
    Loan.objects.filter(pk=here.pk).update(market_cbsa="31080", market_msa="Los Angeles-Long Beach-Anaheim, CA")
    settle(here, investor.post(f"reservations/{reserve(investor, here, 3000).json()['id']}/transfer/", {"method": "ach"}))
    reserve(investor, elsewhere, 1000)
    lapsed = reserve(investor, elsewhere, 7000).json()
    Reservation.objects.filter(pk=lapsed["id"]).update(expires_at=Reservation.objects.get(pk=lapsed["id"]).created_at)
    assert investor.get("portfolio/").json() == {
        "held": "4000.00",
        "by_state": [
            {"state": "reserved", "count": 1, "amount": "1000.00"},
            {"state": "pending", "count": 0, "amount": "0.00"},
            {"state": "settled", "count": 1, "amount": "3000.00"},
            {"state": "canceled", "count": 1, "amount": "7000.00"},
        ],
        "by_loan": [
            {"loan": loan.reference, "title": loan.title, "reserved": reserved, "pending": "0.00", "settled": settled, "held": held}
            for loan, reserved, settled, held in sorted(
                [(here, "0.00", "3000.00", "3000.00"), (elsewhere, "1000.00", "0.00", "1000.00")], key=lambda row: row[0].reference
            )
        ],
        "by_market": [
            {"market": {"cbsa": "31080", "msa": "Los Angeles-Long Beach-Anaheim, CA"}, "held": "3000.00", "share": "0.7500"},
            {"market": None, "held": "1000.00", "share": "0.2500"},
        ],
    }


def test_an_empty_portfolio(investor: Caller) -> None:
    body = investor.get("portfolio/").json()
    assert (body["held"], body["by_loan"], body["by_market"]) == ("0.00", [], [])
