"""`make chaos`: break everything that the system runs on, and check that it keeps its promises. docs/reliability.md explains them."""

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
os.environ["DEBUG"] = "1"  # of this process, which uses the servers' sockets; the system under test runs without
os.environ["EMAIL_URL"] = "dummymail://"
for name in ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "DATABASE_REPLICA_URL"):
    os.environ.pop(name, None)

import django
from django.core.management import call_command

from peerloans.devserver import embedded, run
from tests.chaos.processes import System, small_disk

PATIENCE_SECONDS = 120
FAULTS_PER_RESERVATION = 4  # with fewer reservations than one for so many faults a run proves nothing


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description="Break the real system at random, and check what it still keeps."
    )
    parser.add_argument("--faults", type=int, default=200, help="how many faults (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the plan of faults (default: random)")
    parser.add_argument("--minutes", type=float, default=10, help="no new fault after that time (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8117, help="of the site; the two after it are the proxies' (default: %(default)s)")
    options = parser.parse_args()
    say(f"seed {options.seed}, {options.faults} faults, files in {FOLDER}")
    embedded.exit_on_signals(signal.SIGINT, signal.SIGTERM, status=1)
    with small_disk() as disk:
        if not disk:
            say("no file system could be mounted here, so no disk is filled")
        with embedded.running():
            django.setup()
            call_command("migrate", verbosity=0)
            broken = run_chaos(options, disk=disk)
    if broken:
        say(f"{len(broken)} breaches; the programs' logs are in {FOLDER}")
        return 1
    shutil.rmtree(FOLDER, ignore_errors=True)
    say("every promise was kept")
    return 0


def run_chaos(options: argparse.Namespace, *, disk: bool) -> list[str]:
    """Run load and faults, then let everything settle. Return the promises that were not kept."""
    from tests.chaos import faults, initial_data, verdict
    from tests.chaos.load import Load

    draw = random.Random(options.seed)
    tokens = initial_data.make(draw)
    system = System(options.port)
    try:
        wait_for("The site does not start", lambda: run.answers(options.port))
        load = Load(options.port, tokens, draw)
        wait_for("Staff get nothing done", lambda: any(action.done for action in list(load.record.staff_actions)))
        began = time.monotonic()
        number = 0
        for name in faults.plan(options.faults, draw, disk=disk):
            if time.monotonic() - began > options.minutes * 60:
                break
            faults.cause(name, system, draw)
            number += 1
            time.sleep(draw.uniform(0.05, 0.5))
        seconds = time.monotonic() - began
        load.stop(PATIENCE_SECONDS)
    finally:
        system.stop_all()
    verdict.settle_all()
    broken = verdict.broken_promises(load.record)
    if len(load.record.reservations) * FAULTS_PER_RESERVATION < number:
        broken.append(f"only {len(load.record.reservations)} reservations came through {number} faults")
    report(load.record, number, seconds, system.server_starts, broken)
    return broken


def report(record: Any, number: int, seconds: float, starts: int, broken: list[str]) -> None:
    from loans.models import Loan, Reservation, ReviewItem

    drift = ReviewItem.objects.filter(kind="drift").count()
    say(f"{number} faults in {seconds:.0f} s; servers were started again {starts} times; Redis had drifted {drift} times")
    say(f"answers: {dict(sorted(record.answers.items()))}; the slowest after {record.slowest_seconds:.1f} s")
    say(f"acknowledged: {len(record.reservations)} reservations, {len(record.transfers)} transfers, {len(record.events)} bank events")
    by_orders = Reservation.objects.exclude(standing_order=None).count()
    by_waiting = Reservation.objects.exclude(waitinglistentry=None).count()
    say(f"standing orders made {by_orders} reservations, waiting lists {by_waiting}")
    done = Counter(action.action for action in record.staff_actions if action.done)
    say(f"staff confirmed {len(record.staff_actions)} actions, of which these were done: {dict(sorted(done.items()))}")
    say(f"settled {sum(Loan.objects.values_list('settled', flat=True))} dollars on {Loan.objects.count()} loans")
    for sentence in broken[:50]:
        say(f"BREACH {sentence}")


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
