"""Simulate the bank: it moves money under our references, keeps an account of its own, and reports what it did.

The bank's times run in any direction: what it does next may bear an earlier time. Its account is right all the same, since it does
nothing that its own times contradict. Its reports come from three sources, in any order and any number, and some come under a
new id, or with a reference that cannot be read. Amounts are cents.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

from loans.domain.business_calendar import banking_days_after, new_york_day

SOURCES = ("notice", "statement", "staff")
CONFIRMED_WITHIN_BANKING_DAYS = 10
STAFF_ERROR = timedelta(seconds=1)
_numbers = count(1)


@dataclass(eq=False)
class Movement:
    """What the bank did: money that it moved the way it was to go, money that it moved back, or an attempt that failed."""

    onward: bool
    amount: int
    at: datetime
    change: int  # of what has moved onward: the amount, less than nothing, or nothing


@dataclass(eq=False)
class Report:
    """What one source says about a movement. `readable` tells whether our reference can be read from it."""

    id: str
    source: str
    movement: Movement
    at: datetime
    readable: bool


@dataclass(eq=False)
class Line:
    """A movement as our books should have it: one or more reports, at most one of each source.

    `reported_at` has the time of each source's report, `first` is the first report, and `is_another` tells whether staff said that it
    is no duplicate.
    """

    onward: bool
    amount: int
    at: datetime
    first: Report
    reported_at: dict[str, datetime]
    is_another: bool = False

    def is_like(self, report: Report) -> bool:
        return (self.onward, self.amount) == _kind(report)


def _kind(report: Report) -> tuple[bool, int]:
    return report.movement.onward, report.movement.amount


def in_order(lines: Iterable[Line | Movement]) -> list[Line | Movement]:
    """Sort by the bank's time; at equal times what moved back stands after what moved onward."""
    return sorted(lines, key=lambda line: (line.at, not line.onward, line.amount))


def moved(lines: Iterable[Line | Movement]) -> int:
    """Return the cents that have moved onward and not back. What cannot have moved back, since it was not there, is left out."""
    total = 0
    for line in in_order(lines):
        if line.onward:
            total += line.amount
        elif line.amount <= total:
            total -= line.amount
    return total


def is_within_ten_banking_days(first: datetime, second: datetime) -> bool:
    earlier, later = sorted([new_york_day(first), new_york_day(second)])
    return later <= banking_days_after(earlier, CONFIRMED_WITHIN_BANKING_DAYS)[-1]


@dataclass(eq=False)
class Account:
    """What the bank did under one reference, and what has been reported of it."""

    reference: str
    inbound: bool
    movements: list[Movement] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    reported: list[Report] = field(default_factory=list)
    unreadable: list[Report] = field(default_factory=list)  # until staff assign them

    def __str__(self) -> str:
        """Return what the bank did and what our books should have, for a test that fails."""
        done = [f"  did {'onward' if each.onward else 'back'} {each.amount} ({each.change:+}) at {each.at}" for each in self.movements]
        booked = [
            f"  booked {'onward' if line.onward else 'back'} {line.amount} at {line.at} by {', '.join(line.reported_at)}"
            for line in in_order(self.lines)
            if isinstance(line, Line)
        ]
        return "\n".join([self.reference, *done, *booked])

    # --- What the bank does -----------------------------------------------------------------------------------------------
    @property
    def balance(self) -> int:
        """Return what has moved onward and not back, by the bank's own account."""
        return sum(movement.change for movement in self.movements)

    def move(self, *, onward: bool, amount: int, at: datetime, change: int) -> Movement | None:
        """Move money, unless the times of what the bank did would then contradict its account.

        Nor within the second by which staff wrote down a time wrongly: what the books then say depends on which of the two came first.
        """
        if any(report.at != report.movement.at and abs(report.at - at) <= STAFF_ERROR for report in self.reported):
            return None
        movement = Movement(onward, amount, at, change)
        total = 0
        for earlier in in_order([*self.movements, movement]):
            possible = earlier.onward or (earlier.change and earlier.amount <= total) or (not earlier.change and earlier.amount > total)
            if not possible:
                return None
            total += earlier.change
        self.movements.append(movement)
        return movement

    # --- What it reports ----------------------------------------------------------------------------------------------------
    def report(self, movement: Movement, source: str, *, readable: bool = True) -> Report:
        """Report the movement. What staff write down by hand bears a slightly wrong time.

        Two equal movements cannot be told apart where each is reported by another source only. This bank does not report so: a source
        reports the movements that other sources have reported before it reports an equal one.
        """
        if not self.is_reported(movement):
            for other in self.movements:
                alike = (other.onward, other.amount) == (movement.onward, movement.amount)
                if alike and self.is_reported(other) and not self.is_reported(other, source):
                    movement = other
                    break
        is_alone = all(other is movement or abs(other.at - movement.at) > STAFF_ERROR for other in self.movements)
        wrong = (-STAFF_ERROR if movement.onward else STAFF_ERROR) if source == "staff" and is_alone else timedelta(0)
        return Report(f"{source}-{next(_numbers)}", source, movement, movement.at + wrong, readable)

    def is_reported(self, movement: Movement, source: str | None = None) -> bool:
        return any(report.movement is movement and source in {None, report.source} for report in self.reported)

    @property
    def is_told(self) -> bool:
        """Say whether everything that the bank did has been reported and is in the books."""
        return not self.unreadable and not self.doubtful and all(map(self.is_reported, self.movements))

    @property
    def doubtful(self) -> list[Line]:
        """Return the lines that may be duplicates: they have the amount and the time of one before, and staff have not answered."""
        reported: set[tuple[int, datetime]] = set()
        doubtful = []
        for line in sorted(self.lines, key=lambda line: line.is_another):
            if line.onward and not line.is_another and (line.amount, line.at) in reported:
                doubtful.append(line)
            if line.onward:
                reported.add((line.amount, line.at))
        return doubtful

    @property
    def counted(self) -> list[Line]:
        return [line for line in self.lines if line not in self.doubtful]

    @property
    def moved(self) -> int:
        """Return what has moved onward and not back, as far as it has been reported and is not in doubt."""
        return moved(self.counted)

    # --- What our books should make of it ---------------------------------------------------------------------------------------
    def hear(self, report: Report) -> bool:
        """Take a report, and say whether it makes a new line."""
        if report in self.reported or report in self.unreadable:
            return False
        if not report.readable:
            self.unreadable.append(report)
            return False
        return self._book(report)

    def assign(self, report: Report) -> bool:
        """Take an unreadable report that staff assigned to this reference, and say whether it makes a new line."""
        self.unreadable.remove(report)
        return self._book(report)

    def is_another(self, line: Line) -> bool:
        """Say what the bank's account says of a possible duplicate: whether it is another payment than those in the books."""
        movements = {id(report.movement) for report in self.reported if line.is_like(report)}
        return sum((other.onward, other.amount) == (line.onward, line.amount) for other in self.counted) < len(movements)

    def answer(self, line: Line, *, is_another: bool) -> bool:
        """Take staff's answer on a possible duplicate, and say whether it counts from now on."""
        line.is_another = is_another
        if not is_another:
            self.lines.remove(line)
        return is_another

    def _book(self, report: Report) -> bool:
        self.reported.append(report)
        alike = sorted((line for line in self.lines if line.is_like(report)), key=lambda line: line.at)
        unconfirmed = [line for line in alike if report.source not in line.reported_at and is_within_ten_banking_days(line.at, report.at)]
        same_time = [line for line in unconfirmed if line.at == report.at]
        is_repeated = report.movement.onward and any(line.reported_at.get(report.source) == report.at for line in alike)
        for line in same_time or (unconfirmed if not is_repeated else []):
            line.reported_at[report.source] = report.at
            line.at = report.at if report.source == "notice" else line.at
            return False
        self.lines.append(Line(report.movement.onward, report.movement.amount, report.at, report, {report.source: report.at}))
        return True
