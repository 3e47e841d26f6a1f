"""Kill each job with SIGKILL while it writes, and run it again; run each job twice, and at the same time as itself.

The job runs in a process of its own. A trigger halts it at the row of the last of three loans, by an advisory lock that the test
holds. Batches are small, so the loans before are committed by then. The outcome must be that of an undisturbed run.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from threading import Barrier, Thread
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django_redis import get_redis_connection

from loans.audit.reconciliation import find_breaches
from loans.audit.verify_history import verify_loan_history
from loans.models import ClosingValue, Loan, Reservation, ReviewItem, Transfer, Transition
from loans.services import settlement
from loans.services.cache_refresh import refresh_remaining_cache
from loans.services.closing_values import record_due_closing_values
from loans.services.expiry import expire_due
from loans.services.settlement import settle_due
from tests.conftest import remove_committed_rows
from tests.factories import NOON, LoanFactory, funded, money_comes, pending, reserved

pytestmark = pytest.mark.django_db(transaction=True)

NOW = NOON + timedelta(days=8)
HALT = 20261122  # The advisory lock's number.
LONGEST_WAIT_SECONDS = 30
WAITING = f"""
    SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
    WHERE datname = current_database() AND locktype = 'advisory' AND objid = {HALT} AND NOT granted
"""

_CHILD = """
import sys, django
from datetime import datetime
from django.conf import settings
settings.DATABASES["default"]["NAME"] = sys.argv[1]
django.setup()
from loans.services import settlement
from tests.loans.services.test_killed_jobs import JOBS
settlement.BATCH_LOANS = 1
JOBS[sys.argv[2]].run(datetime.fromisoformat(sys.argv[3]))
"""


@pytest.fixture(autouse=True, scope="module")
def _small_batches() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settlement, "BATCH_LOANS", 1)
        yield


class Job:
    """How to run a job with small batches, and the table at whose row for the last loan it is halted."""

    def __init__(self, halts_at: str, run: Callable[[datetime], Any]) -> None:
        self.halts_at, self.run = halts_at, run


JOBS = {
    "expire": Job("loans_transition", lambda now: expire_due(now, batch=1)),
    "settle": Job("loans_transition", settle_due),
    "refresh_remaining": Job("loans_reviewitem", lambda now: refresh_remaining_cache(now, batch=1)),
    "record_closing_values": Job("loans_closingvalue", lambda now: record_due_closing_values(now, batch=1)),
    "reconcile": Job("loans_reviewitem", find_breaches),
}


def market() -> list[Loan]:
    """Make three loans, on each of which every job has something to do."""
    loans = [LoanFactory(amount=Decimal(10_000)) for _ in range(3)]
    for hours, loan in enumerate(loans):
        funded(loan, 2000)
        money_comes(pending(loan, 1500), 700)
        reserved(loan, 1000, now=NOON + timedelta(days=3, hours=hours))
        get_redis_connection("default").set(cache.make_key(f"remaining:{loan.pk}"), "999 0.01 1970-01-01T00:00:01.000000+00:00")
    return loans


def outcome(loans: list[Loan]) -> list[Any]:
    """Return all that a job can have changed of the loans, without ids and instants, which differ in each run."""
    return [[outcome_of(loan), shown(loan)] for loan in loans]


def outcome_of(loan: Loan) -> list[list[Any]]:
    of_loan = {"loan_id": loan.pk}
    return [
        list(Loan.objects.filter(pk=loan.pk).values_list("status", "settled", "claimed", "version")),
        list(Reservation.objects.filter(**of_loan).order_by("number").values_list("state", "cause", "settled_amount", "refunded")),
        sorted(Transfer.objects.filter(reservation__loan=loan).values_list("direction", "status", "amount")),
        sorted(Transition.objects.filter(**of_loan).values_list("event", "from_state", "to_state", "amount")),
        sorted(ClosingValue.objects.filter(**of_loan).values_list("day", "remaining", "settled", "claimed")),
        sorted(
            (kind, re.sub(r"\b(LN|T)-\w+", "", detail))
            for kind, detail in ReviewItem.objects.filter(**of_loan).values_list("kind", "detail")
        ),
    ]


def shown(loan: Loan) -> list[bytes]:
    return (get_redis_connection("default").get(cache.make_key(f"remaining:{loan.pk}")) or b"").split()[:2]


def undisturbed(job: Job) -> list[Any]:
    """Return the outcome of one run, and remove it."""
    loans = market()
    before = outcome(loans)
    job.run(NOW)
    after = outcome(loans)
    assert after != before
    remove_committed_rows()
    return after


@contextmanager
def halted(job: Job, loan: Loan) -> Iterator[None]:
    """Let everything that inserts a row of the loan into the job's table wait until the block ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [HALT])
        cursor.execute(f"""
            CREATE FUNCTION halt() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock({HALT}); RETURN NEW; END';
            CREATE TRIGGER halt BEFORE INSERT ON {job.halts_at} FOR EACH ROW WHEN (NEW.loan_id = {loan.pk}) EXECUTE FUNCTION halt()
        """)
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [HALT])
            wait_until(f"SELECT NOT EXISTS ({WAITING})")
            cursor.execute(f"DROP TRIGGER halt ON {job.halts_at}; DROP FUNCTION halt()")


def wait_until(question: str) -> None:
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute(question)
            if cursor.fetchone() == (True,):
                return
            time.sleep(0.02)
    pytest.fail(f"Not true within {LONGEST_WAIT_SECONDS} seconds: {question}")


def kill_in_the_middle(name: str, loan: Loan) -> None:
    command = [sys.executable, "-c", _CHILD, connection.settings_dict["NAME"], name, NOW.isoformat()]
    with halted(JOBS[name], loan):
        child = subprocess.Popen(command, env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"})
        try:
            wait_until(f"SELECT EXISTS ({WAITING})")
        finally:
            child.send_signal(signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL


def at_once(job: Job) -> None:
    together, failures = Barrier(2), []

    def run() -> None:
        try:
            together.wait()
            job.run(NOW)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)
        finally:
            connection.close()

    threads = [Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("name", JOBS)
def test_a_job_that_was_killed_while_it_wrote_finishes_when_it_runs_again(name: str) -> None:
    expected = undisturbed(JOBS[name])
    loans = market()
    untouched = outcome(loans)
    kill_in_the_middle(name, loans[-1])
    assert outcome(loans)[0] != untouched[0], "it had done something"
    JOBS[name].run(NOW)
    assert outcome(loans) == expected
    assert [differences for _, differences in verify_loan_history()] == [[], [], []]


@pytest.mark.parametrize("name", JOBS)
def test_a_job_that_runs_twice_at_once_and_once_more_has_the_outcome_of_one_run(name: str) -> None:
    expected = undisturbed(JOBS[name])
    loans = market()
    at_once(JOBS[name])
    JOBS[name].run(NOW)
    assert outcome(loans) == expected
    assert [differences for _, differences in verify_loan_history()] == [[], [], []]
