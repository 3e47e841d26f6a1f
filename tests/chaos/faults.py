"""The faults, and a plan that draws them. Each ends by itself; the next may come before everything is up again."""

import contextlib
import random
import time
from collections.abc import Callable

import psutil

from peerloans.devserver import embedded
from tests.chaos.processes import System
from tests.chaos.proxy import Proxy

Fault = Callable[[System, random.Random], None]


def _kill(name: str) -> Fault:
    return lambda system, draw: system.programs[name].kill()


def _kill_child(name: str) -> Fault:
    def fault(system: System, draw: random.Random) -> None:
        children = system.programs[name].children()
        if children:
            draw.choice(children).kill()

    return fault


def _kill_postgres(system: System, draw: random.Random) -> None:
    system.kill_server(embedded.POSTGRES_PID)


def _kill_redis(system: System, draw: random.Random) -> None:
    system.kill_server(embedded.VALKEY_PID)


def _kill_backend(system: System, draw: random.Random) -> None:
    """Kill the server process of one connection; PostgreSQL then restarts all of them."""
    postmaster = int(embedded.POSTGRES_PID.read_text().split()[0])
    draw.choice(psutil.Process(postmaster).children()).kill()


def _on_proxy(server: str, disturb: Callable[[Proxy, random.Random], None], fewest_seconds: float, most_seconds: float) -> Fault:
    """Return a fault that disturbs a server's connections for a while."""

    def fault(system: System, draw: random.Random) -> None:
        proxy: Proxy = getattr(system, server)
        disturb(proxy, draw)
        time.sleep(draw.uniform(fewest_seconds, most_seconds))
        proxy.heal()

    return fault


def _fill_disk(system: System, draw: random.Random) -> None:
    system.fill_disk()
    time.sleep(draw.uniform(0.5, 2))
    system.free_disk()


def _jump_clock(system: System, draw: random.Random) -> None:
    """Run the jobs once with a clock that is hours or days ahead or behind."""
    system.run_jobs_at(draw.choice([-200, -30, -1, 1, 30, 200]))


FAULTS: dict[str, Fault] = {
    "kill web": _kill("web"),
    "kill a web process": _kill_child("web"),
    "kill worker": _kill("worker"),
    "kill a worker process": _kill_child("worker"),
    "kill beat": _kill("beat"),
    "kill PostgreSQL": _kill_postgres,
    "kill a PostgreSQL process": _kill_backend,
    "kill Redis": _kill_redis,
    "cut the database": _on_proxy("database", lambda proxy, draw: proxy.cut(), 0, 0),
    "stall the database": _on_proxy("database", lambda proxy, draw: proxy.stall(), 0.5, 3),
    "slow the database": _on_proxy("database", lambda proxy, draw: proxy.slow(draw.uniform(0.02, 0.2)), 1, 3),
    "refuse the database": _on_proxy("database", lambda proxy, draw: proxy.refuse(), 0.5, 3),
    "cut Redis": _on_proxy("redis", lambda proxy, draw: proxy.cut(), 0, 0),
    "stall Redis": _on_proxy("redis", lambda proxy, draw: proxy.stall(), 0.5, 3),
    "slow Redis": _on_proxy("redis", lambda proxy, draw: proxy.slow(draw.uniform(0.02, 0.2)), 1, 3),
    "refuse Redis": _on_proxy("redis", lambda proxy, draw: proxy.refuse(), 0.5, 3),
    "fill the disk": _fill_disk,
    "jump the clock": _jump_clock,
}


def plan(number: int, draw: random.Random, *, disk: bool) -> list[str]:
    """Return the names of so many faults, of each kind as often as of the others, shuffled."""
    kinds = [name for name in FAULTS if disk or name != "fill the disk"]
    names = (kinds * (number // len(kinds) + 1))[:number] if number >= len(kinds) else draw.sample(kinds, number)
    draw.shuffle(names)
    return names


def cause(name: str, system: System, draw: random.Random) -> None:
    """Cause the fault and wait until it ends."""
    with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):  # what the fault would break is down already
        FAULTS[name](system, draw)
