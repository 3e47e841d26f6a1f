"""Read a statement in CSV by the names of its columns, in any order. Other columns and rows above the names are passed over."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import islice

from loans.domain.errors import StatementRefused
from loans.statement_formats.lines import Statement, Unreadable, check_currency, end_of, in_range, one_line, parse_amount, shown

DELIMITERS = ",;\t|"
ROWS_BEFORE_NAMES = 20

# By what a column holds: its names, in lower case and without punctuation. Of several columns that could hold it, the first name wins.
COLUMNS = {
    "date": ("date", "posting date", "posted date", "date posted", "posted", "booking date", "transaction date"),
    "amount": ("amount", "amount usd", "transaction amount"),
    "credit": ("credit", "credits", "credit amount", "deposit", "deposits", "money in"),
    "debit": ("debit", "debits", "debit amount", "withdrawal", "withdrawals", "money out"),
    "direction": ("direction", "debit credit", "credit debit", "dr cr", "cr dr", "details", "type", "transaction type"),
    "id": ("id", "transaction id", "fitid"),
    "account": ("account", "account number"),
    "currency": ("currency", "currency code"),
}
TEXTS = (
    *("payer", "name", "counterparty", "description", "details", "memo", "text", "narrative", "note", "notes"),
    *("reference", "customer reference", "bank reference"),
)
DIRECTIONS = {"credit": 1, "cr": 1, "c": 1, "debit": -1, "dr": -1, "d": -1}


def read_csv(text: str) -> Statement:
    """Return the lines of the statement.

    Raises:
        StatementRefused: no row names a column for the date and one for the amount.
    """
    delimiter, names = _find_names(text)
    used = [name for kind_names in (*COLUMNS.values(), TEXTS) for name in set(kind_names).intersection(names)]
    if doubled := sorted(name for name in set(used) if names.count(name) > 1):
        raise StatementRefused(f"Several columns have the name {shown(doubled[0])}.")
    statement = Statement("csv")
    rows = _rows(text, delimiter)
    for _, cells in rows:
        if _normal(cells) == names:
            break
    width = 0
    try:
        for line, cells in rows:
            if any(cell.strip() for cell in cells):
                width = width or len(cells)
                _add(statement, line, names, cells, width)
    except csv.Error as error:
        raise StatementRefused(f"It cannot be read as CSV: {error}.") from None
    return statement


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the number of its first line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    for cells in reader:
        yield line, cells
        line = reader.line_num + 1


def _find_names(text: str) -> tuple[str, list[str]]:
    """Return the delimiter, and the names of the columns in the first row that names a date and an amount."""
    for delimiter in DELIMITERS:
        try:
            for _, cells in islice(_rows(text, delimiter), ROWS_BEFORE_NAMES):
                names = _normal(cells)
                if _has_columns(names, "date", "amount") or _has_columns(names, "date", "credit", "debit"):
                    return delimiter, names
        except csv.Error:  # with another delimiter it may be readable
            continue
    raise StatementRefused(
        "It is neither OFX nor BAI2, and no row names the columns of a CSV: a date, and an amount or a credit and a debit."
    )


def _normal(cells: Sequence[str]) -> list[str]:
    return [re.sub(r"[^a-z0-9]+", " ", cell.lower()).strip() for cell in cells]


def _has_columns(names: Sequence[str], *kinds: str) -> bool:
    return all(set(COLUMNS[kind]).intersection(names) for kind in kinds)


class _Row:
    def __init__(self, names: Sequence[str], cells: Sequence[str]) -> None:
        self.by_name = dict(zip(names, cells, strict=True))

    def get(self, kind: str) -> str:
        """Return what the row holds of this kind, or an empty text."""
        return next((self.by_name[name].strip() for name in COLUMNS[kind] if name in self.by_name), "")


def _add(statement: Statement, line: int, names: Sequence[str], cells: Sequence[str], width: int) -> None:
    """Add a row. All rows have the `width` of the first: the names, and perhaps empty columns after them."""
    try:
        if len(cells) != max(width, len(names)):
            raise Unreadable(f"it has {len(cells)} columns in place of {max(width, len(names))}. A text with a delimiter needs quotes.")
        if any(cell.strip() for cell in cells[len(names) :]):
            raise Unreadable(f"it has more columns than the {len(names)} that have names. A text with a delimiter needs quotes.")
        row = _Row(names, cells[: len(names)])
        account, bank_id, at, amount = one_line(row.get("account")), one_line(row.get("id")), parse_csv_date(row.get("date")), _amount(row)
        check_currency(row.get("currency"))
        has_ids = _has_columns(names, "id")
        if has_ids and not bank_id:
            raise Unreadable("it has no id.")
        text = one_line(" ".join(row.by_name[name] for name in TEXTS if name in row.by_name))
        identity = ("id", account, bank_id) if has_ids else (account, at.isoformat(), str(amount), text)
        statement.add(
            line=line, account=account, bank_id=bank_id, amount=amount, occurred_at=at, text=text, identity=identity, is_unique=has_ids
        )
    except Unreadable as error:
        statement.refuse(line, error)


def _amount(row: _Row) -> Decimal:
    """Return the amount; the column of the amount counts, or else those of credit and debit, of which one is empty or zero."""
    if text := row.get("amount"):
        amount = parse_amount(text)
        sign = DIRECTIONS.get(row.get("direction").lower(), 0)
        if sign > 0 > amount:
            raise Unreadable(f"it is a credit of {amount}.")
        return -abs(amount) if sign < 0 else amount
    credit, debit = (parse_amount(row.get(kind) or "0") for kind in ("credit", "debit"))
    if not (row.get("credit") or row.get("debit")):
        raise Unreadable("it has no amount.")
    if credit < 0 or (credit and debit):
        raise Unreadable("it has both a credit and a debit, or a credit below zero.")
    return credit - abs(debit)


def parse_csv_date(text: str) -> datetime:
    """Return the instant, in UTC, of a date such as 2026-07-01 or 07/01/2026 (the month first), or of an instant with its zone.

    A day alone is `end_of` that day; so is midnight without a zone, which spreadsheets write for it.

    Raises:
        Unreadable: it is none of these.
    """
    try:
        if american := re.fullmatch(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})", text):
            month, day, year = (int(part) for part in american.groups())
            return end_of(date(year, month, day))
        at = datetime.fromisoformat(text)
        if at.tzinfo is None and at.time() != datetime.min.time():
            raise Unreadable(f"{shown(text)} has a time without a zone.")
        return end_of(at.date()) if at.tzinfo is None else in_range(at)
    except Unreadable:
        raise
    except (ValueError, OverflowError):
        raise Unreadable(f"{shown(text)} is not a date such as 2026-07-01 or 07/01/2026.") from None
