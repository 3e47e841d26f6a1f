"""Let investors make, list and revoke named tokens, which they give to their programs."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from loans.api.permissions import investor_of
from loans.api.serializers import (
    EmptySerializer,
    NamedTokenCreateSerializer,
    NamedTokenListSerializer,
    NamedTokenSerializer,
    NewTokenSerializer,
)
from loans.domain.scopes import Scope
from loans.services.named_tokens import create_named_token, generation_of_log_in, named_tokens_of, revoke_named_token
from peerloans.api.caching import ConditionalView
from peerloans.api.request_body import body_of


class NamedTokens(ConditionalView):
    scope = Scope.ACCOUNT
    operations = {"GET": "NamedTokenList", "POST": "NamedTokenCreate"}

    @extend_schema(responses=NamedTokenListSerializer)
    def get(self, request: Request) -> Response:
        """List your named tokens, oldest first.

        Those that have ended are left out, and so are the tokens of log-ins.
        """
        return Response({"results": NamedTokenSerializer(named_tokens_of(investor_of(request).user_id), many=True).data})

    @extend_schema(request=NamedTokenCreateSerializer, responses={201: NewTokenSerializer})
    def post(self, request: Request) -> Response:
        """Make a named token for a program.

        It can do what its `scopes` name. Only the token of a log-in makes, lists and revokes tokens. At most 20 are valid at once. All
        end with a new password.
        """
        log_in: Any = request.auth
        body = body_of(request, NamedTokenCreateSerializer)
        user_id = investor_of(request).user_id
        generation = generation_of_log_in(user_id=user_id, digest=log_in.digest)
        named, text = create_named_token(user_id=user_id, generation=generation, **body)
        return Response({**NamedTokenSerializer(named).data, "token": text}, status=201)


class NamedTokenRevoke(ConditionalView):
    """Revoke a named token.

    It ends at once, on other servers within a second, or within a minute while Redis is away.
    """

    scope = Scope.ACCOUNT

    @extend_schema(request=EmptySerializer, responses={204: None})
    def post(self, request: Request, token_id: UUID) -> Response:
        body_of(request, EmptySerializer)
        revoke_named_token(user_id=investor_of(request).user_id, token_id=token_id)
        return Response(status=204)
