"""What does an investor hear of, and in which words?

One table from the events of history to the type of a webhook and the subject and text of an e-mail. What it does not
name is told to nobody: a loan's own steps reach its investors through what they do to their reservations.
"""

from dataclasses import dataclass

from loans.domain.states import Event, TransferEvent


@dataclass(frozen=True)
class Announcement:
    """`type` is for programs; `subject` (with `{loan}`) and `template` for people; `why` explains a cancellation."""

    type: str
    subject: str
    template: str
    why: str = ""


def _canceled(why: str) -> Announcement:
    return Announcement("reservation.canceled", "Your reservation of {loan} is canceled", "canceled", why)


OF_RESERVATION = {
    Event.RESERVED: Announcement("reservation.reserved", "You have reserved a piece of {loan}", "reserved"),
    Event.TRANSFER_STARTED: Announcement("reservation.transfer_started", "We await your money for {loan}", "transfer_started"),
    Event.FUNDED: Announcement("reservation.funded", "Your money for {loan} is here", "funded"),
    Event.EXTENDED: Announcement("reservation.extended", "You have more time for {loan}", "extended"),
    Event.AMOUNT_ACCEPTED: Announcement("reservation.amount_accepted", "Your reservation of {loan} has a new amount", "amount_accepted"),
    Event.SETTLED: Announcement("reservation.settled", "You have bought a piece of {loan}", "settled"),
    Event.REINSTATED_RESERVED: Announcement("reservation.reinstated", "Your reservation of {loan} is back", "reinstated"),
    Event.REINSTATED_PENDING: Announcement("reservation.reinstated", "Your reservation of {loan} is back", "reinstated"),
    Event.CANCELED_BY_INVESTOR: _canceled("You canceled it."),
    Event.CANCELED_BY_STAFF: _canceled("Our staff canceled it."),
    Event.EXPIRED: _canceled("Its time ran out."),
    Event.TRANSFER_FAILED: _canceled("Your bank told us that the transfer failed."),
    Event.PAYMENT_RETURNED: _canceled("Your payment was returned to your bank."),
    Event.NO_SHARE: _canceled("The loan was sold to those before you, and nothing remained for it."),
    Event.LOAN_FUNDED: _canceled("The loan is sold."),
    Event.LOAN_WITHDRAWN: _canceled("The loan was withdrawn."),
}
OF_TRANSFER = {
    TransferEvent.DUE: Announcement("refund.due", "Money for {loan} goes back to you", "refund_due"),
    TransferEvent.PAID: Announcement("refund.paid", "We have paid you back for {loan}", "refund_paid"),
    TransferEvent.VOIDED: Announcement("refund.void", "No money for {loan} goes back to you", "refund_void"),
}

TYPES = list(dict.fromkeys(said.type for said in (*OF_RESERVATION.values(), *OF_TRANSFER.values())))
