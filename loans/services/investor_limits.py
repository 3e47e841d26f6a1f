"""Change the limits of one investor, at the request of staff."""

from decimal import Decimal

from loans.domain.actors import Actor, user_of
from loans.domain.dollars import MAX_DOLLARS, ZERO_DOLLARS
from loans.domain.errors import IllegalTransition, Invalid, NotFound, NotPermitted
from loans.ledger import locks
from loans.models import Investor
from peerloans.admin.audit_log import log_admin_action
from peerloans.wording import dollars_text

MAX_LET_GO = 1_000


def change_investor_limits(
    *, investor_id: int, actor: Actor, reason: str, unfunded_limit: Decimal | None = None, let_go_limit: int | None = None
) -> Investor:
    """Change the dollars that an investor may hold unfunded, and how many reservations the investor may let go within 24 hours.

    None leaves a limit as it is. The audit log records both with the reason. What the investor holds already stays.

    Raises:
        Invalid: a limit is negative or too large.
        IllegalTransition: the limits are so already.
        NotPermitted: they are the actor's own, or the actor is no user.
        NotFound, Busy.
    """
    user_id = user_of(actor)
    with locks.short_transaction():
        investor = Investor.objects.select_for_update(no_key=True).filter(pk=investor_id).first()
        if not investor:
            raise NotFound(f"There is no investor {investor_id}.")
        if investor.user_id == user_id:
            raise NotPermitted("These are your own limits. Ask another member of staff.")
        before = (investor.unfunded_limit, investor.let_go_limit)
        after = (
            investor.unfunded_limit if unfunded_limit is None else unfunded_limit,
            investor.let_go_limit if let_go_limit is None else let_go_limit,
        )
        investor.unfunded_limit, investor.let_go_limit = after
        if not (0 <= investor.unfunded_limit <= MAX_DOLLARS and 0 <= investor.let_go_limit <= MAX_LET_GO):
            raise Invalid(f"Choose from $0 to {dollars_text(MAX_DOLLARS)}, and from 0 to {MAX_LET_GO:,} reservations.")
        if after == before:
            raise IllegalTransition(f"The limits are {_in_words(*after)} already.")
        investor.save(update_fields=["unfunded_limit", "let_go_limit"])
        locks.add_to_limits({investor_id: ZERO_DOLLARS})  # an admission that has read the former limits must read again
        log_admin_action(user_id, investor, f"Changed the limits from {_in_words(*before)} to {_in_words(*after)}: {reason}")
        return investor


def _in_words(unfunded_limit: Decimal, let_go_limit: int) -> str:
    return f"{dollars_text(unfunded_limit)} and {let_go_limit:,} let go"
