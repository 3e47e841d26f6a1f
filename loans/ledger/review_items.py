"""How does a change get written? Only here, in three statements, each with its history.

`admit` takes a new reservation into a loan's queue, `sweep` cancels lapsed reservations, and a Ledger's `post` writes whatever was
decided about loans under lock. Each keeps a loan's totals in step with its reservations.
"""

from datetime import datetime
from uuid import UUID

from loans.models import ReviewItem


def open_review_item(kind: str, detail: str, *, at: datetime, loan_id: int | None = None, reservation_id: UUID | None = None) -> None:
    """List something for staff; once, for as long as it is open."""
    ReviewItem.objects.bulk_create(
        [ReviewItem(kind=kind, detail=detail[:1000], loan_id=loan_id, reservation_id=reservation_id, opened_at=at)], ignore_conflicts=True
    )


def close_review_item(review_item: ReviewItem, *, user_id: int | None, note: str, at: datetime) -> None:
    """Take a review item off the list; what is found anew is listed anew."""
    review_item.resolved_at, review_item.resolved_by_id, review_item.note = at, user_id, note
    review_item.save(update_fields=["resolved_at", "resolved_by", "note"])
