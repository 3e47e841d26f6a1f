"""Count from history how many reservations lapsed in the last 180 days, and how large a typical one is.

Both are read for all loans at once and remembered for a while, since they change slowly and a million reservations take time to read.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.core.cache import cache
from django.db import connection

from loans.domain.overbooking import DAYS_COUNTED, KEPT, LAPSED, LapseCount, LapseShare, LoanLapses
from loans.domain.states import ReservationEvent, ReservationState
from peerloans.database.clock import database_now

REMEMBERED_SECONDS = 600

# The index transition_phase_end answers it without reading the table.
LAPSE_COUNTS = """
    WITH undone AS (
        -- A payment that was received in full and then returned before it settled: one phase, which lapsed. Its `funded` would count
        -- the phase once more, as kept.
        SELECT loan_id, count(*) AS phases FROM loans_transition AS returned
        WHERE event = %(payment_returned)s AND from_state = 'pending' AND at > %(since)s AND at <= %(now)s
            AND EXISTS (
                SELECT FROM loans_transition AS funded
                WHERE funded.reservation_id = returned.reservation_id AND funded.event = %(funded)s AND funded.from_state = 'pending'
                    AND funded.id < returned.id AND funded.at > %(since)s
            )
        GROUP BY loan_id
    ), ended AS (
        SELECT loan_id, from_state, count(*) FILTER (WHERE event = ANY(%(lapsed)s)) AS lapsed, count(*) AS counted
        FROM loans_transition
        WHERE event = ANY(%(ends)s) AND from_state IN ('reserved', 'pending') AND at > %(since)s AND at <= %(now)s
        GROUP BY loan_id, from_state
    )
    SELECT loan_id, from_state, lapsed,
        counted - lapsed - CASE from_state WHEN 'pending' THEN COALESCE(undone.phases, 0) ELSE 0 END
    FROM ended LEFT JOIN undone USING (loan_id)
"""

# The amounts are counted before they are ordered: most of them are round, so few differ.
TYPICAL_AMOUNT = """
    WITH amounts AS (
        SELECT amount, count(*) AS reservations FROM loans_reservation
        WHERE created_at > %(since)s AND created_at <= %(now)s GROUP BY amount
    )
    SELECT amount FROM (
        SELECT amount, sum(reservations) OVER (ORDER BY amount) AS up_to_it, sum(reservations) OVER () AS of_all FROM amounts
    ) AS ordered
    WHERE 2 * up_to_it >= of_all ORDER BY amount LIMIT 1
"""


def warm_lapse_shares(now: datetime | None) -> None:
    """Read and remember what the functions below need, so that they take no time under a lock."""
    lapse_shares((), now)
    typical_amount(Decimal(0), now)


def lapse_shares(loan_ids: Iterable[int], now: datetime | None) -> dict[int, LoanLapses]:
    """Return the lapse shares of each of these loans, by its id, from phases that ended in the 180 days before `now`.

    `now` is None for the present. The counts may be up to ten minutes old.
    """
    at = database_now(now)
    wanted = set(loan_ids)
    own: dict[tuple[int, str], LapseCount] = {}
    lapsed_of_all, kept_of_all = Counter[str](), Counter[str]()
    for loan_id, state, lapsed, kept in _remembered("lapse-counts", at, lambda: _lapse_counts(at)):
        lapsed_of_all[state] += lapsed
        kept_of_all[state] += kept
        if loan_id in wanted:
            own[loan_id, state] = LapseCount(lapsed, kept)

    def share(loan_id: int, state: ReservationState) -> LapseShare:
        return LapseShare(own.get((loan_id, state), LapseCount(0, 0)), LapseCount(lapsed_of_all[state], kept_of_all[state]))

    return {loan_id: LoanLapses(share(loan_id, ReservationState.RESERVED), share(loan_id, ReservationState.PENDING)) for loan_id in wanted}


def typical_amount(minimum: Decimal, now: datetime | None) -> Decimal:
    """Return the median of the amounts reserved in the 180 days before `now`, in dollars; at least the loan's `minimum`."""
    at = database_now(now)
    rows = _remembered("typical-amount", at, lambda: _rows(TYPICAL_AMOUNT, at))
    return max(minimum, rows[0][0] if rows else minimum)


def _lapse_counts(now: datetime) -> list[tuple[Any, ...]]:
    return _rows(
        LAPSE_COUNTS,
        now,
        payment_returned=ReservationEvent.PAYMENT_RETURNED,
        funded=ReservationEvent.FUNDED,
        lapsed=sorted(LAPSED),
        ends=sorted(KEPT | LAPSED),
    )


def _rows(statement: str, now: datetime, **values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values | {"now": now, "since": now - timedelta(days=DAYS_COUNTED)})
        return list(cursor.fetchall())


def _remembered(name: str, now: datetime, read: Any) -> list[tuple[Any, ...]]:
    """Return what `read` returns, or what it returned for an instant within the same ten minutes."""
    key = f"{name}-{now.timestamp() // REMEMBERED_SECONDS:.0f}"
    remembered: list[tuple[Any, ...]] | None = cache.get(key)
    if remembered is None:
        remembered = read()
        cache.set(key, remembered, REMEMBERED_SECONDS)
    return remembered
