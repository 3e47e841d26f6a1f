"""What follows from a bank's event? Each case of the rules for money, with whose money it is after every step."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db.models import Sum

from loans import banking, expiring, overriding, settling
from loans.models import BankEvent, Case, Reservation, Transfer, Transition
from loans.states import Direction, TransferStatus
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


def refunds(claim: Reservation) -> list[tuple[str, Decimal]]:
    found = claim.transfers.filter(direction=Direction.REFUND).order_by("created_at", "amount")
    return [(refund.status, refund.amount) for refund in found]


def cases(claim: Reservation) -> list[str]:
    return list(Case.objects.filter(reservation=claim).order_by("id").values_list("kind", flat=True))


def summed(claim: Reservation, *statuses: str) -> Decimal:
    return claim.transfers.filter(status__in=statuses).aggregate(sum=Sum("amount", default=Decimal(0)))["sum"]


@pytest.fixture(autouse=True)
def _money_adds_up() -> object:
    """After each test, for every reservation: cleared inbound + losses = settled + refunds not void + what waits."""
    yield
    for claim in Reservation.objects.all():
        assert claim.received == summed(claim, TransferStatus.CLEARED)
        assert claim.refunded == summed(claim, TransferStatus.DUE, TransferStatus.PAID)
        assert claim.received + claim.lost == claim.settled_amount + claim.refunded + claim.waiting
        if claim.funded_at and claim.state == "pending":
            assert claim.waiting == claim.amount
        elif claim.state != "pending":
            assert claim.waiting == 0


# --- Money that comes as expected -------------------------------------------------------------------------------------
def test_money_stops_the_clock_and_waits_for_its_turn(locks_first) -> None:
    claim = pending(LoanFactory())
    with locks_first():
        assert money_comes(claim, now=LATER) == "funded"
    claim = fresh(claim)
    assert (claim.state, claim.expires_at, claim.funded_at, claim.waiting) == ("pending", None, LATER, 10_000)
    assert inbound(claim).status == "cleared"
    assert expiring.expire_due(NOON + timedelta(days=100)) == 0


def test_money_in_the_last_microsecond_is_in_time_and_at_the_deadline_is_late() -> None:
    loan = LoanFactory()
    in_time, late = pending(loan), pending(loan)
    assert in_time.expires_at == late.expires_at == DEADLINE
    assert money_comes(in_time, now=DEADLINE - timedelta(microseconds=1)) == "funded"
    assert money_comes(late, now=DEADLINE) == "late_money"
    assert (fresh(late).state, fresh(late).cause, refunds(late)) == ("canceled", "expired", [("due", 10_000)])


@pytest.mark.parametrize("kind", ["transfer.cleared", "transfer.failed"])
def test_the_same_event_twice_is_once(kind: str) -> None:
    claim = pending(LoanFactory())
    event = notice(kind, inbound(claim).reference, 10_000, event="evt-1")
    first = banking.record(event, now=NOON)
    before = Reservation.objects.values().get(), Transition.objects.count(), Case.objects.count()
    assert banking.record(event, now=LATER) == first
    assert (Reservation.objects.values().get(), Transition.objects.count(), Case.objects.count()) == before
    assert BankEvent.objects.get().recorded_at == NOON


def test_an_unknown_reference_is_listed_once() -> None:
    event = notice("transfer.cleared", "T-NOBODY", 10_000, event="evt-1")
    assert [banking.record(event, now=NOON) for _ in range(2)] == ["unknown_reference"] * 2
    assert Case.objects.get().kind == "unknown_reference"


def test_an_event_that_comes_again_with_other_content_is_listed_and_changes_nothing() -> None:
    claim = pending(LoanFactory())
    said = {"reference": inbound(claim).reference, "event": "evt-1"}
    assert banking.record(notice("transfer.cleared", amount=10_000, **said), now=NOON) == "funded"
    history = Transition.objects.count()
    assert banking.record(notice("transfer.cleared", amount=9_000, **said), now=LATER) == "funded"
    assert Transition.objects.count() == history
    assert Case.objects.get().kind == "event_differs"


def test_a_refunds_reference_names_no_inbound_transfer() -> None:
    claim = pending(LoanFactory())
    assert banking.record(notice("refund.paid", inbound(claim).reference, 10_000), now=NOON) == "unknown_reference"


# --- Money of another amount ------------------------------------------------------------------------------------------
def test_too_little_waits_beside_the_running_clock_and_goes_back_at_the_end() -> None:
    claim = pending(LoanFactory())
    assert money_comes(claim, "9999.99") == "too_little"
    claim = fresh(claim)
    assert (claim.state, claim.expires_at, claim.funded_at, claim.waiting) == ("pending", DEADLINE, None, Decimal("9999.99"))
    assert (cases(claim), refunds(claim)) == (["amount_differs"], [])
    assert expiring.expire_due(DEADLINE) == 1
    assert refunds(claim) == [("due", Decimal("9999.99"))]
    assert fresh(claim).cause == "expired"


def test_staff_accept_the_smaller_sum_and_the_claim_shrinks() -> None:
    claim = pending(loan := LoanFactory())
    money_comes(claim, "4000.00")
    overriding.accept_amount(reservation_id=claim.pk, actor=STAFF, reason="by phone", now=LATER)
    claim = fresh(claim)
    assert (claim.state, claim.amount, claim.expires_at, claim.waiting) == ("pending", 4000, None, 4000)
    assert fresh(loan).claimed == 4000
    assert settling.settle([loan.pk], now=LATER) == 1
    assert fresh(claim).settled_amount == 4000


def test_too_much_is_funded_and_the_excess_goes_back_at_once() -> None:
    claim = pending(LoanFactory())
    assert money_comes(claim, "10000.01") == "funded"
    assert refunds(claim) == [("due", Decimal("0.01"))]
    assert (fresh(claim).waiting, cases(claim)) == (10_000, ["amount_differs"])


@pytest.mark.parametrize("state", [funded, settled])
def test_a_second_payment_goes_back_whole(state) -> None:
    claim = state(LoanFactory())
    before = fresh(claim)
    assert money_comes(claim, "300.00", now=LATER) == "second_payment"
    assert money_comes(claim, "10000.00", now=LATER) == "second_payment"
    assert refunds(claim) == [("due", 300), ("due", 10_000)]
    after = fresh(claim)
    assert (after.state, after.settled_amount, after.waiting) == (before.state, before.settled_amount, before.waiting)
    assert list(claim.transfers.filter(direction="inbound").values_list("payment", flat=True)) == [1, 2, 3]
    assert len({t.reference for t in claim.transfers.filter(direction="inbound")}) == 1


def test_a_second_payment_that_is_taken_back_leaves_the_claim_alone() -> None:
    claim = funded(LoanFactory())
    money_comes(claim, "10000.00", now=LATER)
    assert money_fails(claim, "10000.00", now=LATER) == "returned"
    assert (fresh(claim).state, fresh(claim).waiting, refunds(claim)) == ("pending", 10_000, [("void", 10_000)])


# --- Late money -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("cause", ["staff", "expired", "failed", "funded"])
def test_late_money_is_recorded_and_goes_back(cause: str) -> None:
    claim = pending(loan := LoanFactory())
    if cause == "staff":
        overriding.cancel_by_staff(reservation_id=claim.pk, actor=STAFF, reason="a test", now=NOON)
    elif cause == "expired":
        expiring.expire_due(DEADLINE)
    elif cause == "failed":
        money_fails(claim, now=NOON)
    else:
        settled(loan, 100_000)
    assert fresh(claim).state == "canceled"
    assert money_comes(claim, now=DEADLINE) == "late_money"
    assert (fresh(claim).received, refunds(claim), inbound(claim).status) == (10_000, [("due", 10_000)], "cleared")
    assert "late_money" in cases(claim)


@pytest.mark.parametrize(
    ("occurred_at", "kind"),
    [(DEADLINE - timedelta(microseconds=1), "deadline_missed"), (DEADLINE, "late_money")],
)
def test_our_receipt_decides_and_a_missed_deadline_is_listed(occurred_at: datetime, kind: str) -> None:
    claim = pending(LoanFactory())
    money_comes(claim, now=DEADLINE, occurred_at=occurred_at)
    assert (cases(claim), refunds(claim)) == ([kind], [("due", 10_000)])
    assert inbound(claim).occurred_at == occurred_at


# --- Failed, returned -------------------------------------------------------------------------------------------------
def test_a_failed_transfer_cancels_the_claim_and_is_listed() -> None:
    claim = pending(loan := LoanFactory())
    assert money_fails(claim) == "failed"
    claim = fresh(claim)
    assert (claim.state, claim.cause, refunds(claim), cases(claim)) == ("canceled", "transfer_failed", [], ["transfer_failed"])
    assert fresh(loan).claimed == 0
    assert money_fails(claim) == "already_failed"


@pytest.mark.parametrize("state", [funded, settled])
def test_a_returned_payment_cancels_without_a_refund(state) -> None:
    claim = state(loan := LoanFactory())
    assert money_fails(claim, now=LATER) == "returned"
    claim, loan = fresh(claim), fresh(loan)
    assert (claim.state, claim.cause, claim.settled_amount, claim.received) == ("canceled", "payment_returned", 0, 0)
    assert (refunds(claim), loan.settled, loan.claimed) == ([], 0, 0)


def test_too_little_that_is_returned_cancels_too() -> None:
    claim = pending(LoanFactory())
    money_comes(claim, 5_000)
    money_fails(claim, 5_000)
    assert (fresh(claim).cause, refunds(claim)) == ("payment_returned", [])


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
    claim = funded(LoanFactory())
    overriding.cancel_by_staff(reservation_id=claim.pk, actor=STAFF, reason="a test", now=NOON)
    assert money_fails(claim, now=LATER) == "returned"
    assert (refunds(claim), cases(claim)) == ([("void", 10_000)], [])


def test_a_refund_already_paid_is_a_loss_when_its_payment_is_returned() -> None:
    claim = funded(LoanFactory())
    overriding.cancel_by_staff(reservation_id=claim.pk, actor=STAFF, reason="a test", now=NOON)
    refund_goes_out(claim.transfers.get(direction="refund"))
    assert money_fails(claim, now=LATER) == "returned"
    claim = fresh(claim)
    assert (claim.received, claim.lost, claim.refunded) == (0, 10_000, 10_000)
    assert (refunds(claim), cases(claim)) == ([("paid", 10_000)], ["loss"])


def test_a_partly_filled_claim_whose_payment_is_returned() -> None:
    loan = LoanFactory()
    claim = funded(loan, 20_000)
    settled(loan, 90_000)
    settling.settle([loan.pk], now=NOON)
    assert (fresh(claim).settled_amount, refunds(claim)) == (10_000, [("due", 10_000)])
    money_fails(claim, 20_000, now=LATER)
    assert (fresh(claim).cause, refunds(claim), fresh(loan).status) == ("payment_returned", [("void", 10_000)], "open")


# --- Events out of order ----------------------------------------------------------------------------------------------
def test_returned_told_before_cleared_ends_as_returned() -> None:
    claim = pending(LoanFactory())
    money_fails(claim, now=LATER, occurred_at=NOON + timedelta(minutes=5))
    assert money_comes(claim, now=LATER, occurred_at=NOON + timedelta(minutes=4)) == "returned"
    assert (inbound(claim).status, fresh(claim).received, refunds(claim)) == ("returned", 0, [])


def test_failed_and_then_cleared_is_late_money() -> None:
    claim = pending(LoanFactory())
    money_fails(claim, now=LATER, occurred_at=NOON)
    assert money_comes(claim, now=LATER, occurred_at=LATER) == "late_money"
    assert refunds(claim) == [("due", 10_000)]


def test_money_of_a_former_transfer_is_not_that_of_the_present_one() -> None:
    claim = pending(LoanFactory())
    former = inbound(claim)
    money_fails(claim)
    overriding.reinstate(reservation_id=claim.pk, actor=STAFF, reason="a test", now=NOON)
    start_transfer(claim, method="wire", now=LATER)
    assert banking.record(notice("transfer.cleared", former.reference, 10_000, occurred_at=LATER), now=LATER) == "late_money"
    assert (fresh(claim).funded_at, refunds(claim)) == (None, [("due", 10_000)])
    assert money_comes(claim, now=LATER) == "funded"
    assert banking.record(notice("transfer.failed", former.reference, 10_000, occurred_at=LATER), now=LATER) == "returned"
    assert (fresh(claim).state, fresh(claim).waiting, refunds(claim)) == ("pending", 10_000, [("void", 10_000)])


# --- Refunds go out ---------------------------------------------------------------------------------------------------
def with_refund() -> Transfer:
    claim = funded(LoanFactory())
    overriding.cancel_by_staff(reservation_id=claim.pk, actor=STAFF, reason="a test", now=NOON)
    return claim.transfers.get(direction="refund")


def test_a_refund_is_paid_once() -> None:
    refund = with_refund()
    assert [refund_goes_out(refund), refund_goes_out(refund)] == ["paid", "already_paid"]
    assert (fresh(refund).status, Transition.objects.filter(transfer=refund, event="paid").count()) == ("paid", 1)


@pytest.mark.parametrize("amount", ["9999.99", "10000.01"])
def test_a_refund_paid_of_another_amount_changes_nothing_and_is_listed(amount: str) -> None:
    refund = with_refund()
    assert refund_goes_out(refund, amount) == "refund_differs"
    assert fresh(refund).status == "due"
    assert cases(refund.reservation) == ["refund_differs"]


def test_a_void_refund_that_is_paid_is_listed() -> None:
    refund = with_refund()
    money_fails(refund.reservation)
    assert refund_goes_out(refund) == "refund_differs"
    assert fresh(refund).status == "void"


def test_a_canceled_claim_without_money_owes_nothing() -> None:
    assert refunds(canceled(LoanFactory())) == []
