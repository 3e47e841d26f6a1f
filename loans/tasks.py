"""The background jobs. Each calls one service, and returns the line that the worker logs, at level DEBUG if every count in it is 0.

A job may run late, twice, or at the same time as itself; a worker acknowledges it at its end, so that the job of a killed worker is
handed out again. `loans/migrations/0003_schedules.py` writes the default schedules into the database, and staff edit them in the admin.
"""

from celery import shared_task

from loans.audit import history_chain
from loans.audit.reconciliation import find_breaches
from loans.notifications import deliveries, watches
from loans.services import overbooking, statement_imports
from loans.services.cache_refresh import refresh_remaining_cache
from loans.services.closing_values import record_due_closing_values
from loans.services.expiry import expire_due
from loans.services.fill_values import record_new_fill_values
from loans.services.loans import open_announced_loans
from loans.services.markets import resolve_loan_markets
from loans.services.retention import delete_ended_access_data, delete_old_idempotency_keys
from loans.services.settlement import settle_due, settle_one_loan
from loans.services.waiting_list import serve_waiting_list as serve_list
from loans.services.waiting_list import serve_waiting_lists as serve_lists


@shared_task
def expire() -> str:
    """Cancel the reservations that have lapsed, then serve the waiting lists from what that has freed."""
    expired, served = expire_due(), serve_lists()
    return f"{expired} lapsed reservations were canceled, {served} entries of waiting lists became reservations."


@shared_task
def serve_waiting_lists() -> str:
    """Serve each waiting list whose loan has dollars for it."""
    return f"{serve_lists()} entries became reservations."


@shared_task
def serve_waiting_list(loan_id: int) -> str:
    """Serve one loan's waiting list at once, because a transaction has left entries over."""
    return f"{serve_list(loan_id)} entries became reservations."


@shared_task
def open_announced() -> str:
    """Open the announced loans whose opening has come, and serve their standing orders."""
    return f"{open_announced_loans()} loans were opened."


@shared_task
def settle() -> str:
    """Apply the settlement rule of each loan on which money waits."""
    return f"{settle_due()} reservations were decided."


@shared_task
def settle_loan(loan_id: int) -> str:
    """Apply one loan's rule at once, because money has cleared. If the loan is locked, the next run of `settle` does it."""
    return f"{settle_one_loan(loan_id)} reservations were decided."


@shared_task
def deliver() -> str:
    """Send investors the e-mails and webhooks that are due."""
    done = deliveries.deliver_due()
    return f"{done.sent} messages were sent, {done.failed} failed and are tried again, {done.given_up} were given up."


@shared_task
def notify_watchers() -> str:
    """Make the e-mails to those who watch a loan that has opened, or of which dollars are available again."""
    return f"{watches.notify_watchers()} e-mails to watchers were made."


@shared_task
def refresh_remaining() -> str:
    """Write what remains of each loan to Redis anew; list what differed for staff first."""
    done = refresh_remaining_cache()
    missing = "" if done.complete else " Redis cannot be reached; the rest comes from the database."
    return f"{done.loans} values were refreshed, {done.drifted} had drifted.{missing}"


@shared_task
def record_closing_values() -> str:
    """Record the closing values that are missing of banking days that have closed."""
    return f"{record_due_closing_values()} closing values are new."


@shared_task
def set_overbooking_by_evidence() -> str:
    """Set the overbooking rates of the open loans that follow the evidence."""
    return f"{overbooking.set_overbooking_by_evidence()} overbooking rates changed."


@shared_task
def record_fill_values() -> str:
    """Keep how loans with a long history filled, so that their pages need not read it."""
    return f"{record_new_fill_values()} values are new."


@shared_task
def reconcile() -> str:
    """Check every invariant and list each breach for staff."""
    return f"{find_breaches()} breaches were found."


@shared_task
def run_statement_import(import_id: int) -> str:
    """Check one bank statement, or book it."""
    return statement_imports.run_import(import_id)


@shared_task
def dispatch_statement_imports() -> str:
    """Send to the workers those bank statements whose worker or message was lost."""
    statement_imports.fail_exhausted_imports()
    import_ids = statement_imports.stalled_imports()
    for import_id in import_ids:
        run_statement_import.delay(import_id)
    return f"{len(import_ids)} bank statements were dispatched."


@shared_task
def resolve_markets() -> str:
    """Set the market of each loan by the ZIP data in use, where an activation has not done so."""
    return f"{resolve_loan_markets()} markets were changed."


@shared_task
def chain_history() -> str:
    """Seal the new transitions of history in blocks that are chained by hash."""
    return f"{history_chain.chain_history()} transitions were chained."


@shared_task
def delete_old_records() -> str:
    """Delete idempotency keys that no repeat may use any more, and tokens that ended long ago."""
    return f"{delete_old_idempotency_keys()} idempotency keys and {delete_ended_access_data()} tokens were deleted."
