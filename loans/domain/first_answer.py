"""Define the parts of an idempotent request: its key, and the first answer, which a repeat gets again.

A key that is used again with another request is refused: `loans/api/idempotency.py` compares the two digests, and
`peerloans/api/error_statuses.py` has the status.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

KEPT_FOR = timedelta(hours=24)
"""How long a repeat gets the first answer."""


@dataclass(frozen=True)
class Key:
    """An Idempotency-Key of a user, and the digest of the request that carries it."""

    user_id: int
    text: str
    digest: str


class FirstAnswer(NamedTuple):
    """The answer to the first request with a key, and that request's digest.

    After a new reservation only its id is kept: the answer is rendered again from history, and `body` is empty.
    """

    digest: str
    status: int
    body: str
    reservation_id: UUID | None


class AnsweredBefore(Exception):
    """The key has a first answer, so the request is not decided again. The API answers it, after comparing the digests."""

    def __init__(self, first: FirstAnswer) -> None:
        super().__init__()
        self.first = first
