"""Many reservations in one request: each is decided by itself, or all or none are made."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from loans.models import Loan, Reservation
from tests.factories import LoanFactory
from tests.loans.api.conftest import Caller, problem


@pytest.fixture
def loans(db: None) -> list[Loan]:
    return [LoanFactory(now=timezone.now(), amount=10_000, overbooking_rate=0) for _ in range(3)]


def batch(caller: Caller, loans: list[Loan], amounts: list[object], key: str | None = None, **more: Any) -> Any:
    orders = [{"loan": loan.reference, "amount": amount} for loan, amount in zip(loans, amounts, strict=True)]
    return caller.post("reservations/batch/", {"orders": orders, **more}, key=key)


def test_each_is_decided_by_itself_and_answered_in_its_place(investor: Caller, loans: list[Loan]) -> None:
    orders = [
        {"loan": loans[2].reference, "amount": 4_000},
        {"loan": loans[0].reference, "amount": 500},
        {"loan": "PL-NONE", "amount": 4_000},
        {"loan": loans[2].reference, "amount": 9_000, "at_least": 2_000},
        {"loan": loans[2].reference, "amount": 1_000},
    ]
    results = investor.post("reservations/batch/", {"orders": orders}).json()["results"]
    assert [result["problem"] and result["problem"]["code"] for result in results] == [
        None,
        "below_minimum",
        "not_found",
        None,
        "over_limit",
    ]
    assert [result["reservation"] and result["reservation"]["amount"] for result in results] == ["4000.00", None, None, "6000.00", None]
    made = [result["reservation"]["id"] for result in results if result["reservation"]]
    assert {str(pk) for pk in Reservation.objects.values_list("pk", flat=True)} == set(made)
    assert results[1]["problem"] == investor.post(f"loans/{loans[0].reference}/reservations/", {"amount": 500}).json()


def test_all_or_nothing(investor: Caller, loans: list[Loan]) -> None:
    refused = batch(investor, loans, [2_000, 20_000, 500], all_or_nothing=True)
    assert (problem(refused), refused.json()["index"]) == ((409, "over_limit"), 1)
    assert not Reservation.objects.exists()
    made = batch(investor, loans, [2_000, 3_000, 4_000], all_or_nothing=True)
    assert [result["reservation"]["amount"] for result in made.json()["results"]] == ["2000.00", "3000.00", "4000.00"]


def test_a_key_is_for_the_whole(investor: Caller, loans: list[Loan]) -> None:
    first = batch(investor, loans, [2_000, 500, 4_000], key="once")
    again = batch(investor, loans, [2_000, 500, 4_000], key="once")
    assert (again.json(), again.headers["Idempotency-Replayed"]) == (first.json(), "true")
    assert problem(batch(investor, loans, [2_000, 500, 4_001], key="once")) == (422, "idempotency_key_reused")
    assert Reservation.objects.count() == 2


def test_a_dry_run_reserves_nothing_and_answers_the_same(investor: Caller, loans: list[Loan]) -> None:
    dry = batch(investor, loans, [2_000, 500, 4_000], dry_run=True).json()
    assert (dry["dry_run"], Reservation.objects.count()) == (True, 0)
    real = batch(investor, loans, [2_000, 500, 4_000]).json()
    assert [each["reservation"] and each["reservation"]["id"] for each in dry["results"]] == [None] * 3
    for one, other in zip(dry["results"], real["results"], strict=True):
        assert (one["problem"], one["reservation"] is None) == (other["problem"], other["reservation"] is None)
        assert not one["reservation"] or one["reservation"]["amount"] == other["reservation"]["amount"]


def test_it_needs_two_statements_more_than_its_parts(investor: Caller, loans: list[Loan]) -> None:
    investor.get("portfolio/")  # so that the token is remembered
    with CaptureQueriesContext(connection) as captured:
        batch(investor, loans * 3, [1_000] * 9)
    statements = [query["sql"] for query in captured.captured_queries if "SAVEPOINT" not in query["sql"]]
    assert len(statements) == 9 + 2  # the ids of the loans, and their locks


@pytest.mark.parametrize("orders", [[], [{}], [{"loan": "PL-1"}], [{"loan": "PL-1", "amount": 1_000}] * 101, "all"])
def test_a_batch_that_makes_no_sense_is_refused(investor: Caller, orders: object) -> None:
    assert problem(investor.post("reservations/batch/", {"orders": orders})) == (400, "invalid")
