"""Read single reservations: as they are, and as their history explains them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from loans.domain.business_calendar import DeadlineDay, days_until_deadline, new_york_day
from loans.domain.deadlines import BANKING_DAYS_FOR_MONEY, money_deadline
from loans.domain.errors import NotFound
from loans.domain.states import LIVE, LOSSES, ReservationEvent, ReservationState
from loans.models import Reservation, Transition


def reservation_of_investor(investor_id: int, reservation_id: UUID) -> Reservation:
    """Return the investor's own reservation, with its loan.

    Raises:
        NotFound: there is no such reservation, or it is another investor's.
    """
    reservation = Reservation.objects.select_related("loan").filter(pk=reservation_id, investor_id=investor_id).first()
    if not reservation:
        raise NotFound(f"You have no reservation {reservation_id}.")
    return reservation


def reservation_as_created(reservation_id: UUID) -> Reservation:
    """Return the reservation as it was when it was made, from history. Do not save the instance."""
    reserved = Transition.objects.select_related("loan").get(reservation=reservation_id, event=ReservationEvent.RESERVED)
    return Reservation(
        id=reservation_id,
        loan=reserved.loan,
        amount=reserved.amount,
        state=reserved.to_state,
        created_at=reserved.at,
        expires_at=reserved.deadline,
    )


def last_event(reservation: Reservation) -> str | None:
    """Return what happened last to the reservation itself, not to its transfers."""
    own = Transition.objects.filter(reservation=reservation, transfer=None)
    return own.order_by("-id").values_list("event", flat=True).first()


def last_deadline(reservation: Reservation) -> datetime | None:
    """Return the last deadline that history records. The reservation's own `expires_at` is empty once it is canceled."""
    with_deadline = Transition.objects.filter(reservation=reservation, transfer=None, deadline__isnull=False)
    return with_deadline.order_by("-id").values_list("deadline", flat=True).first()


def deadline_at_cancellation(reservation: Reservation) -> datetime | None:
    """Return the deadline that a canceled reservation had just before; None where its money had been received, so that it had none."""
    own = Transition.objects.filter(reservation=reservation, transfer=None).exclude(event__in=LOSSES)
    before = own.exclude(to_state=ReservationState.CANCELED).order_by("-id").values_list("deadline", flat=True)
    return before.first()


@dataclass(frozen=True)
class DeadlineExplanation:
    """Why a reservation has the deadline that it has; and the days counted towards it, where banking days are counted."""

    sentence: str
    days: Sequence[DeadlineDay] = ()


def explain_deadline(reservation: Reservation, transitions: Sequence[Transition]) -> DeadlineExplanation:
    """Explain the reservation's deadline from its history, whose transitions are given oldest first."""
    if reservation.state not in LIVE:
        return DeadlineExplanation(f"It is {reservation.state}, so it has no deadline.")
    if reservation.expires_at is None:
        return DeadlineExplanation("Its money was received, so it has no deadline: it waits for its turn.")
    own = (transition for transition in reversed(transitions) if transition.transfer_id is None)
    set_by = next((transition for transition in own if transition.deadline == reservation.expires_at), None)
    if set_by is None:
        return DeadlineExplanation("History does not show what set this deadline.")
    if set_by.event == ReservationEvent.EXTENDED:
        return DeadlineExplanation("Staff set this deadline by hand.")
    if set_by.to_state == ReservationState.RESERVED:
        return DeadlineExplanation("It has 24 hours to start its transfer.")
    if reservation.expires_at != money_deadline(set_by.at):
        return DeadlineExplanation("This deadline was counted by an earlier calendar of banking days.")
    started = new_york_day(set_by.at)
    sentence = f"Its money must be received by the end, in New York, of the fifth banking day after {started:%A, %B %d, %Y}."
    return DeadlineExplanation(sentence, days_until_deadline(started, BANKING_DAYS_FOR_MONEY))
