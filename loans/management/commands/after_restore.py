"""Bring everything beside the database into line with a database that was restored, and print up to when its data go."""

from argparse import RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db.models import Max

from loans.models import BankEvent, Delivery, DeliveryStatus, ReviewItem, Transition
from loans.notifications import outbox
from loans.services.cache_refresh import refresh_remaining_cache


class Command(BaseCommand):
    help = """Bring everything beside the database into line with a database that was restored, and print up to when its data go.

It lets messages go on from where the restored database stands, writes what remains of each loan to Redis anew, and prints the instants of
the newest data: what happened later may be lost. It may run at any time, and again.

exit status:
  0  all of that is done
  1  Redis cannot be reached; run it again when it can
"""

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **options)

    def handle(self, **options: Any) -> None:
        outbox.fan_out_all()
        refreshed = refresh_remaining_cache()
        self._print("The newest transition", Transition.objects.aggregate(at=Max("at")))
        self._print("The newest report of the bank", BankEvent.objects.aggregate(at=Max("recorded_at")))
        self.stdout.write(f"{Delivery.objects.filter(status=DeliveryStatus.WAITING).count()} messages wait to be sent.")
        self.stdout.write(f"{refreshed.loans} values in Redis were refreshed; {refreshed.drifted} had been wrong.")
        for item in ReviewItem.objects.filter(kind="restored", resolved_at=None).order_by("pk"):
            self.stdout.write(f"Review item {item.pk}: {item.detail}")
        if not refreshed.complete:
            self.stderr.write("Redis cannot be reached.")
            raise SystemExit(1)

    def _print(self, what: str, newest: dict[str, Any]) -> None:
        self.stdout.write(f"{what} is of {newest['at']:%Y-%m-%d %H:%M:%S} UTC." if newest["at"] else f"{what}: there is none.")
