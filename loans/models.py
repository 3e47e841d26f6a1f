"""What is kept of loans, and what can never be true of it?

Amounts are dollars with two places, instants UTC. Only loans/ledger.py writes states, totals and history; the
constraints are the last line behind it.
"""

import base64
import secrets
import uuid
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Func, Q
from django.db.models.functions import Coalesce, Now

from loans import money
from loans.limits import DEFAULT_OVERBOOKING_RATE, LEAST_MINIMUM
from loans.settlement_rules import DEFAULT_RULE
from loans.states import INBOUND_STATUSES, LIVE, REFUND_STATUSES, Direction, LoanStatus, State, TransferStatus

ZERO = Decimal("0.00")


def dollars(**options: object) -> "models.DecimalField[Decimal, Decimal]":
    return models.DecimalField(max_digits=14, decimal_places=2, **options)  # type: ignore[arg-type]


def choices(values: object) -> list[tuple[str, str]]:
    return [(str(value), str(value).replace("_", " ").capitalize()) for value in values]  # type: ignore[attr-defined]


class TransactionId(models.Field):  # type: ignore[type-arg]  # not subscriptable at run time
    """PostgreSQL's xid8: a transaction's number, which never comes again."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "xid8"

    def get_prep_value(self, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    def from_db_value(self, value: str | None, *_: object) -> int | None:
        return None if value is None else int(value)


class Investor(models.Model):
    """A person or firm that buys pieces; signs in as `user`."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.PROTECT)
    name = models.CharField(max_length=200)
    accredited_until = models.DateField(null=True, blank=True, help_text="Its last day, in New York; empty: none.")

    def __str__(self) -> str:
        return self.name


class Loan(models.Model):
    """A real-estate loan offered in pieces, with the totals of the claims on it. Its row is the lock for all of them."""

    reference = models.CharField(max_length=20, unique=True)
    title = models.CharField(max_length=200)
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
        max_digits=5, decimal_places=4, default=DEFAULT_OVERBOOKING_RATE, help_text="0.20 is 20 %; 0: none."
    )
    settlement_rule = models.CharField(max_length=30, default=DEFAULT_RULE)
    status = models.CharField(max_length=10, choices=choices(LoanStatus), default=LoanStatus.DRAFT, editable=False)
    opens_at = models.DateTimeField(null=True, editable=False)
    closes_at = models.DateTimeField(null=True, editable=False)
    settled = dollars(default=ZERO, editable=False)
    claimed = dollars(default=ZERO, editable=False, help_text="Reserved and pending claims, the lapsed that are not yet swept among them.")
    places = models.PositiveBigIntegerField(default=0, editable=False, help_text="Places given out in the queue so far.")
    version = models.PositiveBigIntegerField(default=0, editable=False, help_text="Counts the changes.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["reference"]
        permissions = [
            ("open_loan", "Can open a loan"),
            ("extend_loan", "Can extend a loan's closing"),
            ("withdraw_loan", "Can withdraw a loan"),
            ("close_loan", "Can close a loan at what has settled"),
        ]
        indexes = [
            # The public list, newest first.
            models.Index(fields=["opens_at", "id"], name="loan_public", condition=Q(status__in=[LoanStatus.OPEN, LoanStatus.FUNDED])),
        ]
        constraints = [
            models.CheckConstraint(name="loan_amount_positive", condition=Q(amount__gt=0)),
            models.CheckConstraint(name="loan_minimum_least", condition=Q(minimum__gte=LEAST_MINIMUM)),
            models.CheckConstraint(name="loan_overbooking_rate_sane", condition=Q(overbooking_rate__gte=0)),
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
                name="loan_settled_needs_open_or_funded",
                condition=Q(status__in=[LoanStatus.OPEN, LoanStatus.FUNDED]) | Q(settled=0),
            ),
        ]

    # What staff or the market's lookup may change of it beside its money and dates; history keeps each change.
    FACTS = (
        "title",
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
        "settlement_rule",
    )

    def __str__(self) -> str:
        return self.reference

    @property
    def remaining(self) -> Decimal:
        """What is still for sale."""
        return self.amount - self.settled


class Reservation(models.Model):
    """An investor's claim on `amount` dollars of one loan, at a fixed place in its queue."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    loan = models.ForeignKey(Loan, models.PROTECT, related_name="reservations", db_index=False)
    investor = models.ForeignKey(Investor, models.PROTECT, related_name="reservations", db_index=False)
    place = models.PositiveBigIntegerField()
    amount = dollars()
    settled_amount = dollars(default=ZERO)
    state = models.CharField(max_length=10, choices=choices(State))
    cause = models.CharField(max_length=30, blank=True, help_text="Why canceled.")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, help_text="Null when it cannot expire.")
    funded_at = models.DateTimeField(null=True, help_text="When its money was here.")
    received = dollars(default=ZERO, help_text="Cleared inbound money.")
    refunded = dollars(default=ZERO, help_text="Refunds due or paid.")
    lost = dollars(default=ZERO, help_text="Refunds paid for money that was taken back afterwards.")

    class Meta:
        ordering = ["-created_at", "-id"]
        permissions = [
            ("cancel_reservation", "Can cancel a reservation"),
            ("extend_reservation", "Can extend a reservation's time to live"),
            ("reinstate_reservation", "Can reinstate a canceled reservation"),
            ("settle_reservation", "Can settle a reservation ahead of its turn"),
            ("reverse_reservation", "Can reverse a payment"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["loan", "place"], name="reservation_place_unique"),
            models.CheckConstraint(name="reservation_amount_positive", condition=Q(amount__gt=0)),
            models.CheckConstraint(
                name="reservation_state_agrees",
                condition=Q(state=State.RESERVED, cause="", settled_amount=0, expires_at__isnull=False, funded_at__isnull=True)
                | Q(state=State.PENDING, cause="", settled_amount=0, expires_at__isnull=False, funded_at__isnull=True)
                | Q(state=State.PENDING, cause="", settled_amount=0, expires_at__isnull=True, funded_at__isnull=False)
                | Q(state=State.SETTLED, cause="", settled_amount__gt=0, expires_at__isnull=True, funded_at__isnull=False)
                | (Q(state=State.CANCELED, settled_amount=0, expires_at__isnull=True, funded_at__isnull=True) & ~Q(cause="")),
            ),
            models.CheckConstraint(name="reservation_settled_within_amount", condition=Q(settled_amount__lte=F("amount"))),
            models.CheckConstraint(
                name="reservation_money_adds_up",
                condition=Q(received__gte=0, refunded__gte=0, lost__gte=0)
                & Q(received__gte=F("settled_amount") + F("refunded") - F("lost"))
                & (Q(funded_at__isnull=True) | Q(state=State.SETTLED) | Q(received__gte=F("amount") + F("refunded") - F("lost"))),
            ),
        ]
        indexes = [
            models.Index(fields=["loan", "expires_at"], name="reservation_live", condition=Q(state__in=LIVE)),
            models.Index(fields=["expires_at", "id"], name="reservation_due", condition=Q(expires_at__isnull=False)),
            models.Index(fields=["loan"], name="reservation_funded", condition=Q(state=State.PENDING, expires_at__isnull=True)),
            models.Index(fields=["investor", "-created_at", "-id"], name="reservation_of_investor"),
            models.Index(fields=["-created_at", "-id"], name="reservation_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.loan.reference} #{self.place}"

    @property
    def loan_reference(self) -> str:
        return self.loan.reference

    @property
    def waiting(self) -> Decimal:
        """Money that is here and neither settled nor going back."""
        return money.waiting(received=self.received, lost=self.lost, refunded=self.refunded, settled_amount=self.settled_amount)


class Transfer(models.Model):
    """Money that moves for a reservation: inbound from the investor, or a refund."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    reservation = models.ForeignKey(Reservation, models.PROTECT, related_name="transfers")
    direction = models.CharField(max_length=10, choices=choices(Direction))
    method = models.CharField(max_length=10, blank=True, choices=choices(["ach", "wire"]))
    reference = models.CharField(max_length=40, help_text="What stands on the payment.")
    payment = models.PositiveSmallIntegerField(default=1, help_text="2 and more: money that came again for the same reference.")
    status = models.CharField(max_length=10, choices=choices(TransferStatus))
    amount = dollars(help_text="Expected while initiated; what came once cleared.")
    created_at = models.DateTimeField()
    cleared_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True, help_text="When it failed, was returned, paid or voided.")
    occurred_at = models.DateTimeField(null=True, help_text="When, by the bank, its last event happened.")

    class Meta:
        ordering = ["created_at", "payment", "id"]
        indexes = [models.Index(fields=["-created_at", "-id"], name="transfer_newest")]
        permissions = [
            ("record_transfer", "Can record a transfer or cleared money by hand"),
            ("accept_transfer", "Can accept a differing amount"),
            ("pay_refund", "Can mark refunds paid"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["reference", "payment"], name="transfer_reference_unique"),
            models.UniqueConstraint(fields=["reservation"], condition=Q(status=TransferStatus.INITIATED), name="transfer_initiated_once"),
            models.CheckConstraint(name="transfer_amount_positive", condition=Q(amount__gt=0)),
            models.CheckConstraint(
                name="transfer_status_agrees",
                condition=Q(direction=Direction.INBOUND, status__in=INBOUND_STATUSES)
                | Q(direction=Direction.REFUND, status__in=REFUND_STATUSES),
            ),
            models.CheckConstraint(
                name="transfer_instants_agree",
                condition=Q(status__in=[TransferStatus.INITIATED, TransferStatus.DUE], cleared_at__isnull=True, ended_at__isnull=True)
                | Q(status=TransferStatus.CLEARED, cleared_at__isnull=False, ended_at__isnull=True)
                | Q(status=TransferStatus.RETURNED, cleared_at__isnull=False, ended_at__isnull=False)
                | Q(
                    status__in=[TransferStatus.FAILED, TransferStatus.PAID, TransferStatus.VOID],
                    cleared_at__isnull=True,
                    ended_at__isnull=False,
                ),
            ),
        ]

    def __str__(self) -> str:
        return self.reference


class Transition(models.Model):
    """History: one change of a loan, a reservation or a transfer. Triggers refuse to change or delete a row."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    loan = models.ForeignKey(Loan, models.PROTECT, related_name="transitions", db_index=False)
    reservation = models.ForeignKey(Reservation, models.PROTECT, null=True, related_name="transitions")
    transfer = models.ForeignKey(Transfer, models.PROTECT, null=True, related_name="transitions", db_index=False)
    event = models.CharField(max_length=30)
    from_state = models.CharField(max_length=10, blank=True)
    to_state = models.CharField(max_length=10)
    amount = dollars(null=True, help_text="The dollars that the event is about.")
    deadline = models.DateTimeField(null=True, help_text="expires_at or closes_at from here on.")
    rule = models.CharField(max_length=30, blank=True, help_text="The settlement rule that decided, or staff.")
    facts = models.JSONField(null=True, help_text="What changed of a loan's description and terms, as text.")
    actor = models.CharField(max_length=10)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, db_index=False)
    reason = models.TextField(blank=True)
    txid = TransactionId(
        db_default=Func(function="pg_current_xact_id"),
        editable=False,
        help_text="The transaction that wrote it; the outbox reads in this order.",
    )

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(fields=["loan", "id"], name="transition_of_loan"),
            models.Index(fields=["txid", "id"], name="transition_in_order"),
            BrinIndex(fields=["at"], name="transition_at", autosummarize=True),
        ]
        constraints = [
            models.CheckConstraint(name="transition_actor_known", condition=Q(actor__in=["investor", "staff", "bank", "system"]))
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.event}"


class BankEvent(models.Model):
    """An event as the bank sent it, kept with what came of it. The bank's own id makes a repeat harmless."""

    id = models.CharField(primary_key=True, max_length=100)
    type = models.CharField(max_length=30)
    reference = models.CharField(max_length=40)
    amount = dollars()
    occurred_at = models.DateTimeField()
    recorded_at = models.DateTimeField()
    outcome = models.CharField(max_length=30)

    class Meta:
        ordering = ["-recorded_at", "id"]
        indexes = [models.Index(fields=["-recorded_at", "id"], name="bankevent_newest")]

    def __str__(self) -> str:
        return self.id


class Case(models.Model):
    """Something that needs a person."""

    KINDS = (
        "transfer_failed",
        "amount_differs",
        "late_money",
        "deadline_missed",
        "second_payment",
        "unknown_reference",
        "event_differs",
        "refund_differs",
        "loss",
        "drift",
        "breach",
        "job_failed",
        "delivery_given_up",
    )

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=30, choices=choices(KINDS))
    loan = models.ForeignKey(Loan, models.PROTECT, null=True)
    reservation = models.ForeignKey(Reservation, models.PROTECT, null=True)
    detail = models.CharField(max_length=1000)
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    closed_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True)
    note = models.CharField(max_length=1000, blank=True, db_default="", help_text="What became of it.")

    class Meta:
        ordering = ["-id"]
        permissions = [("close_case", "Can close a case")]
        constraints = [
            # The same finding, still open, is listed once.
            models.UniqueConstraint(
                fields=["kind", "loan", "reservation", "detail"],
                condition=Q(closed_at__isnull=True),
                nulls_distinct=False,
                name="case_open_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


class OutboxCursor(models.Model):
    """How far history has been read for deliveries. There is one row, which is also the lock of whoever reads on."""

    txid = TransactionId(default=0)
    transition_id = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.txid}, {self.transition_id}"


def new_secret() -> str:
    """A signing secret as Standard Webhooks writes it: 24 random bytes."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


class WebhookEndpoint(models.Model):
    """An address at which an investor's own system hears of the investor's reservations."""

    investor = models.ForeignKey(Investor, models.PROTECT, related_name="webhook_endpoints")
    url = models.CharField("URL", max_length=500, help_text="https://, and not on a private network.")
    secret = models.CharField(max_length=100, default=new_secret, editable=False)
    enabled = models.BooleanField(
        default=True, help_text="A disabled endpoint gets nothing new; what waits for it is given up after three days."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.url


class DeliveryStatus(models.TextChoices):
    WAITING = "waiting"
    SENT = "sent"
    GIVEN_UP = "given_up"


class Delivery(models.Model):
    """One transition on its way to one target: the investor's mailbox, or a webhook endpoint."""

    EMAIL = 0  # the target of deliveries without an endpoint

    id = models.BigAutoField(primary_key=True)
    transition = models.ForeignKey(Transition, models.PROTECT, db_index=False)
    reservation = models.ForeignKey(Reservation, models.PROTECT, db_index=False)
    endpoint = models.ForeignKey(WebhookEndpoint, models.PROTECT, null=True, db_index=False, help_text="Empty: e-mail.")
    status = models.CharField(max_length=10, choices=DeliveryStatus.choices, default=DeliveryStatus.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    next_attempt_at = models.DateTimeField(null=True, help_text="While an attempt runs: when it is taken for dead.")
    ended_at = models.DateTimeField(null=True, help_text="When it was sent or given up.")
    last_error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "deliveries"
        permissions = [("resend_delivery", "Can send deliveries again")]
        constraints = [
            models.UniqueConstraint(fields=["transition", "endpoint"], nulls_distinct=False, name="delivery_once"),
            models.CheckConstraint(
                name="delivery_status_agrees",
                condition=Q(status=DeliveryStatus.WAITING, next_attempt_at__isnull=False, ended_at__isnull=True)
                | Q(status__in=[DeliveryStatus.SENT, DeliveryStatus.GIVEN_UP], next_attempt_at__isnull=True, ended_at__isnull=False),
            ),
        ]
        indexes = [
            models.Index(Coalesce("endpoint", 0), "next_attempt_at", condition=Q(status=DeliveryStatus.WAITING), name="delivery_due"),
            models.Index(fields=["reservation", "id"], condition=Q(status=DeliveryStatus.WAITING), name="delivery_waiting"),
        ]

    def __str__(self) -> str:
        return f"{self.transition} to {self.endpoint or 'the mailbox'}"

    @property
    def target(self) -> int:
        """The endpoint's id, or EMAIL. What one target does delays no other."""
        return self.endpoint_id or self.EMAIL


class ClosingValue(models.Model):
    """What remained of a loan at the close of a banking day, as an exchange keeps closing prices."""

    loan = models.ForeignKey(Loan, models.PROTECT, related_name="closing_values", db_index=False)
    day = models.DateField()
    remaining = dollars()
    settled = dollars()
    claimed = dollars()

    class Meta:
        ordering = ["day"]
        constraints = [models.UniqueConstraint(fields=["loan", "day"], name="closing_value_once")]

    def __str__(self) -> str:
        return f"{self.loan_id} {self.day}"


ONE_ANSWER = "idempotency_key_unique"


class IdempotencyKey(models.Model):
    """The answer that a user's request with this key was given, so that the same request gets it again.

    Where that was a new claim there is no body: what the claim was then, its history tells.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, db_index=False)
    key = models.CharField(max_length=255)
    digest = models.CharField(max_length=64, help_text="Of the request: method, path and body.")
    status = models.PositiveSmallIntegerField()
    body = models.TextField()
    # Written by the statement that writes the claim, and claims stay.
    reservation = models.ForeignKey(Reservation, models.DO_NOTHING, null=True, db_index=False, db_constraint=False, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name=ONE_ANSWER)]

    def __str__(self) -> str:
        return self.key
