"""Let openings meet each other, a change of an order, and a crowd, with the lock of the line and without it, as a twin.

With it, no order gets more than its cap or its investor's limit, and none is served after it was paused. The twin must go wrong.
"""

import itertools
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import Sum

from loans.ledger import locks, standing_orders, unit_of_work
from loans.models import Investor, Loan, Reservation, StandingOrder, StandingOrderTransition
from loans.services.loans import announce_loan, open_announced_loans, open_loan
from loans.services.reservations import reserve
from loans.services.standing_orders import end_standing_order, pause_standing_order
from peerloans.errors import Problem
from tests.factories import NOON, STAFF, DraftFactory, InvestorFactory, standing_order
from tests.races.conftest import LONGEST_WAIT_SECONDS, WAIT_UNDER_LOCK_SECONDS, Call, outcome, together
from tests.races.test_races import breaches

pytestmark = pytest.mark.django_db(transaction=True)
both = pytest.mark.parametrize("lock", [True, False], ids=["locked", "twin"], indirect=True)


def opening(loan: Loan) -> Call:
    return lambda: open_loan(reference=loan.reference, actor=STAFF, now=NOON)


@pytest.fixture
def meet_in_line(lock: bool, monkeypatch: pytest.MonkeyPatch) -> Callable[[Call, Call], list[Any]]:
    """Run the second call when the first, an opening, has decided on the line and not yet written. The twin does not lock the line."""
    if not lock:
        monkeypatch.setattr(locks, "lock_standing_orders", lambda: None)
        monkeypatch.setattr(locks, "lock_investors", lambda investor_ids: None)
    decided, second_done, decide = threading.Event(), threading.Event(), standing_orders.due_outcomes
    first = threading.local()

    def decide_and_wait(*args: Any) -> Any:
        results = decide(*args)
        if getattr(first, "is_it", False):
            decided.set()
            second_done.wait(WAIT_UNDER_LOCK_SECONDS if lock else LONGEST_WAIT_SECONDS)
        return results

    monkeypatch.setattr(unit_of_work, "due_outcomes", decide_and_wait)

    def run(one: Call, other: Call) -> list[Any]:
        def begin() -> Any:
            first.is_it = True
            return one()

        def follow() -> Any:
            assert decided.wait(LONGEST_WAIT_SECONDS)
            try:
                return other()
            finally:
                second_done.set()

        return together(begin, follow)

    return run


@both
def test_two_openings_give_an_order_no_more_than_its_cap(lock: bool, meet_in_line) -> None:
    order = standing_order(10_000, at_least=5_000, cap=15_000)
    loans = DraftFactory(), DraftFactory()
    results = meet_in_line(*map(opening, loans))
    assert [result for result in results if isinstance(result, Exception)] == []
    given = Reservation.objects.filter(standing_order=order).aggregate(total=Sum("amount"))["total"]
    assert given == (15_000 if lock else 20_000)
    assert all(breaches(loan) == [] for loan in loans)


@both
def test_two_openings_leave_an_investor_within_the_limit(lock: bool, meet_in_line) -> None:
    investor = InvestorFactory(unfunded_limit=15_000)
    standing_order(10_000, investor=investor)
    results = meet_in_line(opening(DraftFactory()), opening(DraftFactory()))
    assert [result for result in results if isinstance(result, Exception)] == []
    held = Reservation.objects.filter(investor=investor).aggregate(total=Sum("amount"))["total"]
    assert held == (15_000 if lock else 20_000)


@both
@pytest.mark.parametrize("change", [pause_standing_order, end_standing_order])
def test_an_order_is_not_served_after_it_was_paused_or_ended(change: Callable[..., StandingOrder], lock: bool, meet_in_line) -> None:
    order = standing_order()
    results = meet_in_line(opening(DraftFactory()), lambda: change(order_id=order.pk, investor=order.investor, now=NOON))
    assert [result for result in results if isinstance(result, Exception)] == []
    events = list(StandingOrderTransition.objects.order_by("id").values_list("from_state", "to_state"))
    follow = all(before[1] == after[0] for before, after in itertools.pairwise(events))
    assert follow == lock


@both
def test_openings_that_move_orders_to_the_end_give_each_a_place_of_its_own(lock: bool, meet_in_line) -> None:
    for _ in range(3):
        standing_order(30_000, at_least=30_000)
    results = meet_in_line(opening(DraftFactory()), opening(DraftFactory()))
    # The first serves one of them, which moves to the end; the second begins with the next. Without the lock both serve the first.
    served = [int(place) for place in Reservation.objects.values_list("standing_order__place", flat=True)]
    right = not any(isinstance(result, Exception) for result in results) and len(set(served)) == 2
    assert right == lock


# --- The instant of an opening ------------------------------------------------------------------------------------------
def test_a_crowd_at_the_door_reserves_only_what_standing_orders_leave() -> None:
    """The loan opens while twelve investors ask for all that everybody can have, and standing orders have the rest."""
    orders = [standing_order(25_000) for _ in range(2)]
    draft = DraftFactory(overbooking_rate=Decimal(0))
    crowd = [InvestorFactory() for _ in range(12)]

    def ask(investor: Investor) -> Call:
        def until_it_opens() -> Any:
            for _ in range(200):
                result = outcome(lambda: reserve(reference=draft.reference, investor=investor, amount=Decimal(10_000), now=NOON))
                if not (isinstance(result, Problem) and result.code in {"not_found", "loan_not_open", "busy"}):
                    return result
            return result

        return until_it_opens

    results = together(*map(ask, crowd), opening(draft))
    admitted = [result for result in results if isinstance(result, Reservation)]
    assert all(isinstance(result, Reservation | Loan | Problem) for result in results), results
    assert len(admitted) == 5
    numbers = dict(Reservation.objects.values_list("number", "standing_order"))
    assert [numbers[1], numbers[2]] == [order.pk for order in orders]
    assert breaches(draft) == []


def test_the_job_opens_a_loan_once_though_it_runs_twice_at_once() -> None:
    order = standing_order()
    loan = announce_loan(reference=DraftFactory().reference, opens_at=NOON.replace(hour=23), actor=STAFF, now=NOON)
    later = NOON.replace(hour=23, minute=1)
    assert sorted(together(*[lambda: open_announced_loans(later)] * 4)) == [0, 0, 0, 1]
    assert order.transitions.filter(loan=loan).count() == 1
    assert breaches(loan) == []
