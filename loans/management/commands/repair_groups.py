"""How do the groups of staff get their permissions back? This command gives them what they come with."""

from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from loans.services.staff_groups import GROUPS, repair_groups


class Command(BaseCommand):
    help = (
        "Give the groups "
        + ", ".join(GROUPS)
        + " exactly the permissions they come with; make those that are missing. Who belongs to them stays as it is. "
        "May be run at any time, as often as you like."
    )

    def handle(self, *_: Any, **options: Any) -> None:
        with transaction.atomic():
            repair_groups()
        for name, granted in GROUPS.items():
            self.stdout.write(f"{name}: {len(granted)} permissions")
