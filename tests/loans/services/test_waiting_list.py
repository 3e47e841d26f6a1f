"""Waiting lists: who joins, who is served by what, how an entry ends, and that nobody overtakes."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from loans.domain.actors import Actor
from loans.domain.errors import BelowMinimum, IllegalTransition, Invalid, InvestorLimit, LoanNotOpen, NotAccredited, NotFound, OverLimit
from loans.domain.overbooking import OverbookingPolicy
from loans.ledger import waiting_list as ledger_waiting_list
from loans.models import Investor, Loan, Reservation, Transition, WaitingListEntry
from loans.selectors.offers import loan_offer
from loans.selectors.waiting_list import places_of
from loans.services.expiry import expire_due
from loans.services.loans import extend_loan, withdraw_loan
from loans.services.overbooking import set_overbooking
from loans.services.reservations import cancel_reservation
from loans.services.settlement import settle_loans
from loans.services.staff_overrides import cancel_by_staff, reinstate_reservation
from loans.services.waiting_list import leave_waiting_list, remove_from_waiting_list, serve_waiting_lists
from tests.factories import (
    HOURS_24,
    NOON,
    STAFF,
    DraftFactory,
    InvestorFactory,
    LoanFactory,
    canceled,
    fresh,
    funded,
    money_fails,
    reserved,
    settled,
    start_transfer,
    waiting,
)

pytestmark = pytest.mark.django_db
BY_STAFF: dict[str, Any] = {"actor": STAFF, "reason": "a test"}
HOUR = timedelta(hours=1)
LATER = NOON + HOURS_24


def full_loan() -> Loan:
    """Return a loan of $100,000 without overbooking, all of which is claimed by one reservation until LATER."""
    loan = LoanFactory(overbooking_rate=Decimal(0))
    reserved(loan, 100_000)
    return loan


def line(loan: Loan) -> list[tuple[int, str, int]]:
    """The list: number, state and dollars of each entry, or of the reservation that it became."""
    entries = WaitingListEntry.objects.filter(loan=loan).select_related("reservation").order_by("number")
    return [(entry.number, entry.state, int(entry.reservation.amount if entry.reservation else entry.amount)) for entry in entries]


def totals(loan: Loan) -> tuple[int, int, int]:
    loan = fresh(loan)
    return int(loan.claimed), int(loan.waiting_dollars), loan.waiting_entries


# --- Join ---------------------------------------------------------------------------------------------------------------
def test_who_joins_a_full_loan_waits_with_a_place_and_history(locks_first) -> None:
    loan, investor = full_loan(), InvestorFactory()
    waiting(loan, 5_000)
    with locks_first():
        entry = waiting(loan, "10000.00", at_least="2000.00", investor=investor)
    assert (entry.state, entry.number, entry.joined_at, entry.reservation_id) == ("waiting", 2, NOON, None)
    assert places_of([entry.pk]) == {entry.pk: (2, Decimal(5_000))}
    assert totals(loan) == (100_000, 15_000, 2)
    transition = Transition.objects.get(waiting_entry=entry)
    assert (transition.event, transition.from_state, transition.to_state, transition.amount) == ("joined", "", "waiting", 10_000)
    assert (transition.actor, transition.user_id, transition.reservation_id) == ("investor", investor.user_id, None)


def test_joining_a_loan_with_room_and_no_list_makes_the_reservation_at_once() -> None:
    loan, investor = LoanFactory(), InvestorFactory()
    entry = waiting(loan, 10_000, investor=investor)
    assert entry.state == "placed"
    assert entry.reservation
    assert (entry.reservation.state, entry.reservation.amount, entry.reservation.expires_at) == ("reserved", 10_000, LATER)
    assert totals(loan) == (10_000, 0, 0)
    assert fresh(investor).unfunded_at_most == 10_000
    events = Transition.objects.filter(loan=loan).order_by("id").values_list("event", flat=True)
    assert list(events) == ["created", "opened", "joined", "reserved", "placed"]


def test_an_investor_waits_once_for_each_loan() -> None:
    loan, investor = full_loan(), InvestorFactory()
    entry = waiting(loan, 5_000, investor=investor)
    assert waiting(loan, 5_000, investor=investor, now=NOON + HOUR) == entry
    with pytest.raises(IllegalTransition, match=r"You wait for \$5,000\.00"):
        waiting(loan, 6_000, investor=investor)
    assert line(loan) == [(1, "waiting", 5_000)]
    assert waiting(full_loan(), 5_000, investor=investor).state == "waiting"


@pytest.mark.parametrize(
    ("amount", "at_least", "problem"),
    [("999.99", None, BelowMinimum), (5_000, 999, BelowMinimum), (5_000, 5_001, Invalid), (100_001, 1_000, Invalid)],
)
def test_amounts_that_cannot_wait(amount: Any, at_least: Any, problem: type[Exception]) -> None:
    loan = full_loan()
    with pytest.raises(problem):
        waiting(loan, amount, at_least=at_least)
    assert (line(loan), totals(loan)) == ([], (100_000, 0, 0))


def test_who_may_not_reserve_may_not_wait() -> None:
    loan = full_loan()
    with pytest.raises(NotAccredited):
        waiting(loan, investor=InvestorFactory(accredited_until=date(2026, 6, 30)))
    with pytest.raises(InvestorLimit):
        waiting(loan, investor=InvestorFactory(unfunded_limit=Decimal(5_000)))
    with pytest.raises(LoanNotOpen):
        waiting(loan, now=NOON + timedelta(weeks=3))
    with pytest.raises(NotFound):
        waiting(DraftFactory())
    with pytest.raises(ValueError, match="decimal places"):
        waiting(loan, "5000.001")


# --- Nobody overtakes ---------------------------------------------------------------------------------------------------
def test_what_waits_is_available_to_nobody_else() -> None:
    loan = LoanFactory(overbooking_rate=Decimal(0))
    held = reserved(loan, 30_000)
    canceled_before = canceled(loan, 1_000)
    reserved(loan, 60_000)
    waiting(loan, 30_000)  # $10,000 are available, and it takes no less than it wants.
    assert loan_offer(loan.reference, NOON).available == 0
    with pytest.raises(OverLimit, match="1 on its waiting list come first") as refusal:
        reserved(loan, 1_000)
    assert refusal.value.data["waiting_list"] == {"entries": 1, "dollars": Decimal(30_000)}
    assert (refusal.value.data["available"], refusal.value.data["available_then"]) == (0, 70_000)
    with pytest.raises(OverLimit):
        reinstate_reservation(reservation_id=canceled_before.pk, now=NOON, **BY_STAFF)
    # With $40,000, the list has its 30,000, and the rest is everybody's.
    cancel_by_staff(reservation_id=held.pk, now=NOON, **BY_STAFF)
    assert line(loan) == [(1, "placed", 30_000)]
    assert loan_offer(loan.reference, NOON).available == 10_000
    reserved(loan, 10_000)


def test_a_refusal_promises_no_dollars_that_the_list_takes_first() -> None:
    loan = LoanFactory(overbooking_rate=Decimal(0))
    reserved(loan, loan.amount)
    with pytest.raises(OverLimit, match=r"After .* may be available"):
        reserved(loan, 1_000)
    waiting(loan, loan.amount)
    with pytest.raises(OverLimit) as refusal:
        reserved(loan, 1_000)
    assert refusal.value.data["available_then"] == 0
    assert str(refusal.value).endswith("1 on its waiting list come first.")


def test_a_newcomer_gets_what_lapsed_only_behind_the_list() -> None:
    """Nothing has swept the reservation that lapsed. The newcomer's request does, and serves the list before it."""
    loan = full_loan()
    waiting(loan, 30_000)
    with pytest.raises(OverLimit):
        reserved(loan, "70000.01", now=LATER)
    assert line(loan) == [(1, "waiting", 30_000)]  # a refusal writes nothing
    newcomer = reserved(loan, 70_000, now=LATER)
    assert line(loan) == [(1, "placed", 30_000)]
    assert (newcomer.number, totals(loan)) == (3, (100_000, 0, 0))


# --- What frees room serves the list ------------------------------------------------------------------------------------
def by_cancellation(loan: Loan, reservation: Reservation) -> None:
    actor = Actor("investor", reservation.investor.user_id)
    cancel_reservation(reservation_id=reservation.pk, actor=actor, investor_id=reservation.investor_id, now=NOON)


def by_failure(loan: Loan, reservation: Reservation) -> None:
    money_fails(start_transfer(reservation))


def by_staff(loan: Loan, reservation: Reservation) -> None:
    cancel_by_staff(reservation_id=reservation.pk, now=NOON, **BY_STAFF)


def by_a_higher_rate(loan: Loan, reservation: Reservation) -> None:
    set_overbooking(
        reference=loan.reference, overbooking_policy=OverbookingPolicy.FIXED, overbooking_rate=Decimal("0.2"), now=NOON, **BY_STAFF
    )


@pytest.mark.parametrize("free", [by_cancellation, by_failure, by_staff, by_a_higher_rate])
def test_what_frees_room_serves_the_list_in_its_transaction(free: Callable[[Loan, Reservation], None]) -> None:
    loan = LoanFactory(overbooking_rate=Decimal(0))
    first = reserved(loan, 20_000)
    reserved(loan, 80_000)
    for amount in (15_000, 10_000, 5_000):
        waiting(loan, amount)
    free(loan, first)
    # $20,000: all of the first, none of the second, which takes no less than it wants, and all of the third.
    assert line(loan) == [(1, "placed", 15_000), (2, "waiting", 10_000), (3, "placed", 5_000)]
    assert totals(loan)[1:] == (10_000, 1)


def test_a_returned_payment_of_a_settled_reservation_serves_the_list() -> None:
    loan = LoanFactory(overbooking_rate=Decimal(0))
    bought = settled(loan, 40_000)
    reserved(loan, 60_000)
    waiting(loan, 40_000)
    money_fails(bought)
    assert line(loan) == [(1, "placed", 40_000)]


def test_the_job_serves_what_expired_and_a_served_reservation_that_lapses_serves_the_next() -> None:
    loan = full_loan()
    first, second = waiting(loan, 100_000), waiting(loan, 100_000, now=NOON + HOUR)
    expire_due(LATER)
    assert serve_waiting_lists(LATER) == 1
    assert serve_waiting_lists(LATER) == 0
    placed = fresh(first).reservation
    assert (placed.created_at, placed.expires_at) == (LATER, LATER + HOURS_24)
    expire_due(LATER + HOURS_24)
    assert serve_waiting_lists(LATER + HOURS_24) == 1
    # Its investor may join again at the end.
    again = waiting(loan, 100_000, investor=first.investor, now=LATER + HOURS_24)
    assert (fresh(second).state, fresh(again).state, again.number) == ("placed", "waiting", 3)


def test_a_list_waits_past_the_closing_and_is_served_when_the_loan_is_extended() -> None:
    loan = full_loan()
    waiting(loan, 30_000)
    assert loan.closes_at
    expire_due(loan.closes_at)
    assert serve_waiting_lists(loan.closes_at) == 0
    extend_loan(reference=loan.reference, closes_at=loan.closes_at + HOURS_24, now=loan.closes_at + HOUR, **BY_STAFF)
    assert line(loan) == [(1, "placed", 30_000)]


def test_an_entry_whose_investor_may_not_reserve_is_passed_over_and_keeps_its_place() -> None:
    loan, limited = full_loan(), InvestorFactory(unfunded_limit=Decimal(40_000))
    entries = [waiting(loan, 30_000, investor=limited), waiting(loan, 30_000), waiting(loan, 20_000)]
    accreditation = Investor.objects.filter(pk=entries[1].investor_id)
    accreditation.update(accredited_until=date(2026, 7, 1))
    elsewhere = reserved(LoanFactory(), 20_000, investor=limited, now=NOON + HOUR)
    expire_due(LATER)
    assert serve_waiting_lists(LATER) == 1
    assert [fresh(entry).state for entry in entries] == ["waiting", "waiting", "placed"]
    cancel_by_staff(reservation_id=elsewhere.pk, now=LATER, **BY_STAFF)
    accreditation.update(accredited_until=date(2099, 1, 1))
    assert serve_waiting_lists(LATER) == 2
    assert totals(loan) == (80_000, 0, 0)


def test_an_entry_takes_what_its_investor_may_reserve_if_that_is_enough() -> None:
    loan, limited = full_loan(), InvestorFactory(unfunded_limit=Decimal(40_000))
    entry = waiting(loan, 30_000, at_least=10_000, investor=limited)
    reserved(LoanFactory(), 25_000, investor=limited, now=NOON + HOUR)
    expire_due(LATER)
    serve_waiting_lists(LATER)
    assert fresh(entry).reservation.amount == 15_000


def test_a_long_list_is_served_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_waiting_list, "MOST_SERVED", 2)
    loan = full_loan()
    for _ in range(5):
        waiting(loan, 1_000)
    expire_due(LATER)
    assert [serve_waiting_lists(LATER) for _ in range(4)] == [2, 2, 1, 0]


# --- Ends ---------------------------------------------------------------------------------------------------------------
def test_leaving_and_removing_are_repeatable_and_free_the_dollars() -> None:
    loan = LoanFactory(overbooking_rate=Decimal(0))
    reserved(loan, 90_000)
    entry, other = waiting(loan, 30_000), waiting(loan, 20_000)
    left = leave_waiting_list(entry_id=entry.pk, investor=entry.investor, now=NOON + HOUR)
    assert (left.state, left.ended_at) == ("left", NOON + HOUR)
    assert leave_waiting_list(entry_id=entry.pk, investor=entry.investor, now=NOON + 2 * HOUR).ended_at == NOON + HOUR
    assert totals(loan) == (90_000, 20_000, 1)
    with pytest.raises(NotFound):
        leave_waiting_list(entry_id=other.pk, investor=entry.investor, now=NOON)
    remove_from_waiting_list(entry_id=other.pk, now=NOON + HOUR, **BY_STAFF)
    assert line(loan) == [(1, "left", 30_000), (2, "removed", 20_000)]
    with pytest.raises(IllegalTransition):
        leave_waiting_list(entry_id=other.pk, investor=other.investor, now=NOON + HOUR)
    assert Transition.objects.get(waiting_entry=other, event="removed").reason == "a test"
    assert reserved(loan, 10_000).amount == 10_000


@pytest.mark.parametrize("status", ["withdrawn", "funded"])
def test_a_list_ends_with_its_loan(status: str) -> None:
    loan = LoanFactory(overbooking_rate=Decimal(0))
    funded(loan, 100_000)
    waiting(loan, 30_000)
    if status == "withdrawn":
        withdraw_loan(reference=loan.reference, now=NOON, **BY_STAFF)
    else:
        settle_loans([loan.pk], now=NOON)
    assert fresh(loan).status == status
    assert line(loan) == [(1, "ended", 30_000)]
    assert totals(loan)[1:] == (0, 0)
