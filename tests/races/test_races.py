"""Let two changes of one loan meet at the worst moment, with the loan's lock; and as a twin, without it.

With the lock, every sum and every history is right afterwards. The twin must go wrong; otherwise the test could not fail.
"""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from threading import Barrier
from typing import Any

import pytest
from django.db import transaction
from django.db.models import F, Sum

from loans.domain import loan_limits
from loans.domain.actors import Actor
from loans.domain.errors import OverLimit
from loans.domain.states import LIVE
from loans.ledger.admission import Admission
from loans.models import Loan, Reservation, Transfer, Transition, WaitingListEntry
from loans.selectors.offers import loan_offer
from loans.services import reservations as reservation_services
from loans.services.bank_events import record_bank_event
from loans.services.expiry import expire_due
from loans.services.loans import withdraw_loan
from loans.services.reservations import cancel_reservation, start_transfer
from loans.services.settlement import settle_ahead_of_turn, settle_loans
from loans.services.staff_overrides import cancel_by_staff, extend_reservation
from peerloans.errors import Problem
from tests.factories import HOURS_24, NOON, STAFF, InvestorFactory, LoanFactory, funded, inbound, notice, pending, reserved
from tests.races.conftest import Call, together

pytestmark = pytest.mark.django_db(transaction=True)
JUST_BEFORE = NOON + HOURS_24 - timedelta(microseconds=1)
BY_STAFF: dict[str, Any] = {"actor": STAFF, "reason": "a race"}


def breaches(loan: Loan) -> list[str]:
    """Name what does not add up: totals, the money of each reservation, and a history whose states do not follow from each other."""
    loan = Loan.objects.get(pk=loan.pk)
    reservations = list(Reservation.objects.filter(loan=loan).order_by("number"))
    wrong = []
    if loan.claimed != sum(reservation.amount for reservation in reservations if reservation.state in LIVE):
        wrong.append("claimed")
    if loan.settled != sum(reservation.settled_amount for reservation in reservations):
        wrong.append("settled")
    if [reservation.number for reservation in reservations] != list(range(1, loan.last_number + 1)):
        wrong.append("last_number")
    for reservation in reservations:
        sums = dict(reservation.transfers.order_by().values_list("status").annotate(Sum("amount")))
        if reservation.received != sums.get("cleared", 0) or reservation.refunded != sums.get("due", 0) + sums.get("paid", 0):
            wrong.append(f"money of {reservation.number}")
        wrong += [f"history of {reservation.number}"] * broken_chain(
            Transition.objects.filter(reservation=reservation, transfer=None), reservation.state
        )
    entries = list(WaitingListEntry.objects.filter(loan=loan).order_by("number"))
    amounts = [entry.amount for entry in entries if entry.state == "waiting"]
    if (loan.waiting_entries, loan.waiting_dollars) != (len(amounts), sum(amounts)):
        wrong.append("waiting")
    for entry in entries:
        wrong += [f"history of entry {entry.number}"] * broken_chain(Transition.objects.filter(waiting_entry=entry), entry.state)
    for transfer in Transfer.objects.filter(reservation__loan=loan):
        wrong += [f"history of {transfer.reference}"] * broken_chain(Transition.objects.filter(transfer=transfer), transfer.status)
    return wrong + ["history of the loan"] * broken_chain(
        Transition.objects.filter(loan=loan, reservation=None, waiting_entry=None), loan.status
    )


def broken_chain(history, state: str) -> bool:
    transitions = list(history.order_by("id").values_list("from_state", "to_state"))
    return transitions[-1][1] != state or any(before[1] != after[0] for before, after in pairwise(transitions))


# --- The changes that meet --------------------------------------------------------------------------------------------
def reserve(loan: Loan, investor=None, amount=10_000, now=NOON) -> Call:
    investor = investor or InvestorFactory()
    return lambda: reservation_services.reserve(reference=loan.reference, investor=investor, amount=Decimal(amount), now=now)


def start(reservation: Reservation, now=NOON) -> Call:
    actor = Actor("investor", reservation.investor.user_id)
    return lambda: start_transfer(reservation_id=reservation.pk, method="ach", actor=actor, investor_id=reservation.investor_id, now=now)


def cancel(reservation: Reservation, now=NOON) -> Call:
    actor = Actor("investor", reservation.investor.user_id)
    return lambda: cancel_reservation(reservation_id=reservation.pk, actor=actor, investor_id=reservation.investor_id, now=now)


def bank_event(kind: str, reservation: Reservation, now=NOON) -> Call:
    event = notice(kind, inbound(reservation).reference, reservation.amount)
    return lambda: record_bank_event(event, now=now)


def settle(loan: Loan, now=NOON) -> Call:
    return lambda: settle_loans([loan.pk], now=now)


def by_staff(verb: Callable[..., Any], reservation: Reservation, now=NOON, **values: Any) -> Call:
    return lambda: verb(reservation_id=reservation.pk, now=now, **values, **BY_STAFF)


def withdraw(loan: Loan) -> Call:
    return lambda: withdraw_loan(reference=loan.reference, now=NOON, **BY_STAFF)


def expire(now) -> Call:
    return lambda: expire_due(now)


def settle_and_reserve(loan: Loan) -> tuple[Call, Call]:
    funded(loan)
    return settle(loan), reserve(loan)


def start_and_expire(loan: Loan) -> tuple[Call, Call]:
    return start(reserved(loan), now=JUST_BEFORE), expire(NOON + HOURS_24)


def money_and_expire(loan: Loan) -> tuple[Call, Call]:
    reservation = pending(loan)
    return bank_event("transfer.cleared", reservation, now=reservation.expires_at - timedelta(microseconds=1)), expire(
        reservation.expires_at
    )


def settle_and_cancel(loan: Loan) -> tuple[Call, Call]:
    return settle(loan), by_staff(cancel_by_staff, funded(loan))


def two_settles(loan: Loan) -> tuple[Call, Call]:
    funded(loan)
    return settle(loan), settle(loan)


def settle_and_withdraw(loan: Loan) -> tuple[Call, Call]:
    funded(loan)
    return settle(loan), withdraw(loan)


def withdraw_and_settle(loan: Loan) -> tuple[Call, Call]:
    funded(loan)
    return withdraw(loan), settle(loan)


def staff_and_job(loan: Loan) -> tuple[Call, Call]:
    reservation = reserved(loan)
    extended = by_staff(extend_reservation, reservation, now=JUST_BEFORE, expires_at=NOON + 2 * HOURS_24)
    return extended, expire(NOON + HOURS_24)


def staff_and_investor(loan: Loan) -> tuple[Call, Call]:
    reservation = reserved(loan)
    return by_staff(cancel_by_staff, reservation), start(reservation)


def two_banks(loan: Loan) -> tuple[Call, Call]:
    return bank_event("transfer.failed", pending(loan)), bank_event("transfer.failed", pending(loan))


PAIRS = [
    settle_and_reserve,
    start_and_expire,
    money_and_expire,
    settle_and_cancel,
    two_settles,
    settle_and_withdraw,
    withdraw_and_settle,
    staff_and_job,
    staff_and_investor,
    two_banks,
]


def last_cent_and(other: Callable[[Loan], Call]) -> Callable[[Loan], tuple[Call, Call]]:
    """Settle the last cent ahead of the queue while something else happens on the loan."""

    def pair(loan: Loan) -> tuple[Call, Call]:
        meanwhile = other(loan)
        return by_staff(settle_ahead_of_turn, funded(loan, 100_000)), meanwhile

    pair.__name__ = f"last_cent_and_{other.__name__.strip('_')}"
    return pair


def cancel_(loan: Loan) -> Call:
    return cancel(reserved(loan, 5_000))


def start_(loan: Loan) -> Call:
    return start(reserved(loan, 5_000))


def money_(loan: Loan) -> Call:
    return bank_event("transfer.cleared", pending(loan, 5_000))


def failure_(loan: Loan) -> Call:
    return bank_event("transfer.failed", pending(loan, 5_000))


def settle_(loan: Loan) -> Call:
    funded(loan, 5_000)
    return settle(loan)


def another_settled_ahead_(loan: Loan) -> Call:
    return by_staff(settle_ahead_of_turn, funded(loan, 5_000))


def staff_(loan: Loan) -> Call:
    return by_staff(cancel_by_staff, funded(loan, 5_000))


def expire_(loan: Loan) -> Call:
    reserved(loan, 5_000, now=NOON - HOURS_24 + timedelta(hours=1))
    return expire(NOON + timedelta(hours=1))


CHANGES = [reserve, cancel_, start_, money_, failure_, settle_, another_settled_ahead_, staff_, withdraw, expire_]
ALL_PAIRS = PAIRS + [last_cent_and(other) for other in CHANGES]


@pytest.mark.parametrize("lock", [True, False], ids=["locked", "twin"], indirect=True)
@pytest.mark.parametrize("pair", ALL_PAIRS, ids=lambda pair: pair.__name__)
def test_two_changes_that_meet_leave_everything_right_under_the_lock_and_only_there(
    pair: Callable[[Loan], tuple[Call, Call]], lock: bool, meet
) -> None:
    loan = LoanFactory(now=NOON - HOURS_24)
    first, second = pair(loan)
    faults = [result for result in meet(first, second) if isinstance(result, Exception) and not isinstance(result, Problem)]
    wrong = [*map(repr, faults), *breaches(loan)]
    assert wrong == [] if lock else wrong != [], wrong


# --- Reserve against reserve: one conditional statement, and no lock before it ----------------------------------------
def read_then_write(barrier: Barrier) -> Callable[..., Admission]:
    """Return the twin of the one statement: it reads what is available, and takes it in a second step."""

    def admit(*, reference: str, investor_id: int, amount: Decimal, **_: Any) -> Admission:
        offer = loan_offer(reference, NOON)
        barrier.wait(10)
        if amount > offer.available:
            return Admission()
        with transaction.atomic():
            Loan.objects.filter(pk=offer.loan.pk).update(claimed=F("claimed") + amount, last_number=F("last_number") + 1)
            reservation = Reservation.objects.create(
                loan=offer.loan,
                investor_id=investor_id,
                number=Loan.objects.get(pk=offer.loan.pk).last_number,
                amount=amount,
                state="reserved",
                created_at=NOON,
                expires_at=NOON + HOURS_24,
            )
        return Admission(reservation)

    return admit


def over_the_limit(loan: Loan) -> Decimal:
    loan.refresh_from_db()
    return loan.claimed - loan_limits.limit(loan.remaining, loan.overbooking_rate)


def test_32_investors_who_want_the_last_300_reservations_fill_the_loan_exactly() -> None:
    loan, investors = LoanFactory(now=None, amount=Decimal(250_000)), [InvestorFactory() for _ in range(32)]
    results = [one for ten in together(*(ten_times(reserve(loan, investor, 1_000, now=None)) for investor in investors)) for one in ten]
    admitted = [result for result in results if isinstance(result, Reservation)]
    assert len(admitted) == 300
    assert {type(result) for result in results if not isinstance(result, Reservation)} == {OverLimit}
    assert over_the_limit(loan) == 0
    by_number = sorted(admitted, key=lambda reservation: reservation.number)
    assert [reservation.number for reservation in by_number] == list(range(1, 301))
    assert by_number == sorted(by_number, key=lambda reservation: reservation.created_at), "the queue has the order of the decisions"
    assert breaches(loan) == []


def ten_times(call: Call) -> Call:
    """Make the call ten times, and return each result, refusals among them."""

    def outcome() -> Any:
        try:
            return call()
        except Problem as problem:
            return problem

    return lambda: [outcome() for _ in range(10)]


def test_twin_that_reads_and_then_writes_goes_over_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    loan, investors = LoanFactory(amount=Decimal(10_000)), [InvestorFactory() for _ in range(2)]
    monkeypatch.setattr(reservation_services, "admit_reservation", read_then_write(Barrier(2)))
    together(*(reserve(loan, investor, 10_000) for investor in investors))
    assert over_the_limit(loan) == 8_000


# --- Expire against expire: one statement that skips loans which another transaction holds ----------------------------
def expire_in_two_steps(barrier: Barrier, loan: Loan) -> Call:
    """Return the twin of the one statement: it reads the lapsed reservations, and cancels them in a second step."""

    def run() -> int:
        lapsed = list(Reservation.objects.filter(loan=loan, expires_at__lte=NOON + HOURS_24))
        barrier.wait(10)
        with transaction.atomic():
            Loan.objects.filter(pk=loan.pk).update(claimed=F("claimed") - sum(reservation.amount for reservation in lapsed))
            ids = [reservation.pk for reservation in lapsed]
            return Reservation.objects.filter(pk__in=ids).update(
                state="canceled", cause="expired", let_go_at=NOON + HOURS_24, expires_at=None
            )

    return run


def test_jobs_that_run_at_once_cancel_each_reservation_once() -> None:
    loans = [LoanFactory() for _ in range(4)]
    for loan in loans:
        for _ in range(5):
            reserved(loan, 1_000)
    counts = together(*[lambda: expire_due(NOON + HOURS_24, batch=3)] * 4)
    counts.append(expire_due(NOON + HOURS_24))  # what another run held is left for the next one
    assert sum(counts) == 20
    assert Transition.objects.filter(event="expired").count() == 20
    assert [breaches(loan) for loan in loans] == [[]] * 4


def test_twin_that_reads_and_then_cancels_releases_a_reservation_twice() -> None:
    reserved(loan := LoanFactory(), 1_000)
    reserved(loan, 5_000, now=NOON + HOURS_24 - timedelta(hours=1))
    barrier = Barrier(2)
    together(expire_in_two_steps(barrier, loan), expire_in_two_steps(barrier, loan))
    assert "claimed" in breaches(loan)
