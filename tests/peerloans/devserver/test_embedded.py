"""The embedded servers, for real, in a folder of their own: each member is a process that is inside `running()`."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from peerloans.devserver import embedded

MEMBER = """
import sys
from peerloans.devserver import embedded
with embedded.running():
    print(embedded.run_dir(), flush=True)
    sys.stdin.read()
"""
SERVERS = ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL")

Join = Callable[[Path], subprocess.Popen[str]]


def start(var: Path, *words: str) -> subprocess.Popen[str]:
    env = environment(PEERLOANS_VAR=str(var))
    return subprocess.Popen([sys.executable, *words], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in SERVERS} | more


def sockets_of(member: subprocess.Popen[str]) -> Path:
    """Where the servers' sockets are, once they are up."""
    assert member.stdout is not None
    return Path(member.stdout.readline().rstrip("\n"))


def leave(member: subprocess.Popen[str]) -> None:
    assert member.communicate(timeout=60) == ("", None)
    assert member.returncode == 0


def servers_in(var: Path) -> list[psutil.Process]:
    """PostgreSQL and Valkey, as their pid files name them."""
    pidfiles = (var / "postgres" / "postmaster.pid", var / "valkey" / "valkey.pid")
    return [psutil.Process(int(pidfile.read_text().split()[0])) for pidfile in pidfiles if pidfile.exists()]


def processes_below(var: Path) -> list[str]:
    """Names of the living processes that stand in a folder below."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(var):
                found.append(process.name())
        except psutil.Error:
            continue
    return found


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for several tests, since its making takes a second."""
    return tmp_path_factory.mktemp("var")


@pytest.fixture
def join(var) -> Iterator[Join]:
    with contextlib.ExitStack() as members:
        yield lambda var: members.enter_context(start(var, "-c", MEMBER))


def test_six_racers_share_one_pair_of_servers_until_the_last_has_left(tmp_path: Path, join: Join) -> None:
    var = tmp_path / "a path with 'quotes' & more"
    (var / "postgres.new").mkdir(parents=True)
    (var / "postgres.new" / "PG_VERSION").write_text("18\n")  # left behind by a crash in the middle of its making
    racers = [join(var) for _ in range(6)]
    assert len({sockets_of(racer) for racer in racers}) == 1
    servers = servers_in(var)
    assert processes_below(var).count("valkey-server") == 1
    assert len(servers) == 2
    for racer in racers[:-1]:
        leave(racer)
    assert all(server.is_running() for server in servers)
    leave(racers[-1])
    assert processes_below(var) == []
    assert servers_in(var) == []


def test_after_kill_of_everything_the_next_start_finds_the_data(var: Path, join: Join) -> None:
    member = join(var)
    sockets = sockets_of(member)
    with psycopg.connect(host=str(sockets), user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with redis.Redis(unix_socket_path=str(sockets / "valkey.sock")) as client:
        client.set("kept", 42)
    for victim in (member, *servers_in(var)):
        victim.kill()

    assert sockets_of(join(var)) == sockets
    with psycopg.connect(host=str(sockets), user="postgres", dbname="postgres") as connection:
        assert connection.execute("SELECT answer FROM kept").fetchall() == [(42,)]
    with redis.Redis(unix_socket_path=str(sockets / "valkey.sock")) as client:
        assert client.get("kept") == b"42"


def test_a_pid_file_whose_number_is_another_programs_now_is_dropped(var: Path, join: Join, tmp_path: Path) -> None:
    member = join(var)
    sockets_of(member)
    others_server = servers_in(var)[0]
    stale = tmp_path / "postmaster.pid"
    stale.write_text(f"{others_server.pid}\n")
    assert embedded._server(stale) is None
    assert not stale.exists()
    leave(member)

    for pidfile in (var / "postgres" / "postmaster.pid", var / "valkey" / "valkey.pid"):
        pidfile.write_text(f"{os.getpid()}\n{pidfile.parent}\n")
    sockets_of(join(var))
    assert os.getpid() not in {server.pid for server in servers_in(var)}


def test_a_terminated_command_stops_what_it_started(var: Path) -> None:
    with start(var, "manage.py", "shell", "--verbosity", "0", "-c", "print('up', flush=True); input()") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert len(servers_in(var)) == 2
        process.terminate()
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert processes_below(var) == []


def test_nothing_is_started_where_the_environment_names_the_servers(tmp_path: Path) -> None:
    named = dict.fromkeys(SERVERS, "somewhere")
    var = tmp_path / "var"
    done = subprocess.run([sys.executable, "-c", MEMBER], env=environment(PEERLOANS_VAR=str(var), **named), input="", check=True, text=True)
    assert done.returncode == 0
    assert not var.exists()


def test_sockets_of_a_long_path_lie_in_a_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SERVERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(embedded, "VAR", tmp_path / ("long" * 25) / "var")
    assert len(str(embedded.run_dir() / ".s.PGSQL.5432")) <= embedded.SOCKET_PATH_LIMIT

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    sockets = embedded.run_dir()
    (tmp_path / "mine").mkdir()
    sockets.symlink_to(tmp_path / "mine")  # as somebody else could put it there
    with pytest.raises(SystemExit, match="belongs to another user"), embedded.running():
        pass
