"""What is to be seen of loans and reservations? Reads only.

`now` is the instant asked about; None is the present, by the database's clock.
"""

from dataclasses import dataclass
from datetime import date, datetime

from django.db import connection
from django.db.models import Case, F, Q, QuerySet, When
from django.db.models.functions import Now

from loans.domain.fill_curve import FillChange, FillPoint, fill_curve
from loans.domain.states import Event, LoanStatus
from loans.models import Loan, Transition
from loans.selectors.offers import Offer
from peerloans.database import replica

PUBLIC = (LoanStatus.OPEN, LoanStatus.FUNDED)


def public_loans() -> QuerySet[Loan]:
    """The loans that anyone may see, to be read as rows, each with what is `remaining` of it."""
    loans = Loan.objects.using(replica.for_anyone()).filter(status__in=PUBLIC)
    return loans.annotate(remaining=F("amount") - F("settled"))  # type: ignore[no-redef]


def market_loans() -> QuerySet[Loan]:
    """The same in the order that a buyer reads them in: those that close next, those whose closing has passed, the funded."""
    takes_reservations = Q(status=LoanStatus.OPEN, closes_at__gt=Now())
    standing = Case(When(takes_reservations, then=0), When(status=LoanStatus.OPEN, then=1), default=2)
    closes_next = Case(When(takes_reservations, then=F("closes_at")))
    return public_loans().order_by(standing, closes_next, "-closes_at", "-pk")


@dataclass(frozen=True)
class MarketPlaces:
    """Where there are loans that anyone may see: states by their two letters, and names of markets."""

    states: list[str]
    markets: list[str]


def market_places() -> MarketPlaces:
    found = set(public_loans().order_by().values_list("state", "market_msa").distinct())
    return MarketPlaces(sorted({state for state, _ in found}), sorted({msa for _, msa in found if msa}))


def loan_fill_curve(offer: Offer) -> list[FillPoint]:
    """How the loan filled from its opening to the instant of the offer, or to its last change once it is no longer open.

    Empty for a loan that never opened. Reads all of the loan's history.
    """
    loan = offer.loan
    if loan.opens_at is None:
        return []
    history = Transition.objects.filter(loan=loan, transfer=None).exclude(event=Event.LOST).order_by("id")
    changes = history.values_list("at", "reservation_id", "to_state", "amount")
    last = None if loan.status == LoanStatus.OPEN else history.values_list("at", flat=True).last()
    return fill_curve(map(FillChange._make, changes.iterator()), loan.opens_at, last or offer.at, loan.overbooking_rate)


def all_loan_ids() -> list[int]:
    return list(Loan.objects.order_by("id").values_list("id", flat=True))


_WITHOUT_CLOSING_VALUE = """
    SELECT id FROM loans_loan AS loan
    WHERE opens_at <= %(close)s
        AND NOT EXISTS (SELECT FROM loans_closingvalue WHERE loan_id = loan.id AND day = %(day)s)
        AND (status <> 'withdrawn' OR NOT EXISTS (
            SELECT FROM loans_transition WHERE loan_id = loan.id AND event = 'withdrawn' AND at <= %(close)s
        ))
    ORDER BY id
"""


def loans_without_closing_value(day: date, close: datetime) -> list[int]:
    """Loans that were open or funded at the close of the day and lack its closing value, in order of id."""
    with connection.cursor() as cursor:
        cursor.execute(_WITHOUT_CLOSING_VALUE, {"day": day, "close": close})
        return [loan_id for (loan_id,) in cursor.fetchall()]
