"""Standing orders: create, pause, resume and end them; what an opening gives to each; and announced loans that open on time."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from loans.domain.errors import BelowMinimum, IllegalTransition, Invalid, LoanNotOpen, NotAccredited, NotFound
from loans.domain.overbooking import OverbookingPolicy
from loans.domain.standing_orders import MOST_ORDERS
from loans.ledger.unit_of_work import UnitOfWork
from loans.models import Investor, Loan, Reservation, ReviewItem, StandingOrder, StandingOrderTransition, Transition, User
from loans.selectors.standing_orders import forecast_opening, line_positions, preview, recent_openings, used_dollars
from loans.services.closing_values import record_due_closing_values
from loans.services.loans import announce_loan, edit_loan, open_announced_loans, open_loan, withdraw_loan
from loans.services.reservations import cancel_reservation
from loans.services.standing_orders import end_standing_order, pause_standing_order, resume_standing_order
from tests.factories import (
    HOURS_24,
    NOON,
    STAFF,
    DraftFactory,
    InvestorFactory,
    LoanFactory,
    fresh,
    reserved,
    settled,
    standing_order,
    waiting,
)

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
BY_STAFF: dict[str, Any] = {"actor": STAFF, "reason": "a test"}


def line() -> list[StandingOrder]:
    return list(StandingOrder.objects.filter(state="active").order_by("place"))


def outcome(order: StandingOrder, loan: Loan) -> int | str:
    """The dollars that the loan's opening gave to the order, or what stood against it."""
    transition = StandingOrderTransition.objects.get(order=order, loan=loan)
    return transition.obstacle or int(transition.amount or 0)


# --- Keep an order ------------------------------------------------------------------------------------------------------
def test_a_new_order_joins_at_the_end_of_the_line_with_its_history() -> None:
    first = standing_order()
    second = standing_order(25_000, at_least=None, cap="100000.00", states=["WA", "CA", "CA"], least_rate=Decimal("8.00"), now=NOON + HOUR)
    assert line() == [first, second]
    second = fresh(second)
    assert (second.amount, second.at_least, second.cap, second.states, second.metros) == (25_000, 25_000, 100_000, ["CA", "WA"], [])
    assert line_positions([first.pk, second.pk]) == {first.pk: 1, second.pk: 2}
    (created,) = second.transitions.all()
    assert (created.at, created.event, created.to_state, created.actor, created.user) == (
        NOON + HOUR,
        "created",
        "active",
        "investor",
        second.investor.user,
    )
    assert created.place == second.place


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"amount": 5_000, "at_least": 5_001}, Invalid, "more than"),
        ({"amount": 999, "at_least": 999}, BelowMinimum, "Take at least $1,000.00"),
        ({"amount": 5_000, "at_least": 5_000, "cap": 4_999}, Invalid, "The cap of $4,999.00 is less than $5,000.00"),
        ({"amount": Decimal("5000.001")}, ValueError, "decimal places"),
    ],
)
def test_dollars_that_no_loan_could_serve_are_refused(values: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error) as refused:
        standing_order(**values)
    assert words in str(refused.value)
    assert not StandingOrder.objects.exists()


def test_only_accredited_investors_keep_standing_orders() -> None:
    with pytest.raises(NotAccredited):
        standing_order(investor=InvestorFactory(accredited_until=date(2020, 1, 1)))


def test_one_investor_keeps_at_most_ten() -> None:
    investor = InvestorFactory()
    orders = [standing_order(investor=investor) for _ in range(MOST_ORDERS)]
    with pytest.raises(Invalid, match="10 standing orders already"):
        standing_order(investor=investor)
    end_standing_order(order_id=orders[0].pk, investor=investor, now=NOON)
    standing_order(investor=investor)


def test_an_order_is_paused_resumed_and_ended_and_a_repeat_changes_nothing() -> None:
    order, other = standing_order(), standing_order()
    mine: dict[str, Any] = {"order_id": order.pk, "investor": order.investor, "now": NOON + HOUR}
    for _ in range(2):
        assert pause_standing_order(**mine).state == "paused"
    assert line_positions([order.pk, other.pk]) == {other.pk: 1}
    for _ in range(2):
        assert resume_standing_order(**mine).state == "active"
    assert line() == [order, other]  # A pause costs no place.
    for _ in range(2):
        assert end_standing_order(**mine).state == "ended"
    with pytest.raises(IllegalTransition):
        resume_standing_order(**mine)
    assert fresh(order).ended_at == NOON + HOUR
    assert list(order.transitions.values_list("event", flat=True)) == ["created", "paused", "resumed", "ended"]


@pytest.mark.parametrize("change", [pause_standing_order, resume_standing_order, end_standing_order])
def test_another_investors_order_is_not_found(change) -> None:
    with pytest.raises(NotFound):
        change(order_id=standing_order().pk, investor=InvestorFactory(), now=NOON)


def test_the_history_of_orders_can_only_be_added_to() -> None:
    standing_order()
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE loans_standingordertransition SET place = 9")


# --- An opening ---------------------------------------------------------------------------------------------------------
def test_an_opening_serves_the_line_before_anybody_else_and_says_what_each_order_got() -> None:
    """$50,000 of $100,000 are for the line, and $66,000 are wanted of them."""
    elsewhere = standing_order(states=["WA"])
    first = standing_order(30_000)
    paused = standing_order(30_000)
    pause_standing_order(order_id=paused.pk, investor=paused.investor, now=NOON)
    all_or_nothing = standing_order(30_000, at_least=None)
    last = standing_order(6_000)
    loan = LoanFactory(now=NOON + HOUR)
    assert [(each.number, each.standing_order, int(each.amount), each.expires_at) for each in loan.reservations.order_by("number")] == [
        (1, first, 30_000, NOON + HOUR + HOURS_24),
        (2, last, 6_000, NOON + HOUR + HOURS_24),
    ]
    assert [outcome(order, loan) for order in (elsewhere, first, all_or_nothing, last)] == ["state", 30_000, "line", 6_000]
    assert not StandingOrderTransition.objects.filter(order=paused, loan=loan).exists()
    # More was wanted than there is, so those who were served go to the end, in their order. The others keep their places.
    assert line() == [elsewhere, all_or_nothing, first, last]
    loan = fresh(loan)
    assert (loan.claimed, loan.last_number) == (36_000, 2)
    assert fresh(first.investor).unfunded_at_most == 30_000
    opened, *rows = Transition.objects.filter(loan=loan).exclude(event="created")
    assert (opened.event, opened.actor) == ("opened", "staff")
    assert [(row.event, row.actor, row.facts) for row in rows] == [
        ("reserved", "system", {"standing_order": str(order.pk)}) for order in (first, last)
    ]


def test_all_keep_their_places_where_the_share_holds_what_they_want() -> None:
    first, second = standing_order(20_000), standing_order(30_000)
    loan = LoanFactory()
    assert [outcome(order, loan) for order in (first, second)] == [20_000, 30_000]
    assert line() == [first, second]


def test_the_loans_share_decides() -> None:
    order = standing_order(10_000)
    assert outcome(order, LoanFactory(automated_share=Decimal(0))) == "line"
    assert outcome(order, LoanFactory(automated_share=Decimal("0.0550"))) == 5_500
    assert outcome(order, LoanFactory(automated_share=Decimal(1))) == 10_000


def test_an_order_never_holds_more_than_its_cap_of_what_is_live_or_settled() -> None:
    order = standing_order(10_000, at_least=2_000, cap=23_000)
    first, second, third, fourth = [LoanFactory() for _ in range(4)]
    assert [outcome(order, loan) for loan in (first, second, third, fourth)] == [10_000, 10_000, 3_000, "cap"]
    assert used_dollars([order.pk], NOON) == {order.pk: 23_000}
    reservation = second.reservations.get()
    cancel_reservation(reservation_id=reservation.pk, investor_id=order.investor_id, actor=STAFF, now=NOON)
    assert outcome(order, LoanFactory()) == 10_000
    # All of it lapses, whether it is swept or not.
    assert used_dollars([order.pk], NOON + HOURS_24) == {}
    assert outcome(order, LoanFactory(now=NOON + HOURS_24)) == 10_000


def test_what_has_settled_counts_in_the_cap() -> None:
    order = standing_order(10_000, cap=15_000)
    loan = LoanFactory()
    own = settled(loan, 10_000, investor=order.investor)
    Reservation.objects.filter(pk=own.pk).update(standing_order=order)
    loan.reservations.filter(state="reserved").update(standing_order=None)
    assert used_dollars([order.pk], NOON + HOURS_24) == {order.pk: 10_000}
    assert outcome(order, LoanFactory()) == 5_000


@pytest.mark.parametrize("change", [{"accredited_until": date(2020, 1, 1)}, {"unfunded_limit": 5_000}, {"let_go_limit": 0}])
def test_accreditation_and_limits_of_the_investor_hold(change: dict[str, Any]) -> None:
    order = standing_order(10_000, at_least=5_001)
    Investor.objects.filter(pk=order.investor_id).update(**change)
    assert outcome(order, LoanFactory()) == "investor"


def test_two_orders_of_one_investor_stay_within_the_investors_limit() -> None:
    investor = InvestorFactory(unfunded_limit=15_000)
    orders = [standing_order(10_000, investor=investor) for _ in range(3)]
    loan = LoanFactory()
    assert [outcome(order, loan) for order in orders] == [10_000, 5_000, "investor"]


def test_an_opening_makes_more_reservations_than_one_statement_could_insert() -> None:
    many = 5_000
    users = User.objects.bulk_create([User(username=f"many{number}") for number in range(many)], batch_size=1_000)
    investors = Investor.objects.bulk_create([Investor(user=user, accredited_until=date(2099, 1, 1)) for user in users], batch_size=1_000)
    dollars = {"amount": Decimal(1_000), "at_least": Decimal(1_000), "cap": Decimal(1_000)}
    orders = [
        StandingOrder(investor=investor, state="active", place=place, created_at=NOON, **dollars)
        for place, investor in enumerate(investors, start=1)
    ]
    StandingOrder.objects.bulk_create(orders, batch_size=1_000)
    loan = LoanFactory(amount=Decimal(10_000_000))
    assert (loan.last_number, loan.claimed) == (many, 5_000_000)
    assert StandingOrderTransition.objects.filter(loan=loan, amount=1_000).count() == many


def test_an_order_below_the_loans_minimum_is_passed_over() -> None:
    order = standing_order(4_000)
    assert outcome(order, LoanFactory(minimum=Decimal(5_000))) == "minimum"
    assert outcome(order, LoanFactory()) == 4_000


def test_a_reservation_of_an_order_lapses_as_any_other_and_serves_the_waiting_list() -> None:
    order = standing_order(50_000)
    loan = LoanFactory(overbooking_rate=Decimal(0))
    reserved(loan, 50_000, now=NOON + HOUR)
    entry = waiting(loan, 20_000, now=NOON + HOUR)
    assert entry.state == "waiting"
    cancel_reservation(
        reservation_id=loan.reservations.get(standing_order=order).pk, investor_id=order.investor_id, actor=STAFF, now=NOON + HOUR
    )
    assert fresh(entry).state == "placed"


def test_staff_may_open_a_loan_on_which_an_order_of_their_own_is_served() -> None:
    order = standing_order()
    draft = DraftFactory()
    open_loan(reference=draft.reference, actor=STAFF.__class__("staff", order.investor.user_id), now=NOON)
    assert outcome(order, draft) == 10_000


def test_the_openings_of_an_order_are_told_newest_first() -> None:
    order = standing_order(10_000, least_rate=Decimal("8.00"))
    loans = [LoanFactory(annual_rate=rate) for rate in (Decimal("7.00"), Decimal("8.00"), Decimal("9.00"))]
    assert [(opening.loan, opening.obstacle, opening.amount) for opening in recent_openings(order, 2)] == [
        (loans[2], "", 10_000),
        (loans[1], "", 10_000),
    ]


# --- Announce -----------------------------------------------------------------------------------------------------------
def announced(now=NOON, **fields: Any) -> Loan:
    return announce_loan(reference=DraftFactory(**fields).reference, opens_at=NOON + HOURS_24, now=now, **BY_STAFF)


def test_an_announced_loan_is_upcoming_and_takes_no_reservation_until_the_job_opens_it() -> None:
    loan = announced()
    assert (loan.status, loan.opens_at, loan.closes_at) == ("upcoming", NOON + HOURS_24, NOON + HOURS_24 + timedelta(weeks=3))
    for act in (reserved, waiting):
        with pytest.raises(LoanNotOpen, match="it opens at"):
            act(loan, 5_000)
    with pytest.raises(IllegalTransition):
        edit_loan(reference=loan.reference, facts={"title": "Another"}, actor=STAFF, now=NOON)
    order = standing_order(10_000)
    assert open_announced_loans(NOON + HOURS_24 - timedelta(seconds=1)) == 0
    late = NOON + HOURS_24 + timedelta(seconds=1)
    assert open_announced_loans(late) == 1
    assert open_announced_loans(late) == 0
    loan = fresh(loan)
    assert (loan.status, loan.opens_at, loan.closes_at) == ("open", late, NOON + HOURS_24 + timedelta(weeks=3))
    assert outcome(order, loan) == 10_000
    assert [row.event for row in Transition.objects.filter(loan=loan)] == ["created", "announced", "opened", "reserved"]


def test_a_job_that_runs_after_the_closing_opens_nothing_and_asks_staff() -> None:
    standing_order(10_000)
    loan = announce_loan(reference=DraftFactory().reference, opens_at=NOON + HOUR, closes_at=NOON + 2 * HOUR, now=NOON, **BY_STAFF)
    for _ in range(2):
        assert open_announced_loans(NOON + 2 * HOUR) == 0
    assert (fresh(loan).status, loan.reservations.count()) == ("upcoming", 0)
    assert ReviewItem.objects.get().kind == "opening_missed"
    announce_loan(reference=loan.reference, opens_at=NOON + 4 * HOUR, now=NOON + 3 * HOUR, **BY_STAFF)
    assert open_announced_loans(NOON + 4 * HOUR) == 1


def test_a_loan_whose_opening_cannot_be_written_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    loan = announced()
    with monkeypatch.context() as patch:
        patch.setattr(UnitOfWork, "write", lambda _: 1 / 0)
        assert open_announced_loans(NOON + HOURS_24) == 0
    assert (fresh(loan).status, ReviewItem.objects.get().kind) == ("upcoming", "job_failed")


def test_an_opening_is_moved_and_a_repeat_changes_nothing() -> None:
    loan = announced()
    again: dict[str, Any] = {"reference": loan.reference, "opens_at": NOON + 2 * HOURS_24, "now": NOON} | BY_STAFF
    for _ in range(2):
        assert announce_loan(**again).opens_at == NOON + 2 * HOURS_24
    assert Transition.objects.filter(loan=loan, event="announced").count() == 2
    assert open_announced_loans(NOON + HOURS_24) == 0


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ({"opens_at": NOON}, "Choose an opening after"),
        ({"opens_at": NOON + HOUR, "closes_at": NOON + HOUR}, "Choose a closing time after"),
    ],
)
def test_an_opening_in_the_past_or_after_the_closing_is_refused(times: dict[str, Any], words: str) -> None:
    draft = DraftFactory()
    with pytest.raises(Invalid, match=words):
        announce_loan(reference=draft.reference, now=NOON, **times, **BY_STAFF)
    assert fresh(draft).status == "draft"


def test_an_open_loan_cannot_be_announced() -> None:
    with pytest.raises(IllegalTransition):
        announce_loan(reference=LoanFactory().reference, opens_at=NOON + HOUR, now=NOON, **BY_STAFF)


def test_staff_open_an_announced_loan_early_and_it_keeps_its_closing() -> None:
    loan = announced()
    opened = open_loan(reference=loan.reference, actor=STAFF, now=NOON + HOUR)
    assert (opened.status, opened.opens_at, opened.closes_at) == ("open", NOON + HOUR, NOON + HOURS_24 + timedelta(weeks=3))


def test_an_announced_loan_that_is_withdrawn_has_never_opened() -> None:
    loan = withdraw_loan(reference=announced().reference, now=NOON, **BY_STAFF)
    assert (loan.status, loan.opens_at) == ("withdrawn", None)
    assert open_announced_loans(NOON + HOURS_24) == 0
    with pytest.raises(NotFound):
        waiting(loan, 5_000)


def test_the_rate_by_evidence_is_set_at_the_opening() -> None:
    loan = announced(overbooking_policy=OverbookingPolicy.EVIDENCE, overbooking_rate=Decimal("0.9000"))
    open_announced_loans(NOON + HOURS_24)
    assert fresh(loan).overbooking_rate < Decimal("0.9000")


def test_a_loan_that_cannot_be_opened_is_listed_and_does_not_stop_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = announced(), announced()
    Loan.objects.filter(pk=bad.pk).update(settlement_rule="lottery", lottery_commitment="x")

    from loans.services import loans as service

    opened = service._open

    def fail(work: Any, loan: Loan, closes_at: Any) -> None:
        if loan.pk == bad.pk:
            raise RuntimeError("it is bad")
        opened(work, loan, closes_at)

    monkeypatch.setattr(service, "_open", fail)
    assert open_announced_loans(NOON + HOURS_24) == 1
    assert fresh(good).status == "open"
    assert ReviewItem.objects.get(loan=bad).detail == "It could not be opened: it is bad"


def test_an_upcoming_loan_has_no_closing_value() -> None:
    loan = announced()
    Loan.objects.filter(pk=loan.pk).update(opens_at=NOON - 9 * HOURS_24)  # The job that opens it has not run.
    record_due_closing_values(NOON)
    assert not loan.closing_values.exists()


# --- Look ahead ---------------------------------------------------------------------------------------------------------
def test_a_forecast_says_what_the_opening_then_does() -> None:
    for amount in (30_000, 30_000, 5_000):
        standing_order(amount)
    standing_order(states=["WA"])
    draft = DraftFactory()
    forecast = forecast_opening(draft, NOON)
    assert (forecast.share, forecast.wanting, forecast.wanted) == (50_000, 3, 65_000)
    assert (forecast.served, forecast.given) == (2, 50_000)
    loan = open_loan(reference=draft.reference, actor=STAFF, now=NOON)
    assert (loan.last_number, loan.claimed) == (2, 50_000)


def test_a_preview_names_the_loans_of_the_last_180_days_and_what_they_lack() -> None:
    old = LoanFactory(now=NOON - timedelta(days=181))
    dear, cheap, upcoming = LoanFactory(annual_rate=9), LoanFactory(annual_rate=7, now=NOON + HOUR), announced()
    DraftFactory()
    order = standing_order(least_rate=Decimal(8))
    rows = [(each.loan, each.unmet) for each in preview(order, NOON + HOUR)]
    assert rows == [(upcoming, None), (cheap, "rate"), (dear, None)]
    assert old not in [loan for loan, _ in rows]
