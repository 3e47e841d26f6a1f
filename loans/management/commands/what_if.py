"""Play the history of loans again under another settlement rule or overbooking rate."""

import json
from argparse import ArgumentTypeError, RawDescriptionHelpFormatter
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from loans.domain.settlement_rules import RULES
from loans.domain.what_if import Change, StaffAct
from loans.selectors.what_if import WhatIf, what_if
from peerloans.errors import Problem
from peerloans.wording import instant_text

ASSUMED = (
    "Reservations that were refused at the time are not known. A reservation that ended when the loan was funded is taken to do nothing"
    " further, unless its money came later."
)


class Command(BaseCommand):
    help = """Play the history of loans again under another settlement rule or overbooking rate.

It only reads. Investors, the bank and staff do what history records; the rule and the limit decide anew. Without --rule and
--overbooking-rate the loan is played under its own terms, which gives what happened.

exit status:
  0  the loans were played
  1  a loan's history, played under its own terms, does not give what happened
  2  a loan does not exist, or the arguments are wrong
"""
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **options)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("loans", nargs="+", metavar="REFERENCE", help="reference of a loan")
        parser.add_argument("--rule", choices=list(RULES), help="the settlement rule; by default the loan's own")
        parser.add_argument("--overbooking-rate", type=_rate, metavar="R", help="a fraction, as 0.10; by default the loan's own")
        parser.add_argument("--json", action="store_true", dest="as_json", help="print each loan as a JSON object on its own line")

    def handle(self, *, loans: list[str], rule: str | None, overbooking_rate: Decimal | None, as_json: bool, **options: Any) -> None:
        differing = []
        for reference in loans:
            try:
                played = what_if(reference, rule=rule, overbooking_rate=overbooking_rate)
            except Problem as problem:
                raise CommandError(problem.detail, returncode=2) from None
            self.stdout.write(json.dumps(_as_json(played), default=str) if as_json else _as_text(played))
            if played.differences:
                differing.append(reference)
        if differing:
            raise CommandError(f"Under their own terms these loans do not give what happened: {', '.join(differing)}.", returncode=1)
        if not as_json:
            self.stdout.write(ASSUMED)


def _rate(text: str) -> Decimal:
    try:
        rate = Decimal(text)
    except InvalidOperation:
        rate = Decimal("nan")
    if not rate.is_finite() or not 0 <= rate < 10:
        raise ArgumentTypeError("Name a fraction from 0 to 9.9999, as 0.10 for 10 %.")
    return rate


def _as_json(played: WhatIf) -> dict[str, Any]:
    return {
        "loan": played.loan.reference,
        "as_of": played.at.isoformat(),
        "own": {"rule": played.own.loan.rule, "overbooking_rate": played.own.loan.overbooking_rate, **asdict(played.own_totals)},
        "other": {"rule": played.other.loan.rule, "overbooking_rate": played.other.loan.overbooking_rate, **asdict(played.other_totals)},
        "gain": [change.number for change in played.gain],
        "lose": [change.number for change in played.lose],
        "reservations": [asdict(change) for change in played.changes],
        "by_staff": [asdict(act) | {"at": act.at.isoformat()} for act in played.other.staff_acts],
        "differences": played.differences,
    }


def _as_text(played: WhatIf) -> str:
    own, other = asdict(played.own_totals), asdict(played.other_totals)
    terms = [f"{loan.rule}, {100 * loan.overbooking_rate:.2f} %" for loan in (played.own.loan, played.other.loan)]
    lines = [f"{played.loan.reference}, as it was ({terms[0]}) and as it would be ({terms[1]}):"]
    lines += [f"  {name.replace('_', ' '):<12}{was:>18,.2f}{other[name]:>18,.2f}" for name, was in own.items()]
    lines += [_change_line(change) for change in played.changes if change.difference]
    lines += [f"  Of {len(played.changes)} reservations {len(played.gain)} gain and {len(played.lose)} lose."]
    lines += [_staff_line(act) for act in played.other.staff_acts]
    lines += [f"  Number {number}: played under the loan's own terms, it does not get what it got." for number in played.differences]
    return "\n".join(lines)


def _change_line(change: Change) -> str:
    why = f"  {change.cause.replace('_', ' ')}" if change.cause else ""
    return f"  number {change.number:<5}{change.got:>18,.2f}{change.would_get:>18,.2f}{change.difference:>+18,.2f}{why}"


def _staff_line(act: StaffAct) -> str:
    whose = f"number {act.number}" if act.number else "the loan"
    outcome = "" if act.possible else "; this would not have been possible"
    return f"  By staff, {instant_text(act.at, year=True)}: {whose}: {act.event.replace('_', ' ')}{outcome}."
