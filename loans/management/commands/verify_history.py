"""Does each loan's history lead to its present state? Replays it from empty and compares it with the tables."""

import json
import sys
from argparse import RawDescriptionHelpFormatter
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from loans.audit.verify_history import Difference, count, verify_loan_history
from loans.domain.errors import NotFound

HELP = """Replay the history of loans from empty and compare it with the tables.

Reads only, loan by loan, each from one snapshot of the database, so it may run at any time beside everything else.
Every difference is named with its loan, the entity, the field and both values. On a terminal the progress goes to
standard error.

exit status:
  0  history and tables agree
  1  something differs
  2  a named loan does not exist, or the arguments are wrong
"""


class Command(BaseCommand):
    help = HELP

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **options)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("loans", nargs="*", metavar="LOAN", help="reference of a loan; all loans by default")
        parser.add_argument("--json", action="store_true", help="print each difference as a JSON object on a line of its own")

    def handle(self, *, loans: list[str], json: bool, **options: Any) -> None:
        try:
            verified = verify_loan_history(loans)
        except NotFound as problem:
            raise CommandError(problem.detail, returncode=2) from None
        total, differences = count(loans), 0
        number = 0
        for number, (reference, found) in enumerate(verified, start=1):
            self._progress(f"{number} of {total} loans: {reference}")
            differences += len(found)
            for difference in found:
                self.stdout.write(_as_json(difference) if json else str(difference))
        self._progress("")
        if differences:
            raise CommandError(f"{differences} differences in {number} loans.", returncode=1)
        if not json:
            self.stdout.write(f"History and tables agree for {number} loans.")

    def _progress(self, text: str) -> None:
        if sys.stderr.isatty():
            self.stderr.write(f"\r\x1b[K{text}", ending="")


def _as_json(difference: Difference) -> str:
    return json.dumps(asdict(difference))
