"""Open review items, which wait for a decision of staff, and mark them as resolved."""

from datetime import datetime
from uuid import UUID

from loans.models import ReviewItem


def open_review_item(kind: str, detail: str, *, at: datetime, loan_id: int | None = None, reservation_id: UUID | None = None) -> None:
    """Open a review item for staff. `detail` is cut to 1,000 characters.

    If an item of the same kind, loan, reservation and detail is open, do nothing.
    """
    item = ReviewItem(kind=kind, detail=detail[:1000], loan_id=loan_id, reservation_id=reservation_id, opened_at=at)
    ReviewItem.objects.bulk_create([item], ignore_conflicts=True)


def mark_resolved(review_item: ReviewItem, *, user_id: int | None, note: str, at: datetime) -> None:
    """Resolve a review item; `note` says how. The same finding opens a new one."""
    review_item.resolved_at, review_item.resolved_by_id, review_item.note = at, user_id, note
    review_item.save(update_fields=["resolved_at", "resolved_by", "note"])
