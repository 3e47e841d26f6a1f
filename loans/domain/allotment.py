"""Say how a funded loan was shared out, without names: its basis of allotment.

Counted are the reservations that settled, and those that were still live when the loan became funded. Amounts are dollars.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from loans.domain.dollars import CENT, ZERO_DOLLARS
from loans.domain.settlement_rules import lottery_ticket

BAND_STARTS = tuple(map(Decimal, (0, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000)))
PERCENT_PLACES = Decimal("0.0001")


class AllottedReservation(NamedTuple):
    """What a reservation asked for and got. `paid` says whether its whole amount was here, `by_staff` whether staff settled it."""

    number: int
    amount: Decimal
    settled: Decimal
    funded_at: datetime | None
    paid: bool
    by_staff: bool


@dataclass(slots=True)
class SizeBand:
    """The reservations of at least `from_amount` and less than `to_amount` dollars. The last band has no upper end.

    `demand` is what they asked for. `whole`, `part` and `nothing` count the paid ones by what they got, `unpaid` counts the others.
    """

    from_amount: Decimal
    to_amount: Decimal | None
    count: int = 0
    demand: Decimal = ZERO_DOLLARS
    settled: Decimal = ZERO_DOLLARS
    whole: int = 0
    part: int = 0
    nothing: int = 0
    unpaid: int = 0

    def add(self, reservation: AllottedReservation) -> None:
        """Count a reservation in."""
        self.count += 1
        self.demand += reservation.amount
        self.settled += reservation.settled
        if reservation.settled == reservation.amount:
            self.whole += 1
        elif reservation.settled:
            self.part += 1
        elif reservation.paid:
            self.nothing += 1
        else:
            self.unpaid += 1


@dataclass(frozen=True, slots=True)
class AllottedLoan:
    """A funded loan, as far as its basis of allotment needs it."""

    amount: Decimal
    minimum: Decimal
    rule: str
    lottery_seed: str = ""


@dataclass(frozen=True, slots=True)
class RuleFigures:
    """The figures that explain one rule's result. Each is None where the rule has no such figure, or settled nothing.

    - fifo: `last_number`, of the last reservation that got something; first_funded: `last_payment_at`, when its payment was here.
    - pro_rata: `percent` of each amount that was settled, on average where rounding differs.
    - base_then_pro_rata: `base` dollars for each, and `percent` of what was asked for beyond them.
    - equal_awards: `largest_award`, the most dollars that any reservation got.
    - lottery: `last_ticket`, the highest that got something.
    """

    last_number: int | None = None
    last_payment_at: datetime | None = None
    percent: Decimal | None = None
    base: Decimal | None = None
    largest_award: Decimal | None = None
    last_ticket: str | None = None


@dataclass(frozen=True, slots=True)
class BasisOfAllotment:
    """How a loan was shared out. `cover_ratio` is the demand in parts of the loan; `settled_ahead` are the dollars settled by staff."""

    total: SizeBand
    cover_ratio: Decimal
    bands: list[SizeBand]
    settled_ahead_count: int
    settled_ahead: Decimal
    figures: RuleFigures = field(default_factory=RuleFigures)


def basis_of_allotment(loan: AllottedLoan, reservations: Iterable[AllottedReservation]) -> BasisOfAllotment:
    """Return how the loan was shared out among these reservations. Bands without reservations are left out."""
    total = SizeBand(BAND_STARTS[0], None)
    bands = [SizeBand(start, end) for start, end in zip(BAND_STARTS, (*BAND_STARTS[1:], None), strict=True)]
    by_rule: list[AllottedReservation] = []
    by_staff: list[AllottedReservation] = []
    for reservation in reservations:
        total.add(reservation)
        next(band for band in bands if band.to_amount is None or reservation.amount < band.to_amount).add(reservation)
        if reservation.settled:
            (by_staff if reservation.by_staff else by_rule).append(reservation)
    return BasisOfAllotment(
        total=total,
        cover_ratio=(total.demand / loan.amount).quantize(CENT),
        bands=[band for band in bands if band.count],
        settled_ahead_count=len(by_staff),
        settled_ahead=sum((reservation.settled for reservation in by_staff), ZERO_DOLLARS),
        figures=_FIGURES[loan.rule](loan, by_rule) if by_rule and loan.rule in _FIGURES else RuleFigures(),
    )


def _of_fifo(loan: AllottedLoan, settled: Sequence[AllottedReservation]) -> RuleFigures:
    return RuleFigures(last_number=max(reservation.number for reservation in settled))


def _of_first_funded(loan: AllottedLoan, settled: Sequence[AllottedReservation]) -> RuleFigures:
    return RuleFigures(last_payment_at=max(reservation.funded_at for reservation in settled if reservation.funded_at))


def _of_pro_rata(loan: AllottedLoan, settled: Sequence[AllottedReservation]) -> RuleFigures:
    return RuleFigures(percent=_percent(settled, base=ZERO_DOLLARS))


def _of_base_then_pro_rata(loan: AllottedLoan, settled: Sequence[AllottedReservation]) -> RuleFigures:
    base = min(loan.minimum, max(reservation.settled for reservation in settled))
    return RuleFigures(base=base, percent=_percent(settled, base))


def _of_equal_awards(loan: AllottedLoan, settled: Sequence[AllottedReservation]) -> RuleFigures:
    return RuleFigures(largest_award=max(reservation.settled for reservation in settled))


def _of_lottery(loan: AllottedLoan, settled: Sequence[AllottedReservation]) -> RuleFigures:
    return RuleFigures(last_ticket=max(lottery_ticket(loan.lottery_seed, reservation.number) for reservation in settled))


def _percent(settled: Sequence[AllottedReservation], base: Decimal) -> Decimal:
    """Return how many percent of the dollars beyond `base` were settled; 100 where no reservation asked for more than that."""
    demand = sum(max(ZERO_DOLLARS, reservation.amount - base) for reservation in settled)
    got = sum(max(ZERO_DOLLARS, reservation.settled - base) for reservation in settled)
    return (100 * got / demand if demand else Decimal(100)).quantize(PERCENT_PLACES)


_FIGURES: dict[str, Callable[[AllottedLoan, Sequence[AllottedReservation]], RuleFigures]] = {
    "fifo": _of_fifo,
    "first_funded": _of_first_funded,
    "pro_rata": _of_pro_rata,
    "equal_awards": _of_equal_awards,
    "base_then_pro_rata": _of_base_then_pro_rata,
    "lottery": _of_lottery,
}
