"""Read what the live reservations of a loan can expect to get. Remembered until the loan changes or the next deadline passes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from django.core.cache import cache

from loans.domain.overbooking import LoanLapses
from loans.domain.reservation_outlook import ExpectedReservation, ReservationOutlook, if_all_ahead_settle, outlook_of, outlooks
from loans.domain.settlement_rules import LoanToSettle
from loans.models import Loan, Reservation
from loans.selectors.lapse_shares import lapse_shares
from loans.selectors.offers import LoanOffer, loan_offer
from loans.selectors.queue import reservations_in_queue

REMEMBERED_SECONDS = 600  # as long as the lapse shares are
Remembered = TypeVar("Remembered")


@dataclass(frozen=True)
class ExpectedOutlook:
    """The outlook of a live reservation at the instant `at`, given that it is paid, and the lapse shares that it is based on.

    `if_all_ahead_settle` are the dollars that are left for it if every reservation before it in the queue settles whole.
    """

    at: datetime
    rule: str
    queue_position: int
    if_all_ahead_settle: Decimal
    outlook: ReservationOutlook
    lapses: LoanLapses


def reservation_outlook(reservation: Reservation, now: datetime | None = None) -> ExpectedOutlook | None:
    """Return the outlook of a reservation at `now`; None where it is not live. The scenarios are of its id and its loan's version."""
    offer = loan_offer(reservation.loan.reference, now)
    key = f"outlook:{reservation.pk}:{offer.loan.version}"
    return _remembered(key, offer, lambda queue, lapses: _outlook(reservation, offer, queue, lapses))


def queue_outlooks(offer: LoanOffer, first: int) -> dict[int, ReservationOutlook]:
    """Return the outlooks of the `first` reservations of the loan's queue at the instant of the offer, by their numbers."""
    loan = offer.loan
    key = f"outlooks:{loan.pk}:{loan.version}:{first}"
    seed = f"{loan.pk}:{loan.version}"
    return _remembered(key, offer, lambda queue, lapses: outlooks(queue, _loan_to_settle(loan, seed), loan.settlement_rule, seed, first))


def _outlook(
    reservation: Reservation, offer: LoanOffer, queue: Sequence[ExpectedReservation], lapses: LoanLapses
) -> ExpectedOutlook | None:
    number, loan = reservation.number, offer.loan
    position = next((position for position, each in enumerate(queue, start=1) if each.number == number), None)
    if position is None:
        return None
    seed = f"{reservation.pk}:{loan.version}"
    return ExpectedOutlook(
        offer.at,
        loan.settlement_rule,
        position,
        if_all_ahead_settle(number, queue, loan.remaining),
        outlook_of(number, queue, _loan_to_settle(loan, seed), loan.settlement_rule, seed),
        lapses,
    )


def _loan_to_settle(loan: Loan, seed: str) -> LoanToSettle:
    """Return the loan as the rule sees it. Its lottery is drawn from `seed`, since the true seed is a secret."""
    return LoanToSettle(loan.remaining, minimum=loan.minimum, lottery_seed=seed)


def _remembered(key: str, offer: LoanOffer, compute: Callable[[Sequence[ExpectedReservation], LoanLapses], Remembered]) -> Remembered:
    """Return what `compute` makes of the queue and the lapse shares, or what it made before the next deadline of the queue."""
    next_deadline, remembered = cache.get(key, (offer.at, None))
    if next_deadline is None or offer.at < next_deadline:
        return remembered  # type: ignore[no-any-return]
    loan_id = offer.loan.pk
    lapses = lapse_shares([loan_id], offer.at)[loan_id]
    rows = (
        reservations_in_queue([loan_id])
        .exclude(expires_at__lte=offer.at)
        .values_list("number", "amount", "state", "funded_at", "expires_at")
    )
    queue, deadlines = [], []
    for number, amount, state, funded_at, expires_at in rows:
        probability = lapses.payment_probability(state=state, funded=funded_at is not None)
        queue.append(ExpectedReservation(number, amount, probability, funded_at))
        if expires_at:
            deadlines.append(expires_at)
    result = compute(queue, lapses)
    cache.set(key, (min(deadlines, default=None), result), REMEMBERED_SECONDS)
    return result
