"""Send refunds to the bank in a payment file.

The file is a CSV: we do not keep the account numbers of investors, so the bank adds them by the reference of the payment that each refund
is for. That a refund was paid or came back is recorded in loans/services/refunds.py by hand, and in loans/services/bank_events.py.
"""

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from loans.domain.actors import Actor
from loans.domain.errors import IllegalTransition, Invalid, NotFound
from loans.domain.states import Direction, TransferEvent
from loans.ledger.unit_of_work import unit_of_work
from loans.models import PaymentFile, Transfer
from loans.selectors.transfers import refunds_to_send
from peerloans.csv_cells import escape_formula

MOST_SENT_AT_ONCE = 500  # One transaction locks the loans of all of them, and holds up their investors meanwhile.
COLUMNS = ("reference", "amount", "currency", "investor", "loan", "payment_references")


def send_refunds(*, refund_ids: Sequence[UUID], actor: Actor, reason: str, now: datetime | None = None) -> PaymentFile:
    """Write these due refunds into a new payment file, and mark them sent, all or none. The file is stored, to be downloaded again.

    A refund that is sent is not due any more. If it bounces or is paid in part, it is due again and can get into another file.

    Raises:
        Invalid: there are none, or more than MOST_SENT_AT_ONCE.
        IllegalTransition: one of them is not due any more.
        NotFound, Busy.
    """
    if not 0 < len(refund_ids) <= MOST_SENT_AT_ONCE:
        raise Invalid(f"Choose from 1 to {MOST_SENT_AT_ONCE} refunds.")
    loan_ids = sorted(set(Transfer.objects.filter(pk__in=refund_ids).values_list("reservation__loan_id", flat=True)))
    if not loan_ids:
        raise NotFound("There are no such refunds.")
    with unit_of_work(loan_ids=loan_ids, actor=actor, reason=reason, now=now) as work:
        refunds = refunds_to_send(refund_ids)
        if len(refunds) < len(set(refund_ids)):
            raise IllegalTransition("At least one of these refunds is not due any more; choose again.", state="changed")
        file = PaymentFile.objects.create(
            created_at=work.at,
            created_by_id=actor.user_id,
            refund_count=len(refunds),
            total=sum((refund.outstanding for refund in refunds), Decimal(0)),
            content=_as_csv(refunds),
        )
        # Refunds of one reservation share one object of it: changes of two would overwrite each other.
        by_reservation = {refund.reservation_id: refund.reservation for refund in refunds}
        for refund in refunds:
            refund.reservation = by_reservation[refund.reservation_id]
            work.change_transfer(refund, TransferEvent.SENT, refund.outstanding)
        return file


def _as_csv(refunds: Sequence[Transfer]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for refund in refunds:
        reservation = refund.reservation
        payments = [transfer.reference for transfer in reservation.transfers.all() if transfer.direction == Direction.INBOUND]
        investor = escape_formula(reservation.investor.name)
        writer.writerow([refund.reference, refund.outstanding, "USD", investor, reservation.loan.reference, " ".join(payments)])
    return text.getvalue()
