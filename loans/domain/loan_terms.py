"""Bound the facts of a loan: what a form takes and the database stores."""

from decimal import Decimal
from enum import StrEnum

REFERENCE = r"^[A-Za-z0-9_-]+$"  # It is a part of addresses.
MAX_ANNUAL_RATE = Decimal(50)  # percent; usury laws allow less nearly everywhere
MAX_LTV = Decimal(100)  # percent: no loan is worth more than what secures it
MAX_TERM_MONTHS = 600
MAX_DESCRIPTION = 4000  # characters
MAX_LIEN_POSITION = 2  # no loan is offered that stands behind two others


class BorrowerType(StrEnum):
    """Who owes the loan."""

    INDIVIDUAL = "individual"
    COMPANY = "company"
    TRUST = "trust"
    PARTNERSHIP = "partnership"
