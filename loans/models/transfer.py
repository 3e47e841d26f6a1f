"""Store transfers of money, which only loans.ledger writes, and the bank events that report them."""

import uuid

from django.db import models
from django.db.models import Q

from loans.domain.states import INBOUND_STATUSES, REFUND_STATUSES, Direction, TransferStatus
from loans.models.fields import choices, dollars
from loans.models.reservation import Reservation


class Transfer(models.Model):
    """Money that moves for a reservation: inbound from the investor, or a refund. Amounts are dollars, instants UTC."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    reservation = models.ForeignKey(Reservation, models.PROTECT, related_name="transfers")
    direction = models.CharField(max_length=10, choices=choices(Direction))
    method = models.CharField(max_length=10, blank=True, choices=choices(["ach", "wire"]))
    reference = models.CharField(max_length=40, help_text="The reference that is written on the payment.")
    payment_number = models.PositiveSmallIntegerField(default=1, help_text="2 and higher: further payments with the same reference.")
    status = models.CharField(max_length=10, choices=choices(TransferStatus))
    amount = dollars(help_text="The expected amount while initiated, the received amount once cleared.")
    created_at = models.DateTimeField()
    cleared_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True, help_text="When it failed, was returned, paid or voided.")
    occurred_at = models.DateTimeField(null=True, help_text="The bank's time of its last event.")

    class Meta:
        ordering = ["created_at", "payment_number", "id"]
        indexes = [models.Index(fields=["-created_at", "-id"], name="transfer_newest")]
        permissions = [
            ("record_transfer", "Can record a transfer or cleared money by hand"),
            ("accept_transfer", "Can accept a differing amount"),
            ("pay_refund", "Can mark refunds paid"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["reference", "payment_number"], name="transfer_reference_unique"),
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


class BankEvent(models.Model):
    """An event as the bank sent it, with its outcome. The bank's own id identifies a repeated event, which changes nothing."""

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
