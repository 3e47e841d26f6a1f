"""Store which loans investors watch, since when watched loans have dollars available, and what was sent to those who watch them."""

import uuid

from django.db import models
from django.db.models import Q

from loans.models.fields import choices, dollars
from loans.models.investor import Investor
from loans.models.loan import Loan

OPENED, AVAILABLE = "opened", "available"


class Watch(models.Model):
    """An investor who wants an e-mail when the loan opens, and when dollars of it are available again."""

    loan = models.ForeignKey(Loan, models.PROTECT, related_name="watches", db_index=False)
    investor = models.ForeignKey(Investor, models.PROTECT, related_name="watches", db_index=False)
    since = models.DateTimeField()
    known_at = models.DateTimeField(help_text="The investor knows what the loan offered then: they looked at it, or got an e-mail.")
    emailed_at = models.DateTimeField(null=True, help_text="The last e-mail, until the investor looks at the loan.")
    ended_at = models.DateTimeField(null=True, help_text="When the investor stopped watching.")

    class Meta:
        ordering = ["-since", "-id"]
        verbose_name_plural = "watches"
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["investor", "loan"], name="watch_once")]
        indexes = [models.Index(fields=["loan", "known_at"], condition=Q(ended_at=None), name="watch_known")]

    def __str__(self) -> str:
        return f"{self.investor} watches {self.loan}"


class WatchedLoan(models.Model):
    """Whether somebody could reserve of a watched loan when it was checked last, and since when."""

    loan = models.OneToOneField(Loan, models.PROTECT, primary_key=True, related_name="watched")
    is_available = models.BooleanField()
    available_since = models.DateTimeField(null=True, help_text="When it was found available after it had not been.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.loan)


class WatchNotice(models.Model):
    """What an e-mail to a watcher says: the loan opened, or dollars are available again. It never changes."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    watch = models.ForeignKey(Watch, models.PROTECT, related_name="notices")
    event = models.CharField(max_length=10, choices=choices([OPENED, AVAILABLE]))
    available = dollars(help_text="What one reservation could take then.")
    at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        constraints = [models.CheckConstraint(name="watch_notice_event_known", condition=Q(event__in=[OPENED, AVAILABLE]))]

    def __str__(self) -> str:
        return f"{self.watch.loan} {self.event}"

    @property
    def loan(self) -> Loan:
        return self.watch.loan

    @property
    def loan_id(self) -> int:
        return self.watch.loan_id
