"""Read how a funded loan was shared out."""

from dataclasses import dataclass
from datetime import datetime

from django.core.cache import cache
from django.db.models import F, OuterRef, Q, Subquery

from loans.domain.allotment import AllottedLoan, AllottedReservation, BasisOfAllotment, basis_of_allotment
from loans.domain.errors import NotFound
from loans.domain.states import LoanEvent, LoanStatus, ReservationEvent, ReservationState
from loans.models import Loan, Reservation, Transition

REMEMBERED_SECONDS = 600  # by the loan's version, so a change of the loan shows at once


@dataclass(frozen=True)
class LoanAllotment:
    """A funded loan, the instant at which it became funded, and how it was shared out."""

    loan: Loan
    funded_at: datetime
    basis: BasisOfAllotment


def loan_allotment(loan: Loan) -> LoanAllotment:
    """Return how the loan was shared out.

    Raises:
        NotFound: the loan is not funded.
    """
    if loan.status != LoanStatus.FUNDED:
        raise NotFound(f"{loan.reference} is not funded, so it has not been shared out yet.")
    key = f"allotment:{loan.pk}:{loan.version}"
    remembered: tuple[datetime, BasisOfAllotment] | None = cache.get(key)
    if remembered is None:
        remembered = _funded_at(loan), basis_of_allotment(_allotted_loan(loan), _allotted_reservations(loan))
        cache.set(key, remembered, REMEMBERED_SECONDS)
    return LoanAllotment(loan, *remembered)


def _funded_at(loan: Loan) -> datetime:
    became_funded = Transition.objects.filter(loan=loan, reservation=None, event__in=[LoanEvent.FUNDED, LoanEvent.CLOSED_AT_SETTLED])
    at: datetime = became_funded.order_by("-id").values_list("at", flat=True)[0]
    return at


def _allotted_loan(loan: Loan) -> AllottedLoan:
    return AllottedLoan(loan.amount, loan.minimum, loan.settlement_rule, loan.lottery_seed)


def _allotted_reservations(loan: Loan) -> list[AllottedReservation]:
    settling = Transition.objects.filter(reservation=OuterRef("pk"), event=ReservationEvent.SETTLED).order_by("-id")
    settled = Q(state=ReservationState.SETTLED)
    got_nothing = Q(state=ReservationState.CANCELED, cause__in=[ReservationEvent.LOAN_FUNDED, ReservationEvent.NO_SHARE])
    rows = (
        Reservation.objects.filter(settled | got_nothing, loan=loan)
        .order_by("number")
        .annotate(paid=Q(received__gte=F("amount")), decided_by=Subquery(settling.values("rule")[:1]))
        .values_list("number", "amount", "settled_amount", "funded_at", "paid", "decided_by")
    )
    return [AllottedReservation._make((*columns, decided_by == "staff")) for *columns, decided_by in rows]
