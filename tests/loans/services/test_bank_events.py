"""Record bank events: each case of the rules for money, with the accounts of all reservations checked after each test."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import celery
import kombu.exceptions
import pytest
from django.db.models import Sum

from loans.domain.errors import IllegalTransition, NotFound
from loans.domain.states import Direction, TransferStatus
from loans.models import BankEvent, Reservation, ReviewItem, Transfer, Transition
from loans.services.bank_events import Notice, answer_another_payment, answer_same_payment, assign_bank_event, record_bank_event
from loans.services.expiry import expire_due
from loans.services.payment_files import send_refunds
from loans.services.settlement import settle_ahead_of_turn, settle_loans
from loans.services.staff_overrides import accept_amount, cancel_by_staff, record_money, reinstate_reservation, reverse_payment
from tests.factories import (
    NOON,
    STAFF,
    LoanFactory,
    canceled,
    fresh,
    funded,
    inbound,
    money_comes,
    money_fails,
    notice,
    pending,
    refund_bounces,
    refund_goes_out,
    reserved,
    settled,
    start_transfer,
)

pytestmark = pytest.mark.django_db
LATER = NOON + timedelta(minutes=1)
DEADLINE = datetime(2026, 7, 9, 4, tzinfo=UTC)  # the end of the fifth banking day after NOON's: 2, 3, 6, 7 and 8 July


def minute(number: int) -> datetime:
    return NOON + timedelta(minutes=number)


def refunds(reservation: Reservation) -> list[tuple[str, Decimal]]:
    found = reservation.transfers.filter(direction=Direction.REFUND).order_by("created_at", "amount")
    return [(refund.status, refund.amount) for refund in found]


def review_items(reservation: Reservation) -> list[str]:
    return list(ReviewItem.objects.filter(reservation=reservation).order_by("id").values_list("kind", flat=True))


def summed(reservation: Reservation, column: str, **conditions: Any) -> Decimal:
    return reservation.transfers.filter(**conditions).aggregate(sum=Sum(column, default=Decimal(0)))["sum"]


@pytest.fixture(autouse=True)
def _money_adds_up() -> object:
    """Check after each test, for every reservation: cleared inbound + lost = settled + refunds not void + what waits."""
    yield
    for reservation in Reservation.objects.all():
        assert reservation.received == summed(reservation, "moved", direction=Direction.INBOUND)
        open_refunds = summed(reservation, "amount", status__in=[TransferStatus.DUE, TransferStatus.SENT])
        assert reservation.refunded == open_refunds + summed(reservation, "moved", status=TransferStatus.PAID)
        assert reservation.received + reservation.lost == reservation.settled_amount + reservation.refunded + reservation.waiting_money
        if reservation.funded_at and reservation.state == "pending":
            assert reservation.waiting_money == reservation.amount
        elif reservation.state != "pending":
            assert reservation.waiting_money == 0


# --- Money that comes as expected -------------------------------------------------------------------------------------
def test_money_stops_the_clock_and_waits_for_its_turn(locks_first) -> None:
    reservation = pending(LoanFactory())
    with locks_first():
        assert money_comes(reservation, now=LATER) == "funded"
    reservation = fresh(reservation)
    assert (reservation.state, reservation.expires_at, reservation.funded_at, reservation.waiting_money) == ("pending", None, LATER, 10_000)
    assert inbound(reservation).status == "cleared"
    assert expire_due(NOON + timedelta(days=100)) == 0


def test_money_in_the_last_microsecond_is_in_time_and_at_the_deadline_is_late() -> None:
    loan = LoanFactory()
    in_time, late = pending(loan), pending(loan)
    assert in_time.expires_at == late.expires_at == DEADLINE
    assert money_comes(in_time, now=DEADLINE - timedelta(microseconds=1)) == "funded"
    assert money_comes(late, now=DEADLINE) == "late_money"
    assert (fresh(late).state, fresh(late).cause, refunds(late)) == ("canceled", "expired", [("due", 10_000)])


@pytest.mark.parametrize("kind", ["transfer.cleared", "transfer.failed"])
def test_the_same_event_twice_is_once(kind: str) -> None:
    reservation = pending(LoanFactory())
    event = notice(kind, inbound(reservation).reference, 10_000, event="evt-1")
    first = record_bank_event(event, now=NOON)
    before = Reservation.objects.values().get(), Transition.objects.count(), ReviewItem.objects.count()
    assert record_bank_event(event, now=LATER) == first
    assert (Reservation.objects.values().get(), Transition.objects.count(), ReviewItem.objects.count()) == before
    assert BankEvent.objects.get().recorded_at == NOON


def test_an_unknown_reference_is_listed_once() -> None:
    event = notice("transfer.cleared", "T-NOBODY", 10_000, event="evt-1")
    assert [record_bank_event(event, now=NOON) for _ in range(2)] == ["unknown_reference"] * 2
    assert ReviewItem.objects.get().kind == "unknown_reference"


@pytest.mark.parametrize("written", ["{}", "Payment {} thanks"])
@pytest.mark.parametrize(
    "kind", [str.lower, lambda reference: reference.replace("-", ""), lambda reference: f"{reference[:6]} {reference[6:]}"]
)
def test_a_reference_is_matched_however_it_is_written(written: str, kind: Callable[[str], str]) -> None:
    reservation = pending(LoanFactory())
    text = written.format(kind(inbound(reservation).reference))
    assert record_bank_event(notice("transfer.cleared", text, 10_000), now=NOON) == "funded"
    assert BankEvent.objects.get().reference == text


def test_a_text_with_two_references_matches_neither() -> None:
    loan = LoanFactory()
    text = " ".join(inbound(pending(loan)).reference for _ in range(2))
    assert record_bank_event(notice("transfer.cleared", text, 10_000), now=NOON) == "unknown_reference"
    assert set(Reservation.objects.values_list("received", flat=True)) == {0}


def test_an_event_that_comes_again_with_other_content_is_listed_and_changes_nothing() -> None:
    reservation = pending(LoanFactory())
    said = {"reference": inbound(reservation).reference, "event": "evt-1"}
    assert record_bank_event(notice("transfer.cleared", amount=10_000, **said), now=NOON) == "funded"
    history = Transition.objects.count()
    assert record_bank_event(notice("transfer.cleared", amount=9_000, **said), now=LATER) == "funded"
    assert Transition.objects.count() == history
    assert ReviewItem.objects.get().kind == "event_differs"


def test_an_event_that_comes_again_with_another_time_is_listed() -> None:
    reservation = pending(LoanFactory())
    said = {"reference": inbound(reservation).reference, "event": "evt-1", "amount": 10_000}
    for occurred_at in (NOON, NOON, LATER):
        record_bank_event(notice("transfer.cleared", occurred_at=occurred_at, **said), now=LATER)
    assert ReviewItem.objects.get().kind == "event_differs"


def test_a_form_without_an_amount_that_is_sent_again_means_what_was_recorded() -> None:
    reservation = funded(LoanFactory(), 10_000)
    form = {"notice_id": uuid4(), "occurred_at": LATER, "actor": STAFF, "reason": "a test", "now": LATER}
    money_fails(reservation, 2_000, now=LATER)
    for _ in range(2):
        assert reverse_payment(reservation_id=reservation.pk, **form) == "returned"
    assert review_items(reservation).count("payment_returned") == 2
    assert not ReviewItem.objects.filter(kind="event_differs").exists()


def test_a_refunds_reference_names_no_inbound_transfer() -> None:
    reservation = pending(LoanFactory())
    assert record_bank_event(notice("refund.paid", inbound(reservation).reference, 10_000), now=NOON) == "unknown_reference"


# --- Money of another amount ------------------------------------------------------------------------------------------
def test_too_little_money_waits_while_the_clock_runs_and_is_refunded_at_the_deadline() -> None:
    reservation = pending(LoanFactory())
    assert money_comes(reservation, "9999.99") == "too_little"
    reservation = fresh(reservation)
    assert (reservation.state, reservation.expires_at, reservation.funded_at, reservation.waiting_money) == (
        "pending",
        DEADLINE,
        None,
        Decimal("9999.99"),
    )
    assert (review_items(reservation), refunds(reservation)) == (["amount_differs"], [])
    assert expire_due(DEADLINE) == 1
    assert refunds(reservation) == [("due", Decimal("9999.99"))]
    assert fresh(reservation).cause == "expired"


def test_staff_accept_the_smaller_sum_and_the_reservation_shrinks() -> None:
    reservation = pending(loan := LoanFactory())
    money_comes(reservation, "4000.00")
    accept_amount(reservation_id=reservation.pk, actor=STAFF, reason="by phone", now=LATER)
    reservation = fresh(reservation)
    assert (reservation.state, reservation.amount, reservation.expires_at, reservation.waiting_money) == ("pending", 4000, None, 4000)
    assert fresh(loan).claimed == 4000
    assert settle_loans([loan.pk], now=LATER) == 1
    assert fresh(reservation).settled_amount == 4000


def test_too_much_money_funds_the_reservation_and_the_excess_is_refunded_at_once() -> None:
    reservation = pending(LoanFactory())
    assert money_comes(reservation, "10000.01") == "funded"
    assert refunds(reservation) == [("due", Decimal("0.01"))]
    assert (fresh(reservation).waiting_money, review_items(reservation)) == (10_000, ["amount_differs"])


@pytest.mark.parametrize("state", [funded, settled])
def test_a_second_payment_is_refunded_whole(state) -> None:
    reservation = state(LoanFactory())
    before = fresh(reservation)
    assert money_comes(reservation, "300.00", now=LATER) == "second_payment"
    assert money_comes(reservation, "10000.00", now=LATER) == "second_payment"
    assert refunds(reservation) == [("due", 300), ("due", 10_000)]
    after = fresh(reservation)
    assert (after.state, after.settled_amount, after.waiting_money) == (before.state, before.settled_amount, before.waiting_money)
    transfer = reservation.transfers.get(direction="inbound")
    assert (transfer.amount, transfer.moved, transfer.bank_events.count()) == (10_000, 20_300, 3)


def test_a_second_payment_that_is_returned_does_not_change_the_reservation() -> None:
    reservation = funded(LoanFactory())
    money_comes(reservation, "10000.00", now=LATER)
    assert money_fails(reservation, "10000.00", now=LATER) == "returned"
    assert (fresh(reservation).state, fresh(reservation).waiting_money, refunds(reservation)) == ("pending", 10_000, [("void", 10_000)])


# --- Late money -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("cause", ["staff", "expired", "failed", "funded"])
def test_late_money_is_recorded_and_refunded(cause: str) -> None:
    reservation = pending(loan := LoanFactory())
    if cause == "staff":
        cancel_by_staff(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=NOON)
    elif cause == "expired":
        expire_due(DEADLINE)
    elif cause == "failed":
        money_fails(reservation, now=NOON)
    else:
        settled(loan, 100_000)
    assert fresh(reservation).state == "canceled"
    assert money_comes(reservation, now=DEADLINE) == "late_money"
    assert (fresh(reservation).received, refunds(reservation), inbound(reservation).status) == (10_000, [("due", 10_000)], "cleared")
    assert "late_money" in review_items(reservation)


@pytest.mark.parametrize(
    ("occurred_at", "kind"),
    [(DEADLINE - timedelta(microseconds=1), "deadline_missed"), (DEADLINE, "late_money")],
)
def test_the_instant_of_recording_decides_and_a_deadline_missed_by_it_is_listed(occurred_at: datetime, kind: str) -> None:
    reservation = pending(LoanFactory())
    money_comes(reservation, now=DEADLINE, occurred_at=occurred_at)
    assert (review_items(reservation), refunds(reservation)) == ([kind], [("due", 10_000)])
    assert inbound(reservation).occurred_at == occurred_at


# --- Failed, returned -------------------------------------------------------------------------------------------------
def test_a_failed_transfer_cancels_the_reservation_and_is_listed() -> None:
    reservation = pending(loan := LoanFactory())
    assert money_fails(reservation) == "failed"
    reservation = fresh(reservation)
    assert (reservation.state, reservation.cause, refunds(reservation), review_items(reservation)) == (
        "canceled",
        "transfer_failed",
        [],
        ["transfer_failed"],
    )
    assert fresh(loan).claimed == 0
    assert money_fails(reservation) == "already_failed"


@pytest.mark.parametrize("state", [funded, settled])
def test_a_returned_payment_cancels_without_a_refund(state) -> None:
    reservation = state(loan := LoanFactory())
    assert money_fails(reservation, now=LATER) == "returned"
    reservation, loan = fresh(reservation), fresh(loan)
    assert (reservation.state, reservation.cause, reservation.settled_amount, reservation.received) == (
        "canceled",
        "payment_returned",
        0,
        0,
    )
    assert (refunds(reservation), loan.settled, loan.claimed) == ([], 0, 0)


def test_too_little_money_that_is_returned_cancels_the_reservation_too() -> None:
    reservation = pending(LoanFactory())
    money_comes(reservation, 5_000)
    money_fails(reservation, 5_000)
    assert (fresh(reservation).cause, refunds(reservation)) == ("payment_returned", [])


def test_a_returned_payment_of_a_funded_loan_opens_it_again() -> None:
    loan = LoanFactory()
    left_out = reserved(loan, 5_000)
    last = settled(loan, 100_000)
    assert fresh(loan).status == "funded"
    money_fails(last, now=LATER)
    reopened = fresh(loan)
    assert (reopened.status, reopened.settled, reopened.amount, reopened.closes_at) == ("open", 0, 100_000, loan.closes_at)
    assert fresh(left_out).cause == "loan_funded"


def test_a_refund_still_due_is_void_when_its_payment_is_returned() -> None:
    reservation = funded(LoanFactory())
    cancel_by_staff(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=NOON)
    assert money_fails(reservation, now=LATER) == "returned"
    assert (refunds(reservation), review_items(reservation)) == ([("void", 10_000)], ["payment_returned"])


def test_a_refund_already_paid_is_a_loss_when_its_payment_is_returned() -> None:
    reservation = funded(LoanFactory())
    cancel_by_staff(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=NOON)
    refund_goes_out(reservation.transfers.get(direction="refund"))
    assert money_fails(reservation, now=LATER) == "returned"
    reservation = fresh(reservation)
    assert (reservation.received, reservation.lost, reservation.refunded) == (0, 10_000, 10_000)
    assert (refunds(reservation), review_items(reservation)) == ([("paid", 10_000)], ["loss", "payment_returned"])


def test_a_returned_payment_of_a_partial_fill_cancels_it_and_voids_its_refund() -> None:
    loan = LoanFactory()
    reservation = funded(loan, 20_000)
    settled(loan, 90_000)
    settle_loans([loan.pk], now=NOON)
    assert (fresh(reservation).settled_amount, refunds(reservation)) == (10_000, [("due", 10_000)])
    money_fails(reservation, 20_000, now=LATER)
    assert (fresh(reservation).cause, refunds(reservation), fresh(loan).status) == ("payment_returned", [("void", 10_000)], "open")


# --- Events out of order ----------------------------------------------------------------------------------------------
def test_a_return_reported_before_the_clearing_ends_as_returned() -> None:
    reservation = pending(LoanFactory())
    money_fails(reservation, now=LATER, occurred_at=NOON + timedelta(minutes=5))
    assert money_comes(reservation, now=LATER, occurred_at=NOON + timedelta(minutes=4)) == "returned"
    assert (inbound(reservation).status, fresh(reservation).received, refunds(reservation)) == ("returned", 0, [])


@pytest.mark.parametrize("failure_first", [True, False])
def test_a_failed_attempt_before_the_clearing_changes_nothing_in_either_order(failure_first: bool) -> None:
    reservation = pending(loan := LoanFactory())
    steps = [
        lambda: money_fails(reservation, now=LATER, occurred_at=NOON),
        lambda: money_comes(reservation, now=LATER, occurred_at=LATER),
    ]
    outcomes = [step() for step in (steps if failure_first else steps[::-1])]
    assert outcomes == (["failed", "funded"] if failure_first else ["funded", "superseded"])
    after = fresh(reservation)
    assert (after.state, after.cause, after.funded_at, after.waiting_money, after.expires_at) == ("pending", "", LATER, 10_000, None)
    assert (refunds(reservation), fresh(loan).claimed) == ([], 10_000)


def test_a_reservation_whose_room_was_taken_is_not_revived_and_its_money_is_refunded() -> None:
    reservation = pending(loan := LoanFactory(overbooking_rate=0), 60_000)
    money_fails(reservation, now=NOON, occurred_at=NOON)
    reserved(loan, 50_000)
    assert money_comes(reservation, now=LATER, occurred_at=LATER) == "late_money"
    assert (fresh(reservation).cause, refunds(reservation)) == ("transfer_failed", [("due", 60_000)])


def test_money_of_a_former_transfer_does_not_fund_the_reservation() -> None:
    reservation = pending(LoanFactory())
    former = inbound(reservation)
    money_fails(reservation)
    reinstate_reservation(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=NOON)
    start_transfer(reservation, method="wire", now=LATER)
    assert record_bank_event(notice("transfer.cleared", former.reference, 10_000, occurred_at=LATER), now=LATER) == "late_money"
    assert (fresh(reservation).funded_at, refunds(reservation)) == (None, [("due", 10_000)])
    assert money_comes(reservation, now=LATER) == "funded"
    assert record_bank_event(notice("transfer.failed", former.reference, 10_000, occurred_at=LATER), now=LATER) == "returned"
    assert (fresh(reservation).state, fresh(reservation).waiting_money, refunds(reservation)) == ("pending", 10_000, [("void", 10_000)])


# --- Refunds go out ---------------------------------------------------------------------------------------------------
def with_refund() -> Transfer:
    reservation = funded(LoanFactory())
    cancel_by_staff(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=NOON)
    return reservation.transfers.get(direction="refund")


def test_a_refund_is_paid_once() -> None:
    refund = with_refund()
    assert [refund_goes_out(refund), refund_goes_out(refund)] == ["paid", "possible_duplicate"]
    assert (fresh(refund).status, Transition.objects.filter(transfer=refund, event="paid").count()) == ("paid", 1)


def test_a_refund_that_is_paid_in_part_stays_due_with_the_rest() -> None:
    refund = with_refund()
    assert refund_goes_out(refund, "9999.99") == "refund_differs"
    assert (fresh(refund).status, fresh(refund).outstanding) == ("due", Decimal("0.01"))
    assert review_items(refund.reservation) == ["refund_differs"]
    assert refund_goes_out(refund, "0.01", now=LATER) == "paid"
    assert (fresh(refund).status, fresh(refund.reservation).refunded) == ("paid", 10_000)


def test_what_is_paid_beyond_a_refund_is_a_loss_until_it_comes_back() -> None:
    refund = with_refund()
    assert refund_goes_out(refund, "10000.01") == "refund_differs"
    assert (fresh(refund).status, fresh(refund.reservation).lost) == ("paid", Decimal("0.01"))
    assert review_items(refund.reservation) == ["loss", "refund_differs"]
    assert refund_bounces(refund, "10000.01") == "bounced"
    assert (fresh(refund).status, fresh(refund).amount, fresh(refund.reservation).lost) == ("due", 10_000, 0)


def test_a_void_refund_that_is_paid_all_the_same_is_paid() -> None:
    refund = with_refund()
    money_fails(refund.reservation)
    assert fresh(refund).status == "void"
    assert refund_goes_out(refund) == "refund_differs"
    assert (fresh(refund).status, fresh(refund.reservation).lost) == ("paid", 10_000)


@pytest.mark.parametrize("state", ["pending", "settled"])
def test_a_reservation_whose_money_was_refunded_all_the_same_is_canceled(state: str) -> None:
    refund = with_refund()
    reservation, loan = refund.reservation, refund.reservation.loan
    reinstate_reservation(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=NOON)
    if state == "settled":
        settle_loans([loan.pk], now=NOON)
    assert (fresh(reservation).state, fresh(refund).status) == (state, "void")
    assert refund_goes_out(refund) == "refund_differs"
    after = fresh(reservation)
    assert (after.state, after.cause, after.received, after.refunded, after.lost) == ("canceled", "payment_returned", 10_000, 10_000, 0)
    assert (fresh(loan).settled, fresh(loan).claimed, review_items(reservation)) == (0, 0, ["refund_differs"])


def test_a_refund_that_bounces_is_due_again_and_listed() -> None:
    refund = with_refund()
    file = send_refunds(refund_ids=[refund.pk], actor=STAFF, reason="a test", now=NOON)
    assert (fresh(refund).status, file.refund_count, file.total) == ("sent", 1, 10_000)
    assert refund_bounces(refund) == "bounced"
    assert (fresh(refund).status, review_items(refund.reservation)) == ("due", ["refund_bounced"])
    refund_goes_out(refund, now=LATER)
    assert refund_bounces(refund, now=LATER + timedelta(minutes=1)) == "bounced"
    assert (fresh(refund).status, fresh(refund.reservation).refunded) == ("due", 10_000)


def test_a_refund_that_bounces_after_its_payment_was_taken_back_is_void_and_nothing_is_lost() -> None:
    refund = with_refund()
    refund_goes_out(refund)
    money_fails(refund.reservation, now=LATER)
    assert fresh(refund.reservation).lost == 10_000
    refund_bounces(refund, now=LATER)
    after = fresh(refund.reservation)
    assert (fresh(refund).status, after.lost, after.received, after.refunded) == ("void", 0, 0, 0)


@pytest.mark.parametrize("failure_first", [True, False])
def test_a_refund_that_bounced_is_due_whatever_is_reported_first(failure_first: bool) -> None:
    refund = with_refund()
    send_refunds(refund_ids=[refund.pk], actor=STAFF, reason="a test", now=NOON)
    steps = [lambda: refund_goes_out(refund, now=NOON), lambda: refund_bounces(refund, now=LATER)]
    for step in steps[::-1] if failure_first else steps:
        step()
    assert (fresh(refund).status, fresh(refund).moved) == ("due", 0)


def test_a_late_report_of_an_earlier_attempt_leaves_what_is_sent_again() -> None:
    refund = with_refund()
    refund_goes_out(refund, now=LATER)
    refund_bounces(refund, "0.01", now=LATER + timedelta(hours=1))
    send_refunds(refund_ids=[refund.pk], actor=STAFF, reason="a test", now=LATER + timedelta(hours=2))
    first_attempt = notice("refund.failed", refund.reference, refund.amount, occurred_at=LATER - timedelta(hours=1))
    assert record_bank_event(first_attempt, now=LATER + timedelta(hours=3)) == "superseded"
    assert (fresh(refund).status, fresh(refund).outstanding) == ("sent", Decimal("0.01"))


# --- Payments add up, and are returned in part ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("payments", "excess"),
    [(["3000", "7000"], 0), (["0.01", "10000"], Decimal("0.01")), (["4000", "4000", "2500"], 500)],
)
def test_payments_under_one_reference_add_up(payments: list[str], excess: Decimal) -> None:
    reservation = pending(LoanFactory())
    outcomes = [money_comes(reservation, amount, now=NOON + timedelta(minutes=n)) for n, amount in enumerate(payments)]
    assert outcomes == ["too_little"] * (len(payments) - 1) + ["funded"]
    assert (fresh(reservation).waiting_money, refunds(reservation)) == (10_000, [("due", excess)] if excess else [])


@pytest.mark.parametrize("state", [funded, settled])
def test_a_return_of_a_part_leaves_the_rest(state) -> None:
    reservation = state(loan := LoanFactory())
    assert money_fails(reservation, 100, now=LATER) == "returned"
    after, loan = fresh(reservation), fresh(loan)
    assert (after.state, after.amount, after.received, refunds(reservation)) == (reservation.state, 9_900, 9_900, [])
    assert (loan.settled, loan.claimed) == ((9_900, 0) if after.state == "settled" else (0, 9_900))
    assert review_items(reservation) == ["payment_returned"]


def test_a_return_that_leaves_less_than_the_minimum_cancels_and_refunds_the_rest() -> None:
    reservation = settled(loan := LoanFactory())
    money_fails(reservation, "9000.01", now=LATER)
    assert (fresh(reservation).cause, refunds(reservation), fresh(loan).settled) == ("payment_returned", [("due", Decimal("999.99"))], 0)


def test_a_return_of_more_than_was_received_changes_nothing_and_is_listed() -> None:
    reservation = settled(LoanFactory())
    assert money_fails(reservation, "10000.01", now=LATER) == "return_differs"
    assert (fresh(reservation).state, fresh(reservation).received, review_items(reservation)) == ("settled", 10_000, ["return_differs"])


def test_a_return_that_reopens_a_funded_loan_lists_both() -> None:
    loan = LoanFactory()
    last = settled(loan, 100_000)
    money_fails(last, 5_000, now=NOON + timedelta(days=62))
    assert (fresh(loan).status, fresh(loan).settled, fresh(last).settled_amount) == ("open", 95_000, 95_000)
    assert set(ReviewItem.objects.values_list("kind", "loan")) == {("payment_returned", loan.pk), ("loan_reopened", loan.pk)}


def test_staff_accept_a_closing_piece_that_came_a_cent_short() -> None:
    loan = LoanFactory()
    settled(loan, 99_500)
    closing = pending(loan, 500)
    money_comes(closing, "499.99")
    accept_amount(reservation_id=closing.pk, actor=STAFF, reason="a cent", now=LATER)
    assert (fresh(closing).amount, fresh(closing).waiting_money) == (Decimal("499.99"), Decimal("499.99"))


# --- The same money twice ------------------------------------------------------------------------------------------------
def possible_duplicate() -> tuple[Reservation, BankEvent]:
    reservation = pending(LoanFactory())
    assert [money_comes(reservation), money_comes(reservation)] == ["funded", "possible_duplicate"]
    assert (fresh(reservation).received, refunds(reservation), review_items(reservation)) == (10_000, [], ["possible_duplicate"])
    return reservation, ReviewItem.objects.get().bank_event


def test_a_possible_duplicate_that_is_the_same_payment_moves_no_money() -> None:
    reservation, event = possible_duplicate()
    history = Transition.objects.count()
    for _ in range(2):
        answer_same_payment(bank_event_id=event.pk, actor=STAFF, reason="asked the bank", now=LATER)
    assert (Transition.objects.count(), refunds(reservation), ReviewItem.objects.filter(resolved_at=None).count()) == (history, [], 0)
    with pytest.raises(IllegalTransition):
        answer_another_payment(bank_event_id=event.pk, actor=STAFF, reason="a test", now=LATER)


def test_a_possible_duplicate_that_is_another_payment_is_booked_and_refunded() -> None:
    reservation, event = possible_duplicate()
    for _ in range(2):
        answer_another_payment(bank_event_id=event.pk, actor=STAFF, reason="asked the bank", now=LATER)
    assert (fresh(reservation).received, refunds(reservation)) == (20_000, [("due", 10_000)])
    assert list(ReviewItem.objects.filter(resolved_at=None).values_list("kind", flat=True)) == ["second_payment"]


def test_an_event_that_is_no_possible_duplicate_has_no_answer() -> None:
    reservation = funded(LoanFactory())
    with pytest.raises(IllegalTransition):
        answer_same_payment(bank_event_id=BankEvent.objects.get().pk, actor=STAFF, reason="a test", now=LATER)
    assert fresh(reservation).received == 10_000


@pytest.mark.parametrize("days", [0, 14, 15])
def test_the_banks_event_confirms_what_staff_recorded_within_ten_banking_days(days: int) -> None:
    """The tenth banking day after Wednesday, July 1 is July 15: 2, 3, 6 to 10, 13, 14, 15."""
    reservation = pending(LoanFactory())
    by_hand = {"reservation_id": reservation.pk, "actor": STAFF, "reason": "on the statement", "notice_id": uuid4()}
    assert record_money(**by_hand, occurred_at=NOON, now=NOON) == "funded"
    outcome = money_comes(reservation, now=NOON + timedelta(days=days))
    expected = "confirmation" if days <= 14 else "second_payment"
    assert (outcome, refunds(reservation)) == (expected, [] if days <= 14 else [("due", 10_000)])
    if days <= 14:
        assert money_comes(reservation, now=NOON + timedelta(days=days, minutes=1)) == "second_payment", "each is confirmed once"


# --- Assign --------------------------------------------------------------------------------------------------------------
def test_an_unmatched_payment_is_listed_with_what_it_may_mean_and_assigned() -> None:
    loan = LoanFactory()
    reservation, other = pending(loan), pending(loan, 20_000)
    assert record_bank_event(notice("transfer.cleared", "rent", 10_000, event="evt-1"), now=NOON) == "unknown_reference"
    item = ReviewItem.objects.get()
    assert inbound(reservation).reference in item.detail
    assert inbound(other).reference not in item.detail
    for _ in range(2):
        assign_bank_event(bank_event_id="evt-1", reference=inbound(reservation).reference, actor=STAFF, reason="phoned", now=LATER)
    assert (fresh(reservation).funded_at, fresh(item).resolved_at) == (LATER, LATER)
    with pytest.raises(IllegalTransition):
        assign_bank_event(bank_event_id="evt-1", reference=inbound(other).reference, actor=STAFF, reason="phoned", now=LATER)
    with pytest.raises(NotFound):
        assign_bank_event(bank_event_id="evt-1", reference="T-000000000000", actor=STAFF, reason="phoned", now=LATER)


def test_an_unmatched_payment_that_names_the_investor_is_listed_with_that_reservation() -> None:
    reservation = pending(LoanFactory())
    record_bank_event(notice("transfer.cleared", f"from {reservation.investor.name.upper()}", 1), now=NOON)
    assert inbound(reservation).reference in ReviewItem.objects.get().detail


# --- Refunds that were sent or paid, and reinstatement ---------------------------------------------------------------------
def test_a_reservation_whose_refund_was_sent_is_not_reinstated() -> None:
    refund = with_refund()
    send_refunds(refund_ids=[refund.pk], actor=STAFF, reason="a test", now=NOON)
    with pytest.raises(IllegalTransition, match="sent or paid"):
        reinstate_reservation(reservation_id=refund.reservation_id, actor=STAFF, reason="a test", now=NOON)


def test_a_canceled_reservation_without_money_has_no_refund() -> None:
    assert refunds(canceled(LoanFactory())) == []


def test_a_broker_that_is_away_is_only_logged(
    django_capture_on_commit_callbacks: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object, **__: object) -> None:
        raise kombu.exceptions.OperationalError("connection refused")

    monkeypatch.setattr(celery.current_app, "send_task", away)
    reservation = pending(LoanFactory())
    with django_capture_on_commit_callbacks(execute=True):
        assert money_comes(reservation) == "funded"
    assert "connection refused" in caplog.text


def test_a_reservation_whose_refund_was_paid_in_part_is_not_reinstated() -> None:
    reservation = funded(LoanFactory())
    cancel_by_staff(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=NOON)
    refund_goes_out(reservation.transfers.get(direction=Direction.REFUND), 4_000)
    with pytest.raises(IllegalTransition):
        reinstate_reservation(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=NOON)


def statement(reference: str, amount: int, occurred_at: datetime) -> Notice:
    return Notice(f"line-{uuid4()}", "transfer.cleared", reference, Decimal(amount), occurred_at, "statement")


def test_a_notice_under_a_new_id_confirms_no_other_payment_than_its_own() -> None:
    reservation = pending(LoanFactory(), 5_000)
    reference = inbound(reservation).reference
    money_comes(reservation, occurred_at=NOON)
    assert record_bank_event(statement(reference, 5_000, NOON), now=NOON) == "confirmation"
    assert record_bank_event(statement(reference, 5_000, LATER), now=NOON) == "second_payment"
    assert money_comes(reservation, occurred_at=NOON) == "possible_duplicate"
    assert fresh(reservation).received == 10_000


def test_a_confirmation_whose_time_changes_the_order_changes_the_refund() -> None:
    reservation = funded(LoanFactory())
    cancel_by_staff(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=NOON)
    refund = reservation.transfers.get(direction=Direction.REFUND)
    by_hand = Notice("by-hand", "refund.paid", refund.reference, refund.amount, NOON, "staff")
    assert record_bank_event(by_hand, actor=STAFF, reason="a test", now=NOON) == "paid"
    assert record_bank_event(notice("refund.failed", refund.reference, refund.amount, occurred_at=LATER), now=NOON) == "bounced"
    record_bank_event(notice("refund.paid", refund.reference, refund.amount, occurred_at=LATER + timedelta(minutes=1)), now=NOON)
    assert fresh(refund).status == TransferStatus.PAID, "the failure was an attempt before the payment"


def test_money_that_comes_again_covers_what_was_lost() -> None:
    reservation = funded(LoanFactory())
    cancel_by_staff(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=NOON)
    refund_goes_out(reservation.transfers.get(direction=Direction.REFUND))
    money_fails(reservation, occurred_at=LATER)
    assert fresh(reservation).lost == 10_000
    money_comes(reservation, 12_000, occurred_at=LATER + timedelta(minutes=1))
    assert (fresh(reservation).lost, summed(reservation, "amount", status=TransferStatus.DUE)) == (0, 2_000)


def test_a_settled_part_stays_while_what_is_left_pays_for_it() -> None:
    loan = LoanFactory()
    reservation = funded(loan, 20_000)
    settled(loan, 99_500)
    reservation = fresh(settle_ahead_of_turn(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=NOON))
    assert reservation.settled_amount == 500
    money_fails(reservation, 19_100, occurred_at=LATER)
    reservation = fresh(reservation)
    assert (reservation.state, reservation.settled_amount, summed(reservation, "amount", status=TransferStatus.DUE)) == (
        "settled",
        500,
        400,
    )


def test_a_loss_is_no_money_that_could_revive_a_reservation() -> None:
    reservation = pending(LoanFactory())
    money_comes(reservation, "10000.01")
    excess = reservation.transfers.get(direction="refund")
    send_refunds(refund_ids=[excess.pk], actor=STAFF, reason="a test", now=NOON)
    money_fails(reservation, "10000.01", now=LATER)
    assert fresh(reservation).lost == Decimal("0.01")
    money_comes(reservation, "10000.00", now=LATER + timedelta(minutes=1))
    after = fresh(reservation)
    assert (after.state, after.cause, after.lost) == ("canceled", "payment_returned", 0)
    assert (after.received, after.refunded) == (10_000, 10_000)


def test_a_void_refund_that_is_paid_lowers_what_has_settled_also_where_the_amount_was_lower_already() -> None:
    reservation = settled(loan := LoanFactory())
    money_comes(reservation, "0.01", now=LATER, occurred_at=LATER)
    refund = reservation.transfers.get(direction="refund")
    money_fails(reservation, "0.01", now=LATER, occurred_at=NOON + timedelta(seconds=1))
    assert fresh(refund).status == "void"
    refund_goes_out(refund, now=LATER)
    after = fresh(reservation)
    assert (after.settled_amount, after.lost, fresh(loan).settled) == (Decimal("9999.99"), 0, Decimal("9999.99"))


def test_what_staff_accept_lacks_what_void_refunds_paid_out() -> None:
    reservation = pending(LoanFactory())
    money_comes(reservation, 6_000, now=minute(1))
    money_comes(reservation, 5_000, now=minute(3))
    assert money_fails(reservation, 2_000, now=minute(4), occurred_at=minute(2)) == "returned"
    assert refunds(reservation) == [("void", 1_000)]
    refund_goes_out(reservation.transfers.get(direction="refund"), now=minute(5))
    assert (fresh(reservation).received, fresh(reservation).waiting_money) == (9_000, 8_000)
    accept_amount(reservation_id=reservation.pk, actor=STAFF, reason="by phone", now=minute(6))
    accepted = fresh(reservation)
    assert (accepted.amount, accepted.waiting_money, accepted.refunded, accepted.lost) == (8_000, 8_000, 1_000, 0)
    assert accepted.funded_at == minute(6)


def test_an_older_failure_takes_back_only_its_own_dollars_of_a_clearing() -> None:
    reservation = pending(LoanFactory(minimum=Decimal(10_000)))
    money_fails(reservation, 200, now=minute(2), occurred_at=minute(1))
    assert money_comes(reservation, 10_000, now=minute(3), occurred_at=NOON) == "returned"
    assert fresh(reservation).received == 9_800
    assert "The bank took back $200.00 of" in ReviewItem.objects.get(kind="payment_returned").detail
