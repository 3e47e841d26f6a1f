"""Read what counts in an investor's limits, and whether one more reservation would exceed one of them."""

from datetime import datetime
from decimal import Decimal

from loans.domain import investor_limits
from loans.domain.investor_limits import ExceededLimit, Unfunded
from loans.models import Investor, Loan, Reservation
from peerloans.database.clock import database_now

# The most that the investor `entry.investor_id` may reserve of `loan` at the instant `at`, by the rules of
# loans/domain/investor_limits.py: 0 if not active, not accredited on that day, or with too many reservations let go.
MAY_RESERVE = """
    SELECT CASE
        WHEN is_active AND accredited_until >= (%(at)s::timestamptz AT TIME ZONE 'America/New_York')::date
            AND lapsed + let_go < let_go_limit
        THEN GREATEST(0, LEAST(
            unfunded_limit - unfunded, GREATEST(loan.minimum, trunc(loan.amount * loan.investor_share, 2)) - unfunded_on_loan
        )) ELSE 0 END AS dollars
    FROM loans_investor AS investor JOIN loans_user ON loans_user.id = user_id, LATERAL (
        SELECT COALESCE(sum(amount) FILTER (WHERE expires_at > %(at)s), 0) AS unfunded,
            COALESCE(sum(amount) FILTER (WHERE expires_at > %(at)s AND loan_id = loan.id), 0) AS unfunded_on_loan,
            count(*) FILTER (WHERE expires_at <= %(at)s AND expires_at > %(at)s - %(let_go_within)s::interval) AS lapsed
        FROM loans_reservation WHERE investor_id = investor.id AND expires_at IS NOT NULL
    ) AS running, LATERAL (
        SELECT count(*) AS let_go FROM loans_reservation
        WHERE investor_id = investor.id AND let_go_at > %(at)s - %(let_go_within)s::interval
    ) AS ended
    WHERE investor.id = entry.investor_id
"""


def exceeded_limit(investor_id: int, loan: Loan, amount: Decimal, now: datetime | None = None) -> ExceededLimit | None:
    """Return the limit that a reservation of `amount` dollars of the loan would exceed now; None if it exceeds none."""
    at = database_now(now)
    investor = Investor.objects.get(pk=investor_id)
    return investor_limits.exceeded_limit(
        amount,
        unfunded_limit=investor.unfunded_limit,
        unfunded=_unfunded(investor_id),
        loan_id=loan.pk,
        limit_on_loan=investor_limits.loan_limit(loan.amount, loan.minimum, loan.investor_share),
        let_go_limit=investor.let_go_limit,
        let_go_at=_let_go_since(investor_id, at - investor_limits.LET_GO_WITHIN),
        at=at,
    )


def unfunded_dollars(investor_id: int, now: datetime | None = None) -> Decimal:
    """Return the dollars of the investor's live reservations whose money is not here."""
    at = database_now(now)
    return sum((each.amount for each in _unfunded(investor_id) if each.expires_at > at), Decimal("0.00"))


def _unfunded(investor_id: int) -> list[Unfunded]:
    # Exactly the reservations with a deadline: live ones whose money is not here, among them lapsed ones that are not swept yet.
    rows = Reservation.objects.filter(investor_id=investor_id, expires_at__isnull=False).order_by()
    return [Unfunded(loan_id, amount, at) for loan_id, amount, at in rows.values_list("loan_id", "amount", "expires_at") if at]


def _let_go_since(investor_id: int, since: datetime) -> list[datetime]:
    let_go = Reservation.objects.filter(investor_id=investor_id, let_go_at__gt=since).order_by("let_go_at")
    return [instant for instant in let_go.values_list("let_go_at", flat=True) if instant]
