"""Who is asking? Found by one read of the bearer's token, with the user and the investor that go with it.

A process remembers for a minute whom it has found: looking again for each request would take a third of the time of
a reservation. Whether a user may still buy, the decision about each reservation asks the database anyway.
"""

from time import monotonic
from typing import Any

from django.db import connection
from knox.auth import TokenAuthentication
from knox.crypto import hash_token
from knox.models import AuthToken
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request

from loans.models import Investor, User
from peerloans.database.prepared import Prepared

REMEMBERED_SECONDS = 60.0  # how long at most a token that was revoked elsewhere still opens
REMEMBERED_TOKENS = 20_000  # about 10 MB

# The same through the ORM takes four times as long, a good part of what a reservation takes.
_FIND = Prepared(
    """
    SELECT token.digest, token.expiry, extract(epoch FROM token.expiry - clock_timestamp())::float,
        person.id, person.username, person.is_active,
        investor.id, investor.user_id, investor.name, investor.accredited_until
    FROM knox_authtoken token JOIN loans_user person ON person.id = token.user_id
        LEFT JOIN loans_investor investor ON investor.user_id = person.id
    WHERE token.digest = %s
    """
)


_remembered: dict[str, tuple[float, Any]] = {}  # rows by digest, and until when by the process's clock


def forget(digest: str | None = None) -> None:
    """Ask the database when the token, or any, comes again."""
    if digest is None:
        _remembered.clear()
    else:
        _remembered.pop(digest, None)


class BearerAuthentication(TokenAuthentication):
    """Knox's tokens, hashed and expiring. Knox itself reads three times and deletes expired tokens on the way."""

    def authenticate_credentials(self, token: bytes) -> tuple[User, AuthToken]:
        """Raises AuthenticationFailed: token_expired, or not_authenticated for anything else."""
        digest = hash_token(token.decode("latin-1"))
        until, row = _remembered.get(digest, (0.0, None))
        if monotonic() >= until:
            row = _read(digest)
        user = User.from_db(connection.alias, ["id", "username", "is_active"], row[3:6])
        if row[6]:
            user.investor = Investor.from_db(connection.alias, ["id", "user_id", "name", "accredited_until"], row[6:])
        return user, AuthToken.from_db(connection.alias, ["digest", "expiry"], row[:2])


def _read(digest: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(_FIND, [digest])
        row = cursor.fetchone()
    if not row or not row[5]:
        raise AuthenticationFailed("This token is unknown, or has been revoked. Get one at /api/v1/auth/token/.")
    seconds_left = row[2]
    if seconds_left <= 0:
        raise AuthenticationFailed("This token has expired. Get a new one at /api/v1/auth/token/.", code="token_expired")
    if len(_remembered) >= REMEMBERED_TOKENS:
        forget()
    _remembered[digest] = monotonic() + min(seconds_left, REMEMBERED_SECONDS), row
    return row


class IsInvestor(IsAuthenticated):
    """A user who buys; staff do not."""

    message = "Only investors may do this."

    def has_permission(self, request: Request, view: Any) -> bool:
        return super().has_permission(request, view) and hasattr(request.user, "investor")


def investor(request: Request) -> Investor:
    """The investor who asks, where IsInvestor has let the request in."""
    return request.user.investor  # type: ignore[union-attr]
