"""Answer what a live reservation can expect to get."""

from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from loans.api.permissions import investor_of
from loans.api.serializers import MoneyField
from loans.domain.overbooking import LapseShare
from loans.domain.settlement_rules import RULES
from loans.selectors.reservation_outlook import ExpectedOutlook, reservation_outlook
from loans.selectors.reservations import reservation_of_investor
from peerloans.api.caching import ConditionalView


class ChanceField(serializers.DecimalField):
    def __init__(self, **options: Any) -> None:
        super().__init__(max_digits=5, decimal_places=4, **options)


class LapseShareSerializer(serializers.Serializer[Any]):
    lapse_share = ChanceField(
        help_text="Which part of such reservations lapsed: the loan's, and 20 more that lapsed as those of all loans."
    )
    counted = serializers.IntegerField(help_text="How many reservations of the loan were counted, of 180 days.")
    counted_of_all = serializers.IntegerField(help_text="The same of all loans.")

    def to_representation(self, share: LapseShare) -> dict[str, Any]:
        return {
            "lapse_share": _chance(share.share),
            "counted": share.own.counted,
            "counted_of_all": share.all_loans.counted,
        }


class StandardErrorSerializer(serializers.Serializer[Any]):
    expected_amount = MoneyField()
    chance_full = ChanceField()
    chance_nothing = ChanceField()


class OutlookBasisSerializer(serializers.Serializer[Any]):
    rule = serializers.ChoiceField(list(RULES), help_text="The loan's settlement rule.")
    computed_by = serializers.ChoiceField(
        ["exact", "scenarios"], help_text="`exact` with `fifo`, else the rule is run over random scenarios."
    )
    scenarios = serializers.IntegerField(help_text="How many scenarios were drawn; 0 if it is exact.")
    standard_error = StandardErrorSerializer(
        help_text="Of the scenarios; 0 if it is exact. Then `expected_amount` may be a bound, where the amounts share no unit."
    )
    reserved_lapse = LapseShareSerializer(help_text="Of reserved ones: no transfer was started.")
    pending_lapse = LapseShareSerializer(help_text="Of pending ones: the money did not come.")

    def to_representation(self, expected: ExpectedOutlook) -> dict[str, Any]:
        outlook = expected.outlook
        return {
            "rule": expected.rule,
            "computed_by": "scenarios" if outlook.scenarios else "exact",
            "scenarios": outlook.scenarios,
            "standard_error": {
                "expected_amount": _dollars(outlook.amount_error),
                "chance_full": _chance(outlook.full_error),
                "chance_nothing": _chance(outlook.nothing_error),
            },
            "reserved_lapse": LapseShareSerializer(expected.lapses.reserved).data,
            "pending_lapse": LapseShareSerializer(expected.lapses.pending).data,
        }


class OutlookSerializer(serializers.Serializer[Any]):
    queue_position = serializers.IntegerField(allow_null=True, help_text="1 is next; null if the reservation is not live.")
    if_all_ahead_settle = MoneyField(allow_null=True, help_text="What is left for it if every reservation before it settles whole.")
    expected_amount = MoneyField(allow_null=True, help_text="What it gets on average.")
    chance_full = ChanceField(allow_null=True, help_text="The probability that it gets all of its amount.")
    chance_nothing = ChanceField(allow_null=True, help_text="The probability that it gets nothing.")
    basis = OutlookBasisSerializer(allow_null=True, help_text="What the figures are computed from.")
    as_of = serializers.DateTimeField(allow_null=True, help_text="When they were computed.")

    def to_representation(self, expected: ExpectedOutlook) -> dict[str, Any]:
        outlook = expected.outlook
        return {
            "queue_position": expected.queue_position,
            "if_all_ahead_settle": expected.if_all_ahead_settle,
            "expected_amount": _dollars(outlook.expected_amount),
            "chance_full": _chance(outlook.chance_full),
            "chance_nothing": _chance(outlook.chance_nothing),
            "basis": OutlookBasisSerializer(expected).data,
            "as_of": expected.at,
        }


def _dollars(amount: float) -> str:
    return f"{max(0.0, amount):.2f}"


def _chance(probability: float) -> str:
    return f"{min(1.0, max(0.0, probability)):.4f}"


class OutlookDetail(ConditionalView):
    """Show what one of your live reservations can expect to get.

    All figures are given that you pay. They are estimates from how many reservations lapsed in the past, and no promise. They are computed
    again when the loan changes.
    """

    serializer_class = OutlookSerializer

    def get(self, request: Request, reservation_id: UUID) -> Response:
        reservation = reservation_of_investor(investor_of(request).pk, reservation_id)
        expected = reservation_outlook(reservation)
        return Response(OutlookSerializer(expected).data if expected else dict.fromkeys(OutlookSerializer().fields))
