"""Bring the database of `make run` up to date, or fill an empty one with the demo.

Each is a program of its own, since Django takes 70 MB, which the run would hold as long as it goes on.
"""

import contextlib
import inspect
import json
import os
import signal
import sys
from hashlib import sha256
from pathlib import Path

import django
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connection
from django.db.migrations.exceptions import InconsistentMigrationHistory
from django.db.migrations.loader import MigrationLoader
from psycopg import sql

from peerloans.devserver import embedded

OWN_APPS = ("cbsa", "loans")


def migrate() -> None:
    """Bring the database up to date.

    Raises: SystemExit if the database does not answer, or if another version of the code made it.
    """
    try:
        check_migrations()
        call_command("migrate", verbosity=0)
        note_migrations()
    except OperationalError as error:
        raise SystemExit(f"The database does not answer: {error}") from None


def check_migrations() -> None:
    """Exit if the database has migrations that this version of the code does not know or has changed, or lacks one that others build on."""
    loader = MigrationLoader(connection)
    unknown = {key for key in loader.applied_migrations if key[0] in OWN_APPS} - loader.disk_migrations.keys()
    hashes = _hashes(loader)
    is_changed = any(hashes.get(name, noted) != noted for name, noted in _noted_hashes().items())
    with contextlib.suppress(InconsistentMigrationHistory):
        loader.check_consistent_history(connection)
        if not unknown and not is_changed:
            return
    advice = "name an empty one in DATABASE_URL" if "DATABASE_URL" in os.environ else "`make reset` deletes it with all its data"
    raise SystemExit(f"The database was made by another version of this code, which this version cannot upgrade: {advice}.")


def note_migrations() -> None:
    """Note the hash of each migration in the database, so that `check_migrations` sees one that was edited after it was applied."""
    with connection.cursor() as cursor:
        hashes = json.dumps(_hashes(MigrationLoader(connection)))
        cursor.execute(sql.SQL("COMMENT ON TABLE django_migrations IS {}").format(sql.Literal(hashes)))


def _noted_hashes() -> dict[str, str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT obj_description(to_regclass('django_migrations'))")
        (noted,) = cursor.fetchone()
    return json.loads(noted) if noted else {}


def _hashes(loader: MigrationLoader) -> dict[str, str]:
    own = {key: migration for key, migration in loader.disk_migrations.items() if key[0] in OWN_APPS}
    return {".".join(key): sha256(Path(inspect.getfile(type(migration))).read_bytes()).hexdigest() for key, migration in own.items()}


def fill() -> None:
    """Play the demo if the database has no loans."""
    if settings.DEBUG and not apps.get_model("loans", "Loan").objects.exists():
        print("   run | playing three weeks of demo data …", flush=True)  # noqa: T201
        call_command("seed_demo")


if __name__ == "__main__":
    embedded.exit_on_signals(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, status=0)
    django.setup()
    {"migrate": migrate, "fill": fill}[sys.argv[1]]()
