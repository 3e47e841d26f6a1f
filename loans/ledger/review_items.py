"""List what needs a person, and take it off the list."""

from datetime import datetime
from uuid import UUID

from loans.models import ReviewItem


def open_review_item(kind: str, detail: str, *, at: datetime, loan_id: int | None = None, reservation_id: UUID | None = None) -> None:
    """List something for staff. While the same item is open, it is listed once."""
    item = ReviewItem(kind=kind, detail=detail[:1000], loan_id=loan_id, reservation_id=reservation_id, opened_at=at)
    ReviewItem.objects.bulk_create([item], ignore_conflicts=True)


def close_review_item(review_item: ReviewItem, *, user_id: int | None, note: str, at: datetime) -> None:
    """Take a review item off the list. The same finding is listed again if it occurs again."""
    review_item.resolved_at, review_item.resolved_by_id, review_item.note = at, user_id, note
    review_item.save(update_fields=["resolved_at", "resolved_by", "note"])
