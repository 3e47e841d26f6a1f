"""Run what `make run` starts, behind proxies and on a small disk, and do to it what the faults ask for."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil

from peerloans.devserver import embedded, run
from tests import production
from tests.chaos.proxy import Proxy

ROOT = Path(__file__).parents[2]
DISK_BYTES = 320 * 2**20


class Program:
    """A program with all the processes that it starts. It is started again when it ends, until the run stops it."""

    def __init__(self, name: str, command: str, environment: dict[str, str]) -> None:
        self.name, self.command, self.environment = name, command, environment
        self.log = embedded.VAR.with_name(f"{embedded.VAR.name}.{name}.log")
        self.unexpected_ends = 0
        self.killed = False
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.command.split()],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.killed = False

    def keep_up(self) -> None:
        if self.process.poll() is not None:
            self.unexpected_ends += not self.killed
            self.kill()
            self.start()

    def kill(self) -> None:
        """Kill all of its processes with SIGKILL."""
        self.killed, process = True, self.process  # it may be started again while this waits
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def children(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self.process.pid).children()
        return []


class System:
    """Everything that runs in the test, and what can be done to it."""

    def __init__(self, port: int, log_level: str = "WARNING") -> None:
        self.port, self.log_level = port, log_level
        self.database = Proxy(port + 1, embedded.run_dir() / ".s.PGSQL.5432")
        self.redis = Proxy(port + 2, embedded.run_dir() / "valkey.sock")
        self.ballast = embedded.VAR / "ballast"
        self.server_starts = 0
        self._stopping, self._lock = threading.Event(), threading.Lock()
        environment = self._environment()
        counted = str(embedded.VAR / "metrics")
        quiet = {"PYTHONWARNINGS": run.CELERY_WARNINGS}
        self._job_runs: list[Program] = []
        collect = [sys.executable, "manage.py", "collectstatic", "--no-input", "--verbosity", "0"]
        subprocess.run(collect, cwd=ROOT, env=environment, check=True)
        self.programs = {
            "web": Program("web", run.web(port), environment | {"DATABASE_STATEMENT_SECONDS": "30", "PROMETHEUS_MULTIPROC_DIR": counted}),
            "worker": Program("worker", run.WORKER, environment | quiet),
            "beat": Program("beat", run.BEAT, environment | quiet),
        }
        self._keeper = threading.Thread(target=self._keep_up, daemon=True)
        self._keeper.start()

    def _environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if name != "DEBUG"},
            **production.ENVIRONMENT,
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": "peerloans.settings",
            "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{self.port + 1}/postgres?sslmode=disable",
            "REDIS_URL": f"redis://127.0.0.1:{self.port + 2}/1",
            "CELERY_BROKER_URL": f"redis://127.0.0.1:{self.port + 2}/0",
            "HTTPS": "0",
            "THROTTLE": "",
            "LOG_LEVEL": self.log_level,
        }

    def _keep_up(self) -> None:
        while not self._stopping.wait(0.2):
            with self._lock:
                for program in self.programs.values():
                    program.keep_up()
            # On a full disk no server starts. One that takes too long is tried again in the next round.
            if not self.ballast.exists():
                with contextlib.suppress(SystemExit):
                    self.server_starts += embedded.start()

    def kill_server(self, pidfile: Path) -> None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            os.kill(int(pidfile.read_text().split()[0]), signal.SIGKILL)

    def fill_disk(self) -> None:
        with contextlib.suppress(OSError), self.ballast.open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(2**16))

    def free_disk(self) -> None:
        self.ballast.unlink(missing_ok=True)

    def run_jobs_at(self, hours: float) -> None:
        """Start a process that runs each job once, with a clock that is so many hours ahead."""
        name = f"jobs at {hours:+} h"
        with self._lock:
            self._job_runs.append(Program(name, f"tests.chaos.clock {hours}", self.programs["worker"].environment))

    def stop(self, name: str) -> None:
        """Stop one program as an operator would."""
        with self._lock:
            program = self.programs.pop(name)
        program.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.process.wait(run.STOP_SECONDS)
        program.kill()

    def kill_all(self) -> None:
        """Kill our programs and PostgreSQL, and start nothing again."""
        self._stopping.set()
        self._keeper.join(embedded.PATIENCE_SECONDS)
        for program in self.programs.values():
            program.kill()
        self.programs.clear()
        self.kill_server(embedded.POSTGRES_PID)

    def stop_all(self) -> None:
        self._stopping.set()
        self._keeper.join(embedded.PATIENCE_SECONDS)
        for name in list(self.programs):
            self.stop(name)
        for program in self._job_runs:
            program.kill()


@contextlib.contextmanager
def small_disk() -> Iterator[bool]:
    """Put the servers' files on a small file system of their own. Yield False where this user may not mount one; then none is filled."""
    folder = embedded.VAR
    folder.mkdir(parents=True, mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "chaos", str(folder)]
    try:
        mounted = os.geteuid() == 0 and shutil.which("mount") is not None and not subprocess.run(mount, check=False).returncode
        yield mounted
    finally:
        if os.path.ismount(folder):
            subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607
        shutil.rmtree(folder, ignore_errors=True)
