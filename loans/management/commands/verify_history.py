"""Replay the history of loans from empty and compare it with the tables."""

import json
import sys
from argparse import RawDescriptionHelpFormatter
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from loans.audit.verify_history import count_loans, verify_loan_history
from loans.domain.errors import NotFound


class Command(BaseCommand):
    help = """Replay the history of loans from empty and compare it with the tables.

It only reads, one loan after the other, each from one snapshot of the database, so it may run at any time. Each difference is
printed with its loan, the entity, the field and both values. On a terminal the progress goes to standard error.

exit status:
  0  history and tables agree
  1  something differs
  2  a loan does not exist, or the arguments are wrong
"""

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **options)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("loans", nargs="*", metavar="LOAN", help="reference of a loan; all loans by default")
        parser.add_argument("--json", action="store_true", dest="as_json", help="print each difference as a JSON object on its own line")

    def handle(self, *, loans: list[str], as_json: bool, **options: Any) -> None:
        try:
            verified = verify_loan_history(loans)
        except NotFound as problem:
            raise CommandError(problem.detail, returncode=2) from None
        total = count_loans(loans)
        number_of_loans = number_of_differences = 0
        for reference, differences in verified:
            number_of_loans += 1
            number_of_differences += len(differences)
            self._show_progress(f"{number_of_loans} of {total} loans: {reference}")
            for difference in differences:
                self.stdout.write(json.dumps(asdict(difference)) if as_json else str(difference))
        self._show_progress("")
        if number_of_differences:
            raise CommandError(f"{number_of_differences} differences in {number_of_loans} loans.", returncode=1)
        if not as_json:
            self.stdout.write(f"History and tables agree for {number_of_loans} loans.")

    def _show_progress(self, text: str) -> None:
        if sys.stderr.isatty():
            self.stderr.write(f"\r\x1b[K{text}", ending="")
