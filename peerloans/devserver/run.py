"""Run the whole system on one machine until Ctrl-C, as `make run` does.

The order: embedded servers, migrations, web server beside the demo data; worker, beat and sandbox bank once the site
answers. A part that ends is started again. A run that was killed leaves processes behind; they carry a mark in their
environment, by which the next run finds and kills them.
"""

import argparse
import contextlib
import fcntl
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from peerloans.devserver import embedded
from peerloans.environment import is_true

PROJECT = Path(__file__).parents[2]
MARK = "PEERLOANS_RUN"
STOP_SECONDS = 10
SOON_SECONDS = 10
FAILURES = 5
_CELERY = "celery -A peerloans.celery --quiet"
WORKER = f"{_CELERY} worker --loglevel WARNING --concurrency 2 --without-mingle --without-gossip"
BEAT = f"{_CELERY} beat --loglevel WARNING"
# docs/operations.md has the reason of each limit.
SERVER = (
    "--interface asginl peerloans.asgi:application --http 1 --no-ws --workers 2 --respawn-failed-workers"
    " --backlog 4096 --backpressure 2048 --http1-buffer-size 65536 --http1-header-read-timeout 20000 --log-level warning"
)
CELERY_WARNINGS = "ignore:You're running the worker with superuser,ignore:Using settings.DEBUG"


class Part:
    """One of the system's programs, with the processes that it starts itself."""

    def __init__(self, name: str, command: str, **environment: str) -> None:
        self.name, self.command = name, command
        self.environment = {**os.environ, "PYTHONUNBUFFERED": "1", MARK: mark(), **environment}
        self.failures = 0  # consecutive ends, each within SOON_SECONDS of its start
        self.start()

    def start(self) -> None:
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", *self.command.split()],
            cwd=PROJECT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # so that Ctrl-C reaches only this process, which then stops its parts in order
        )
        threading.Thread(target=self._relay, args=(self.process,), daemon=True).start()

    def _relay(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            if line.strip():
                say(line.rstrip(), self.name)

    def keep_up(self) -> None:
        """Start the program again if it has ended, after a longer wait each time.

        Raises: SystemExit after FAILURES consecutive ends.
        """
        if self.process.poll() is None:
            return
        self.kill()
        self.failures = self.failures + 1 if time.monotonic() - self.started < SOON_SECONDS else 0
        if self.failures == FAILURES:
            raise SystemExit(f"{self.name} ended {FAILURES} times in a row; its lines above may say why.")
        say(f"{self.name} ended with status {self.process.returncode}; starting it again")
        time.sleep(self.failures)
        self.start()

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)


def in_debug() -> bool:
    return is_true(os.environ["DEBUG"])


def say(line: str, name: str = "run") -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone, and the parts must still be stopped
        print(f"{name:>6} | {line}", flush=True)  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m peerloans.devserver.run", description="Start the whole system, with demo data.")
    parser.add_argument("--port", type=int, default=8000, help="port of the site on this machine (default: %(default)s)")
    port = parser.parse_args().port
    os.environ.setdefault("DEBUG", "1")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "peerloans.settings")
    embedded.exit_on_signals(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, status=0)
    with only_one(port):
        embedded.DEBUG_MARK.touch()
        kill_left_over()
        check_port(port)
        say("starting PostgreSQL and Redis …")
        with embedded.running():
            say("applying migrations …")
            change_database("migrate")
            run(port)


@contextlib.contextmanager
def only_one(port: int) -> Iterator[None]:
    """Hold the lock of this checkout's run.

    Raises: SystemExit if another run holds it.
    """
    embedded.make_private(embedded.VAR)
    with (embedded.VAR / "run.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise SystemExit(f"This checkout already runs: {lock.read()}. Stop that one first.") from None
        lock.truncate(0)
        lock.write(f"http://localhost:{port}/, process {os.getpid()}")
        lock.flush()
        yield


def mark() -> str:
    """Return the value of MARK in the environment of every process of this checkout's run, and of no other."""
    return f"{embedded.VAR} {embedded.VAR.stat().st_ino}"


def kill_left_over() -> None:
    """Kill the processes that a killed run left behind; the system is built to survive that."""
    left_over = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark():
                process.kill()
                left_over.append(process)
    if left_over:
        say("killing what an earlier run left behind …")
        psutil.wait_procs(left_over, timeout=STOP_SECONDS)


def check_port(port: int) -> None:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        raise SystemExit(f"Port {port} cannot be used ({error}). Choose another: PORT=9000 make run") from None


def change_database(step: str) -> None:
    """Run a step of peerloans/devserver/database.py. Raises: SystemExit where it fails; it says why itself."""
    status = subprocess.run([sys.executable, "-m", "peerloans.devserver.database", step], cwd=PROJECT).returncode
    if status:
        raise SystemExit(status)


def run(port: int) -> None:
    """Keep the parts up until a signal arrives or the `make` that started this process has ended."""
    parent, shown = os.getppid(), False
    parts: list[Part] = []
    try:
        counted = embedded.VAR / "metrics"
        shutil.rmtree(counted, ignore_errors=True)
        say("starting the web server …")
        parts.append(Part("web", web(port), DATABASE_STATEMENT_SECONDS="30", PROMETHEUS_MULTIPROC_DIR=str(counted)))
        change_database("fill")  # uses one core while the web server starts on the other
        while "MAKELEVEL" not in os.environ or os.getppid() == parent:
            if not shown and answers(port):
                shown = True
                # Not earlier: if all start at once, they keep two cores busy for seconds before the site answers.
                for name, command in background(port).items():
                    parts.append(Part(name, command, PYTHONWARNINGS=CELERY_WARNINGS))
                show(port)
            if embedded.start():
                say("a server had ended; it is up again")
            for part in parts:
                part.keep_up()
            time.sleep(0.2)
    finally:
        stop(parts)


def background(port: int) -> dict[str, str]:
    """Return the commands of the parts that no request waits for, by name."""
    commands = {"worker": WORKER, "beat": BEAT}
    if in_debug():
        commands["bank"] = f"manage sandbox_bank --from-now --site http://127.0.0.1:{port}"
    return commands


def web(port: int) -> str:
    """Return the command of the web server."""
    return f"granian {SERVER} --host 127.0.0.1 --port {port}"


def answers(port: int) -> bool:
    """Return whether the site answers a request for its first page."""
    site = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(site), contextlib.suppress(OSError, http.client.HTTPException):
        site.request("GET", "/")
        return site.getresponse().status > 0
    return False


def show(port: int) -> None:
    """Print where to look."""
    site = f"http://localhost:{port}"
    say(f"peerloans is up: {site}/")
    say(f"  API docs   {site}/api/docs/")
    say(f"  admin      {site}/admin/")
    if in_debug():
        say("  log in as  staff, investor1 … investor20; password demo")
    say(f"  try        curl {site}/ziptocbsa/90266")
    say("Ctrl-C stops it; the data stays.")


def stop(parts: list[Part]) -> None:
    """Ask the parts to stop, and kill those that need longer than STOP_SECONDS."""
    say("stopping …")
    for part in parts:
        part.process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for part in parts:
        with contextlib.suppress(subprocess.TimeoutExpired):
            part.process.wait(max(0, deadline - time.monotonic()))
        part.kill()
        part.process.wait()  # a part that still dies would be counted among the users of the servers, which would stay up


if __name__ == "__main__":
    main()
