"""Let staff change one reservation: what each change does, what it leaves in history, and when it is refused."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from loans.domain.errors import IllegalTransition, Invalid, LoanNotOpen, NotFound, OverLimit, ReservationExpired
from loans.models import Loan, Reservation, Transfer, Transition
from loans.services.expiry import expire_due
from loans.services.loans import withdraw_loan
from loans.services.staff_overrides import accept_amount, cancel_by_staff, extend_reservation, reinstate_reservation
from tests.factories import (
    HOURS_24,
    NOON,
    STAFF,
    LoanFactory,
    canceled,
    fresh,
    funded,
    inbound,
    money_comes,
    money_fails,
    pending,
    refund_goes_out,
    reserved,
    settled,
)

pytestmark = pytest.mark.django_db
LATER = NOON + timedelta(hours=2)
MONEY_DEADLINE = datetime(2026, 7, 9, 4, tzinfo=UTC)


def act(verb: Callable[..., Reservation], reservation: Reservation, now: datetime = LATER, **values: Any) -> Reservation:
    if verb is extend_reservation:
        values = {"expires_at": NOON + timedelta(days=30), **values}
    return verb(reservation_id=reservation.pk, actor=STAFF, reason="asked by phone", now=now, **values)


def too_little(loan: Loan) -> Reservation:
    money_comes(reservation := pending(loan), 4_000)
    return fresh(reservation)


ILLEGAL = [
    (cancel_by_staff, settled),
    (extend_reservation, funded),
    (extend_reservation, settled),
    (extend_reservation, canceled),
    (accept_amount, reserved),
    (accept_amount, pending),
    (accept_amount, funded),
    (accept_amount, settled),
    (accept_amount, canceled),
    (reinstate_reservation, reserved),
    (reinstate_reservation, pending),
    (reinstate_reservation, funded),
    (reinstate_reservation, settled),
]


@pytest.mark.parametrize(("verb", "state"), ILLEGAL, ids=lambda value: value.__name__)
def test_what_the_diagram_does_not_have_is_refused_and_changes_nothing(verb, state) -> None:
    reservation = state(LoanFactory())
    before = Loan.objects.values().get(), Reservation.objects.values().get(), Transition.objects.count()
    with pytest.raises(IllegalTransition) as refusal:
        act(verb, reservation)
    assert refusal.value.data["state"] == reservation.state
    assert (Loan.objects.values().get(), Reservation.objects.values().get(), Transition.objects.count()) == before


VERBS = [cancel_by_staff, extend_reservation, accept_amount, reinstate_reservation]


@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_reservation_is_not_found(verb) -> None:
    with pytest.raises(NotFound):
        act(verb, Reservation(pk=uuid4()))


@pytest.mark.parametrize("expired_by_job", [False, True])
@pytest.mark.parametrize("verb", VERBS[:3])
def test_staff_cannot_change_a_lapsed_reservation_either(verb, expired_by_job: bool) -> None:
    reservation = reserved(LoanFactory())
    if expired_by_job:
        expire_due(NOON + HOURS_24)
    with pytest.raises(ReservationExpired):
        act(verb, reservation, now=NOON + HOURS_24)


# --- Cancel, extend, accept -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("state", "refund"), [(reserved, 0), (pending, 0), (funded, 10_000), (too_little, 4_000)])
def test_canceling_refunds_the_money_that_is_here_and_a_repeat_changes_nothing(state, refund: int, locks_first) -> None:
    reservation = state(loan := LoanFactory())
    with locks_first():
        act(cancel_by_staff, reservation)
    transitions = Transition.objects.count()
    assert act(cancel_by_staff, reservation).cause == "canceled_by_staff"
    assert (fresh(reservation).refunded, fresh(loan).claimed, Transition.objects.count()) == (refund, 0, transitions)
    transition = Transition.objects.get(event="canceled_by_staff")
    assert (transition.actor, transition.reason, transition.at) == ("staff", "asked by phone", LATER)


@pytest.mark.parametrize("state", [reserved, pending, too_little])
def test_extending_gives_more_time(state, locks_first) -> None:
    reservation = state(LoanFactory())
    until = NOON + timedelta(days=30)
    with locks_first():
        act(extend_reservation, reservation)
    act(extend_reservation, reservation)
    assert fresh(reservation).expires_at == until
    assert Transition.objects.get(event="extended").deadline == until
    assert expire_due(until - timedelta(microseconds=1)) == 0
    assert expire_due(until) == 1


@pytest.mark.parametrize("expires_at", [NOON, NOON + HOURS_24 - timedelta(microseconds=1)])
def test_extending_does_not_shorten(expires_at: datetime) -> None:
    reservation = reserved(LoanFactory())
    with pytest.raises(Invalid, match="Choose a time after"):
        act(extend_reservation, reservation, expires_at=expires_at)
    assert fresh(reservation).expires_at == NOON + HOURS_24


def test_an_amount_below_the_minimum_is_not_accepted() -> None:
    money_comes(reservation := pending(LoanFactory()), "999.99")
    with pytest.raises(Invalid, match="below the loan's minimum"):
        act(accept_amount, reservation)
    assert fresh(reservation).amount == 10_000


# --- Reinstate --------------------------------------------------------------------------------------------------------
def test_reinstated_without_a_transfer_it_has_24_new_hours_at_its_old_place(locks_first) -> None:
    loan = LoanFactory()
    reservation, behind = canceled(loan), reserved(loan)
    with locks_first():
        act(reinstate_reservation, reservation)
    reservation = fresh(reservation)
    assert (reservation.state, reservation.cause, reservation.number, reservation.expires_at) == ("reserved", "", 1, LATER + HOURS_24)
    assert behind.number == 2
    assert fresh(loan).claimed == 20_000


def test_reinstated_with_a_transfer_under_way_it_has_five_new_banking_days() -> None:
    reservation = pending(LoanFactory())
    expire_due(MONEY_DEADLINE)
    act(reinstate_reservation, reservation, now=MONEY_DEADLINE)
    assert (fresh(reservation).state, fresh(reservation).expires_at) == ("pending", datetime(2026, 7, 17, 4, tzinfo=UTC))
    assert money_comes(reservation, now=MONEY_DEADLINE) == "funded"


def test_reinstated_with_its_money_here_it_waits_and_the_refund_is_void() -> None:
    reservation = funded(loan := LoanFactory())
    act(cancel_by_staff, reservation)
    act(reinstate_reservation, reservation)
    reservation = fresh(reservation)
    assert (reservation.state, reservation.expires_at, reservation.funded_at, reservation.waiting_money) == ("pending", None, NOON, 10_000)
    assert Transfer.objects.get(direction="refund").status == "void"
    assert fresh(loan).claimed == 10_000


def test_reinstated_with_more_than_its_money_here_the_excess_is_still_refunded() -> None:
    money_comes(reservation := pending(LoanFactory()), 12_000)
    act(cancel_by_staff, reservation)
    assert fresh(reservation).refunded == 12_000
    act(reinstate_reservation, reservation)
    assert (fresh(reservation).waiting_money, fresh(reservation).refunded) == (10_000, 2_000)


def test_late_money_that_is_here_counts_when_it_is_reinstated() -> None:
    reservation = pending(LoanFactory())
    expire_due(MONEY_DEADLINE)
    money_comes(reservation, now=MONEY_DEADLINE)
    act(reinstate_reservation, reservation, now=MONEY_DEADLINE)
    assert (fresh(reservation).state, fresh(reservation).funded_at) == ("pending", MONEY_DEADLINE)


@pytest.mark.parametrize("end", [money_fails, lambda reservation: money_comes(reservation, 4_000)])
def test_reinstated_after_a_failed_transfer_or_too_little_money_it_starts_anew(end) -> None:
    end(reservation := pending(LoanFactory()))
    expire_due(MONEY_DEADLINE)
    act(reinstate_reservation, reservation, now=MONEY_DEADLINE)
    assert (fresh(reservation).state, fresh(reservation).waiting_money) == ("reserved", 0)


def test_a_lapsed_reservation_can_be_reinstated() -> None:
    reservation = reserved(LoanFactory())
    act(reinstate_reservation, reservation, now=NOON + HOURS_24)
    events = list(Transition.objects.filter(reservation=reservation).values_list("event", flat=True))
    assert events == ["reserved", "expired", "reinstated_reserved"]


def test_a_reservation_canceled_by_funding_can_be_reinstated_once_the_loan_is_open_again() -> None:
    loan = LoanFactory()
    reservation = funded(loan, 5_000)
    last = settled(loan, 100_000)
    with pytest.raises(LoanNotOpen):
        act(reinstate_reservation, reservation)
    money_fails(last)
    act(reinstate_reservation, reservation)
    assert (fresh(reservation).state, fresh(reservation).waiting_money) == ("pending", 5_000)


def test_a_reservation_whose_refund_was_paid_is_not_reinstated() -> None:
    act(cancel_by_staff, reservation := funded(LoanFactory()))
    refund_goes_out(reservation.transfers.get(direction="refund"))
    with pytest.raises(IllegalTransition, match="refund of it was sent or paid"):
        act(reinstate_reservation, reservation)


def test_reinstating_needs_its_amount_available_to_the_cent() -> None:
    loan = LoanFactory()
    reservation = canceled(loan, "20000.01")
    reserved(loan, 100_000)
    with pytest.raises(OverLimit) as refusal:
        act(reinstate_reservation, reservation)
    assert refusal.value.data == {"available": Decimal(20_000)}
    fits = canceled(loan, 20_000)
    act(reinstate_reservation, fits)
    assert fresh(fits).state == "reserved"


def test_reinstating_needs_a_loan_that_takes_reservations() -> None:
    closed, gone = LoanFactory(closes_at=LATER), LoanFactory()
    reservations = [canceled(closed), canceled(gone)]
    withdraw_loan(reference=gone.reference, actor=STAFF, reason="sold", now=NOON)
    for reservation in reservations:
        with pytest.raises(LoanNotOpen):
            act(reinstate_reservation, reservation)


def test_reinstating_after_the_closing_says_when_it_closed() -> None:
    loan = LoanFactory(closes_at=NOON + HOURS_24)
    reservation = canceled(loan)
    with pytest.raises(LoanNotOpen, match=f"{loan.reference} takes no reservations: it closed at "):
        reinstate_reservation(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=NOON + HOURS_24)


def test_a_transfer_keeps_its_reference_through_cancellation_and_reinstatement() -> None:
    reservation = pending(LoanFactory())
    reference = inbound(reservation).reference
    act(cancel_by_staff, reservation)
    act(reinstate_reservation, reservation)
    assert inbound(reservation).reference == reference


def test_a_repeat_answers_with_the_present_state() -> None:
    reservation = pending(LoanFactory())
    money_comes(reservation, Decimal("9999.99"))
    for step in (accept_amount, cancel_by_staff, reinstate_reservation):
        once = step(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=NOON)
        transitions = Transition.objects.count()
        again = step(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=NOON)
        assert (again.state, again.amount) == (once.state, once.amount)
        assert Transition.objects.count() == transitions
