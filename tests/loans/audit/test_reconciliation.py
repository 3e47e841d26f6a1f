"""Each breach is planted with raw SQL, behind constraints that the test's own transaction has dropped."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django_redis import get_redis_connection

from loans.audit import reconciliation
from loans.audit.reconciliation import find_breaches
from loans.models import Loan, Reservation, ReviewItem
from loans.services.closing_values import record_due_closing_values, refresh_remaining_cache
from loans.services.settlement import settle_ahead_of_turn, settle_loans
from loans.services.staff_overrides import cancel_by_staff
from tests.loans import stage
from tests.loans.stage import MONDAY

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    cache.delete_pattern("*")


def sql(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def without_constraints(table: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c'", [table])
        for (name,) in cursor.fetchall():
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        cursor.execute("DROP INDEX IF EXISTS transfer_initiated_once")


@pytest.fixture
def market() -> dict[str, Any]:
    """An open loan with a reservation in every state, and a funded loan with a settled piece."""
    loan, funded = stage.open_loan(), stage.open_loan(amount=Decimal(3000))
    reservations = {
        "settled": stage.funded_reservation(loan, 2000),
        "funded": stage.funded_reservation(loan, 1500),
        "canceled": stage.funded_reservation(loan, 1100),
        "pending": stage.start(stage.reserve(loan, 1200)),
        "reserved": stage.reserve(loan, 1000),
        "whole": stage.funded_reservation(funded, 3000),
    }
    settle_loans([funded.pk], now=MONDAY)
    settle_ahead_of_turn(reservation_id=reservations["settled"].pk, actor=stage.STAFF, reason="first", now=MONDAY)
    cancel_by_staff(reservation_id=reservations["canceled"].pk, actor=stage.STAFF, reason="asked for", now=MONDAY)
    # A second payment, its refund paid and then taken back, so that there are losses too.
    stage.tell(reservations["funded"], "transfer.cleared", 300)
    stage.tell(reservations["funded"], "refund.paid")
    stage.tell(reservations["funded"], "transfer.failed", 300)
    return {"loan": loan, "whole_loan": funded} | reservations


def review_items(kind: str = "breach") -> list[ReviewItem]:
    return list(ReviewItem.objects.filter(kind=kind, resolved_at=None).order_by("id"))


def test_what_the_services_wrote_adds_up(market: dict[str, Any]) -> None:
    assert find_breaches(MONDAY + HOUR) == 0
    assert review_items() == []


def lift(column: str, by: str, of: str, table: str = "loans_reservation") -> Callable[[dict[str, Any]], None]:
    return lambda market: sql(f"UPDATE {table} SET {column} = {by} WHERE id = %s", market[of].pk)


def transfer_of(of: str, change: str) -> Callable[[dict[str, Any]], None]:
    return lambda market: sql(f"UPDATE loans_transfer SET {change} WHERE reservation_id = %s", market[of].pk)


LOAN, MONEY = "loans_loan", "loans_transfer"
# What is planted, whose review_item it is, what the review item says, and the amounts that it names.
PLANTED = {
    "settled sum": (lift("settled", "2500", "loan", LOAN), "loan", "settled sum is that", ["2000.00 expected", "2500.00 found"]),
    "claimed sum": (lift("claimed", "claimed - 1", "loan", LOAN), "loan", "claimed sum", ["3700.00 expected", "3699.00 found"]),
    "last_number": (
        lift("last_number", "9", "loan", LOAN),
        "loan",
        "numbered without a gap",
        ["9 numbers given expected", "5 reservations"],
    ),
    "settled beyond amount": (lift("amount", "1999", "loan", LOAN), "loan", "within its amount", ["at most 1999.00", "2000.00"]),
    "open and all settled": (lift("amount", "2000", "loan", LOAN), "loan", "funded if and only if", ["funded expected", "open found"]),
    "funded and not settled": (
        lift("amount", "3500", "whole_loan", LOAN),
        "whole_loan",
        "funded if and only if",
        ["3000.00 of 3500.00", "funded found"],
    ),
    "live on a withdrawn loan": (lift("status", "'withdrawn'", "loan", LOAN), "pending", "Only an open loan", ["withdrawn", "1200.00"]),
    "settled on a withdrawn loan": (
        lift("status", "'withdrawn'", "whole_loan", LOAN),
        "whole",
        "Only an open or funded loan",
        ["withdrawn", "3000.00"],
    ),
    "settled beyond the reservation": (
        lift("settled_amount", "2001", "settled"),
        "settled",
        "at most its reservation",
        ["2000.00", "2001.00"],
    ),
    "settled while pending": (
        lift("settled_amount", "1", "funded"),
        "funded",
        "at most its reservation",
        ["nothing while pending", "1.00"],
    ),
    "no clock": (lift("expires_at", "NULL", "reserved"), "reserved", "A clock runs", ["a deadline expected", "none found"]),
    "a clock beside money": (lift("expires_at", "'2026-04-01'", "funded"), "funded", "A clock runs", ["none expected", "2026-04-01"]),
    "unswept": (
        lift("expires_at", "'2026-03-02 15:30Z'", "pending"),
        "loan",
        "swept within minutes",
        ["none expected", "1 reservations of 1200.00 dollars"],
    ),
    "pending without a transfer": (
        transfer_of("pending", "status = 'failed'"),
        "pending",
        "one transfer",
        ["a transfer of 1200.00", "0 on the way, 0 here"],
    ),
    "received": (lift("received", "1500.01", "funded"), "funded", "What a reservation received", ["1500.00 expected", "1500.01 found"]),
    "a transfer's amount": (transfer_of("whole", "amount = 2999"), "whole", "What a reservation received", ["2999.00", "3000.00"]),
    "refunded": (lift("refunded", "299", "funded"), "funded", "What a reservation is refunded", ["300.00 expected", "299.00 found"]),
    "a reservation's money": (
        lift("amount", "1400", "funded"),
        "funded",
        "Money that came",
        ["1400.00 waiting", "1500.00 (1500.00 received"],
    ),
    "money kept of a canceled reservation": (
        lift("state", "'canceled'", "funded"),
        "funded",
        "Money that came",
        ["nothing waiting while canceled", "1500.00"],
    ),
    "too little money that is enough": (
        lift("funded_at", "NULL", "funded"),
        "funded",
        "Money that came",
        ["less than 1500.00 waiting", "1500.00 ("],
    ),
    "loan beside history": (lift("amount", "9999", "loan", LOAN), "loan", "A loan stands", ["open with 10000.00", "open with 9999.00"]),
    "reservation beside history": (
        lift("state", "'reserved'", "pending"),
        "pending",
        "A reservation stands",
        ["pending expected", "1200.00"],
    ),
    "transfer beside history": (
        transfer_of("pending", "status = 'cleared'"),
        "pending",
        "A transfer stands",
        ["initiated with 1200.00", "cleared with 1200.00"],
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_each_planted_breach_is_named_with_loan_and_amounts(name: str, market: dict[str, Any]) -> None:
    plant, whose, says, amounts = PLANTED[name]
    for table in ("loans_loan", "loans_reservation", "loans_transfer"):
        without_constraints(table)
    plant(market)
    before = everything()
    assert find_breaches(MONDAY + HOUR) > 0
    subject = market[whose]
    names = (subject.pk, None) if isinstance(subject, Loan) else (subject.loan_id, subject.pk)
    (review_item,) = [
        review_item
        for review_item in review_items()
        if says in review_item.detail and (review_item.loan_id, review_item.reservation_id) == names
    ]
    assert [amount for amount in amounts if amount not in review_item.detail] == []
    assert everything() == before, "nothing is repaired"


def everything() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in (Loan, Reservation)]


def test_a_value_in_redis_is_compared_and_left_as_it_is(market: dict[str, Any]) -> None:
    refresh_remaining_cache(MONDAY)
    loan = market["loan"]
    get_redis_connection("default").set(cache.make_key(f"remaining:{loan.pk}"), "999 0.01 1970-01-01T00:00:01.000000+00:00")
    assert find_breaches(MONDAY + HOUR) == 1
    (review_item,) = review_items("drift")
    assert review_item.detail == f"Redis shows 0.01 dollars for {loan.reference}, of which 8000.00 dollars remain."
    assert get_redis_connection("default").get(cache.make_key(f"remaining:{loan.pk}")) == b"999 0.01 1970-01-01T00:00:01.000000+00:00"


def test_missing_closing_values_are_found_once_the_job_had_its_time(market: dict[str, Any]) -> None:
    close = datetime(2026, 3, 2, 23, tzinfo=UTC)
    assert find_breaches(MONDAY + HOUR) == 0
    sql("UPDATE loans_reservation SET expires_at = '2026-03-20' WHERE expires_at IS NOT NULL")
    assert find_breaches(close + HOUR) == 0
    assert find_breaches(close + 3 * HOUR) == 2
    record_due_closing_values(close + 3 * HOUR)
    assert find_breaches(close + 3 * HOUR) == 0


def test_a_breach_is_open_once_and_comes_again_when_its_case_is_closed(market: dict[str, Any]) -> None:
    sql("UPDATE loans_loan SET claimed = claimed + 10 WHERE id = %s", market["loan"].pk)
    for _ in range(2):
        assert find_breaches(MONDAY + HOUR) == 1
    stage.reserve(market["loan"], 1000)
    assert find_breaches(MONDAY + HOUR) == 1
    (review_item,) = review_items()
    ReviewItem.objects.filter(pk=review_item.pk).update(resolved_at=MONDAY + HOUR)
    assert find_breaches(MONDAY + 2 * HOUR) == 1
    (again,) = review_items()
    assert again.pk != review_item.pk
    assert "4700.00 expected, 4710.00 found" in again.detail


def test_of_a_wide_breach_only_so_many_are_listed(market: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation, "MOST_LISTED", 1)
    sql("UPDATE loans_loan SET last_number = last_number + 1")
    assert find_breaches(MONDAY + HOUR) == 1
