"""Store transfers of money, which only loans.ledger writes, and the bank events that report them."""

import uuid
from decimal import Decimal

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.payments import Answer
from loans.domain.states import INBOUND_STATUSES, REFUND_STATUSES, Direction, TransferStatus
from loans.models.fields import choices, dollars
from loans.models.reservation import Reservation

OPEN_STATUSES = (TransferStatus.INITIATED, TransferStatus.CLEARED, TransferStatus.DUE, TransferStatus.SENT)
SOURCES = ("notice", "statement", "staff")


class Transfer(models.Model):
    """Money that moves for a reservation: inbound from the investor, or a refund. Amounts are dollars, instants UTC.

    An inbound transfer is all money under one reference, in one payment or several; loans/domain/payments.py says how they count.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    reservation = models.ForeignKey(Reservation, models.PROTECT, related_name="transfers")
    direction = models.CharField(max_length=10, choices=choices(Direction))
    method = models.CharField(max_length=10, blank=True, choices=choices(["ach", "wire"]))
    reference = models.CharField(max_length=40, unique=True, help_text="The reference that is written on the payment.")
    status = models.CharField(max_length=10, choices=choices(TransferStatus))
    amount = dollars(help_text="What is expected, or to be refunded.")
    moved = dollars(default=ZERO_DOLLARS, help_text="What was received and not returned, or was paid and did not come back.")
    created_at = models.DateTimeField()
    cleared_at = models.DateTimeField(null=True, help_text="When money was last received.")
    ended_at = models.DateTimeField(null=True, help_text="When it failed, was returned, paid or voided.")
    occurred_at = models.DateTimeField(null=True, help_text="The bank's time of its last event.")

    class Meta:
        ordering = ["created_at", "id"]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="transfer_newest"),
            models.Index(
                fields=["created_at", "id"], name="transfer_refund_open", condition=Q(status__in=[TransferStatus.DUE, TransferStatus.SENT])
            ),
        ]
        permissions = [
            ("record_transfer", "Can record a transfer or cleared money by hand"),
            ("accept_transfer", "Can accept a differing amount"),
            ("send_refund", "Can send refunds to the bank"),
            ("pay_refund", "Can mark refunds paid"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["reservation"], condition=Q(status=TransferStatus.INITIATED), name="transfer_initiated_once"),
            models.CheckConstraint(name="transfer_amount_positive", condition=Q(amount__gt=0)),
            models.CheckConstraint(
                name="transfer_status_agrees",
                condition=Q(direction=Direction.INBOUND, status__in=INBOUND_STATUSES)
                | Q(direction=Direction.REFUND, status__in=REFUND_STATUSES),
            ),
            models.CheckConstraint(
                name="transfer_moved_agrees",
                condition=Q(
                    status__in=[TransferStatus.INITIATED, TransferStatus.FAILED, TransferStatus.RETURNED, TransferStatus.VOID], moved=0
                )
                | Q(status=TransferStatus.CLEARED, moved__gt=0)
                | Q(status__in=[TransferStatus.DUE, TransferStatus.SENT], moved__gte=0, moved__lt=F("amount"))
                | Q(status=TransferStatus.PAID, moved__gte=F("amount")),
            ),
            models.CheckConstraint(
                name="transfer_instants_agree",
                condition=Q(status__in=OPEN_STATUSES, ended_at__isnull=True) | (~Q(status__in=OPEN_STATUSES) & Q(ended_at__isnull=False)),
            ),
        ]

    def __str__(self) -> str:
        return self.reference

    @property
    def outstanding(self) -> Decimal:
        """What of the amount has not moved yet, in dollars."""
        return self.amount - self.moved

    @property
    def refunded(self) -> Decimal:
        """The dollars that a refund takes out of its reservation: all of it while it is open, else what was paid."""
        return self.amount if self.status in {TransferStatus.DUE, TransferStatus.SENT} else self.moved


class BankEvent(models.Model):
    """A report of the bank as it arrived, or of staff in its place, with its outcome. Its id identifies a repetition."""

    id = models.CharField(primary_key=True, max_length=100)
    type = models.CharField(max_length=30)
    source = models.CharField(max_length=10, choices=choices(SOURCES), help_text="The bank's notice, its statement, or staff by hand.")
    reference = models.CharField(max_length=200, help_text="As it arrived, with any text around it.")
    amount = dollars()
    occurred_at = models.DateTimeField(help_text="By the bank's clock.")
    recorded_at = models.DateTimeField()
    outcome = models.CharField(max_length=30, help_text="What it led to when it was recorded.")
    transfer = models.ForeignKey(
        Transfer, models.PROTECT, null=True, related_name="bank_events", db_index=False, help_text="Empty: none matches."
    )
    number = models.PositiveIntegerField(null=True, help_text="Its number among the reports about the transfer, by arrival.")
    confirms = models.ForeignKey(
        "self", models.PROTECT, null=True, related_name="confirmations", help_text="A report of the same money from another source."
    )
    answer = models.CharField(
        max_length=10, blank=True, db_default="", choices=choices(Answer), help_text="What staff say of a possible duplicate."
    )

    class Meta:
        ordering = ["-recorded_at", "id"]
        indexes = [models.Index(fields=["-recorded_at", "id"], name="bankevent_newest")]
        constraints = [models.UniqueConstraint(fields=["transfer", "number"], name="bankevent_number_unique")]
        permissions = [("assign_bankevent", "Can assign a payment, or say whether it is a duplicate")]

    def __str__(self) -> str:
        return self.id


class PaymentFile(models.Model):
    """A file of refunds that was handed to the bank. It is kept as it was made."""

    id = models.BigAutoField(primary_key=True)
    created_at = models.DateTimeField()
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True)
    refund_count = models.PositiveIntegerField()
    total = dollars()
    content = models.TextField(help_text="The CSV file.")

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"refunds-{self.pk:06}.csv"
