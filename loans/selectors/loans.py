"""Read lists of loans: those that the public sees, and those that a job works on."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Case, F, Q, QuerySet, When
from django.db.models.functions import Length, Now

from loans.domain.overbooking import OverbookingPolicy
from loans.domain.states import PUBLIC_STATUSES, LoanStatus, ReservationState
from loans.models import Loan, Reservation
from peerloans.database import replica

PUBLIC_LOANS: QuerySet[Loan] = (
    Loan.objects.filter(status__in=PUBLIC_STATUSES).order_by("-opens_at").annotate(remaining=F("amount") - F("settled"))  # type: ignore[no-redef]
)
"""The upcoming, open and funded loans, newest first, each with the dollars that are `remaining`. Read them as rows.

The lists of the API begin with it, the pages with `public_loans`."""


def public_loans() -> QuerySet[Loan]:
    """Return PUBLIC_LOANS, from the replica where there is one."""
    return PUBLIC_LOANS.using(replica.for_anyone())


def upcoming_loans() -> QuerySet[Loan]:
    """Return the announced loans, first those that open next."""
    return public_loans().filter(status=LoanStatus.UPCOMING).order_by("opens_at", "pk")


def market_loans() -> QuerySet[Loan]:
    """Return the public loans: first those that close next, then the upcoming ones, those past their closing, and the funded ones."""
    takes_reservations = Q(status=LoanStatus.OPEN, closes_at__gt=Now())
    upcoming = When(status=LoanStatus.UPCOMING, then=1)
    group = Case(When(takes_reservations, then=0), upcoming, When(status=LoanStatus.OPEN, then=2), default=3)
    closes_next = Case(When(takes_reservations, then=F("closes_at")))
    return public_loans().order_by(group, closes_next, "-closes_at", "-pk")


@dataclass(frozen=True)
class PublicPlaces:
    """Where the public loans lie: two-letter states, and names of markets. Both sorted."""

    states: list[str]
    markets: list[str]


def public_places() -> PublicPlaces:
    """Return where the public loans lie."""
    pairs = set(public_loans().order_by().values_list("state", "market_msa").distinct())
    return PublicPlaces(sorted({state for state, _ in pairs}), sorted({msa for _, msa in pairs if msa}))


def loan_markets() -> list[tuple[str, str]]:
    """Return the metropolitan areas of the public loans, as CBSA code and name, in the order of names."""
    pairs = public_loans().exclude(market_cbsa="").order_by().values_list("market_cbsa", "market_msa").distinct()
    return sorted(pairs, key=lambda pair: pair[1])


def all_loan_ids() -> list[int]:
    """Return the ids of all loans, in order."""
    return list(Loan.objects.order_by("id").values_list("id", flat=True))


def loans_due_to_open(at: datetime) -> list[int]:
    """Return the ids of the announced loans whose opening has come, the earliest first."""
    due = Loan.objects.filter(status=LoanStatus.UPCOMING, opens_at__lte=at)
    return list(due.order_by("opens_at", "id").values_list("id", flat=True))


def open_loans_by_evidence() -> list[int]:
    """Return the ids of the open loans whose overbooking rate the evidence sets, in order."""
    by_evidence = Loan.objects.filter(status=LoanStatus.OPEN, overbooking_policy=OverbookingPolicy.EVIDENCE)
    return list(by_evidence.order_by("id").values_list("id", flat=True))


def loans_with_waiting_money() -> list[int]:
    """Return the ids of the loans with funded reservations that wait for their turn, in order."""
    return _loan_ids(Reservation.objects.filter(state=ReservationState.PENDING, expires_at=None))


def loans_with_lapsed_reservations(at: datetime) -> list[int]:
    """Return the ids of the loans with reservations that lapsed by `at` and are not swept yet, in order."""
    return _loan_ids(Reservation.objects.filter(expires_at__lte=at))


def _loan_ids(reservations: QuerySet[Reservation]) -> list[int]:
    return list(reservations.order_by("loan_id").values_list("loan_id", flat=True).distinct())


def next_reference() -> str:
    """Return the reference that follows the highest of the form PL-0012; PL-0001 where there is none."""
    highest = Loan.objects.filter(reference__regex=r"^PL-\d{4,9}$").order_by(Length("reference").desc(), "-reference").first()
    return f"PL-{int(highest.reference[3:]) + 1 if highest else 1:04}"
