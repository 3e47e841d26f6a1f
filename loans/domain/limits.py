"""How much may one new reservation take?

Dollars with two places throughout. The rules stand here twice, in Python for whoever shows them and in SQL for the one
statement that admits a reservation; tests/loans/domain/test_limits.py holds the two together.
"""

from decimal import ROUND_DOWN, Decimal

CENT = Decimal("0.01")
LEAST_MINIMUM = Decimal("1000.00")
DEFAULT_OVERBOOKING_RATE = Decimal("0.20")

REMAINING_SQL = "(amount - settled)"
LIMIT_SQL = "trunc((amount - settled) * (1 + overbooking_rate), 2)"


def limit(remaining: Decimal, overbooking_rate: Decimal) -> Decimal:
    """How much may be claimed at once; it shrinks with what remains. Rounded down to the cent."""
    return (remaining * (1 + overbooking_rate)).quantize(CENT, ROUND_DOWN)


def available(remaining: Decimal, overbooking_rate: Decimal, claimed: Decimal) -> Decimal:
    """What one new reservation may take of an open loan on which `claimed` dollars are live."""
    return max(Decimal("0.00"), min(remaining, limit(remaining, overbooking_rate) - claimed))


def meets_minimum(amount: Decimal, minimum: Decimal, remaining: Decimal) -> bool:
    """At least the minimum; or the closing piece, exactly what remains when that is less than the minimum."""
    return amount >= minimum or (remaining < minimum and amount == remaining)


def pieces(dollars: Decimal, minimum: Decimal) -> int:
    """How many whole pieces of the minimum there are in so many dollars."""
    return int(dollars // minimum)


MEETS_MINIMUM_SQL = "(%(amount)s >= minimum OR ((amount - settled) < minimum AND %(amount)s = (amount - settled)))"
FITS_SQL = f"(%(amount)s <= {REMAINING_SQL} AND %(amount)s <= {LIMIT_SQL} - claimed)"
