"""How does an empty database of one's own machine get loans to look at?"""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.test.utils import override_settings

from cbsa import importing
from cbsa.models import Dataset
from loans import demo, selectors
from loans.models import Loan

ZIP_DATA = Path(importing.__file__).with_name("demo")


class Command(BaseCommand):
    help = (
        "Fill an empty database with demo data: loans, investors, and about three weeks of what they did, played through the "
        "same code as everything else. Only where DEBUG is on, as everybody knows the password. Exit status 1 where it refuses."
    )

    def handle(self, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("The demo's password is known to everybody, so it is made only where DEBUG is on (DEBUG=1).")
        if Loan.objects.exists():
            raise CommandError("There are loans already; the demo only fills an empty database. Nothing has changed.")
        if not Dataset.objects.filter(active=True).exists():
            importing.run(zips=str(ZIP_DATA / "zips.csv"), metros=str(ZIP_DATA / "metros.csv"), vintage="2015-demo", actor="seed_demo")
        # The past went at the usual pace, whatever TIME_LAPSE does to the present.
        with override_settings(TIME_LAPSE=1.0), transaction.atomic():
            demo.fill(selectors.instant(None))
        demo.give_addresses()
        self.stdout.write(demo.summary())
