"""Authenticate requests by bearer token. The setting TOKEN_HOURS says how long a token is valid (peerloans/settings.py).

One statement reads a token with its user and investor. Each process remembers what it read for up to a minute, since reading
it for each request would take a third of the time of a reservation. The decision about each reservation reads in the database
whether the user may buy, so it never rests on what is remembered.
"""

from datetime import date, datetime
from time import monotonic
from typing import Any, NamedTuple

from django.db import connection
from knox.auth import TokenAuthentication
from knox.crypto import hash_token
from knox.models import AuthToken
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request

from loans.models import Investor, User
from peerloans.database.prepared import Prepared

REMEMBERED_SECONDS = 60.0  # how long a token that was revoked by another process may still work
REMEMBERED_TOKENS = 20_000  # about 10 MB


class TokenRow(NamedTuple):
    """A token with its user and, if the user is an investor, the investor."""

    digest: str
    expiry: datetime
    seconds_left: float
    user_id: int
    username: str
    is_active: bool
    investor_id: int | None
    investor_name: str | None
    accredited_until: date | None


# The ORM takes four times as long.
_READ = Prepared(
    """
    SELECT token.digest, token.expiry, extract(epoch FROM token.expiry - clock_timestamp())::float,
        person.id, person.username, person.is_active,
        investor.id, investor.name, investor.accredited_until
    FROM knox_authtoken token JOIN loans_user person ON person.id = token.user_id
        LEFT JOIN loans_investor investor ON investor.user_id = person.id
    WHERE token.digest = %s
    """
)
# By digest: the instant, by this process's monotonic clock, until which the row is remembered.
_remembered: dict[str, tuple[float, TokenRow]] = {}


def forget(digest: str | None = None) -> None:
    """Forget one token, or all of them, so that it is read from the database again."""
    if digest is None:
        _remembered.clear()
    else:
        _remembered.pop(digest, None)


class BearerAuthentication(TokenAuthentication):
    """Check Knox's tokens in one statement. Knox itself takes three, and deletes expired tokens on the way."""

    def authenticate_credentials(self, token: bytes) -> tuple[User, AuthToken]:
        """Return the token's user, with its investor if there is one, and the token.

        Raises: AuthenticationFailed, with the code token_expired for an expired token.
        """
        digest = hash_token(token.decode("latin-1"))
        until, row = _remembered.get(digest, (0.0, None))
        if row is None or monotonic() >= until:
            row = _read(digest)
        user = User.from_db(connection.alias, ["id", "username", "is_active"], [row.user_id, row.username, row.is_active])
        if row.investor_id:
            facts = [row.investor_id, row.user_id, row.investor_name, row.accredited_until]
            user.investor = Investor.from_db(connection.alias, ["id", "user_id", "name", "accredited_until"], facts)
        return user, AuthToken.from_db(connection.alias, ["digest", "expiry"], [row.digest, row.expiry])


def _read(digest: str) -> TokenRow:
    """Read a token from the database and remember it."""
    with connection.cursor() as cursor:
        cursor.execute(_READ, [digest])
        values = cursor.fetchone()
    row = TokenRow._make(values) if values else None
    if row is None or not row.is_active:
        raise AuthenticationFailed("This token is unknown, or has been revoked. Get one at /api/v1/auth/token/.")
    if row.seconds_left <= 0:
        raise AuthenticationFailed("This token has expired. Get a new one at /api/v1/auth/token/.", code="token_expired")
    if len(_remembered) >= REMEMBERED_TOKENS:
        forget()
    _remembered[digest] = monotonic() + min(row.seconds_left, REMEMBERED_SECONDS), row
    return row


class IsInvestor(IsAuthenticated):
    """Let investors in. Staff are not investors."""

    message = "Only investors may do this."

    def has_permission(self, request: Request, view: Any) -> bool:
        return super().has_permission(request, view) and hasattr(request.user, "investor")


def investor_of(request: Request) -> Investor:
    """Return the request's investor, in a view that only IsInvestor lets into."""
    return request.user.investor  # type: ignore[union-attr]
