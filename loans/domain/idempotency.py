"""Is this very request decided already? It is known by the key that its client gave it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

KEPT_FOR = timedelta(hours=24)


@dataclass(frozen=True)
class Key:
    """An Idempotency-Key of a user, and the digest of the request that it came with."""

    user_id: int
    text: str
    digest: str


class FirstAnswer(NamedTuple):
    """What the first request with a key asked, by its digest, and was answered; of a new reservation only which it is."""

    digest: str
    status: int
    body: str
    reservation_id: UUID | None


class AnsweredBefore(Exception):
    def __init__(self, first: FirstAnswer) -> None:
        super().__init__()
        self.first = first


class RequestRunning(Exception):
    """Another request with the key is being decided, or has just been."""
