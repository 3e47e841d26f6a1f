"""Check what services cost, in statements and in bytes of the write-ahead log, which do not depend on the machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from loans.domain.errors import OverLimit
from loans.models import Investor, Loan, Reservation
from loans.services import reservations as reservation_services
from loans.services.expiry import expire_due
from loans.services.settlement import settle_due
from tests.factories import HOURS_24, NOON, InvestorFactory, LoanFactory, funded, reserved

MOST_FOR_SETTLING = 6


@contextmanager
def counted() -> Iterator[list[str]]:
    """Collect the statements that run inside, except those that only begin, save or end a transaction."""
    statements: list[str] = []
    with CaptureQueriesContext(connection) as captured:
        yield statements
    statements += [
        sql for query in captured.captured_queries if not (sql := query["sql"]).startswith(("SAVEPOINT", "RELEASE", "BEGIN", "COMMIT"))
    ]


def reserve(loan: Loan, investor: Investor, amount: int = 1_000) -> Reservation:
    return reservation_services.reserve(reference=loan.reference, investor=investor, amount=Decimal(amount), now=NOON)


@pytest.mark.django_db(transaction=True)
def test_a_reservation_is_one_statement_and_no_transaction_around_it() -> None:
    loan, investor = LoanFactory(), InvestorFactory()
    with CaptureQueriesContext(connection) as captured:
        reserve(loan, investor)
    assert len(captured) == 1


@pytest.mark.django_db(transaction=True)
def test_a_refusal_for_lack_of_room_writes_nothing_at_all() -> None:
    """PostgreSQL explains the statements, and counts what each writes to the write-ahead log."""
    loan, investor = LoanFactory(overbooking_rate=0), InvestorFactory()
    reserve(loan, investor, 100_000)
    with CaptureQueriesContext(connection) as captured, pytest.raises(OverLimit):
        reserve(loan, investor)
    assert len(captured) <= 5
    for query in captured.captured_queries:
        assert "FOR UPDATE" not in query["sql"]
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, WAL, FORMAT JSON) {query['sql'].replace('%', '%%')}")
            (((plan,),),) = (cursor.fetchall(),)
        assert plan[0]["Plan"].get("WAL Bytes", 0) == 0, query["sql"]


@pytest.mark.django_db
@pytest.mark.parametrize(("loans", "reservations"), [(1, 1), (1, 20), (8, 3)])
def test_settling_takes_the_same_few_statements_whatever_the_number_of_loans_and_reservations(loans: int, reservations: int) -> None:
    for loan in [LoanFactory() for _ in range(loans)]:
        for _ in range(reservations):
            funded(loan, 2_000)
    with counted() as statements:
        assert settle_due(NOON) == loans * reservations
    assert len(statements) <= MOST_FOR_SETTLING


@pytest.mark.django_db
def test_funding_a_loan_takes_no_more_statements_than_settling() -> None:
    loan = LoanFactory(amount=Decimal(20_000))
    for _ in range(10):
        funded(loan, 2_400)
    with counted() as statements:
        settle_due(NOON)
    assert loan.__class__.objects.get().status == "funded"
    assert len(statements) <= MOST_FOR_SETTLING


@pytest.mark.django_db
@pytest.mark.parametrize("batch", [3, 10, 1_000])
def test_expiring_takes_one_statement_a_batch(batch: int) -> None:
    due = 20
    for loan in [LoanFactory() for _ in range(4)]:
        for minute in range(5):
            reserved(loan, 1_000, now=NOON + timedelta(minutes=minute))
    with counted() as statements:
        assert expire_due(NOON + 2 * HOURS_24, batch=batch) == due
    assert len(statements) <= due / batch + 2
