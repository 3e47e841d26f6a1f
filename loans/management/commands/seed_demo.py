"""Fill an empty database on a developer's machine with demo data."""

from io import StringIO
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

import cbsa
from cbsa.lookup import has_dataset
from loans.demo import scenario
from loans.models import Loan
from peerloans.database.clock import database_now

ZIP_DATA = Path(cbsa.__file__).with_name("demo")


class Command(BaseCommand):
    help = (
        "Fill an empty database with demo data: loans, investors, and about three weeks of what they did, played through the "
        "services. Works only with DEBUG on, because the password is public. Exit status 1 if it refuses."
    )
    requires_system_checks = []

    def handle(self, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("The demo's password is public, so seed_demo works only with DEBUG on (DEBUG=1).")
        if Loan.objects.exists():
            raise CommandError("There are loans already; the demo only fills an empty database. Nothing has changed.")
        if not has_dataset():
            files = {"zips": str(ZIP_DATA / "zips.csv"), "metros": str(ZIP_DATA / "metros.csv")}
            call_command("import_cbsa", **files, vintage="2015-demo", stdout=StringIO())
        with transaction.atomic():
            scenario.fill(database_now(None))
        scenario.give_addresses()
        self.stdout.write(scenario.summary())
