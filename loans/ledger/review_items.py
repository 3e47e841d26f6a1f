"""Open review items, which wait for a decision of staff, give them owners and comments, and mark them as resolved."""

from datetime import datetime
from uuid import UUID

from loans.models import BankEvent, ReviewComment, ReviewItem


def open_review_item(
    kind: str,
    detail: str,
    *,
    at: datetime,
    loan_id: int | None = None,
    reservation_id: UUID | None = None,
    bank_event: BankEvent | None = None,
) -> None:
    """Open a review item for staff. `detail` is cut to 1,000 characters. `bank_event` is the report that staff have to decide on.

    If an item of the same kind, loan, reservation and detail is open, do nothing.
    """
    item = ReviewItem(kind=kind, detail=detail[:1000], loan_id=loan_id, reservation_id=reservation_id, bank_event=bank_event, opened_at=at)
    ReviewItem.objects.bulk_create([item], ignore_conflicts=True)


def mark_resolved(review_item: ReviewItem, *, user_id: int | None, note: str, at: datetime) -> None:
    """Resolve a review item; `note` says how. If the same is found again later, a new item is opened."""
    review_item.resolved_at, review_item.resolved_by_id, review_item.note = at, user_id, note
    review_item.save(update_fields=["resolved_at", "resolved_by", "note"])


def set_owner(review_item: ReviewItem, owner_id: int | None) -> None:
    """Store who works on the review item; None for nobody."""
    review_item.owner_id = owner_id
    review_item.save(update_fields=["owner"])


def add_comment(review_item: ReviewItem, *, user_id: int, text: str, at: datetime, comment_id: UUID | None = None) -> None:
    """Add what a member of staff says about the review item. If a comment with this id is there, do nothing."""
    comment = ReviewComment(review_item=review_item, user_id=user_id, text=text, at=at)
    comment.pk = comment_id or comment.pk
    ReviewComment.objects.bulk_create([comment], ignore_conflicts=True)


def resolve_items_about(bank_event: BankEvent, *, user_id: int | None, note: str, at: datetime) -> None:
    """Resolve the open review items about a report, since staff have decided or a later report has."""
    about = ReviewItem.objects.filter(bank_event=bank_event, resolved_at=None)
    about.update(resolved_at=at, resolved_by_id=user_id, note=note[:1000])
