"""Play reservations to each of their ends by the real services, and count the phases that lapsed and were kept."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.cache import cache
from django.db import connection

from loans.domain.actors import Actor
from loans.domain.overbooking import DAYS_COUNTED, KEPT, LAPSED, LapseCount
from loans.domain.states import CAUSES, ReservationEvent
from loans.models import Loan, Reservation
from loans.selectors.lapse_shares import LAPSE_COUNTS, TYPICAL_AMOUNT, lapse_shares, typical_amount
from loans.services.expiry import expire_due
from loans.services.loans import withdraw_loan
from loans.services.reservations import cancel_reservation
from loans.services.settlement import settle_loans
from loans.services.staff_overrides import accept_amount, cancel_by_staff, reinstate_reservation
from tests.factories import HOURS_24, NOON, STAFF, LoanFactory, canceled, funded, money_comes, money_fails, pending, reserved, settled

LATER = NOON + timedelta(minutes=1)
DAY = timedelta(days=1)
NONE = LapseCount(0, 0)

pytestmark = pytest.mark.django_db


def counts(loan: Loan, now=NOON + 30 * DAY) -> tuple[LapseCount, LapseCount]:
    """Return the loan's own counts, as reserved and as pending, read anew."""
    cache.delete_pattern("*")
    lapses = lapse_shares([loan.pk], now)[loan.pk]
    return lapses.reserved.own, lapses.pending.own


def cancels(reservation: Reservation, now=NOON) -> None:
    actor = Actor("investor", reservation.investor.user_id)
    cancel_reservation(reservation_id=reservation.pk, investor_id=reservation.investor_id, actor=actor, now=now)


# --- Each cause ---------------------------------------------------------------------------------------------------------
def expired_as_reserved(loan: Loan) -> None:
    reserved(loan)
    expire_due(NOON + HOURS_24)


def expired_as_pending(loan: Loan) -> None:
    pending(loan)
    expire_due(NOON + 20 * DAY)


def settled_then_returned(loan: Loan) -> None:
    money_fails(settled(loan), now=LATER)


def funded_then_returned(loan: Loan) -> None:
    money_fails(funded(loan), now=LATER)


def paid_too_little_then_returned(loan: Loan) -> None:
    reservation = pending(loan)
    money_comes(reservation, 4_000)
    money_fails(reservation, 4_000, now=LATER)


def paid_too_little_and_accepted(loan: Loan) -> None:
    reservation = pending(loan)
    money_comes(reservation, 4_000)
    accept_amount(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=LATER)


def canceled_by_staff_as_pending(loan: Loan) -> None:
    cancel_by_staff(reservation_id=pending(loan).pk, actor=STAFF, reason="a test", now=LATER)


def loan_withdrawn(loan: Loan) -> None:
    reserved(loan)
    pending(loan)
    withdraw_loan(reference=loan.reference, actor=STAFF, reason="a test", now=LATER)


def loan_funded(loan: Loan) -> None:
    reserved(loan, 20_000)
    settled(loan, 100_000)


def no_share(loan: Loan) -> None:
    """Two reservations share one cent: the second gets none of it, though its money is here."""
    funded(loan, 60_000)
    funded(loan, 60_000)
    Loan.objects.filter(pk=loan.pk).update(settlement_rule="pro_rata", amount=Decimal("0.01"))
    settle_loans([loan.pk], now=LATER)
    assert Reservation.objects.filter(loan=loan, cause=ReservationEvent.NO_SHARE).count() == 1


def reinstated_and_expired_again(loan: Loan) -> None:
    reinstate_reservation(reservation_id=canceled(loan).pk, actor=STAFF, reason="a test", now=LATER)
    expire_due(LATER + HOURS_24)


ENDS = [
    (expired_as_reserved, LapseCount(1, 0), NONE),
    (lambda loan: cancels(reserved(loan)), LapseCount(1, 0), NONE),
    (expired_as_pending, LapseCount(0, 1), LapseCount(1, 0)),
    (lambda loan: money_fails(pending(loan)), LapseCount(0, 1), LapseCount(1, 0)),
    (funded, LapseCount(0, 1), LapseCount(0, 1)),
    (settled, LapseCount(0, 1), LapseCount(0, 1)),
    (settled_then_returned, LapseCount(0, 1), LapseCount(0, 1)),
    (funded_then_returned, LapseCount(0, 1), LapseCount(1, 0)),
    (paid_too_little_then_returned, LapseCount(0, 1), LapseCount(1, 0)),
    (paid_too_little_and_accepted, LapseCount(0, 1), LapseCount(0, 1)),
    (reinstated_and_expired_again, LapseCount(1, 0), NONE),
    # Still running, and ended by us: censored.
    (reserved, NONE, NONE),
    (pending, LapseCount(0, 1), NONE),
    (canceled, NONE, NONE),
    (canceled_by_staff_as_pending, LapseCount(0, 1), NONE),
    (loan_withdrawn, LapseCount(0, 1), NONE),
    (loan_funded, LapseCount(0, 1), LapseCount(0, 1)),
    (no_share, LapseCount(0, 2), LapseCount(0, 2)),
]


@pytest.mark.parametrize(("play", "as_reserved", "as_pending"), ENDS)
def test_which_ends_are_counted(play, as_reserved, as_pending):
    loan = LoanFactory()
    play(loan)
    assert counts(loan) == (as_reserved, as_pending)


def test_each_cause_is_either_a_lapse_or_ours():
    ours = {ReservationEvent.CANCELED_BY_STAFF, ReservationEvent.LOAN_FUNDED, ReservationEvent.LOAN_WITHDRAWN, ReservationEvent.NO_SHARE}
    assert set(CAUSES) == LAPSED | ours
    assert not KEPT & set(CAUSES)


# --- Which of them ------------------------------------------------------------------------------------------------------
def test_only_the_last_180_days_count():
    loan = LoanFactory()
    cancels(reserved(loan))
    assert counts(loan, NOON + timedelta(days=DAYS_COUNTED) - timedelta(seconds=1))[0] == LapseCount(1, 0)
    assert counts(loan, NOON + timedelta(days=DAYS_COUNTED))[0] == NONE
    assert counts(loan, NOON - timedelta(seconds=1))[0] == NONE


def test_a_loan_has_its_own_counts_beside_those_of_all_loans():
    one, other, new = LoanFactory(), LoanFactory(), LoanFactory()
    cancels(reserved(one))
    funded(other)
    lapses = lapse_shares([one.pk, new.pk], LATER)
    assert lapses[one.pk].reserved.own == LapseCount(1, 0)
    assert lapses[new.pk].reserved.own == NONE
    assert lapses[one.pk].reserved.all_loans == lapses[new.pk].reserved.all_loans == LapseCount(1, 1)
    assert lapses[new.pk].pending.all_loans == LapseCount(0, 1)
    assert lapses[one.pk].reserved.share == pytest.approx((1 + 20 * 2 / 4) / 21)
    assert lapses[new.pk].reserved.interval == (0.0, 1.0)


def test_the_counts_are_remembered_for_ten_minutes(django_assert_num_queries):
    loan = LoanFactory()
    lapse_shares([loan.pk], NOON)
    with django_assert_num_queries(0):
        lapse_shares([loan.pk], NOON + timedelta(minutes=9))
    with django_assert_num_queries(1):
        lapse_shares([loan.pk], NOON + timedelta(minutes=10))


def test_the_typical_amount_is_the_median_and_at_least_the_minimum():
    assert typical_amount(Decimal(1_000), NOON) == 1_000
    cache.delete_pattern("*")
    loan = LoanFactory()
    for amount in (2_000, 3_000, 5_000, 9_000):
        reserved(loan, amount)
    assert typical_amount(Decimal(1_000), LATER) == 3_000
    assert typical_amount(Decimal(4_000), LATER) == 4_000
    cache.delete_pattern("*")
    assert typical_amount(Decimal(1_000), NOON + timedelta(days=DAYS_COUNTED)) == 1_000


# --- The plans ----------------------------------------------------------------------------------------------------------
# Three years of history, so that the planner has something to choose from; nothing but the plan is asked of it.
HISTORY = """
    SET LOCAL session_replication_role = replica;
    INSERT INTO loans_transition (at, loan_id, reservation_id, event, from_state, to_state, amount, rule, actor, reason)
    SELECT %(now)s - n * interval '79 minutes', n %% 50, gen_random_uuid(),
        (ARRAY['reserved', 'transfer_started', 'funded', 'expired', 'settled'])[1 + n %% 5],
        (ARRAY['', 'reserved', 'pending', 'pending', 'pending'])[1 + n %% 5], 'canceled', 1000, '', 'system', ''
    FROM generate_series(1, 20000) AS n;
    INSERT INTO loans_reservation
        (id, loan_id, investor_id, number, amount, settled_amount, state, cause, created_at, let_go_at, received, refunded, lost)
    SELECT gen_random_uuid(), n %% 50, n %% 500, n, 1000, 0, 'canceled', 'expired', %(now)s - n * interval '79 minutes', %(now)s, 0, 0, 0
    FROM generate_series(1, 20000) AS n;
    SET LOCAL session_replication_role = origin;
    ANALYZE loans_transition, loans_reservation;
    SET LOCAL enable_seqscan = off;
    SET LOCAL enable_bitmapscan = off
"""


def plan(statement: str) -> str:
    values = {
        "now": LATER,
        "since": NOON - timedelta(days=DAYS_COUNTED),
        "payment_returned": "payment_returned",
        "funded": "funded",
        "lapsed": sorted(LAPSED),
        "ends": sorted(KEPT | LAPSED),
    }
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {statement}", values)
        return "\n".join(line for (line,) in cursor.fetchall())


def test_the_counts_are_read_from_their_index_alone():
    with connection.cursor() as cursor:
        for command in HISTORY.split(";"):
            cursor.execute(command, {"now": LATER})
    assert "Index Only Scan using transition_phase_end on loans_transition" in plan(LAPSE_COUNTS)
    assert "reservation_newest" in plan(TYPICAL_AMOUNT)
