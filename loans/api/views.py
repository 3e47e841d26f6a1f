"""Answer the calls of the API: check the request, call one service or selector, and show what it returns.

The docstring of a view is what the OpenAPI document says of it (loans/api/schema.py).
"""

import logging
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema
from knox.models import AuthToken
from rest_framework import generics
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from loans import remaining_cache
from loans.api import authentication
from loans.api.authentication import investor_of
from loans.api.bank_signature import verify_bank_signature
from loans.api.dry_run import dry_answer
from loans.api.filters import ReservationFilter, StrictFilterBackend
from loans.api.idempotency import idempotent, idempotent_in_service
from loans.api.schema import SIGNATURE
from loans.api.serializers import (
    BankEventOutcomeSerializer,
    BankEventSerializer,
    DryRunSerializer,
    EmptySerializer,
    LoanDetailSerializer,
    LoanSerializer,
    PortfolioSerializer,
    ReservationCreateSerializer,
    ReservationDetailSerializer,
    ReservationSerializer,
    TokenCreateSerializer,
    TokenSerializer,
    TransferCreateSerializer,
    TransitionSerializer,
)
from loans.domain.actors import Actor
from loans.domain.errors import NotFound
from loans.domain.idempotency import Key
from loans.domain.states import PUBLIC_STATUSES
from loans.models import Reservation, Transition
from loans.selectors.loan_filter import LoanFilter
from loans.selectors.loans import PUBLIC_LOANS
from loans.selectors.offers import loan_offer
from loans.selectors.portfolio import portfolio
from loans.selectors.reservations import reservation_of_investor
from loans.selectors.transfers import TransferRow, transfers_of
from loans.services.bank_events import AWAITING_STAFF, Notice, record_bank_event
from loans.services.reservations import cancel_reservation, reserve, start_transfer
from peerloans.api.caching import ConditionalView, PublicView
from peerloans.api.pagination import KeysetPagination
from peerloans.api.request_body import body_of
from peerloans.api.throttling import LogInThrottle
from peerloans.database import replica

logger = logging.getLogger(__name__)

STARTED_OR_DRY = PolymorphicProxySerializer(
    component_name="StartedTransfer", serializers=[ReservationSerializer, DryRunSerializer], resource_type_field_name=None
)


def with_transfers(reservation: Reservation) -> tuple[Reservation, list[TransferRow]]:
    """Return the reservation with its transfers and refunds."""
    return reservation, transfers_of([reservation.pk])[reservation.pk]


# --- Log-in ---------------------------------------------------------------------------------------------------------
class TokenCreate(ConditionalView):
    """Log in.

    Several tokens may be in use at once. Each ends at its `expires_at`, when you log out with it, or with a new password. Staff also
    send `second_factor`.
    """

    authentication_classes = ()
    permission_classes = ()
    throttle_classes = (LogInThrottle,)

    def get_authenticate_header(self, request: Request) -> str:
        return "Bearer"

    @extend_schema(request=TokenCreateSerializer, responses=TokenSerializer)
    def post(self, request: Request) -> Response:
        body = body_of(request, TokenCreateSerializer)
        user = authenticate(request, username=body["username"], password=body["password"])
        if getattr(request, "axes_locked_out", False):
            raise Throttled(settings.AXES_COOLOFF_TIME.total_seconds(), "Too many wrong passwords for this user from your address.")
        if user is None:
            logger.warning("A log-in failed.")
            raise AuthenticationFailed("No active user has this name and password.")
        stored, token = authentication.issue_token(user, body.get("second_factor", ""))
        user_logged_in.send(type(user), request=request, user=user)
        return Response({"token": token, "expires_at": stored.expiry})


class TokenRevoke(ConditionalView):
    """Log out.

    The token of the request ends at once, on other servers within a second, or within a minute while Redis is away. The user's other
    tokens stay valid.
    """

    permission_classes = (IsAuthenticated,)

    @extend_schema(request=EmptySerializer, responses={204: None})
    def post(self, request: Request) -> Response:
        body_of(request, EmptySerializer)
        token: Any = request.auth
        AuthToken.objects.filter(digest=token.digest).delete()
        user_logged_out.send(type(request.user), request=request, user=request.user)
        return Response(status=204)


# --- Loans ----------------------------------------------------------------------------------------------------------
class LoanList(PublicView, generics.ListAPIView):
    """List the upcoming, open and funded loans."""

    serializer_class = LoanSerializer
    pagination_class = KeysetPagination
    filter_backends = (StrictFilterBackend,)
    filterset_class = LoanFilter
    # Rows, since a hundred instances of a model cost as much as reading them does. Made once: that takes an eighth of a request's time.
    queryset = PUBLIC_LOANS.annotate(read_at=Now()).values_list(
        "pk", "remaining", "version", "read_at", *LoanSerializer.COLUMNS, named=True
    )

    def get_queryset(self) -> QuerySet[Any]:
        return super().get_queryset().using(replica.for_anyone())

    def paginate_queryset(self, queryset: Any) -> Any:
        page = super().paginate_queryset(queryset) or []
        values = remaining_cache.read(page, page[0].read_at) if page else {}
        return [(loan, values[loan.pk]) for loan in page]


class LoanDetail(PublicView):
    """Show a loan.

    `remaining` and `available` come from one read and are true at `remaining_as_of`.
    """

    serializer_class = LoanDetailSerializer

    def get(self, request: Request, reference: str) -> Response:
        offer = loan_offer(reference)
        loan = offer.loan
        if loan.status not in PUBLIC_STATUSES:
            raise NotFound(f"There is no loan {reference}.")
        remaining = remaining_cache.Remaining(loan.remaining, offer.at, loan.version)
        return Response(LoanDetailSerializer((loan, remaining, offer.available)).data)


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


# --- Reservations ---------------------------------------------------------------------------------------------------
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


class PortfolioDetail(ConditionalView):
    """Show your totals by state, by loan and by market.

    A reservation that has lapsed counts as canceled. `held` is what is reserved, pending or settled.
    """

    serializer_class = PortfolioSerializer

    def get(self, request: Request) -> Response:
        return Response(portfolio(investor_of(request).pk, using=replica.for_user(request.user.pk)))


# --- The bank -------------------------------------------------------------------------------------------------------
class BankEventCreate(APIView):
    """Report, as the bank, what became of a transfer or a refund.

    Sign it as [Standard Webhooks](https://www.standardwebhooks.com/) prescribes. The same event again changes nothing. The status
    is 202 if the reference is not ours: the event is recorded for staff.
    """

    authentication_classes = ()  # the signature authenticates the bank
    permission_classes = ()

    @extend_schema(
        parameters=SIGNATURE,
        request=BankEventSerializer,
        responses={200: BankEventOutcomeSerializer, 202: BankEventOutcomeSerializer},
    )
    def post(self, request: Request) -> Response:
        verify_bank_signature(request._request.body, request.headers)
        notice = Notice(**body_of(request, BankEventSerializer))
        outcome = record_bank_event(notice)
        return Response({"id": notice.id, "outcome": outcome}, status=202 if outcome in AWAITING_STAFF else 200)
