"""Read which loans an investor watches."""

from django.db.models import QuerySet

from loans.domain.states import PUBLIC_STATUSES
from loans.models import Watch


def watches_of(investor_id: int) -> QuerySet[Watch]:
    """Return the investor's watches, newest first. Those of withdrawn loans are left out."""
    return Watch.objects.filter(investor=investor_id, ended_at=None, loan__status__in=PUBLIC_STATUSES)


def is_watched(investor_id: int, reference: str) -> bool:
    """Return whether the investor watches the loan."""
    return watches_of(investor_id).filter(loan__reference=reference).exists()
