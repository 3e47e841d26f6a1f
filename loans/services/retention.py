"""Delete what is no longer needed: old idempotency keys, ended tokens, failed log-ins and ended sessions.

How long a key is kept stands in loans/domain/first_answer.py. History, the event feed, messages and bank events are kept for ever.
"""

from datetime import datetime, timedelta

from axes.models import AccessAttempt
from django.contrib.sessions.models import Session
from knox.models import AuthToken

from loans.domain.first_answer import KEPT_FOR
from loans.models import IdempotencyKey
from peerloans.database.clock import database_now, real_now

# For 30 days a request with an ended token gets `token_expired`; after that, the token is unknown. Failed log-ins are kept as long.
ENDED_ACCESS_DATA_KEPT = timedelta(days=30)


def delete_old_idempotency_keys(now: datetime | None = None) -> int:
    """Delete the keys older than KEPT_FOR (loans/domain/first_answer.py), whose answer a repeat no longer gets. Return how many."""
    count, _ = IdempotencyKey.objects.filter(created_at__lte=database_now(now) - KEPT_FOR).delete()
    return count


def delete_ended_access_data(now: datetime | None = None) -> int:
    """Delete tokens that ended 30 days ago, failed log-ins that are 30 days old, and ended sessions. Return how many tokens."""
    at = real_now(now)
    count: int = AuthToken.objects.filter(expiry__lte=at - ENDED_ACCESS_DATA_KEPT).delete()[0]
    AccessAttempt.objects.filter(attempt_time__lte=at - ENDED_ACCESS_DATA_KEPT).delete()
    Session.objects.filter(expire_date__lte=at).delete()
    return count
