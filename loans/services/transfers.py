"""Change a transfer or a refund, and its reservation, when a report of the bank has changed its position. Late money goes the same way.

A position says how much money has moved (loans/domain/payments.py). The reservation follows the money, never the other way round:
what happened at the bank is recorded whatever the state of the reservation.
"""

from datetime import datetime
from decimal import Decimal

from loans.domain import loan_limits
from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.payments import Answer, Effect, InboundPosition, PaymentState, RefundPosition
from loans.domain.states import LoanStatus, ReservationEvent, ReservationState, TransferEvent, TransferStatus
from loans.ledger.jobs import SETTLE_TASK, send_after_commit
from loans.ledger.unit_of_work import UnitOfWork
from loans.models import BankEvent, Reservation, Transfer
from loans.selectors.bank_events import paid_by_void_refunds, position_of_inbound, was_paid_while_void
from loans.selectors.reservations import deadline_at_cancellation, last_deadline
from loans.selectors.transfers import current_transfer
from peerloans.wording import deadline_text, dollars_text, instant_text

# By what became of the payment: the event that cancels its reservation.
_CANCELING_EVENTS = {PaymentState.FAILED: ReservationEvent.TRANSFER_FAILED, PaymentState.RETURNED: ReservationEvent.PAYMENT_RETURNED}


# --- Inbound -------------------------------------------------------------------------------------------------------------
def apply_inbound_position(
    work: UnitOfWork, transfer: Transfer, before: InboundPosition, after: InboundPosition, bank_event: BankEvent
) -> str:
    """Bring an inbound transfer and its reservation from the position `before` to `after`, and return the bank event's outcome.

    The transfer is one of the unit of work's only loan. What staff have to know or to decide becomes a review item.
    """
    reservation = transfer.reservation
    was_funded = reservation.funded_at is not None
    _change_inbound_transfer(work, transfer, before, after, bank_event)
    if not _is_current(transfer):
        _refund_former_transfer(work, reservation, after.received - before.received)
    else:
        _change_reservation_and_refunds(work, transfer, before, after)
    if bank_event.type == "transfer.cleared":
        return _conclude_clearing(work, transfer, before, after, bank_event, was_funded=was_funded)
    return _conclude_failure(work, transfer, after, bank_event)


def _change_inbound_transfer(
    work: UnitOfWork, transfer: Transfer, before: InboundPosition, after: InboundPosition, bank_event: BankEvent
) -> None:
    """Change the transfer's money and status.

    An event may change what earlier ones mean. So, beside what arrives with it, money may be taken back, or count again. Each of these is
    recorded by itself.
    """
    arrived = (
        bank_event.amount if bank_event.type == "transfer.cleared" and after.effects.get(bank_event.pk) == Effect.COUNTS else ZERO_DOLLARS
    )
    # What changes of the money that had arrived before. More than 0: it counts again. Less: it is taken back, by this event if that is a
    # return.
    of_earlier = after.received - before.received - arrived
    if after.state == PaymentState.FAILED and before.state != PaymentState.FAILED:
        work.change_transfer(transfer, TransferEvent.FAILED, transfer.amount, occurred_at=bank_event.occurred_at)
    for cleared in (arrived, of_earlier):
        if cleared > 0:
            work.change_transfer(transfer, TransferEvent.CLEARED, cleared, occurred_at=bank_event.occurred_at)
    if of_earlier < 0:
        event = TransferEvent.RETURNED if -of_earlier == transfer.moved else TransferEvent.RETURNED_IN_PART
        work.change_transfer(transfer, event, -of_earlier, occurred_at=bank_event.occurred_at)


def _change_reservation_and_refunds(work: UnitOfWork, transfer: Transfer, before: InboundPosition, after: InboundPosition) -> None:
    """Change a reservation by what its current transfer's money has become, and then its refunds."""
    reservation = transfer.reservation
    if (before.state, before.left, before.amount) != (after.state, after.left, after.amount):
        _change_reservation(work, transfer, before, after)
        if reservation.state == ReservationState.PENDING and not reservation.funded_at:
            # It keeps all that is left of its payment, in the hope of the rest.
            missing = after.left - reservation.waiting_money
            if missing > 0:
                work.void_refunds(reservation, missing)
            elif missing < 0:
                work.refund(reservation, -missing)
    work.adjust_refunds(reservation)


def _change_reservation(work: UnitOfWork, transfer: Transfer, before: InboundPosition, after: InboundPosition) -> None:
    """Revive, cancel or fund the reservation whose money is expected by this transfer, or change its amount."""
    reservation = transfer.reservation
    if reservation.state == ReservationState.CANCELED and reservation.cause in _CANCELING_EVENTS.values():
        if after.state not in _CANCELING_EVENTS:
            _revive(work, reservation, after)
        elif (_CANCELING_EVENTS[after.state], after.amount) != (reservation.cause, reservation.amount):
            # It stays canceled. The cause and the amount follow what the reports say by now.
            work.change_reservation(reservation, _CANCELING_EVENTS[after.state], amount=after.amount)
    elif reservation.state == ReservationState.SETTLED and after.left >= reservation.settled_amount:
        pass  # What it bought is paid for, whatever else was returned.
    elif reservation.state in {ReservationState.PENDING, ReservationState.SETTLED}:
        if after.state in _CANCELING_EVENTS:
            # A settled one keeps its amount. Its history says how much of it had settled.
            amount = after.amount if reservation.state == ReservationState.PENDING else reservation.amount
            work.change_reservation(reservation, _CANCELING_EVENTS[after.state], amount=amount)
        elif after.state == PaymentState.SHORT:
            _unfund(work, reservation, after)
        else:
            if after.amount != before.amount or reservation.state == ReservationState.SETTLED:
                _change_amount(work, reservation, after.amount)
            if not reservation.funded_at:
                work.change_reservation(reservation, ReservationEvent.FUNDED, funded_at=work.at, expires_at=None)
                send_after_commit(SETTLE_TASK, reservation.loan_id)


def _revive(work: UnitOfWork, reservation: Reservation, position: InboundPosition) -> None:
    """Make a reservation live again that was canceled for a failure or a return, now that there is money for it.

    It stays canceled where its deadline has passed, its loan has no place for it any more, or its money has been sent back.
    """
    deadline = last_deadline(reservation)
    is_funded = position.state == PaymentState.FUNDED
    # A reservation that was funded when it was canceled had no deadline that could pass since then.
    has_time = (deadline and deadline > work.at) or (is_funded and deadline_at_cancellation(reservation) is None)
    # Refunds that are still due can be voided, and lost dollars are not here.
    money_here = reservation.waiting_money - reservation.lost + work.dollars_of_due_refunds(reservation)
    if has_time and _fits(work, position.amount) and money_here >= (position.amount if is_funded else position.left):
        changes = {"funded_at": work.at} if is_funded else {"expires_at": deadline}
        work.change_reservation(reservation, ReservationEvent.REVIVED, amount=position.amount, **changes)
        send_after_commit(SETTLE_TASK, reservation.loan_id)


def _unfund(work: UnitOfWork, reservation: Reservation, position: InboundPosition) -> None:
    """Make a reservation wait again, lower its amount, or cancel it: it counted as funded, and a late report shows that less was received.

    While it is pending and has time, it waits for the rest. Otherwise its amount becomes what is left, or, where that is less than the
    loan's minimum, it is canceled.
    """
    if not reservation.funded_at:
        return
    deadline = last_deadline(reservation)
    if reservation.state == ReservationState.PENDING and deadline and deadline > work.at:
        grows = position.amount - reservation.amount
        amount = position.amount if grows <= 0 or _fits(work, grows) else reservation.amount
        work.change_reservation(reservation, ReservationEvent.UNFUNDED, amount=amount, funded_at=None, expires_at=deadline)
    elif position.left >= work.loan.minimum:
        _change_amount(work, reservation, position.left)
    else:
        work.change_reservation(reservation, ReservationEvent.PAYMENT_RETURNED)


def _change_amount(work: UnitOfWork, reservation: Reservation, amount: Decimal) -> None:
    """Give the reservation the amount that its money allows. It grows again only while it has not settled, and where that fits."""
    if reservation.state == ReservationState.SETTLED:
        if amount < reservation.settled_amount:
            work.change_reservation(reservation, ReservationEvent.AMOUNT_FOLLOWED, amount=amount, settled_amount=amount)
    elif amount < reservation.amount or _fits(work, amount - reservation.amount):
        work.change_reservation(reservation, ReservationEvent.AMOUNT_FOLLOWED, amount=amount)


def _fits(work: UnitOfWork, amount: Decimal) -> bool:
    """Return whether the open loan has so many dollars free. Its closing does not matter: reservations that were live then go on."""
    loan = work.loan
    available = loan_limits.available(loan.remaining, loan.overbooking_rate, loan.claimed, loan.waiting_dollars)
    return loan.status == LoanStatus.OPEN and amount <= available


def _refund_former_transfer(work: UnitOfWork, reservation: Reservation, more: Decimal) -> None:
    """Refund money of a transfer that its reservation no longer expects, or void refunds of what was taken back of it."""
    if more > 0:
        work.refund(reservation, more)
    elif more < 0:
        work.void_refunds_or_lose(reservation, -more)
    work.adjust_refunds(reservation)


def _is_current(transfer: Transfer) -> bool:
    """Return whether this is the reservation's newest transfer. One that was reinstated and started again has an older one as well."""
    current = current_transfer(transfer.reservation)
    return current is not None and current.pk == transfer.pk


# --- Review items, and the outcome ----------------------------------------------------------------------------------
def _conclude_clearing(
    work: UnitOfWork, transfer: Transfer, before: InboundPosition, after: InboundPosition, bank_event: BankEvent, *, was_funded: bool
) -> str:
    """Open the review item that follows from a clearing, if any, and return the outcome."""
    reservation = transfer.reservation
    if bank_event.confirms_id:
        return "confirmation"
    if after.effects.get(bank_event.pk) != Effect.COUNTS:
        if not bank_event.answer:
            repeated = f"{dollars_text(bank_event.amount)} for {transfer.reference} was reported again"
            detail = f"{repeated} with the same time, {instant_text(bank_event.occurred_at)}."
            work.add_review_item("possible_duplicate", detail, reservation, bank_event)
        return "possible_duplicate"
    if after.state == PaymentState.RETURNED:
        # The bank had reported a return before this payment arrived. Now it counts: the item names the dollars that it takes back.
        _open_return_item(work, transfer, before.received + bank_event.amount - after.received)
        return "returned"
    if reservation.state not in {ReservationState.PENDING, ReservationState.SETTLED} or not _is_current(transfer):
        _open_late_money_item(work, transfer, bank_event)
        return "late_money"
    if was_funded:
        detail = f"{dollars_text(bank_event.amount)} was received again for {transfer.reference}; it is refunded."
        work.add_review_item("second_payment", detail, reservation)
        return "second_payment"
    if transfer.moved != transfer.amount:
        detail = f"{dollars_text(transfer.moved)} was received for {transfer.reference}, and {dollars_text(transfer.amount)} was expected."
        work.add_review_item("amount_differs", detail, reservation)
    return "funded" if reservation.funded_at else "too_little"


def _open_late_money_item(work: UnitOfWork, transfer: Transfer, bank_event: BankEvent) -> None:
    reservation = transfer.reservation
    late = f"{dollars_text(bank_event.amount)} for {transfer.reference} was received late."
    expired_at = last_deadline(reservation) if reservation.cause == ReservationEvent.EXPIRED else None
    if expired_at and bank_event.occurred_at < expired_at:
        # The money cleared in time and only the notice was late. Staff may reinstate the reservation, which voids the refund.
        detail = f"{late} It cleared at {instant_text(bank_event.occurred_at)}, in time: the deadline was {deadline_text(expired_at)}."
        work.add_review_item("deadline_missed", detail, reservation)
    else:
        work.add_review_item("late_money", f"{late} It is refunded.", reservation)


def _conclude_failure(work: UnitOfWork, transfer: Transfer, after: InboundPosition, bank_event: BankEvent) -> str:
    """Open the review item that follows from a failure or a return, if any, and return the outcome."""
    if bank_event.confirms_id:
        return "confirmation"
    effect = after.effects.get(bank_event.pk)
    if effect == Effect.SUPERSEDED:
        return "superseded"
    if effect == Effect.NO_MONEY:
        return "already_failed"
    if effect == Effect.TOO_LARGE:
        returned = f"The bank reports a return of {dollars_text(bank_event.amount)} for {transfer.reference}"
        detail = f"{returned}, of which {dollars_text(after.received)} was received."
        work.add_review_item("return_differs", detail, transfer.reservation)
        return "return_differs"
    if after.state == PaymentState.FAILED:
        detail = f"The transfer {transfer.reference} of {dollars_text(bank_event.amount)} failed."
        work.add_review_item("transfer_failed", detail, transfer.reservation)
        return "failed"
    _open_return_item(work, transfer, bank_event.amount)
    return "returned"


def _open_return_item(work: UnitOfWork, transfer: Transfer, amount: Decimal) -> None:
    reservation = transfer.reservation
    became = f"canceled ({reservation.cause})" if reservation.cause else f"{reservation.state} with {dollars_text(reservation.amount)}"
    detail = f"The bank took back {dollars_text(amount)} of {transfer.reference}. The reservation is {became}."
    work.add_review_item("payment_returned", detail, reservation)


# --- Refunds -------------------------------------------------------------------------------------------------------------
def apply_refund_position(work: UnitOfWork, refund: Transfer, before: RefundPosition, after: RefundPosition, bank_event: BankEvent) -> str:
    """Bring a refund and its reservation from the position `before` to `after`, and return the bank event's outcome."""
    if bank_event.confirms_id and after.paid == before.paid:
        return "confirmation"
    if after.effects.get(bank_event.pk) == Effect.DOUBTFUL or bank_event.answer == Answer.SAME:
        detail = f"The bank reports again that it paid {dollars_text(bank_event.amount)} for refund {refund.reference}, which is paid."
        if not bank_event.answer:
            work.add_review_item("possible_duplicate", detail, refund.reservation, bank_event)
        return "possible_duplicate"
    if after.effects.get(bank_event.pk) == Effect.TOO_LARGE:
        returned = f"The bank reports that {dollars_text(bank_event.amount)} of refund {refund.reference} came back"
        detail = f"{returned}, of which {dollars_text(after.paid)} was paid."
        work.add_review_item("refund_differs", detail, refund.reservation)
        return "refund_differs"
    more_paid = after.paid - before.paid
    if refund.status == TransferStatus.VOID and more_paid <= 0:
        detail = f"The bank reports that refund {refund.reference} came back, which is void and was not paid."
        work.add_review_item("refund_differs", detail, refund.reservation)
        return "refund_differs"
    if more_paid > 0:
        return _pay(work, refund, more_paid, bank_event.occurred_at)
    # A refund that was never paid can come back, too: then no dollars move.
    came_back = bank_event.type == "refund.failed" and after.bounced and after.effects.get(bank_event.pk) != Effect.SUPERSEDED
    if more_paid < 0 or came_back:
        return _bounce(work, refund, -more_paid, bank_event.occurred_at)
    return "superseded"  # An older report than those that count.


def _change_refund(work: UnitOfWork, refund: Transfer, event: TransferEvent, amount: Decimal, occurred_at: datetime) -> None:
    """Apply the event to a refund. What is paid beyond the amount that was due is lost, until it comes back.

    The money of a void refund belongs to its reservation again. If the bank pays such a refund all the same, the reservation is decided
    anew without that money. Only what is missing then is lost.
    """
    reservation = refund.reservation
    if refund.status == TransferStatus.VOID or was_paid_while_void(refund):
        paid_before = paid_by_void_refunds(reservation)
        moved_before = refund.moved
        work.change_transfer(refund, event, amount, occurred_at=occurred_at)
        _change_reservation_by_void_refund(work, reservation, paid_before, paid_before + refund.moved - moved_before)
        return
    excess_before = max(ZERO_DOLLARS, -refund.outstanding)  # Where less than 0 is outstanding, the bank paid more than was due.
    work.change_transfer(refund, event, amount, occurred_at=occurred_at)
    more = max(ZERO_DOLLARS, -refund.outstanding) - excess_before
    if more > 0:
        work.lose(reservation, more)
    elif more < 0:
        work.recover(reservation, min(reservation.lost, -more))
    work.adjust_refunds(reservation)


def _change_reservation_by_void_refund(work: UnitOfWork, reservation: Reservation, paid_before: Decimal, paid_after: Decimal) -> None:
    """Change a reservation by the money that the bank paid out by its void refunds, in dollars before and after an event."""
    transfer = current_transfer(reservation)
    if transfer:
        transfer.reservation = reservation
        before, after = (position_of_inbound(transfer, work.loan.minimum, paid) for paid in (paid_before, paid_after))
        _change_reservation_and_refunds(work, transfer, before, after)


def _pay(work: UnitOfWork, refund: Transfer, amount: Decimal, occurred_at: datetime) -> str:
    status, outstanding = refund.status, refund.outstanding
    is_void = status == TransferStatus.VOID
    event = TransferEvent.PAID if is_void or amount >= outstanding else TransferEvent.PAID_IN_PART
    _change_refund(work, refund, event, amount, occurred_at)
    if is_void or amount != outstanding:
        paid = f"The bank paid {dollars_text(amount)} for refund {refund.reference}"
        detail = f"{paid}, which was {status} with {dollars_text(outstanding)} to pay."
        work.add_review_item("refund_differs", detail, refund.reservation)
        return "refund_differs"
    return "paid"


def _bounce(work: UnitOfWork, refund: Transfer, amount: Decimal, occurred_at: datetime) -> str:
    reservation = refund.reservation
    # BOUNCED makes a refund due again, even if only a part of it came back. BOUNCED_IN_PART leaves it paid: the bank had paid too much, and
    # no more than the excess came back.
    event = TransferEvent.BOUNCED if refund.moved - amount < refund.amount else TransferEvent.BOUNCED_IN_PART
    _change_refund(work, refund, event, amount, occurred_at)
    came_back = f"The refund {refund.reference} came back from the investor's bank."
    detail = f"{came_back} It is {refund.status} with {dollars_text(refund.outstanding)} to pay."
    work.add_review_item("refund_bounced", detail, reservation)
    return "bounced"
