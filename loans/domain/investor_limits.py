"""Decide whether one more reservation would exceed a limit of its investor.

- unfunded: the dollars of live reservations whose money is not here. Money that is here counts in no limit.
- let go: a reservation that its investor canceled, or that lapsed, counts for a while (LET_GO_WITHIN) from that instant on.

`loans/ledger/admission.py` says the same rules in SQL; tests/loans/ledger/test_admission.py holds the two together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

from loans.domain.dollars import CENT

DEFAULT_UNFUNDED_LIMIT = Decimal("250000.00")  # dollars, over all loans
DEFAULT_LET_GO_LIMIT = 10
LET_GO_WITHIN = timedelta(hours=24)
DEFAULT_INVESTOR_SHARE = Decimal("1.0000")  # of a loan's amount, which one investor may hold unfunded

UNFUNDED, UNFUNDED_ON_LOAN, LET_GO = "unfunded", "unfunded_on_loan", "let_go"
KINDS_OF_LIMITS = (UNFUNDED, UNFUNDED_ON_LOAN, LET_GO)


class Unfunded(NamedTuple):
    """A reservation that is stored as live and whose money is not here. It has lapsed once `expires_at` has passed."""

    loan_id: int
    amount: Decimal
    expires_at: datetime


@dataclass(frozen=True)
class ExceededLimit:
    """The limit that a reservation would exceed: `used` of `limit` are taken, both in dollars, or reservations with LET_GO.

    At `frees_at` the same reservation would be within the limit, as far as one can tell now; None if that is never.
    """

    limited: str
    limit: Decimal | int
    used: Decimal | int
    frees_at: datetime | None


def loan_limit(amount: Decimal, minimum: Decimal, investor_share: Decimal) -> Decimal:
    """Return how many dollars of a loan one investor may hold unfunded: a share of its amount, and never less than its minimum."""
    return max(minimum, (amount * investor_share).quantize(CENT, ROUND_DOWN))


def exceeded_limit(
    amount: Decimal,
    *,
    unfunded_limit: Decimal,
    unfunded: Sequence[Unfunded],
    loan_id: int,
    limit_on_loan: Decimal,
    let_go_limit: int,
    let_go_at: Sequence[datetime],
    at: datetime,
) -> ExceededLimit | None:
    """Return the first limit that a reservation of `amount` dollars would exceed at the instant `at`; None if it exceeds none.

    `unfunded` are all unfunded reservations of the investor, lapsed ones too; `let_go_at` is when each other one was let go.
    """
    live = sorted((each for each in unfunded if each.expires_at > at), key=lambda each: each.expires_at)
    lapsed_at = [each.expires_at for each in unfunded if each.expires_at <= at]
    return (
        _exceeded_let_go(let_go_limit, [*let_go_at, *lapsed_at], at)
        or _exceeded_dollars(UNFUNDED, unfunded_limit, live, amount)
        or _exceeded_dollars(UNFUNDED_ON_LOAN, limit_on_loan, [each for each in live if each.loan_id == loan_id], amount)
    )


def _exceeded_let_go(limit: int, let_go_at: Sequence[datetime], at: datetime) -> ExceededLimit | None:
    recent = sorted(instant for instant in let_go_at if instant > at - LET_GO_WITHIN)
    if len(recent) < limit:
        return None
    # A place is free again once all but the newest `limit - 1` of them are old enough.
    return ExceededLimit(LET_GO, limit, len(recent), recent[-limit] + LET_GO_WITHIN if limit else None)


def _exceeded_dollars(limited: str, limit: Decimal, live: Sequence[Unfunded], amount: Decimal) -> ExceededLimit | None:
    used = sum((each.amount for each in live), Decimal("0.00"))
    if used + amount <= limit:
        return None
    still_used, frees_at = used, None
    for each in live:
        still_used -= each.amount
        if still_used + amount <= limit:
            frees_at = each.expires_at
            break
    return ExceededLimit(limited, limit, used, frees_at)
