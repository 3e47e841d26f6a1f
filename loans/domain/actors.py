"""Name who acts. History records the actor of each transition."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Actor:
    """Who acts: a kind of actor, and the signed-in user where there is one. `shows_reason`: the investor may read the actor's reason."""

    kind: Literal["investor", "staff", "bank", "system"]
    user_id: int | None = None
    shows_reason: bool = False


SYSTEM = Actor("system")
BANK = Actor("bank")
