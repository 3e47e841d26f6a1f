"""Read the bank's reports: those about one transfer, and what a report without a known reference might mean."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from django.db.models import F, Q, QuerySet, Sum, Value

from loans.domain.business_calendar import banking_days_after, new_york_day
from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.payments import Answer, InboundPosition, RefundPosition, Report, inbound_position, refund_position
from loans.domain.states import LIVE, Direction, TransferEvent, TransferStatus
from loans.models import BankEvent, Reservation, Transfer, Transition

CONFIRMED_WITHIN = 10
"""Banking days between two reports from different sources that are about the same money."""
CANDIDATES_SHOWN = 5


def reports_about(transfer: Transfer) -> list[Report]:
    """Return the reports that count for the transfer. Where the bank's notice confirms another source, the notice's time is taken."""
    events = list(BankEvent.objects.filter(transfer=transfer).exclude(answer=Answer.SAME).order_by("number"))
    time_of_notice = {event.confirms_id: event.occurred_at for event in events if event.confirms_id and event.source == "notice"}
    return [
        Report(
            id=event.pk,
            is_failure=event.type.endswith(".failed"),
            amount=event.amount,
            occurred_at=time_of_notice.get(event.pk, event.occurred_at),
            is_another_payment=event.answer == Answer.ANOTHER,
        )
        for event in events
        if not event.confirms_id
    ]


def position_of_inbound(transfer: Transfer, minimum: Decimal, paid_out: Decimal | None = None) -> InboundPosition:
    """Return the position of an inbound transfer by all reports about it; `minimum` is its loan's.

    `paid_out` are the dollars that the bank paid by void refunds, by default as the database has them.
    """
    paid_out = paid_by_void_refunds(transfer.reservation) if paid_out is None else paid_out
    return inbound_position(reports_about(transfer), expected=transfer.amount, minimum=minimum, paid_out=paid_out)


def paid_by_void_refunds(reservation: Reservation) -> Decimal:
    """Return the dollars of the reservation's refunds that the bank paid although they were void, and that did not come back."""
    if not reservation.refunded:
        return ZERO_DOLLARS
    paid = Transfer.objects.filter(pk__in=_payments_of_void_refunds(reservation).values("transfer")).aggregate(dollars=Sum("moved"))
    return paid["dollars"] or ZERO_DOLLARS


def was_paid_while_void(refund: Transfer) -> bool:
    """Return whether the bank has paid this refund although it was void."""
    return _payments_of_void_refunds(refund.reservation).filter(transfer=refund).exists()


def _payments_of_void_refunds(reservation: Reservation) -> QuerySet[Transition]:
    return Transition.objects.filter(reservation=reservation, event=TransferEvent.PAID, from_state=TransferStatus.VOID)


def position_of_refund(refund: Transfer) -> RefundPosition:
    """Return the position of a refund by all reports about it."""
    return refund_position(reports_about(refund))


def confirmed_report(event: BankEvent) -> BankEvent | None:
    """Return the earlier report of the same money from another source, the oldest that this source has not confirmed yet.

    It has the same type, transfer and amount, and its time is at most ten banking days away. One of the same time goes before others.
    A payment that this source has reported before with the same time confirms no other: it may be a duplicate.
    """
    alike = BankEvent.objects.filter(transfer=event.transfer, type=event.type, amount=event.amount, confirms=None)
    same = alike.exclude(answer=Answer.SAME)
    others = same.exclude(source=event.source).exclude(confirmations__source=event.source).exclude(pk=event.pk)
    in_order = sorted(others.prefetch_related("confirmations"), key=lambda other: (_time_of(other), other.pk))
    near = [other for other in in_order if are_near(_time_of(other), event.occurred_at)]
    exact = next((other for other in near if _time_of(other) == event.occurred_at), None)
    return exact or (None if _is_repeated(event) else next(iter(near), None))


def _time_of(event: BankEvent) -> datetime:
    """Return the event's time by the bank's notice, if one confirms it."""
    by_notice = (confirmation.occurred_at for confirmation in event.confirmations.all() if confirmation.source == "notice")
    return next(by_notice, event.occurred_at)


def _is_repeated(event: BankEvent) -> bool:
    fields = {name: getattr(event, name) for name in ("transfer", "type", "source", "amount", "occurred_at")}
    return not event.type.endswith(".failed") and BankEvent.objects.filter(**fields).exclude(pk=event.pk).exists()


def are_near(one: datetime, other: datetime) -> bool:
    """Return whether two reports are at most CONFIRMED_WITHIN banking days apart, so that they may be about the same money."""
    earlier, later = sorted([new_york_day(one), new_york_day(other)])
    return later <= banking_days_after(earlier, CONFIRMED_WITHIN)[-1]


def candidates_for(event: BankEvent) -> Sequence[Transfer]:
    """Return the transfers that a report without a known reference might mean, the newest first.

    An inbound payment may be for a live reservation of exactly this amount, or of an investor whose name the text has. A refund may
    be any of this amount that is not void.
    """
    if event.type.startswith("refund"):
        meant = Q(direction=Direction.REFUND, amount=event.amount) & ~Q(status=TransferStatus.VOID)
    else:
        named = Q(text__icontains=F("reservation__investor__name")) & ~Q(reservation__investor__name="")
        meant = Q(direction=Direction.INBOUND, reservation__state__in=LIVE) & (Q(amount=event.amount) | named)
    transfers = Transfer.objects.annotate(text=Value(event.reference)).filter(meant)
    return list(transfers.select_related("reservation__investor", "reservation__loan").order_by("-created_at", "-id")[:CANDIDATES_SHOWN])
