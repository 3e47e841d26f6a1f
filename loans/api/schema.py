"""Describe the API for its OpenAPI document.

drf-spectacular reads paths, parameters and bodies off the views and their serializers. A view's docstring is the operation's
summary and description. ApiSchema adds what many operations share: headers, and the problems that follow from what a view is.
What is left, its examples and its own problems, is the view's row in OPERATIONS.
"""

import inspect
import re
from itertools import groupby
from typing import Any, NamedTuple

from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, OpenApiWebhook, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.permissions import IsAuthenticated

from loans.api import examples
from loans.api.permissions import IsInvestor, scope_of
from loans.api.serializers import MoneyField, ProblemSerializer
from loans.domain.scopes import Scope
from loans.notifications.endpoints import TEST_TYPE
from loans.notifications.messages import TYPES
from peerloans.api.caching import ConditionalView
from peerloans.api.error_statuses import RETRY_AFTER_SECONDS, STATUSES
from peerloans.api.problem_details import MEDIA_TYPE, problem_document
from peerloans.api.strict_fields import StrictSerializer
from peerloans.errors import Problem

# --- Problems -------------------------------------------------------------------------------------------------------
TITLES = {kind.code: kind.title for kind in Problem.__subclasses__()}


def example_of(code: str) -> dict[str, Any]:
    detail, data = examples.PROBLEMS[code]
    return problem_document(code, detail, TITLES.get(code), **data)


# --- Operations -----------------------------------------------------------------------------------------------------
class Operation(NamedTuple):
    """What the OpenAPI document cannot take from a view."""

    tag: str
    request: dict[str, Any] | None
    """An example."""
    responses: dict[str, dict[str, Any]]
    """An example by status."""
    problems: tuple[str, ...] = ()
    """The codes of problems that do not follow from what the view is."""


# By the view's name.
OPERATIONS = {
    "TokenCreate": Operation(
        "auth",
        {"username": "investor1", "password": "demo"},
        {"200": {"token": "3c1f…", "expires_at": "2026-03-03T01:00:00Z"}},
        ("not_authenticated", "second_factor_required"),
    ),
    "TokenRevoke": Operation("auth", {}, {}),
    "NamedTokenList": Operation("auth", None, {"200": {"results": [examples.NAMED_TOKEN]}}),
    "NamedTokenCreate": Operation(
        "auth",
        {"name": "Portfolio bot", "scopes": ["read", "reserve"], "days": 90},
        {"201": examples.NAMED_TOKEN | {"token": "3.5c1f…"}},
    ),
    "NamedTokenRevoke": Operation("auth", {}, {}),
    "WebhookEndpointList": Operation("webhook-endpoints", None, {"200": {"results": [examples.WEBHOOK_ENDPOINT]}}),
    "WebhookEndpointCreate": Operation(
        "webhook-endpoints",
        {"url": "https://bot.example.org/peerloans"},
        {"201": examples.WEBHOOK_ENDPOINT | {"secret": "whsec_…"}},
    ),
    "WebhookEndpointTest": Operation("webhook-endpoints", {}, {"200": {"delivered": True, "error": None}}, ("busy",)),
    "WebhookEndpointRotate": Operation(
        "webhook-endpoints",
        {},
        {"200": examples.WEBHOOK_ENDPOINT | {"former_secret_until": "2026-07-02T16:00:00Z", "secret": "whsec_…"}},
    ),
    "WebhookEndpointDisable": Operation("webhook-endpoints", {}, {"200": examples.WEBHOOK_ENDPOINT | {"enabled": False}}),
    "WebhookEndpointEnable": Operation("webhook-endpoints", {}, {"200": examples.WEBHOOK_ENDPOINT}),
    "DeliveryList": Operation("webhook-endpoints", None, {"200": examples.DELIVERY}),
    "DeliverySendAgain": Operation("webhook-endpoints", {}, {"200": examples.DELIVERY | {"status": "waiting", "ended_at": None}}),
    "LoanList": Operation("loans", None, {"200": examples.LOAN}),
    "LoanDetail": Operation("loans", None, {"200": examples.LOAN | examples.LOAN_DETAILS}),
    "AllotmentDetail": Operation("loans", None, {"200": examples.ALLOTMENT}),
    "ReservationCreate": Operation(
        "reservations",
        {"amount": "5000.00"},
        {"200": examples.RESERVED | {"id": None, "dry_run": True}, "201": examples.RESERVED},
        ("below_minimum", "not_accredited", "loan_not_open", "over_limit", "investor_limit"),
    ),
    "BatchCreate": Operation(
        "reservations",
        {"orders": [{"loan": "PL-0042", "amount": "5000.00"}, {"loan": "PL-0043", "amount": "9000.00", "at_least": "2000.00"}]},
        {"200": {"dry_run": False, "results": [{"reservation": examples.RESERVED, "problem": None}]}},
        ("below_minimum", "not_accredited", "loan_not_open", "over_limit", "investor_limit", "not_found"),
    ),
    "ReservationList": Operation("reservations", None, {"200": examples.RESERVED}),
    "ReservationDetail": Operation("reservations", None, {"200": examples.RESERVED | {"number": 7, "queue_position": 3}}),
    "ReservationHistory": Operation("reservations", None, {"200": examples.TRANSITION}),
    "OutlookDetail": Operation("reservations", None, {"200": examples.OUTLOOK}),
    "TransferCreate": Operation(
        "reservations",
        {"method": "ach"},
        {"200": examples.PENDING},
        ("not_accredited", "reservation_expired", "illegal_transition"),
    ),
    "ReservationCancel": Operation("reservations", {}, {"200": examples.CANCELED}, ("reservation_expired", "illegal_transition")),
    "WaitingListJoin": Operation(
        "waiting list",
        {"amount": "5000.00", "at_least": "1000.00"},
        {"201": examples.WAITING},
        ("below_minimum", "not_accredited", "loan_not_open", "investor_limit", "illegal_transition"),
    ),
    "WaitingListMine": Operation("waiting list", None, {"200": examples.WAITING}),
    "WaitingListLeave": Operation("waiting list", {}, {"200": examples.LEFT}, ("illegal_transition",)),
    "WatchList": Operation("watches", None, {"200": examples.WATCH}),
    "WatchLoan": Operation("watches", {}, {"200": examples.WATCH}, ("busy",)),
    "StopWatching": Operation("watches", None, {}),
    "StandingOrderList": Operation("standing orders", None, {"200": examples.STANDING_ORDER}),
    "StandingOrderCreate": Operation(
        "standing orders",
        {"states": ["CA", "WA"], "least_rate": "8.00", "amount": "5000.00", "at_least": "1000.00", "cap": "50000.00"},
        {"201": examples.STANDING_ORDER | {"used": "0.00"}},
        ("below_minimum", "not_accredited"),
    ),
    "StandingOrderDetail": Operation("standing orders", None, {"200": examples.STANDING_ORDER}),
    "StandingOrderOpenings": Operation("standing orders", None, {"200": examples.STANDING_ORDER_OPENING}),
    "StandingOrderPause": Operation(
        "standing orders", {}, {"200": examples.STANDING_ORDER | {"state": "paused", "line_position": None}}, ("illegal_transition",)
    ),
    "StandingOrderResume": Operation("standing orders", {}, {"200": examples.STANDING_ORDER}, ("illegal_transition",)),
    "StandingOrderEnd": Operation(
        "standing orders",
        {},
        {"200": examples.STANDING_ORDER | {"state": "ended", "line_position": None, "ended_at": "2026-03-03T15:00:00Z"}},
    ),
    "StandingOrderPreview": Operation(
        "standing orders",
        {"states": ["CA", "WA"], "least_rate": "8.00"},
        {
            "200": {
                "matching": 1,
                "loans": [{"loan": "PL-0001", "opens_at": "2026-03-02T15:00:00Z", "obstacle": None}],
            }
        },
    ),
    "EventList": Operation(
        "events", None, {"200": {"next_after": "WzgxMiw0MTdd", "has_more": False, "results": [examples.FEED_EVENT]}}, ("invalid",)
    ),
    "PortfolioDetail": Operation("portfolio", None, {"200": examples.PORTFOLIO}),
    "BankEventCreate": Operation(
        "bank",
        examples.EVENT,
        {"200": {"id": examples.EVENT["id"], "outcome": "funded"}, "202": {"id": examples.EVENT["id"], "outcome": "unknown_reference"}},
        ("invalid_signature", "busy"),
    ),
}

KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "pattern": "^[!-~]{1,255}$"},
    OpenApiParameter.HEADER,
    description="Your own name for this request, a UUID for instance. The same request with the same key gets the first answer again, "
    "for 24 hours, marked `Idempotency-Replayed: true`. So you can safely repeat a request whose answer was lost.",
)
REPLAYED = OpenApiParameter(
    "Idempotency-Replayed", str, OpenApiParameter.HEADER, description="`true` on an answer given before.", response=[200, 201]
)
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match", str, OpenApiParameter.HEADER, description="An ETag. The answer is 304 while nothing has changed."
)
ETAG = OpenApiParameter("ETag", str, OpenApiParameter.HEADER, description="Send it back as `If-None-Match`.", response=[200, 304])
RETRY_AFTER = {"description": "Seconds to wait before the same request.", "schema": {"type": "integer"}}
SIGNATURE = [
    OpenApiParameter(name, str, OpenApiParameter.HEADER, description=text)
    for name, text in (
        ("webhook-id", "The message's own id."),
        ("webhook-timestamp", "Seconds since 1970, within five minutes of now."),
        ("webhook-signature", "`v1,` and the signature; several are separated by spaces."),
    )
]
PAGED = "The list is paged: go on with `next` until it is null. An unknown filter, or a value that makes no sense, is refused."


class ApiSchema(AutoSchema):
    """Describe an operation of this API. The views of other apps, which have no row in OPERATIONS, describe themselves."""

    @property
    def row(self) -> Operation | None:
        return OPERATIONS.get(self.operation_name)

    @property
    def operation_name(self) -> str:
        """The view's name, or what the view calls this method in `operations`."""
        name: str = getattr(self.view, "operations", {}).get(self.method, type(self.view).__name__)
        return name

    @property
    def docstring(self) -> str:
        described = getattr(self.view, self.method.lower()) if hasattr(self.view, "operations") else type(self.view)
        return inspect.getdoc(described) or ""

    @property
    def is_list(self) -> bool:
        return getattr(self.view, "pagination_class", None) is not None

    @property
    def is_idempotent(self) -> bool:
        return self.method == "POST" and self.needed_scope == Scope.RESERVE

    @property
    def needed_scope(self) -> Scope | None:
        return scope_of(self.view, self.method) if IsInvestor in self.view.permission_classes else None

    def get_operation_id(self) -> str:
        if not self.row:
            return super().get_operation_id()
        return re.sub("(?<!^)(?=[A-Z])", "_", self.operation_name).lower()

    def get_tags(self) -> list[str]:
        return [self.row.tag] if self.row else super().get_tags()

    def get_summary(self) -> str | None:
        return self.docstring.partition("\n\n")[0].rstrip(".") if self.row else super().get_summary()

    def get_description(self) -> str:  # type: ignore[override]
        if not self.row:
            return super().get_description()
        text = " ".join(self.docstring.partition("\n\n")[2].split())
        return f"{text} {PAGED}".strip() if self.is_list else text

    def get_override_parameters(self) -> list[Any]:
        if self.is_idempotent:
            return [KEY, REPLAYED]
        if self.method == "GET" and isinstance(self.view, ConditionalView):
            return [IF_NONE_MATCH, ETAG]
        return []

    def get_examples(self) -> list[OpenApiExample]:
        if not self.row:
            return []
        shown = [
            OpenApiExample("Response", value=example, response_only=True, status_codes=[status])
            for status, example in self.row.responses.items()
        ]
        if self.row.request is not None:
            shown.append(OpenApiExample("Request", value=self.row.request, request_only=True))
        return shown

    def get_operation(self, *args: Any) -> dict[str, Any] | None:
        operation: dict[str, Any] | None = super().get_operation(*args)
        if operation and self.row:
            responses = operation["responses"]
            if self.needed_scope:
                operation["security"] = [{"bearer": [str(self.needed_scope)]}]
            if self.method == "GET":
                headers = self._get_response_headers_for_code("304")
                responses["304"] = {"description": "Nothing has changed.", "headers": headers}
            for status, codes in groupby(sorted(self.problems(self.row), key=STATUSES.__getitem__), STATUSES.__getitem__):
                responses[str(status)] = self.problem_response(list(codes))
        return operation

    def problems(self, row: Operation) -> list[str]:
        """Return the codes of all problems that the operation may answer."""
        codes = [*row.problems, "server_error", "unavailable"]
        if self.method in {"POST", "PUT"}:
            codes += ["invalid", "too_large", "unsupported_media_type"]
        if self.is_list:
            codes += ["invalid"]
        if self.view.throttle_classes:
            codes += ["throttled"]
        if any(isinstance(permission, IsAuthenticated) for permission in self.view.get_permissions()):
            codes += ["not_authenticated", "token_expired"]
        if IsInvestor in self.view.permission_classes:
            codes += ["permission_denied", "scope_missing"]
        if self.is_idempotent:
            codes += ["busy", "request_in_progress", "idempotency_key_reused"]
        if "{" in self.path:
            codes += ["not_found"]
        return codes

    def problem_response(self, codes: list[str]) -> dict[str, Any]:
        """Return the response of a status with these codes."""
        schema = self.resolve_serializer(ProblemSerializer, "response").ref
        example_by_code = {code: {"value": example_of(code)} for code in codes}
        response = {
            "description": ", ".join(f"`{code}`" for code in codes),
            "content": {MEDIA_TYPE: {"schema": schema, "examples": example_by_code}},
        }
        if {"throttled", *RETRY_AFTER_SECONDS} & set(codes):
            response["headers"] = {"Retry-After": RETRY_AFTER}
        return response


class StrictBody(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Declare that a StrictSerializer has no further fields."""

    target_class = StrictSerializer
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        fields: dict[str, Any] = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return fields | {"additionalProperties": False}


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "loans.api.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        description = "A token from `POST /api/v1/auth/token/`, or a named one from `POST /api/v1/tokens/`."
        return {"type": "http", "scheme": "bearer", "description": description}


# --- Webhooks -------------------------------------------------------------------------------------------------------
MessageData = inline_serializer(
    "MessageData",
    {
        "reservation": serializers.UUIDField(allow_null=True, help_text="Null with `waiting_list.joined` and `waiting_list.ended`."),
        "standing_order": serializers.UUIDField(
            allow_null=True, help_text="With `reservation.reserved`: the standing order that reserved it, or null."
        ),
        "waiting_entry": serializers.UUIDField(allow_null=True, help_text="The entry of a waiting list that the event concerns, or null."),
        "list_position": serializers.IntegerField(allow_null=True, help_text="With `waiting_list.joined`: the place of the entry then."),
        "dollars_before": MoneyField(allow_null=True, help_text="With `waiting_list.joined`: the dollars that waited before it then."),
        "loan": serializers.CharField(help_text="The loan's reference."),
        "event": serializers.CharField(help_text="The event's name in history."),
        "from": serializers.CharField(allow_null=True, help_text="The state before; null at the beginning."),
        "to": serializers.CharField(
            help_text="The state after: of the refund if `type` begins with `refund.`, "
            "of the entry if it begins with `waiting_list.`, else of the reservation."
        ),
        "amount": MoneyField(
            help_text="Of a reservation its amount after the event; with `reservation.settled`, and where what had settled is taken back, "
            "the dollars that have settled, or had. Of a refund its dollars. With `waiting_list.placed` what the reservation takes, else "
            "what the entry wants."
        ),
        "expires_at": serializers.DateTimeField(
            allow_null=True, help_text="The reservation's deadline after the event; null if none runs."
        ),
        "reference": serializers.CharField(allow_null=True, help_text="Of the transfer or refund that the event concerns."),
        "method": serializers.CharField(allow_null=True, help_text="With `reservation.transfer_started`: `ach` or `wire`, else null."),
        "at": serializers.DateTimeField(help_text="When it happened."),
    },
)
MessageSerializer = inline_serializer(
    "Message",
    {
        "type": serializers.ChoiceField(TYPES),
        "timestamp": serializers.DateTimeField(help_text="When it happened."),
        "data": MessageData,
    },
)
TestMessageSerializer = inline_serializer(
    "TestMessage",
    {
        "type": serializers.ChoiceField([TEST_TYPE]),
        "timestamp": serializers.DateTimeField(help_text="When it was sent."),
        "data": inline_serializer("TestMessageData", {"endpoint": serializers.IntegerField(help_text="The endpoint's id.")}),
    },
)
message = OpenApiWebhook(
    "message",
    extend_schema(
        operation_id="message",
        summary="Report an event of a reservation or a waiting list to its investor's endpoints",
        description="The message is signed as [Standard Webhooks](https://www.standardwebhooks.com/) prescribes: `webhook-signature` is "
        "`v1,` and the base64 HMAC-SHA256 of `{webhook-id}.{webhook-timestamp}.{body}`. The messages about a reservation are sent in "
        "order, each at least once; a repeat has the same `webhook-id`. Without a 2xx answer within ten seconds we try again, for "
        "three days.",
        tags=["webhooks"],
        request=MessageSerializer,
        responses={"2XX": OpenApiResponse(description="Received.")},
        examples=[OpenApiExample("As sent", value=examples.MESSAGE)],
    ),
)
test_message = OpenApiWebhook(
    "test_message",
    extend_schema(
        operation_id="test_message",
        summary="Try out an endpoint",
        description="Sent once when you test an endpoint, and signed like the messages about events. It reports nothing and is in no feed.",
        tags=["webhooks"],
        request=TestMessageSerializer,
        responses={"2XX": OpenApiResponse(description="Received.")},
        examples=[OpenApiExample("As sent", value=examples.TEST_MESSAGE)],
    ),
)
