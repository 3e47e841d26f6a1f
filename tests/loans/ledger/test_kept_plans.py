"""PostgreSQL keeps the plans of prepared statements, however long a history is (peerloans/database/prepared.py)."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from loans.domain.actors import Actor
from loans.domain.first_answer import Key
from loans.ledger import admission
from loans.ledger.admission import admit_reservation
from loans.models import Investor, Loan
from loans.selectors import offers
from loans.selectors.offers import investor_offer
from peerloans.database.prepared import Prepared
from tests.factories import InvestorFactory, LoanFactory

RUNS = 20  # PostgreSQL plans the first five of each connection anew in any case
LONG_HISTORY = """
    INSERT INTO loans_reservation
        (id, loan_id, investor_id, number, amount, settled_amount, state, cause, created_at, expires_at, let_go_at, received, refunded,
        lost)
    SELECT gen_random_uuid(), loan.id, investor.id, 1000000 + 2 * n + (state = 'reserved')::int, 1000, 0, state, cause,
        now() - interval '9 days', CASE WHEN state = 'reserved' THEN now() + n * interval '1 minute' END,
        CASE WHEN state = 'canceled' THEN now() - interval '8 days' - n * interval '1 minute' END, 0, 0, 0
    FROM generate_series(1, 10000) n, (VALUES ('reserved', ''), ('canceled', 'expired')) AS kinds (state, cause),
        LATERAL (SELECT id FROM loans_loan ORDER BY id OFFSET n % 10 LIMIT 1) AS loan,
        LATERAL (SELECT id FROM loans_investor ORDER BY id OFFSET n / 10 % 10 LIMIT 1) AS investor
"""


@pytest.fixture
def investor(db: None) -> Investor:
    return InvestorFactory(unfunded_limit=Decimal(900_000_000))


@pytest.fixture
def loan(investor: Investor) -> Loan:
    """One of ten open loans. Each of them, and each of ten investors, has 1,000 live reservations, and 1,000 that lapsed days ago."""
    for _ in range(9):
        InvestorFactory()
        LoanFactory(now=None, amount=Decimal(900_000_000))
    loan: Loan = LoanFactory(now=None, amount=Decimal(900_000_000))
    with connection.cursor() as cursor:
        cursor.execute(LONG_HISTORY)
        cursor.execute("ANALYZE loans_loan, loans_investor, loans_user, loans_reservation, loans_idempotencykey")
    return loan


def admit(loan: Loan, investor: Investor, key: Key | None = None) -> Any:
    actor = Actor("investor", investor.user_id)
    return admit_reservation(reference=loan.reference, investor_id=investor.pk, amount=Decimal(1_000), actor=actor, key=key)


def plans_of(statement: str) -> tuple[int, int]:
    """How often this connection has run the statement by the plan that it keeps, and by one made anew."""
    with connection.cursor() as cursor:
        beginning = f"{statement[:60].partition('%')[0]}%"
        cursor.execute("SELECT sum(generic_plans), sum(custom_plans) FROM pg_prepared_statements WHERE statement LIKE %s", [beginning])
        kept, anew = cursor.fetchone()
    return int(kept or 0), int(anew or 0)


def anew_of_runs(statement: str, run: Any) -> int:
    """How many of RUNS runs made a plan anew."""
    _, before = plans_of(statement)
    for number in range(RUNS):
        run(number)
    kept, after = plans_of(statement)
    assert kept + after >= RUNS
    return after - before


def test_the_plan_of_a_reservation_is_kept(loan: Loan, investor: Investor) -> None:
    assert anew_of_runs(admission._ADMIT, lambda _: admit(loan, investor)) <= 5


def test_the_plan_of_a_reservation_with_a_key_is_kept(loan: Loan, investor: Investor) -> None:
    assert anew_of_runs(admission._ADMIT, lambda number: admit(loan, investor, Key(investor.user_id, str(number), "digest"))) <= 5


def test_the_plan_of_an_offer_is_kept(loan: Loan, investor: Investor) -> None:
    assert anew_of_runs(offers._OFFER_TO_INVESTOR, lambda _: investor_offer(investor.pk, loan.reference)) <= 5


def test_with_a_range_open_at_one_end_it_would_not_be_kept(loan: Loan, investor: Investor, monkeypatch: pytest.MonkeyPatch) -> None:
    open_at_one_end = Prepared(admission._ADMIT.replace(" AND let_go_at < 'infinity'", ""))
    assert open_at_one_end != admission._ADMIT
    monkeypatch.setattr(admission, "_ADMIT", open_at_one_end)
    assert anew_of_runs(open_at_one_end, lambda _: admit(loan, investor)) >= RUNS - 1
