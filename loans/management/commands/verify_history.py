"""Check the hash chain of history, replay the history of loans from empty, and compare it with the tables."""

import json
import sys
from argparse import RawDescriptionHelpFormatter
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from loans.audit import history_chain
from loans.audit.verify_history import count_loans, verify_loan_history
from loans.domain.errors import NotFound


class Command(BaseCommand):
    help = """Check the hash chain of history, replay the history of loans from empty, and compare it with the tables.

It only reads, the chain from one snapshot of the database, then one loan after the other, each from one snapshot, so it may run at
any time. The first block of the chain that does not hold is named with what is wrong; if all hold, the newest block, the head, is
printed. Keep its hash outside of this database: with --head it proves later that nothing up to that block was changed. Each
difference between history and the tables is printed with its loan, the entity, the field and both values. The chain is
checked when no loan is named. On a terminal the progress goes to standard error.

exit status:
  0  the chain holds, and history and tables agree
  1  something differs
  2  a loan does not exist, or the arguments are wrong
"""
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **options)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("loans", nargs="*", metavar="LOAN", help="reference of a loan; all loans and the chain by default")
        parser.add_argument("--json", action="store_true", dest="as_json", help="print each finding as a JSON object on its own line")
        parser.add_argument("--head", metavar="SHA256", default="", help="the hash of an earlier head, which must be in the chain")

    def handle(self, *, loans: list[str], as_json: bool, head: str, **options: Any) -> None:
        if loans and head:
            raise CommandError("--head is about the chain, which is checked when no loan is named.", returncode=2)
        try:
            verified = verify_loan_history(loans)
        except NotFound as problem:
            raise CommandError(problem.detail, returncode=2) from None
        chain_fault = "" if loans else self._check_chain(head, as_json=as_json)
        total = count_loans(loans)
        number_of_loans = number_of_differences = 0
        for reference, differences in verified:
            number_of_loans += 1
            number_of_differences += len(differences)
            self._show_progress(f"{number_of_loans} of {total} loans: {reference}")
            for difference in differences:
                self.stdout.write(json.dumps(asdict(difference)) if as_json else str(difference))
        self._show_progress("")
        if chain_fault or number_of_differences:
            raise CommandError(f"{chain_fault}{number_of_differences} differences in {number_of_loans} loans.", returncode=1)
        if not as_json:
            self.stdout.write(f"History and tables agree for {number_of_loans} loans.")

    def _check_chain(self, known_head: str, *, as_json: bool) -> str:
        """Print the head of the chain, or the first block that does not hold. Return what is wrong, or ""."""
        chain = history_chain.check_chain()
        self.stdout.write(json.dumps({"chain": chain.as_document()}) if as_json else str(chain))
        if chain.fault:
            return f"{chain} "
        return "" if not known_head or history_chain.is_in_chain(known_head) else f"No block has the hash {known_head}. "

    def _show_progress(self, text: str) -> None:
        if sys.stderr.isatty():
            self.stderr.write(f"\r\x1b[K{text}", ending="")
