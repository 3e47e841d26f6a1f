"""Let a job run into its soft time limit in the middle of a statement: it ends as failed, and no loan is blamed for it."""

import signal
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection

from loans.models import Loan, ReviewItem, Transition
from loans.services.expiry import expire_due
from loans.services.settlement import settle_due, settle_one_loan
from tests.factories import HOURS_24, NOON, LoanFactory, funded, reserved

LIMIT_SECONDS = 0.5
SLOW = """
    CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(2); RETURN NEW; END';
    CREATE TRIGGER be_slow BEFORE INSERT ON loans_transition FOR EACH STATEMENT EXECUTE FUNCTION be_slow()
"""
LATER = NOON + HOURS_24 + timedelta(hours=1)

Job = Callable[[datetime], Any]


@pytest.fixture
def soft_time_limit() -> Iterator[None]:
    """Raise SoftTimeLimitExceeded in this thread by a signal, as a worker does; history is too slow to be written in time."""

    def exceed(*_: object) -> None:
        raise SoftTimeLimitExceeded

    with connection.cursor() as cursor:
        cursor.execute(SLOW)
    former = signal.signal(signal.SIGALRM, exceed)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_SECONDS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, former)
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER be_slow ON loans_transition; DROP FUNCTION be_slow()")


def settle_the_loan(now: datetime) -> int:
    return settle_one_loan(Loan.objects.get().pk, now)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("job", [settle_due, settle_the_loan, expire_due])
def test_a_job_that_runs_too_long_fails_and_blames_no_loan(job: Job, request: pytest.FixtureRequest) -> None:
    loan = LoanFactory()
    funded(loan, 10_000)
    reserved(loan, 10_000)
    history = Transition.objects.count()
    request.getfixturevalue("soft_time_limit")
    with pytest.raises(SoftTimeLimitExceeded):
        job(LATER)
    connection.close()  # as a worker does after each task; the statement may still be running in it
    assert not ReviewItem.objects.exists()
    assert Transition.objects.count() == history
