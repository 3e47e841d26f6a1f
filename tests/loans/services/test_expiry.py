"""Check that the job cancels every lapsed reservation, the oldest first, whatever the size of a batch."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from loans.models import Loan, Reservation, ReviewItem, Transition
from loans.services.expiry import expire_due
from tests.factories import HOURS_24, NOON, LoanFactory, fresh, funded, money_comes, pending, reserved, settled

pytestmark = pytest.mark.django_db
LAST_MICROSECOND = timedelta(microseconds=1)
MONEY_DEADLINE = datetime(2026, 7, 9, 4, tzinfo=UTC)


@pytest.mark.parametrize(("reservation", "deadline"), [(reserved, NOON + HOURS_24), (pending, MONEY_DEADLINE)])
def test_a_reservation_expires_at_its_deadline_and_not_before(reservation, deadline: datetime) -> None:
    reservation = reservation(loan := LoanFactory())
    assert expire_due(deadline - LAST_MICROSECOND) == 0
    assert expire_due(deadline) == 1
    ended = fresh(reservation)
    assert (ended.state, ended.cause, ended.expires_at) == ("canceled", "expired", None)
    assert fresh(loan).claimed == 0
    transition = Transition.objects.get(event="expired")
    assert (transition.from_state, transition.to_state, transition.amount, transition.actor, transition.at) == (
        reservation.state,
        "canceled",
        10_000,
        "system",
        deadline,
    )


@pytest.mark.parametrize("reservation", [funded, settled])
def test_a_funded_or_settled_reservation_does_not_expire(reservation) -> None:
    reservation(LoanFactory())
    assert expire_due(NOON + timedelta(days=365)) == 0


def test_too_little_money_is_refunded_when_the_reservation_expires() -> None:
    reservation = pending(LoanFactory())
    money_comes(reservation, "2500.50")
    expire_due(MONEY_DEADLINE)
    refund = reservation.transfers.get(direction="refund")
    assert (refund.status, refund.amount, fresh(reservation).refunded) == ("due", fresh(reservation).received, fresh(reservation).received)
    transitions = Transition.objects.filter(reservation=reservation, at=MONEY_DEADLINE).order_by("id")
    assert sorted(transitions.values_list("event", flat=True)) == ["due", "expired"]
    assert transitions.get(event="due").transfer == refund


@pytest.mark.parametrize("batch", [1, 2, 5, 100])
def test_batches_of_any_size_expire_all_lapsed_reservations(batch: int) -> None:
    loans = [LoanFactory() for _ in range(2)]
    reservations = [reserved(loans[n % 2], 1_000, now=NOON + timedelta(minutes=n // 3)) for n in range(9)]
    alive = reserved(loans[0], 1_000, now=NOON + HOURS_24)
    assert expire_due(NOON + HOURS_24 + timedelta(hours=1), batch=batch) == 9
    assert [loan.claimed for loan in Loan.objects.order_by("id")] == [1_000, 0]
    assert fresh(alive).state == "reserved"
    assert {fresh(reservation).cause for reservation in reservations} == {"expired"}
    assert expire_due(NOON + HOURS_24 + timedelta(hours=1), batch=batch) == 0


def test_the_oldest_expire_first() -> None:
    minutes = (2, 0, 1)
    reservations = [reserved(LoanFactory(), now=NOON + timedelta(minutes=minute)) for minute in minutes]
    expire_due(NOON + 2 * HOURS_24, batch=1)
    ended = Transition.objects.filter(event="expired").order_by("id").values_list("reservation", flat=True)
    assert list(ended) == [reservations[1].pk, reservations[2].pk, reservations[0].pk]


@pytest.mark.django_db(transaction=True)
def test_one_bad_loan_does_not_stop_the_others() -> None:
    """The bad loan's totals are wrong, so a constraint refuses that its reservation is taken out of them."""
    good, bad, also_good = (LoanFactory() for _ in range(3))
    reservations = [reserved(loan) for loan in (good, bad, also_good)]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE loans_loan SET claimed = 1 WHERE id = %s", [bad.pk])
    assert expire_due(NOON + HOURS_24) == 2
    assert [fresh(reservation).state for reservation in reservations] == ["canceled", "reserved", "canceled"]
    review_item = ReviewItem.objects.get()
    assert (review_item.kind, review_item.loan_id) == ("job_failed", bad.pk)
    assert "loan_claimed_not_negative" in review_item.detail
    expire_due(NOON + HOURS_24)
    assert ReviewItem.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_batch_that_fails_changes_nothing() -> None:
    bad = LoanFactory()
    reserved(bad, 2_000)
    reserved(bad, 3_000)
    Loan.objects.filter(pk=bad.pk).update(claimed=3_000)
    before = list(Reservation.objects.values())
    assert expire_due(NOON + HOURS_24) == 0
    assert list(Reservation.objects.values()) == before
    assert not Transition.objects.filter(event="expired").exists()


def test_the_money_of_an_expired_reservation_covers_its_loss_before_it_is_refunded() -> None:
    loan = LoanFactory()
    reservation = funded(loan, 10_000)
    Reservation.objects.filter(pk=reservation.pk).update(
        funded_at=None, expires_at=NOON, received=7_000, refunded=1_000, lost=1_500
    )  # what reports in another order can lead to
    assert expire_due(NOON) == 1
    after = Reservation.objects.get(pk=reservation.pk)
    assert (after.received, after.lost, after.refunded, after.waiting_money) == (7_000, 0, 7_000, 0)
    assert after.transfers.get(direction="refund").amount == 6_000
    assert list(after.transitions.filter(transfer=None).order_by("id").values_list("event", "amount"))[-2:] == [
        ("expired", 10_000),
        ("recovered", 1_500),
    ]
