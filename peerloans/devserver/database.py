"""Bring the database of `make run` up to date, or fill an empty one with the demo.

Each is a program of its own, since Django takes 70 MB, which the run would hold as long as it goes on.
"""

import contextlib
import os
import signal
import sys

import django
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connection
from django.db.migrations.exceptions import InconsistentMigrationHistory
from django.db.migrations.loader import MigrationLoader

from peerloans.devserver import embedded


def migrate() -> None:
    """Bring the database up to date.

    Raises: SystemExit if the database does not answer, or if another version of the code made it.
    """
    try:
        check_migrations()
        call_command("migrate", verbosity=0)
    except OperationalError as error:
        raise SystemExit(f"The database does not answer: {error}") from None


def check_migrations() -> None:
    """Exit if the database has migrations that this version of the code does not know, or lacks one that others build on."""
    loader = MigrationLoader(connection)
    unknown = {key for key in loader.applied_migrations if key[0] in {"cbsa", "loans"}} - loader.disk_migrations.keys()
    with contextlib.suppress(InconsistentMigrationHistory):
        loader.check_consistent_history(connection)
        if not unknown:
            return
    advice = "name an empty one in DATABASE_URL" if "DATABASE_URL" in os.environ else "`make reset` deletes it with all its data"
    raise SystemExit(f"The database was made by another version of this code, which this version cannot upgrade: {advice}.")


def fill() -> None:
    """Play the demo if the database has no loans."""
    if settings.DEBUG and not apps.get_model("loans", "Loan").objects.exists():
        print("   run | playing three weeks of demo data …", flush=True)  # noqa: T201
        call_command("seed_demo")


if __name__ == "__main__":
    embedded.exit_on_signals(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, status=0)
    django.setup()
    {"migrate": migrate, "fill": fill}[sys.argv[1]]()
