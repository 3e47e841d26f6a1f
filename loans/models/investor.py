"""Store investors, with their limits."""

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector
from django.db import models
from django.db.models import Q

from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.investor_limits import DEFAULT_LET_GO_LIMIT, DEFAULT_UNFUNDED_LIMIT
from loans.models.fields import dollars


class Investor(models.Model):
    """A person or firm that reserves parts of loans, and signs in as `user`.

    The row is the lock of what counts in the investor's limits. Its `version` grows with each reservation and with each other change
    that makes more count, so that an admission notices a change since it read. Only loans.ledger writes it and `unfunded_at_most`.
    """

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.PROTECT)
    name = models.CharField(max_length=200)
    accredited_until = models.DateField(
        null=True, blank=True, help_text="The last day of the accreditation, in New York. Empty: not accredited."
    )
    unfunded_limit = dollars(
        default=DEFAULT_UNFUNDED_LIMIT,
        db_default=DEFAULT_UNFUNDED_LIMIT,
        editable=False,
        help_text="The most dollars of live reservations over all loans whose money is not here.",
    )
    let_go_limit = models.PositiveSmallIntegerField(
        default=DEFAULT_LET_GO_LIMIT,
        db_default=DEFAULT_LET_GO_LIMIT,
        editable=False,
        help_text="With so many reservations canceled by the investor or expired within 24 hours, no new one is possible.",
    )
    unfunded_at_most = dollars(
        default=ZERO_DOLLARS,
        db_default=ZERO_DOLLARS,
        editable=False,
        help_text="At least the dollars of live reservations whose money is not here. Counted anew when short.",
    )
    version = models.PositiveBigIntegerField(default=0, db_default=0, editable=False)

    class Meta:
        permissions = [("limit_investor", "Can change an investor's limits")]
        indexes = [GinIndex(SearchVector("name", config="simple"), name="investor_by_word", fastupdate=False)]
        constraints = [models.CheckConstraint(name="investor_unfunded_limit_not_negative", condition=Q(unfunded_limit__gte=0))]

    def __str__(self) -> str:
        return self.name
