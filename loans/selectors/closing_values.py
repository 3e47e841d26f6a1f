"""Read closing values: what remained of loans and what was claimed at 6 p.m. New York time of each banking day."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from django.db import connection
from django.db.models import Sum

from loans.models import ClosingValue, Loan

DAYS_OF_A_LOAN = 260  # about a year of banking days
DAYS_OF_TOTALS = 90  # by the calendar


class ClosingPoint(NamedTuple):
    """Dollars that remained, and dollars of live reservations, at the end of a banking day."""

    day: date
    remaining: Decimal
    claimed: Decimal


def closing_values(loan: Loan) -> list[ClosingPoint]:
    """Return the loan's newest closing values, oldest first."""
    newest = ClosingValue.objects.filter(loan=loan).order_by("-day").values_list("day", "remaining", "claimed")
    return [ClosingPoint(*row) for row in newest[:DAYS_OF_A_LOAN]][::-1]


def closing_totals(now: datetime) -> list[ClosingPoint]:
    """Return the closing values of all loans together, of the last 90 days, oldest first."""
    recent = ClosingValue.objects.filter(day__gt=now.date() - timedelta(days=DAYS_OF_TOTALS)).order_by("day")
    return [ClosingPoint(*row) for row in recent.values_list("day").annotate(Sum("remaining"), Sum("claimed"))]


# A withdrawn loan lacks the value only where it was withdrawn after the end of the day.
_LOANS_WITHOUT_VALUE = """
    SELECT id FROM loans_loan AS loan
    WHERE opens_at <= %(closing_time)s AND status <> 'upcoming'
        AND NOT EXISTS (SELECT FROM loans_closingvalue WHERE loan_id = loan.id AND day = %(day)s)
        AND (status <> 'withdrawn' OR NOT EXISTS (
            SELECT FROM loans_transition WHERE loan_id = loan.id AND event = 'withdrawn' AND at <= %(closing_time)s
        ))
    ORDER BY id
"""


def loans_without_closing_value(day: date, closing_time: datetime) -> list[int]:
    """Return the ids of the loans that were open or funded at the end of the day and lack its closing value, in order."""
    with connection.cursor() as cursor:
        cursor.execute(_LOANS_WITHOUT_VALUE, {"day": day, "closing_time": closing_time})
        return [loan_id for (loan_id,) in cursor.fetchall()]
