"""What happens when the money is here? The loan's rule decides who is settled; the last cent closes the loan."""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from django.db import InterfaceError, OperationalError

from loans.domain.actors import SYSTEM, Actor
from loans.domain.errors import IllegalTransition
from loans.domain.states import Event, LoanEvent, LoanStatus, State
from loans.ledger import locks
from loans.ledger.review_items import open_review_item
from loans.ledger.unit_of_work import UnitOfWork, unit_of_work
from loans.models import Loan, Reservation
from loans.selectors.loans import loans_with_waiting_money
from loans.selectors.queue import allocations_due, live_reservations
from loans.services.reservations import refuse_expired, reservation_under_lock
from peerloans.database.clock import database_now
from peerloans.errors import Problem

logger = logging.getLogger(__name__)

BATCH_LOANS = 50  # Long enough to save round trips, short enough that nobody waits long for one of the loans.


def settle_due(now: datetime | None = None) -> int:
    """Apply the rule of each loan on which money waits, in order of their ids; returns how many reservations were settled.

    A batch that fails is done again loan by loan, so that one bad loan stops no other; what still fails is a review item for staff.
    """
    loan_ids = loans_with_waiting_money()
    settled = 0
    for start in range(0, len(loan_ids), BATCH_LOANS):
        batch = loan_ids[start : start + BATCH_LOANS]
        try:
            settled += settle_loans(batch, now=now)
        except Exception:  # noqa: BLE001 - whatever it is, settle_alone meets it again and says so
            settled += sum(settle_one_loan(loan_id, now) for loan_id in batch)
    return settled


def settle_one_loan(loan_id: int, now: datetime | None = None) -> int:
    """Apply one loan's rule; where that is not possible it is logged, and what is no passing trouble is a review item for staff."""
    try:
        return settle_loans([loan_id], now=now)
    except (Problem, OperationalError, InterfaceError) as trouble:  # busy, or the database is away: the next run comes soon
        logger.warning("Loan %s was not settled: %s", loan_id, trouble)
    except Exception as error:
        logger.exception("Loan %s could not be settled", loan_id)
        open_review_item("job_failed", f"It could not be settled: {error}", at=database_now(now), loan_id=loan_id)
    return 0


def settle_loans(loan_ids: Sequence[int], *, actor: Actor = SYSTEM, now: datetime | None = None) -> int:
    """Apply the rule of each of the loans that is open, in one transaction; returns how many reservations were settled."""
    with locks.short_transaction(), unit_of_work(locks.by_id(loan_ids, now), actor=actor) as work:
        queues: dict[int, list[Reservation]] = {loan_id: [] for loan_id in work.loans}
        for reservation in live_reservations(list(work.loans)):
            queues[reservation.loan_id].append(reservation)
        return sum(apply_rule(work, loan, queues[loan.pk]) for loan in work.loans.values() if loan.status == LoanStatus.OPEN)


def apply_rule(work: UnitOfWork, loan: Loan, queue: Sequence[Reservation]) -> int:
    """Settle whom the loan's rule names among the live reservations; where nothing remains, the loan is funded."""
    reservations = {reservation.pk: reservation for reservation in queue}
    allocations = allocations_due(loan, queue, work.at)
    for allocation in allocations:
        if allocation.amount:
            work.move(reservations[allocation.key], Event.SETTLED, settled_amount=allocation.amount, rule=loan.settlement_rule)
        else:
            work.move(reservations[allocation.key], Event.NO_SHARE, rule=loan.settlement_rule)
    if allocations:
        _close_if_sold_out(work, loan, queue)
    return len(allocations)


def _close_if_sold_out(work: UnitOfWork, loan: Loan, reservations: Iterable[Reservation]) -> None:
    """Where the last cent has settled the loan is funded, and those of the reservations that are still live are canceled."""
    if not loan.remaining:
        work.move_loan(loan, LoanEvent.FUNDED)
        cancel_live_reservations(work, reservations, Event.LOAN_FUNDED)


def cancel_live_reservations(work: UnitOfWork, reservations: Iterable[Reservation], cause: Event) -> None:
    """Cancel those of the reservations that are still live."""
    for reservation in reservations:
        if reservation.state in {State.RESERVED, State.PENDING}:
            work.move(reservation, cause)


def settle_ahead_of_turn(*, reservation_id: UUID, actor: Actor, reason: str, now: datetime | None = None) -> Reservation:
    """Staff settle a funded reservation ahead of its turn, up to what remains. History names the rule `staff`."""
    with locks.short_transaction(), unit_of_work(locks.by_reservation(reservation_id, now), actor=actor, reason=reason) as work:
        reservation = reservation_under_lock(work, reservation_id)
        if reservation.state == State.SETTLED:
            return reservation
        refuse_expired(reservation)
        if reservation.state == State.PENDING and not reservation.funded_at:
            raise IllegalTransition("Its money is not here yet, so it cannot be settled.", state=reservation.state)
        loan = work.loan
        work.move(reservation, Event.SETTLED, settled_amount=min(reservation.amount, loan.remaining), rule="staff")
        _close_if_sold_out(work, loan, live_reservations([loan.pk]).exclude(pk=reservation.pk))
        return reservation
