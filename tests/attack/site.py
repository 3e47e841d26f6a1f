"""Run the site as compose.yaml does, behind one proxy. The attacks play its part: they send X-Forwarded-For."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from django.core.management import call_command

from peerloans.devserver import embedded, run
from tests import production

ROOT = Path(__file__).parents[2]
START_SECONDS = 60
ADDRESS = "203.0.113.66"  # of the stranger
REFERENCE = "AT-1"
PASSWORD = "an account like any other"
STAFF = {"olga": "Operations", "otto": "Operations", "sue": "Support", "ada": "Auditors"}
THROTTLE_PER_MINUTE = 1_000  # less than the default, so that an attack reaches it within seconds


@dataclass
class Result:
    """How often something was tried, and a sentence for each thing that did not hold."""

    times: int
    broken: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Site:
    """The site under attack. Its database is also that of this process, through Django."""

    port: int
    log: Path
    environment: dict[str, str]
    token: str
    """Of an investor with an account like any other."""

    def new_token(self, username: str) -> str:
        """Return a token of a new investor, who is accredited."""
        return _make_investor(username)

    def connect(self, data: bytes = b"", *, unread_bytes: int | None = None) -> socket.socket:
        """Return a new connection on which the data were sent, and which holds so many unread bytes of the answer."""
        connection = socket.socket()
        if unread_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, unread_bytes)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", self.port))
        connection.sendall(data)
        return connection

    def raw(self, data: bytes) -> bytes:
        """Return the bytes that are answered to these bytes until the site closes the connection or is silent for two seconds."""
        received = b""
        with self.connect(data) as connection, contextlib.suppress(OSError):
            connection.settimeout(2)
            while chunk := connection.recv(65_536):
                received += chunk
        return received

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Return the status and the body of an answer. In the names of headers an underscore is a hyphen, and two are one underscore."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        named = {name.replace("__", "\0").replace("_", "-").replace("\0", "_"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, {"X-Forwarded-For": ADDRESS, "Content-Type": "application/json"} | named)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@contextlib.contextmanager
def running_site(port: int, folder: Path) -> Iterator[Site]:
    """Migrate, make a loan, staff and an investor, and run the web server."""
    call_command("migrate", verbosity=0)
    token = _make_rows()
    environment = {
        **{name: value for name, value in os.environ.items() if name != "DEBUG"},
        **production.ENVIRONMENT,
        "DATABASE_URL": embedded.database_url(),
        "REDIS_URL": embedded.redis_url(1),
        "CELERY_BROKER_URL": embedded.broker_url(0),
        "HTTPS": "0",
        "PROXIES": "1",
        "THROTTLE": f"{THROTTLE_PER_MINUTE}/m",
        "DATABASE_STATEMENT_SECONDS": "30",
        "PROMETHEUS_MULTIPROC_DIR": str(embedded.VAR / "metrics"),
    }
    collect = [sys.executable, "manage.py", "collectstatic", "--no-input", "--verbosity", "0"]
    subprocess.run(collect, cwd=ROOT, env=environment, check=True)
    log = folder / "web.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", *run.web(port).split()], cwd=ROOT, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    site = Site(port, log, environment, token)
    try:
        _wait_for(site, process)
        yield site
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(run.STOP_SECONDS)
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(site: Site, process: "subprocess.Popen[bytes]") -> None:
    """Wait until both processes have answered: the first answer of each takes a second."""
    deadline = time.monotonic() + START_SECONDS
    answers = 0
    while answers < 100:
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"The site does not start; {site.log} says why.")
        try:
            answers += all(site.ask("GET", path, X_Forwarded_For="10.0.0.1")[0] == 200 for path in ("/", "/admin/login/"))
        except OSError:
            time.sleep(0.1)


def _make_rows() -> str:
    """Make a dataset of ZIPs, a loan, staff and an investor. Return the investor's token."""
    from django.contrib.auth.models import Group

    from loans.models import User

    demo = ROOT / "cbsa" / "demo"
    call_command("import_cbsa", zips=str(demo / "zips.csv"), metros=str(demo / "metros.csv"), vintage="2015", force=True, verbosity=0)
    make_loans([REFERENCE])
    for name, group in STAFF.items():
        User.objects.create_user(name, password=PASSWORD, is_staff=True).groups.set(Group.objects.filter(name=group))
    return _make_investor("investor")


def make_loans(references: list[str]) -> None:
    """Make open loans that anybody may reserve."""
    import random

    from loans.domain.actors import SYSTEM
    from loans.models import Loan
    from loans.services.loans import create_loan, open_loan
    from tests.chaos.initial_data import loan_fields

    for reference in references:
        create_loan(Loan(**loan_fields(reference, random.Random(reference))), actor=SYSTEM)
        open_loan(reference=reference, actor=SYSTEM)


def _make_investor(username: str) -> str:
    from datetime import UTC, datetime

    from knox.models import AuthToken

    from loans.models import Investor, User

    user = User.objects.create_user(username, email=f"{username}@example.org", password=PASSWORD)
    Investor.objects.create(user=user, name=f"The {username}", accredited_until=datetime(2099, 1, 1, tzinfo=UTC).date())
    return str(AuthToken.objects.create(user)[1])
