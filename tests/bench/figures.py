"""Compare ways of doing the same work: in turn, in one run, by the ratios of pairs of rounds."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

T = TypeVar("T")

ROUNDS = 4
GROWTH = 1.3  # at most: the cost of one unit with ten times the rows, over that with a tenth


def in_turn(*ways: Callable[[], T], rounds: int = ROUNDS, warm_up: bool = True) -> list[list[T]]:
    """Return what each way measured in each round. The order is A B, B A, and so on; a first round warms up and does not count."""
    columns: list[list[T]] = [[] for _ in ways]
    for number in range(rounds + warm_up):
        indexes = range(len(ways)) if number % 2 else reversed(range(len(ways)))
        for index in indexes:
            columns[index].append(ways[index]())
    return [column[warm_up:] for column in columns]


@dataclass(frozen=True)
class Ratio:
    """The ratios of two columns, pair by pair: their median and their spread.

    The median must not be above the target with `at_most`, and not below it otherwise. Without a target there is nothing to meet.
    """

    median: float
    lowest: float
    highest: float
    target: float | None
    at_most: bool

    @classmethod
    def of(cls, dividends: Iterable[float], divisors: Iterable[float], target: float | None, *, at_most: bool) -> "Ratio":
        ratios = [a / b for a, b in zip(dividends, divisors, strict=True)]
        return cls(statistics.median(ratios), min(ratios), max(ratios), target, at_most)

    @property
    def met(self) -> bool:
        return self.target is None or (self.median <= self.target if self.at_most else self.median >= self.target)

    @property
    def missed(self) -> bool:
        """Return whether the target is missed by more than the spread of the rounds."""
        return not self.met and self.target is not None and (self.lowest > self.target if self.at_most else self.highest < self.target)


@dataclass(frozen=True)
class Figure:
    """One line of the table: the medians of ours and of the baseline, their ratio, and how ours grows with ten times the rows."""

    work: str
    amount: str
    unit: str
    ours: float
    baseline: float
    ratio: Ratio
    growth: Ratio | None = None

    @property
    def missed(self) -> bool:
        return self.ratio.missed or bool(self.growth and self.growth.missed)

    def as_json(self) -> dict[str, object]:
        return asdict(self) | {"missed": self.missed}


def figure(
    work: str,
    amount: str,
    unit: str,
    ours: Sequence[float],
    baseline: Sequence[float],
    target: float | None,
    *,
    at_most: bool = False,
    tenth: Sequence[float] | None = None,
    times: int = 1,
) -> Figure:
    """Return the line for columns from `in_turn`. `tenth` is ours on a tenth of the rows, and `times` how much more work ours did."""
    growth = None
    if tenth:
        cost, less = (ours, [times * seconds for seconds in tenth]) if at_most else (tenth, ours)
        growth = Ratio.of(cost, less, GROWTH, at_most=True)
    ratio = Ratio.of(ours, baseline, target, at_most=at_most)
    return Figure(work, amount, unit, statistics.median(ours), statistics.median(baseline), ratio, growth)


COLUMNS = ("work", "how much", "ours", "baseline", "", "ratio", "spread", "target", "growth", "")
WIDTHS = (44, 24, 10, 10, 6, 6, 12, 8, 18, 8)


def cells(figure: Figure) -> list[str]:
    """Return the cells of a line; `near` is a target missed by less than the spread."""
    ratio, growth = figure.ratio, figure.growth
    target = "" if ratio.target is None else f"{'≤' if ratio.at_most else '≥'} {ratio.target:g}"
    grows = f"{growth.median:.2f} ({growth.lowest:.2f}-{growth.highest:.2f})" if growth else ""
    verdict = "MISSED" if figure.missed else "" if ratio.met and (not growth or growth.met) else "near"
    spread = f"{ratio.lowest:.2f}-{ratio.highest:.2f}"
    amounts = [f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in (figure.ours, figure.baseline)]
    return [figure.work, figure.amount, *amounts, figure.unit, f"{ratio.median:.2f}", spread, target, grows, verdict]


def line(texts: Sequence[str]) -> str:
    """Return one line of the table for a terminal."""
    left = (0, 1, 4, 9)
    return " ".join(
        f"{text:<{width}}" if n in left else f"{text:>{width}}" for n, (text, width) in enumerate(zip(texts, WIDTHS, strict=True))
    )


def markdown(figures: Iterable[Figure]) -> str:
    """Return the table as Markdown."""
    rows = [COLUMNS, ["---"] * len(COLUMNS), *map(cells, figures)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
