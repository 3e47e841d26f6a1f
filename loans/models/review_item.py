"""Store review items: what needs a person."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from loans.models.fields import choices
from loans.models.loan import Loan
from loans.models.reservation import Reservation
from loans.models.transfer import BankEvent


class ReviewItem(models.Model):
    """Something that needs a person. It is open until a member of staff resolves it with a note."""

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
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True)
    note = models.CharField(max_length=1000, blank=True, db_default="", help_text="What was done about it.")

    class Meta:
        ordering = ["-id"]
        permissions = [("resolve_reviewitem", "Can resolve a review item")]
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
        return f"{self.kind}: {self.detail}"
