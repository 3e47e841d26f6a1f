"""What happens to a loan itself? It is drafted, opened, extended, withdrawn, or closed at what has settled."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from cbsa.lookup import market_of
from loans.domain.actors import Actor
from loans.domain.errors import IllegalTransition, Invalid
from loans.domain.states import LIVE, Event, LoanEvent, LoanStatus, State
from loans.ledger import locks
from loans.ledger.unit_of_work import insert_draft, unit_of_work
from loans.models import Loan, Reservation
from loans.selectors.queue import live_reservations
from loans.services.settlement import apply_rule, cancel_live_reservations
from peerloans.database.clock import database_now

TIME_OPEN = timedelta(weeks=3)


def create_loan(loan: Loan, *, actor: Actor, now: datetime | None = None) -> Loan:
    """Keep a new draft, its market found from its ZIP."""
    market = market_of(loan.zip)
    loan.market_cbsa, loan.market_msa = market or ("", "")
    with locks.short_transaction():
        return insert_draft(loan, actor=actor, at=database_now(now))


def edit_loan(*, reference: str, facts: Mapping[str, Any], actor: Actor, now: datetime | None = None) -> Loan:
    """Change what a draft says of itself; `facts` are among Loan.FACTS and its amount. History keeps what changed.

    Raises NotFound, Invalid, IllegalTransition (it is no draft any more), Busy.
    """
    with locks.short_transaction(), unit_of_work(locks.by_reference(reference, now), actor=actor) as work:
        loan = work.loan
        if unknown := facts.keys() - {"amount", *Loan.FACTS}:
            raise Invalid(f"These are no facts of a loan: {', '.join(sorted(unknown))}.")
        changed = {name: value for name, value in facts.items() if getattr(loan, name) != value}
        if "zip" in changed:
            changed["market_cbsa"], changed["market_msa"] = market_of(changed["zip"]) or ("", "")
        if changed:
            work.move_loan(loan, LoanEvent.EDITED, **changed)
        return loan


def open_loan(*, reference: str, actor: Actor, closes_at: datetime | None = None, reason: str = "", now: datetime | None = None) -> Loan:
    """Let a draft take reservations until `closes_at`, three weeks from now by default. A repeat changes nothing."""
    with locks.short_transaction(), unit_of_work(locks.by_reference(reference, now), actor=actor, reason=reason) as work:
        loan = work.loan
        if loan.status != LoanStatus.OPEN:
            closes_at = closes_at or work.at + TIME_OPEN
            _must_come(closes_at, work.at)
            work.move_loan(loan, LoanEvent.OPENED, opens_at=work.at, closes_at=closes_at)
        return loan


def extend_loan(*, reference: str, closes_at: datetime, actor: Actor, reason: str, now: datetime | None = None) -> Loan:
    """Let an open loan take reservations until `closes_at`, also after its closing has passed."""
    with locks.short_transaction(), unit_of_work(locks.by_reference(reference, now), actor=actor, reason=reason) as work:
        loan = work.loan
        former = loan.closes_at
        if loan.status != LoanStatus.OPEN or former != closes_at:
            work.move_loan(loan, LoanEvent.EXTENDED, closes_at=closes_at)
            _must_come(closes_at, max(work.at, former or work.at))
        return loan


def _must_come(closes_at: datetime, at: datetime) -> None:
    if closes_at <= at:
        raise Invalid(f"Name a closing after {at}.")


def withdraw_loan(*, reference: str, actor: Actor, reason: str, now: datetime | None = None) -> Loan:
    """Take a draft or an open loan back: every live or settled reservation is canceled, money that is here is refunded."""
    with locks.short_transaction(), unit_of_work(locks.by_reference(reference, now), actor=actor, reason=reason) as work:
        loan = work.loan
        if loan.status != LoanStatus.WITHDRAWN:
            work.move_loan(loan, LoanEvent.WITHDRAWN)
            for reservation in Reservation.objects.filter(loan=loan, state__in=[*LIVE, State.SETTLED]).order_by("number"):
                work.move(reservation, Event.LOAN_WITHDRAWN)
        return loan


def close_loan_at_settled(*, reference: str, actor: Actor, reason: str, now: datetime | None = None) -> Loan:
    """Make what has settled the whole loan, after its closing: the rule runs once more, the rest is canceled and refunded."""
    with locks.short_transaction(), unit_of_work(locks.by_reference(reference, now), actor=actor, reason=reason) as work:
        loan = work.loan
        if loan.status == LoanStatus.OPEN and loan.closes_at and work.at < loan.closes_at:
            raise IllegalTransition(f"{loan.reference} still takes reservations, until {loan.closes_at}.", state=loan.status)
        queue = list(live_reservations([loan.pk]))
        if loan.status == LoanStatus.OPEN:
            apply_rule(work, loan, queue)
        if loan.status == LoanStatus.FUNDED:
            return loan
        if loan.status == LoanStatus.OPEN and not loan.settled:
            raise IllegalTransition(f"Nothing of {loan.reference} has settled; withdraw it instead.", state=loan.status)
        work.move_loan(loan, LoanEvent.CLOSED_AT_SETTLED, amount=loan.settled)
        cancel_live_reservations(work, queue, Event.LOAN_FUNDED)
        return loan
