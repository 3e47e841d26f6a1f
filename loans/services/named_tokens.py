"""Make and revoke the tokens that investors give to their programs."""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from knox.models import AuthToken

from loans.domain.errors import Invalid, NotFound, NotPermitted
from loans.models import NamedToken, User
from loans.models.token_generation import generation_of, token_prefix

DAYS, MOST_DAYS = 90, 366
MOST_TOKENS = 20  # of one user, since each is a secret to look after
LOG_IN_ENDED = "This log-in has ended. Log in again."


@transaction.atomic
def create_named_token(*, user_id: int, generation: int, name: str, scopes: Iterable[str], days: int) -> tuple[NamedToken, str]:
    """Return a new token that is valid for `days`, as stored and as text.

    `generation` is the user's token generation at the log-in; a new password raises it. The two are compared under the user's lock, so
    that a log-in by an old password makes no token after the new one was set.

    Raises:
        NotPermitted: the log-in has ended.
        Invalid: the user has MOST_TOKENS already.
    """
    user = User.objects.select_for_update(no_key=True).get(pk=user_id)
    if not user.is_active or generation != user.token_generation:
        raise NotPermitted(LOG_IN_ENDED)
    if named_tokens_of(user_id).count() >= MOST_TOKENS:
        raise Invalid(f"You have {MOST_TOKENS} tokens, the most there may be. Revoke one first.")
    stored, text = AuthToken.objects.create(user, expiry=timedelta(days=days), prefix=token_prefix(user.token_generation, named=True))
    named = NamedToken.objects.create(user=user, digest=stored.digest, name=name, scopes=sorted(set(scopes)), expires_at=stored.expiry)
    named.refresh_from_db()
    return named, text


def generation_of_log_in(*, user_id: int, digest: str) -> int:
    """Return the generation in which the token of a log-in was issued, from the database. Raises: NotPermitted if the token has ended."""
    token = AuthToken.objects.filter(digest=digest, user=user_id, expiry__gt=timezone.now()).first()
    if token is None:
        raise NotPermitted(LOG_IN_ENDED)
    return generation_of(token.token_key)


def named_tokens_of(user_id: int) -> QuerySet[NamedToken]:
    """Return the user's named tokens that are valid, oldest first."""
    return NamedToken.objects.filter(user=user_id, expires_at__gt=timezone.now())


def revoke_named_token(*, user_id: int, token_id: UUID) -> None:
    """End one of the user's named tokens. Raises: NotFound."""
    named = NamedToken.objects.filter(pk=token_id, user=user_id).first()
    if named is None:
        raise NotFound("You have no such token.")
    AuthToken.objects.filter(digest=named.digest).delete()
