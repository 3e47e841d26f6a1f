"""What is kept of loans, and what can never be true of it?

Amounts are dollars with two places, instants UTC. Only loans/ledger/ writes states, totals and history; the
constraints are the last line behind it.
"""

from django.conf import settings
from django.db import models


class Investor(models.Model):
    """A person or firm that buys pieces; signs in as `user`."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.PROTECT)
    name = models.CharField(max_length=200)
    accredited_until = models.DateField(null=True, blank=True, help_text="Its last day, in New York; empty: none.")

    def __str__(self) -> str:
        return self.name
