"""Store loans with their totals, and their closing values. Only loans.ledger writes the totals and the status."""

from decimal import Decimal

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.investor_limits import DEFAULT_INVESTOR_SHARE
from loans.domain.loan_limits import DEFAULT_OVERBOOKING_RATE, LEAST_MINIMUM
from loans.domain.loan_terms import (
    MAX_ANNUAL_RATE,
    MAX_DESCRIPTION,
    MAX_LIEN_POSITION,
    MAX_LTV,
    MAX_TERM_MONTHS,
    REFERENCE,
    BorrowerType,
)
from loans.domain.overbooking import DEFAULT_CAP, DEFAULT_RISK, OverbookingPolicy
from loans.domain.settlement_rules import DEFAULT_RULE
from loans.domain.standing_orders import DEFAULT_AUTOMATED_SHARE
from loans.domain.states import PUBLIC_STATUSES, LoanStatus
from loans.models.fields import choices, dollars


class Loan(models.Model):
    """A real-estate loan that investors reserve parts of. Its row is the lock of its reservations, their transfers and its history.

    Amounts are dollars with two decimal places, instants UTC.
    """

    reference = models.CharField(
        max_length=20,
        unique=True,
        validators=[RegexValidator(REFERENCE, "Letters, digits, hyphens and underscores, such as PL-0012.")],
        help_text="A part of addresses: letters, digits, hyphens and underscores.",
    )
    title = models.CharField(max_length=200)
    description = models.CharField(
        max_length=MAX_DESCRIPTION,
        blank=True,
        default="",
        db_default="",
        help_text="For investors: paragraphs with an empty line between them.",
    )
    borrower_type = models.CharField(
        max_length=11,
        choices=choices(BorrowerType),
        blank=True,
        default="",
        db_default="",
        help_text="Who owes the loan, if that is stated.",
    )
    lien_position = models.PositiveSmallIntegerField(
        default=1, db_default=1, help_text="1: the first claim on the property. 2: behind another loan."
    )
    address = models.CharField(max_length=200)
    city = models.CharField(max_length=100)
    state = models.CharField(max_length=2, help_text="Of the property: two letters.")
    zip = models.CharField("ZIP", max_length=5)
    market_cbsa = models.CharField("market (CBSA)", max_length=5, blank=True, editable=False)
    market_msa = models.CharField("market", max_length=200, blank=True, editable=False)
    annual_rate = models.DecimalField(max_digits=5, decimal_places=2, help_text="Percent a year.")
    term_months = models.PositiveSmallIntegerField()
    ltv = models.DecimalField("LTV", max_digits=5, decimal_places=2, help_text="Loan to value, percent.")
    amount = dollars(help_text="The principal offered, dollars.")
    minimum = dollars(default=LEAST_MINIMUM, help_text="Least reservation, dollars; never below 1,000.")
    overbooking_rate = models.DecimalField(
        max_digits=5, decimal_places=4, default=DEFAULT_OVERBOOKING_RATE, help_text="0.20 means 20 %, 0 means none."
    )
    overbooking_policy = models.CharField(
        max_length=10,
        choices=choices(OverbookingPolicy),
        default=OverbookingPolicy.FIXED,
        db_default=OverbookingPolicy.FIXED,
        help_text="evidence: the rate is set at the opening and each night, from the shares of reservations that lapsed.",
    )
    overbooking_risk = models.DecimalField(
        max_digits=4,
        decimal_places=3,
        default=DEFAULT_RISK,
        db_default=DEFAULT_RISK,
        help_text="By evidence: how probably somebody may be turned away, as 0.05.",
    )
    overbooking_cap = models.DecimalField(
        max_digits=5, decimal_places=4, default=DEFAULT_CAP, db_default=DEFAULT_CAP, help_text="By evidence: the largest rate, as 0.50."
    )
    investor_share = models.DecimalField(
        max_digits=5,
        decimal_places=4,
        default=DEFAULT_INVESTOR_SHARE,
        db_default=DEFAULT_INVESTOR_SHARE,
        help_text="The share of the amount that one investor may hold unfunded: 0.25 means 25 %. At least the minimum.",
    )
    automated_share = models.DecimalField(
        max_digits=5,
        decimal_places=4,
        default=DEFAULT_AUTOMATED_SHARE,
        db_default=DEFAULT_AUTOMATED_SHARE,
        help_text="The share of the amount that standing orders may get at the opening: 0.50 means 50 %, 0 means none.",
    )
    settlement_rule = models.CharField(max_length=30, default=DEFAULT_RULE)
    # Of a loan with the rule lottery: the seed before it has run, which no page shows; its SHA-256; and the seed once it has run.
    lottery_secret = models.CharField(max_length=64, default="", db_default="", editable=False)
    lottery_commitment = models.CharField(
        max_length=64, default="", db_default="", editable=False, help_text="SHA-256 of the lottery's seed."
    )
    lottery_seed = models.CharField(max_length=64, default="", db_default="", editable=False, help_text="Shown once the lottery has run.")
    status = models.CharField(max_length=10, choices=choices(LoanStatus), default=LoanStatus.DRAFT, editable=False)
    opens_at = models.DateTimeField(null=True, editable=False, help_text="When it opened; of an upcoming loan, when it will.")
    closes_at = models.DateTimeField(null=True, editable=False)
    settled = dollars(default=ZERO_DOLLARS, editable=False)
    claimed = dollars(
        default=ZERO_DOLLARS,
        editable=False,
        help_text="Dollars of reserved and pending reservations, including lapsed ones that are not yet marked expired.",
    )
    waiting_dollars = dollars(
        default=ZERO_DOLLARS, db_default=ZERO_DOLLARS, editable=False, help_text="Dollars for which the waiting list waits."
    )
    waiting_entries = models.PositiveIntegerField(default=0, db_default=0, editable=False, help_text="How many entries wait.")
    last_number = models.PositiveBigIntegerField(default=0, editable=False, help_text="The last number that was given to a reservation.")
    version = models.PositiveBigIntegerField(default=0, editable=False, help_text="The number of changes.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["reference"]
        permissions = [
            ("announce_loan", "Can announce a loan"),
            ("open_loan", "Can open a loan"),
            ("extend_loan", "Can extend a loan's closing"),
            ("withdraw_loan", "Can withdraw a loan"),
            ("close_loan", "Can close a loan at what has settled"),
            ("set_overbooking_loan", "Can set a loan's overbooking"),
        ]
        indexes = [
            # The public list, newest first.
            models.Index(fields=["opens_at", "id"], name="loan_public", condition=Q(status__in=PUBLIC_STATUSES)),
            models.Index(fields=["opens_at", "id"], name="loan_upcoming", condition=Q(status=LoanStatus.UPCOMING)),
        ]
        constraints = [
            models.CheckConstraint(name="loan_reference_in_addresses", condition=Q(reference__regex=REFERENCE)),
            models.CheckConstraint(
                name="loan_terms_sane",
                condition=Q(
                    annual_rate__gte=0,
                    annual_rate__lte=MAX_ANNUAL_RATE,
                    ltv__gte=0,
                    ltv__lte=MAX_LTV,
                    term_months__gte=1,
                    term_months__lte=MAX_TERM_MONTHS,
                ),
            ),
            models.CheckConstraint(
                name="loan_facts_sane",
                condition=Q(
                    borrower_type__in=["", *map(str, BorrowerType)],
                    lien_position__gte=1,
                    lien_position__lte=MAX_LIEN_POSITION,
                ),
            ),
            models.CheckConstraint(name="loan_amount_positive", condition=Q(amount__gt=0)),
            models.CheckConstraint(name="loan_minimum_least", condition=Q(minimum__gte=LEAST_MINIMUM)),
            models.CheckConstraint(name="loan_overbooking_rate_sane", condition=Q(overbooking_rate__gte=0)),
            models.CheckConstraint(
                name="loan_overbooking_policy_sane",
                condition=Q(
                    overbooking_policy__in=list(OverbookingPolicy), overbooking_risk__gt=0, overbooking_risk__lt=1, overbooking_cap__gte=0
                ),
            ),
            models.CheckConstraint(name="loan_investor_share_sane", condition=Q(investor_share__gt=0, investor_share__lte=1)),
            models.CheckConstraint(name="loan_automated_share_sane", condition=Q(automated_share__gte=0, automated_share__lte=1)),
            models.CheckConstraint(name="loan_settled_within_amount", condition=Q(settled__gte=0, settled__lte=F("amount"))),
            models.CheckConstraint(name="loan_claimed_not_negative", condition=Q(claimed__gte=0)),
            models.CheckConstraint(name="loan_status_known", condition=Q(status__in=list(LoanStatus))),
            models.CheckConstraint(
                name="loan_funded_iff_settled",
                condition=Q(status=LoanStatus.FUNDED, settled=F("amount")) | (~Q(status=LoanStatus.FUNDED) & Q(settled__lt=F("amount"))),
            ),
            models.CheckConstraint(
                name="loan_open_has_dates",
                condition=Q(status__in=[LoanStatus.DRAFT, LoanStatus.WITHDRAWN]) | Q(opens_at__isnull=False, closes_at__isnull=False),
            ),
            models.CheckConstraint(
                name="loan_claims_need_open",
                condition=Q(status=LoanStatus.OPEN) | Q(claimed=0),
            ),
            models.CheckConstraint(
                name="loan_waiting_list_agrees",
                condition=Q(waiting_entries=0, waiting_dollars=0) | Q(status=LoanStatus.OPEN, waiting_entries__gt=0, waiting_dollars__gt=0),
            ),
            models.CheckConstraint(
                name="loan_settled_needs_open_or_funded",
                condition=Q(status__in=[LoanStatus.OPEN, LoanStatus.FUNDED]) | Q(settled=0),
            ),
        ]

    # The facts of a loan: the fields that staff or the market lookup may change, besides its amount and its dates. History stores each
    # change of them (Transition.facts).
    FACTS = (
        "title",
        "description",
        "borrower_type",
        "lien_position",
        "address",
        "city",
        "state",
        "zip",
        "market_cbsa",
        "market_msa",
        "annual_rate",
        "term_months",
        "ltv",
        "minimum",
        "overbooking_rate",
        "overbooking_policy",
        "overbooking_risk",
        "overbooking_cap",
        "investor_share",
        "automated_share",
        "settlement_rule",
        "lottery_commitment",
        "lottery_seed",
    )

    def __str__(self) -> str:
        return self.reference

    @property
    def remaining(self) -> Decimal:
        """The dollars that have not settled."""
        return self.amount - self.settled


class ClosingValue(models.Model):
    """A loan's totals at the end of a banking day, in dollars."""

    loan = models.ForeignKey(Loan, models.PROTECT, related_name="closing_values", db_index=False)
    day = models.DateField()
    remaining = dollars()
    settled = dollars()
    claimed = dollars()

    class Meta:
        ordering = ["day"]
        constraints = [models.UniqueConstraint(fields=["loan", "day"], name="closing_value_once")]
        indexes = [models.Index(fields=["-day", "-loan"], name="closing_value_newest")]

    def __str__(self) -> str:
        return f"{self.loan_id} {self.day}"


class FillValue(models.Model):
    """A loan's amount, and the dollars in each state of its reservations, after the last transition of a minute. For its fill curve."""

    loan = models.ForeignKey(Loan, models.PROTECT, related_name="fill_values", db_index=False)
    transition_id = models.BigIntegerField(help_text="The values contain the loan's history up to this transition.")
    at = models.DateTimeField()
    amount = dollars()
    settled = dollars()
    pending = dollars()
    reserved = dollars()
    overbooking_rate = models.DecimalField(max_digits=5, decimal_places=4, null=True)

    class Meta:
        ordering = ["transition_id"]
        indexes = [models.Index(fields=["loan", "at"], name="fill_value_at")]
        constraints = [models.UniqueConstraint(fields=["loan", "transition_id"], name="fill_value_once")]

    def __str__(self) -> str:
        return f"{self.loan} {self.at:%Y-%m-%d %H:%M}"
