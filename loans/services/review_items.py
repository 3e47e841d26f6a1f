"""Let staff take review items, comment on them and resolve them."""

from datetime import datetime
from uuid import UUID

from loans.domain.actors import Actor, user_of
from loans.domain.errors import IllegalTransition, Invalid, NotFound
from loans.ledger import locks
from loans.ledger.review_items import add_comment, mark_resolved, set_owner
from loans.models import ReviewItem
from peerloans.database.clock import database_now
from peerloans.wording import instant_text

MOST_CHARACTERS = 1000  # of a comment


def take_review_item(*, review_item_id: int, owner_shown: int | None, actor: Actor, now: datetime | None = None) -> ReviewItem:
    """Make the actor the owner of an open review item. A comment records it. A repeat changes nothing.

    `owner_shown` is the owner whom the actor saw; who takes an item from a colleague has seen that it is the colleague's.

    Raises:
        IllegalTransition: it is resolved, or has another owner than was shown.
        NotFound, NotPermitted, Busy.
    """
    with locks.short_transaction():
        user_id, review_item = user_of(actor), _lock_open(review_item_id)
        if review_item.owner_id == user_id:
            return review_item
        if review_item.owner_id != owner_shown:
            raise IllegalTransition(f"{review_item.owner or 'Nobody'} owns it now. Look at it again.")
        set_owner(review_item, user_id)
        add_comment(review_item, user_id=user_id, text="Took it.", at=database_now(now))
        return review_item


def give_back_review_item(*, review_item_id: int, actor: Actor, now: datetime | None = None) -> ReviewItem:
    """Leave an open review item of one's own without an owner. A comment records it. A repeat changes nothing.

    Raises:
        IllegalTransition: it is resolved, or has another owner.
        NotFound, NotPermitted, Busy.
    """
    with locks.short_transaction():
        user_id, review_item = user_of(actor), _lock_open(review_item_id)
        if review_item.owner_id is None:
            return review_item
        if review_item.owner_id != user_id:
            raise IllegalTransition(f"{review_item.owner} owns it.")
        set_owner(review_item, None)
        add_comment(review_item, user_id=user_id, text="Gave it back.", at=database_now(now))
        return review_item


def comment_on_review_item(*, review_item_id: int, comment_id: UUID, text: str, actor: Actor, now: datetime | None = None) -> None:
    """Add a comment to a review item, open or resolved. `comment_id` is that of the form, which is stored once.

    Raises:
        Invalid: the comment is empty, or longer than 1,000 characters.
        NotFound, NotPermitted, Busy.
    """
    text = text.strip()
    if not text or len(text) > MOST_CHARACTERS:
        raise Invalid(f"Write a comment of at most {MOST_CHARACTERS:,} characters.")
    with locks.short_transaction():
        add_comment(_lock(review_item_id), user_id=user_of(actor), text=text, at=database_now(now), comment_id=comment_id)


def resolve_review_item(*, review_item_id: int, actor: Actor, reason: str, now: datetime | None = None) -> ReviewItem:
    """Resolve a review item. `reason` says what was done about it.

    Raises:
        IllegalTransition: it has been resolved before, or it asks for an approval, which resolves it.
        NotFound, NotPermitted, Busy.
    """
    with locks.short_transaction():
        user_id, review_item = user_of(actor), _lock_open(review_item_id)
        if review_item.asks_for_approval:
            raise IllegalTransition("Approve or reject what was requested. That resolves it.")
        mark_resolved(review_item, user_id=user_id, note=reason, at=database_now(now))
        return review_item


def _lock_open(review_item_id: int) -> ReviewItem:
    review_item = _lock(review_item_id)
    if review_item.resolved_at:
        raise IllegalTransition(f"It was resolved at {instant_text(review_item.resolved_at)}.")
    return review_item


def _lock(review_item_id: int) -> ReviewItem:
    review_item = ReviewItem.objects.select_for_update().filter(pk=review_item_id).first()
    if not review_item:
        raise NotFound(f"There is no review item {review_item_id}.")
    return review_item
