"""Store webhook endpoints, the deliveries of e-mails and webhooks, and how far the outbox has read history."""

from datetime import datetime

from django.db import models
from django.db.models import Q
from django.db.models.functions import Coalesce, Now

from loans.models.fields import TransactionId, new_secret
from loans.models.history import Transition
from loans.models.investor import Investor
from loans.models.reservation import Reservation
from loans.models.waiting_list import WaitingListEntry
from loans.models.watch import WatchNotice


class OutboxCursor(models.Model):
    """How far the outbox has read history. There is one row; the process that reads on locks it."""

    txid = TransactionId(default=0)
    transition_id = models.BigIntegerField(default=0)
    server = models.CharField(
        max_length=100, blank=True, default="", help_text="Where it was read: database system, timeline and database."
    )
    after_id = models.BigIntegerField(default=0, help_text="All up to this transition was read on servers with other transaction numbers.")
    up_to_id = models.BigIntegerField(
        null=True, help_text="While the rest of what was written on such a server is read: its last transition."
    )
    sending_until = models.DateTimeField(null=True, help_text="While a run sends deliveries: when another run may begin at the latest.")

    def __str__(self) -> str:
        return f"{self.txid}, {self.transition_id}"


class WebhookEndpoint(models.Model):
    """A URL of an investor's own system that receives webhooks about the investor's reservations."""

    investor = models.ForeignKey(Investor, models.PROTECT, related_name="webhook_endpoints")
    url = models.CharField("URL", max_length=500, help_text="https://, and not on a private network.")
    secret = models.CharField(max_length=100, default=new_secret, editable=False)
    former_secret = models.CharField(max_length=100, blank=True, db_default="", editable=False)
    former_secret_until = models.DateTimeField(null=True, editable=False, help_text="Until then the former secret signs, too.")
    enabled = models.BooleanField(
        default=True, help_text="A disabled endpoint gets no new deliveries. Those that wait for it are given up after three days."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.url

    def secrets(self, at: datetime) -> list[str]:
        """Return the secrets that sign a message sent at this instant, the newest first."""
        is_former_valid = self.former_secret and self.former_secret_until and at < self.former_secret_until
        return [self.secret, *([self.former_secret] if is_former_valid else [])]


class DeliveryStatus(models.TextChoices):
    WAITING = "waiting"
    SENT = "sent"
    GIVEN_UP = "given_up"


class Delivery(models.Model):
    """One transition, or notice to a watcher, to be sent to one target: the investor's mailbox, or a webhook endpoint."""

    EMAIL = 0  # the target of deliveries without an endpoint

    id = models.BigAutoField(primary_key=True)
    investor = models.ForeignKey(Investor, models.PROTECT, db_index=False)
    transition = models.ForeignKey(Transition, models.PROTECT, null=True, db_index=False)
    reservation = models.ForeignKey(Reservation, models.PROTECT, null=True, db_index=False)
    waiting_entry = models.ForeignKey(WaitingListEntry, models.PROTECT, null=True, db_index=False)
    watch_notice = models.OneToOneField(WatchNotice, models.PROTECT, null=True, related_name="delivery")
    endpoint = models.ForeignKey(WebhookEndpoint, models.PROTECT, null=True, db_index=False, help_text="Empty for an e-mail.")
    status = models.CharField(max_length=10, choices=DeliveryStatus.choices, default=DeliveryStatus.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    next_attempt_at = models.DateTimeField(null=True, help_text="While an attempt runs: when another process may try again.")
    ended_at = models.DateTimeField(null=True, help_text="When it was sent or given up.")
    last_error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "deliveries"
        permissions = [("resend_delivery", "Can send deliveries again")]
        constraints = [
            models.UniqueConstraint(
                fields=["transition", "endpoint"],
                condition=Q(transition__isnull=False),
                nulls_distinct=False,
                name="delivery_once",
            ),
            models.CheckConstraint(
                name="delivery_has_subject",
                condition=Q(transition__isnull=False, reservation__isnull=False, waiting_entry__isnull=True, watch_notice__isnull=True)
                | Q(transition__isnull=False, reservation__isnull=True, waiting_entry__isnull=False, watch_notice__isnull=True)
                | Q(transition__isnull=True, reservation__isnull=True, waiting_entry__isnull=True, watch_notice__isnull=False),
            ),
            models.CheckConstraint(
                name="delivery_status_agrees",
                condition=Q(status=DeliveryStatus.WAITING, next_attempt_at__isnull=False, ended_at__isnull=True)
                | Q(status__in=[DeliveryStatus.SENT, DeliveryStatus.GIVEN_UP], next_attempt_at__isnull=True, ended_at__isnull=False),
            ),
        ]
        indexes = [
            models.Index(fields=["investor", "-id"], include=["status"], name="delivery_of_investor"),
            models.Index(Coalesce("endpoint", 0), "next_attempt_at", condition=Q(status=DeliveryStatus.WAITING), name="delivery_due"),
            models.Index(fields=["investor"], condition=Q(status=DeliveryStatus.WAITING), name="delivery_waiting_of_investor"),
            models.Index(fields=["reservation", "id"], condition=Q(status=DeliveryStatus.WAITING), name="delivery_waiting"),
            models.Index(
                fields=["waiting_entry", "id"],
                condition=Q(status=DeliveryStatus.WAITING, waiting_entry__isnull=False),
                name="delivery_waiting_of_entry",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.announced} to {self.endpoint or 'the mailbox'}"

    @property
    def announced(self) -> Transition | WatchNotice:
        """What the message announces."""
        announced = self.transition or self.watch_notice
        assert announced  # noqa: S101 - for mypy: a constraint of the table
        return announced

    @property
    def subject(self) -> Reservation | WaitingListEntry | WatchNotice:
        """What the message is about."""
        subject = self.reservation or self.waiting_entry or self.watch_notice
        assert subject  # noqa: S101 - for mypy: a constraint of the table
        return subject

    @property
    def target(self) -> int:
        """The endpoint's id, or EMAIL. A slow target delays no other target."""
        return self.endpoint_id or self.EMAIL
