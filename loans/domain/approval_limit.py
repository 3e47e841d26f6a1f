"""Refuse an act of staff above a limit of dollars, unless a second person approved it.

`SERVICES` in loans/services/approvals.py lists these acts. The limit is the setting APPROVAL_ABOVE_DOLLARS (peerloans/settings.py).
"""

from decimal import Decimal

from loans.domain.actors import Actor
from loans.domain.errors import ApprovalNeeded
from peerloans.wording import dollars_text


def refuse_without_approval(actor: Actor, amount: Decimal, limit: Decimal) -> None:
    """Refuse a member of staff who moves more than `limit` dollars alone.

    Raises:
        ApprovalNeeded: another member of staff has to approve it.
    """
    is_alone = actor.kind == "staff" and actor.user_id is not None and actor.approver_id is None
    if is_alone and amount > limit:
        detail = f"{dollars_text(amount)} is more than one person may move alone. A second person has to approve it."
        raise ApprovalNeeded(detail, limit=limit)
