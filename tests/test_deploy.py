"""deploy/debian sets what there is to set, runs the programs as the image does, and works behind its nginx."""

import contextlib
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peerloans.devserver import embedded
from peerloans.monitoring.models import JobResult
from tests.cbsa.test_import_cbsa import environment as own_environment
from tests.peerloans.test_settings import documented
from tests.production import ENVIRONMENT
from tests.test_compose import OURS

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deploy/debian"
SERVICES = sorted(FOLDER.glob("*.service"))
NGINX, OPENSSL, SYSTEMD_ANALYZE = (shutil.which(name) or "" for name in ("nginx", "openssl", "systemd-analyze"))
VARIABLES = re.compile(r"^(\w+)=(.*)$", re.MULTILINE)


def settings_of(service: Path) -> dict[str, str]:
    """Return what the unit's file says; of a name that comes twice, the last."""
    return dict(VARIABLES.findall(service.read_text().replace("\\\n", "")))


def words(service: Path) -> list[str]:
    """Return the unit's command in words."""
    return settings_of(service)["ExecStart"].split()


# --- The files ----------------------------------------------------------------------------------------------------
def test_the_environment_file_has_all_that_is_required_and_nothing_unknown() -> None:
    table = documented()
    names = {name for name, _ in VARIABLES.findall((FOLDER / "peerloans.env").read_text())}
    assert {name for name, default in table.items() if default == "required"} <= names <= table.keys()


def test_the_environment_file_has_no_secret_that_would_be_accepted() -> None:
    process = subprocess.run(
        ["/bin/sh", "-c", f"set -a; . {FOLDER}/peerloans.env; exec {sys.executable} manage.py check"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode != 0
    for name in ("SECRET_KEY", "BANK_WEBHOOK_SECRETS"):
        assert name in process.stderr


@pytest.mark.parametrize(
    ("unit", "service"),
    [("peerloans-worker@", "worker"), ("peerloans-deliveries", "deliveries"), ("peerloans-beat", "beat")],
)
def test_the_programs_run_as_in_the_image(unit: str, service: str) -> None:
    command = words(FOLDER / f"{unit}.service")
    assert command[1:] == OURS[service]["command"][1:]
    assert command[0] == "/opt/peerloans/current/.venv/bin/celery"


# There are two servers on one machine, which nginx alone reaches.
CHANGED = {"0.0.0.0": "127.0.0.1", "8000": "%i", "2": "1"}  # noqa: S104 - the words of another file


def test_the_web_server_runs_as_in_the_image() -> None:
    (text,) = re.findall(r"^CMD (.*)", (ROOT / "Dockerfile").read_text().replace("\\\n", ""), re.MULTILINE)
    in_image = [word for word in json.loads(text) if "=" not in word]
    here = words(FOLDER / "peerloans-web@.service")
    assert here[1:] == [CHANGED.get(word, word) for word in in_image[2:]]
    assert here[0] == "/opt/peerloans/current/.venv/bin/granian"


def test_every_unit_may_take_as_long_to_stop_as_its_container() -> None:
    for unit, service in (("web@", "web"), ("worker@", "worker"), ("deliveries", "deliveries")):
        assert f"{settings_of(FOLDER / f'peerloans-{unit}.service')['TimeoutStopSec']}s" == OURS[service]["stop_grace_period"]


def test_the_target_starts_each_unit() -> None:
    wanted = set(" ".join(re.findall(r"^Wants=(.*)$", (FOLDER / "peerloans.target").read_text(), re.MULTILINE)).split())
    assert {re.sub(r"@\w+", "@", unit) for unit in wanted} == {service.name for service in SERVICES} - {
        "peerloans-backup.service",
        "peerloans-dump.service",
    }
    ports = {f"127.0.0.1:{unit.removeprefix('peerloans-web@').removesuffix('.service')}" for unit in wanted if "web@" in unit}
    assert ports == set(re.findall(r"^ +server (127\S+) max_fails=0;$", (FOLDER / "nginx.conf").read_text(), re.MULTILINE))


@pytest.mark.skipif(not SYSTEMD_ANALYZE, reason="systemd is not installed")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    timers = list(FOLDER.glob("*.timer"))
    for file in [*SERVICES, FOLDER / "peerloans.target", *timers]:
        text = file.read_text()
        (tmp_path / file.name).write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", text, flags=re.MULTILINE))
    units = [str(tmp_path / file.name.replace("@.", "@1.")) for file in [*SERVICES, *timers]]
    checked = subprocess.run([SYSTEMD_ANALYZE, "verify", "--man=no", *units], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


# --- The scripts --------------------------------------------------------------------------------------------------
class Tree:
    """A machine's folders below another root, where systemctl and curl only note how they were called."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = root / "calls"
        for folder in ("opt/peerloans/releases", "etc/systemd/system", "usr/local/sbin", "bin"):
            (root / folder).mkdir(parents=True)
        for name, status in (("systemctl", 0), ("curl", 0), ("sleep", 0)):
            self.program(name, status)

    def program(self, name: str, status: int) -> None:
        file = self.root / "bin" / name
        file.write_text(f'#!/bin/sh\necho {name} "$@" >> {self.calls}\nexit {status}\n')
        file.chmod(0o755)

    def install(self, release: str) -> None:
        shutil.copytree(FOLDER, self.root / "opt/peerloans/releases" / release / "deploy/debian")

    def use(self, *words: str) -> subprocess.CompletedProcess[str]:
        text = re.sub(r"/(opt/peerloans|etc/systemd|usr/local)", rf"{self.root}/\1", (FOLDER / "use-release").read_text())
        path = {"PATH": f"{self.root}/bin:{os.environ['PATH']}"}
        return subprocess.run(["/bin/sh", "-c", text, "use-release", *words], env=path, capture_output=True, text=True, check=False)


def test_use_release_brings_the_units_and_starts_one_web_server_after_the_other(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.install("v1")
    assert tree.use("v1").stdout == "v1 is in use.\n"
    assert {file.name for file in (tmp_path / "etc/systemd/system").iterdir()} == {
        file.name for pattern in ("*.service", "*.timer", "*.target") for file in FOLDER.glob(pattern)
    }
    assert {file.name for file in (tmp_path / "usr/local/sbin").iterdir()} == {"install-release", "use-release", "manage-peerloans"}
    calls = [" ".join(line.split()[:3]) for line in tree.calls.read_text().splitlines() if not line.startswith("curl")]
    assert calls == [
        "systemctl daemon-reload",
        "systemctl restart peerloans-web@8000",
        "systemctl restart peerloans-web@8001",
        "systemctl restart peerloans-worker@*",
        "systemctl start peerloans.target",
    ]


def test_use_release_without_a_name_starts_the_one_in_use_again(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    for release in ("v1", "v2"):
        tree.install(release)
        tree.use(release)
    assert tree.use("v1").returncode == 0
    assert tree.use().stdout == "v1 is in use.\n"
    assert (tree.use("v3").returncode, os.readlink(tmp_path / "opt/peerloans/current")) == (1, "releases/v1")


def test_use_release_leaves_the_second_web_server_where_the_first_does_not_answer(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.install("v1")
    tree.program("curl", 7)
    done = tree.use("v1")
    assert (done.returncode, "port 8000 does not answer" in done.stderr) == (1, True)
    assert "peerloans-web@8001" not in tree.calls.read_text()


# --- Running ------------------------------------------------------------------------------------------------------
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Machine:
    """The units behind nginx, on this test's database and free ports, started as systemd would start them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {old: free_port() for old in ("80", "443", "8000", "8001")}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = ENVIRONMENT | {
            "DATABASE_URL": own_environment()["DATABASE_URL"],
            # Two that neither other tests nor `make run` use.
            "REDIS_URL": embedded.redis_url(7),
            "CELERY_BROKER_URL": embedded.broker_url(8),
            "ALLOWED_HOSTS": "localhost",
            "PROXIES": "1",
            "THROTTLE_LOGIN": "5/m",
        }

    def manage(self, *words: str) -> None:
        subprocess.run([sys.executable, "manage.py", *words], cwd=ROOT, env=self.environment, check=True)

    def start(self, unit: str, instance: str = "") -> None:
        service = FOLDER / f"{unit}.service"
        command = [self.ports.get(instance, instance) if word == "%i" else word for word in words(service)]
        program = Path(sys.executable).parent / Path(str(command[0])).name
        own = dict(pair.split("=") for pair in shlex.split(settings_of(service).get("Environment", "")))
        if metrics := own.get("PROMETHEUS_MULTIPROC_DIR"):
            own["PROMETHEUS_MULTIPROC_DIR"] = str(self.folder / Path(metrics.replace("%i", instance)).name)
            shutil.rmtree(own["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
            Path(own["PROMETHEUS_MULTIPROC_DIR"]).mkdir()
        with (self.folder / f"{unit}{instance}.log").open("ab") as log:
            self.running[unit + instance] = subprocess.Popen(
                [program, *map(str, command[1:])],
                cwd=ROOT,
                env=self.environment | own,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_web(self, instance: str) -> None:
        self.start("peerloans-web@", instance)
        wait_for(lambda: socket.create_connection(("127.0.0.1", self.ports[instance]), 1).close() is None)

    def start_nginx(self) -> None:
        certificate = self.folder / "fullchain.pem"
        subprocess.run(
            [
                *(OPENSSL, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"),
                *("-addext", "subjectAltName=DNS:localhost", "-keyout", self.folder / "privkey.pem", "-out", certificate),
            ],
            check=True,
            capture_output=True,
        )
        site = (FOLDER / "nginx.conf").read_text().replace("/etc/ssl/peerloans", str(self.folder)).replace("loans.example.org", "localhost")
        site = re.sub(r"(listen (?:\[::\]:)?|127\.0\.0\.1:)(\d+)", lambda match: f"{match[1]}{self.ports[match[2]]}", site)
        configuration = self.folder / "nginx.conf"
        configuration.write_text(
            f"pid {self.folder}/pid; daemon off; error_log {self.folder}/error.log; events {{}} http {{ access_log off;"
            + "".join(f"{kind}_temp_path {self.folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
            + f"{site} }}"
        )
        self.running["nginx"] = subprocess.Popen([NGINX, "-c", configuration], start_new_session=True)
        wait_for(lambda: socket.create_connection(("127.0.0.1", self.ports["443"]), 1).close() is None)

    def ask(self, path: str, body: str | None = None, **headers: str) -> tuple[int, str]:
        """Return the status and the body of an answer of nginx."""
        trusted = ssl.create_default_context(cafile=self.folder / "fullchain.pem")
        with contextlib.closing(http.client.HTTPSConnection("localhost", self.ports["443"], context=trusted, timeout=30)) as site:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            site.request("GET" if body is None else "POST", path, body, names)
            answer = site.getresponse()
            return answer.status, answer.read().decode()

    def stop(self, name: str) -> int:
        """Send SIGTERM to the main process, as systemd does with KillMode=mixed. Returns its exit status."""
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(60)

    def stop_all(self) -> None:
        for process in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if condition():
                return
        time.sleep(0.1)
    raise TimeoutError


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    try:
        machine.manage("collectstatic", "--no-input", "--verbosity", "0")
        machine.start_web("8000")
        machine.start_web("8001")
        machine.start_nginx()
        yield machine
    finally:
        machine.stop_all()


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not NGINX or "REDIS_URL" in os.environ, reason="nginx is not installed, or Redis not ours")
def test_the_units_work_behind_nginx(machine: Machine) -> None:
    status, page = machine.ask("/")
    assert (status, "peerloans" in page) == (200, True)
    with contextlib.closing(http.client.HTTPConnection("localhost", machine.ports["80"])) as plain:
        plain.request("GET", "/")
        moved = plain.getresponse()
        assert (moved.status, moved.headers["Location"]) == (301, "https://localhost/")
    for path in ("/livez", "/readyz", "/metrics", "/%72eadyz", "/readyz/", "//readyz"):
        assert machine.ask(path)[0] == 404, path
    # A caller who invents addresses is throttled all the same.
    body = '{"username": "nobody", "password": "wrong"}'
    calls = [
        machine.ask("/api/v1/auth/token/", body, Content_Type="application/json", X_Forwarded_For=f"198.51.100.{number}")[0]
        for number in range(8)
    ]
    assert 429 in calls

    # One web server after the other starts anew, and no caller notices.
    for port in ("8000", "8001"):
        assert machine.stop(f"peerloans-web@{port}") == 0
        assert [machine.ask("/")[0] for _ in range(10)] == [200] * 10
        machine.start_web(port)

    for unit, instance in (("peerloans-worker@", "1"), ("peerloans-deliveries", ""), ("peerloans-beat", "")):
        machine.start(unit, instance)
    machine.manage("shell", "--no-imports", "-v", "0", "-c", "from loans.tasks import expire; expire.delay()")
    wait_for(JobResult.objects.exists)
    assert {"beat up", "workers up", "broker up"} <= set(readyz(machine).splitlines())
    for name in ("peerloans-beat", "peerloans-worker@1", "peerloans-deliveries"):
        assert machine.stop(name) == 0


def readyz(machine: Machine) -> str:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", machine.ports["8000"])) as site:
        site.request("GET", "/readyz", headers={"Host": "localhost", "X-Forwarded-Proto": "https"})
        return site.getresponse().read().decode()
