"""Let users log in and out of the API: a log-in makes a token, a log-out ends it."""

import logging
from typing import Any

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.signals import user_logged_in, user_logged_out
from drf_spectacular.utils import extend_schema
from knox.models import AuthToken
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from loans.api.authentication import issue_token
from loans.api.serializers import EmptySerializer, TokenCreateSerializer, TokenSerializer
from peerloans.api.caching import ConditionalView
from peerloans.api.request_body import body_of
from peerloans.api.throttling import LogInThrottle

logger = logging.getLogger(__name__)


class TokenCreate(ConditionalView):
    """Log in.

    Several tokens may be in use at once. Each ends at its `expires_at`, when you log out with it, or with a new password. Staff also
    send `second_factor`.
    """

    authentication_classes = ()
    permission_classes = ()
    throttle_classes = (LogInThrottle,)

    def get_authenticate_header(self, request: Request) -> str:
        return "Bearer"

    @extend_schema(request=TokenCreateSerializer, responses=TokenSerializer)
    def post(self, request: Request) -> Response:
        body = body_of(request, TokenCreateSerializer)
        user = authenticate(request, username=body["username"], password=body["password"])
        if getattr(request, "axes_locked_out", False):
            raise Throttled(settings.AXES_COOLOFF_TIME.total_seconds(), "Too many wrong passwords for this user from your address.")
        if user is None:
            logger.warning("A log-in failed.")
            raise AuthenticationFailed("No active user has this name and password.")
        stored, token = issue_token(user, body.get("second_factor", ""))
        user_logged_in.send(type(user), request=request, user=user)
        return Response({"token": token, "expires_at": stored.expiry})


class TokenRevoke(ConditionalView):
    """Log out.

    The token of the request ends at once, on other servers within a second, or within a minute while Redis is away. The user's other
    tokens stay valid.
    """

    permission_classes = (IsAuthenticated,)

    @extend_schema(request=EmptySerializer, responses={204: None})
    def post(self, request: Request) -> Response:
        body_of(request, EmptySerializer)
        token: Any = request.auth
        AuthToken.objects.filter(digest=token.digest).delete()
        user_logged_out.send(type(request.user), request=request, user=request.user)
        return Response(status=204)
