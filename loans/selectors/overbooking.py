"""Read what the evidence says of the overbooking of one loan or of all open ones: at their present rates, and at the recommended ones."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property

from django.core.cache import cache

from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.errors import NotFound
from loans.domain.overbooking import RATES, FilledLoan, LoanLapses, LoanOutlook
from loans.domain.states import ENDED_LOAN_STATUSES, LoanEvent, LoanStatus, ReservationState
from loans.models import Loan, Transition
from loans.selectors.lapse_shares import lapse_shares, typical_amount
from loans.selectors.offers import LoanOffer, loan_offers
from loans.selectors.queue import reservations_in_queue
from peerloans.wording import whole_dollars_text

MAX_OPEN_LOANS = 200  # are shown together; each takes some hundredths of a second
CURVE_RATES = RATES[::5]  # in steps of 2.5 %
CHANGES_SHOWN = 5
REMEMBERED_SECONDS = 600  # since two hundred open loans take some seconds to compute
OPEN_LOANS_KEY = "overbooking-of-open-loans"


@dataclass(frozen=True)
class OverbookingEvidence:
    """What is known about a loan at the instant of its offer: its live reservations, and how such reservations lapsed before.

    `reservations` are the amount and the probability of being paid of each live reservation; `typical` is the size in dollars of
    those that may follow.
    """

    offer: LoanOffer
    lapses: LoanLapses
    reservations: Sequence[tuple[Decimal, float]]
    typical: Decimal
    risk: Decimal

    @property
    def loan(self) -> Loan:
        """The loan of the offer."""
        return self.offer.loan

    @cached_property
    def present(self) -> LoanOutlook:
        """The outlook of the loan as it is reserved now."""
        return self.filling.present

    @cached_property
    def filling(self) -> FilledLoan:
        """The loan filled up to its limit, at any rate."""
        probability = self.lapses.payment_probability(state=ReservationState.RESERVED, funded=False)
        return FilledLoan(self.reservations, self.loan.remaining, typical=self.typical, probability=probability)

    @cached_property
    def filled(self) -> LoanOutlook:
        """The outlook of the loan filled up to its limit at its present rate."""
        return self.filling.outlook(self.loan.overbooking_rate)

    @cached_property
    def recommended_rate(self) -> Decimal:
        """The largest rate that keeps the risk, whatever the loan's cap is."""
        return self.filling.recommended_rate(float(self.risk))

    @cached_property
    def recommended(self) -> LoanOutlook:
        """The outlook of the loan filled up to its limit at the recommended rate."""
        return self.filling.outlook(self.recommended_rate)

    @property
    def curve(self) -> list[tuple[Decimal, LoanOutlook]]:
        """The outlook of the loan filled up to its limit at each rate from 0 to 100 %, in steps of 2.5 %."""
        return [(rate, self.filling.outlook(rate)) for rate in CURVE_RATES]

    @property
    def sentence(self) -> str:
        """What the loan's rate means, and the recommended one, in words."""
        filled = self.filled
        if self.recommended_rate == self.loan.overbooking_rate:
            other = "The evidence recommends this rate."
        else:
            other = (
                f"At {percent(self.recommended_rate)}: {_of_100(self.recommended)}, "
                f"{whole_dollars_text(self.recommended.expected_unfilled)} stay unsold."
            )
        return (
            f"If you keep {percent(self.loan.overbooking_rate)}: {_of_100(filled)} such loans turn somebody away who has paid, "
            f"by {whole_dollars_text(filled.expected_over)} on average; {whole_dollars_text(filled.expected_unfilled)} stay unsold. {other}"
        )

    def numbers(self, rate: Decimal) -> dict[str, str]:
        """Return the numbers that speak for `rate`, as texts for history."""
        expected = self.filling.outlook(rate)
        reserved, pending = self.lapses.reserved, self.lapses.pending
        return {
            "risk": str(self.risk),
            "recommended_rate": str(self.recommended_rate),
            "chance_over": f"{expected.chance_over:.4f}",
            "expected_over": f"{expected.expected_over:.2f}",
            "expected_unfilled": f"{expected.expected_unfilled:.2f}",
            "reserved_lapse": f"{reserved.share:.4f}",
            "reserved_counted": str(reserved.own.counted),
            "reserved_counted_of_all": str(reserved.all_loans.counted),
            "pending_lapse": f"{pending.share:.4f}",
            "pending_counted": str(pending.own.counted),
            "pending_counted_of_all": str(pending.all_loans.counted),
            "typical_amount": str(self.typical),
            "live_reservations": str(len(self.reservations)),
        }


def overbooking_evidence(offers: Sequence[LoanOffer], risk: Decimal | None = None) -> list[OverbookingEvidence]:
    """Return the evidence of each loan, in the same order. `risk` is used in place of each loan's own.

    Their reservations are read at the instant of their offers, by one query.
    """
    if not offers:
        return []
    loan_ids, at = [offer.loan.pk for offer in offers], offers[0].at
    lapses = lapse_shares(loan_ids, at)
    reservations: defaultdict[int, list[tuple[Decimal, float]]] = defaultdict(list)
    rows = reservations_in_queue(loan_ids).exclude(expires_at__lte=at).values_list("loan_id", "amount", "state", "funded_at")
    for loan_id, amount, state, funded_at in rows:
        probability = lapses[loan_id].payment_probability(state=state, funded=funded_at is not None)
        reservations[loan_id].append((amount, probability))
    return [
        OverbookingEvidence(
            offer,
            lapses[offer.loan.pk],
            reservations[offer.loan.pk],
            typical_amount(offer.loan.minimum, at),
            offer.loan.overbooking_risk if risk is None else risk,
        )
        for offer in offers
    ]


def evidence_under_lock(loan: Loan, at: datetime) -> OverbookingEvidence:
    """Return the evidence of a loan in a unit of work, whose lapsed reservations are canceled."""
    (evidence,) = overbooking_evidence([LoanOffer(loan, at, loan.claimed, ZERO_DOLLARS)])
    return evidence


def evidence_of_loans(
    references: Sequence[str] = (), risk: Decimal | None = None, now: datetime | None = None
) -> list[OverbookingEvidence]:
    """Return the evidence of these drafts and open loans, or of the open loans that close next; at most 200.

    Raises:
        NotFound: a reference belongs to no draft or open loan.
    """
    if references:
        loans = Loan.objects.filter(reference__in=references).exclude(status__in=ENDED_LOAN_STATUSES).order_by("reference")
    else:
        loans = Loan.objects.filter(status=LoanStatus.OPEN).order_by("closes_at", "pk")[:MAX_OPEN_LOANS]
    ids = dict(loans.values_list("reference", "pk"))
    if unknown := sorted(set(references) - ids.keys()):
        raise NotFound(f"There is no draft or open loan {', '.join(unknown)}.")
    return overbooking_evidence(loan_offers(list(ids.values()), now), risk)


@dataclass(frozen=True)
class LoanOverbooking:
    """What the evidence says of an open loan, filled up to its limit at its rate. Dollars are averages."""

    pk: int
    reference: str
    rate: Decimal
    recommended_rate: Decimal
    chance_over_now: float
    chance_over: float
    over: float
    unfilled: float


@dataclass(frozen=True)
class OpenLoansOverbooking:
    """What the evidence says of the open loans, riskiest first, and their sums."""

    rows: Sequence[LoanOverbooking]

    @property
    def loans_over(self) -> float:
        """Of so many of the loans, on average, somebody is turned away."""
        return sum(row.chance_over for row in self.rows)

    @property
    def over(self) -> float:
        """The dollars that are turned away, on average."""
        return sum(row.over for row in self.rows)

    @property
    def unfilled(self) -> float:
        """The dollars that stay unsold, on average."""
        return sum(row.unfilled for row in self.rows)


def open_loans_overbooking(now: datetime) -> OpenLoansOverbooking:
    """Return what the evidence says of the open loans. Up to ten minutes old."""
    rows = cache.get_or_set(OPEN_LOANS_KEY, lambda: _compute_open_loans(now), REMEMBERED_SECONDS) or []
    return OpenLoansOverbooking([LoanOverbooking(*row) for row in rows])


def _compute_open_loans(now: datetime) -> list[tuple[int, str, Decimal, Decimal, float, float, float, float]]:
    rows = [
        (
            evidence.loan.pk,
            evidence.loan.reference,
            evidence.loan.overbooking_rate,
            evidence.recommended_rate,
            evidence.present.chance_over,
            evidence.filled.chance_over,
            evidence.filled.expected_over,
            evidence.filled.expected_unfilled,
        )
        for evidence in evidence_of_loans(now=now)
    ]
    return sorted(rows, key=lambda row: -row[5])


def overbooking_changes(loan: Loan) -> list[Transition]:
    """Return the newest changes of a loan's overbooking, newest first, each with its numbers in `facts`."""
    changes = Transition.objects.filter(loan=loan, reservation=None, event=LoanEvent.OVERBOOKING_SET)
    return list(changes.select_related("user").order_by("-id")[:CHANGES_SHOWN])


def percent(rate: Decimal) -> str:
    """Write a fraction as percents: 0.125 as "12.5 %"."""
    return f"{(100 * rate).normalize():f} %"


def _of_100(expected: LoanOutlook) -> str:
    loans = f"{100 * expected.chance_over:.0f}"
    return "fewer than 1 of 100" if loans == "0" and expected.chance_over else f"{loans} of 100"
