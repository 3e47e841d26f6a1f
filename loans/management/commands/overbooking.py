"""Print what the evidence says of the overbooking of loans."""

import json
from argparse import ArgumentTypeError, RawDescriptionHelpFormatter
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from loans.domain.errors import NotFound
from loans.domain.overbooking import LapseShare, LoanOutlook
from loans.selectors.overbooking import OverbookingEvidence, evidence_of_loans, percent


def _risk(text: str) -> Decimal:
    try:
        if 0 < (risk := Decimal(text)) < 1:
            return risk
    except InvalidOperation:  # no number, or NaN, which cannot be compared
        pass
    raise ArgumentTypeError("name a fraction between 0 and 1, such as 0.05")


class Command(BaseCommand):
    help = """Print what the evidence says of the overbooking of loans.

For each loan: what its rate means, and the largest rate that keeps the risk of turning somebody away. It is computed from the
reservations that lapsed in the last 180 days (docs/overbooking.md). It only reads.

exit status:
  0  printed
  2  there is no such draft or open loan, or the arguments are wrong
"""
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **options)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("loans", nargs="*", metavar="REFERENCE", help="a draft or an open loan; by default the open loans")
        parser.add_argument("--risk", type=_risk, metavar="0.05", help="how probably somebody may be turned away; else the loan's own")
        parser.add_argument("--json", action="store_true", dest="as_json", help="print each loan as a JSON object on its own line")

    def handle(self, *, loans: list[str], risk: Decimal | None, as_json: bool, **options: Any) -> None:
        try:
            evidences = evidence_of_loans(loans, risk)
        except NotFound as problem:
            raise CommandError(problem.detail, returncode=2) from None
        for evidence in evidences:
            self.stdout.write(json.dumps(_as_json(evidence)) if as_json else _as_text(evidence))
        if not evidences and not as_json:
            self.stdout.write("No loan is open.")


def _as_text(evidence: OverbookingEvidence) -> str:
    loan, lapses = evidence.loan, evidence.lapses
    return "\n".join(
        [
            f"{loan.reference}: {evidence.sentence}",
            f"  risk {percent(evidence.risk)}; policy {loan.overbooking_policy}, cap {percent(loan.overbooking_cap)}; "
            f"{len(evidence.reservations)} live reservations; typical ${evidence.typical:,.2f}",
            f"  as reserved {_share_text(lapses.reserved)}",
            f"  as pending {_share_text(lapses.pending)}",
            f"  {'':26}{'over in 100':>12}{'over':>16}{'unsold':>16}{'paid':>16}",
            _outlook_text("reserved now", evidence.present),
            _outlook_text(f"filled at {percent(loan.overbooking_rate)}", evidence.filled),
            _outlook_text(f"recommended {percent(evidence.recommended_rate)}", evidence.recommended),
        ]
    )


def _share_text(share: LapseShare) -> str:
    low, high = share.interval
    own, all_loans = share.own, share.all_loans
    return (
        f"{share.share:.1%} lapse: {own.lapsed} of its {own.counted} did (90 % interval {low:.0%} to {high:.0%}), "
        f"{all_loans.lapsed} of {all_loans.counted} of all loans"
    )


def _outlook_text(name: str, expected: LoanOutlook) -> str:
    dollars = (expected.expected_over, expected.expected_unfilled, expected.expected_paid)
    return f"  {name:26}{100 * expected.chance_over:12.2f}" + "".join(f"{amount:16,.2f}" for amount in dollars)


def _as_json(evidence: OverbookingEvidence) -> dict[str, Any]:
    loan = evidence.loan
    return {
        "loan": loan.reference,
        "policy": loan.overbooking_policy,
        "risk": str(evidence.risk),
        "cap": str(loan.overbooking_cap),
        "overbooking_rate": str(loan.overbooking_rate),
        "recommended_rate": str(evidence.recommended_rate),
        "remaining": str(loan.remaining),
        "claimed": str(evidence.offer.claimed),
        "live_reservations": len(evidence.reservations),
        "typical_amount": str(evidence.typical),
        "reserved": _share_json(evidence.lapses.reserved),
        "pending": _share_json(evidence.lapses.pending),
        "now": asdict(evidence.present),
        "filled": asdict(evidence.filled),
        "recommended": asdict(evidence.recommended),
    }


def _share_json(share: LapseShare) -> dict[str, Any]:
    return {"lapse_share": share.share, "interval": share.interval, "own": asdict(share.own), "all_loans": asdict(share.all_loans)}
