"""What happens when the money is here? The loan's rule decides who is settled; the last cent closes the loan."""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from loans import ledger, locks, selectors
from loans.errors import IllegalTransition
from loans.investing import claim_under_lock, refuse_lapsed
from loans.ledger import SYSTEM, Actor, Ledger
from loans.models import Loan, Reservation
from loans.settlement_rules import RULES, Claim, Fill
from loans.states import Event, LoanEvent, LoanStatus, State
from peerloans.errors import Problem

logger = logging.getLogger(__name__)

BATCH_LOANS = 50  # Long enough to save round trips, short enough that nobody waits long for one of the loans.


def settle_due(now: datetime | None = None) -> int:
    """Apply the rule of each loan on which money waits, in order of their ids; returns how many claims were settled.

    A batch that fails is done again loan by loan, so that one bad loan stops no other; what still fails is a case for staff.
    """
    loan_ids = selectors.loans_with_waiting_money()
    settled = 0
    for start in range(0, len(loan_ids), BATCH_LOANS):
        batch = loan_ids[start : start + BATCH_LOANS]
        try:
            settled += settle(batch, now=now)
        except Exception:  # noqa: BLE001 - whatever it is, settle_alone meets it again and says so
            settled += sum(settle_alone(loan_id, now) for loan_id in batch)
    return settled


def settle_alone(loan_id: int, now: datetime | None = None) -> int:
    """Apply one loan's rule; where that is not possible it is logged, and what is no passing trouble is a case for staff."""
    try:
        return settle([loan_id], now=now)
    except Problem as problem:  # busy: the next run comes soon
        logger.info("Loan %s was not settled: %s", loan_id, problem)
    except Exception as error:
        logger.exception("Loan %s could not be settled", loan_id)
        ledger.open_case("job_failed", f"It could not be settled: {error}", at=selectors.instant(now), loan_id=loan_id)
    return 0


def settle(loan_ids: Sequence[int], *, actor: Actor = SYSTEM, now: datetime | None = None) -> int:
    """Apply the rule of each of the loans that is open, in one transaction; returns how many claims were settled."""
    with locks.short_transaction(), ledger.opened(locks.by_id(loan_ids, now), actor=actor) as book:
        queues: dict[int, list[Reservation]] = {loan_id: [] for loan_id in book.loans}
        for claim in selectors.live_claims(list(book.loans)):
            queues[claim.loan_id].append(claim)
        return sum(apply_rule(book, loan, queues[loan.pk]) for loan in book.loans.values() if loan.status == LoanStatus.OPEN)


def apply_rule(book: Ledger, loan: Loan, queue: Sequence[Reservation]) -> int:
    """Settle whom the loan's rule names among the live claims; where nothing remains, the loan is funded."""
    claims = {claim.pk: claim for claim in queue}
    fills = decided(loan, queue, book.at)
    for fill in fills:
        if fill.amount:
            book.move(claims[fill.key], Event.SETTLED, settled_amount=fill.amount, rule=loan.settlement_rule)
        else:
            book.move(claims[fill.key], Event.NO_SHARE, rule=loan.settlement_rule)
    if fills:
        _close_if_sold_out(book, loan, queue)
    return len(fills)


def decided(loan: Loan, queue: Sequence[Reservation], at: datetime) -> list[Fill[UUID]]:
    """What the loan's rule says at that instant of its live claims, given in queue order; nothing is written."""
    seen = [Claim(claim.pk, claim.place, claim.amount, claim.funded_at) for claim in queue]
    closed = loan.closes_at is not None and loan.closes_at <= at
    return RULES[loan.settlement_rule](seen, loan.remaining, closed)


def _close_if_sold_out(book: Ledger, loan: Loan, claims: Iterable[Reservation]) -> None:
    """Where the last cent has settled the loan is funded, and those of the claims that are still live are canceled."""
    if not loan.remaining:
        book.move_loan(loan, LoanEvent.FUNDED)
        cancel_live(book, claims, Event.LOAN_FUNDED)


def cancel_live(book: Ledger, claims: Iterable[Reservation], cause: Event) -> None:
    """Cancel those of the claims that are still live."""
    for claim in claims:
        if claim.state in {State.RESERVED, State.PENDING}:
            book.move(claim, cause)


def settle_ahead(*, reservation_id: UUID, actor: Actor, reason: str, now: datetime | None = None) -> Reservation:
    """Staff settle a funded claim ahead of its turn, up to what remains. History names the rule `staff`."""
    with locks.short_transaction(), ledger.opened(locks.by_reservation(reservation_id, now), actor=actor, reason=reason) as book:
        claim = claim_under_lock(book, reservation_id)
        if claim.state == State.SETTLED:
            return claim
        refuse_lapsed(claim)
        if claim.state == State.PENDING and not claim.funded_at:
            raise IllegalTransition("Its money is not here yet, so it cannot be settled.", state=claim.state)
        loan = book.loan
        book.move(claim, Event.SETTLED, settled_amount=min(claim.amount, loan.remaining), rule="staff")
        _close_if_sold_out(book, loan, selectors.live_claims([loan.pk]).exclude(pk=claim.pk))
        return claim
