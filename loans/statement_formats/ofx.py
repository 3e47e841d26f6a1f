"""Read the bank statements of an OFX file, version 1 (SGML) or 2 (XML).

Only the few elements that a line needs are read. Declarations and entities of the file's own are not read at all, so they cannot
expand. Whatever stands between two tags must be understood: a part that is skipped could be a payment.

Source: Open Financial Exchange, 2.2, sections 3.2.8 (dates) and 11.4 (bank statements).
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from html import escape, unescape

from loans.domain.errors import StatementRefused
from loans.statement_formats.lines import (
    Statement,
    Unreadable,
    check_currency,
    end_of,
    in_range,
    one_line,
    parse_amount,
    shown,
)

START = re.compile(r"<OFX\s*>", re.IGNORECASE)
_TAG = re.compile(r"<(/?)([A-Za-z0-9._]+)\s*>([^<]*)")
AGGREGATES = {
    *("OFX", "BANKMSGSRSV1", "STMTTRNRS", "STMTRS", "BANKACCTFROM", "BANKTRANLIST", "STMTTRN"),
    *("PAYEE", "BANKACCTTO", "CCACCTTO", "CURRENCY", "ORIGCURRENCY"),
}
"""The elements whose parts matter. The tags of other elements that hold elements are passed over."""
FITID_CHARACTERS = 255
TEXTS = ("STMTTRN.NAME", "PAYEE.NAME", "STMTTRN.EXTDNAME", "STMTTRN.MEMO", "STMTTRN.REFNUM", "STMTTRN.CHECKNUM")
SIGNS = {"CREDIT": 1, "DEP": 1, "DIRECTDEP": 1, "DEBIT": -1, "DIRECTDEBIT": -1}
"""The types of transactions that say which way the money went. The sign of the amount must agree."""


def read_ofx(text: str) -> Statement:
    """Return the lines of all bank statements in the file.

    Raises:
        StatementRefused: the file is cut off, or a part of it cannot be read.
    """
    start = START.search(text)
    if start is None:
        raise StatementRefused("It has no <OFX> element.")
    reader = _Reader()
    line, position, text = text.count("\n", 0, start.start()) + 1, 0, _without_cdata(text[start.start() :])
    while position < len(text):
        tag = _TAG.match(text, position)
        if tag is None:
            raise StatementRefused(f"Line {line}: {shown(text[position : position + 40])} cannot be read.")
        reader.take(line, bool(tag[1]), tag[2].upper(), tag[3].strip())
        line, position = line + tag[0].count("\n"), tag.end()
    if reader.path:
        raise StatementRefused(f"It is cut off: its <{reader.path[-1]}> does not end.")
    if not reader.statements:
        raise StatementRefused("It has no statement of a bank account (STMTRS).")
    return reader.statement


def _without_cdata(text: str) -> str:
    """Return the text with its CDATA sections written as other text is."""
    first, *others = text.split("<![CDATA[")
    pieces = [first]
    for other in others:
        data, end, rest = other.partition("]]>")
        if not end:
            raise StatementRefused("It is cut off: a CDATA section does not end.")
        pieces += [escape(data), rest]
    return "".join(pieces)


class _Reader:
    """Takes one tag after another, and keeps the open elements in `path`."""

    def __init__(self) -> None:
        self.statement = Statement("ofx")
        self.path: list[str] = []
        self.statements = self.transactions = self.transaction_line = 0
        self.of_account: dict[str, str] = {}
        self.of_transaction: dict[str, str] = {}

    def take(self, line: int, is_closing: bool, name: str, value: str) -> None:
        if not is_closing and value and name not in AGGREGATES:
            values = self.of_transaction if "STMTTRN" in self.path else self.of_account
            values.setdefault(f"{self.path[-1]}.{name}" if self.path else name, one_line(unescape(value)))
            return
        if value:
            raise StatementRefused(f"Line {line}: text after <{'/' * is_closing}{name}>: {shown(value)}.")
        if name not in AGGREGATES:
            return
        if is_closing:
            self._close(line, name)
        else:
            self._open(line, name)

    def _open(self, line: int, name: str) -> None:
        if name in self.path:
            raise StatementRefused(f"Line {line}: <{name}> begins before the one before has ended.")
        self.path.append(name)
        if name == "STMTRS":
            self.statements += 1
            self.of_account = {}
        elif name == "STMTTRN":
            self.transactions += 1
            self.of_transaction, self.transaction_line = {}, line

    def _close(self, line: int, name: str) -> None:
        if not self.path or self.path[-1] != name:
            raise StatementRefused(f"Line {line}: </{name}> stands where <{self.path[-1] if self.path else 'OFX'}> is expected to end.")
        self.path.pop()
        if name == "STMTTRN":
            try:
                self._add()
            except Unreadable as error:
                fitid = self.of_transaction.get("STMTTRN.FITID", "none")
                self.statement.refuse(self.transaction_line, f"transaction {self.transactions} (FITID {fitid}): {error}")

    def _add(self) -> None:
        if "STMTRS" not in self.path:
            raise Unreadable("it is not in the statement of a bank account (STMTRS).")
        transaction = self.of_transaction
        bank, number = (self.of_account.get(f"BANKACCTFROM.{name}", "") for name in ("BANKID", "ACCTID"))
        account, fitid = f"{bank} {number}".strip(), transaction.get("STMTTRN.FITID", "")
        if not number or not fitid:
            raise Unreadable("its account (ACCTID) or its id (FITID) is absent.")
        if len(fitid) > FITID_CHARACTERS:
            raise Unreadable(f"its id (FITID) has more than {FITID_CHARACTERS} characters.")
        if "STMTTRN.CORRECTFITID" in transaction:
            raise Unreadable("it corrects another line. Undo that one by hand, and import the file without this one.")
        check_currency(self.of_account.get("STMTRS.CURDEF", ""))
        check_currency(transaction.get("CURRENCY.CURSYM", ""))
        self.statement.add(
            line=self.transaction_line,
            account=account,
            bank_id=fitid,
            amount=_signed_amount(transaction),
            occurred_at=parse_ofx_date(transaction.get("STMTTRN.DTPOSTED", "")),
            text=one_line(" ".join(transaction[name] for name in TEXTS if name in transaction)),
            identity=(account, fitid),
            is_unique=True,
        )


def _signed_amount(transaction: dict[str, str]) -> Decimal:
    text, kind = transaction.get("STMTTRN.TRNAMT", ""), transaction.get("STMTTRN.TRNTYPE", "")
    # OFX allows a comma in place of the point, and nothing between thousands.
    amount = parse_amount(text.replace(",", "."))
    if amount * SIGNS.get(kind.upper(), 0) < 0:
        raise Unreadable(f"its type is {kind}, but its amount is {amount}.")
    return amount


_DATE = re.compile(r"(\d{8})(?:(\d{4})(\d\d)?(?:\.\d{1,6})?)?(?:\[([+-]?\d{1,2})(?:\.(\d\d))?(?::[^\]]*)?\])?", re.ASCII)


def parse_ofx_date(text: str) -> datetime:
    """Return the instant of an OFX date such as `20260701`, `20260701120000` or `20260701120000.000[-5:EST]`, in UTC.

    A time without a zone is in UTC, as OFX says. A day alone, and midnight without a zone, which banks write for it, are `end_of` that day.

    Raises:
        Unreadable: it is none of these.
    """
    match = _DATE.fullmatch(text)
    if match is None:
        raise Unreadable(f"{shown(text)} is not a date such as 20260701.")
    day, clock, hours, minutes = match[1], (match[2] or "0000") + (match[3] or "00"), match[4], match[5]
    try:
        at = datetime.strptime(day + clock, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        if match[2] is None or (clock == "000000" and hours is None):
            return end_of(at.date())
        offset = timedelta(hours=abs(int(hours or 0)), minutes=int(minutes or 0))
        return in_range(at.replace(tzinfo=timezone(-offset if (hours or "").startswith("-") else offset)))
    except Unreadable:
        raise
    except (ValueError, OverflowError):
        raise Unreadable(f"{shown(text)} is not a date such as 20260701.") from None
