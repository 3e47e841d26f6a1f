"""Settle reservations: by their turn, up to the last cent, ahead of the queue by staff, and beside loans that fail."""

from datetime import timedelta
from decimal import Decimal

import pytest

from loans.domain import settlement_rules
from loans.domain.errors import IllegalTransition, ReservationExpired
from loans.models import Loan, Reservation, ReviewItem, Transition
from loans.services.settlement import settle_ahead_of_turn, settle_due, settle_loans
from tests.factories import HOURS_24, NOON, STAFF, LoanFactory, canceled, fresh, funded, money_comes, pending, reserved

pytestmark = pytest.mark.django_db


def ahead(reservation: Reservation, now=NOON) -> Reservation:
    return settle_ahead_of_turn(reservation_id=reservation.pk, actor=STAFF, reason="agreed by phone", now=now)


def refunded(reservation: Reservation) -> Decimal:
    return fresh(reservation).refunded


def test_a_reservation_settles_when_its_turn_has_come(locks_first) -> None:
    first, second = pending(loan := LoanFactory(), 60_000), funded(loan, 50_000)
    assert settle_loans([loan.pk], now=NOON) == 0
    money_comes(first)
    with locks_first():
        assert settle_loans([loan.pk], now=NOON) == 2
    first, second, loan = fresh(first), fresh(second), fresh(loan)
    assert [(reservation.state, reservation.settled_amount) for reservation in (first, second)] == [
        ("settled", 60_000),
        ("settled", 40_000),
    ]
    assert (loan.status, loan.settled, loan.claimed, refunded(second)) == ("funded", 100_000, 0, 10_000)
    transition = Transition.objects.get(reservation=second, event="settled")
    assert (transition.amount, transition.rule, transition.actor) == (40_000, "fifo", "system")


def test_the_last_cent_cancels_and_refunds_all_that_live() -> None:
    loan = LoanFactory()
    reservations = [reserved(loan, 5_000), pending(loan, 5_000)]
    too_little = pending(loan, 5_000)
    money_comes(too_little, 4_000)
    waiting = funded(loan, 5_000)
    ahead(funded(loan, 100_000))
    assert [(fresh(reservation).state, fresh(reservation).cause) for reservation in (*reservations, too_little, waiting)] == [
        ("canceled", "loan_funded")
    ] * 4
    assert (refunded(too_little), refunded(waiting)) == (4_000, 5_000)
    assert (fresh(loan).status, fresh(loan).claimed) == ("funded", 0)


@pytest.mark.parametrize("rule", settlement_rules.RULES)
def test_each_rule_fills_an_overbooked_loan_to_the_cent(rule: str) -> None:
    loan = LoanFactory(settlement_rule=rule, amount=Decimal("100000.01"))
    reservations = [funded(loan, amount, now=NOON + timedelta(minutes=-n)) for n, amount in enumerate(["33333.33", "50000.00", "36666.67"])]
    settle_loans([loan.pk], now=NOON)
    reservations = [fresh(reservation) for reservation in reservations]
    assert sum(reservation.settled_amount for reservation in reservations) == fresh(loan).settled == Decimal("100000.01")
    assert all(reservation.received == reservation.settled_amount + reservation.refunded for reservation in reservations)
    assert fresh(loan).status == "funded"


def test_pro_rata_leaves_a_share_of_nothing_canceled_and_refunded() -> None:
    loan = LoanFactory(settlement_rule="pro_rata")
    first, second = funded(loan, 1_000), funded(loan, 1_000)
    ahead(funded(loan, "99999.99"))
    settle_loans([loan.pk], now=NOON)
    assert (fresh(first).settled_amount, refunded(first)) == (Decimal("0.01"), Decimal("999.99"))
    assert (fresh(second).state, fresh(second).cause, refunded(second)) == ("canceled", "no_share", 1_000)


def test_staff_settle_ahead_of_the_queue_up_to_what_remains(locks_first) -> None:
    first, second = pending(loan := LoanFactory(), 70_000), funded(loan, 50_000)
    ahead(second)
    assert fresh(second).settled_amount == 50_000
    money_comes(first)
    with locks_first():
        ahead(first)
    assert (fresh(first).settled_amount, refunded(first), fresh(loan).status) == (50_000, 20_000, "funded")
    transition = Transition.objects.get(reservation=second, event="settled")
    assert (transition.rule, transition.actor, transition.reason) == ("staff", "staff", "agreed by phone")
    transitions = Transition.objects.count()
    ahead(second)
    assert Transition.objects.count() == transitions


@pytest.mark.parametrize("state", [reserved, pending, canceled])
def test_without_its_money_a_reservation_is_not_settled_ahead(state) -> None:
    reservation = state(LoanFactory())
    with pytest.raises(IllegalTransition):
        ahead(reservation)
    assert fresh(reservation).settled_amount == 0


def test_a_lapsed_reservation_is_not_settled_ahead() -> None:
    with pytest.raises(ReservationExpired):
        ahead(reserved(LoanFactory()), now=NOON + HOURS_24)


def test_a_lapsed_reservation_does_not_delay_those_behind_it() -> None:
    reserved(loan := LoanFactory(), 100_000)
    second = funded(loan, 20_000)
    assert settle_loans([loan.pk], now=NOON + HOURS_24 - timedelta(microseconds=1)) == 0
    assert settle_loans([loan.pk], now=NOON + HOURS_24) == 1
    assert fresh(second).settled_amount == 20_000


def test_the_job_settles_every_loan_and_again_changes_nothing() -> None:
    loans = [LoanFactory() for _ in range(3)]
    for loan in loans:
        funded(loan, 10_000)
    assert settle_due(NOON) == 3
    transitions = Transition.objects.count()
    assert settle_due(NOON) == 0
    assert Transition.objects.count() == transitions
    assert [loan.settled for loan in Loan.objects.order_by("id")] == [10_000] * 3


@pytest.mark.parametrize("fault", [ValueError, ZeroDivisionError, KeyError])
def test_one_bad_loan_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch, fault: type[Exception]) -> None:
    good, bad, also_good = LoanFactory(), LoanFactory(settlement_rule="broken"), LoanFactory()
    reservations = [funded(loan, 10_000) for loan in (good, bad, also_good)]

    def broken(*_: object) -> list[settlement_rules.Allocation]:
        raise fault("a rule with a fault")

    monkeypatch.setitem(settlement_rules.RULES, "broken", broken)
    assert settle_due(NOON) == 2
    assert [fresh(reservation).state for reservation in reservations] == ["settled", "pending", "settled"]
    assert (ReviewItem.objects.get().kind, ReviewItem.objects.get().loan_id) == ("job_failed", bad.pk)
