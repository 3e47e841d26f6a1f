"""What is kept of loans, and what can never be true of it?

Amounts are dollars with two places, instants UTC. Only loans/ledger/ writes states, totals and history; the
constraints are the last line behind it.
"""

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from loans.models.reservation import Reservation

ONE_ANSWER = "idempotency_key_unique"


class IdempotencyKey(models.Model):
    """The answer that a user's request with this key was given, so that the same request gets it again.

    Where that was a new reservation there is no body: what the reservation was then, its history tells.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, db_index=False)
    key = models.CharField(max_length=255)
    digest = models.CharField(max_length=64, help_text="Of the request: method, path and body.")
    status = models.PositiveSmallIntegerField()
    body = models.TextField()
    # Written by the statement that writes the reservation, and reservations stay.
    reservation = models.ForeignKey(Reservation, models.DO_NOTHING, null=True, db_index=False, db_constraint=False, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name=ONE_ANSWER)]

    def __str__(self) -> str:
        return self.key
