"""Settle reservations: apply each loan's settlement rule, and fund the loan when nothing remains of it."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings

from loans.domain.actors import SYSTEM, Actor
from loans.domain.approval_limit import refuse_without_approval
from loans.domain.errors import IllegalTransition
from loans.domain.states import LIVE, LoanEvent, LoanStatus, ReservationEvent, ReservationState
from loans.ledger.jobs import skip_loan_on_failure
from loans.ledger.lottery_seed import changes_revealing_the_seed
from loans.ledger.unit_of_work import UnitOfWork, unit_of_work
from loans.models import Loan, Reservation
from loans.selectors.loans import loans_with_waiting_money
from loans.selectors.queue import allocations_due, reservations_in_queue
from loans.services.refusal_wording import refuse_expired

BATCH_LOANS = 50  # Enough to save round trips, few enough to hold their locks only for a short time.


def settle_due(now: datetime | None = None) -> int:
    """Apply the rule of each loan with funded reservations, in order of ids, and return how many reservations were decided.

    A reservation is decided when it settles, or is canceled because the rule has no share for it. If a batch fails, settle loan by
    loan, so that one bad loan does not stop the others; see `settle_one_loan`.
    """
    loan_ids = loans_with_waiting_money()
    decided = 0
    for start in range(0, len(loan_ids), BATCH_LOANS):
        batch = loan_ids[start : start + BATCH_LOANS]
        try:
            decided += settle_loans(batch, now=now)
        except SoftTimeLimitExceeded:
            raise
        except Exception:  # noqa: BLE001 - settle_one_loan meets the same error again and reports it
            decided += sum(settle_one_loan(loan_id, now) for loan_id in batch)
    return decided


def settle_one_loan(loan_id: int, now: datetime | None = None) -> int:
    """Apply one loan's rule, and return how many reservations were decided; 0 where that fails.

    See `skip_loan_on_failure` for what becomes of an error.
    """
    with skip_loan_on_failure(loan_id, "It could not be settled", now):
        return settle_loans([loan_id], now=now)
    return 0  # `skip_loan_on_failure` has reported why.


def settle_loans(loan_ids: Sequence[int], *, actor: Actor = SYSTEM, now: datetime | None = None) -> int:
    """Apply the rule of each of these loans that is open, in one transaction, and return how many reservations were decided.

    Raises:
        NotFound, Busy.
    """
    with unit_of_work(loan_ids=loan_ids, actor=actor, now=now) as work:
        queues: dict[int, list[Reservation]] = {loan_id: [] for loan_id in work.loans}
        for reservation in reservations_in_queue(list(work.loans)):
            queues[reservation.loan_id].append(reservation)
        return sum(apply_rule(work, loan, queues[loan.pk]) for loan in work.loans.values() if loan.status == LoanStatus.OPEN)


def apply_rule(work: UnitOfWork, loan: Loan, queue: Sequence[Reservation]) -> int:
    """Settle what the loan's rule allocates to its live reservations, and return how many were decided.

    `loan` is open and one of the unit of work's; `queue` are all its live reservations, in queue order. An allocation of 0 dollars
    cancels its reservation. If nothing remains of the loan after that, fund it and cancel the reservations that are still live.
    """
    allocations = allocations_due(loan, queue, work.at)
    for allocation in allocations:
        if allocation.amount:
            work.change_reservation(
                allocation.reservation, ReservationEvent.SETTLED, settled_amount=allocation.amount, rule=loan.settlement_rule
            )
        else:
            work.change_reservation(allocation.reservation, ReservationEvent.NO_SHARE, rule=loan.settlement_rule)
    if allocations:
        _fund_if_sold_out(work, loan, queue)
    return len(allocations)


def _fund_if_sold_out(work: UnitOfWork, loan: Loan, reservations: Iterable[Reservation]) -> None:
    if not loan.remaining:
        work.change_loan(loan, LoanEvent.FUNDED, **changes_revealing_the_seed(loan))
        cancel_live_reservations(work, reservations, ReservationEvent.LOAN_FUNDED)


def cancel_live_reservations(work: UnitOfWork, reservations: Iterable[Reservation], cause: ReservationEvent) -> None:
    """Cancel those reservations that are still live; `cause` is the event that does."""
    for reservation in reservations:
        if reservation.state in LIVE:
            work.change_reservation(reservation, cause)


def settle_ahead_of_turn(*, reservation_id: UUID, actor: Actor, reason: str, now: datetime | None = None) -> Reservation:
    """Settle a funded reservation before its turn, up to what remains. History names the rule `staff`. A repeat changes nothing.

    Raises:
        IllegalTransition: its money has not been received.
        NotFound, ReservationExpired, Busy, ApprovalNeeded.
    """
    with unit_of_work(reservation_id=reservation_id, actor=actor, reason=reason, now=now) as work:
        reservation = work.read_reservation(reservation_id)
        if reservation.state == ReservationState.SETTLED:
            return reservation
        refuse_expired(reservation)
        if reservation.state == ReservationState.PENDING and not reservation.funded_at:
            raise IllegalTransition("Its money has not been received, so it cannot be settled.", state=reservation.state)
        loan = work.loan
        amount = min(reservation.amount, loan.remaining)
        work.change_reservation(reservation, ReservationEvent.SETTLED, settled_amount=amount, rule="staff")
        # The change comes first, because it refuses what is not possible; no approval is asked for that. Nothing is written yet.
        refuse_without_approval(actor, amount, settings.APPROVAL_ABOVE_DOLLARS)
        # Nothing is written yet, so the database still has this reservation as pending. Leave it out, or it would be canceled.
        _fund_if_sold_out(work, loan, reservations_in_queue([loan.pk]).exclude(pk=reservation.pk))
        return reservation
