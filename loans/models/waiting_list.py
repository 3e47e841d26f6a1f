"""Store the entries of waiting lists. Only loans.ledger writes them."""

from django.db import models
from django.db.models import F, Q

from loans.domain.states import WaitingListState
from loans.models.fields import choices, dollars, uuid7
from loans.models.investor import Investor
from loans.models.loan import Loan
from loans.models.reservation import Reservation


class WaitingListEntry(models.Model):
    """An investor who waits for `amount` dollars of a loan, and takes no fewer than `at_least`. Numbers give the order of joining."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    loan = models.ForeignKey(Loan, models.PROTECT, related_name="waiting_list", db_index=False)
    investor = models.ForeignKey(Investor, models.PROTECT, related_name="waiting_list", db_index=False)
    number = models.PositiveBigIntegerField()
    amount = dollars()
    at_least = dollars()
    state = models.CharField(max_length=10, choices=choices(WaitingListState))
    reservation = models.OneToOneField(Reservation, models.PROTECT, null=True, help_text="What it became.")
    joined_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-joined_at", "-id"]
        verbose_name = "entry of a waiting list"
        verbose_name_plural = "waiting lists"
        permissions = [("remove_waitinglistentry", "Can remove an entry from a waiting list")]
        constraints = [
            models.UniqueConstraint(fields=["loan", "number"], name="waiting_number_unique"),
            models.UniqueConstraint(fields=["loan", "investor"], condition=Q(state=WaitingListState.WAITING), name="waiting_once"),
            models.CheckConstraint(name="waiting_at_least_agrees", condition=Q(at_least__gt=0, at_least__lte=F("amount"))),
            models.CheckConstraint(
                name="waiting_state_agrees",
                condition=Q(state=WaitingListState.WAITING, reservation__isnull=True, ended_at__isnull=True)
                | Q(state=WaitingListState.PLACED, reservation__isnull=False, ended_at__isnull=False)
                | Q(
                    state__in=[WaitingListState.LEFT, WaitingListState.REMOVED, WaitingListState.ENDED],
                    reservation__isnull=True,
                    ended_at__isnull=False,
                ),
            ),
        ]
        indexes = [
            models.Index(fields=["loan", "number"], condition=Q(state=WaitingListState.WAITING), name="waiting_in_order"),
            models.Index(fields=["investor", "-joined_at", "-id"], name="waiting_of_investor"),
        ]

    def __str__(self) -> str:
        return f"{self.loan.reference}, waiting {self.number}"

    @property
    def loan_reference(self) -> str:
        return self.loan.reference
