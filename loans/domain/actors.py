"""How does a change get written? Only here, in three statements, each with its history.

`admit` takes a new reservation into a loan's queue, `sweep` cancels lapsed reservations, and a Ledger's `post` writes whatever was
decided about loans under lock. Each keeps a loan's totals in step with its reservations.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Actor:
    """Who does it; history names them."""

    kind: Literal["investor", "staff", "bank", "system"]
    user_id: int | None = None


SYSTEM = Actor("system")


BANK = Actor("bank")
