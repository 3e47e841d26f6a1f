"""How does a loan's course look? Drawn the same for investors and for staff."""

from collections.abc import Sequence

from django.utils.safestring import SafeString

from loans.domain.fill_curve import FillPoint
from loans.models import Loan
from peerloans.web import charts
from peerloans.web.charts import Series

SHARES = ("settled", "pending", "reserved")


def fill_curve_chart(loan: Loan, points: Sequence[FillPoint]) -> SafeString:
    """What of the loan was settled, pending and reserved over time, beside its amount and the most that could be taken."""
    areas = [Series(share.capitalize(), share, [getattr(point, share) for point in points]) for share in SHARES]
    lines = [
        Series("The loan’s amount", "amount", [point.amount for point in points]),
        Series("The most that could be taken", "limit", [point.settled + point.limit for point in points]),
    ]
    told = "What of it was settled, pending and reserved on each day, beside its amount and the most that could be taken."
    return charts.curve(f"How {loan.reference} filled", told, [point.at for point in points], areas=areas, lines=lines)
