"""What happens to a loan itself? It is drafted, opened, extended, withdrawn, or closed at what has settled."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from cbsa.lookup import market_of
from loans import ledger, locks, selectors
from loans.errors import IllegalTransition, Invalid
from loans.ledger import Actor
from loans.models import Loan, Reservation
from loans.settling import apply_rule, cancel_live
from loans.states import LIVE, Event, LoanEvent, LoanStatus, State

TIME_OPEN = timedelta(weeks=3)


def create(loan: Loan, *, actor: Actor, now: datetime | None = None) -> Loan:
    """Keep a new draft, its market found from its ZIP."""
    market = market_of(loan.zip)
    loan.market_cbsa, loan.market_msa = market or ("", "")
    with locks.short_transaction():
        return ledger.new_loan(loan, actor=actor, at=selectors.instant(now))


def edit(*, reference: str, facts: Mapping[str, Any], actor: Actor, now: datetime | None = None) -> Loan:
    """Change what a draft says of itself; `facts` are among Loan.FACTS and its amount. History keeps what changed.

    Raises NotFound, Invalid, IllegalTransition (it is no draft any more), Busy.
    """
    with locks.short_transaction(), ledger.opened(locks.by_reference(reference, now), actor=actor) as book:
        loan = book.loan
        if unknown := facts.keys() - {"amount", *Loan.FACTS}:
            raise Invalid(f"These are no facts of a loan: {', '.join(sorted(unknown))}.")
        changed = {name: value for name, value in facts.items() if getattr(loan, name) != value}
        if "zip" in changed:
            changed["market_cbsa"], changed["market_msa"] = market_of(changed["zip"]) or ("", "")
        if changed:
            book.move_loan(loan, LoanEvent.EDITED, **changed)
        return loan


def open_loan(*, reference: str, actor: Actor, closes_at: datetime | None = None, reason: str = "", now: datetime | None = None) -> Loan:
    """Let a draft take reservations until `closes_at`, three weeks from now by default. A repeat changes nothing."""
    with locks.short_transaction(), ledger.opened(locks.by_reference(reference, now), actor=actor, reason=reason) as book:
        loan = book.loan
        if loan.status != LoanStatus.OPEN:
            closes_at = closes_at or book.at + TIME_OPEN
            _must_come(closes_at, book.at)
            book.move_loan(loan, LoanEvent.OPENED, opens_at=book.at, closes_at=closes_at)
        return loan


def extend(*, reference: str, closes_at: datetime, actor: Actor, reason: str, now: datetime | None = None) -> Loan:
    """Let an open loan take reservations until `closes_at`, also after its closing has passed."""
    with locks.short_transaction(), ledger.opened(locks.by_reference(reference, now), actor=actor, reason=reason) as book:
        loan = book.loan
        former = loan.closes_at
        if loan.status != LoanStatus.OPEN or former != closes_at:
            book.move_loan(loan, LoanEvent.EXTENDED, closes_at=closes_at)
            _must_come(closes_at, max(book.at, former or book.at))
        return loan


def _must_come(closes_at: datetime, at: datetime) -> None:
    if closes_at <= at:
        raise Invalid(f"Name a closing after {at}.")


def withdraw(*, reference: str, actor: Actor, reason: str, now: datetime | None = None) -> Loan:
    """Take a draft or an open loan back: every live or settled claim is canceled, money that is here is refunded."""
    with locks.short_transaction(), ledger.opened(locks.by_reference(reference, now), actor=actor, reason=reason) as book:
        loan = book.loan
        if loan.status != LoanStatus.WITHDRAWN:
            book.move_loan(loan, LoanEvent.WITHDRAWN)
            for claim in Reservation.objects.filter(loan=loan, state__in=[*LIVE, State.SETTLED]).order_by("place"):
                book.move(claim, Event.LOAN_WITHDRAWN)
        return loan


def close_at_settled(*, reference: str, actor: Actor, reason: str, now: datetime | None = None) -> Loan:
    """Make what has settled the whole loan, after its closing: the rule runs once more, the rest is canceled and refunded."""
    with locks.short_transaction(), ledger.opened(locks.by_reference(reference, now), actor=actor, reason=reason) as book:
        loan = book.loan
        if loan.status == LoanStatus.OPEN and loan.closes_at and book.at < loan.closes_at:
            raise IllegalTransition(f"{loan.reference} still takes reservations, until {loan.closes_at}.", state=loan.status)
        queue = list(selectors.live_claims([loan.pk]))
        if loan.status == LoanStatus.OPEN:
            apply_rule(book, loan, queue)
        if loan.status == LoanStatus.FUNDED:
            return loan
        if loan.status == LoanStatus.OPEN and not loan.settled:
            raise IllegalTransition(f"Nothing of {loan.reference} has settled; withdraw it instead.", state=loan.status)
        book.move_loan(loan, LoanEvent.CLOSED_AT_SETTLED, amount=loan.settled)
        cancel_live(book, queue, Event.LOAN_FUNDED)
        return loan
