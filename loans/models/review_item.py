"""Store review items, which need a person, and what staff say about them."""

import uuid
from decimal import Decimal

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from loans.models.append_only import AppendOnly
from loans.models.fields import choices
from loans.models.loan import Loan
from loans.models.reservation import Reservation
from loans.models.transfer import BankEvent


class ReviewItem(models.Model):
    """Something that needs a person. It is open until a member of staff resolves it with a note; its owner works on it."""

    KINDS = (
        "transfer_failed",
        "amount_differs",
        "late_money",
        "deadline_missed",
        "second_payment",
        "possible_duplicate",
        "unknown_reference",
        "event_differs",
        "payment_returned",
        "return_differs",
        "loan_reopened",
        "opening_missed",
        "refund_bounced",
        "refund_differs",
        "loss",
        "drift",
        "breach",
        "job_failed",
        "delivery_given_up",
        "restored",
        "approval_requested",
    )

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=30, choices=choices(KINDS))
    loan = models.ForeignKey(Loan, models.PROTECT, null=True)
    reservation = models.ForeignKey(Reservation, models.PROTECT, null=True)
    bank_event = models.ForeignKey(BankEvent, models.PROTECT, null=True, help_text="The report that asks for a decision.")
    detail = models.CharField(max_length=1000)
    opened_at = models.DateTimeField()
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+", help_text="Who works on it.")
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True)
    note = models.CharField(max_length=1000, blank=True, db_default="", help_text="What was done about it.")

    class Meta:
        ordering = ["-id"]
        permissions = [
            ("resolve_reviewitem", "Can resolve a review item"),
            ("take_reviewitem", "Can take a review item, and comment on it"),
        ]
        indexes = [
            # The list: the open ones first, the oldest before; then the others, the last resolved before.
            models.Index(F("resolved_at").desc(nulls_first=True), "opened_at", "id", name="review_item_open_first"),
        ]
        constraints = [
            # The same finding is listed once while it is open.
            models.UniqueConstraint(
                fields=["kind", "loan", "reservation", "detail"],
                condition=Q(resolved_at__isnull=True),
                nulls_distinct=False,
                name="review_item_open_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.detail}"

    @property
    def asks_for_approval(self) -> bool:
        """Whether approving or rejecting a request resolves it, and nothing else does."""
        return self.kind == "approval_requested"

    @property
    def dollars(self) -> Decimal | None:
        """The dollars of the report or the reservation that it is about; None if it is about neither."""
        subject = self.bank_event or self.reservation
        return subject.amount if subject else None


class ReviewComment(models.Model):
    """What a member of staff said about a review item, or that its owner changed. It can only be added."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    review_item = models.ForeignKey(ReviewItem, models.PROTECT, related_name="comments")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    at = models.DateTimeField()
    text = models.CharField(max_length=1000)

    class Meta:
        ordering = ["at", "id"]
        constraints = [AppendOnly(name="comments_append_only")]

    def __str__(self) -> str:
        return self.text
