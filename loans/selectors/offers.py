"""Read what loans offer at one instant: how many dollars can be reserved, and whether an investor may reserve them.

`now` is the instant to read at; None is the present by the database's clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from loans.domain import loan_limits
from loans.domain.errors import NotFound
from loans.domain.states import LoanStatus
from loans.models import Loan
from peerloans.database import replica
from peerloans.database.prepared import Prepared

# Only accredited investors buy, through the last day of their accreditation in New York.
MAY_BUY = """
    EXISTS (
        SELECT FROM loans_investor JOIN loans_user ON loans_user.id = user_id
        WHERE loans_investor.id = %(investor_id)s AND is_active
            AND accredited_until >= (COALESCE(%(now)s::timestamptz, clock_timestamp()) AT TIME ZONE 'America/New_York')::date
    )
"""

UNCLAIMED = """
    LEAST(loan.amount - loan.settled, trunc((loan.amount - loan.settled) * (1 + loan.overbooking_rate), 2) - loan.claimed)
"""
"""SQL: the dollars of a `loan` that are not claimed, as `loan_limits.available` computes them without its waiting list; or less than 0.

Reservations that have lapsed count as claimed until they are swept.
"""

_LOAN_COLUMNS = [field.attname for field in Loan._meta.concrete_fields]

# The instant; the dollars of reservations that have lapsed and are not swept yet, which `claimed` still contains; the loan.
# The range of instants has two ends (peerloans/database/prepared.py says why).
_OFFERS = f"""
    SELECT COALESCE(%(now)s::timestamptz, statement_timestamp()) AS at,
        (
            SELECT COALESCE(sum(amount), 0) FROM loans_reservation
            WHERE loan_id = loan.id AND state IN ('reserved', 'pending')
                AND expires_at <= COALESCE(%(now)s::timestamptz, statement_timestamp()) AND expires_at > '-infinity'
        ) AS lapsed,
        {", ".join(f"loan.{name}" for name in _LOAN_COLUMNS)}
    FROM loans_loan AS loan
"""
_OFFERS_BY_ID = f"{_OFFERS} WHERE loan.id = ANY(%(loan_ids)s)"
_OFFER_BY_REFERENCE = Prepared(f"{_OFFERS} WHERE loan.reference = %(reference)s")

# Whether the investor may buy; when the next reservations lapse, and their dollars; then the offer.
_OFFER_TO_INVESTOR = Prepared(
    f"""
    SELECT {MAY_BUY}, next.expires_at, next.amount, offer.*
    FROM ({_OFFER_BY_REFERENCE}) AS offer LEFT JOIN LATERAL (
        SELECT expires_at, sum(amount) AS amount FROM loans_reservation
        WHERE loan_id = offer.id AND state IN ('reserved', 'pending') AND expires_at > offer.at
        GROUP BY expires_at ORDER BY expires_at LIMIT 1
    ) AS next ON true
    """
)


@dataclass(frozen=True)
class LoanOffer:
    """A loan at the instant `at`. `claimed` are the dollars of its live reservations, `lapsed` those of the lapsed but unswept ones."""

    loan: Loan
    at: datetime
    claimed: Decimal
    lapsed: Decimal

    @property
    def takes_reservations(self) -> bool:
        """Return whether the loan is open and has not reached its closing."""
        return self.loan.status == LoanStatus.OPEN and self.loan.closes_at is not None and self.at < self.loan.closes_at

    @property
    def limit(self) -> Decimal:
        """Return how many dollars may be claimed at once."""
        return loan_limits.limit(self.loan.remaining, self.loan.overbooking_rate)

    @property
    def available(self) -> Decimal:
        """Return how many dollars one new reservation may take."""
        return self.available_with(self.claimed)

    def available_with(self, claimed: Decimal) -> Decimal:
        """Return how many dollars one new reservation could take if `claimed` dollars were live."""
        if not self.takes_reservations:
            return Decimal("0.00")
        return loan_limits.available(self.loan.remaining, self.loan.overbooking_rate, claimed, self.loan.waiting_dollars)


@dataclass(frozen=True)
class InvestorOffer(LoanOffer):
    """A loan's offer to one investor, and what becomes available next.

    The next reservations lapse at `frees_at`, None where no deadline runs; `available_then` dollars are available from then on.
    """

    may_buy: bool
    frees_at: datetime | None
    available_then: Decimal


def loan_offer(reference: str, now: datetime | None = None) -> LoanOffer:
    """Return what the loan offers.

    Raises:
        NotFound: no loan has this reference.
    """
    rows = _rows(_OFFER_BY_REFERENCE, {"reference": reference, "now": now})
    return _offer(_only_row(rows, reference))


def investor_offer(investor_id: int, reference: str, now: datetime | None = None) -> InvestorOffer:
    """Return what the loan offers to this investor.

    Raises:
        NotFound: no loan that has ever been open has this reference. Drafts exist for staff alone.
    """
    rows = _rows(_OFFER_TO_INVESTOR, {"reference": reference, "investor_id": investor_id, "now": now})
    may_buy, frees_at, freed, *columns = _only_row(rows, reference)
    offer = _offer(columns)
    if offer.loan.opens_at is None:
        raise _not_found(reference)
    available_then = offer.available_with(offer.claimed - freed) if frees_at else offer.available
    return InvestorOffer(**vars(offer), may_buy=may_buy, frees_at=frees_at, available_then=available_then)


def may_buy(investor_id: int, now: datetime | None = None) -> bool:
    """Return whether the investor is active and accredited on the day of that instant."""
    return bool(_rows(f"SELECT {MAY_BUY}", {"investor_id": investor_id, "now": now})[0][0])


def loan_offers(loan_ids: Sequence[int], now: datetime | None = None) -> list[LoanOffer]:
    """Return what the loans of these ids offer, in the same order, from one read. An id that no loan has is left out."""
    rows = _rows(_OFFERS_BY_ID, {"loan_ids": list(loan_ids), "now": now}, using=replica.for_anyone())
    offers = {offer.loan.pk: offer for offer in map(_offer, rows)}
    return [offers[loan_id] for loan_id in loan_ids if loan_id in offers]


def _rows(statement: str, values: dict[str, Any], using: str = DEFAULT_DB_ALIAS) -> list[Sequence[Any]]:
    # Building a query set, even a raw one, takes longer than the database does: a refusal would cost more than an acceptance.
    with connections[using].cursor() as cursor:
        cursor.execute(statement, values)
        rows: list[Sequence[Any]] = cursor.fetchall()
    return rows


def _only_row(rows: list[Sequence[Any]], reference: str) -> Sequence[Any]:
    if not rows:
        raise _not_found(reference)
    return rows[0]


def _not_found(reference: str) -> NotFound:
    return NotFound(f"There is no loan {reference}.")


def _offer(row: Sequence[Any]) -> LoanOffer:
    at, lapsed, *values = row
    loan = Loan.from_db(DEFAULT_DB_ALIAS, _LOAN_COLUMNS, values)
    return LoanOffer(loan, at, loan.claimed - lapsed, lapsed)
