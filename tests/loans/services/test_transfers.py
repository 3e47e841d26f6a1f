"""Record bank events: each case of the rules for money, with the accounts of all reservations checked after each test."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import celery
import kombu.exceptions
import pytest
from django.db.models import Sum

from loans.domain.states import Direction, TransferStatus
from loans.models import BankEvent, Reservation, ReviewItem, Transfer, Transition
from loans.services.expiry import expire_due
from loans.services.settlement import settle_loans
from loans.services.staff_overrides import accept_amount, cancel_by_staff, reinstate_reservation
from loans.services.transfers import record_bank_event
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
    refund_goes_out,
    reserved,
    settled,
    start_transfer,
)

pytestmark = pytest.mark.django_db
LATER = NOON + timedelta(minutes=1)
DEADLINE = datetime(2026, 7, 9, 4, tzinfo=UTC)  # the end of the fifth banking day after NOON's: 2, 3, 6, 7 and 8 July


def refunds(reservation: Reservation) -> list[tuple[str, Decimal]]:
    found = reservation.transfers.filter(direction=Direction.REFUND).order_by("created_at", "amount")
    return [(refund.status, refund.amount) for refund in found]


def review_items(reservation: Reservation) -> list[str]:
    return list(ReviewItem.objects.filter(reservation=reservation).order_by("id").values_list("kind", flat=True))


def summed(reservation: Reservation, *statuses: str) -> Decimal:
    return reservation.transfers.filter(status__in=statuses).aggregate(sum=Sum("amount", default=Decimal(0)))["sum"]


@pytest.fixture(autouse=True)
def _money_adds_up() -> object:
    """Check after each test, for every reservation: cleared inbound + lost = settled + refunds not void + what waits."""
    yield
    for reservation in Reservation.objects.all():
        assert reservation.received == summed(reservation, TransferStatus.CLEARED)
        assert reservation.refunded == summed(reservation, TransferStatus.DUE, TransferStatus.PAID)
        assert reservation.received + reservation.lost == reservation.settled_amount + reservation.refunded + reservation.waiting
        if reservation.funded_at and reservation.state == "pending":
            assert reservation.waiting == reservation.amount
        elif reservation.state != "pending":
            assert reservation.waiting == 0


# --- Money that comes as expected -------------------------------------------------------------------------------------
def test_money_stops_the_clock_and_waits_for_its_turn(locks_first) -> None:
    reservation = pending(LoanFactory())
    with locks_first():
        assert money_comes(reservation, now=LATER) == "funded"
    reservation = fresh(reservation)
    assert (reservation.state, reservation.expires_at, reservation.funded_at, reservation.waiting) == ("pending", None, LATER, 10_000)
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


def test_a_refunds_reference_names_no_inbound_transfer() -> None:
    reservation = pending(LoanFactory())
    assert record_bank_event(notice("refund.paid", inbound(reservation).reference, 10_000), now=NOON) == "unknown_reference"


# --- Money of another amount ------------------------------------------------------------------------------------------
def test_too_little_money_waits_while_the_clock_runs_and_is_refunded_at_the_deadline() -> None:
    reservation = pending(LoanFactory())
    assert money_comes(reservation, "9999.99") == "too_little"
    reservation = fresh(reservation)
    assert (reservation.state, reservation.expires_at, reservation.funded_at, reservation.waiting) == (
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
    assert (reservation.state, reservation.amount, reservation.expires_at, reservation.waiting) == ("pending", 4000, None, 4000)
    assert fresh(loan).claimed == 4000
    assert settle_loans([loan.pk], now=LATER) == 1
    assert fresh(reservation).settled_amount == 4000


def test_too_much_money_funds_the_reservation_and_the_excess_is_refunded_at_once() -> None:
    reservation = pending(LoanFactory())
    assert money_comes(reservation, "10000.01") == "funded"
    assert refunds(reservation) == [("due", Decimal("0.01"))]
    assert (fresh(reservation).waiting, review_items(reservation)) == (10_000, ["amount_differs"])


@pytest.mark.parametrize("state", [funded, settled])
def test_a_second_payment_is_refunded_whole(state) -> None:
    reservation = state(LoanFactory())
    before = fresh(reservation)
    assert money_comes(reservation, "300.00", now=LATER) == "second_payment"
    assert money_comes(reservation, "10000.00", now=LATER) == "second_payment"
    assert refunds(reservation) == [("due", 300), ("due", 10_000)]
    after = fresh(reservation)
    assert (after.state, after.settled_amount, after.waiting) == (before.state, before.settled_amount, before.waiting)
    assert list(reservation.transfers.filter(direction="inbound").values_list("payment_number", flat=True)) == [1, 2, 3]
    assert len({t.reference for t in reservation.transfers.filter(direction="inbound")}) == 1


def test_a_second_payment_that_is_returned_does_not_change_the_reservation() -> None:
    reservation = funded(LoanFactory())
    money_comes(reservation, "10000.00", now=LATER)
    assert money_fails(reservation, "10000.00", now=LATER) == "returned"
    assert (fresh(reservation).state, fresh(reservation).waiting, refunds(reservation)) == ("pending", 10_000, [("void", 10_000)])


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
    assert (refunds(reservation), review_items(reservation)) == ([("void", 10_000)], [])


def test_a_refund_already_paid_is_a_loss_when_its_payment_is_returned() -> None:
    reservation = funded(LoanFactory())
    cancel_by_staff(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=NOON)
    refund_goes_out(reservation.transfers.get(direction="refund"))
    assert money_fails(reservation, now=LATER) == "returned"
    reservation = fresh(reservation)
    assert (reservation.received, reservation.lost, reservation.refunded) == (0, 10_000, 10_000)
    assert (refunds(reservation), review_items(reservation)) == ([("paid", 10_000)], ["loss"])


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


def test_money_that_clears_after_its_transfer_failed_is_late() -> None:
    reservation = pending(LoanFactory())
    money_fails(reservation, now=LATER, occurred_at=NOON)
    assert money_comes(reservation, now=LATER, occurred_at=LATER) == "late_money"
    assert refunds(reservation) == [("due", 10_000)]


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
    assert (fresh(reservation).state, fresh(reservation).waiting, refunds(reservation)) == ("pending", 10_000, [("void", 10_000)])


# --- Refunds go out ---------------------------------------------------------------------------------------------------
def with_refund() -> Transfer:
    reservation = funded(LoanFactory())
    cancel_by_staff(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=NOON)
    return reservation.transfers.get(direction="refund")


def test_a_refund_is_paid_once() -> None:
    refund = with_refund()
    assert [refund_goes_out(refund), refund_goes_out(refund)] == ["paid", "already_paid"]
    assert (fresh(refund).status, Transition.objects.filter(transfer=refund, event="paid").count()) == ("paid", 1)


@pytest.mark.parametrize("amount", ["9999.99", "10000.01"])
def test_a_refund_paid_of_another_amount_changes_nothing_and_is_listed(amount: str) -> None:
    refund = with_refund()
    assert refund_goes_out(refund, amount) == "refund_differs"
    assert fresh(refund).status == "due"
    assert review_items(refund.reservation) == ["refund_differs"]


def test_a_void_refund_that_is_paid_is_listed() -> None:
    refund = with_refund()
    money_fails(refund.reservation)
    assert refund_goes_out(refund) == "refund_differs"
    assert fresh(refund).status == "void"


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
