"""Compute what a loan pays for a part of it: interest each month, and the principal with the last payment.

The interest of a month is a twelfth of the annual rate, whatever its number of days, and is rounded half up to the cent. That is what the
borrower owes on time; it says nothing of late payments, losses or taxes.
"""

from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from loans.domain.dollars import CENT, ZERO_DOLLARS

MONTHS_IN_YEAR = 12


class Payment(NamedTuple):
    """What is paid at the end of a month, in dollars."""

    month: int
    interest: Decimal
    principal: Decimal

    @property
    def total(self) -> Decimal:
        """Interest and principal together."""
        return self.interest + self.principal


def monthly_interest(amount: Decimal, annual_rate: Decimal) -> Decimal:
    """Return the interest of `amount` dollars for a month; `annual_rate` is in percent, as 7.5."""
    return (amount * annual_rate / 100 / MONTHS_IN_YEAR).quantize(CENT, ROUND_HALF_UP)


def total_interest(amount: Decimal, annual_rate: Decimal, months: int) -> Decimal:
    """Return the interest of `amount` dollars for the whole term, as the monthly payments add up."""
    return monthly_interest(amount, annual_rate) * months


def payment_schedule(amount: Decimal, annual_rate: Decimal, months: int) -> Iterator[Payment]:
    """Yield the payment of each month."""
    interest = monthly_interest(amount, annual_rate)
    for month in range(1, months + 1):
        yield Payment(month, interest, amount if month == months else ZERO_DOLLARS)
