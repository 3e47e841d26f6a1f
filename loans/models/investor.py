"""Store investors."""

from django.conf import settings
from django.db import models


class Investor(models.Model):
    """A person or firm that reserves parts of loans, and signs in as `user`."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.PROTECT)
    name = models.CharField(max_length=200)
    accredited_until = models.DateField(
        null=True, blank=True, help_text="The last day of the accreditation, in New York. Empty: not accredited."
    )

    def __str__(self) -> str:
        return self.name
