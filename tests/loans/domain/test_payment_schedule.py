"""What a part of a loan pays: known answers, and what holds for every loan."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loans.domain.payment_schedule import monthly_interest, payment_schedule, total_interest

D = Decimal
dollars = st.decimals(D("1000.00"), D("999999999.99"), places=2)
rates = st.decimals(D(0), D(50), places=2)


@pytest.mark.parametrize(
    ("amount", "rate", "months", "monthly", "in_all"),
    [
        ("5000.00", "7.50", 12, "31.25", "375.00"),
        ("5000.00", "8.25", 12, "34.38", "412.56"),  # 34.375 is rounded up
        ("1000.00", "6.90", 18, "5.75", "103.50"),
        ("100000.00", "0.00", 24, "0.00", "0.00"),
        ("1234.56", "9.99", 1, "10.28", "10.28"),
    ],
)
def test_known_answers(amount: str, rate: str, months: int, monthly: str, in_all: str) -> None:
    assert monthly_interest(D(amount), D(rate)) == D(monthly)
    assert total_interest(D(amount), D(rate), months) == D(in_all)


def test_the_principal_comes_with_the_last_payment() -> None:
    payments = list(payment_schedule(D("5000.00"), D("7.50"), 3))
    assert payments == [(1, D("31.25"), 0), (2, D("31.25"), 0), (3, D("31.25"), D("5000.00"))]
    assert payments[-1].total == D("5031.25")


@given(amount=dollars, rate=rates, months=st.integers(1, 600))
def test_the_payments_add_up(amount: Decimal, rate: Decimal, months: int) -> None:
    payments = list(payment_schedule(amount, rate, months))
    assert [payment.month for payment in payments] == list(range(1, months + 1))
    assert sum(payment.principal for payment in payments) == amount
    assert sum(payment.interest for payment in payments) == total_interest(amount, rate, months)
    exact = amount * rate / 100 / 12 * months
    assert abs(total_interest(amount, rate, months) - exact) <= months * D("0.005")
