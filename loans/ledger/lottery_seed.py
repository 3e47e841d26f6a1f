"""Draw the seed of a loan's lottery, and reveal it once the lottery has run.

The seed is drawn when the loan opens. It is kept as a secret, and its SHA-256 is published and recorded in history. So it cannot
be replaced later, and the order in which the lottery settles cannot be foretold.
"""

import secrets
from typing import Any

from loans.domain.settlement_rules import lottery, lottery_commitment
from loans.models import Loan

SEED_BYTES = 16


def changes_drawing_a_seed(loan: Loan) -> dict[str, Any]:
    """Return the changes of a loan that opens, or reopens: a new secret seed and its commitment. Empty where the rule is no lottery."""
    if loan.settlement_rule != lottery.__name__:
        return {}
    seed = secrets.token_hex(SEED_BYTES)
    return {"lottery_secret": seed, "lottery_commitment": lottery_commitment(seed), "lottery_seed": ""}


def changes_revealing_the_seed(loan: Loan) -> dict[str, Any]:
    """Return the changes of a loan that becomes funded: its seed is no secret any more. Empty where there is no secret."""
    return {"lottery_secret": "", "lottery_seed": loan.lottery_secret} if loan.lottery_secret else {}
