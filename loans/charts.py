"""Draw what the selectors read of loans, for the public pages and for staff."""

from collections.abc import Sequence
from decimal import Decimal
from functools import partial

from django.utils.safestring import SafeString

from loans.domain.fill_curve import FillPoint
from loans.domain.states import ReservationState
from loans.models import Loan
from loans.selectors.closing_values import ClosingPoint
from loans.selectors.daily_figures import DayFigures, WeeklyExits
from loans.selectors.fill_curve import loan_fill_curve
from loans.selectors.offers import LoanOffer
from loans.selectors.overbooking import OverbookingEvidence
from loans.selectors.queue import LoanFunding
from peerloans.computed_once import computed_once
from peerloans.web import charts
from peerloans.web.charts import Series

TENTH = Decimal("0.1")
FILL_CURVE_SECONDS = 60
SHARES = ("settled", "pending", "reserved")


def fill_curve_chart(offer: LoanOffer) -> SafeString:
    """Draw what of the loan was settled, pending and reserved over time, beside its amount and the most that could be taken.

    A curve is computed once a minute. Meanwhile others get the last one; where there is none yet, they wait for a moment.
    """
    loan = offer.loan
    points: list[FillPoint] = computed_once(f"curve:{loan.pk}", partial(loan_fill_curve, offer), FILL_CURVE_SECONDS)
    areas = [Series(share.capitalize(), share, [getattr(point, share) for point in points]) for share in SHARES]
    lines = [
        Series("The loan’s amount", "amount", [point.amount for point in points]),
        Series("The most that could be taken", "limit", [point.settled + point.limit for point in points]),
    ]
    description = "What of it was settled, pending and reserved on each day, beside its amount and the most that could be taken."
    return charts.curve(f"How {loan.reference} filled", description, [point.at for point in points], areas=areas, lines=lines)


def overbooking_chart(evidence: OverbookingEvidence) -> SafeString:
    """Draw the chance that somebody is turned away, and what stays unsold, against the overbooking rate of the filled loan."""
    loan, curve = evidence.loan, evidence.curve
    lines = [
        Series("Chance that somebody is turned away", "third", [_percents(expected.chance_over) for _, expected in curve]),
        Series(
            "Unsold, of what remains", "first", [_percents(expected.expected_unfilled / float(loan.remaining)) for _, expected in curve]
        ),
    ]
    uprights = [
        ("Present rate", "amount", _percents(loan.overbooking_rate)),
        ("Recommended rate", "limit", _percents(evidence.recommended_rate)),
    ]
    description = (
        "If the loan is filled up to its limit: how probably somebody who has paid is turned away, and how much of what remains "
        f"stays unsold, at each overbooking rate. Its present rate is {uprights[0][2]} %, the recommended one {uprights[1][2]} %."
    )
    rates = [_percents(rate) for rate, _ in curve]
    return charts.against(f"Overbooking of {loan.reference}", description, "Rate", rates, lines=lines, uprights=uprights)


def _percents(share: Decimal | float) -> Decimal:
    return (100 * Decimal(share)).quantize(TENTH)


def funding_bar(funding: LoanFunding, *, key: bool = True) -> SafeString:
    """Draw what of the loan is settled, pending, reserved and free on one bar, with its key below or without."""
    loan = funding.offer.loan
    return charts.funding(
        f"Funding of {loan.reference}",
        amount=loan.amount,
        settled=loan.settled,
        pending=funding.pending,
        reserved=funding.reserved,
        limit=funding.offer.limit,
        key=key,
    )


def closing_values_chart(loan: Loan, points: Sequence[ClosingPoint]) -> SafeString:
    """Draw the loan's closing values."""
    return _closing("Closing values", loan.reference, points)


def closing_totals_chart(points: Sequence[ClosingPoint]) -> SafeString:
    """Draw the closing values of all loans together."""
    return _closing("Closing values of all loans", "all loans together", points)


def _closing(title: str, subject: str, points: Sequence[ClosingPoint]) -> SafeString:
    lines = [
        Series("Remaining", "first", [point.remaining for point in points]),
        Series("Claimed", "third", [point.claimed for point in points]),
    ]
    description = f"What remained of {subject} at the end of each banking day, and what was claimed."
    return charts.curve(title, description, [point.day for point in points], lines=lines, stepped=False)


def daily_flow_chart(days: Sequence[DayFigures]) -> SafeString:
    """Draw the dollars that were reserved, settled and canceled on each day."""
    lines = [
        Series("Reserved", "first", [day.reserved for day in days]),
        Series("Settled", "second", [day.settled for day in days]),
        Series("Canceled", "third", [day.canceled for day in days]),
    ]
    description = "The dollars that were reserved, settled and canceled on each day."
    return charts.curve("Flow by day", description, [day.day for day in days], lines=lines, stepped=False)


def lapsed_shares_chart(rows: Sequence[WeeklyExits]) -> SafeString:
    """Draw, of the reservations that left each state in a week, what share lapsed. A week in which none left one counts as 0 %."""
    mondays = sorted({row.monday for row in rows})
    shares = {(row.monday, row.state): (Decimal(100 * row.lapsed) / row.exits).quantize(TENTH) for row in rows}
    lines = [
        Series(
            "Reserved, no transfer started",
            "third",
            [shares.get((monday, ReservationState.RESERVED), Decimal("0.0")) for monday in mondays],
        ),
        Series(
            "Pending, no money received", "first", [shares.get((monday, ReservationState.PENDING), Decimal("0.0")) for monday in mondays]
        ),
    ]
    description = "Of the reservations that left each state in a week, the share whose time had run out."
    return charts.curve("Share that lapsed", description, mondays, lines=lines, unit="%", stepped=False)
