"""Describe the API for its OpenAPI document.

drf-spectacular reads paths, parameters and bodies off the views and their serializers. A view's docstring is the operation's
summary and description. ApiSchema adds what many operations share: headers, and the errors that follow from what a view is.
What is left, its examples and its own errors, is the view's row in OPERATIONS.
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

from loans.api.authentication import IsInvestor
from loans.api.serializers import MoneyField
from loans.notifications.messages import TYPES
from peerloans.api.caching import ConditionalView
from peerloans.api.problem_details import MEDIA_TYPE, RETRY_AFTER_SECONDS, STATUSES, problem_document
from peerloans.api.strict_fields import StrictSerializer
from peerloans.errors import Problem

# --- Errors ---------------------------------------------------------------------------------------------------------
# An example of each: its detail and its data.
REFUSALS: dict[str, tuple[str, dict[str, Any]]] = {
    "invalid": ("Some values are missing or wrong.", {"errors": {"amount": ["This field is required."]}}),
    "below_minimum": ("Reserve at least 1000.00.", {"minimum": "1000.00"}),
    "invalid_signature": ("Sign the body with the secret agreed on.", {}),
    "not_authenticated": ("Authentication credentials were not provided.", {}),
    "token_expired": ("This token has expired. Get a new one at /api/v1/auth/token/.", {}),
    "permission_denied": ("Only investors may do this.", {}),
    "not_accredited": ("Only accredited investors may reserve; your accreditation is missing or has ended.", {}),
    "not_found": ("There is nothing like this here.", {}),
    "over_limit": (
        "50000.00 is more than the 12000.00 available of PL-0001; at 2026-03-03T15:00:00+00:00 up to 37000.00 may be free.",
        {"available": "12000.00", "frees_at": "2026-03-03T15:00:00Z", "available_then": "37000.00"},
    ),
    "loan_not_open": ("PL-0001 takes no reservations: it is funded.", {"loan_status": "funded"}),
    "reservation_expired": (
        "This reservation expired at 2026-03-03T15:00:00Z.",
        {"expired_at": "2026-03-03T15:00:00Z", "state": "canceled"},
    ),
    "illegal_transition": (
        "This is settled; canceled by investor is not possible from there.",
        {"state": "settled", "possible": ["payment_returned", "loan_withdrawn"]},
    ),
    "busy": ("Somebody else is changing this loan right now; try again in a moment.", {}),
    "request_in_progress": ("The first request with this Idempotency-Key is still running; try again in a moment.", {}),
    "too_large": ("The body of the request is too large.", {}),
    "unsupported_media_type": ('Unsupported media type "text/plain" in request.', {}),
    "idempotency_key_reused": ("This Idempotency-Key has answered another request. Use a new key for each request.", {}),
    "throttled": ("Request was throttled. Expected available in 7 seconds.", {}),
    "server_error": (
        "The fault is on our side. Send us this id, and we find in our log what happened.",
        {"id": "0b7f0c0e-5a38-4c0e-9a52-6d1c6a8f4f0e"},
    ),
    "unavailable": ("The database does not answer. Try again in a moment, a POST with the same Idempotency-Key.", {}),
}
TITLES = {kind.code: kind.title for kind in Problem.__subclasses__()}


class ProblemSerializer(serializers.Serializer[Any]):
    """An error by RFC 9457, with a code for programs; beside these stands what helps."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="Whole sentences for people.")
    code = serializers.CharField(help_text="Stable, for programs.")
    errors = serializers.DictField(  # type: ignore[assignment]
        required=False, help_text="With `invalid`, by field; `non_field_errors` are about the body as a whole."
    )
    minimum = MoneyField(required=False, help_text="With `below_minimum`: the least that is accepted.")
    available = MoneyField(required=False, help_text="With `over_limit`: the most that one reservation may take now.")
    frees_at = serializers.DateTimeField(
        required=False,
        allow_null=True,
        help_text="With `over_limit`: the next instant at which a reservation may lapse; null where none can.",
    )
    available_then = MoneyField(required=False, help_text="With `over_limit`: what would be available at `frees_at`.")
    loan_status = serializers.CharField(required=False, help_text="With `loan_not_open`.")
    state = serializers.CharField(required=False, help_text="With `illegal_transition` and `reservation_expired`: the state it is in.")
    possible = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        help_text="With `illegal_transition`: the events, as history names them, that somebody may bring about from there.",
    )
    expired_at = serializers.DateTimeField(required=False, help_text="With `reservation_expired`.")
    id = serializers.CharField(required=False, help_text="With `server_error`: how we find it in our log.")


# --- Examples -------------------------------------------------------------------------------------------------------
LOAN = {
    "reference": "PL-0001",
    "title": "Twelve flats",
    "property": {"address": "1200 Barton Springs Rd", "city": "Austin", "state": "TX", "zip": "78704"},
    "market": {"cbsa": "12420", "msa": "Austin-Round Rock, TX"},
    "amount": "100000.00",
    "annual_rate": "9.50",
    "term_months": 18,
    "ltv": "65.00",
    "status": "open",
    "minimum": "1000.00",
    "opens_at": "2026-03-02T15:00:00Z",
    "closes_at": "2026-03-23T15:00:00Z",
    "remaining": "10000.00",
    "remaining_as_of": "2026-03-05T15:04:05.678901Z",
}
RESERVED = {
    "id": "5f0c1a52-6a4e-4a53-9b0c-0f6f2f1e6a11",
    "loan": "PL-0001",
    "amount": "5000.00",
    "settled_amount": "0.00",
    "state": "reserved",
    "cause": None,
    "created_at": "2026-03-02T15:00:00Z",
    "expires_at": "2026-03-03T15:00:00Z",
    "transfer": None,
    "refund": None,
}
TRANSFER = {"reference": "T-5B1E0C7A9D21", "method": "ach", "status": "initiated"}
PENDING = RESERVED | {"state": "pending", "expires_at": "2026-03-10T05:00:00Z", "transfer": TRANSFER}
CANCELED = RESERVED | {"state": "canceled", "cause": "canceled_by_investor", "expires_at": None}
MARKET_TOTAL = {"market": {"cbsa": "12420", "msa": "Austin-Round Rock, TX"}, "held": "5000.00", "share": "1.0000"}
PORTFOLIO = {
    "held": "5000.00",
    "by_state": [
        {"state": state, "count": int(state == "settled"), "amount": "5000.00" if state == "settled" else "0.00"}
        for state in ("reserved", "pending", "settled", "canceled")
    ],
    "by_loan": [
        {"loan": "PL-0001", "title": "Twelve flats", "reserved": "0.00", "pending": "0.00", "settled": "5000.00", "held": "5000.00"}
    ],
    "by_market": [MARKET_TOTAL],
}
EVENT = {
    "id": "evt_01HZX3",
    "type": "transfer.cleared",
    "reference": TRANSFER["reference"],
    "amount": "5000.00",
    "occurred_at": "2026-03-05T15:00:00Z",
}
TRANSITION = {
    "at": "2026-03-02T15:00:00Z",
    "event": "reserved",
    "from_state": None,
    "to_state": "reserved",
    "amount": "5000.00",
    "deadline": "2026-03-03T15:00:00Z",
    "transfer": None,
    "rule": None,
    "actor": "investor",
    "reason": None,
}


# --- Operations -----------------------------------------------------------------------------------------------------
class Operation(NamedTuple):
    """What the OpenAPI document cannot take from a view."""

    tag: str
    request: dict[str, Any] | None
    """An example."""
    responses: dict[str, dict[str, Any]]
    """An example by status."""
    refusals: tuple[str, ...] = ()
    """The codes of errors that do not follow from what the view is."""


# By the view's name.
OPERATIONS = {
    "TokenCreate": Operation(
        "auth",
        {"username": "investor1", "password": "demo"},
        {"200": {"token": "3c1f…", "expires_at": "2026-03-03T01:00:00Z"}},
        ("not_authenticated",),
    ),
    "TokenRevoke": Operation("auth", {}, {}),
    "LoanList": Operation("loans", None, {"200": LOAN}),
    "LoanDetail": Operation("loans", None, {"200": LOAN | {"available": "10000.00"}}),
    "ReservationCreate": Operation(
        "reservations",
        {"amount": "5000.00"},
        {"201": RESERVED},
        ("below_minimum", "not_accredited", "loan_not_open", "over_limit"),
    ),
    "ReservationList": Operation("reservations", None, {"200": RESERVED}),
    "ReservationDetail": Operation("reservations", None, {"200": RESERVED | {"queue_position": 3}}),
    "ReservationHistory": Operation("reservations", None, {"200": TRANSITION}),
    "TransferCreate": Operation("reservations", {"method": "ach"}, {"200": PENDING}, ("reservation_expired", "illegal_transition")),
    "ReservationCancel": Operation("reservations", {}, {"200": CANCELED}, ("reservation_expired", "illegal_transition")),
    "PortfolioDetail": Operation("portfolio", None, {"200": PORTFOLIO}),
    "BankEventCreate": Operation(
        "bank",
        EVENT,
        {"200": {"id": EVENT["id"], "outcome": "funded"}, "202": {"id": EVENT["id"], "outcome": "unknown_reference"}},
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
        return OPERATIONS.get(type(self.view).__name__)

    @property
    def docstring(self) -> str:
        return inspect.getdoc(type(self.view)) or ""

    @property
    def is_list(self) -> bool:
        return getattr(self.view, "pagination_class", None) is not None

    @property
    def is_idempotent(self) -> bool:
        return self.method == "POST" and IsInvestor in self.view.permission_classes

    def get_operation_id(self) -> str:
        if not self.row:
            return super().get_operation_id()
        return re.sub("(?<!^)(?=[A-Z])", "_", type(self.view).__name__).lower()

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
        examples = [
            OpenApiExample("Response", value=example, response_only=True, status_codes=[status])
            for status, example in self.row.responses.items()
        ]
        if self.row.request is not None:
            examples.append(OpenApiExample("Request", value=self.row.request, request_only=True))
        return examples

    def get_operation(self, *args: Any) -> dict[str, Any] | None:
        operation: dict[str, Any] | None = super().get_operation(*args)
        if operation and self.row:
            responses = operation["responses"]
            if self.method == "GET":
                headers = self._get_response_headers_for_code("304")
                responses["304"] = {"description": "Nothing has changed.", "headers": headers}
            for status, codes in groupby(sorted(self.refusals(self.row), key=STATUSES.__getitem__), STATUSES.__getitem__):
                responses[str(status)] = self.refusal(list(codes))
        return operation

    def refusals(self, row: Operation) -> list[str]:
        """Return the codes of all errors that the operation may answer."""
        codes = [*row.refusals, "server_error", "unavailable"]
        if self.method == "POST":
            codes += ["invalid", "too_large", "unsupported_media_type"]
        if self.is_list:
            codes += ["invalid"]
        if self.view.throttle_classes:
            codes += ["throttled"]
        if any(isinstance(permission, IsAuthenticated) for permission in self.view.get_permissions()):
            codes += ["not_authenticated", "token_expired"]
        if IsInvestor in self.view.permission_classes:
            codes += ["permission_denied"]
        if self.is_idempotent:
            codes += ["busy", "request_in_progress", "idempotency_key_reused"]
        if "{" in self.path:
            codes += ["not_found"]
        return codes

    def refusal(self, codes: list[str]) -> dict[str, Any]:
        """Return the response of a status with these codes."""
        schema = self.resolve_serializer(ProblemSerializer, "response").ref
        examples = {code: {"value": problem_document(code, REFUSALS[code][0], TITLES.get(code), **REFUSALS[code][1])} for code in codes}
        response = {
            "description": ", ".join(f"`{code}`" for code in codes),
            "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}},
        }
        if {"throttled", *RETRY_AFTER_SECONDS} & set(codes):
            response["headers"] = {"Retry-After": RETRY_AFTER}
        return response


class StrictBody(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Unknown fields are refused, so the schema says that there are none."""

    target_class = StrictSerializer
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        fields: dict[str, Any] = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return fields | {"additionalProperties": False}


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "loans.api.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A token from `POST /api/v1/auth/token/`."}


# --- What we send -----------------------------------------------------------------------------------------------------
MESSAGE = {
    "type": "reservation.transfer_started",
    "timestamp": "2026-03-02T16:00:00Z",
    "data": {
        "reservation": RESERVED["id"],
        "loan": "PL-0001",
        "event": "transfer_started",
        "from": "reserved",
        "to": "pending",
        "amount": "5000.00",
        "expires_at": "2026-03-10T05:00:00Z",
        "reference": TRANSFER["reference"],
        "method": "ach",
        "at": "2026-03-02T16:00:00Z",
    },
}
MessageData = inline_serializer(
    "MessageData",
    {
        "reservation": serializers.UUIDField(),
        "loan": serializers.CharField(help_text="The loan's reference."),
        "event": serializers.CharField(help_text="As in the reservation's history; the cause, where it was canceled."),
        "from": serializers.CharField(allow_null=True, help_text="The state before."),
        "to": serializers.CharField(help_text="The state since: of the refund, where `type` says refund, else of the reservation."),
        "amount": MoneyField(),
        "expires_at": serializers.DateTimeField(allow_null=True),
        "reference": serializers.CharField(allow_null=True, help_text="Of the transfer or refund that it is about."),
        "method": serializers.CharField(allow_null=True),
        "at": serializers.DateTimeField(),
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
message = OpenApiWebhook(
    "message",
    extend_schema(
        operation_id="message",
        summary="What happened to a reservation, sent to the endpoints of its investor",
        description="Signed as [Standard Webhooks](https://www.standardwebhooks.com/) prescribes: `webhook-signature` is `v1,` and the "
        "base64 HMAC-SHA256 of `{webhook-id}.{webhook-timestamp}.{body}`. Sent at least once, in order for each reservation; a repeat "
        "has the same `webhook-id`. Anything but a 2xx within ten seconds is tried again for three days.",
        tags=["webhooks"],
        request=MessageSerializer,
        responses={"2XX": OpenApiResponse(description="Taken.")},
        examples=[OpenApiExample("As sent", value=MESSAGE)],
    ),
)
