"""How does the API describe itself? Each call's words, examples and refusals for the OpenAPI document."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerExtension
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    OpenApiWebhook,
    extend_schema,
    extend_schema_view,
    inline_serializer,
)
from rest_framework import serializers

from loans.api.serializers import (
    BankEventSerializer,
    LoanDetailSerializer,
    LoanSerializer,
    LogInSerializer,
    MoneyField,
    NothingSerializer,
    OutcomeSerializer,
    PortfolioSerializer,
    ReservationDetailSerializer,
    ReservationSerializer,
    ReserveSerializer,
    StartTransferSerializer,
    TokenSerializer,
    TransitionSerializer,
)
from loans.notifications.messages import TYPES
from peerloans.api import problem_details
from peerloans.api.strict_fields import StrictSerializer
from peerloans.errors import Problem

# Of each code an example: its detail and its data.
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
    "idempotency_key_reused": ("This Idempotency-Key has answered another request; take a new one for each request.", {}),
    "throttled": ("Request was throttled. Expected available in 7 seconds.", {}),
    "server_error": (
        "The fault is on our side. Tell us this id, and we find in our log what happened.",
        {"id": "0b7f0c0e-5a38-4c0e-9a52-6d1c6a8f4f0e"},
    ),
    "unavailable": ("The database does not answer; try again in a moment, a POST with the same Idempotency-Key.", {}),
}
TITLES = {error.code: error.title for error in Problem.__subclasses__()}
A_BODY = ("invalid", "too_large", "unsupported_media_type", "throttled")
A_LIST = ("invalid", "throttled")
AN_INVESTOR = ("not_authenticated", "token_expired", "permission_denied")
A_STEP = (*A_BODY, *AN_INVESTOR, "not_found", "busy", "request_in_progress", "idempotency_key_reused")

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


def refused(*codes: str) -> dict[tuple[int, str], OpenApiResponse]:
    """The problem documents that a call may answer, by status. A fault of ours, or a database that is away, may be the answer to any."""
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in (*codes, "server_error", "unavailable"):
        by_status[problem_details.STATUSES[code]].append(code)
    return {
        (status, problem_details.MEDIA_TYPE): OpenApiResponse(
            ProblemSerializer,
            ", ".join(f"`{code}`" for code in names),
            examples=[
                OpenApiExample(code, problem_details.problem_document(code, REFUSALS[code][0], TITLES.get(code), **REFUSALS[code][1]))
                for code in names
            ],
        )
        for status, names in sorted(by_status.items())
    }


def answered(form: Any, description: str, *examples: dict[str, Any]) -> OpenApiResponse:
    return OpenApiResponse(form, description, examples=[OpenApiExample("As answered", value=example) for example in examples])


def sent(example: dict[str, Any]) -> list[OpenApiExample]:
    return [OpenApiExample("As sent", value=example, request_only=True)]


KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "pattern": "^[!-~]{1,255}$"},
    OpenApiParameter.HEADER,
    description="Your own name for this request, a UUID for instance. The same request with the same key gets the first answer again, "
    "for 24 hours, marked `Idempotency-Replayed: true`; so a request whose answer was lost can be repeated safely.",
)
REPLAYED = OpenApiParameter(
    "Idempotency-Replayed", str, OpenApiParameter.HEADER, description="`true` on an answer given before.", response=[200, 201]
)
IF_NONE_MATCH = OpenApiParameter("If-None-Match", str, OpenApiParameter.HEADER, description="An ETag; 304 while it still holds.")
ETAG = OpenApiParameter("ETag", str, OpenApiParameter.HEADER, description="Send it back as `If-None-Match`.", response=[200, 304])
RETRY_AFTER = OpenApiParameter(
    "Retry-After",
    int,
    OpenApiParameter.HEADER,
    description="Seconds to wait, with `busy`, `request_in_progress` and `throttled`.",
    response=[409, 429],
)
UNCHANGED = {304: OpenApiResponse(description="It is as it was.")}

SIGNED = [
    OpenApiParameter(name, str, OpenApiParameter.HEADER, description=text)
    for name, text in (
        ("webhook-id", "The message's own id."),
        ("webhook-timestamp", "Seconds since 1970; within five minutes of now."),
        ("webhook-signature", "`v1,` and the signature; several with spaces."),
    )
]

Decorated = Callable[[Any], Any]


def a_list(operation: str, summary: str, tag: str, rows: Any, row: dict[str, Any], *codes: str, **options: Any) -> Decorated:
    return extend_schema_view(
        get=extend_schema(
            operation_id=operation,
            summary=summary,
            description="Paged: go on with `next` as long as it is not null. A filter that is misspelled or senseless is refused.",
            tags=[tag],
            parameters=[IF_NONE_MATCH, ETAG],
            responses={200: rows(many=True), **UNCHANGED, **refused(*A_LIST, *codes)},
            examples=[OpenApiExample("As answered", value=row, response_only=True, status_codes=["200"])],
            **options,
        )
    )


def a_read(operation: str, summary: str, description: str, tag: str, answer: OpenApiResponse, *codes: str, **options: Any) -> Decorated:
    return extend_schema(
        operation_id=operation,
        summary=summary,
        description=description,
        tags=[tag],
        parameters=[IF_NONE_MATCH, ETAG],
        responses={200: answer, **UNCHANGED, **refused("throttled", *codes)},
        **options,
    )


def a_step(operation: str, summary: str, description: str, answer: dict[int, OpenApiResponse], *codes: str, **options: Any) -> Decorated:
    return extend_schema(
        operation_id=operation,
        summary=summary,
        description=description,
        tags=["reservations"],
        parameters=[KEY, REPLAYED, RETRY_AFTER],
        responses={**answer, **refused(*A_STEP, *codes)},
        **options,
    )


log_in = extend_schema(
    operation_id="log_in",
    summary="Log in",
    description="Several tokens may be in use at once; each ends by itself, or at log-out.",
    tags=["auth"],
    auth=[],
    request=LogInSerializer,
    responses={
        200: answered(TokenSerializer, "A new token.", {"token": "3c1f…", "expires_at": "2026-03-03T01:00:00Z"}),
        **refused(*A_BODY, "not_authenticated"),
    },
    examples=sent({"username": "investor1", "password": "demo"}),
)
log_out = extend_schema(
    operation_id="log_out",
    summary="Log out",
    description="The token that is sent ends at once; the user's other tokens go on.",
    tags=["auth"],
    request=NothingSerializer,
    examples=sent({}),
    responses={204: OpenApiResponse(description="The token has ended."), **refused(*A_BODY, "not_authenticated", "token_expired")},
)
loans = a_list("list_loans", "The open and funded loans", "loans", LoanSerializer, LOAN, auth=[])
loan = a_read(
    "show_loan",
    "One loan",
    "`remaining` and `available` come from one read and are true at `remaining_as_of`.",
    "loans",
    answered(LoanDetailSerializer, "The loan.", LOAN | {"available": "10000.00"}),
    "not_found",
    auth=[],
)
reserve = a_step(
    "reserve",
    "Reserve a piece of a loan",
    "The reservation's place in the queue is fixed here. Start its transfer before `expires_at`, 24 hours from now.",
    {201: answered(ReservationSerializer, "The reservation.", RESERVED)},
    "below_minimum",
    "not_accredited",
    "loan_not_open",
    "over_limit",
    request=ReserveSerializer,
    examples=sent({"amount": "5000.00"}),
)
reservations = a_list("list_reservations", "Your reservations, newest first", "reservations", ReservationSerializer, RESERVED, *AN_INVESTOR)
reservation = a_read(
    "show_reservation",
    "One of your reservations",
    "With its place in the queue, counted at this moment. Somebody else's is not found.",
    "reservations",
    answered(ReservationDetailSerializer, "The reservation.", RESERVED | {"queue_position": 3}),
    *AN_INVESTOR,
    "not_found",
)
history = a_list(
    "list_history",
    "What happened to it, oldest first",
    "reservations",
    TransitionSerializer,
    TRANSITION,
    *AN_INVESTOR,
    "not_found",
)
start_transfer = a_step(
    "start_transfer",
    "Say how the money will come",
    "The reservation becomes pending until the end of the fifth banking day. Put the transfer's `reference` on the payment.",
    {200: answered(ReservationSerializer, "The reservation, now pending.", PENDING)},
    "reservation_expired",
    "illegal_transition",
    request=StartTransferSerializer,
    examples=sent({"method": "ach"}),
)
cancel = a_step(
    "cancel",
    "Let a reservation go",
    "Only while it is reserved, so before its transfer has started.",
    {200: answered(ReservationSerializer, "The reservation, now canceled.", CANCELED)},
    "reservation_expired",
    "illegal_transition",
    request=NothingSerializer,
    examples=sent({}),
)
portfolio = a_read(
    "show_portfolio",
    "Your totals by state, by loan and by market",
    "A reservation that has lapsed counts as canceled. `held` is what is reserved, pending or settled.",
    "portfolio",
    answered(PortfolioSerializer, "The totals.", PORTFOLIO),
    *AN_INVESTOR,
)
bank_events = extend_schema(
    operation_id="record_bank_event",
    summary="For the bank: what became of a transfer or a refund",
    description="Signed as [Standard Webhooks](https://www.standardwebhooks.com/) prescribes. The same event again changes nothing.",
    tags=["bank"],
    auth=[],
    parameters=SIGNED,
    request=BankEventSerializer,
    responses={
        200: answered(OutcomeSerializer, "Recorded.", {"id": EVENT["id"], "outcome": "funded"}),
        202: answered(OutcomeSerializer, "No transfer of ours; listed for staff.", {"id": EVENT["id"], "outcome": "unknown_reference"}),
        **refused("invalid", "invalid_signature", "busy", "too_large", "unsupported_media_type"),
    },
    examples=sent(EVENT),
)

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
