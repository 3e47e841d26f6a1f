"""Bound the terms of a loan: what a form takes and the database stores."""

from decimal import Decimal

REFERENCE = r"^[A-Za-z0-9_-]+$"  # It is a part of addresses.
MAX_ANNUAL_RATE = Decimal(50)  # percent; usury laws allow less nearly everywhere
MAX_LTV = Decimal(100)  # percent: no loan is worth more than what secures it
MAX_TERM_MONTHS = 600
