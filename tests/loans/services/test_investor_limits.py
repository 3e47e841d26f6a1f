"""Check the limits of one investor: what is refused, with which data, what counts, and what staff change."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry

from loans.domain.actors import Actor
from loans.domain.errors import IllegalTransition, Invalid, InvestorLimit, NotAccredited
from loans.models import Investor, Loan, Reservation
from loans.services.expiry import expire_due
from loans.services.investor_limits import change_investor_limits
from loans.services.reservations import cancel_reservation
from loans.services.settlement import settle_loans
from loans.services.staff_overrides import reinstate_reservation
from tests.factories import (
    HOURS_24,
    NOON,
    STAFF,
    InvestorFactory,
    LoanFactory,
    UserFactory,
    canceled,
    fresh,
    funded,
    inbound,
    money_comes,
    pending,
    reserved,
    start_transfer,
)

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def investor() -> Investor:
    return InvestorFactory(unfunded_limit=Decimal(20_000), let_go_limit=3)


def let_go(loan: Loan, investor: Investor, now=NOON) -> Reservation:
    reservation = reserved(loan, 1_000, now=now, investor=investor)
    actor = Actor("investor", investor.user_id)
    return cancel_reservation(reservation_id=reservation.pk, actor=actor, investor_id=investor.pk, now=now)


def refusal(loan: Loan, investor: Investor, amount: int = 1_000, now=NOON) -> dict[str, object]:
    before = fresh(loan)
    with pytest.raises(InvestorLimit) as refused:
        reserved(loan, amount, now=now, investor=investor)
    assert vars(fresh(loan)) | {"_state": None} == vars(before) | {"_state": None}
    return refused.value.data


# --- Unfunded dollars -------------------------------------------------------------------------------------------------
def test_unfunded_dollars_count_over_all_loans(investor: Investor) -> None:
    first = reserved(LoanFactory(), 15_000, investor=investor)
    pending(LoanFactory(), 5_000, now=NOON, investor=investor)
    assert refusal(LoanFactory(), investor) == {
        "limited": "unfunded",
        "limit": "20000.00",
        "used": "20000.00",
        "frees_at": first.expires_at,
    }
    assert reserved(LoanFactory(), 20_000).state == "reserved", "another investor has a limit of their own"


def test_money_that_is_here_counts_in_no_limit(investor: Investor) -> None:
    loan = LoanFactory(investor_share=Decimal("0.2"))
    for _ in range(2):
        funded(loan, 20_000, investor=investor)
    settle_loans([loan.pk], now=NOON)
    assert reserved(loan, 20_000, investor=investor).state == "reserved"


def test_money_that_is_too_little_leaves_the_reservation_unfunded(investor: Investor) -> None:
    money_comes(pending(LoanFactory(), 20_000, investor=investor), 19_000)
    assert refusal(LoanFactory(), investor)["used"] == "20000.00"


def test_a_lapsed_reservation_counts_no_dollar_before_it_is_swept(investor: Investor) -> None:
    loan = LoanFactory()
    reserved(loan, 20_000, investor=investor)
    assert refusal(loan, investor, now=NOON + HOURS_24 - timedelta(microseconds=1))["frees_at"] == NOON + HOURS_24
    assert reserved(LoanFactory(), 20_000, now=NOON + HOURS_24, investor=investor).state == "reserved"


def test_staff_may_reinstate_beyond_the_limit_and_it_counts_from_then_on(investor: Investor) -> None:
    reservation = canceled(LoanFactory(), 15_000, investor=investor)
    reserved(LoanFactory(), 20_000, investor=investor)
    reinstate_reservation(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=NOON)
    assert refusal(LoanFactory(), investor)["used"] == "35000.00"


def test_an_investor_holds_at_most_their_share_of_a_loan_unfunded() -> None:
    loan, investor = LoanFactory(investor_share=Decimal("0.1")), InvestorFactory()
    first = reserved(loan, 9_000, investor=investor)
    reserved(LoanFactory(), 90_000, investor=investor)
    assert refusal(loan, investor, 1_001) == {
        "limited": "unfunded_on_loan",
        "limit": "10000.00",
        "used": "9000.00",
        "frees_at": first.expires_at,
    }
    assert reserved(loan, 1_000, investor=investor).number == 2


def test_the_share_is_never_less_than_the_minimum() -> None:
    loan = LoanFactory(investor_share=Decimal("0.0001"))
    assert reserved(loan, 1_000).state == "reserved"


# --- Reservations let go ----------------------------------------------------------------------------------------------
def test_who_lets_go_of_too_many_waits_until_the_oldest_of_them_is_a_day_old(investor: Investor) -> None:
    loan = LoanFactory()
    for hour in range(3):
        let_go(loan, investor, now=NOON + hour * HOUR)
    expected = {"limited": "let_go", "limit": "3", "used": "3", "frees_at": NOON + HOURS_24}
    assert refusal(LoanFactory(), investor, now=NOON + 3 * HOUR) == expected
    assert refusal(loan, investor, now=NOON + HOURS_24 - timedelta(microseconds=1)) == expected
    assert reserved(loan, 1_000, now=NOON + HOURS_24, investor=investor).state == "reserved"


@pytest.mark.parametrize("swept", [True, False])
def test_an_expired_reservation_counts_from_its_deadline_swept_or_not(investor: Investor, swept: bool) -> None:
    loan = LoanFactory()
    for _ in range(3):
        reserved(loan, 1_000, investor=investor)
    now = NOON + HOURS_24 + HOUR
    if swept:
        expire_due(now)
    assert refusal(loan, investor, now=now) == {"limited": "let_go", "limit": "3", "used": "3", "frees_at": NOON + 2 * HOURS_24}


def test_what_staff_cancel_or_reinstate_is_not_let_go(investor: Investor) -> None:
    loan = LoanFactory()
    for _ in range(3):
        canceled(loan, 1_000, investor=investor)
    reservations = [let_go(loan, investor) for _ in range(3)]
    reinstate_reservation(reservation_id=reservations[0].pk, actor=STAFF, reason="a test", now=NOON)
    assert fresh(reservations[0]).let_go_at is None
    assert reserved(loan, 1_000, investor=investor).state == "reserved"


def test_ten_are_the_default() -> None:
    loan, investor = LoanFactory(), InvestorFactory()
    for _ in range(10):
        let_go(loan, investor)
    assert refusal(loan, investor)["limit"] == "10"


# --- The stored dollars are an upper bound, and are counted anew only when they are short ------------------------------------
def test_what_ended_is_subtracted_when_the_dollars_are_short(investor: Investor) -> None:
    loan = LoanFactory()
    for hour in range(3):
        canceled(loan, 7_000, now=NOON + hour * HOUR, investor=investor)
        assert fresh(investor).unfunded_at_most == (7_000, 14_000, 7_000)[hour]


# --- What staff change ------------------------------------------------------------------------------------------------
def by_staff(investor: Investor, **limits: object) -> Investor:
    actor = Actor("staff", UserFactory().pk)
    return change_investor_limits(investor_id=investor.pk, actor=actor, reason="a known fund", **limits)  # type: ignore[arg-type]


def test_staff_change_the_limits_of_one_investor_and_the_trail_says_why(investor: Investor) -> None:
    loan = LoanFactory()
    by_staff(investor, unfunded_limit=Decimal(50_000), let_go_limit=20)
    assert reserved(loan, 50_000, investor=investor).state == "reserved"
    changed = fresh(investor)
    assert (changed.unfunded_limit, changed.let_go_limit) == (50_000, 20)
    entry = LogEntry.objects.get(object_id=str(investor.pk))
    assert entry.change_message == "Changed the limits from $20,000.00 and 3 let go to $50,000.00 and 20 let go: a known fund"


def test_a_limit_that_is_not_named_stays(investor: Investor) -> None:
    by_staff(investor, let_go_limit=0)
    assert (fresh(investor).unfunded_limit, fresh(investor).let_go_limit) == (20_000, 0)
    assert refusal(LoanFactory(), investor)["frees_at"] is None


def test_limits_that_change_nothing_or_cannot_be_are_refused(investor: Investor) -> None:
    with pytest.raises(IllegalTransition):
        by_staff(investor, unfunded_limit=Decimal(20_000))
    with pytest.raises(Invalid):
        by_staff(investor, unfunded_limit=Decimal(-1))
    assert not LogEntry.objects.exists()


# --- An accreditation that ends -----------------------------------------------------------------------------------------
def test_a_transfer_can_be_started_only_while_the_investor_may_buy(investor: Investor) -> None:
    reservation = reserved(LoanFactory(), investor=investor)
    Investor.objects.filter(pk=investor.pk).update(accredited_until=date(2026, 6, 30))
    with pytest.raises(NotAccredited):
        start_transfer(reservation)
    assert fresh(reservation).state == "reserved"


def test_a_deactivated_investor_starts_no_transfer(investor: Investor) -> None:
    reservation = reserved(LoanFactory(), investor=investor)
    investor.user.is_active = False
    investor.user.save()
    with pytest.raises(NotAccredited):
        start_transfer(reservation)


def test_what_was_started_while_accredited_goes_on_to_the_end(investor: Investor) -> None:
    loan = LoanFactory()
    reservation = pending(loan, investor=investor)
    Investor.objects.filter(pk=investor.pk).update(accredited_until=None)
    assert start_transfer(reservation).state == "pending", "a repeat is no new step"
    money_comes(reservation)
    settle_loans([loan.pk], now=NOON)
    assert (fresh(reservation).state, inbound(reservation).status) == ("settled", "cleared")


def test_staff_cannot_reinstate_for_an_investor_whose_accreditation_has_ended(investor: Investor) -> None:
    reservation = canceled(LoanFactory(), investor=investor)
    Investor.objects.filter(pk=investor.pk).update(accredited_until=None)
    with pytest.raises(NotAccredited):
        reinstate_reservation(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=NOON)
