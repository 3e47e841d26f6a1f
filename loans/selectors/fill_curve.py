"""Read how a loan filled: from the values that a job keeps of a long history (loans/services/fill_values.py), and from what follows."""

from collections.abc import Sequence
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from loans.domain.fill_curve import FillChange, FillPoint, FillTotals, Reservations, evenly_spaced, fill_curve
from loans.domain.states import LOSSES, LoanStatus
from loans.models import Transition
from loans.selectors.offers import LoanOffer

# The values at each instant: those of the last minute before it. And the last ones, from which history is read on.
_KEPT = """
    SELECT DISTINCT transition_id, kept.at, amount, settled, pending, reserved, overbooking_rate
    FROM unnest(%(instants)s::timestamptz[] || 'infinity'::timestamptz) AS instant CROSS JOIN LATERAL (
        SELECT * FROM loans_fillvalue WHERE loan_id = %(loan_id)s AND at <= instant ORDER BY at DESC, transition_id DESC LIMIT 1
    ) AS kept
    ORDER BY transition_id
"""


def loan_fill_curve(offer: LoanOffer) -> list[FillPoint]:
    """Return how the loan filled, from its opening to the instant of the offer; no longer open, to its last transition.

    Empty for a loan that never opened. A change that is kept counts from the last change of its minute on.
    """
    loan = offer.loan
    if loan.opens_at is None or loan.status == LoanStatus.UPCOMING:
        return []
    history = Transition.objects.filter(loan=loan, transfer=None, waiting_entry=None).exclude(event__in=LOSSES)
    end = offer.at
    if loan.status != LoanStatus.OPEN:
        end = history.order_by("-id").values_list("at", flat=True).first() or end
    instants = evenly_spaced(loan.opens_at, end)
    with connection.cursor() as cursor:
        cursor.execute(_KEPT, {"loan_id": loan.pk, "instants": instants})
        values = cursor.fetchall()
    last_kept = values[-1][0] if values else 0
    columns = ("at", "reservation_id", "to_state", "amount", "facts__overbooking_rate")
    tail = list(history.filter(id__gt=last_kept).order_by("id").values_list(*columns))
    return fill_curve(
        map(FillChange._make, tail),
        instants,
        loan.overbooking_rate,
        totals=[FillTotals(*totals) for _, *totals in values],
        before=_before(history, last_kept, [reservation_id for _, reservation_id, *_ in tail if reservation_id]) if last_kept else None,
    )


def _before(history: QuerySet[Transition], last_kept: int, reservation_ids: Sequence[UUID]) -> Reservations:
    """Return the state and the amount that the reservations had after the last kept transition."""
    earlier = history.filter(id__lte=last_kept, reservation_id__in=set(reservation_ids))
    rows = earlier.order_by("reservation_id", "-id").distinct("reservation_id").values_list("reservation_id", "to_state", "amount")
    return {reservation_id: (state, amount) for reservation_id, state, amount in rows if reservation_id and amount is not None}
