"""Answer an investor's event feed: the messages of webhooks, to be read at the reader's own pace."""

from typing import Any

from django.core import signing
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from loans.api.permissions import investor_of
from loans.api.schema import MessageData
from loans.models import Transition
from loans.notifications.feed import START, Position, position_after, read_feed
from loans.notifications.messages import TYPES, message_body, message_id
from peerloans.api.caching import ConditionalView
from peerloans.api.pagination import page_size_of
from peerloans.api.strict_fields import refuse_ambiguous_parameters

DEFAULT_SIZE = 200
LARGEST_SIZE = 1_000  # some 400 kB; a day of 100,000 events takes 100 pages
# What is read again and again must not change by itself, so without a time in it.
_SIGNER = signing.Signer(salt="events")

EventPageSerializer = inline_serializer(
    "EventPage",
    {
        "next_after": serializers.CharField(help_text="Send it as `after` for what comes next, now or later."),
        "has_more": serializers.BooleanField(help_text="Whether more is there now."),
        "results": inline_serializer(
            "FeedEvent",
            {
                "id": serializers.CharField(help_text="The `webhook-id` with which webhooks report the same event."),
                "type": serializers.ChoiceField(TYPES),
                "timestamp": serializers.DateTimeField(help_text="When it happened."),
                "data": MessageData,
            },
            many=True,
        ),
    },
)
PARAMETERS = [
    OpenApiParameter("after", str, description="The `next_after` of an answer. Without it, the feed begins with your first event."),
    OpenApiParameter(
        "page_size",
        {"type": "integer", "minimum": 1, "maximum": LARGEST_SIZE, "default": DEFAULT_SIZE},
        description="The most events of an answer.",
    ),
]


class EventList(ConditionalView):
    """List the events of your reservations, refunds and entries of waiting lists.

    They have the same JSON as the webhooks, and the order in which our database wrote them. Keep `next_after` and send it as `after` with
    the next request: then each event comes once and none is skipped, however long you were away.
    """

    known_parameters = ("after", "page_size")

    @extend_schema(parameters=PARAMETERS, responses=EventPageSerializer)
    def get(self, request: Request) -> Response:
        refuse_ambiguous_parameters(request)
        after = _position(request)
        page = read_feed(investor_of(request).pk, after, page_size_of(request, DEFAULT_SIZE, LARGEST_SIZE))
        return Response(
            {
                "next_after": _SIGNER.sign_object(position_after(page, after)),
                "has_more": page.has_more,
                "results": [_event(transition) for transition in page.transitions],
            }
        )


def _position(request: Request) -> Position:
    text = request.query_params.get("after")
    if text is None:
        return START
    try:
        return Position(*_SIGNER.unsign_object(text))
    except signing.BadSignature:
        raise ValidationError({"after": ["Take it from `next_after` of an answer, unchanged."]}) from None


def _event(transition: Transition) -> dict[str, Any]:
    subject = transition.reservation or transition.waiting_entry
    assert subject  # noqa: S101 - for mypy: the feed has no other transitions
    return {"id": message_id(transition), **message_body(transition, subject)}
