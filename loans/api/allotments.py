"""Answer how a funded loan was shared out."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from loans.api.serializers import LotterySerializer, MoneyField
from loans.domain.allotment import RuleFigures, SizeBand
from loans.domain.errors import NotFound
from loans.domain.settlement_rules import RULES, RULES_IN_WORDS
from loans.domain.states import PUBLIC_STATUSES
from loans.selectors.allotment import LoanAllotment as Allotment
from loans.selectors.allotment import loan_allotment
from loans.selectors.offers import loan_offer
from peerloans.api.caching import PublicView


class SizeBandSerializer(serializers.Serializer[Any]):
    from_amount = MoneyField(help_text="The smallest amount of the band.")
    to_amount = MoneyField(allow_null=True, help_text="The amounts of the band are less than this; null for no end.")
    count = serializers.IntegerField(help_text="Reservations.")
    demand = MoneyField(help_text="What they asked for.")
    settled = MoneyField()
    whole = serializers.IntegerField(help_text="How many got all that they asked for.")
    part = serializers.IntegerField()
    nothing = serializers.IntegerField(help_text="How many had paid and got nothing.")
    unpaid = serializers.IntegerField(help_text="How many had not paid when the loan became funded.")

    def to_representation(self, band: SizeBand) -> dict[str, Any]:
        return {name: getattr(band, name) for name in SizeBand.__slots__}


class SettledAheadSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    amount = MoneyField()


class AllottedLotterySerializer(LotterySerializer):
    last_ticket = serializers.CharField(allow_null=True, help_text="The highest ticket that got something.")


class AllotmentSerializer(serializers.Serializer[Any]):
    loan = serializers.CharField(help_text="The loan's reference.")
    rule = serializers.ChoiceField(list(RULES))
    rule_in_words = serializers.CharField()
    amount = MoneyField(help_text="The loan's amount, all of which has settled.")
    demand = MoneyField(help_text="What was asked for in all.")
    cover_ratio = serializers.DecimalField(12, 2, help_text="The demand divided by the amount; 1.20 is 120 %.")
    opens_at = serializers.DateTimeField()
    closes_at = serializers.DateTimeField()
    funded_at = serializers.DateTimeField(help_text="When the loan became funded.")
    bands = SizeBandSerializer(many=True, help_text="By the size of the reservations, the smallest first.")
    total = SizeBandSerializer(help_text="All reservations.")
    settled_ahead = SettledAheadSerializer(help_text="What staff settled ahead of turn. The figures below leave it out.")
    last_number = serializers.IntegerField(allow_null=True, help_text="With `fifo`: the number of the last reservation that was served.")
    last_payment_at = serializers.DateTimeField(allow_null=True, help_text="With `first_funded`: when the last payment served was here.")
    percent = serializers.DecimalField(
        7,
        4,
        allow_null=True,
        help_text="With `pro_rata`: of each amount. With `base_then_pro_rata`: of what was asked for beyond the base.",
    )
    base = MoneyField(allow_null=True, help_text="With `base_then_pro_rata`: what each got first.")
    largest_award = MoneyField(allow_null=True, help_text="With `equal_awards`: the most that one reservation got.")
    lottery = AllottedLotterySerializer(allow_null=True, help_text="With `lottery`.")

    def to_representation(self, allotment: Allotment) -> dict[str, Any]:
        loan, basis = allotment.loan, allotment.basis
        figures = {name: getattr(basis.figures, name) for name in RuleFigures.__slots__}
        last_ticket = figures.pop("last_ticket")
        lottery = {"commitment": loan.lottery_commitment, "seed": loan.lottery_seed or None, "last_ticket": last_ticket}
        return {
            "loan": loan.reference,
            "rule": loan.settlement_rule,
            "rule_in_words": RULES_IN_WORDS[loan.settlement_rule],
            "amount": loan.amount,
            "demand": basis.total.demand,
            "cover_ratio": basis.cover_ratio,
            "opens_at": loan.opens_at,
            "closes_at": loan.closes_at,
            "funded_at": allotment.funded_at,
            "bands": SizeBandSerializer(basis.bands, many=True).data,
            "total": SizeBandSerializer(basis.total).data,
            "settled_ahead": {"count": basis.settled_ahead_count, "amount": basis.settled_ahead},
            **figures,
            "lottery": lottery if loan.lottery_commitment else None,
        }


class AllotmentDetail(PublicView):
    """Show how a funded loan was shared out.

    Counted are the reservations that settled, and those that were still live when the loan became funded. Nobody is named.
    """

    serializer_class = AllotmentSerializer

    def get(self, request: Request, reference: str) -> Response:
        loan = loan_offer(reference).loan
        if loan.status not in PUBLIC_STATUSES:
            raise NotFound(f"There is no loan {reference}.")
        return Response(AllotmentSerializer(loan_allotment(loan)).data)
