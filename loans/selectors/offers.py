"""What is to be seen of loans and reservations? Reads only.

`now` is the instant asked about; None is the present, by the database's clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from loans.domain import limits
from loans.domain.errors import NotFound
from loans.domain.states import LoanStatus
from loans.models import Loan
from peerloans.database import replica
from peerloans.database.prepared import Prepared

_LAPSED = """
    SELECT COALESCE(sum(r.amount), 0) FROM loans_reservation r
    WHERE r.loan_id = loan.id AND r.state IN ('reserved', 'pending')
        AND r.expires_at <= COALESCE(%(now)s::timestamptz, statement_timestamp())
"""


_LOAN_COLUMNS = [field.attname for field in Loan._meta.concrete_fields]


_OFFERS = f"""
    SELECT {", ".join(f"loan.{name}" for name in _LOAN_COLUMNS)},
        COALESCE(%(now)s::timestamptz, statement_timestamp()) AS at, ({_LAPSED}) AS lapsed FROM loans_loan loan
"""


_OFFER = Prepared(f"{_OFFERS} WHERE loan.reference = %(reference)s")


_OFFERS_OF = f"{_OFFERS} WHERE loan.id = ANY(%(ids)s)"

# Only accredited investors buy, through the last day of their accreditation in New York.
MAY_BUY = """
    EXISTS (
        SELECT FROM loans_investor JOIN loans_user ON loans_user.id = user_id
        WHERE loans_investor.id = %(investor_id)s AND is_active
            AND accredited_until >= (COALESCE(%(now)s::timestamptz, clock_timestamp()) AT TIME ZONE 'America/New_York')::date
    )
"""


_OFFER_TO = Prepared(
    f"""
    SELECT offer.*, {MAY_BUY}, next.expires_at, next.amount
    FROM ({_OFFER}) AS offer LEFT JOIN LATERAL (
        SELECT expires_at, sum(amount) AS amount FROM loans_reservation
        WHERE loan_id = offer.id AND state IN ('reserved', 'pending') AND expires_at > offer.at
        GROUP BY expires_at ORDER BY expires_at LIMIT 1
    ) AS next ON true
    """
)


@dataclass(frozen=True)
class Offer:
    """A loan as a buyer sees it at one instant, from one read. `claimed` leaves lapsed reservations out, `lapsed` is their sum."""

    loan: Loan
    at: datetime
    claimed: Decimal
    lapsed: Decimal

    @property
    def takes_reservations(self) -> bool:
        return self.loan.status == LoanStatus.OPEN and self.loan.closes_at is not None and self.at < self.loan.closes_at

    @property
    def limit(self) -> Decimal:
        return limits.limit(self.loan.remaining, self.loan.overbooking_rate)

    @property
    def available(self) -> Decimal:
        return self.available_with(self.claimed)

    def available_with(self, claimed: Decimal) -> Decimal:
        """What would be available if `claimed` dollars were live."""
        if not self.takes_reservations:
            return Decimal("0.00")
        return limits.available(self.loan.remaining, self.loan.overbooking_rate, claimed)


@dataclass(frozen=True)
class OfferTo(Offer):
    """The same as one investor finds it. The next reservations may lapse at `frees_at`; None where no reservation's clock is running."""

    may_buy: bool
    frees_at: datetime | None
    available_then: Decimal


def loan_offer(reference: str, now: datetime | None = None) -> Offer:
    """The loan with what is available of it; NotFound for a reference that no loan has."""
    found, _ = _read_offer(_OFFER, {"reference": reference, "now": now})
    return found


def loan_offer_to(investor_id: int, reference: str, now: datetime | None = None) -> OfferTo:
    """The same, and whether the investor may buy, and what would be available once more reservations have lapsed."""
    found, (may_buy, frees_at, freed) = _read_offer(_OFFER_TO, {"reference": reference, "investor_id": investor_id, "now": now})
    then = found.available_with(found.claimed - freed) if frees_at else found.available
    return OfferTo(found.loan, found.at, found.claimed, found.lapsed, may_buy, frees_at, then)


def _read_offer(statement: Prepared, values: dict[str, Any]) -> tuple[Offer, Sequence[Any]]:
    # A query set, even a raw one, would take longer than the database: a refusal would cost more than an acceptance.
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        row = cursor.fetchone()
    if row is None:
        raise NotFound(f"There is no loan {values['reference']}.")
    loan, (at, lapsed, *more) = row[: len(_LOAN_COLUMNS)], row[len(_LOAN_COLUMNS) :]
    return _as_offer(Loan.from_db(connection.alias, _LOAN_COLUMNS, loan), at, lapsed), more


def loan_offers(loan_ids: Sequence[int], now: datetime | None = None) -> list[Offer]:
    """The loans of these ids, in their order, each with what is available of it; all from one read."""
    read = Loan.objects.using(replica.for_anyone()).raw(_OFFERS_OF, {"ids": list(loan_ids), "now": now})
    found = {loan.pk: _as_offer(loan, loan.at, loan.lapsed) for loan in read}  # type: ignore[attr-defined]
    return [found[loan_id] for loan_id in loan_ids if loan_id in found]


def _as_offer(loan: Loan, at: datetime, lapsed: Decimal) -> Offer:
    return Offer(loan, at, loan.claimed - lapsed, lapsed)
