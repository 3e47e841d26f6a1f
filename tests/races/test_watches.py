"""Two runs tell the same watchers, and one investor watches two loans at once: with the lock, and as a twin without it."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import transaction

from loans.domain.errors import Invalid
from loans.models import Delivery
from loans.notifications import watches as job
from loans.notifications.watches import notify_watchers
from loans.selectors.watches import watches_of
from loans.services import watches
from loans.services.watches import watch_loan
from tests.factories import NOON, InvestorFactory, LoanFactory
from tests.loans.notifications.test_watches import full_loan, give_up, minutes, watching
from tests.races.conftest import Call, outcome

pytestmark = pytest.mark.django_db(transaction=True)
both = pytest.mark.parametrize("locked", [True, False], ids=["locked", "twin"])
SHORT_SECONDS = 0.3


def beside(first: Call, second: Call) -> tuple[Any, Any]:
    """Run the second call while the first one's transaction has not ended. If the second waits, let the first end."""
    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():
            result = first()
            other = thread.submit(outcome, second)
            with contextlib.suppress(TimeoutError):
                other.result(SHORT_SECONDS)
        return result, other.result()


@both
def test_two_runs_at_once_make_one_email(locked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not locked:
        lock = "FOR UPDATE OF watch SKIP LOCKED"
        assert lock in job._NOTIFY
        monkeypatch.setattr(job, "_NOTIFY", job._NOTIFY.replace(lock, ""))
    loan, held = full_loan()
    watching(loan)
    give_up(held, minutes(1))
    watches.note_availability(None, minutes(2))  # so that the runs meet where they write to the watchers
    results = beside(lambda: notify_watchers(minutes(2)), lambda: notify_watchers(minutes(2)))
    assert results == ((1, 0) if locked else (1, 1))
    assert Delivery.objects.exclude(watch_notice=None).count() == sum(results)
    assert notify_watchers(minutes(3)) == 0


@both
def test_the_last_free_watch_is_given_once(locked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "MOST_WATCHES", 1)
    if not locked:
        monkeypatch.setattr(watches, "lock_investors", lambda investor_ids: None)
    kim, loans = InvestorFactory(), [LoanFactory(), LoanFactory()]
    calls = [lambda loan=loan: watch_loan(investor_id=kim.pk, reference=loan.reference, now=NOON) for loan in loans]
    _, second = beside(*calls)
    assert isinstance(second, Invalid) == locked
    assert watches_of(kim.pk).count() == (1 if locked else 2)


def test_two_clicks_at_once_are_one_watch() -> None:
    kim, loan = InvestorFactory(), LoanFactory()

    def click() -> None:
        watch_loan(investor_id=kim.pk, reference=loan.reference, now=NOON)

    assert beside(click, click) == (None, None)
    assert watches_of(kim.pk).count() == 1
