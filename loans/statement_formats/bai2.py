"""Read a BAI2 file: balances and transactions of accounts, as banks in the USA report them.

Records stand inside each other: 01 file, 02 group (one day of one bank), 03 account, 16 transaction; 49, 98 and 99 end account, group
and file, and give their control totals. 88 continues the record before it. A file whose totals do not add up is refused, since a line
may be missing.

Source: BAI, Cash Management Balance Reporting Specifications, version 2.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from loans.domain.errors import StatementRefused
from loans.statement_formats.lines import Statement, Unreadable, check_currency, end_of, one_line, parse_amount, shown

ENCLOSED_BY = {"01": None, "02": "01", "03": "02", "16": "03", "49": "03", "98": "02", "99": "01"}
"""By record code: the open record that it stands in, or ends."""
ENDS = {"49", "98", "99"}
TRANSACTION, CONTINUATION = "16", "88"
VERSION = "2"
GROUP_UPDATE = "1"  # the other statuses are 2 deletion, 3 correction and 4 test
CREDITS = (range(100, 400), range(920, 960))
DEBITS = (range(400, 700), range(960, 1000))
NOT_MONEY = "890"
AVAILABILITY_FIELDS = {"S": 3, "V": 2}
"""By funds type: how many fields about availability follow. Type D is followed by a number of pairs, the others by none."""


@dataclass(frozen=True)
class Record:
    line: int
    code: str
    fields: Sequence[str]

    def get(self, index: int) -> str:
        """Return the field, or an empty text where the record is shorter."""
        return self.fields[index].strip() if index < len(self.fields) else ""


@dataclass
class _Open:
    """A file, group or account that has not ended: its record, how many parts it has, and what they add up to, in cents."""

    record: Record
    total_cents: int = 0
    parts: int = 0


@dataclass
class _Reader:
    statement: Statement = field(default_factory=lambda: Statement("bai2"))
    open: list[_Open] = field(default_factory=list)
    """From the outside in: the file, a group, an account."""
    ended: bool = False

    def take(self, record: Record) -> None:
        innermost = self.open[-1].record.code if self.open else None
        if self.ended or innermost != ENCLOSED_BY[record.code]:
            raise StatementRefused(f"Line {record.line}: a record {record.code} cannot stand here.")
        try:
            if record.code == TRANSACTION:
                self._add(record)
            elif record.code in ENDS:
                self._end(record)
            else:
                self._begin(record)
        except Unreadable as error:
            self.statement.refuse(record.line, error)

    def _begin(self, record: Record) -> None:
        begun = _Open(record)
        self.open.append(begun)
        if record.code == "01" and record.get(7) != VERSION:
            raise Unreadable(f"the file has version {shown(record.get(7))}, not 2.")
        if record.code == "02" and record.get(2) != GROUP_UPDATE:
            raise Unreadable(f"the group has status {shown(record.get(2))}; only 1 (update) is booked.")
        if record.code == "03":
            begun.total_cents = _summary_cents(record)

    def _end(self, record: Record) -> None:
        """Close the innermost file, group or account, and check its control total and the number of its parts."""
        closed = self.open.pop()
        self.ended = not self.open
        total_cents = _cents(record.get(0))
        if self.open:
            self.open[-1].total_cents += total_cents
            self.open[-1].parts += 1
        if total_cents != closed.total_cents:
            raise Unreadable(
                f"the control total is {total_cents} cents, but the records since line {closed.record.line} add up to {closed.total_cents}."
            )
        if record.code != "49" and _cents(record.get(1)) != closed.parts:
            raise Unreadable(f"it counts {shown(record.get(1))} parts since line {closed.record.line}, but there are {closed.parts}.")

    def _add(self, record: Record) -> None:
        _, group, account = self.open
        cents = _cents(record.get(1))
        account.total_cents += cents
        sign = _sign(record.get(0))
        if cents < 0:
            raise Unreadable("its amount has a sign. The type code says which way the money went.")
        number = account.record.get(0)
        if not number:
            raise Unreadable("its account has no number.")
        check_currency(account.record.get(1) or group.record.get(5))
        at = _end_of_day(group.record.get(3))
        after_availability = 3 + _availability_fields(record, 2)
        bank_reference = one_line(record.get(after_availability))
        text = one_line(" ".join(record.fields[after_availability:]))
        amount = sign * parse_amount(f"{cents // 100}.{cents % 100:02}")
        # The text may differ between two reports of one day, so it counts only where the bank gives no reference.
        self.statement.add(
            line=record.line,
            account=number,
            bank_id=bank_reference,
            amount=amount,
            occurred_at=at,
            text=text,
            identity=(number, at.isoformat(), str(amount), bank_reference, "" if bank_reference else text),
            is_unique=False,
        )


def read_bai2(text: str) -> Statement:
    """Return the transactions of all accounts in the file. Each happened on the day of its group.

    Raises:
        StatementRefused: the file is cut off, or its records do not stand inside each other.
    """
    reader = _Reader()
    for record in _records(text):
        reader.take(record)
    if not reader.ended:
        raise StatementRefused("It is cut off: the record 99, which ends a BAI2 file, is absent.")
    return reader.statement


def _records(text: str) -> Iterator[Record]:
    """Yield the records, each with its continuations."""
    first_line, code, parts = 0, "", [""]
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        if line[:2] == CONTINUATION and code:
            parts.append(line[3:].rstrip())
            continue
        if code:
            yield Record(first_line, code, _fields(code, parts))
        first_line, code, parts = number, line[:2], [line[3:].rstrip()]
        if code not in ENCLOSED_BY or line[2:3] not in {",", "/", ""}:
            raise StatementRefused(f"Line {number}: {shown(line)} is no record of a BAI2 file.")
    if code:
        yield Record(first_line, code, _fields(code, parts))


def _fields(code: str, parts: Sequence[str]) -> list[str]:
    """Split a record into its fields. A slash ends a line after a whole field; without it the field goes on in the next line.

    The text of a transaction may contain slashes, so there only one at the end of the line counts.
    """
    joined = []
    for part in parts:
        whole = part.removesuffix("/") if code == TRANSACTION else part.partition("/")[0]
        joined += [whole, "," if whole != part else " "]
    return "".join(joined[:-1]).split(",")


def _summary_cents(record: Record) -> int:
    """Return the sum of the amounts in an account's record: after number and currency, groups of type, amount, count and funds type."""
    total, index = 0, 2
    while index < len(record.fields):
        if not record.get(index):
            index += 1
            continue
        total += _cents(record.get(index + 1))
        # Some banks leave out the empty funds type at the end of a line, and the next type code follows.
        has_funds_type = len(record.get(index + 3)) <= 1
        index += 4 + _availability_fields(record, index + 3) if has_funds_type else 3
    return total


def _availability_fields(record: Record, index: int) -> int:
    """Return how many fields about availability follow the funds type at this index."""
    funds_type = record.get(index)
    if funds_type != "D":
        return AVAILABILITY_FIELDS.get(funds_type, 0)
    pairs = record.get(index + 1)
    if not re.fullmatch("[0-9]{1,3}", pairs):
        raise Unreadable(f"the number of its availability dates is {shown(pairs)}.")
    return 1 + 2 * int(pairs)


def _cents(text: str) -> int:
    if not re.fullmatch("([+-]?[0-9]{1,18})?", text):
        raise Unreadable(f"{shown(text)} is not a whole number of cents.")
    return int(text or 0)


def _sign(type_code: str) -> int:
    """Return 1 for a credit, -1 for a debit, and 0 for what is no money."""
    number = int(type_code) if re.fullmatch("[0-9]{3}", type_code) else -1
    if any(number in codes for codes in CREDITS):
        return 1
    if any(number in codes for codes in DEBITS):
        return -1
    if type_code == NOT_MONEY:
        return 0
    raise Unreadable(f"its type code {shown(type_code)} is neither a credit (100 to 399) nor a debit (400 to 699).")


def _end_of_day(text: str) -> datetime:
    try:
        day = datetime.strptime(text, "%y%m%d").date()  # noqa: DTZ007  a day has no zone
    except ValueError:
        raise Unreadable(f"its group has the date {shown(text)}, not one such as 260701.") from None
    return end_of(day)
