"""The sites that ours is compared with: one that does the same work at the lowest cost, one as tutorials teach it, and two neighbours.

The bare views are plain Django views without middleware, authentication, checks or refusals; their one statement is prepared.
"""

import json
import os
import random
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
from django.db import connection, transaction
from django.db.models import Q, Sum
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from knox.auth import TokenAuthentication
from rest_framework import serializers, viewsets
from rest_framework.routers import SimpleRouter

from loans.models import Investor, Loan, Reservation, Transition
from loans.models.fields import uuid7
from tests.bench.rows import INVESTORS

# The rows that a reservation writes, and nothing more. counted: the loan. reserved: the reservation. history: its transition.
RESERVE = """
    WITH counted AS (
        UPDATE loans_loan SET claimed = claimed + %(amount)s, last_number = last_number + 1, version = version + 1
        WHERE reference = %(reference)s AND claimed + %(amount)s <= amount
        RETURNING id, last_number, now() AS at
    ), reserved AS (
        INSERT INTO loans_reservation
            (id, loan_id, investor_id, number, amount, settled_amount, state, cause, created_at, expires_at, received, refunded, lost)
        SELECT %(id)s, id, %(investor_id)s, last_number, %(amount)s, 0, 'reserved', '', at, at + interval '1 day', 0, 0, 0 FROM counted
        RETURNING id, loan_id, amount, created_at, expires_at
    ), history AS (
        INSERT INTO loans_transition
            (at, loan_id, reservation_id, event, from_state, to_state, amount, deadline, rule, actor, user_id, reason)
        SELECT created_at, loan_id, id, 'reserved', '', 'reserved', amount, expires_at, '', 'investor', %(investor_id)s, '' FROM reserved
    )
    SELECT * FROM reserved
"""
# The rows that joining a waiting list writes. The entry's number is one that no entry of the loan has.
JOIN = """
    WITH counted AS (
        UPDATE loans_loan SET waiting_entries = waiting_entries + 1, waiting_dollars = waiting_dollars + %(amount)s, version = version + 1
        WHERE reference = %(reference)s
        RETURNING id, version, now() AS at
    ), entry AS (
        INSERT INTO loans_waitinglistentry (id, loan_id, investor_id, number, amount, at_least, state, joined_at)
        SELECT %(id)s, id, %(investor_id)s, 1000000 + version, %(amount)s, %(amount)s, 'waiting', at FROM counted
        RETURNING id, loan_id, amount, joined_at
    ), history AS (
        INSERT INTO loans_transition
            (at, loan_id, waiting_entry_id, event, from_state, to_state, amount, rule, actor, user_id, reason)
        SELECT joined_at, loan_id, id, 'joined', '', 'waiting', amount, '', 'investor', %(investor_id)s, '' FROM entry
    )
    SELECT * FROM entry
"""
LOANS = """
    SELECT reference, title, address, city, state, zip, market_cbsa, market_msa, amount, annual_rate, term_months, ltv, status,
        minimum, opens_at, closes_at, amount - settled AS remaining, now() AS remaining_as_of
    FROM loans_loan WHERE status IN ('open', 'funded') ORDER BY opens_at DESC, id DESC LIMIT 100
"""
RESERVATIONS = """
    SELECT reservation.id, loan.reference AS loan, reservation.amount, settled_amount, reservation.state, cause,
        reservation.created_at, expires_at
    FROM loans_reservation reservation JOIN loans_loan loan ON loan.id = loan_id
    WHERE investor_id = 1 ORDER BY reservation.created_at DESC, reservation.id DESC LIMIT 100
"""
EVENTS = """
    SELECT transition.id, event, at, reservation.id AS reservation, loan.reference AS loan, from_state, to_state, transition.amount
    FROM loans_reservation reservation
    JOIN loans_transition transition ON transition.reservation_id = reservation.id
    JOIN loans_loan loan ON loan.id = reservation.loan_id
    WHERE investor_id = 1 ORDER BY transition.txid, transition.id LIMIT 100
"""

_thread = threading.local()


def connected() -> psycopg.Connection:
    """Return this thread's connection, which prepares each statement at its first use."""
    if not hasattr(_thread, "connection"):
        _thread.connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, prepare_threshold=0)
    return _thread.connection


def constant(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b'{"hello":"world"}', content_type="application/json")


def reserve(request: HttpRequest, reference: str) -> HttpResponse:
    return _written(RESERVE, reference, json.loads(request.body)["amount"], random.randint(1, INVESTORS))


def join(request: HttpRequest, reference: str) -> HttpResponse:
    body = json.loads(request.body)
    return _written(JOIN, reference, body["amount"], body["investor"])


def _written(statement: str, reference: str, amount: str, investor_id: int) -> HttpResponse:
    values = {"id": uuid7(), "reference": reference, "amount": Decimal(amount), "investor_id": investor_id}
    row = connected().execute(statement, values).fetchone()
    return HttpResponse(json.dumps(row, default=str), status=201, content_type="application/json")


def loans(request: HttpRequest) -> HttpResponse:
    return _listed(LOANS)


def reservations(request: HttpRequest) -> HttpResponse:
    return _listed(RESERVATIONS)


def events(request: HttpRequest) -> HttpResponse:
    return _listed(EVENTS)


def _listed(statement: str) -> HttpResponse:
    cursor = connected().execute(statement)
    names = [column.name for column in cursor.description or ()]
    rows = [dict(zip(names, row, strict=True)) for row in cursor]
    return HttpResponse(json.dumps({"results": rows}, default=str), content_type="application/json")


# --- As tutorials teach it --------------------------------------------------------------------------------------------
class TutorialLoanSerializer(serializers.ModelSerializer):
    class Meta:
        model = Loan
        fields = "__all__"


class TutorialInvestorSerializer(serializers.ModelSerializer):
    class Meta:
        model = Investor
        fields = "__all__"


class TutorialReservationSerializer(serializers.ModelSerializer):
    loan = TutorialLoanSerializer(read_only=True)
    investor = TutorialInvestorSerializer(read_only=True)
    reference = serializers.SlugRelatedField(source="loan", slug_field="reference", queryset=Loan.objects.all(), write_only=True)

    class Meta:
        model = Reservation
        fields = "__all__"
        read_only_fields = ("number", "settled_amount", "state", "cause", "created_at", "expires_at", "funded_at")

    def create(self, facts: dict[str, Any]) -> Reservation:
        with transaction.atomic():
            now, loan, amount = datetime.now(UTC), facts["loan"], facts["amount"]
            facts |= {
                "number": self.admit(loan, amount, now),
                "state": "reserved",
                "created_at": now,
                "expires_at": now + timedelta(days=1),
            }
            reservation = Reservation.objects.create(**facts)
            Transition.objects.create(
                at=now,
                loan=loan,
                reservation=reservation,
                event="reserved",
                to_state="reserved",
                amount=reservation.amount,
                actor="investor",
            )
            return reservation

    def admit(self, loan: Loan, amount: Decimal, now: datetime) -> int:
        """Count the amount on the loan, and return the new reservation's number."""
        locked = Loan.objects.select_for_update().get(pk=loan.pk)
        live = locked.reservations.filter(state__in=["reserved", "pending"]).aggregate(total=Sum("amount"))["total"] or 0
        refuse_if_full(loan, live + amount)
        locked.claimed += amount
        locked.last_number += 1
        locked.version += 1
        locked.save()
        return locked.last_number


def refuse_if_full(loan: Loan, total: Decimal) -> None:
    if total > loan.amount:
        raise serializers.ValidationError("The loan is full.")


class TutorialReservations(viewsets.ModelViewSet):
    queryset = Reservation.objects.all()
    serializer_class: type[TutorialReservationSerializer] = TutorialReservationSerializer
    authentication_classes = [TokenAuthentication]
    permission_classes = []
    throttle_classes = []

    def perform_create(self, serializer: serializers.BaseSerializer) -> None:
        serializer.save(investor=self.request.user.investor)


# --- As neighbours do it: the rest is as in the tutorial ------------------------------------------------------------------
class TicketReservationSerializer(TutorialReservationSerializer):
    """As ticket shops such as pretix: under an advisory lock of the event, count the holds that have not lapsed. No total is stored."""

    def admit(self, loan: Loan, amount: Decimal, now: datetime) -> int:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '3s'")
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [loan.pk])
        holds = Reservation.objects.filter(Q(expires_at=None) | Q(expires_at__gt=now), loan=loan, state__in=["reserved", "pending"])
        refuse_if_full(loan, (holds.aggregate(total=Sum("amount"))["total"] or 0) + amount)
        with connection.cursor() as cursor:
            cursor.execute("SELECT nextval('bench_stock_id_seq')")  # no queue is kept, but our table wants a number
            (number,) = cursor.fetchone()
            return int(number)


class StockReservationSerializer(TutorialReservationSerializer):
    """As shops such as Magento: the stock is a sum of rows that are only appended, without a lock, so two at once may sell too much.

    When a hold ends, a second row takes the first one back; a job deletes such pairs. Here none has ended, as right after the job.
    """

    def admit(self, loan: Loan, amount: Decimal, now: datetime) -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT sum(quantity) FROM bench_stock WHERE loan_id = %s", [loan.pk])
            (salable,) = cursor.fetchone()
            refuse_if_full(loan, loan.amount - salable + amount)
            cursor.execute("INSERT INTO bench_stock (loan_id, quantity) VALUES (%s, %s) RETURNING id", [loan.pk, -amount])
            (number,) = cursor.fetchone()
            return int(number)


class TicketReservations(TutorialReservations):
    serializer_class = TicketReservationSerializer


class StockReservations(TutorialReservations):
    serializer_class = StockReservationSerializer


router = SimpleRouter()
router.register("tutorial", TutorialReservations, "tutorial")
router.register("tickets", TicketReservations, "tickets")
router.register("stock", StockReservations, "stock")

urlpatterns = [
    path("constant", constant),
    path("reserve/<slug:reference>", reserve),
    path("join/<slug:reference>", join),
    path("loans", loans),
    path("reservations", reservations),
    path("events", events),
    path("", include(router.urls)),
]
