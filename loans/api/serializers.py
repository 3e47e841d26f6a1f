"""Define the bodies of the API's requests and answers.

Requests are checked field by field. The fields of answers are declared for the schema only: `to_representation` builds each
answer as a plain dictionary, since a long list would spend most of its time in the fields' own methods.
tests/loans/api/test_bodies.py holds the declared fields and the dictionaries together. An amount becomes a string, and an instant
one that ends in Z, in peerloans/api/renderers.py.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema_field, inline_serializer
from rest_framework import serializers

from loans.api.loan_documents import LoanDocumentSerializer
from loans.domain.business_calendar import FIRST_YEAR, LAST_YEAR
from loans.domain.dollars import CENT
from loans.domain.investor_limits import KINDS_OF_LIMITS
from loans.domain.loan_terms import BorrowerType
from loans.domain.scopes import NAMED_TOKEN_SCOPES
from loans.domain.settlement_rules import RULES
from loans.domain.states import CAUSES, INBOUND_STATUSES, PUBLIC_STATUSES, ReservationState, TransferStatus
from loans.models import Delivery, DeliveryStatus, NamedToken, Reservation, Transition, WebhookEndpoint
from loans.notifications.messages import TYPES, message_id, message_of
from loans.selectors.queue import queue_position_of
from loans.selectors.transfers import TransferRow, current_of
from loans.services.bank_events import OUTCOMES
from loans.services.named_tokens import DAYS, MOST_DAYS
from peerloans.api.strict_fields import StrictSerializer

DOLLARS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,2})?")
MONEY_SCHEMA = {"type": "string", "pattern": r"^[0-9]{1,12}\.[0-9]{2}$", "examples": ["25000.00"]}


# --- Requests -------------------------------------------------------------------------------------------------------
@extend_schema_field(
    {
        "oneOf": [
            {"type": "string", "pattern": r"^(?!0+(\.0+)?$)[0-9]{1,12}(\.[0-9]{1,2})?$"},
            {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e12, "multipleOf": 0.01},
        ],
        "description": "Dollars, more than zero, with at most two decimals and no exponent.",
        "examples": ["25000.00"],
    }
)
class AmountField(serializers.Field):
    default_error_messages = {
        "invalid": 'Give dollars, more than zero and less than a trillion, with at most two decimals, as in "25000.00".'
    }

    def to_internal_value(self, data: Any) -> Decimal:
        text = str(data) if isinstance(data, str | int | Decimal) and not isinstance(data, bool) else ""
        if not DOLLARS.fullmatch(text) or not Decimal(text):
            self.fail("invalid")
        return Decimal(text).quantize(CENT)


class InstantField(serializers.DateTimeField):
    """An instant with its offset from UTC. Without an offset it is ambiguous, and refused."""

    default_error_messages = {
        "naive": "Add the offset from UTC, as in 2026-03-02T15:00:00Z.",
        "year": f"Name a year from {FIRST_YEAR} to {LAST_YEAR}.",
    }

    def enforce_timezone(self, value: datetime) -> datetime:
        if value.tzinfo is None:
            self.fail("naive")
        if not FIRST_YEAR <= value.year <= LAST_YEAR:
            self.fail("year")
        return super().enforce_timezone(value)


class EmptySerializer(StrictSerializer):
    """A body without fields, or no body at all."""


class TokenCreateSerializer(StrictSerializer):
    """A user's name and password."""

    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=4096, trim_whitespace=False, style={"input_type": "password"})
    second_factor = serializers.CharField(
        required=False, allow_blank=True, max_length=20, help_text="A code from the phone, or a recovery code. Only staff need it."
    )


class NamedTokenCreateSerializer(StrictSerializer):
    """A token to make, with what it may do and for how long."""

    name = serializers.CharField(max_length=100, help_text="For you to tell your tokens apart.")
    scopes = serializers.ListField(
        child=serializers.ChoiceField(NAMED_TOKEN_SCOPES),
        min_length=1,
        max_length=len(NAMED_TOKEN_SCOPES),
        help_text="`read` reads your reservations, portfolio and events. `reserve` reserves, starts transfers and cancels.",
    )
    days = serializers.IntegerField(min_value=1, max_value=MOST_DAYS, default=DAYS, help_text="How long the token is valid.")


class WebhookEndpointCreateSerializer(StrictSerializer):
    """Where webhooks are to be sent."""

    url = serializers.CharField(
        max_length=500, help_text="`https://…`, on a public network. A sandbox also takes `http://…`, and your own machine."
    )


class DryRunField(serializers.BooleanField):
    def __init__(self) -> None:
        super().__init__(default=False, help_text="Answer what would come of it now, and write nothing.")


class RequestedAmountSerializer(StrictSerializer):
    """How many dollars are wanted, and how few would do."""

    amount = AmountField()
    at_least = AmountField(
        required=False,
        help_text="If less than `amount` is available, take what there is, but not less than this. By default, all of `amount`.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("at_least", attrs["amount"]) > attrs["amount"]:
            raise serializers.ValidationError({"at_least": "Give at most the amount."})
        return attrs


class ReservationCreateSerializer(RequestedAmountSerializer):
    """How many dollars of the loan are wanted, and how few would do."""

    dry_run = DryRunField()


class OrderSerializer(RequestedAmountSerializer):
    """How many dollars of one loan of a batch are wanted, and how few would do."""

    loan = serializers.CharField(max_length=20, help_text="The loan's reference.")


class BatchCreateSerializer(StrictSerializer):
    """Orders of several loans, decided in this order."""

    orders = serializers.ListField(child=OrderSerializer(), min_length=1, max_length=100)
    all_or_nothing = serializers.BooleanField(default=False, help_text="Reserve all of them or none.")
    dry_run = DryRunField()


class TransferCreateSerializer(StrictSerializer):
    """How the money is going to come."""

    method = serializers.ChoiceField(choices=["ach", "wire"])
    dry_run = DryRunField()


class BankEventSerializer(StrictSerializer):
    """What the bank reports of a transfer or a refund."""

    id = serializers.CharField(max_length=100, help_text="The bank's own id. A repeat changes nothing.")
    type = serializers.ChoiceField(choices=["transfer.cleared", "transfer.failed", "refund.paid", "refund.failed"])
    reference = serializers.CharField(max_length=200, help_text="The reference of the transfer or refund; text around it is ignored.")
    amount = AmountField()
    occurred_at = InstantField(help_text="When it happened, by the bank's clock.")


# --- Answers --------------------------------------------------------------------------------------------------------
@extend_schema_field(MONEY_SCHEMA)
class MoneyField(serializers.DecimalField):
    def __init__(self, **options: Any) -> None:
        super().__init__(max_digits=14, decimal_places=2, **options)


class TokenSerializer(serializers.Serializer):
    token = serializers.CharField(help_text="Send it as `Authorization: Bearer …`.")
    expires_at = serializers.DateTimeField()


class NamedTokenSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    scopes = serializers.ListField(child=serializers.ChoiceField(NAMED_TOKEN_SCOPES))
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()

    def to_representation(self, named: NamedToken) -> dict[str, Any]:
        return {
            "id": named.pk,
            "name": named.name,
            "scopes": named.scopes,
            "created_at": named.created_at,
            "expires_at": named.expires_at,
        }


class NamedTokenListSerializer(serializers.Serializer):
    results = NamedTokenSerializer(many=True)


class NewTokenSerializer(NamedTokenSerializer):
    token = serializers.CharField(help_text="Send it as `Authorization: Bearer …`. It is shown this once.")


class WebhookEndpointSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    url = serializers.CharField()
    enabled = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    former_secret_until = serializers.DateTimeField(
        allow_null=True, help_text="Until then messages are signed with the former secret, too."
    )

    def to_representation(self, endpoint: WebhookEndpoint) -> dict[str, Any]:
        names = ("id", "url", "enabled", "created_at", "former_secret_until")
        return {name: getattr(endpoint, name) for name in names}


class WebhookEndpointListSerializer(serializers.Serializer):
    results = WebhookEndpointSerializer(many=True)


class NewWebhookEndpointSerializer(WebhookEndpointSerializer):
    secret = serializers.CharField(help_text="Signs the messages. It is shown this once.")

    def to_representation(self, endpoint: WebhookEndpoint) -> dict[str, Any]:
        return super().to_representation(endpoint) | {"secret": endpoint.secret}


class WebhookTestSerializer(serializers.Serializer):
    delivered = serializers.BooleanField()
    error = serializers.CharField(allow_null=True, help_text="Why the endpoint did not take the message.")


class DeliverySerializer(serializers.Serializer):
    id = serializers.IntegerField()
    event = serializers.CharField(help_text="The `webhook-id` of the message.")
    type = serializers.ChoiceField(TYPES)
    status = serializers.ChoiceField(DeliveryStatus.values)
    attempts = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    next_attempt_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True, help_text="When it was sent or given up.")
    last_error = serializers.CharField()

    def to_representation(self, delivery: Delivery) -> dict[str, Any]:
        return {
            "id": delivery.pk,
            "event": message_id(delivery.announced),
            "type": message_of(delivery.announced).type,
            "status": delivery.status,
            "attempts": delivery.attempts,
            "created_at": delivery.created_at,
            "next_attempt_at": delivery.next_attempt_at,
            "ended_at": delivery.ended_at,
            "last_error": delivery.last_error,
        }


class PropertySerializer(serializers.Serializer):
    address = serializers.CharField()
    city = serializers.CharField()
    state = serializers.CharField()
    zip = serializers.CharField()


class MarketSerializer(serializers.Serializer):
    cbsa = serializers.CharField()
    msa = serializers.CharField()


class LoanSerializer(serializers.Serializer):
    """A loan, and what remained of it at an instant."""

    # What is written is a loan or a row of these columns.
    COLUMNS = (
        "reference",
        "title",
        "borrower_type",
        "lien_position",
        "address",
        "city",
        "state",
        "zip",
        "market_cbsa",
        "market_msa",
        "amount",
        "annual_rate",
        "term_months",
        "ltv",
        "status",
        "minimum",
        "opens_at",
        "closes_at",
    )

    reference = serializers.CharField()
    title = serializers.CharField()
    borrower_type = serializers.ChoiceField([*map(str, BorrowerType)], allow_null=True, help_text="Null if it is not stated.")
    lien_position = serializers.IntegerField(help_text="1: the first claim on the property; 2: behind another loan.")
    property = PropertySerializer()
    market = MarketSerializer(allow_null=True, help_text="The metropolitan area; null if the property is in none.")
    amount = MoneyField(help_text="The principal offered.")
    annual_rate = serializers.DecimalField(5, 2, help_text="Percent per year.")
    term_months = serializers.IntegerField()
    ltv = serializers.DecimalField(5, 2, help_text="Loan to value, in percent.")
    status = serializers.ChoiceField(PUBLIC_STATUSES)
    minimum = MoneyField(help_text="The smallest reservation. Less is accepted only if it is exactly what remains.")
    opens_at = serializers.DateTimeField(help_text="When it opened; of an upcoming loan, when it opens.")
    closes_at = serializers.DateTimeField()
    remaining = MoneyField(help_text="What was still for sale at `remaining_as_of`.")
    remaining_as_of = serializers.DateTimeField()

    def to_representation(self, loan_with_remaining: Any) -> dict[str, Any]:
        loan, remaining = loan_with_remaining
        return {
            "reference": loan.reference,
            "title": loan.title,
            "borrower_type": loan.borrower_type or None,
            "lien_position": loan.lien_position,
            "property": {"address": loan.address, "city": loan.city, "state": loan.state, "zip": loan.zip},
            "market": {"cbsa": loan.market_cbsa, "msa": loan.market_msa} if loan.market_cbsa else None,
            "amount": loan.amount,
            "annual_rate": loan.annual_rate,
            "term_months": loan.term_months,
            "ltv": loan.ltv,
            "status": loan.status,
            "minimum": loan.minimum,
            "opens_at": loan.opens_at,
            "closes_at": loan.closes_at,
            "remaining": remaining.amount,
            "remaining_as_of": remaining.as_of,
        }


class LotterySerializer(serializers.Serializer):
    commitment = serializers.CharField(help_text="The SHA-256 of the seed, shown from the opening on.")
    seed = serializers.CharField(allow_null=True, help_text="What the order is drawn from; null until the loan is funded.")


def _lottery(loan: Any) -> dict[str, Any] | None:
    return {"commitment": loan.lottery_commitment, "seed": loan.lottery_seed or None} if loan.lottery_commitment else None


class LoanDetailSerializer(LoanSerializer):
    """A loan, with what is available at this moment, how it is shared out, and its documents."""

    description = serializers.CharField(help_text="Plain text, paragraphs with an empty line between them; empty if there is none.")
    available = MoneyField(help_text="The most that one new reservation may take now.")
    rule = serializers.ChoiceField(list(RULES), help_text="The settlement rule.")
    lottery = LotterySerializer(allow_null=True, help_text="With the rule `lottery`, else null.")
    documents = LoanDocumentSerializer(many=True, help_text="In the order in which they were added.")

    def to_representation(self, loan_with_remaining_available_and_documents: Any) -> dict[str, Any]:
        loan, remaining, available, documents = loan_with_remaining_available_and_documents
        more = {"description": loan.description, "available": available, "rule": loan.settlement_rule, "lottery": _lottery(loan)}
        return super().to_representation((loan, remaining)) | more | {"documents": documents}


class TransferSerializer(serializers.Serializer):
    reference = serializers.CharField(help_text="Put it on the payment.")
    method = serializers.ChoiceField(["ach", "wire"])
    status = serializers.ChoiceField(INBOUND_STATUSES)


class RefundSerializer(serializers.Serializer):
    amount = MoneyField(help_text="The sum of all refunds that are not void.")
    status = serializers.ChoiceField([TransferStatus.DUE, TransferStatus.PAID], help_text="`due` until all of it is paid.")


class ReservationSerializer(serializers.Serializer):
    """A reservation, with its transfer and its refund."""

    # What is written is a reservation or a row of these columns.
    COLUMNS = ("pk", "loan_reference", "amount", "settled_amount", "state", "cause", "created_at", "expires_at", "refunded")

    id = serializers.UUIDField()
    loan = serializers.CharField(help_text="The loan's reference.")
    amount = MoneyField()
    settled_amount = MoneyField(help_text="What the reservation has bought.")
    state = serializers.ChoiceField(list(ReservationState))
    cause = serializers.CharField(allow_null=True, help_text=f"Why it was canceled, else null: {', '.join(CAUSES)}.")
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True, help_text="The deadline; null if the reservation cannot expire.")
    transfer = TransferSerializer(allow_null=True, help_text="The payment that is expected or has come.")
    refund = RefundSerializer(allow_null=True)

    def to_representation(self, reservation_with_transfers: tuple[Reservation, Sequence[TransferRow]]) -> dict[str, Any]:
        reservation, transfers = reservation_with_transfers
        transfer = current_of(transfers)
        return {
            "id": reservation.pk,
            "loan": reservation.loan_reference,
            "amount": reservation.amount,
            "settled_amount": reservation.settled_amount,
            "state": reservation.state,
            "cause": reservation.cause or None,
            "created_at": reservation.created_at,
            "expires_at": reservation.expires_at,
            "transfer": {"reference": transfer.reference, "method": transfer.method, "status": transfer.status} if transfer else None,
            "refund": {"amount": reservation.refunded, "status": _refund_status(transfers)} if reservation.refunded else None,
        }


def _refund_status(transfers: Sequence[TransferRow]) -> str:
    due = any(transfer.status in {TransferStatus.DUE, TransferStatus.SENT} for transfer in transfers)
    return TransferStatus.DUE if due else TransferStatus.PAID


class DryRunTransferSerializer(TransferSerializer):
    reference = serializers.CharField(allow_null=True, help_text="Null: a dry run starts no transfer.")


class DryRunSerializer(ReservationSerializer):
    """What would come of a request. Only what is there without it has an id."""

    id = serializers.UUIDField(allow_null=True)
    transfer = DryRunTransferSerializer(allow_null=True)
    dry_run = serializers.BooleanField(help_text="True: nothing was written.")


class BatchedReservationSerializer(ReservationSerializer):
    id = serializers.UUIDField(allow_null=True, help_text="Null in a dry run.")


class ProblemSerializer(serializers.Serializer):
    """A problem by RFC 9457, with a code for programs, and the data of that code."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="The case at hand, in sentences for people.")
    code = serializers.CharField(help_text="The kind of problem, stable, for programs.")
    errors = serializers.DictField(  # type: ignore[assignment]
        required=False, help_text="With `invalid`, by field. `non_field_errors` concern the whole body."
    )
    minimum = MoneyField(required=False, help_text="With `below_minimum`: the least that is accepted.")
    available = MoneyField(required=False, help_text="With `over_limit`: the most that one reservation may take now.")
    frees_at = serializers.DateTimeField(
        required=False,
        allow_null=True,
        help_text="With `over_limit`: the next instant at which a reservation may lapse; null if none can. With `investor_limit`: when the "
        "same reservation may be within the limit; null if that is not known.",
    )
    available_then = MoneyField(required=False, help_text="With `over_limit`: what would then be available.")
    waiting_list = inline_serializer(
        "WaitingListTotal",
        {"entries": serializers.IntegerField(help_text="How many wait."), "dollars": MoneyField(help_text="For how many dollars.")},
        required=False,
        help_text="With `over_limit`: the loan's waiting list, which comes before you.",
    )
    limited = serializers.ChoiceField(
        KINDS_OF_LIMITS,
        required=False,
        help_text="With `investor_limit`: what is limited. Your dollars whose money we have not received, on all loans or on this one, "
        "or the reservations that you let go within 24 hours.",
    )
    limit = serializers.CharField(
        required=False, help_text="With `investor_limit`: how much of it you may have, in dollars, or reservations with `let_go`."
    )
    used = serializers.CharField(required=False, help_text="With `investor_limit`: how much of the limit is taken.")
    loan_status = serializers.CharField(
        required=False, help_text="With `loan_not_open`: the loan's status. It stays `open` after `closes_at` until staff decide."
    )
    state = serializers.CharField(required=False, help_text="With `illegal_transition` and `reservation_expired`: the present state.")
    possible = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        help_text="With `illegal_transition`: the events that the present state allows.",
    )
    expired_at = serializers.DateTimeField(required=False, help_text="With `reservation_expired`: the deadline that has passed.")
    needed_scope = serializers.CharField(
        required=False, help_text="With `scope_missing`: the scope that the request needs, `read`, `reserve` or `account` (log-ins only)."
    )
    scopes = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="With `scope_missing`: the scopes of the token."
    )
    index = serializers.IntegerField(required=False, help_text="In the answer to a batch with `all_or_nothing`: the refused order, from 0.")
    id = serializers.CharField(required=False, help_text="With `server_error`: the id of the fault in our log.")


class BatchOutcomeSerializer(serializers.Serializer):
    reservation = BatchedReservationSerializer(allow_null=True, help_text="What was reserved; null where it was refused.")
    problem = ProblemSerializer(allow_null=True, help_text="The problem that a single request would be answered with; else null.")


class BatchSerializer(serializers.Serializer):
    dry_run = serializers.BooleanField(help_text="Whether nothing was written.")
    results = BatchOutcomeSerializer(many=True)


class ReservationDetailSerializer(ReservationSerializer):
    number = serializers.IntegerField(help_text="The fixed place in the queue. A lottery's ticket is made from it.")
    queue_position = serializers.IntegerField(allow_null=True, help_text="1 is next; null if the reservation is not live.")

    def to_representation(self, reservation_with_transfers: tuple[Reservation, Sequence[TransferRow]]) -> dict[str, Any]:
        reservation, _ = reservation_with_transfers
        places = {"number": reservation.number, "queue_position": queue_position_of(reservation)}
        return super().to_representation(reservation_with_transfers) | places


class TransitionSerializer(serializers.Serializer):
    at = serializers.DateTimeField()
    event = serializers.CharField(help_text="What happened; for a cancellation, its cause.")
    from_state = serializers.CharField(allow_null=True, help_text="The state before; null at the beginning.")
    to_state = serializers.CharField(help_text="The state after.")
    amount = MoneyField(allow_null=True, help_text="The dollars that the event concerns.")
    deadline = serializers.DateTimeField(allow_null=True, help_text="`expires_at` from this event on.")
    transfer = serializers.CharField(allow_null=True, help_text="The reference of the transfer or refund that the event happened to.")
    rule = serializers.CharField(allow_null=True, help_text="The settlement rule that decided, or `staff`.")
    actor = serializers.ChoiceField(["investor", "staff", "bank", "system"])
    reason = serializers.CharField(allow_null=True, help_text="What staff wrote for the investor, if they did.")

    def to_representation(self, transition: Transition) -> dict[str, Any]:
        return {
            "at": transition.at,
            "event": transition.event,
            "from_state": transition.from_state or None,
            "to_state": transition.to_state,
            "amount": transition.amount,
            "deadline": transition.deadline,
            "transfer": transition.transfer.reference if transition.transfer else None,
            "rule": transition.rule or None,
            "actor": transition.actor,
            "reason": (transition.reason or None) if transition.reason_shown else None,
        }


class StateTotalSerializer(serializers.Serializer):
    state = serializers.ChoiceField(list(ReservationState))
    count = serializers.IntegerField()
    amount = MoneyField()


class LoanTotalSerializer(serializers.Serializer):
    loan = serializers.CharField()
    title = serializers.CharField()
    reserved = MoneyField()
    pending = MoneyField()
    settled = MoneyField()
    held = MoneyField()


class MarketTotalSerializer(serializers.Serializer):
    market = MarketSerializer(allow_null=True)
    held = MoneyField()
    share = serializers.DecimalField(5, 4, help_text="The market's part of everything held; 0.2500 is a quarter.")


class PortfolioSerializer(serializers.Serializer):
    held = MoneyField(help_text="Reserved, pending and settled.")
    by_state = StateTotalSerializer(many=True)
    by_loan = LoanTotalSerializer(many=True)
    by_market = MarketTotalSerializer(many=True, help_text="Largest first.")


class BankEventOutcomeSerializer(serializers.Serializer):
    id = serializers.CharField()
    outcome = serializers.CharField(help_text=f"What the event led to: {', '.join(OUTCOMES)}.")
