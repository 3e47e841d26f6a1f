"""Name who acts. History records the actor of each transition."""

from dataclasses import dataclass
from typing import Literal, get_args

from loans.domain.errors import NotPermitted

ActorKind = Literal["investor", "staff", "bank", "system"]
ACTOR_KINDS: tuple[ActorKind, ...] = get_args(ActorKind)


@dataclass(frozen=True)
class Actor:
    """Who acts: a kind of actor, and the signed-in user where there is one.

    `shows_reason`: the investor may read the actor's reason. `approver_id`: the user who approved what `user_id` requested.
    """

    kind: ActorKind
    user_id: int | None = None
    shows_reason: bool = False
    approver_id: int | None = None


SYSTEM = Actor("system")
BANK = Actor("bank")


def user_of(actor: Actor) -> int:
    """Return the id of the signed-in user who acts.

    Raises:
        NotPermitted: the actor is no user.
    """
    if actor.user_id is None:
        raise NotPermitted("Only a signed-in user can do this.")
    return actor.user_id
