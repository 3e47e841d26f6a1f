"""Send the job of one loan, and keep one bad loan from stopping a job for all."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from celery import current_app
from celery.exceptions import SoftTimeLimitExceeded
from django.db import InterfaceError, OperationalError, transaction

from loans.ledger.review_items import open_review_item
from peerloans.database.clock import database_now
from peerloans.errors import Problem

# The jobs of one loan. The schedules do the same for all loans each few minutes, so nothing is lost with a message.
SERVE_TASK = "loans.tasks.serve_waiting_list"
SETTLE_TASK = "loans.tasks.settle_loan"

logger = logging.getLogger(__name__)


def send_after_commit(task: str, loan_id: int) -> None:
    """Send the job of this name for the loan, after this transaction has committed."""

    def send() -> None:
        current_app.send_task(task, [loan_id])

    transaction.on_commit(send, robust=True)


@contextmanager
def skip_loan_on_failure(loan_id: int, failure: str, now: datetime | None) -> Iterator[None]:
    """Let a job go on with other loans where the block fails for this one.

    Where the loan is busy, has changed since it was listed, or the database cannot be reached, that is only logged: the next run looks at
    the loan again. Any other error opens a review item.

    `failure` says what was not done, as in "It could not be settled".

    Raises:
        SoftTimeLimitExceeded: the job has run too long; this loan is not the cause.
    """
    try:
        yield
    except SoftTimeLimitExceeded:
        raise
    except (Problem, OperationalError, InterfaceError) as error:
        logger.warning("Loan %s is left for the next run. %s: %s", loan_id, failure, error)
    except Exception as error:
        logger.exception("Loan %s is left out. %s", loan_id, failure)
        open_review_item("job_failed", f"{failure}: {error}", at=database_now(now), loan_id=loan_id)
