"""Check, preview and book the lines of a bank's statement.

A line becomes a notice of `loans.services.bank_events` and is booked by the function that books the bank's events. So a line is booked
once, however often its statement is imported, and by two workers at the same time, too.

The preview reads what is needed in three queries and locks nothing. Booking thousands of lines and rolling them back would show
each outcome, but would hold up every investor of the loans concerned. So the preview says what a line is about, and the report after
the booking says what followed from it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

from loans.domain.business_calendar import new_york_day
from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.errors import Busy, Invalid, StatementRefused
from loans.domain.payment_reference import reference_in
from loans.domain.payments import Answer
from loans.domain.states import Direction, ReservationState, TransferStatus
from loans.models import BankEvent, Transfer
from loans.selectors.bank_events import are_near
from loans.services.bank_events import Notice, NoticeType, record_bank_event
from loans.statement_formats.detection import read_statement
from loans.statement_formats.lines import Statement, StatementLine
from peerloans.database.clock import database_now
from peerloans.wording import dollars_text

LOCK_ATTEMPTS = 3  # each waits up to PostgreSQL's lock_timeout
FUTURE = timedelta(days=1)  # a statement of today has lines that end with today
REFERENCE_CHARACTERS = BankEvent._meta.get_field("reference").max_length

Kind = Literal["matched", "known", "differing", "doubtful", "unmatched"]
KINDS: Mapping[Kind, str] = {
    "doubtful": "seems to be booked already from a statement in another format",
    "differing": "names a transfer or refund of ours, with another amount than is expected",
    "unmatched": "names no transfer or refund of ours; it is listed for staff",
    "matched": "names a transfer or refund of ours, with the amount that is expected",
    "known": "is booked already, by an earlier statement or by an event of the bank",
}
NOTICE_TYPES: dict[tuple[str, bool], NoticeType] = {
    ("T", True): "transfer.cleared",
    ("T", False): "transfer.failed",
    ("R", True): "refund.failed",
    ("R", False): "refund.paid",
}
"""By the first letter of the reference, and whether the money came in."""


@dataclass(frozen=True)
class ReportedLine:
    """A line with its kind in the preview, or its outcome after the booking, and why."""

    line: StatementLine
    result: str
    note: str = ""


def check_statement(content: bytes, file_name: str, now: datetime | None = None) -> Statement:
    """Return the statement in the file if each of its lines can be read.

    Raises:
        StatementRefused: the file or one of its lines cannot be read.
    """
    try:
        statement = read_statement(content)
    except StatementRefused as refusal:
        raise StatementRefused(f"{file_name}: {refusal.detail}") from None
    latest = database_now(now) + FUTURE
    for line in statement.lines:
        if line.occurred_at > latest:
            statement.refuse(line.line, f"its day, {new_york_day(line.occurred_at)}, lies in the future.")
    if count := statement.bad_lines_count:
        lines = [{"file": file_name, "line": line, "reason": reason} for line, reason in sorted(statement.bad_lines)]
        verb = "1 line cannot" if count == 1 else f"{count:,} lines cannot"
        raise StatementRefused(f"{file_name}: {verb} be read, so nothing was booked.", bad_lines=lines, bad_lines_count=count)
    if not statement.lines:
        raise StatementRefused(f"{file_name}: it has no line with money.")
    return statement


def notice_of(line: StatementLine) -> Notice:
    """Return what the line reports. Without a reference of ours in its text, the text takes the place of the reference."""
    reference = reference_in(line.text)
    text = line.text or f"{line.account} {line.bank_id}".strip() or "none"
    notice_type = NOTICE_TYPES[(reference or "T")[0], line.amount > 0]
    return Notice(
        id=line.event_id,
        type=notice_type,
        reference=reference or text[:REFERENCE_CHARACTERS],
        amount=abs(line.amount),
        occurred_at=line.occurred_at,
        source="statement",
    )


# --- Preview ----------------------------------------------------------------------------------------------------------------
def preview_statement(statement: Statement) -> list[ReportedLine]:
    """Return the kind of each line, in the order of the file. Changes nothing and locks nothing."""
    noticed = _oldest_first(statement)
    recorded = _Recorded([notice for _, notice in noticed])
    return _in_order_of_file([ReportedLine(line, *recorded.classify(notice)) for line, notice in noticed])


def _oldest_first(statement: Statement) -> list[tuple[StatementLine, Notice]]:
    """Return the lines with their notices, oldest first. Of lines at the same time a failure stands after what it undoes."""
    noticed = [(line, notice_of(line)) for line in statement.lines]
    return sorted(noticed, key=lambda each: (each[1].occurred_at, each[1].type.endswith(".failed"), each[0].line))


def _in_order_of_file(reported: Iterable[ReportedLine]) -> list[ReportedLine]:
    return sorted(reported, key=lambda each: each.line.line)


class _Recorded:
    """The books, as far as they concern the lines of a statement.

    `classify` adds each line to them, as if it were booked, so that the next line is compared with that too.
    """

    def __init__(self, notices: Sequence[Notice]) -> None:
        ids = [notice.id for notice in notices]
        references = {notice.reference for notice in notices}
        self.amounts_by_id = dict(BankEvent.objects.filter(pk__in=ids).values_list("pk", "amount"))
        transfers = Transfer.objects.filter(reference__in=references).select_related("reservation")
        self.money = {transfer.reference: _Money(transfer) for transfer in transfers}
        self.by_other_sources: dict[tuple[str, str, Decimal], list[BankEvent]] = defaultdict(list)
        self.by_statements: dict[tuple[str, str, Decimal], list[BankEvent]] = defaultdict(list)
        booked = BankEvent.objects.filter(transfer__reference__in=self.money.keys(), confirms=None).exclude(answer=Answer.SAME)
        unconfirmed = booked.exclude(pk__in=ids).exclude(confirmations__source="statement").select_related("transfer")
        for event in unconfirmed.order_by("occurred_at", "pk"):
            events = self.by_statements if event.source == "statement" else self.by_other_sources
            events[event.type, event.transfer.reference, event.amount].append(event)  # type: ignore[union-attr]

    def classify(self, notice: Notice) -> tuple[Kind, str]:
        """Return the kind of a line, and the reason, which is empty where the kind says all. Count the line for those after it."""
        if (amount := self.amounts_by_id.get(notice.id)) is not None:
            if amount == notice.amount:
                return "known", "from a statement"
            return "differing", f"It is booked with {dollars_text(amount)}, which stands."
        money = self.money.get(notice.reference)
        if money is None or money.is_refund != notice.type.startswith("refund"):
            return "unmatched", ""
        key = (notice.type, notice.reference, notice.amount)
        if event := _take_near(self.by_other_sources[key], notice.occurred_at):
            return "known", f"from the bank's event {event.pk}"
        # The id of a line's event begins with `statement-` and the format (loans/statement_formats/lines.py).
        own_format = notice.id.rpartition("-")[0] + "-"
        others = [line for line in self.by_statements[key] if not line.pk.startswith(own_format)]
        if line := _take_near(others, notice.occurred_at):
            self.by_statements[key].remove(line)
            return "doubtful", f"The same amount for {notice.reference} is booked from a statement in another format ({line.pk})."
        note = money.count(notice)
        return ("differing", note) if note else ("matched", "")


def _take_near(events: list[BankEvent], at: datetime) -> BankEvent | None:
    """Remove and return the first event that is near enough to be about the same money."""
    for event in events:
        if are_near(event.occurred_at, at):
            events.remove(event)
            return event
    return None


class _Money:
    """What is expected and what has moved under one reference."""

    def __init__(self, transfer: Transfer) -> None:
        self.status, self.amount, self.moved = transfer.status, transfer.amount, transfer.moved
        self.is_refund = transfer.direction == Direction.REFUND
        if self.is_refund:
            is_expected = transfer.status in {TransferStatus.DUE, TransferStatus.SENT}
        else:
            is_expected = transfer.reservation.state == ReservationState.PENDING and not transfer.reservation.funded_at
        self.expected = transfer.outstanding if is_expected else ZERO_DOLLARS

    def count(self, notice: Notice) -> str:
        """Count a line as booked. Return what differs from what is expected, or an empty text."""
        if notice.type in {"transfer.cleared", "refund.paid"}:
            expected, self.expected = self.expected, max(ZERO_DOLLARS, self.expected - notice.amount)
            self.moved += notice.amount
            if notice.amount == expected:
                return ""
            return f"{dollars_text(expected)} is expected." if expected else f"Nothing is expected: it is {self.status}."
        if notice.amount <= self.moved:
            self.moved -= notice.amount
            return ""
        if self.status in {TransferStatus.INITIATED, TransferStatus.SENT} and notice.amount == self.amount:
            return ""  # It failed as a whole before any money had moved.
        return f"Only {dollars_text(self.moved)} has moved before."


# --- Booking -----------------------------------------------------------------------------------------------------------------
def book_statement(
    statement: Statement,
    *,
    file_name: str,
    accept_doubtful: bool = False,
    progress: Callable[[str], object] = lambda text: None,
    now: datetime | None = None,
) -> list[ReportedLine]:
    """Book each line in a transaction of its own, oldest first, and return what followed from it, in the order of the file.

    The outcome is one of bank_events.OUTCOMES; `already_known` where an earlier run has booked the line; `busy` where the loan stayed
    locked, so that a repeat books it; `refused` where it is too large to be recorded.

    Raises:
        StatementRefused: lines are doubtful, and these were not accepted. Nothing was booked.
    """
    doubtful = [each for each in preview_statement(statement) if each.result == "doubtful"]
    if doubtful and not accept_doubtful:
        verb = "1 line seems" if len(doubtful) == 1 else f"{len(doubtful):,} lines seem"
        raise StatementRefused(f"{file_name}: {verb} to be booked already from a statement in another format, so nothing was booked.")
    amounts_by_id = dict(BankEvent.objects.filter(pk__in=[line.event_id for line in statement.lines]).values_list("pk", "amount"))
    reported = []
    for number, (line, notice) in enumerate(_oldest_first(statement)):
        progress(f"{number:,} of {len(statement.lines):,} lines are booked.")
        if amounts_by_id.get(line.event_id) == abs(line.amount):
            reported.append(ReportedLine(line, "already_known"))
        else:
            reported.append(_book_line(line, notice, file_name, now))
    return _in_order_of_file(reported)


def _book_line(line: StatementLine, notice: Notice, file_name: str, now: datetime | None) -> ReportedLine:
    for _ in range(LOCK_ATTEMPTS):
        try:
            return ReportedLine(line, record_bank_event(notice, reason=f"Statement {file_name}, line {line.line}", now=now))
        except Busy:
            continue
        except Invalid as problem:
            return ReportedLine(line, "refused", problem.detail)
    return ReportedLine(line, "busy", "Another request is changing this loan. Import the file again.")


# --- Reports -----------------------------------------------------------------------------------------------------------------
def grouped(reported: Iterable[ReportedLine], *, most_lines: int | None = None) -> list[dict[str, object]]:
    """Return the lines by result, each group with its number, its dollars in and out, and its first `most_lines` lines, for JSON."""
    groups: dict[str, list[ReportedLine]] = defaultdict(list)
    for each in reported:
        groups[each.result].append(each)
    order = [*KINDS, *sorted(groups.keys() - KINDS.keys())]
    return [
        {
            "result": result,
            "count": len(group),
            "dollars_in": str(sum((each.line.amount for each in group if each.line.amount > 0), ZERO_DOLLARS)),
            "dollars_out": str(-sum((each.line.amount for each in group if each.line.amount < 0), ZERO_DOLLARS)),
            "lines": [_as_document(each) for each in group[:most_lines]],
        }
        for result in order
        if (group := groups.get(result))
    ]


def _as_document(reported: ReportedLine) -> dict[str, object]:
    line = reported.line
    return {
        "line": line.line,
        "day": new_york_day(line.occurred_at).isoformat(),
        "amount": str(line.amount),
        "text": line.text,
        "account": line.account,
        "bank_id": line.bank_id,
        "event": line.event_id,
        "note": reported.note,
    }
