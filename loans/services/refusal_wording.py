"""Refuse what the rules do not allow, in the words that an investor reads: for reservations, waiting lists, standing orders and staff.

Each function raises the error of `loans/domain/errors.py` that names the first of its conditions that does not hold.
"""

from datetime import datetime
from decimal import Decimal

from loans.domain import loan_limits
from loans.domain.errors import BelowMinimum, Invalid, InvestorLimit, LoanNotOpen, NotAccredited, OverLimit, ReservationExpired
from loans.domain.investor_limits import LET_GO, UNFUNDED, ExceededLimit
from loans.domain.states import LoanStatus, ReservationEvent
from loans.models import Loan, Reservation
from loans.selectors.offers import InvestorOffer, LoanOffer, may_buy
from loans.selectors.reservations import last_deadline
from peerloans.wording import deadline_text, dollars_text


def refuse_unless_offered(offer: InvestorOffer, amount: Decimal, least: Decimal) -> None:
    """Refuse a reservation of `amount` dollars, of which at least `least` have to be available, if the loan does not take it.

    `amount` is what it would take (`loan_limits.dollars_to_take`): where `least` is not available, it equals `least`.

    Raises:
        LoanNotOpen, NotAccredited, BelowMinimum, OverLimit.
    """
    loan = offer.loan
    refuse_unless_open(offer)
    refuse_unless_accredited(offer.may_buy)
    refuse_below_minimum(loan, amount)
    if amount > offer.available:
        freed = f"up to {dollars_text(offer.available_then)} may be available"
        then = f" After {deadline_text(offer.frees_at)} {freed}." if offer.frees_at and offer.available_then else ""
        waiting = f" {loan.waiting_entries} on its waiting list come first." if loan.waiting_entries else ""
        raise OverLimit(
            f"{dollars_text(least)} is more than the {dollars_text(offer.available)} available of {loan.reference}.{waiting}{then}",
            available=offer.available,
            frees_at=offer.frees_at,
            available_then=offer.available_then,
            waiting_list={"entries": loan.waiting_entries, "dollars": loan.waiting_dollars},
        )


def refuse_more_than_asked(least: Decimal, amount: Decimal) -> None:
    """Refuse to take at least more than is asked for. Raises: Invalid."""
    if least > amount:
        raise Invalid(f"{dollars_text(least)}, the least to take, is more than {dollars_text(amount)}.")


def refuse_unless_open(offer: LoanOffer) -> None:
    """Refuse a loan that takes no reservations. Raises: LoanNotOpen."""
    loan = offer.loan
    if not offer.takes_reservations:
        raise LoanNotOpen(f"{loan.reference} takes no reservations: it {_why_not_open(offer)}.", loan_status=loan.status)


def refuse_unless_accredited(may_buy: bool) -> None:
    """Refuse an investor who may not buy. Raises: NotAccredited."""
    if not may_buy:
        raise NotAccredited("Only accredited investors may reserve. Your accreditation is missing or has ended; ask us to renew it.")


def refuse_below_minimum(loan: Loan, amount: Decimal) -> None:
    """Refuse an amount that the loan does not accept as a reservation. Raises: BelowMinimum."""
    if not loan_limits.meets_minimum(amount, loan.minimum, loan.remaining):
        if loan.remaining < loan.minimum:
            raise BelowMinimum(f"Reserve exactly {dollars_text(loan.remaining)}, all that remains.", minimum=loan.remaining)
        raise BelowMinimum(f"Reserve at least {dollars_text(loan.minimum)}.", minimum=loan.minimum)


def refuse_beyond_limit(exceeded: ExceededLimit | None, reference: str) -> None:
    """Refuse a reservation of the loan beyond a limit of its investor. Raises: InvestorLimit."""
    if not exceeded:
        return
    if exceeded.limited == LET_GO:
        detail = f"You let go of {exceeded.used} reservations within a day. With {exceeded.limit} you cannot make another one."
    else:
        where = "on all loans" if exceeded.limited == UNFUNDED else f"of {reference}"
        used, most = (dollars_text(Decimal(dollars)) for dollars in (exceeded.used, exceeded.limit))
        detail = f"You hold {used} {where} whose money we have not received; the most is {most}."
    then = f" Try again at {deadline_text(exceeded.frees_at)}." if exceeded.frees_at else ""
    # Texts, so that dollars and numbers of reservations have one type.
    raise InvestorLimit(
        f"{detail}{then}", limited=exceeded.limited, limit=str(exceeded.limit), used=str(exceeded.used), frees_at=exceeded.frees_at
    )


def _why_not_open(offer: LoanOffer) -> str:
    if offer.loan.status == LoanStatus.UPCOMING and offer.loan.opens_at:
        return f"opens at {deadline_text(offer.loan.opens_at, year=True)}"
    closes_at = offer.loan.closes_at
    if offer.loan.status == LoanStatus.OPEN and closes_at and closes_at <= offer.at:
        return f"closed at {deadline_text(closes_at, year=True)}"
    return f"is {offer.loan.status}"


def refuse_unless_investor_may_buy(reservation: Reservation, at: datetime) -> None:
    """Refuse a step that commits the reservation's investor to buy, where the investor may not buy at that instant.

    Raises:
        NotAccredited: the investor is not active, or not accredited on that day.
    """
    if not may_buy(reservation.investor_id, at):
        raise NotAccredited("The investor is not accredited any more, or not active, so the reservation cannot go on.")


def refuse_expired(reservation: Reservation) -> None:
    """Refuse an expired reservation. Call it in a unit of work, which begins by canceling lapsed ones, so that they are refused too.

    Raises:
        ReservationExpired: its cause is `expired`.
    """
    if reservation.cause == ReservationEvent.EXPIRED:
        expired_at = last_deadline(reservation)
        expired = f" at {deadline_text(expired_at)}" if expired_at else ""
        raise ReservationExpired(f"This reservation expired{expired}. Make a new one.", expired_at=expired_at, state=reservation.state)
