"""Let one investor do several things at the same moment, on one loan and on many; and as a twin, without what excludes that.

With it, no limit is exceeded and no deadlock happens. The twin must go wrong; otherwise the test could not fail.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from threading import Thread
from typing import Any

import pytest
from django.db import connection
from psycopg.errors import DeadlockDetected

from loans.domain.errors import InvestorLimit
from loans.ledger import admission
from loans.models import Investor, Loan, Reservation
from loans.selectors.investor_limits import unfunded_dollars
from loans.services.expiry import expire_due
from loans.services.settlement import settle_due
from loans.services.staff_overrides import reinstate_reservation
from peerloans.database.prepared import Prepared
from tests.factories import HOURS_24, NOON, STAFF, InvestorFactory, LoanFactory, canceled, funded, reserved
from tests.races.conftest import LONGEST_WAIT_SECONDS, Call, together
from tests.races.test_races import breaches, cancel, reserve

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def holding(row: Loan | Investor) -> Iterator[None]:
    """Hold the row's lock."""
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(f"SELECT FROM {row._meta.db_table} WHERE id = %s FOR UPDATE", [row.pk])
        yield
    finally:
        other.close()


def wait_until_waiting(calls: int) -> None:
    """Wait until so many calls wait for a lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND state = 'active'"
    end = time.monotonic() + LONGEST_WAIT_SECONDS
    with connection.cursor() as cursor:
        while True:
            cursor.execute(waiting)
            if cursor.fetchone()[0] >= calls:
                return
            assert time.monotonic() < end, "the calls never came to the lock"
            time.sleep(0.01)


def held_up(row: Loan | Investor, *calls: Call, meanwhile: Call = lambda: None) -> list[Any]:
    """Let all calls come to the lock of the row with what they have counted before, do something else, and let them go on."""
    results: list[Any] = []
    runner = Thread(target=lambda: results.extend(together(*calls)))
    with holding(row):
        runner.start()
        wait_until_waiting(len(calls))
        meanwhile()
    runner.join()
    return results


@pytest.fixture
def lock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the investor's version is compared, and changed by what counts more. The twin of a test runs without."""
    if not request.param:
        compared = " AND loans_investor.version = investor_use.version"
        assert compared in admission._ADMIT
        monkeypatch.setattr(admission, "_ADMIT", Prepared(admission._ADMIT.replace(compared, "")))
    return bool(request.param)


both = pytest.mark.parametrize("lock", [True, False], ids=["locked", "twin"], indirect=True)


@both
@pytest.mark.parametrize("loans", [1, 8])
def test_one_investor_who_reserves_eight_times_at_once_stays_within_the_limit(loans: int, lock: bool) -> None:
    investor = InvestorFactory(unfunded_limit=Decimal(10_000))
    wanted = [LoanFactory() for _ in range(loans)] * (8 // loans)
    # On one loan, the calls wait for the loan; on eight, for the investor.
    results = held_up(wanted[0] if loans == 1 else investor, *(reserve(loan, investor, 3_000) for loan in wanted))
    admitted = [result for result in results if isinstance(result, Reservation)]
    refused = [result for result in results if isinstance(result, InvestorLimit)]
    assert len(admitted) + len(refused) == 8, results
    if lock:
        assert (len(admitted), unfunded_dollars(investor.pk, NOON)) == (3, 9_000)
    else:
        assert unfunded_dollars(investor.pk, NOON) > 10_000
    assert [breaches(loan) for loan in set(wanted)] == [[]] * loans


@both
def test_the_share_of_a_loan_holds_too(lock: bool) -> None:
    loan, investor = LoanFactory(investor_share=Decimal("0.05")), InvestorFactory()
    held_up(loan, *[reserve(loan, investor, 2_000)] * 4)
    assert (unfunded_dollars(investor.pk, NOON) <= 5_000) == lock


@both
def test_a_reservation_that_waits_sees_what_its_investor_cancels_meanwhile(lock: bool) -> None:
    loan, investor = LoanFactory(), InvestorFactory(let_go_limit=1)
    last = reserved(LoanFactory(), 1_000, investor=investor)
    (result,) = held_up(loan, reserve(loan, investor, 1_000), meanwhile=cancel(last))
    assert isinstance(result, InvestorLimit if lock else Reservation), result


@both
def test_a_reservation_that_waits_sees_what_staff_reinstate_meanwhile(lock: bool) -> None:
    loan, investor = LoanFactory(), InvestorFactory(unfunded_limit=Decimal(10_000))
    other = canceled(LoanFactory(), 10_000, investor=investor)
    Investor.objects.update(unfunded_at_most=0)  # as when the dollars have been counted anew

    def reinstate() -> None:
        reinstate_reservation(reservation_id=other.pk, actor=STAFF, reason="a race", now=NOON)

    (result,) = held_up(loan, reserve(loan, investor, 1_000), meanwhile=reinstate)
    assert isinstance(result, InvestorLimit if lock else Reservation), result


def test_cancels_reservations_and_jobs_of_the_same_investors_on_many_loans_never_deadlock() -> None:
    loans, investors = [LoanFactory() for _ in range(6)], [InvestorFactory() for _ in range(4)]
    own = [reserved(loan, 1_000, now=NOON - HOURS_24, investor=investor) for loan in loans for investor in investors]
    live = [reserved(loan, 1_000, investor=investor) for loan in loans for investor in investors]
    for loan, investor in zip(loans, investors * 2, strict=False):
        funded(loan, 2_000, investor=investor)
    calls: list[Call] = [lambda: expire_due(NOON, batch=5), lambda: settle_due(NOON)] * 2
    calls += [reserve(loan, investor, 1_000) for loan in loans for investor in investors]
    calls += [cancel(reservation) for reservation in live]
    results = together(*calls)
    causes = [getattr(result.__cause__, "__cause__", None) for result in results if isinstance(result, Exception)]
    assert [cause for cause in causes if isinstance(cause, DeadlockDetected)] == []
    assert [result for result in results if isinstance(result, Exception) and not isinstance(result, InvestorLimit)] == []
    expire_due(NOON)  # what another run held is left for the next one
    assert not Reservation.objects.filter(pk__in=[reservation.pk for reservation in own]).exclude(cause="expired").exists()
    assert [breaches(loan) for loan in loans] == [[]] * len(loans)
