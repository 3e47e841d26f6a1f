"""Check the statement that takes a reservation in: its limits, its length, its keys, and what it refuses to round."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.db.models import F
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg._queries import MAX_CACHED_STATEMENT_LENGTH

from loans.domain.actors import Actor
from loans.domain.first_answer import Key
from loans.domain.investor_limits import Unfunded, exceeded_limit, loan_limit
from loans.domain.loan_limits import available, limit, meets_minimum
from loans.ledger import admission
from loans.ledger.admission import (
    FITS_LOAN,
    INVESTOR_USE,
    LIMIT,
    MEETS_MINIMUM,
    REMAINING,
    WITHIN_LIMITS_OF_INVESTOR,
    Admission,
    admit_reservation,
)
from loans.models import IdempotencyKey, Investor, Loan, Reservation, Transition
from loans.selectors.waiting_list import MAY_RESERVE
from tests.factories import HOURS_24, NOON, InvestorFactory, LoanFactory, fresh

D = Decimal
cents = st.decimals(D("0"), D("999999999999.99"), places=2)
few_cents = st.decimals(D("0"), D("3"), places=2)


@pytest.mark.django_db
@given(
    loan=st.one_of(cents, few_cents),
    settled=st.one_of(cents, few_cents),
    claimed=st.one_of(cents, few_cents),
    waiting=st.one_of(st.just(D(0)), few_cents),
    amount=st.one_of(cents, few_cents).filter(bool),
    rate=st.decimals(D("0"), D("9.9999"), places=4),
    minimum=st.one_of(st.just(D("1000.00")), few_cents.filter(bool)),
)
@example(loan=D("100000"), settled=D("90000"), claimed=D("0"), waiting=D("0"), amount=D("10000"), rate=D("0.2"), minimum=D("1000"))
@example(loan=D("2.05"), settled=D("2.00"), claimed=D("0"), waiting=D("0"), amount=D("0.05"), rate=D("0.2"), minimum=D("1000"))
def test_the_limits_in_sql_are_those_in_python(loan, settled, claimed, waiting, amount, rate, minimum) -> None:
    remaining = max(loan - settled, D(0))
    values = {"loan": settled + remaining, "settled": settled, "claimed": claimed, "rate": rate, "minimum": minimum, "amount": amount}
    values["waiting"] = waiting
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT {REMAINING}, {LIMIT}, {MEETS_MINIMUM}, {FITS_LOAN}
            FROM (SELECT %(loan)s::numeric(14, 2) AS amount, %(settled)s::numeric(14, 2) AS settled,
                %(claimed)s::numeric(14, 2) AS claimed, %(rate)s::numeric(5, 4) AS overbooking_rate, %(minimum)s::numeric(14, 2) AS minimum,
                %(waiting)s::numeric(14, 2) AS waiting_dollars
            ) AS loan
            """,
            values,
        )
        in_sql = cursor.fetchone()
    fits = amount <= available(remaining, rate, claimed, waiting)
    assert in_sql == (remaining, limit(remaining, rate), meets_minimum(amount, minimum, remaining), fits)


thousands = st.integers(1, 5).map(lambda number: D(1000 * number))
hours = st.integers(-26, 26).map(lambda number: timedelta(hours=number))


@pytest.mark.django_db
@given(
    unfunded=st.lists(st.tuples(st.booleans(), thousands, hours), max_size=6),
    let_go=st.lists(hours, max_size=4),
    amount=thousands,
    unfunded_limit=st.integers(0, 15).map(lambda number: D(1000 * number)),
    let_go_limit=st.integers(0, 4),
    share=st.sampled_from([D("0.0001"), D("0.05"), D("0.1"), D("1")]),
)
def test_the_limits_of_an_investor_in_sql_are_those_in_python(unfunded, let_go, amount, unfunded_limit, let_go_limit, share) -> None:
    with transaction.atomic():
        investor, loan, other = InvestorFactory(), LoanFactory(investor_share=share), LoanFactory()
        rows = [Unfunded(loan.pk if here else other.pk, dollars, NOON + after) for here, dollars, after in unfunded]
        counted = sum((row.amount for row in rows if row.expires_at > NOON), D(0))
        Investor.objects.filter(pk=investor.pk).update(unfunded_limit=unfunded_limit, let_go_limit=let_go_limit, unfunded_at_most=counted)
        Loan.objects.filter(pk=loan.pk).update(claimed=sum((row.amount for row in rows if row.loan_id == loan.pk), D(0)))
        common = {"investor": investor, "created_at": NOON}
        live = [Reservation(state="reserved", number=n, **row._asdict(), **common) for n, row in enumerate(rows)]
        ended = [
            Reservation(state="canceled", cause="expired", loan=loan, number=10 + n, amount=1, let_go_at=NOON + after, **common)
            for n, after in enumerate(let_go)
        ]
        Reservation.objects.bulk_create([*live, *ended])
        values = {"amount": amount, "investor_id": investor.pk, "now": NOON, "let_go_within": HOURS_24, "loan": loan.pk}
        with connection.cursor() as cursor:
            cursor.execute(
                f"WITH investor_use AS ({INVESTOR_USE}) SELECT {WITHIN_LIMITS_OF_INVESTOR} FROM loans_loan WHERE id = %(loan)s", values
            )
            (fits,) = cursor.fetchone()
            # The same limits for those who wait: the most that the investor may reserve.
            cursor.execute(
                f"""
                SELECT may_reserve.dollars FROM loans_loan AS loan, (SELECT %(investor_id)s::bigint AS investor_id) AS entry,
                    LATERAL ({MAY_RESERVE}) AS may_reserve
                WHERE loan.id = %(loan)s
                """,
                values | {"at": NOON},
            )
            (may_reserve,) = cursor.fetchone()
        exceeded = exceeded_limit(
            amount,
            unfunded_limit=unfunded_limit,
            unfunded=rows,
            loan_id=loan.pk,
            limit_on_loan=loan_limit(loan.amount, loan.minimum, share),
            let_go_limit=let_go_limit,
            let_go_at=[NOON + after for after in let_go],
            at=NOON,
        )
        transaction.set_rollback(True)
    assert fits == (exceeded is None) == (amount <= may_reserve), exceeded


def admit(loan: Loan, investor: Investor, amount: Decimal | int = 1_000) -> Admission:
    return admit_reservation(
        reference=loan.reference,
        investor_id=investor.pk,
        amount=D(amount),
        actor=Actor("investor", investor.user_id),
        key=Key(investor.user_id, "a", "digest"),
        now=NOON,
    )


@pytest.mark.django_db
def test_the_reservation_is_returned_as_it_was_written() -> None:
    reservation = admit(LoanFactory(), InvestorFactory()).reservation
    assert reservation
    written = fresh(reservation)
    for field in Reservation._meta.concrete_fields:
        assert getattr(reservation, field.attname) == getattr(written, field.attname), field.attname


@pytest.mark.django_db
def test_a_repeat_gets_the_first_answer_and_writes_nothing() -> None:
    loan, investor = LoanFactory(), InvestorFactory()
    first = admit(loan, investor).reservation
    repeat = admit(loan, investor)
    assert first
    assert repeat.first_answer == ("digest", 201, "", first.pk)
    assert (repeat.reservation, repeat.key_in_use, repeat.refused) == (None, False, False)
    assert (Reservation.objects.count(), Transition.objects.filter(event="reserved").count()) == (1, 1)


@pytest.mark.django_db
def test_a_key_whose_answer_no_longer_counts_is_used_again() -> None:
    loan, investor = LoanFactory(), InvestorFactory()
    admit(loan, investor)
    IdempotencyKey.objects.update(created_at=F("created_at") - timedelta(hours=24))
    second = admit(loan, investor).reservation
    assert second
    assert IdempotencyKey.objects.get().reservation_id == second.pk


@pytest.mark.django_db
def test_a_refusal_is_no_reservation_no_answer_and_no_key_in_use() -> None:
    refusal = admit(LoanFactory(), InvestorFactory(), D("999.99"))
    assert refusal == Admission()
    assert refusal.refused
    assert not IdempotencyKey.objects.exists()


@pytest.mark.django_db
def test_fractions_of_a_cent_are_refused_and_not_rounded() -> None:
    loan = LoanFactory()
    with pytest.raises(ValueError, match=r"1000\.005 has more than 2 decimal places"):
        admit(loan, InvestorFactory(), D("1000.005"))
    assert fresh(loan).claimed == 0


def test_the_statement_is_short_enough_for_psycopg_to_parse_it_once() -> None:
    """Psycopg parses a longer one on each execution, which makes each reservation slower."""
    assert len(admission._ADMIT) <= MAX_CACHED_STATEMENT_LENGTH
