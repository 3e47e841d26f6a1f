"""What does each address of the API do? Check what came, call one service, show what it returns."""

import logging
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from knox.models import AuthToken
from rest_framework import generics
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from loans import remaining_cache
from loans.api import authentication, schema
from loans.api.authentication import investor_of
from loans.api.bank_signature import verify_bank_signature
from loans.api.filters import ReservationFilter, StrictFilterBackend
from loans.api.idempotency import idempotent, idempotent_in_service
from loans.api.serializers import (
    BankEventSerializer,
    LoanDetailSerializer,
    LoanSerializer,
    LogInSerializer,
    NothingSerializer,
    ReservationDetailSerializer,
    ReservationSerializer,
    ReserveSerializer,
    StartTransferSerializer,
    TransitionSerializer,
)
from loans.domain.actors import Actor
from loans.domain.errors import NotFound
from loans.domain.idempotency import Key
from loans.models import Reservation, Transition
from loans.selectors.loan_filter import LoanFilter
from loans.selectors.loans import PUBLIC, public_loans
from loans.selectors.offers import loan_offer
from loans.selectors.portfolio import portfolio
from loans.selectors.reservations import TransferView, reservation_of_investor, transfers_of
from loans.services.payments import record_bank_event
from loans.services.reservations import cancel_reservation, reserve, start_transfer
from peerloans.api.caching import ConditionalView, PublicView
from peerloans.api.pagination import KeysetPagination
from peerloans.api.throttling import LogInThrottle
from peerloans.database import replica

logger = logging.getLogger(__name__)


def checked(form: type[Serializer], request: Request) -> Any:
    """The form, filled with the request's body; ValidationError by field."""
    filled = form(data=request.data)
    filled.is_valid(raise_exception=True)
    return filled


def seen(reservation: Reservation) -> tuple[Reservation, list[TransferView]]:
    """The reservation with its transfers and refunds."""
    return reservation, transfers_of([reservation.pk])[reservation.pk]


# --- Log-in ---------------------------------------------------------------------------------------------------------
class TokenCreate(ConditionalView):
    authentication_classes = ()
    permission_classes = ()
    throttle_classes = (LogInThrottle,)

    def get_authenticate_header(self, request: Request) -> str:
        return "Bearer"

    @schema.log_in
    def post(self, request: Request) -> Response:
        given = checked(LogInSerializer, request).validated_data
        user = authenticate(request, **given)
        if getattr(request, "axes_locked_out", False):
            raise Throttled(settings.AXES_COOLOFF_TIME.total_seconds(), "Too many wrong passwords for this user from your address.")
        if user is None:
            logger.warning("A log-in failed.")
            raise AuthenticationFailed("No active user has this name and password.")
        kept, token = AuthToken.objects.create(user)
        user_logged_in.send(type(user), request=request, user=user)
        return Response({"token": token, "expires_at": kept.expiry})


class TokenRevoke(ConditionalView):
    permission_classes = (IsAuthenticated,)

    @schema.log_out
    def post(self, request: Request) -> Response:
        checked(NothingSerializer, request)
        token: Any = request.auth
        authentication.forget(token.digest)
        token.delete()
        user_logged_out.send(type(request.user), request=request, user=request.user)
        return Response(status=204)


# --- Loans ----------------------------------------------------------------------------------------------------------
@schema.loans
class LoanList(PublicView, generics.ListAPIView):
    serializer_class = LoanSerializer
    pagination_class = KeysetPagination
    filter_backends = (StrictFilterBackend,)
    filterset_class = LoanFilter

    def get_queryset(self) -> QuerySet[Any]:
        loans = public_loans().annotate(read_at=Now())
        # Rows, since a hundred instances of a model cost as much as reading them does.
        return loans.order_by("-opens_at").values_list("pk", "remaining", "version", "read_at", *LoanSerializer.READ, named=True)

    def paginate_queryset(self, queryset: Any) -> Any:
        page = super().paginate_queryset(queryset) or []
        values = remaining_cache.shown(page, page[0].read_at) if page else {}
        return [(loan, values[loan.pk]) for loan in page]


class LoanDetail(PublicView):
    @schema.loan
    def get(self, request: Request, reference: str) -> Response:
        offer = loan_offer(reference)
        loan = offer.loan
        if loan.status not in PUBLIC:
            raise NotFound(f"There is no loan {reference}.")
        shown = remaining_cache.Remaining(loan.remaining, offer.at, loan.version)
        return Response(LoanDetailSerializer((loan, shown, offer.available)).data)


class ReservationCreate(ConditionalView):
    @schema.reserve
    @idempotent_in_service
    def post(self, request: Request, reference: str, key: Key | None) -> Response:
        amount = checked(ReserveSerializer, request).validated_data["amount"]
        reservation = reserve(reference=reference, investor=investor_of(request), amount=amount, key=key)
        return Response(ReservationSerializer((reservation, [])).data, status=201)


# --- Reservations ---------------------------------------------------------------------------------------------------
@schema.reservations
class ReservationList(ConditionalView, generics.ListAPIView):
    serializer_class = ReservationSerializer
    pagination_class = KeysetPagination
    filter_backends = (StrictFilterBackend,)
    filterset_class = ReservationFilter
    queryset = Reservation.objects.annotate(loan_reference=F("loan__reference")).order_by("-created_at")  # type: ignore[no-redef]

    def get_queryset(self) -> QuerySet[Any]:
        reservations = super().get_queryset().using(replica.for_user(self.request.user.pk)).filter(investor=investor_of(self.request))
        return reservations.values_list(*ReservationSerializer.READ, named=True)

    def paginate_queryset(self, queryset: Any) -> Any:
        page = super().paginate_queryset(queryset) or []
        movements = transfers_of([reservation.pk for reservation in page], queryset.db)
        return [(reservation, movements[reservation.pk]) for reservation in page]


class ReservationDetail(ConditionalView):
    @schema.reservation
    def get(self, request: Request, reservation_id: UUID) -> Response:
        reservation = reservation_of_investor(investor_of(request).pk, reservation_id)
        return Response(ReservationDetailSerializer(seen(reservation)).data)


class TransferCreate(ConditionalView):
    @schema.start_transfer
    @idempotent
    def post(self, request: Request, reservation_id: UUID) -> Response:
        method = checked(StartTransferSerializer, request).validated_data["method"]
        reservation = start_transfer(
            reservation_id=reservation_id, method=method, actor=Actor("investor", request.user.pk), investor_id=investor_of(request).pk
        )
        return Response(ReservationSerializer(seen(reservation)).data)


class ReservationCancel(ConditionalView):
    @schema.cancel
    @idempotent
    def post(self, request: Request, reservation_id: UUID) -> Response:
        checked(NothingSerializer, request)
        reservation = cancel_reservation(
            reservation_id=reservation_id, actor=Actor("investor", request.user.pk), investor_id=investor_of(request).pk
        )
        return Response(ReservationSerializer(seen(reservation)).data)


@schema.history
class ReservationHistory(ConditionalView, generics.ListAPIView):
    serializer_class = TransitionSerializer
    pagination_class = KeysetPagination
    filter_backends = (StrictFilterBackend,)
    queryset = Transition.objects.select_related("transfer").order_by("id")

    def get_queryset(self) -> QuerySet[Transition]:
        reservation = reservation_of_investor(investor_of(self.request).pk, self.kwargs["reservation_id"])
        return super().get_queryset().using(replica.for_user(self.request.user.pk)).filter(reservation=reservation)


class PortfolioDetail(ConditionalView):
    @schema.portfolio
    def get(self, request: Request) -> Response:
        return Response(portfolio(investor_of(request).pk, using=replica.for_user(request.user.pk)))


# --- The bank -------------------------------------------------------------------------------------------------------
class BankEventCreate(APIView):
    """Nobody logs in here: the signature says who it is."""

    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()

    @schema.bank_events
    def post(self, request: Request) -> Response:
        verify_bank_signature(request._request.body, request.headers)
        notice = checked(BankEventSerializer, request).notice()
        outcome = record_bank_event(notice)
        return Response({"id": notice.id, "outcome": outcome}, status=202 if outcome == "unknown_reference" else 200)
