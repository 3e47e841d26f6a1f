"""How is one way of doing a thing compared with another? In turn, in the same run, by the ratios of pairs."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

ROUNDS = 5


@dataclass(frozen=True)
class Figure:
    """One line of the table: a figure of ours, its baseline's, and how they compare.

    `ratio` is the median of ours / baseline over the rounds, `spread` from its lowest to its highest. With `at_most` the
    ratio must not be above the target, otherwise not below it; a target of None only reports.
    """

    work: str
    amount: str
    unit: str
    ours: float
    baseline: float
    ratio: float
    spread: tuple[float, float]
    target: float | None
    at_most: bool

    @property
    def met(self) -> bool:
        return self.target is None or (self.ratio <= self.target if self.at_most else self.ratio >= self.target)

    @property
    def missed(self) -> bool:
        """Whether the target is missed by more than the spread of the rounds explains."""
        lowest, highest = self.spread
        return not self.met and self.target is not None and (lowest > self.target if self.at_most else highest < self.target)

    def as_json(self) -> dict[str, object]:
        return asdict(self) | {"met": self.met}


@dataclass
class Comparison:
    """Two ways of doing the same `work`. Each callable does it once and returns its figure in `unit`."""

    work: str
    amount: str
    unit: str
    ours: Callable[[], float]
    baseline: Callable[[], float]
    target: float | None
    at_most: bool
    rounds: int = ROUNDS
    pairs: list[tuple[float, float]] = field(default_factory=list)

    def measure(self) -> Figure:
        """One round that does not count, to warm up; then A B, B A, and so on."""
        self.ours(), self.baseline()
        for number in range(self.rounds):
            if number % 2:
                theirs = self.baseline()
                self.pairs.append((self.ours(), theirs))
            else:
                self.pairs.append((self.ours(), self.baseline()))
        ratios = [ours / theirs for ours, theirs in self.pairs]
        ours, baseline = (statistics.median(column) for column in zip(*self.pairs, strict=True))
        spread = (min(ratios), max(ratios))
        return Figure(self.work, self.amount, self.unit, ours, baseline, statistics.median(ratios), spread, self.target, self.at_most)


def table(figures: list[Figure]) -> Iterator[str]:
    """The figures for people, one a line."""
    yield f"{'work':<44}{'how much':<22}{'ours':>12}{'baseline':>12}{'':<8}{'ratio':>7}{'spread':>15}{'target':>9}"
    for figure in figures:
        lowest, highest = figure.spread
        target = "" if figure.target is None else f"{'<=' if figure.at_most else '>='} {figure.target:g}"
        verdict = "" if figure.met else "  MISSED" if figure.missed else "  near"
        yield (
            f"{figure.work:<44}{figure.amount:<22}{figure.ours:>12,.3f}{figure.baseline:>12,.3f} {figure.unit:<7}"
            f"{figure.ratio:>7.2f}{f'{lowest:.2f}-{highest:.2f}':>15}{target:>9}{verdict}"
        )
