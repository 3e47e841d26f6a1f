"""Give the groups of staff the permissions that they have in a new installation."""

from typing import Any

from django.core.management.base import BaseCommand

from loans.services.staff_groups import GROUPS, repair_groups


class Command(BaseCommand):
    help = (
        f"Give the groups {', '.join(GROUPS)} exactly the permissions that they have in a new installation, and make the groups "
        "that are missing. The members of each group stay as they are. It can be run again at any time."
    )
    requires_system_checks = []

    def handle(self, *_: Any, **options: Any) -> None:
        repair_groups()
        for name, permissions in GROUPS.items():
            self.stdout.write(f"{name}: {len(permissions)} permissions")
