"""A transaction takes its ids of history early and commits late, while the chain is made: with the wait for writers, and without it.

With the wait, every transition is in a block when the late one has committed. The twin must leave it behind the chain.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import transaction

from loans.audit import history_chain
from loans.audit.history_chain import chain_history, check_chain
from loans.models import Loan, Transition
from tests import factories
from tests.factories import LoanFactory
from tests.races.conftest import outcome, together

pytestmark = pytest.mark.django_db(transaction=True)
SHORT_SECONDS = 0.2


def chain_while_an_older_transition_is_not_committed() -> int:
    """Return how many transitions were chained before the older one's transaction ended."""
    early, late = LoanFactory(), LoanFactory()
    with transaction.atomic():
        factories.reserved(early)
        (chained,) = together(lambda: (factories.reserved(late), chain_history(wait_seconds=SHORT_SECONDS))[1])
    return int(chained)


def test_no_transition_is_left_behind_the_chain() -> None:
    assert chain_while_an_older_transition_is_not_committed() == 0
    assert chain_history() == Transition.objects.count() == 6
    assert (check_chain().fault, check_chain().unchained) == ("", 0)


def test_without_the_wait_one_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_chain, "_writers", set)
    assert chain_while_an_older_transition_is_not_committed() == 5
    assert "5 transitions were chained, 6 are there" in check_chain().fault


def test_the_run_waits_for_a_writer_that_ends_in_time() -> None:
    loan = LoanFactory()
    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():
            factories.reserved(loan)
            chained = thread.submit(outcome, chain_history)
            with pytest.raises(TimeoutError):
                chained.result(SHORT_SECONDS)
        assert chained.result() == Transition.objects.exclude(event="reserved").count()
    assert check_chain().fault == ""
    assert chain_history() == 1


def test_a_writer_of_other_tables_is_not_waited_for() -> None:
    early = LoanFactory()
    with transaction.atomic():
        Loan.objects.filter(pk=early.pk).update(title="Five flats")
        assert together(chain_history) == [2]
