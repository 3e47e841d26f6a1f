"""Let investors manage the webhook endpoints of their own systems, and see and repeat what was sent to them."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response

from loans.api.filters import StrictFilterBackend
from loans.api.permissions import investor_of
from loans.api.serializers import (
    DeliverySerializer,
    EmptySerializer,
    NewWebhookEndpointSerializer,
    WebhookEndpointCreateSerializer,
    WebhookEndpointListSerializer,
    WebhookEndpointSerializer,
    WebhookTestSerializer,
)
from loans.domain.scopes import Scope
from loans.models import Delivery, WebhookEndpoint
from loans.notifications import endpoints
from peerloans.api.caching import ConditionalView
from peerloans.api.pagination import KeysetPagination
from peerloans.api.request_body import body_of


class WebhookEndpoints(ConditionalView):
    scope = Scope.ACCOUNT
    operations = {"GET": "WebhookEndpointList", "POST": "WebhookEndpointCreate"}

    @extend_schema(responses=WebhookEndpointListSerializer)
    def get(self, request: Request) -> Response:
        """List your webhook endpoints, oldest first.

        Their secrets are not among it.
        """
        own = WebhookEndpoint.objects.filter(investor=investor_of(request))
        return Response({"results": WebhookEndpointSerializer(own, many=True).data})

    @extend_schema(request=WebhookEndpointCreateSerializer, responses={201: NewWebhookEndpointSerializer})
    def post(self, request: Request) -> Response:
        """Add a webhook endpoint.

        From now on it gets a message about each change of what is yours. Check the signature of each message with the `secret`, as
        Standard Webhooks prescribes. At most five endpoints are enabled at once.
        """
        endpoint = endpoints.add_endpoint(investor_id=investor_of(request).pk, **body_of(request, WebhookEndpointCreateSerializer))
        endpoint.refresh_from_db()
        return Response(NewWebhookEndpointSerializer(endpoint).data, status=201)


class _ChangeEndpoint(ConditionalView):
    """What is done to one endpoint, without a body."""

    scope = Scope.ACCOUNT

    def named(self, request: Request, endpoint_id: int) -> dict[str, Any]:
        body_of(request, EmptySerializer)
        return {"investor_id": investor_of(request).pk, "endpoint_id": endpoint_id}


class WebhookEndpointTest(_ChangeEndpoint):
    """Send a test message to a webhook endpoint.

    It has the type `webhook.test`, and is sent once, at once; the answer says whether the endpoint took it within five seconds.
    """

    @extend_schema(request=EmptySerializer, responses=WebhookTestSerializer)
    def post(self, request: Request, endpoint_id: int) -> Response:
        error = endpoints.send_test(**self.named(request, endpoint_id))
        return Response({"delivered": not error, "error": error or None})


class WebhookEndpointRotate(_ChangeEndpoint):
    """Give a webhook endpoint a new secret.

    For a day each message is signed with both secrets, so change yours within that time.
    """

    @extend_schema(request=EmptySerializer, responses=NewWebhookEndpointSerializer)
    def post(self, request: Request, endpoint_id: int) -> Response:
        return Response(NewWebhookEndpointSerializer(endpoints.rotate_secret(**self.named(request, endpoint_id))).data)


class WebhookEndpointDisable(_ChangeEndpoint):
    """Disable a webhook endpoint.

    It gets no new messages. Those that wait for it are given up after three days, unless you enable it before.
    """

    @extend_schema(request=EmptySerializer, responses=WebhookEndpointSerializer)
    def post(self, request: Request, endpoint_id: int) -> Response:
        return Response(WebhookEndpointSerializer(endpoints.set_enabled(**self.named(request, endpoint_id), enabled=False)).data)


class WebhookEndpointEnable(_ChangeEndpoint):
    """Enable a webhook endpoint again."""

    @extend_schema(request=EmptySerializer, responses=WebhookEndpointSerializer)
    def post(self, request: Request, endpoint_id: int) -> Response:
        return Response(WebhookEndpointSerializer(endpoints.set_enabled(**self.named(request, endpoint_id), enabled=True)).data)


class DeliveryList(ConditionalView, generics.ListAPIView[Delivery]):
    """List the messages to a webhook endpoint, newest first."""

    serializer_class = DeliverySerializer
    pagination_class = KeysetPagination
    filter_backends = (StrictFilterBackend,)
    queryset = Delivery.objects.order_by("-id")

    def get_queryset(self) -> QuerySet[Delivery]:
        return endpoints.deliveries_to(endpoints.endpoint_of(investor_of(self.request).pk, self.kwargs["endpoint_id"]))


class DeliverySendAgain(_ChangeEndpoint):
    """Send a message to a webhook endpoint again.

    It is sent within a minute, with the same `webhook-id` as before. One that still waits is left as it is.
    """

    @extend_schema(request=EmptySerializer, responses=DeliverySerializer)
    def post(self, request: Request, endpoint_id: int, delivery_id: int) -> Response:
        return Response(DeliverySerializer(endpoints.send_again(**self.named(request, endpoint_id), delivery_id=delivery_id)).data)
