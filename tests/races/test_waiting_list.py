"""Let changes of a loan with a waiting list meet, with what keeps the order; and as a twin, without it.

With it, nobody overtakes, nobody is served twice, and every sum and history is right. The twin must go wrong.
"""

from collections.abc import Callable
from decimal import Decimal

import pytest

from loans.domain.errors import OverLimit
from loans.ledger import admission
from loans.models import Loan, Reservation, WaitingListEntry
from loans.services.expiry import expire_due
from loans.services.waiting_list import leave_waiting_list, serve_waiting_lists
from peerloans.database.prepared import Prepared
from peerloans.errors import Problem
from tests.factories import HOURS_24, NOON, InvestorFactory, LoanFactory, fresh, reserved, waiting
from tests.races.conftest import Call, outcome, together
from tests.races.test_investor_limits import held_up
from tests.races.test_races import JUST_BEFORE, breaches, cancel, reserve, start

pytestmark = pytest.mark.django_db(transaction=True)
both = pytest.mark.parametrize("lock", [True, False], ids=["locked", "twin"], indirect=True)


# --- A newcomer against those who wait: the counter on the loan's row ---------------------------------------------------
@pytest.mark.parametrize("counted", [True, False], ids=["counted", "twin"])
def test_a_newcomer_does_not_overtake_who_waits_before_the_job_has_served_the_list(counted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not counted:
        assert " + waiting_dollars" in admission._ADMIT
        monkeypatch.setattr(admission, "_ADMIT", Prepared(admission._ADMIT.replace(" + waiting_dollars", "")))
    loan = LoanFactory(overbooking_rate=Decimal(0))
    reserved(loan, 100_000)
    entry, later = waiting(loan, 100_000), NOON + HOURS_24
    expire_due(later)  # The dollars are free, and the list is not served yet.
    result = outcome(reserve(loan, amount=50_000, now=later))
    serve_waiting_lists(later)
    overtook = isinstance(result, Reservation)
    assert overtook == (not counted)
    assert isinstance(result, Reservation | OverLimit)
    assert fresh(entry).state == ("placed" if counted else "waiting")


def test_newcomers_who_find_what_lapsed_serve_the_list_before_themselves() -> None:
    """Eight newcomers at once want what lapsed. They get only what the list leaves."""
    loan, later = LoanFactory(overbooking_rate=Decimal(0)), NOON + HOURS_24
    reserved(loan, 100_000)
    entries = [waiting(loan, 30_000) for _ in range(3)]
    newcomers = [reserve(loan, amount=5_000, now=later) for _ in range(8)]
    results = held_up(loan, *newcomers)
    admitted = [result for result in results if isinstance(result, Reservation)]
    assert [fresh(entry).state for entry in entries] == ["placed"] * 3
    assert len(admitted) == 2
    assert all(isinstance(result, Reservation | Problem) for result in results), results
    assert breaches(loan) == []


# --- Two changes under the loan's lock ----------------------------------------------------------------------------------
def leave(entry: WaitingListEntry) -> Call:
    return lambda: leave_waiting_list(entry_id=entry.pk, investor=entry.investor, now=NOON)


def two_sources_of_room(loan: Loan) -> tuple[Call, Call]:
    held = reserved(loan, 60_000), reserved(loan, 60_000)
    for _ in range(2):
        waiting(loan, 60_000)
    return cancel(held[0]), cancel(held[1])


def leave_and_serve(loan: Loan) -> tuple[Call, Call]:
    held = reserved(loan, 60_000), reserved(loan, 60_000)
    return leave(waiting(loan, 60_000)), cancel(held[0])


def serve_and_leave(loan: Loan) -> tuple[Call, Call]:
    held = reserved(loan, 60_000), reserved(loan, 60_000)
    entry = waiting(loan, 60_000)
    return cancel(held[0]), leave(entry)


def two_join(loan: Loan) -> tuple[Call, Call]:
    reserved(loan, 100_000)
    reserved(loan, 20_000)
    investors = InvestorFactory(), InvestorFactory()
    return (lambda: waiting(loan, 10_000, investor=investors[0])), (lambda: waiting(loan, 10_000, investor=investors[1]))


def served_starts_and_expires_for_the_next(loan: Loan) -> tuple[Call, Call]:
    """The transfer of a served reservation starts at its last moment, when the job would serve the next."""
    reserved(loan, 100_000)
    held = reserved(loan, 20_000)
    served = waiting(loan, 20_000)
    waiting(loan, 20_000)
    cancel(held)()
    reservation = fresh(served).reservation
    return start(reservation, now=JUST_BEFORE), lambda: (expire_due(NOON + HOURS_24), serve_waiting_lists(NOON + HOURS_24))


PAIRS = [two_sources_of_room, leave_and_serve, serve_and_leave, two_join, served_starts_and_expires_for_the_next]


@both
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.__name__)
def test_two_changes_of_a_loan_with_a_list_leave_everything_right_under_the_lock_and_only_there(
    pair: Callable[[Loan], tuple[Call, Call]], lock: bool, meet
) -> None:
    loan = LoanFactory()
    first, second = pair(loan)
    faults = [result for result in meet(first, second) if isinstance(result, Exception) and not isinstance(result, Problem)]
    wrong = [*map(repr, faults), *breaches(loan)]
    assert wrong == [] if lock else wrong != [], wrong


# --- Many lists with the same investors: one order of locks -------------------------------------------------------------
def test_lists_of_many_loans_with_the_same_investors_are_served_at_once_without_a_deadlock() -> None:
    """Half of the lists have the investors in one order, half in the other. A deadlock would leave entries to the job."""
    investors = [InvestorFactory() for _ in range(4)]
    held = []
    for turn in range(4):
        loan = LoanFactory(overbooking_rate=Decimal(0))
        held.append(reserved(loan, 100_000))
        for investor in investors if turn % 2 else reversed(investors):
            waiting(loan, 10_000, investor=investor)
    results = together(*(cancel(reservation) for reservation in held))
    assert [result for result in results if isinstance(result, Exception)] == []
    assert not WaitingListEntry.objects.filter(state="waiting").exists()
    for investor in investors:
        assert fresh(investor).unfunded_at_most == 40_000
