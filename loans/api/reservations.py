"""Make an investor's reservations, list and show them, start their transfers and cancel them.

As in all modules of this package that answer calls, a view checks the request, calls one service or selector, and shows what it
returns. Its docstring is what the OpenAPI document says of it (loans/api/schema.py).
"""

from typing import Any
from uuid import UUID

from django.db.models import F, QuerySet
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response

from loans.api.dry_run import dry_answer
from loans.api.filters import ReservationFilter, StrictFilterBackend
from loans.api.idempotency import idempotent, idempotent_in_service
from loans.api.permissions import investor_of
from loans.api.serializers import (
    DryRunSerializer,
    EmptySerializer,
    ReservationCreateSerializer,
    ReservationDetailSerializer,
    ReservationSerializer,
    TransferCreateSerializer,
    TransitionSerializer,
)
from loans.domain.actors import Actor
from loans.domain.first_answer import Key
from loans.models import Reservation, Transition
from loans.selectors.reservations import reservation_of_investor
from loans.selectors.transfers import TransferRow, transfers_of
from loans.services.reservations import cancel_reservation, reserve, start_transfer
from peerloans.api.caching import ConditionalView
from peerloans.api.pagination import KeysetPagination
from peerloans.api.request_body import body_of
from peerloans.database import replica

STARTED_OR_DRY = PolymorphicProxySerializer(
    component_name="StartedTransfer", serializers=[ReservationSerializer, DryRunSerializer], resource_type_field_name=None
)


def with_transfers(reservation: Reservation) -> tuple[Reservation, list[TransferRow]]:
    """Return the reservation with its transfers and refunds."""
    return reservation, transfers_of([reservation.pk])[reservation.pk]


class ReservationCreate(ConditionalView):
    """Reserve part of a loan.

    The reservation's place in the loan's queue is fixed from now on. Start its transfer before `expires_at`, 24 hours from now. With
    `at_least`, it takes the lesser of `amount` and what is available, if that is at least so much. With `dry_run`, nothing is
    written, and the answer says what would come of it now.
    """

    @extend_schema(request=ReservationCreateSerializer, responses={200: DryRunSerializer, 201: ReservationSerializer})
    @idempotent_in_service
    def post(self, request: Request, reference: str, key: Key | None) -> Response:
        body = body_of(request, ReservationCreateSerializer)
        is_dry_run = body.pop("dry_run")

        def decide() -> Response:
            reservation = reserve(reference=reference, investor=investor_of(request), key=None if is_dry_run else key, **body)
            return Response(ReservationSerializer((reservation, [])).data, status=201)

        return dry_answer(decide) if is_dry_run else decide()


class ReservationList(ConditionalView, generics.ListAPIView):
    """List your reservations, newest first."""

    serializer_class = ReservationSerializer
    pagination_class = KeysetPagination
    filter_backends = (StrictFilterBackend,)
    filterset_class = ReservationFilter
    queryset = (
        Reservation.objects.annotate(loan_reference=F("loan__reference"))  # type: ignore[no-redef]
        .order_by("-created_at")
        .values_list(*ReservationSerializer.COLUMNS, named=True)
    )

    def get_queryset(self) -> QuerySet[Any]:
        return super().get_queryset().using(replica.for_user(self.request.user.pk)).filter(investor=investor_of(self.request))

    def paginate_queryset(self, queryset: Any) -> Any:
        page = super().paginate_queryset(queryset) or []
        transfers = transfers_of([reservation.pk for reservation in page], queryset.db)
        return [(reservation, transfers[reservation.pk]) for reservation in page]


class ReservationDetail(ConditionalView):
    """Show one of your reservations.

    `queue_position` is counted at this moment. A reservation of another investor is not found.
    """

    serializer_class = ReservationDetailSerializer

    def get(self, request: Request, reservation_id: UUID) -> Response:
        reservation = reservation_of_investor(investor_of(request).pk, reservation_id)
        return Response(ReservationDetailSerializer(with_transfers(reservation)).data)


class ReservationHistory(ConditionalView, generics.ListAPIView):
    """List what happened to a reservation, oldest first."""

    serializer_class = TransitionSerializer
    pagination_class = KeysetPagination
    filter_backends = (StrictFilterBackend,)
    queryset = Transition.objects.select_related("transfer").order_by("id")

    def get_queryset(self) -> QuerySet[Transition]:
        reservation = reservation_of_investor(investor_of(self.request).pk, self.kwargs["reservation_id"])
        return super().get_queryset().using(replica.for_user(self.request.user.pk)).filter(reservation=reservation)


class TransferCreate(ConditionalView):
    """Start the transfer of a reservation's money.

    The reservation becomes pending until the end of the fifth banking day after today. Put the transfer's `reference` on the
    payment.
    """

    @extend_schema(request=TransferCreateSerializer, responses=STARTED_OR_DRY)
    @idempotent
    def post(self, request: Request, reservation_id: UUID) -> Response:
        body = body_of(request, TransferCreateSerializer)

        def decide() -> Response:
            reservation = start_transfer(
                reservation_id=reservation_id,
                method=body["method"],
                actor=Actor("investor", request.user.pk),
                investor_id=investor_of(request).pk,
            )
            return Response(ReservationSerializer(with_transfers(reservation)).data)

        return dry_answer(decide) if body["dry_run"] else decide()


class ReservationCancel(ConditionalView):
    """Cancel a reservation.

    This is possible only while it is reserved, so before its transfer has started.
    """

    @extend_schema(request=EmptySerializer, responses=ReservationSerializer)
    @idempotent
    def post(self, request: Request, reservation_id: UUID) -> Response:
        body_of(request, EmptySerializer)
        reservation = cancel_reservation(
            reservation_id=reservation_id, actor=Actor("investor", request.user.pk), investor_id=investor_of(request).pk
        )
        return Response(ReservationSerializer(with_transfers(reservation)).data)
