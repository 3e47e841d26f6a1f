"""Name the dollars that many rules share. Amounts are decimals with two places."""

from decimal import Decimal

CENT = Decimal("0.01")
ZERO_DOLLARS = Decimal("0.00")
MAX_DOLLARS = Decimal("999999999999.99")
"""The most that an amount, or the sum of the money of one reservation, may be: what the columns hold."""
