"""Bring everything beside the database into line with a database that was restored, and print what may be lost."""

import json
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Max

from loans.models import BankEvent, Delivery, DeliveryStatus, ReviewItem, Transition, User
from loans.notifications import outbox
from loans.selectors.daily_figures import forget_daily_figures
from loans.services.cache_refresh import refresh_remaining_cache
from peerloans.database.clock import database_now
from peerloans.monitoring.request_log import AcknowledgedRequest, acknowledged_requests

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Command(BaseCommand):
    help = """Bring everything beside the database into line with a database that was restored, and print what may be lost.

It lets messages go on from where the restored database stands, writes what remains of each loan to Redis anew, and prints the instants of
the newest data: what happened later may be lost. From the log of the web servers it lists what users were told later. It may run at any
time, and again.

  journalctl -u 'peerloans-web@*' -o cat --since yesterday | manage-peerloans after_restore --log -

exit status:
  0  all of that is done
  1  Redis cannot be reached, or a log cannot be read; run it again when it can
"""
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **options)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--log",
            action="append",
            default=[],
            metavar="FILE",
            help="a log of the web servers, - for standard input; may be given several times",
        )
        parser.add_argument("--json", action="store_true", help="print the outcome as one JSON document")

    def handle(self, **options: Any) -> None:
        outbox.fan_out_all()
        refreshed = refresh_remaining_cache()
        forget_daily_figures(database_now(None))
        newest = Transition.objects.aggregate(at=Max("at"))["at"]
        requests = sorted(acknowledged_requests(lines_of(options["log"]), newest or LONG_AGO), key=lambda request: request.at)
        document = {
            "newest_transition": newest and newest.isoformat(),
            "newest_bank_report": (at := BankEvent.objects.aggregate(at=Max("recorded_at"))["at"]) and at.isoformat(),
            "messages_waiting": Delivery.objects.filter(status=DeliveryStatus.WAITING).count(),
            "redis": {"refreshed": refreshed.loans, "wrong": refreshed.drifted, "complete": refreshed.complete},
            "review_items": {item.pk: item.detail for item in ReviewItem.objects.filter(kind="restored", resolved_at=None).order_by("pk")},
            "acknowledged_later": as_rows(requests),
        }
        self.stdout.write(json.dumps(document, indent=2) if options["json"] else as_text(document, with_log=bool(options["log"])))
        if not refreshed.complete:
            self.stderr.write("Redis cannot be reached.")
            sys.exit(1)


def lines_of(names: list[str]) -> Iterator[str]:
    for name in names:
        try:
            with sys.stdin if name == "-" else Path(name).open(errors="replace") as log:
                yield from log
        except OSError as error:
            raise CommandError(f"{name} cannot be read: {error.strerror}.") from None


def as_rows(requests: list[AcknowledgedRequest]) -> list[dict[str, Any]]:
    users: dict[int, str] = dict(User.objects.filter(pk__in={request.user for request in requests}).values_list("pk", "username"))
    return [
        {
            "at": request.at.isoformat(),
            "user": None if request.user is None else users.get(request.user, f"number {request.user}, who is lost too"),
            "request": f"{request.method} {request.path}",
        }
        for request in requests
    ]


def as_text(document: dict[str, Any], *, with_log: bool) -> str:
    redis, rows = document["redis"], document["acknowledged_later"]
    lines = [
        f"The newest transition is of {as_instant(document['newest_transition'])}.",
        f"The newest report of the bank is of {as_instant(document['newest_bank_report'])}.",
        f"{document['messages_waiting']} messages wait to be sent.",
        f"{redis['refreshed']} values in Redis were refreshed; {redis['wrong']} had been wrong.",
        *(f"Review item {pk}: {detail}" for pk, detail in document["review_items"].items()),
    ]
    if with_log:
        lines.append(f"{len(rows)} requests were answered with success after the newest transition:")
        lines += [f"  {as_instant(row['at'])}  {row['user'] or '-'}  {row['request']}" for row in rows]
    return "\n".join(lines)


def as_instant(text: str | None) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S} UTC" if text else "no time: there is none"
