"""Store the answers to requests that carry an Idempotency-Key."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from loans.models.reservation import Reservation

KEY_UNIQUE = "idempotency_key_unique"  # the constraint, by which loans.ledger.admission knows that another request has the key


class IdempotencyKey(models.Model):
    """The answer to a user's request with this key, which the same request gets again.

    The answer with a new reservation is not stored as a body: it is made from the reservation's history.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, db_index=False)
    key = models.CharField(max_length=255)
    digest = models.CharField(max_length=64, help_text="Digest of the request's method, path and body.")
    status = models.PositiveSmallIntegerField()
    body = models.TextField()
    # The statement that inserts the reservation writes this too, and reservations are never deleted: no constraint is needed.
    reservation = models.ForeignKey(Reservation, models.DO_NOTHING, null=True, db_index=False, db_constraint=False, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name=KEY_UNIQUE)]

    def __str__(self) -> str:
        return self.key
