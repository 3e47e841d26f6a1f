"""Compute how many dollars of a loan a new reservation may take. How many one investor may hold: loans/domain/investor_limits.py.

- remaining: the loan's amount minus what has settled.
- claimed: the amounts of the loan's live reservations, added up.
- waiting: the dollars for which the loan's waiting list waits. Nobody else may take them.
- overbooking rate: by which fraction of what remains the claimed dollars may exceed it. With 0.20 they may reach 120 %, since some
  reservations lapse.

Amounts are dollars with two places. `loans/ledger/admission.py` says the same rules in SQL, in the one statement that takes a
reservation in; tests/loans/ledger/test_admission.py holds the two together.
"""

from decimal import ROUND_DOWN, Decimal

from loans.domain.dollars import CENT, ZERO_DOLLARS

LEAST_MINIMUM = Decimal("1000.00")
DEFAULT_OVERBOOKING_RATE = Decimal("0.20")


def limit(remaining: Decimal, overbooking_rate: Decimal) -> Decimal:
    """Return how many dollars may be claimed at once, rounded down to the cent. `overbooking_rate` is a fraction, as 0.20."""
    return (remaining * (1 + overbooking_rate)).quantize(CENT, ROUND_DOWN)


def available(remaining: Decimal, overbooking_rate: Decimal, claimed: Decimal, waiting: Decimal = ZERO_DOLLARS) -> Decimal:
    """Return how many dollars one new reservation of an open loan may take; `overbooking_rate` is a fraction.

    `waiting` are the dollars of the waiting list; for those who wait themselves they are 0.
    """
    return max(ZERO_DOLLARS, min(remaining, limit(remaining, overbooking_rate) - claimed) - waiting)


def dollars_to_take(amount: Decimal, at_least: Decimal, available: Decimal) -> Decimal:
    """Return how many dollars to ask for: `amount`, or all that is available where that is less.

    Where not even `at_least` is available, that is asked for, so that it is refused with what is available.
    """
    return max(at_least, min(amount, available))


def meets_minimum(amount: Decimal, minimum: Decimal, remaining: Decimal) -> bool:
    """Return whether the amount is at least the minimum, or the closing piece: all that remains, when that is less."""
    return amount >= minimum or (remaining < minimum and amount == remaining)
