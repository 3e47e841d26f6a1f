"""Book a bank's statement: OFX, BAI2, or CSV with named columns."""

import getpass
import json
import sys
from argparse import RawDescriptionHelpFormatter
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from loans.domain.errors import StatementRefused
from loans.services.statement_imports import LINES_SHOWN, record_finished_booking
from loans.services.statements import KINDS, book_statement, check_statement, grouped, preview_statement
from loans.statement_formats.detection import MOST_BYTES
from loans.statement_formats.lines import MOST_LINES

EPILOG = f"""
FILE is a path, or - for standard input. Its content tells whether it is OFX, BAI2, or CSV with named columns.
It has at most {MOST_BYTES // 2**20} MiB and {MOST_LINES:,} lines. Amounts are US dollars.

Everything is checked first. If one line cannot be read, all such lines are printed (file, line, reason) and
nothing is booked. A line that names a reference of ours (T-… or R-…, in any spelling, with text around it) is
booked as the bank's event would be:

  money in,  T-…   transfer.cleared
  money out, T-…   transfer.failed (a payment that the bank took back)
  money out, R-…   refund.paid
  money in,  R-…   refund.failed (a refund that came back)

Every other line is listed for staff, with its text. What the lines are about:

{chr(10).join(f"  {kind:<10} {meaning}" for kind, meaning in KINDS.items())}

The same file twice, or two statements that overlap, book each line once. Use one format for one account, since
each format has ids of its own. If a line seems to be booked already from another format, nothing is booked
without --accept-doubtful.

The columns of a CSV, by name and in any order:
  date         2026-07-01, or 07/01/2026 (the month first), or an instant with its zone
  amount       money out is negative; or two columns, credit and debit
  description  or memo, reference, name and the like, which are searched for a reference
  id, account, currency, direction (credit or debit)  may be absent
Without an id, equal lines of one file are several payments, and equal lines of two files are the same ones.
A day without a time is the last second of that day in New York.

Exit status: 0 done, also where every line was known; 1 refused, and nothing was booked; 2 wrong use of the
options; 3 booked except for some lines, which are printed: run it again; 130 interrupted: what is booked stays
booked, run it again for the rest.

examples:
  manage.py import_statement --dry-run 2026-07-01.bai
  manage.py import_statement 2026-07-01.bai
  manage.py import_statement --json - < july.ofx
"""
INCOMPLETE, INTERRUPTED = 3, 130
NOT_BOOKED = {"busy", "refused"}
PLAIN = {"matched", "known", "already_known", "funded", "paid"}
"""The kinds and outcomes that need no person. Of all others each line is printed."""


class Command(BaseCommand):
    help = "Book the lines of a bank's statement: payments received and returned, refunds paid and bounced."
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.epilog, parser.formatter_class = EPILOG.replace("%", "%%"), RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", help="the statement")
        parser.add_argument("--dry-run", action="store_true", help="check the file and print what its lines are about; book nothing")
        parser.add_argument("--accept-doubtful", action="store_true", help="book lines that seem to be booked already from another format")
        parser.add_argument("--json", action="store_true", help="print the report, with every line, as one JSON document")

    def handle(self, **options: Any) -> None:
        name = "standard input" if options["file"] == "-" else Path(options["file"]).name
        try:
            content = _read(options["file"])
            outcome, groups = self._import(name, content, options)
        except StatementRefused as refusal:
            self._print_refusal(refusal, options["json"])
            raise CommandError(refusal.detail) from None
        except KeyboardInterrupt:
            raise CommandError("Interrupted. What is booked stays booked; run it again for the rest.", returncode=INTERRUPTED) from None
        finally:
            self._show_progress("")
        if options["json"]:
            self.stdout.write(json.dumps({"outcome": outcome, "file": name, "results": groups}, indent=2))
        else:
            self.stdout.write("\n".join([*_as_text(groups), f"{name} is {outcome}.{' Nothing was booked.' * options['dry_run']}"]))
        if not_booked := sum(group["count"] for group in groups if group["result"] in NOT_BOOKED):
            raise CommandError(f"{not_booked:,} lines were not booked. Run it again for those that were busy.", returncode=INCOMPLETE)

    def _import(self, name: str, content: bytes, options: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
        """Check the statement, then preview or book it. Return what was done, and the lines by kind or outcome."""
        statement = check_statement(content, name)
        if options["dry_run"]:
            return "checked", grouped(preview_statement(statement))
        reported = book_statement(statement, file_name=name, accept_doubtful=options["accept_doubtful"], progress=self._show_progress)
        outcomes = grouped(reported, most_lines=LINES_SHOWN)
        record_finished_booking(
            file_name=name, content=content, booked_by=getpass.getuser(), statement_format=statement.format, outcomes=outcomes
        )
        return "booked", grouped(reported)

    def _print_refusal(self, refusal: StatementRefused, as_json: bool) -> None:
        bad_lines = refusal.data.get("bad_lines", [])
        if as_json:
            self.stdout.write(json.dumps({"outcome": "refused", "detail": refusal.detail, **refusal.data}, indent=2))
        for bad in bad_lines:
            self.stderr.write("{file}:{line}: {reason}".format(**bad))
        if more := refusal.data.get("bad_lines_count", 0) - len(bad_lines):
            self.stderr.write(f"… and {more:,} more lines.")

    def _show_progress(self, text: str) -> None:
        if sys.stderr.isatty():
            self.stderr.write(f"\r\x1b[K{text}", ending="")
            self.stderr.flush()


def _read(path: str) -> bytes:
    """Return the content of the file, at most one byte more than is allowed."""
    try:
        if path == "-":
            return sys.stdin.buffer.read(MOST_BYTES + 1)
        with Path(path).open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise StatementRefused(f"{path}: {error.strerror or error}.") from None


def _as_text(groups: list[dict[str, Any]]) -> list[str]:
    lines = [f"{'':<20} {'lines':>7} {'dollars in':>18} {'dollars out':>18}"]
    for group in groups:
        name = group["result"].replace("_", " ")
        lines.append(f"{name:<20} {group['count']:>7,} {_dollars(group['dollars_in']):>18} {_dollars(group['dollars_out']):>18}")
    for group in groups:
        if group["result"] not in PLAIN:
            lines += [f"line {line['line']}, {group['result']}: {_described(line)}" for line in group["lines"]]
    return lines


def _described(line: dict[str, Any]) -> str:
    return f"{line['day']} {_dollars(line['amount'])} {line['text']} {line['note']}".rstrip()


def _dollars(amount: str) -> str:
    return f"{Decimal(amount):,.2f}"
