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
from loans.models import Delivery, Loan, Reservation, ReviewItem
from loans.services.cache_refresh import refresh_remaining_cache
from loans.services.closing_values import record_due_closing_values
from loans.services.settlement import settle_ahead_of_turn, settle_loans
from loans.services.staff_overrides import cancel_by_staff
from tests import factories
from tests.factories import NOON, STAFF, LoanFactory

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
    loan, funded_loan = LoanFactory(amount=Decimal(10_000)), LoanFactory(amount=Decimal(3_000))
    reservations = {
        "settled": factories.funded(loan, 2000),
        "funded": factories.funded(loan, 1500),
        "canceled": factories.funded(loan, 1100),
        "pending": factories.pending(loan, 1200),
        "reserved": factories.reserved(loan, 1000),
        "whole": factories.funded(funded_loan, 3000),
    }
    full_loan = LoanFactory(amount=Decimal(2_000), overbooking_rate=Decimal(0))
    factories.reserved(full_loan, 1_000)
    reservations["placed"] = factories.waiting(full_loan, 1_000).reservation
    factories.waiting(full_loan, 1_500)
    settle_loans([funded_loan.pk], now=NOON)
    settle_ahead_of_turn(reservation_id=reservations["settled"].pk, actor=STAFF, reason="first", now=NOON)
    cancel_by_staff(reservation_id=reservations["canceled"].pk, actor=STAFF, reason="asked for", now=NOON)
    # A second payment is refunded and then returned, so that there is a loss too.
    factories.money_comes(reservations["funded"], 300)
    factories.refund_goes_out(reservations["funded"].transfers.get(direction="refund"))
    factories.money_fails(reservations["funded"], 300)
    factories.standing_order(1_000)
    opened = LoanFactory(amount=Decimal(10_000))
    reservations["by_order"] = opened.reservations.get()
    return {"loan": loan, "whole_loan": funded_loan, "full_loan": full_loan, "opened": opened} | reservations


def review_items(kind: str = "breach") -> list[ReviewItem]:
    return list(ReviewItem.objects.filter(kind=kind, resolved_at=None).order_by("id"))


def test_what_the_services_write_has_no_breach(market: dict[str, Any]) -> None:
    assert find_breaches(NOON + HOUR) == 0
    assert review_items() == []


def set_column(column: str, value: str, of: str, table: str = "loans_reservation") -> Callable[[dict[str, Any]], None]:
    return lambda market: sql(f"UPDATE {table} SET {column} = {value} WHERE id = %s", market[of].pk)


def change_transfer(of: str, change: str) -> Callable[[dict[str, Any]], None]:
    return lambda market: sql(f"UPDATE loans_transfer SET {change} WHERE reservation_id = %s", market[of].pk)


def delete_reports(of: str) -> Callable[[dict[str, Any]], None]:
    return lambda market: sql(
        "DELETE FROM loans_bankevent WHERE transfer_id IN (SELECT id FROM loans_transfer WHERE reservation_id = %s)", market[of].pk
    )


LOAN = "loans_loan"
# The change, the row that the review item is about, part of its sentence, and the amounts that it names.
PLANTED = {
    "settled sum": (
        set_column("settled", "2500", "loan", LOAN),
        "loan",
        "the sum of what its reservations have settled",
        ["2000.00 expected", "2500.00 found"],
    ),
    "claimed sum": (
        set_column("claimed", "claimed - 1", "loan", LOAN),
        "loan",
        "sum of its reserved and pending",
        ["3700.00 expected", "3699.00 found"],
    ),
    "waiting dollars": (
        set_column("waiting_dollars", "1600", "full_loan", LOAN),
        "full_loan",
        "waiting entries and dollars",
        ["1 with 1500.00 expected", "1 with 1600.00 found"],
    ),
    "waiting entries": (
        set_column("waiting_entries", "2", "full_loan", LOAN),
        "full_loan",
        "waiting entries and dollars",
        ["1 with 1500.00 expected", "2 with 1500.00 found"],
    ),
    "a message to somebody else": (
        lambda market: Delivery.objects.create(
            investor=market["pending"].investor,
            transition=market["reserved"].transitions.get(),
            reservation=market["reserved"],
            status="sent",
            created_at=NOON,
            ended_at=NOON,
        ),
        "reserved",
        "A message goes to the investor whom it concerns",
        ["expected", "found"],
    ),
    "a list of a loan that is not open": (
        set_column("status", "'draft'", "full_loan", LOAN),
        "full_loan",
        "Only an open loan has a waiting list",
        ["none on a draft loan expected", "1 entries found"],
    ),
    "a placed entry": (
        lambda market: sql(
            "UPDATE loans_waitinglistentry SET amount = 1200, at_least = 1100 WHERE reservation_id = %s", market["placed"].pk
        ),
        "placed",
        "of at least what it takes",
        ["1100.00 to 1200.00 expected", "1000.00 found"],
    ),
    "the place of a standing order": (
        lambda market: sql("UPDATE loans_standingorder SET place = 9"),
        "no row",
        "A standing order has the state and the place",
        ["active at 1 expected", "active at 9 found"],
    ),
    "a reservation without its standing order": (
        set_column("standing_order_id", "NULL", "by_order"),
        "opened",
        "What an opening gave to a standing order",
        ["1000.00 expected", "none of investor unknown found"],
    ),
    "more than the share for standing orders": (
        set_column("automated_share", "0.0999", "opened", LOAN),
        "opened",
        "An opening gave to standing orders",
        ["at most 999.00 expected", "1000.00 found"],
    ),
    "the state of an entry": (
        lambda market: sql("UPDATE loans_waitinglistentry SET state = 'left', ended_at = now() WHERE state = 'waiting'"),
        "full_loan",
        "An entry of a waiting list has the state",
        ["waiting expected", "left found"],
    ),
    "unfunded bound": (
        lambda market: sql("UPDATE loans_investor SET unfunded_at_most = 999 WHERE id = %s", market["reserved"].investor_id),
        "",
        "unfunded dollars are at most",
        ["at least 1000.00 expected", "999.00 for investor"],
    ),
    "last_number": (
        set_column("last_number", "9", "loan", LOAN),
        "loan",
        "numbered without a gap",
        ["9 numbers given expected", "5 reservations"],
    ),
    "settled beyond amount": (set_column("amount", "1999", "loan", LOAN), "loan", "at most its amount", ["at most 1999.00", "2000.00"]),
    "open and all settled": (
        set_column("amount", "2000", "loan", LOAN),
        "loan",
        "funded if and only if",
        ["funded expected", "open found"],
    ),
    "funded and not settled": (
        set_column("amount", "3500", "whole_loan", LOAN),
        "whole_loan",
        "funded if and only if",
        ["3000.00 of 3500.00", "funded found"],
    ),
    "live on a withdrawn loan": (
        set_column("status", "'withdrawn'", "loan", LOAN),
        "pending",
        "Only an open loan",
        ["withdrawn", "1200.00"],
    ),
    "settled on a withdrawn loan": (
        set_column("status", "'withdrawn'", "whole_loan", LOAN),
        "whole",
        "Only an open or funded loan",
        ["withdrawn", "3000.00"],
    ),
    "settled beyond the reservation": (
        set_column("settled_amount", "2001", "settled"),
        "settled",
        "more than 0 and at most its amount",
        ["2000.00", "2001.00"],
    ),
    "settled while pending": (
        set_column("settled_amount", "1", "funded"),
        "funded",
        "more than 0 and at most its amount",
        ["nothing while pending", "1.00"],
    ),
    "no deadline": (set_column("expires_at", "NULL", "reserved"), "reserved", "has a deadline if", ["a deadline expected", "none found"]),
    "a deadline beside money": (
        set_column("expires_at", "'2026-08-01'", "funded"),
        "funded",
        "has a deadline if",
        ["none expected", "2026-08-01"],
    ),
    "unswept": (
        set_column("expires_at", "'2026-07-01 16:30Z'", "pending"),
        "loan",
        "swept within ten minutes",
        ["none expected", "1 reservations of 1200.00 dollars"],
    ),
    "pending without a transfer": (
        change_transfer("pending", "status = 'failed'"),
        "pending",
        "a transfer on its way or here",
        ["a transfer of 1200.00", "0 on the way, 0 here"],
    ),
    "received": (
        set_column("received", "1500.01", "funded"),
        "funded",
        "What a reservation received",
        ["1500.00 expected", "1500.01 found"],
    ),
    "a transfer's money": (change_transfer("whole", "moved = 2999"), "whole", "What a reservation received", ["2999.00", "3000.00"]),
    "a transfer's money beside history": (
        change_transfer("whole", "moved = 2999"),
        "whole",
        "What a transfer has moved",
        ["3000.00 expected", "2999.00"],
    ),
    "money that no report explains": (
        delete_reports("whole"),
        "whole",
        "What has moved for a reservation",
        ["0 by the reports", "3000.00 received"],
    ),
    "refunded": (set_column("refunded", "299", "funded"), "funded", "What a reservation is refunded", ["300.00 expected", "299.00 found"]),
    "a reservation's money": (
        set_column("amount", "1400", "funded"),
        "funded",
        "Received money",
        ["1400.00 waiting", "1500.00 (1500.00 received"],
    ),
    "money kept of a canceled reservation": (
        set_column("state", "'canceled'", "funded"),
        "funded",
        "Received money",
        ["nothing waiting while canceled", "1500.00"],
    ),
    "too little money that is enough": (
        set_column("funded_at", "NULL", "funded"),
        "funded",
        "Received money",
        ["less than 1500.00 waiting", "1500.00 ("],
    ),
    "loan beside history": (
        set_column("amount", "9999", "loan", LOAN),
        "loan",
        "A loan has the status",
        ["open with 10000.00", "open with 9999.00"],
    ),
    "reservation beside history": (
        set_column("state", "'reserved'", "pending"),
        "pending",
        "A reservation has the state",
        ["pending expected", "1200.00"],
    ),
    "transfer beside history": (
        change_transfer("pending", "status = 'cleared'"),
        "pending",
        "A transfer has the status",
        ["initiated expected", "cleared found"],
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_each_planted_breach_is_listed_with_its_loan_and_amounts(name: str, market: dict[str, Any]) -> None:
    change, row, sentence, amounts = PLANTED[name]
    for table in ("loans_loan", "loans_reservation", "loans_transfer"):
        without_constraints(table)
    change(market)
    before = stored_rows()
    assert find_breaches(NOON + HOUR) > 0
    subject = market.get(row)
    names: Any = (None, None)
    if subject:
        names = (subject.pk, None) if isinstance(subject, Loan) else (subject.loan_id, subject.pk)
    (item,) = [item for item in review_items() if sentence in item.detail and (item.loan_id, item.reservation_id) == names]
    assert [amount for amount in amounts if amount not in item.detail] == []
    assert stored_rows() == before, "nothing is repaired"


def stored_rows() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in (Loan, Reservation)]


def test_a_wrong_value_in_redis_is_listed_and_corrected(market: dict[str, Any]) -> None:
    refresh_remaining_cache(NOON)
    loan = market["loan"]
    get_redis_connection("default").set(cache.make_key(f"remaining:{loan.pk}"), "999 0.01 1970-01-01T00:00:01.000000+00:00")
    assert find_breaches(NOON + HOUR) == 1
    (item,) = review_items("drift")
    assert item.detail == f"Redis shows $0.01 for {loan.reference}, of which $8,000.00 remains."
    assert find_breaches(NOON + HOUR) == 0
    assert b" 8000.00 " in get_redis_connection("default").get(cache.make_key(f"remaining:{loan.pk}"))


def test_missing_closing_values_are_listed_two_hours_after_the_close(market: dict[str, Any]) -> None:
    close = datetime(2026, 7, 1, 22, tzinfo=UTC)
    assert find_breaches(NOON + HOUR) == 0
    sql("UPDATE loans_reservation SET expires_at = '2026-07-20' WHERE expires_at IS NOT NULL")
    assert find_breaches(close + HOUR) == 0
    assert find_breaches(close + 3 * HOUR) == 4
    record_due_closing_values(close + 3 * HOUR)
    assert find_breaches(close + 3 * HOUR) == 0


def test_a_breach_is_listed_once_until_its_review_item_is_resolved(market: dict[str, Any]) -> None:
    sql("UPDATE loans_loan SET claimed = claimed + 10 WHERE id = %s", market["loan"].pk)
    for _ in range(2):
        assert find_breaches(NOON + HOUR) == 1
    factories.reserved(market["loan"], 1000)
    assert find_breaches(NOON + HOUR) == 1
    (item,) = review_items()
    ReviewItem.objects.filter(pk=item.pk).update(resolved_at=NOON + HOUR)
    assert find_breaches(NOON + 2 * HOUR) == 1
    (again,) = review_items()
    assert again.pk != item.pk
    assert "4700.00 expected, 4710.00 found" in again.detail


def test_at_most_so_many_breaches_of_one_invariant_are_listed(market: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation, "MOST_LISTED", 1)
    sql("UPDATE loans_loan SET last_number = last_number + 1")
    assert find_breaches(NOON + HOUR) == 1
