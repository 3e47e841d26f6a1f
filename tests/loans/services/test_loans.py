"""Change loans: each service once, twice, too early, and where the table of transitions refuses it."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest

from loans.domain.errors import IllegalTransition, Invalid, NotFound
from loans.models import Loan, Transition
from loans.services import loans
from loans.services.settlement import settle_loans
from tests.factories import (
    NOON,
    STAFF,
    DraftFactory,
    LoanFactory,
    fresh,
    funded,
    money_comes,
    money_fails,
    pending,
    refund_goes_out,
    reserved,
    settled,
)

pytestmark = pytest.mark.django_db
CLOSING = NOON + timedelta(weeks=3)


def verb(name: str, loan: Loan, now=NOON, **values: object) -> Loan:
    if name == "extend_loan":
        values = {"closes_at": CLOSING + timedelta(days=7), **values}
    return getattr(loans, name)(reference=loan.reference, actor=STAFF, reason="a reason", now=now, **values)


def open_() -> Loan:
    return LoanFactory()


def full() -> Loan:
    settled(loan := LoanFactory(), 100_000)
    return fresh(loan)


def withdrawn() -> Loan:
    return verb("withdraw_loan", LoanFactory())


def test_a_draft_opens_for_three_weeks(locks_first) -> None:
    draft = DraftFactory()
    assert (draft.status, draft.opens_at, draft.closes_at) == ("draft", None, None)
    with locks_first():
        verb("open_loan", draft)
    loan = fresh(draft)
    assert (loan.status, loan.opens_at, loan.closes_at) == ("open", NOON, CLOSING)
    transitions = Transition.objects.filter(loan=loan).order_by("id").values_list("event", "from_state", "to_state", "amount", "deadline")
    assert list(transitions) == [("created", "", "draft", 100_000, None), ("opened", "draft", "open", 100_000, CLOSING)]
    assert Transition.objects.latest("id").reason == "a reason"


@pytest.mark.parametrize(
    ("name", "loan"),
    [
        ("open_loan", full),
        ("open_loan", withdrawn),
        ("extend_loan", DraftFactory),
        ("extend_loan", full),
        ("extend_loan", withdrawn),
        ("withdraw_loan", full),
        ("close_loan_at_settled", DraftFactory),
        ("close_loan_at_settled", open_),
        ("close_loan_at_settled", withdrawn),
    ],
)
def test_what_the_table_of_transitions_does_not_have_is_refused_and_changes_nothing(name: str, loan: Callable[[], Loan]) -> None:
    loan = loan()
    before = Loan.objects.values().get(), Transition.objects.count()
    with pytest.raises(IllegalTransition) as refusal:
        verb(name, loan)
    assert refusal.value.data["state"] == loan.status
    assert (Loan.objects.values().get(), Transition.objects.count()) == before


@pytest.mark.parametrize(
    ("name", "loan", "first"),
    [("open_loan", DraftFactory, 1), ("extend_loan", open_, 1), ("withdraw_loan", DraftFactory, 1), ("withdraw_loan", open_, 1)],
)
def test_a_repeat_changes_nothing(name: str, loan: Callable[[], Loan], first: int) -> None:
    loan = loan()
    transitions = Transition.objects.count()
    for _ in range(2):
        verb(name, loan)
        assert Transition.objects.count() == transitions + first


@pytest.mark.parametrize("name", ["open_loan", "extend_loan", "withdraw_loan", "close_loan_at_settled"])
def test_an_unknown_loan_is_not_found(name: str) -> None:
    with pytest.raises(NotFound):
        verb(name, Loan(reference="LN-nowhere"))


@pytest.mark.parametrize("name", ["open_loan", "extend_loan"])
@pytest.mark.parametrize("early", [timedelta(0), timedelta(hours=1)])
def test_a_closing_must_lie_in_the_future(name: str, early: timedelta) -> None:
    loan = DraftFactory() if name == "open_loan" else LoanFactory()
    with pytest.raises(Invalid):
        verb(name, loan, closes_at=NOON - early)


def test_extending_does_not_shorten() -> None:
    loan = LoanFactory()
    with pytest.raises(Invalid):
        verb("extend_loan", loan, closes_at=CLOSING - timedelta(microseconds=1))
    assert fresh(loan).closes_at == CLOSING


@pytest.mark.parametrize("loan", [full, withdrawn])
def test_extending_a_loan_that_is_not_open_to_its_own_closing_is_refused(loan: Callable[[], Loan]) -> None:
    loan = loan()
    with pytest.raises(IllegalTransition):
        verb("extend_loan", loan, closes_at=loan.closes_at)


def test_extending_lets_a_loan_past_its_closing_take_reservations_again(locks_first) -> None:
    loan = LoanFactory()
    later = CLOSING + timedelta(days=1)
    with locks_first():
        verb("extend_loan", loan, now=later)
    assert fresh(loan).closes_at == CLOSING + timedelta(days=7)
    assert reserved(loan, now=later).number == 1


def test_withdrawing_cancels_all_reservations_and_refunds_their_money(locks_first) -> None:
    loan = LoanFactory()
    reservations = reserved(loan), pending(loan), funded(loan), settled(loan)
    too_little = pending(loan)
    money_comes(too_little, 3_000)
    with locks_first():
        verb("withdraw_loan", loan)
    ended = [fresh(reservation) for reservation in (*reservations, too_little)]
    assert {(reservation.state, reservation.cause, reservation.settled_amount) for reservation in ended} == {
        ("canceled", "loan_withdrawn", 0)
    }
    assert [reservation.refunded for reservation in ended] == [0, 0, 10_000, 10_000, 3_000]
    loan = fresh(loan)
    assert (loan.status, loan.settled, loan.claimed) == ("withdrawn", 0, 0)
    assert refund_goes_out(reservations[3].transfers.get(direction="refund")) == "paid"


def test_withdrawing_refunds_the_settled_part_of_a_partial_fill() -> None:
    partly, most = funded(loan := LoanFactory(), 30_000), settled(loan, 80_000)
    settle_loans([loan.pk], now=NOON)
    assert (fresh(partly).settled_amount, fresh(partly).refunded) == (20_000, 10_000)
    money_fails(most)
    verb("withdraw_loan", loan)
    assert (fresh(partly).settled_amount, fresh(partly).refunded) == (0, 30_000)


def test_closing_at_settled_makes_what_has_settled_the_whole_loan(locks_first) -> None:
    """The rule runs once more: a reservation behind an unfunded one settles, since it gets its whole amount. The rest is canceled."""
    loan = LoanFactory()
    settled(loan, 40_000)
    waiting = pending(loan, 50_000, now=CLOSING - timedelta(minutes=1))
    whole = funded(loan, 10_000)
    blocked = funded(loan, 10_000)
    with locks_first():
        verb("close_loan_at_settled", loan, now=CLOSING)
    assert (fresh(whole).state, fresh(waiting).cause) == ("settled", "loan_funded")
    assert (fresh(blocked).cause, fresh(blocked).refunded) == ("loan_funded", 10_000)
    loan = fresh(loan)
    assert (loan.status, loan.amount, loan.settled, loan.claimed) == ("funded", 50_000, 50_000, 0)
    transition = Transition.objects.get(event="closed_at_settled")
    assert (transition.amount, transition.from_state, transition.to_state) == (50_000, "open", "funded")
    assert Transition.objects.filter(loan=loan, event="opened", amount=100_000).exists(), "history keeps the former amount"
    verb("close_loan_at_settled", loan, now=CLOSING)
    assert Transition.objects.filter(event="closed_at_settled").count() == 1


def test_a_loan_of_which_nothing_has_settled_is_not_closed_at_settled() -> None:
    loan = LoanFactory()
    with pytest.raises(IllegalTransition, match="withdraw it instead"):
        verb("close_loan_at_settled", loan, now=CLOSING)


def test_an_open_loan_past_its_closing_keeps_its_live_reservations() -> None:
    loan = LoanFactory(closes_at=NOON + timedelta(hours=1))
    reservation = pending(loan)
    assert money_comes(reservation, now=NOON + timedelta(hours=2)) == "funded"
    assert fresh(loan).status == "open"


def test_the_smallest_loan_is_funded_by_one_reservation() -> None:
    loan = LoanFactory(amount=Decimal("0.01"))
    reservation = settled(loan, "0.01")
    assert (reservation.settled_amount, fresh(loan).status) == (Decimal("0.01"), "funded")
