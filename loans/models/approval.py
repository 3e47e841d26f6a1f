"""Store the acts of staff that wait for the approval of a second person."""

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q

from loans.models.fields import choices
from loans.models.loan import Loan
from loans.models.review_item import ReviewItem


class ApprovalRequest(models.Model):
    """An act that one member of staff has requested and another approves or rejects. Each is decided once."""

    STATES = ("waiting", "approved", "rejected")

    id = models.BigAutoField(primary_key=True)
    act = models.CharField(max_length=30, help_text="The staff action, by its name.")
    arguments = models.JSONField(encoder=DjangoJSONEncoder, help_text="What the action is called with.")
    description = models.CharField(max_length=300)
    loan = models.ForeignKey(Loan, models.PROTECT)
    reason = models.CharField(max_length=1000)
    shows_reason = models.BooleanField(default=False)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    requested_at = models.DateTimeField()
    review_item = models.OneToOneField(ReviewItem, models.PROTECT)
    state = models.CharField(max_length=10, choices=choices(STATES), default="waiting")
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)
    decision_reason = models.CharField(max_length=1000, blank=True)

    class Meta:
        ordering = ["-id"]
        permissions = [("decide_approvalrequest", "Can approve or reject what another member of staff requests")]
        constraints = [
            models.CheckConstraint(name="approval_by_another", condition=Q(decided_by__isnull=True) | ~Q(decided_by=F("requested_by"))),
            models.CheckConstraint(
                name="approval_decision_agrees",
                condition=Q(state="waiting", decided_by__isnull=True, decided_at__isnull=True)
                | (~Q(state="waiting") & Q(decided_by__isnull=False, decided_at__isnull=False)),
            ),
        ]

    def __str__(self) -> str:
        return self.description
