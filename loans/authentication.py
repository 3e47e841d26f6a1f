"""Who is asking? Found by one read of the bearer's token, with the user and the investor that go with it."""

from typing import Any

from django.utils import timezone
from knox.auth import TokenAuthentication
from knox.crypto import hash_token
from knox.models import AuthToken
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request

from loans.models import Investor


class BearerAuthentication(TokenAuthentication):
    """Knox's tokens, hashed and expiring. Knox itself reads three times and deletes expired tokens on the way."""

    def authenticate_credentials(self, token: bytes) -> tuple[Any, AuthToken]:
        """Raises AuthenticationFailed: token_expired, or not_authenticated for anything else."""
        digest = hash_token(token.decode("latin-1"))
        found = AuthToken.objects.select_related("user__investor").filter(pk=digest).first()
        if not found or not found.user.is_active:
            raise AuthenticationFailed("This token is unknown, or has been revoked. Get one at /api/v1/auth/token/.")
        if found.expiry and found.expiry <= timezone.now():
            raise AuthenticationFailed("This token has expired. Get a new one at /api/v1/auth/token/.", code="token_expired")
        return found.user, found


class IsInvestor(IsAuthenticated):
    """A user who buys; staff do not."""

    message = "Only investors may do this."

    def has_permission(self, request: Request, view: Any) -> bool:
        return super().has_permission(request, view) and investor(request) is not None


def investor(request: Request) -> Investor:
    """The investor who asks, where IsInvestor has let the request in."""
    return getattr(request.user, "investor", None)  # type: ignore[return-value]
