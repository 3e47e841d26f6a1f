"""Collect the lines of a bank statement, and say of each line that cannot be read why.

A line is known again by its event id, which is made from the bank's own ids. So a second run, or another statement that has the same
line, gives the same event id.
"""

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from loans.domain.business_calendar import FIRST_YEAR, LAST_YEAR, NEW_YORK
from loans.domain.dollars import CENT, MAX_DOLLARS
from loans.domain.errors import StatementRefused

MOST_LINES = 10_000
"""Of one file. A worker books about 100 in a second, and a task may run for four minutes."""
BAD_LINES_KEPT = 200
TEXT_CHARACTERS = 500
CURRENCY = "USD"

FormatName = Literal["ofx", "bai2", "csv"]


class Unreadable(ValueError):
    """A value of a line is not what it must be. The message is the reason that staff read."""


@dataclass(frozen=True)
class StatementLine:
    """Money that came in (a positive amount, in dollars) or went out (a negative one)."""

    line: int
    event_id: str
    account: str
    bank_id: str
    amount: Decimal
    occurred_at: datetime
    text: str
    """What the payer and the bank wrote, on one line."""


class BadLine(NamedTuple):
    line: int
    reason: str


@dataclass
class Statement:
    """The lines of one file. Only the first bad lines are kept; `bad_lines_count` counts all."""

    format: FormatName
    lines: list[StatementLine] = field(default_factory=list)
    bad_lines: list[BadLine] = field(default_factory=list)
    bad_lines_count: int = 0
    _lines_by_id: dict[str, StatementLine] = field(default_factory=dict, repr=False)
    _equal_lines: Counter[tuple[str, ...]] = field(default_factory=Counter, repr=False)

    def add(
        self,
        *,
        line: int,
        account: str,
        bank_id: str,
        amount: Decimal,
        occurred_at: datetime,
        text: str,
        identity: tuple[str, ...],
        is_unique: bool,
    ) -> None:
        """Add a line. Lines of 0.00 dollars move no money and are left out.

        `identity` is what the bank calls the line. If it is unique, a line with the same one is the same line. Otherwise several lines
        of this file with the same one are payments of their own, so they are counted, and the count is a part of the event id.

        Raises:
            Unreadable: another line of the file has this unique identity and says something else.
            StatementRefused: the file has too many lines.
        """
        if not amount:
            return
        if not is_unique:
            self._equal_lines[identity] += 1
            identity = (*identity, str(self._equal_lines[identity]))
        parts = json.dumps([self.format, *identity])
        event_id = f"statement-{self.format}-{hashlib.sha256(parts.encode()).hexdigest()[:40]}"
        added = StatementLine(line, event_id, account, bank_id, amount, occurred_at, text)
        if earlier := self._lines_by_id.get(event_id):
            if (earlier.amount, earlier.occurred_at) != (amount, occurred_at):
                raise Unreadable(f"it has the id {bank_id} of line {earlier.line}, but another amount or date.")
            return
        if len(self.lines) == MOST_LINES:
            raise StatementRefused(f"It has more than {MOST_LINES:,} lines. Split it by days.")
        self._lines_by_id[event_id] = added
        self.lines.append(added)

    def refuse(self, line: int, reason: Any) -> None:
        """Record that a line cannot be read."""
        self.bad_lines_count += 1
        if len(self.bad_lines) < BAD_LINES_KEPT:
            self.bad_lines.append(BadLine(line, one_line(str(reason))))


def one_line(text: str) -> str:
    """Return the text without line ends, control characters and repeated blanks, at most TEXT_CHARACTERS long."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())[:TEXT_CHARACTERS]


def shown(text: str) -> str:
    """Return the beginning of a value, to quote it in a reason."""
    return repr(one_line(text)[:40])


_AMOUNT = re.compile(r"([+-]?)\$?(\d{1,3}(?:,\d{3})+|\d+)?(?:\.(\d*))?", re.ASCII)


def parse_amount(text: str) -> Decimal:
    """Return the dollars, such as -1234.56 for `-1,234.56`, `-$1234.56` or `(1,234.56)`.

    Raises:
        Unreadable: it is no such amount, has parts of a cent, or is larger than MAX_DOLLARS.
    """
    stripped = text.strip()
    in_parentheses = stripped.startswith("(") and stripped.endswith(")")
    match = _AMOUNT.fullmatch(stripped[1:-1] if in_parentheses else stripped) if len(stripped) <= 40 else None
    if match is None or not (match[2] or match[3]):
        raise Unreadable(f"{shown(text)} is not an amount such as -1234.56.")
    if in_parentheses and match[1]:
        raise Unreadable(f"{shown(text)} has both a sign and parentheses.")
    amount = Decimal(f"{(match[2] or '0').replace(',', '')}.{match[3] or '0'}")
    if amount > MAX_DOLLARS:
        raise Unreadable(f"{shown(text)} is more than {MAX_DOLLARS:,}.")
    if amount % CENT:
        raise Unreadable(f"{shown(text)} has parts of a cent.")
    amount = amount.quantize(CENT)
    return -amount if in_parentheses or match[1] == "-" else amount


def end_of(day: date) -> datetime:
    """Return the last second of the day in New York, in UTC: when a line happened that gives only its day.

    Money of the last day before a deadline is then in time, and a return does not stand before a clearing of the same day.
    """
    return in_range(datetime.combine(day, time(23, 59, 59), NEW_YORK))


def in_range(at: datetime) -> datetime:
    """Return the instant in UTC.

    Raises:
        Unreadable: its year is impossible.
    """
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise Unreadable(f"the year {at.year} is not between {FIRST_YEAR} and {LAST_YEAR}.")
    return at.astimezone(UTC)


def check_currency(currency: str) -> None:
    """Raise Unreadable unless the currency is dollars. An empty text is dollars."""
    if currency and currency.strip().upper() != CURRENCY:
        raise Unreadable(f"the currency is {shown(currency)}, not {CURRENCY}.")
