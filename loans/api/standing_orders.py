"""Answer the calls about standing orders: keep, list, pause, resume and end them, their openings, and a preview of criteria."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from django.db.models import F, OuterRef, QuerySet, Subquery
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from loans.api.filters import StandingOrderFilter, StrictFilterBackend
from loans.api.idempotency import idempotent
from loans.api.permissions import investor_of
from loans.api.serializers import AmountField, EmptySerializer, MoneyField
from loans.domain.loan_terms import MAX_ANNUAL_RATE, MAX_LTV, MAX_TERM_MONTHS
from loans.domain.scopes import Scope
from loans.domain.standing_orders import Obstacle
from loans.domain.states import StandingOrderEvent, StandingOrderState
from loans.models import Reservation, StandingOrder, StandingOrderTransition
from loans.selectors.standing_orders import PreviewedLoan, line_positions, order_of_investor, preview, used_dollars
from loans.services.standing_orders import create_standing_order, end_standing_order, pause_standing_order, resume_standing_order
from peerloans.api.caching import ConditionalView
from peerloans.api.pagination import KeysetPagination
from peerloans.api.request_body import body_of
from peerloans.api.strict_fields import StrictSerializer
from peerloans.database import replica
from peerloans.database.clock import database_now

MOST_NAMES = 100  # states, or metros, of one order


class CriteriaSerializer(StrictSerializer):
    """The loans that a standing order wants. What is left out wants all."""

    states = serializers.ListField(
        child=serializers.RegexField(r"^[A-Z]{2}\Z"), required=False, max_length=MOST_NAMES, help_text="Of the property, two capitals each."
    )
    metros = serializers.ListField(
        child=serializers.RegexField(r"^[0-9]{5}\Z"), required=False, max_length=MOST_NAMES, help_text="The CBSA codes of markets."
    )
    least_rate = serializers.DecimalField(
        5, 2, required=False, allow_null=True, min_value=0, max_value=MAX_ANNUAL_RATE, help_text="Percent per year, at least."
    )
    greatest_ltv = serializers.DecimalField(
        5, 2, required=False, allow_null=True, min_value=0, max_value=MAX_LTV, help_text="Loan to value, percent, at most."
    )
    longest_term_months = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=MAX_TERM_MONTHS)


class StandingOrderCreateSerializer(CriteriaSerializer):
    amount = AmountField(help_text="Dollars per loan.")
    at_least = AmountField(required=False, help_text="The least to take of a loan. By default, all of `amount`.")
    cap = AmountField(help_text="The most dollars that may be live or settled through this order, over all loans.")


class StandingOrderSerializer(serializers.Serializer[Any]):
    """An order with its position in the line and its dollars that are live or settled."""

    id = serializers.UUIDField()
    states = serializers.ListField(child=serializers.CharField(), help_text="Empty: every state.")
    metros = serializers.ListField(child=serializers.CharField(), help_text="Empty: every metropolitan area, or none.")
    least_rate = serializers.DecimalField(5, 2, allow_null=True)
    greatest_ltv = serializers.DecimalField(5, 2, allow_null=True)
    longest_term_months = serializers.IntegerField(allow_null=True)
    amount = MoneyField(help_text="Dollars per loan.")
    at_least = MoneyField(help_text="The least to take of a loan.")
    cap = MoneyField(help_text="The most dollars that may be live or settled through it.")
    used = MoneyField(help_text="The dollars that are live or settled through it now.")
    state = serializers.ChoiceField(list(StandingOrderState))
    line_position = serializers.IntegerField(allow_null=True, help_text="1 is served first; null unless it is active.")
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, shown: "ShownOrder") -> dict[str, Any]:
        order, position, used = shown
        return {
            "id": order.pk,
            "states": order.states,
            "metros": order.metros,
            "least_rate": order.least_rate,
            "greatest_ltv": order.greatest_ltv,
            "longest_term_months": order.longest_term_months,
            "amount": order.amount,
            "at_least": order.at_least,
            "cap": order.cap,
            "used": used,
            "state": order.state,
            "line_position": position,
            "created_at": order.created_at,
            "ended_at": order.ended_at,
        }


ShownOrder = tuple[StandingOrder, int | None, Any]


def _shown(orders: list[StandingOrder], using: str) -> list[ShownOrder]:
    ids = [order.pk for order in orders]
    positions, used = line_positions(ids, using), used_dollars(ids, database_now(None), using)
    return [(order, positions.get(order.pk), used.get(order.pk, "0.00")) for order in orders]


def _answer(order: StandingOrder, *, status: int = 200, using: str = "default") -> Response:
    return Response(StandingOrderSerializer(_shown([order], using)[0]).data, status=status)


class StandingOrderOpeningSerializer(serializers.Serializer[Any]):
    loan = serializers.CharField(help_text="The loan's reference.")
    at = serializers.DateTimeField(help_text="When the loan opened.")
    amount = MoneyField(allow_null=True, help_text="What the order got of it; null if nothing.")
    reservation = serializers.UUIDField(allow_null=True, help_text="The reservation that the order got.")
    obstacle = serializers.ChoiceField(list(Obstacle), allow_null=True, help_text="If it got nothing: what stood against it first.")

    def to_representation(self, row: Any) -> dict[str, Any]:
        return {
            "loan": row.loan_reference,
            "at": row.at,
            "amount": row.amount,
            "reservation": row.reservation_id if row.amount else None,
            "obstacle": row.obstacle or None,
        }


class PreviewedLoanSerializer(serializers.Serializer[Any]):
    loan = serializers.CharField(help_text="The loan's reference.")
    opens_at = serializers.DateTimeField()
    obstacle = serializers.ChoiceField(
        list(Obstacle), allow_null=True, help_text="The first criterion that it does not meet; null if it meets all."
    )

    def to_representation(self, previewed: PreviewedLoan) -> dict[str, Any]:
        return {"loan": previewed.loan.reference, "opens_at": previewed.loan.opens_at, "obstacle": previewed.unmet}


class StandingOrderPreviewSerializer(serializers.Serializer[Any]):
    matching = serializers.IntegerField(help_text="How many of the loans meet all criteria.")
    loans = PreviewedLoanSerializer(many=True)


# --- The calls ----------------------------------------------------------------------------------------------------------
class StandingOrders(ConditionalView, generics.ListAPIView[StandingOrder]):
    operations = {"GET": "StandingOrderList", "POST": "StandingOrderCreate"}
    serializer_class = StandingOrderSerializer
    pagination_class = KeysetPagination
    filter_backends = (StrictFilterBackend,)
    filterset_class = StandingOrderFilter
    queryset = StandingOrder.objects.order_by("-created_at")

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List your standing orders, newest first.

        `line_position` and `used` are counted at this moment.
        """
        return super().get(request, *args, **kwargs)

    def get_queryset(self) -> QuerySet[StandingOrder]:
        return super().get_queryset().using(replica.for_user(self.request.user.pk)).filter(investor=investor_of(self.request))

    def paginate_queryset(self, queryset: Any) -> Any:
        return _shown(super().paginate_queryset(queryset) or [], queryset.db)

    @extend_schema(request=StandingOrderCreateSerializer, responses={201: StandingOrderSerializer})
    @idempotent
    def post(self, request: Request) -> Response:
        """Keep a standing order.

        When a loan opens that meets its criteria, it reserves `amount` dollars of it before anybody else can, or what there is, if that
        is at least `at_least`. All standing orders stand in one line; a new one joins at its end. Each loan keeps a share of its amount
        for them. If they want more than that share, those that were served move to the end of the line. You keep at most ten.
        """
        order = create_standing_order(investor=investor_of(request), **body_of(request, StandingOrderCreateSerializer))
        return _answer(order, status=201)


class StandingOrderDetail(ConditionalView):
    """Show one of your standing orders."""

    @extend_schema(responses=StandingOrderSerializer)
    def get(self, request: Request, order_id: UUID) -> Response:
        return _answer(order_of_investor(investor_of(request).pk, order_id))


class StandingOrderOpenings(ConditionalView, generics.ListAPIView[StandingOrderTransition]):
    """List what the openings of loans gave to a standing order, newest first.

    A loan that opened while the order was paused is not among them.
    """

    serializer_class = StandingOrderOpeningSerializer
    pagination_class = KeysetPagination
    filter_backends = (StrictFilterBackend,)
    queryset = StandingOrderTransition.objects.order_by("-id")

    def get_queryset(self) -> QuerySet[StandingOrderTransition]:
        order = order_of_investor(investor_of(self.request).pk, self.kwargs["order_id"])
        own = Reservation.objects.filter(standing_order=order, loan=OuterRef("loan")).order_by("number").values("pk")[:1]
        opened = super().get_queryset().filter(order=order, event__in=[StandingOrderEvent.PLACED, StandingOrderEvent.PASSED_OVER])
        return opened.annotate(loan_reference=F("loan__reference"), reservation_id=Subquery(own))


class _ChangeOrder(ConditionalView):
    """What is done to one order, without a body."""

    change: Callable[..., StandingOrder]

    @extend_schema(request=EmptySerializer, responses=StandingOrderSerializer)
    @idempotent
    def post(self, request: Request, order_id: UUID) -> Response:
        body_of(request, EmptySerializer)
        return _answer(type(self).change(order_id=order_id, investor=investor_of(request)))


class StandingOrderPause(_ChangeOrder):
    """Pause a standing order.

    It reserves nothing until you resume it, and keeps its place in the line. A repeat changes nothing.
    """

    change = staticmethod(pause_standing_order)


class StandingOrderResume(_ChangeOrder):
    """Resume a paused standing order.

    A repeat changes nothing.
    """

    change = staticmethod(resume_standing_order)


class StandingOrderEnd(_ChangeOrder):
    """End a standing order for good.

    Its reservations stay as they are. A repeat changes nothing.
    """

    change = staticmethod(end_standing_order)


class StandingOrderPreview(ConditionalView):
    """Say which loans of the last 180 days meet criteria.

    Newest first, at most 500. It keeps no order.
    """

    scope = Scope.READ

    @extend_schema(request=CriteriaSerializer, responses=StandingOrderPreviewSerializer)
    def post(self, request: Request) -> Response:
        body = body_of(request, CriteriaSerializer)
        wanted: dict[str, Any] = {"states": [], "metros": [], "least_rate": None, "greatest_ltv": None, "longest_term_months": None}
        loans = preview(SimpleNamespace(**wanted | body), database_now(None), replica.for_anyone())
        matching = sum(1 for each in loans if each.unmet is None)
        return Response(StandingOrderPreviewSerializer({"matching": matching, "loans": loans}).data)
