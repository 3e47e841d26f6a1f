"""Let investors reserve parts of many loans in one request."""

from functools import partial
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from loans.api.dry_run import undone
from loans.api.idempotency import idempotent
from loans.api.permissions import investor_of
from loans.api.serializers import BatchCreateSerializer, BatchSerializer, ReservationSerializer
from loans.models import Reservation
from loans.services.batches import Order, reserve_many
from peerloans.api import problem_details
from peerloans.api.caching import ConditionalView
from peerloans.api.request_body import body_of
from peerloans.errors import Problem


class BatchCreate(ConditionalView):
    """Reserve parts of up to 100 loans.

    Each order is decided by itself, in the order given, and answered in that order with a `reservation` or a `problem`. What one reserves
    counts for those after it. With `all_or_nothing` the first refusal is the answer, with the `index` of its order from 0, and nothing
    is reserved. With `dry_run` nothing is written.
    """

    @extend_schema(request=BatchCreateSerializer, responses=BatchSerializer)
    @idempotent
    def post(self, request: Request) -> Response:
        body = body_of(request, BatchCreateSerializer)
        orders = [Order(order["loan"], order["amount"], order.get("at_least")) for order in body["orders"]]
        decide = partial(reserve_many, investor=investor_of(request), orders=orders, all_or_nothing=body["all_or_nothing"])
        outcomes = undone(decide) if body["dry_run"] else decide()
        results = [_outcome(outcome, is_dry_run=body["dry_run"]) for outcome in outcomes]
        return Response({"dry_run": body["dry_run"], "results": results})


def _outcome(outcome: Reservation | Problem, *, is_dry_run: bool) -> dict[str, Any]:
    if isinstance(outcome, Problem):
        return {"reservation": None, "problem": problem_details.exception_handler(outcome, {}).data}
    reservation = ReservationSerializer((outcome, [])).data
    return {"reservation": reservation | ({"id": None} if is_dry_run else {}), "problem": None}
