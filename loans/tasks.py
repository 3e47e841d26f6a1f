"""Which jobs run in the background? Each is one call of a service; what a job returns is its line in the worker's log.

Any of them may run twice, late, at the same time as itself, or be killed: acknowledged late, it is then handed out again.
Their schedules lie in the database, where a migration put them, and are edited in the admin.
"""

from celery import shared_task

from loans.audit.reconciliation import find_breaches
from loans.notifications import deliveries
from loans.services.cache_refresh import refresh_remaining_cache
from loans.services.closing_values import record_due_closing_values
from loans.services.expiry import expire_due
from loans.services.retention import delete_ended_tokens, delete_old_idempotency_keys
from loans.services.settlement import settle_due, settle_one_loan


@shared_task
def expire() -> str:
    """Cancel the reservations whose time has run out."""
    return f"{expire_due()} lapsed reservations were canceled."


@shared_task
def settle() -> str:
    """Apply the rule of each loan on which money waits."""
    return f"{settle_due()} reservations were decided."


@shared_task
def settle_loan(loan_id: int) -> str:
    """Apply one loan's rule at once, because money has cleared. Where the loan is busy, `settle` does it."""
    return f"{settle_one_loan(loan_id)} reservations were decided."


@shared_task
def deliver() -> str:
    """Send investors the e-mails and webhooks that are due."""
    done = deliveries.deliver_due()
    return f"{done.sent} messages were sent, {done.failed} failed and are tried again, {done.given_up} were given up."


@shared_task
def refresh_remaining() -> str:
    """Rebuild what Redis shows of each loan; list drift first."""
    done = refresh_remaining_cache()
    missing = "" if done.complete else " Redis is away; the rest comes from the database."
    return f"{done.loans} values were refreshed, {done.drifted} had drifted.{missing}"


@shared_task
def record_closing_values() -> str:
    """Keep the closing values of the banking days that have closed."""
    return f"{record_due_closing_values()} closing values are new."


@shared_task
def reconcile() -> str:
    """Recount everything and list each breach."""
    return f"{find_breaches()} breaches were found."


@shared_task
def forget() -> str:
    """Forget answers that are given no more, and tokens that ended long ago."""
    return f"{delete_old_idempotency_keys()} answers and {delete_ended_tokens()} tokens were forgotten."
