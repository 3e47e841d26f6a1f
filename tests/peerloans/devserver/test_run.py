"""`make run`, for real, in a folder of its own and on a free port."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from peerloans.devserver.run import MARK

NOT_FOR_RUN = {"DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "DJANGO_SETTINGS_MODULE", "DEBUG", "MAKELEVEL"}

Run = Callable[[], subprocess.Popen[str]]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free: int = probe.getsockname()[1]
        return free


@pytest.fixture
def run(tmp_path: Path, port: int) -> Iterator[Run]:
    env = {name: value for name, value in os.environ.items() if name not in NOT_FOR_RUN}
    env["PEERLOANS_VAR"] = str(tmp_path)
    with contextlib.ExitStack() as runs:

        def start() -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "peerloans.devserver.run", "--port", str(port)]
            process = runs.enter_context(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
            runs.callback(process.terminate)
            return process

        yield start


def read_until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if words in line:
            return
    pytest.fail(f"It never said {words!r}:\n{''.join(said)}")


def status_of(port: int, path: str) -> int:
    with contextlib.closing(http.client.HTTPConnection("localhost", port, timeout=30)) as site:
        site.request("GET", path)
        return site.getresponse().status


def parts(var: Path, word: str = "") -> list[psutil.Process]:
    """The processes that carry the mark of the run in this folder, and the word in their command; oldest first."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK, "").startswith(f"{var} ") and word in " ".join(process.cmdline()):
                found.append(process)
    return sorted(found, key=lambda process: process.create_time())


def test_it_starts_answers_and_leaves_nothing_behind(run: Run, port: int, tmp_path: Path) -> None:
    process = run()
    read_until(process, "is up")
    assert status_of(port, "/api/docs/") == 200
    assert status_of(port, "/static/admin/css/base.css") == 200
    assert all(parts(tmp_path, name) for name in ("granian", " worker ", " beat "))
    assert (tmp_path / "debug").exists()

    second = run()
    read_until(second, f"already runs: http://localhost:{port}/")
    assert second.wait() == 1

    process.terminate()
    assert process.wait(timeout=60) == 0
    assert parts(tmp_path) == []
    assert not list(tmp_path.glob("*/*.pid"))


def test_a_taken_port_is_told_before_anything_starts(run: Run, port: int, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", port)):
        process = run()
        read_until(process, f"Port {port} cannot be used")
        assert process.wait() == 1
    assert not (tmp_path / "postgres").exists()


@pytest.mark.long
def test_it_outlives_the_kill_of_any_part(run: Run, port: int, tmp_path: Path) -> None:
    process = run()
    read_until(process, "is up")
    for name in ("granian", " worker ", " beat "):
        parts(tmp_path, name)[0].kill()
        read_until(process, "starting it again")
    for pidfile in ("postgres/postmaster.pid", "valkey/valkey.pid"):
        psutil.Process(int((tmp_path / pidfile).read_text().split()[0])).kill()
        read_until(process, "a server had ended; it is up again")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if status_of(port, "/admin/login/") == 200:
                break
        time.sleep(0.2)
    assert status_of(port, "/admin/login/") == 200

    process.kill()
    process.wait()
    left_over = parts(tmp_path)
    assert left_over
    process = run()
    read_until(process, "is up")
    assert not {each.pid for each in left_over} & {each.pid for each in parts(tmp_path)}
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert parts(tmp_path) == []
