"""What do the API's bodies hold? What comes in is checked field by field; what goes out is written down plainly.

The fields of what goes out are declared for the schema. `to_representation` does without them, since a field's own
machinery is what a long list would spend its time in; tests/loans/api/test_bodies.py holds the two together.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from loans.domain.limits import CENT
from loans.domain.states import CAUSES, INBOUND_STATUSES, State, TransferStatus
from loans.models import Reservation, Transition
from loans.selectors.loans import PUBLIC
from loans.selectors.queue import queue_position_of
from loans.selectors.transfers import TransferRow, current_of
from loans.services.payments import OUTCOMES, Notice
from peerloans.api.strict_fields import StrictSerializer

DOLLARS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,2})?")
MONEY_SCHEMA = {"type": "string", "pattern": r"^[0-9]{1,12}\.[0-9]{2}$", "examples": ["25000.00"]}


# --- In -------------------------------------------------------------------------------------------------------------
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
    default_error_messages = {"invalid": 'Dollars, more than zero and below a trillion, with at most two decimals, as in "25000.00".'}

    def to_internal_value(self, data: Any) -> Decimal:
        text = str(data) if isinstance(data, str | int | Decimal) and not isinstance(data, bool) else ""
        if not DOLLARS.fullmatch(text) or not Decimal(text):
            self.fail("invalid")
        return Decimal(text).quantize(CENT)


class InstantField(serializers.DateTimeField):
    """An instant with its offset from UTC; without one it would be anybody's guess."""

    default_error_messages = {"naive": "Say with which offset from UTC, as in 2026-03-02T15:00:00Z."}

    def enforce_timezone(self, value: datetime) -> datetime:
        if value.tzinfo is None:
            self.fail("naive")
        return super().enforce_timezone(value)


class NothingSerializer(StrictSerializer):
    """A body without fields, or none at all."""


class LogInSerializer(StrictSerializer):
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=4096, trim_whitespace=False, style={"input_type": "password"})


class ReserveSerializer(StrictSerializer):
    amount = AmountField()


class StartTransferSerializer(StrictSerializer):
    method = serializers.ChoiceField(choices=["ach", "wire"])


class BankEventSerializer(StrictSerializer):
    id = serializers.CharField(max_length=100, help_text="The bank's own; a repeat changes nothing.")
    type = serializers.ChoiceField(choices=["transfer.cleared", "transfer.failed", "refund.paid"])
    reference = serializers.CharField(max_length=40, help_text="Of the transfer or the refund.")
    amount = AmountField()
    occurred_at = InstantField(help_text="By the bank's clock.")

    def notice(self) -> Notice:
        return Notice(**self.validated_data)


# --- Out ------------------------------------------------------------------------------------------------------------
@extend_schema_field(MONEY_SCHEMA)
class MoneyField(serializers.DecimalField):
    def __init__(self, **options: Any) -> None:
        super().__init__(max_digits=14, decimal_places=2, **options)


class TokenSerializer(serializers.Serializer):
    token = serializers.CharField(help_text="Send it as `Authorization: Bearer …`.")
    expires_at = serializers.DateTimeField()


class PropertySerializer(serializers.Serializer):
    address = serializers.CharField()
    city = serializers.CharField()
    state = serializers.CharField()
    zip = serializers.CharField()


class MarketSerializer(serializers.Serializer):
    cbsa = serializers.CharField()
    msa = serializers.CharField()


class LoanSerializer(serializers.Serializer):
    """Of a loan, or as much of one as READ names, and what is shown as its remaining value."""

    READ = (
        "reference",
        "title",
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
    property = PropertySerializer()
    market = MarketSerializer(allow_null=True, help_text="The metropolitan area, null where the property lies in none.")
    amount = MoneyField(help_text="The principal offered.")
    annual_rate = serializers.DecimalField(5, 2, help_text="Percent a year.")
    term_months = serializers.IntegerField()
    ltv = serializers.DecimalField(5, 2, help_text="Loan to value, percent.")
    status = serializers.ChoiceField(PUBLIC)
    minimum = MoneyField(help_text="Least reservation, but for a closing piece of exactly what remains.")
    opens_at = serializers.DateTimeField()
    closes_at = serializers.DateTimeField()
    remaining = MoneyField(help_text="What is still for sale, as of `remaining_as_of`.")
    remaining_as_of = serializers.DateTimeField()

    def to_representation(self, of: Any) -> dict[str, Any]:
        loan, shown = of
        return {
            "reference": loan.reference,
            "title": loan.title,
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
            "remaining": shown.amount,
            "remaining_as_of": shown.as_of,
        }


class LoanDetailSerializer(LoanSerializer):
    """The same, and what is available, counted at this moment."""

    available = MoneyField(help_text="What one new reservation may take now.")

    def to_representation(self, of: Any) -> dict[str, Any]:
        loan, shown, available = of
        return super().to_representation((loan, shown)) | {"available": available}


class TransferSerializer(serializers.Serializer):
    reference = serializers.CharField(help_text="To put on the payment.")
    method = serializers.ChoiceField(["ach", "wire"])
    status = serializers.ChoiceField(INBOUND_STATUSES)


class RefundSerializer(serializers.Serializer):
    amount = MoneyField(help_text="The sum of all refunds that are due or paid.")
    status = serializers.ChoiceField([TransferStatus.DUE, TransferStatus.PAID], help_text="`due` until all is paid.")


class ReservationSerializer(serializers.Serializer):
    """Of a reservation, or as much of one as READ names, and its transfers and refunds."""

    READ = ("pk", "loan_reference", "amount", "settled_amount", "state", "cause", "created_at", "expires_at", "refunded")

    id = serializers.UUIDField()
    loan = serializers.CharField(help_text="The loan's reference.")
    amount = MoneyField()
    settled_amount = MoneyField(help_text="What has been bought for good.")
    state = serializers.ChoiceField(list(State))
    cause = serializers.CharField(allow_null=True, help_text=f"Why it was canceled: {', '.join(CAUSES)}.")
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True, help_text="Null when it cannot expire.")
    transfer = TransferSerializer(allow_null=True, help_text="The payment it awaits or got.")
    refund = RefundSerializer(allow_null=True)

    def to_representation(self, of: tuple[Reservation, Sequence[TransferRow]]) -> dict[str, Any]:
        reservation, movements = of
        transfer = current_of(movements)
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
            "refund": {"amount": reservation.refunded, "status": _refund_status(movements)} if reservation.refunded else None,
        }


def _refund_status(movements: Sequence[TransferRow]) -> str:
    due = any(transfer.status == TransferStatus.DUE for transfer in movements)
    return TransferStatus.DUE if due else TransferStatus.PAID


class ReservationDetailSerializer(ReservationSerializer):
    queue_position = serializers.IntegerField(allow_null=True, help_text="1 is next; null when it is not live.")

    def to_representation(self, of: tuple[Reservation, Sequence[TransferRow]]) -> dict[str, Any]:
        reservation, _ = of
        return super().to_representation(of) | {"queue_position": queue_position_of(reservation)}


class TransitionSerializer(serializers.Serializer):
    at = serializers.DateTimeField()
    event = serializers.CharField(help_text="What happened; of a cancellation, why.")
    from_state = serializers.CharField(allow_null=True, help_text="Null at the beginning.")
    to_state = serializers.CharField()
    amount = MoneyField(allow_null=True, help_text="The dollars that the event is about.")
    deadline = serializers.DateTimeField(allow_null=True, help_text="`expires_at` from here on.")
    transfer = serializers.CharField(allow_null=True, help_text="The reference of the transfer or refund that it happened to, if it did.")
    rule = serializers.CharField(allow_null=True, help_text="The settlement rule that decided, or `staff`.")
    actor = serializers.ChoiceField(["investor", "staff", "bank", "system"])
    reason = serializers.CharField(allow_null=True)

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
            "reason": transition.reason or None,
        }


class StateTotalSerializer(serializers.Serializer):
    state = serializers.ChoiceField(list(State))
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
    share = serializers.DecimalField(5, 4, help_text="Of all that is held: 0.2500 is a quarter.")


class PortfolioSerializer(serializers.Serializer):
    held = MoneyField(help_text="Reserved, pending and settled.")
    by_state = StateTotalSerializer(many=True)
    by_loan = LoanTotalSerializer(many=True)
    by_market = MarketTotalSerializer(many=True, help_text="Largest first.")


class OutcomeSerializer(serializers.Serializer):
    id = serializers.CharField()
    outcome = serializers.CharField(help_text=f"What came of it: {', '.join(OUTCOMES)}.")
