"""The values that are kept of a long history lead to the same curve as the history, wherever one ends and the other begins."""

from datetime import timedelta
from typing import Any

import pytest

from loans.models import FillValue, Loan, Transition
from loans.selectors.fill_curve import loan_fill_curve
from loans.selectors.offers import loan_offer
from loans.services.fill_values import record_new_fill_values
from tests import factories
from tests.factories import NOON, LoanFactory
from tests.loans.audit.test_replay import everything_happens
from tests.races.conftest import together

pytestmark = pytest.mark.django_db
END = NOON + timedelta(days=30)


def history_until_here(loan: Loan) -> list[Transition]:
    return list(Transition.objects.filter(loan=loan, transfer=None).exclude(event="lost").order_by("id"))


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 1_000])
def test_what_is_kept_is_what_history_adds_up_to(batch: int) -> None:
    loan = everything_happens()
    offer = loan_offer(loan.reference, END)
    from_history = loan_fill_curve(offer)
    assert record_new_fill_values(least_new=1, batch=batch) == FillValue.objects.count() > 3
    assert FillValue.objects.latest("transition_id").transition_id == history_until_here(loan)[-1].pk
    assert loan_fill_curve(offer) == from_history


def test_history_after_what_is_kept_is_read_on() -> None:
    loan = LoanFactory()
    reservations = [factories.pending(loan, 5_000 + 1_000 * n, now=NOON + timedelta(hours=n)) for n in range(5)]
    record_new_fill_values(least_new=1)
    number = FillValue.objects.count()
    factories.money_comes(reservations[1], now=NOON + timedelta(hours=6))
    factories.money_fails(reservations[2], now=NOON + timedelta(hours=7))
    factories.reserved(loan, 3_000, now=NOON + timedelta(hours=8))
    offer = loan_offer(loan.reference, NOON + timedelta(hours=9))
    with_kept = loan_fill_curve(offer)
    assert FillValue.objects.count() == number
    FillValue.objects.all().delete()
    assert with_kept == loan_fill_curve(offer)
    assert (with_kept[-1].pending, with_kept[-1].reserved) == (5_000 + 6_000 + 8_000 + 9_000, 3_000)


def test_a_short_history_is_not_kept() -> None:
    everything_happens()
    assert record_new_fill_values() == 0


def test_the_transitions_of_a_waiting_list_are_no_reason_to_look_again(django_assert_max_num_queries: Any) -> None:
    loan = LoanFactory(overbooking_rate=0)
    factories.reserved(loan, loan.amount)
    record_new_fill_values(least_new=1)
    for _ in range(3):
        factories.waiting(loan, 1_000)
    with django_assert_max_num_queries(1):
        assert record_new_fill_values(least_new=1) == 0


def test_a_repeat_keeps_nothing_new() -> None:
    everything_happens()
    assert record_new_fill_values(least_new=1) > 0
    assert record_new_fill_values(least_new=1) == 0


@pytest.mark.django_db(transaction=True)
def test_two_runs_at_once_keep_the_same() -> None:
    loan = everything_happens()
    offer = loan_offer(loan.reference, END)
    from_history = loan_fill_curve(offer)
    together(*[lambda: record_new_fill_values(least_new=1, batch=2)] * 3)
    assert loan_fill_curve(offer) == from_history
