"""Does the system keep its promises while everything that it stands on breaks? `make chaos`; docs/reliability.md tells more."""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(tempfile.mkdtemp(prefix="peerloans-chaos-"))
os.environ["PEERLOANS_VAR"] = str(FOLDER / "var")
os.environ["DJANGO_SETTINGS_MODULE"] = "peerloans.settings"
os.environ["DEBUG"] = "1"  # of this process, which stays on the servers' sockets; the system runs without
os.environ["EMAIL_URL"] = "dummymail://"
for name in ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "DATABASE_REPLICA_URL"):
    os.environ.pop(name, None)

import django
from django.core.management import call_command

from peerloans.devserver import embedded, run
from tests.chaos.processes import System, small_disk

PATIENCE_SECONDS = 120
FAULTS_PER_RESERVATION = 4  # a run through which less than that comes proves nothing


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description="Break the real system at random, and see what it still keeps."
    )
    parser.add_argument("--faults", type=int, default=200, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of what breaks when (default: by chance)")
    parser.add_argument("--minutes", type=float, default=10, help="no more faults after that time (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8117, help="of the site; the next two are the proxies' (default: %(default)s)")
    given = parser.parse_args()
    say(f"seed {given.seed}, {given.faults} faults, files in {FOLDER}")
    embedded.exit_on_signals(signal.SIGINT, signal.SIGTERM, status=1)
    with small_disk() as disk:
        if not disk:
            say("no file system could be mounted here, so no disk is filled")
        with embedded.running():
            django.setup()
            call_command("migrate", verbosity=0)
            found = break_it(given, disk=disk)
    if found:
        say(f"{len(found)} breaches; the programs' logs are in {FOLDER}")
        return 1
    shutil.rmtree(FOLDER, ignore_errors=True)
    say("every promise was kept")
    return 0


def break_it(given: argparse.Namespace, *, disk: bool) -> list[str]:
    """Have load and faults, then quiet; returns the promises that were not kept."""
    from tests.chaos import faults, stage, verdict
    from tests.chaos.load import Load

    draw = random.Random(given.seed)
    tokens = stage.set_up(draw)
    system = System(given.port)
    try:
        wait_for("The site does not come up", lambda: run.answers(given.port))
        load = Load(given.port, tokens, draw)
        wait_for("Staff get nothing done", lambda: any(deed.done for deed in list(load.told.deeds)))
        began = time.monotonic()
        done: list[str] = []
        for name in faults.plan(given.faults, draw, disk=disk):
            if time.monotonic() - began > given.minutes * 60:
                break
            faults.do(name, system, draw)
            done.append(name)
            time.sleep(draw.uniform(0.05, 0.5))
        seconds = time.monotonic() - began
        load.stop(PATIENCE_SECONDS)
    finally:
        system.stop_all()
    verdict.settle_all()
    found = verdict.breaches(load.told)
    if len(load.told.reservations) * FAULTS_PER_RESERVATION < len(done):
        found.append(f"only {len(load.told.reservations)} reservations came through {len(done)} faults")
    report(load.told, len(done), seconds, system.server_starts, found)
    return found


def report(told: Any, number: int, seconds: float, starts: int, found: list[str]) -> None:
    from loans.models import Loan, ReviewItem

    drift = ReviewItem.objects.filter(kind="drift").count()
    say(f"{number} faults in {seconds:.0f} s; servers were started again {starts} times; Redis had drifted {drift} times")
    say(f"answers: {dict(sorted(told.answers.items()))}; the slowest after {told.slowest:.1f} s")
    say(f"acknowledged: {len(told.reservations)} reservations, {len(told.transfers)} transfers, {len(told.events)} bank events")
    done = Counter(deed.action for deed in told.deeds if deed.done)
    say(f"staff confirmed {len(told.deeds)} actions, and were told that these are done: {dict(sorted(done.items()))}")
    say(f"settled {sum(Loan.objects.values_list('settled', flat=True))} dollars on {Loan.objects.count()} loans")
    for each in found[:50]:
        say(f"BREACH {each}")


def wait_for(trouble: str, there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not there():
        if time.monotonic() > deadline:
            raise SystemExit(f"{trouble}; the programs' logs are in {FOLDER}.")
        time.sleep(0.2)


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
