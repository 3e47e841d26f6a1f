"""Authenticate requests by bearer token. The setting TOKEN_HOURS says how long a token is valid (peerloans/settings.py).

One statement reads a token with its user and investor. Each process remembers what it read for up to a minute, since reading
it for each request would take a third of the time of a reservation. Once a second it asks Redis whether a user's access has changed,
and then forgets everything. The decisions to reserve and to start a transfer read in the database whether the user may buy, so they
never rest on what is remembered.

A token is valid as long as its user has the generation in which the token was issued (loans/models/token_generation.py).
"""

from collections.abc import Collection
from datetime import date
from time import monotonic
from typing import Any, NamedTuple
from uuid import uuid4

from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from knox.crypto import hash_token
from knox.models import AuthToken
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from loans.domain.scopes import ALL
from loans.models import Investor, User
from loans.models.token_generation import generation_of, is_named, token_prefix
from peerloans.database.prepared import Prepared
from peerloans.web import second_factor

REMEMBERED_SECONDS = 60.0  # how long a token that was revoked by another process may still work while Redis is away
LOOK_SECONDS = 1.0  # and how long while Redis is there
REMEMBERED_TOKENS = 20_000  # about 10 MB


class Token(NamedTuple):
    """A token with its user and, if the user is an investor, the investor."""

    digest: str
    seconds_left: float
    user_id: int
    username: str
    is_active: bool
    generation: int
    scopes: Collection[str] | None  # None in the database for the token of a log-in; `_read` replaces it by all scopes.
    investor_id: int | None
    investor_name: str | None
    accredited_until: date | None


# The ORM takes four times as long. A token ends in real time, also where a sandbox's clock is ahead of it.
_READ = Prepared(
    """
    SELECT token.digest, extract(epoch FROM token.expiry - pg_catalog.clock_timestamp())::float,
        person.id, person.username, person.is_active, person.token_generation, named.scopes,
        investor.id, investor.name, investor.accredited_until
    FROM knox_authtoken token JOIN loans_user person ON person.id = token.user_id
        LEFT JOIN loans_namedtoken named ON named.digest = token.digest
        LEFT JOIN loans_investor investor ON investor.user_id = person.id
    WHERE token.digest = %s
    """
)
# By digest: the instant, by this process's monotonic clock, until which the row is remembered.
_remembered: dict[str, tuple[float, Token]] = {}


_ACCESS_CHANGED = "access_changed"  # in Redis: a text that is new after each change
_seen: Any = None  # the text that this process saw last
_look_at = 0.0  # when it looks again, by its monotonic clock


def forget() -> None:
    """Forget all tokens, so that they are read from the database again.

    What another thread has read before, and stores later, goes into the dictionary that is given up here.
    """
    global _remembered
    _remembered = {}


def announce_access_change() -> None:
    """Let this process forget its tokens now, and all processes once the transaction has committed: a user's access has changed."""

    def announce() -> None:
        forget()
        cache.set(_ACCESS_CHANGED, uuid4().hex, timeout=None)

    forget()
    transaction.on_commit(announce, robust=True)


def _forget_after_a_change() -> None:
    global _seen, _look_at
    if (now := monotonic()) < _look_at:
        return
    _look_at = now + LOOK_SECONDS
    if (changed := cache.get(_ACCESS_CHANGED)) != _seen:
        _seen = changed
        forget()


def issue_token(user: User, code: str) -> tuple[AuthToken, str]:
    """Return a new token for a user whose password has just been checked, as stored and as text.

    Staff, and others who have set up a second factor, need its `code`.

    Raises: AuthenticationFailed, with the code second_factor_required for a code that is missing or wrong; also if the password has
        been changed, or the user deactivated, since the password was checked.
    """
    if user.is_staff or second_factor.is_set_up(user):
        _check_second_factor(user, code)
    # Only the password that was checked has the generation that it may give tokens of.
    checked = User.objects.filter(pk=user.pk, password=user.password, is_active=True)
    generation = checked.values_list("token_generation", flat=True).first()
    if generation is None:
        raise AuthenticationFailed("No active user has this name and password.")
    stored, token = AuthToken.objects.create(user, prefix=token_prefix(generation))
    return stored, token


def _check_second_factor(user: User, code: str) -> None:
    try:
        device = second_factor.check_code(user, code)
    except ValidationError as error:
        raise AuthenticationFailed(" ".join(error.messages), code="second_factor_required") from None
    if device is None:
        detail = "Staff get tokens only with a second factor. Set one up in the admin first."
        raise AuthenticationFailed(detail, code="second_factor_required")


class BearerAuthentication(BaseAuthentication):
    """Check Knox's tokens in one statement. Knox's own class takes three, and deletes expired tokens on the way."""

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"

    def authenticate(self, request: Request) -> tuple[User, Token] | None:
        """Return the token's user, with its investor if there is one, and the token; None without a bearer token.

        Raises: AuthenticationFailed, with the code token_expired for an expired token.
        """
        words = request.META.get("HTTP_AUTHORIZATION", "").split()  # request.headers would parse all other headers first
        if not words or words[0].lower() != "bearer":
            return None
        if len(words) != 2:
            raise AuthenticationFailed("Send one token, as in `Authorization: Bearer …`.")
        text = words[1]
        digest = hash_token(text)
        _forget_after_a_change()
        until, row = _remembered.get(digest, (0.0, None))
        if row is None or monotonic() >= until:
            row = _read(digest, text)
        user = User.from_db(connection.alias, ["id", "username", "is_active"], [row.user_id, row.username, row.is_active])
        if row.investor_id:
            facts = [row.investor_id, row.user_id, row.investor_name, row.accredited_until]
            user.investor = Investor.from_db(connection.alias, ["id", "user_id", "name", "accredited_until"], facts)
        return user, row


def _read(digest: str, text: str) -> Token:
    """Read a token from the database and remember it. `text` is the token, which says in which generation it was issued.

    A named token whose name and scopes are gone is no log-in's token, which would have all scopes: it is refused.
    """
    remembered = _remembered
    with connection.cursor() as cursor:
        cursor.execute(_READ, [digest])
        values = cursor.fetchone()
    row = Token._make(values) if values else None
    if row is None or not row.is_active or row.generation != generation_of(text) or (row.scopes is None and is_named(text)):
        raise AuthenticationFailed("This token is unknown, or has been revoked. Get one at /api/v1/auth/token/.")
    if row.seconds_left <= 0:
        raise AuthenticationFailed("This token has expired. Get a new one at /api/v1/auth/token/.", code="token_expired")
    if row.scopes is None:
        row = row._replace(scopes=ALL)
    if len(remembered) >= REMEMBERED_TOKENS:
        remembered.clear()
    remembered[digest] = monotonic() + min(row.seconds_left, REMEMBERED_SECONDS), row
    return row
