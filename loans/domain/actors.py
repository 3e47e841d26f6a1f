"""Name who acts. History records the actor of each transition."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Actor:
    """Who acts: a kind of actor, and the signed-in user where there is one."""

    kind: Literal["investor", "staff", "bank", "system"]
    user_id: int | None = None


SYSTEM = Actor("system")
BANK = Actor("bank")
