"""Store standing orders, and their history, which can only be added to. Only loans.ledger writes them."""

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from loans.domain.standing_orders import Obstacle
from loans.domain.states import StandingOrderState
from loans.models.append_only import AppendOnly
from loans.models.fields import choices, dollars
from loans.models.investor import Investor
from loans.models.loan import Loan


class StandingOrder(models.Model):
    """An investor's wish to reserve `amount` dollars of each loan that opens and meets the criteria, and no fewer than `at_least`.

    All that is live or settled through it is at most `cap`, in dollars. Orders are served in the order of their `place` in the line.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    investor = models.ForeignKey(Investor, models.PROTECT, related_name="standing_orders", db_index=False)
    states = ArrayField(models.CharField(max_length=2), default=list, help_text="Of the property, two letters each. Empty: every state.")
    metros = ArrayField(models.CharField(max_length=5), default=list, help_text="CBSA codes. Empty: every metropolitan area.")
    least_rate = models.DecimalField(max_digits=5, decimal_places=2, null=True, help_text="Percent a year.")
    greatest_ltv = models.DecimalField("greatest LTV", max_digits=5, decimal_places=2, null=True, help_text="Loan to value, percent.")
    longest_term_months = models.PositiveSmallIntegerField(null=True)
    amount = dollars(help_text="Dollars per loan.")
    at_least = dollars(help_text="The least to take of a loan, dollars.")
    cap = dollars(help_text="The most dollars that are live or settled through it.")
    state = models.CharField(max_length=10, choices=choices(StandingOrderState))
    place = models.PositiveBigIntegerField(help_text="Its place in the line: orders with a lower number come before it.")
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["place"]
        constraints = [
            models.UniqueConstraint(fields=["place"], name="standing_order_place_unique"),
            models.CheckConstraint(
                name="standing_order_dollars_agree", condition=Q(at_least__gt=0, at_least__lte=F("amount"), cap__gte=F("at_least"))
            ),
            models.CheckConstraint(
                name="standing_order_state_agrees",
                condition=Q(state__in=[StandingOrderState.ACTIVE, StandingOrderState.PAUSED], ended_at__isnull=True)
                | Q(state=StandingOrderState.ENDED, ended_at__isnull=False),
            ),
        ]
        indexes = [
            models.Index(fields=["place"], name="standing_order_line", condition=Q(state=StandingOrderState.ACTIVE)),
            models.Index(fields=["investor", "-created_at", "-id"], name="standing_order_of_investor"),
        ]

    def __str__(self) -> str:
        return f"Standing order of {self.investor}"


class StandingOrderTransition(models.Model):
    """One change of a standing order, or what the opening of a loan gave to it. Instants are UTC."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    order = models.ForeignKey(StandingOrder, models.PROTECT, related_name="transitions", db_index=False)
    event = models.CharField(max_length=20)
    from_state = models.CharField(max_length=10, blank=True)
    to_state = models.CharField(max_length=10)
    place = models.PositiveBigIntegerField(help_text="Its place in the line from here on.")
    loan = models.ForeignKey(Loan, models.PROTECT, null=True, db_index=False, help_text="The loan that opened.")
    amount = dollars(null=True, help_text="The dollars that it got of the loan.")
    obstacle = models.CharField(max_length=10, blank=True, choices=choices(Obstacle), help_text="What stood against it first.")
    actor = models.CharField(max_length=10)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, db_index=False)

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(fields=["order", "id"], name="standing_order_history"),
            models.Index(fields=["loan", "id"], condition=Q(loan__isnull=False), name="standing_orders_at_opening"),
        ]
        constraints = [
            models.CheckConstraint(
                name="standing_order_outcome_agrees",
                condition=Q(loan__isnull=True, amount__isnull=True, obstacle="")
                | Q(loan__isnull=False, amount__gt=0, obstacle="")
                | (Q(loan__isnull=False, amount__isnull=True) & ~Q(obstacle="")),
            ),
            AppendOnly(name="standing_orders_append_only"),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.event}"
