"""`make attack`: attack the system in production settings, and show what was tried and what the rest of the site felt.

Each file of tests/attack/attacks/ is one attack. docs/reliability.md explains the table.
"""

import argparse
import importlib
import os
import pkgutil
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

FOLDER = Path(tempfile.mkdtemp(prefix="peerloans-attack-"))
os.environ["PEERLOANS_VAR"] = str(FOLDER / "var")
os.environ["DJANGO_SETTINGS_MODULE"] = "peerloans.settings"
os.environ["DEBUG"] = "1"  # of this process, which uses the servers' sockets; the system under attack runs without
os.environ["EMAIL_URL"] = "dummymail://"
for name in ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "DATABASE_REPLICA_URL"):
    os.environ.pop(name, None)

import django

from peerloans.devserver import embedded
from tests.attack import attacks
from tests.attack.others import Others, Waits
from tests.attack.site import Site, running_site

QUIET_SECONDS = 3.0
MOST_SECONDS = 60.0  # for one attack
MOST_SLOWDOWN = 2.0  # of the others' median
NOISE_SECONDS = 0.01  # by which medians of a busy machine differ
WORST_SECONDS = 2.0  # the first answer of a process to a view takes half a second


def main() -> int:
    names = [module.name for module in pkgutil.iter_modules(attacks.__path__)]
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description="Attack the real system, and measure what its users feel.")
    parser.add_argument("attacks", nargs="*", metavar="attack", help=f"only these: {', '.join(names)}")
    parser.add_argument("--port", type=int, default=8131, help="of the site (default: %(default)s)")
    options = parser.parse_args()
    if unknown := set(options.attacks) - set(names):
        parser.error(f"there is no {', '.join(sorted(unknown))}; choose among {', '.join(names)}")
    embedded.exit_on_signals(signal.SIGINT, signal.SIGTERM, status=1)
    with embedded.running():
        django.setup()
        with running_site(options.port, FOLDER) as site:
            row("what", "times", "quiet", "attacked", "verdict")
            held = [try_out(importlib.import_module(f"tests.attack.attacks.{name}"), site) for name in options.attacks or names]
    say(f"{sum(held)} of {len(held)} attacks were held off.")
    if not all(held):
        say(f"The site's log is in {FOLDER}.")
        return 1
    shutil.rmtree(FOLDER, ignore_errors=True)
    return 0


def try_out(attack: ModuleType, site: Site) -> bool:
    """Run the attack while others use the site. Print its row, and return whether it was held off."""
    if hasattr(attack, "prepare"):
        attack.prepare(site)
    quiet = feel(site, lambda: time.sleep(QUIET_SECONDS))[1]
    started = time.monotonic()
    result, attacked = feel(site, lambda: attack.attack(site))
    broken = list(result.broken)
    if time.monotonic() - started > MOST_SECONDS:
        broken.append(f"it took longer than {MOST_SECONDS:.0f} s")
    if attacked.median > max(MOST_SLOWDOWN * quiet.median, quiet.median + NOISE_SECONDS):
        broken.append("others waited more than twice as long")
    if attacked.worst > max(WORST_SECONDS, 2 * quiet.worst):
        broken.append("an answer to others took too long")
    broken += attacked.failures[:3]
    row(attack.TITLE, f"{result.times:,}", str(quiet), str(attacked), "held" if not broken else "NOT HELD: " + "; ".join(broken[:5]))
    return not broken


def feel(site: Site, act: object) -> tuple[object, Waits]:
    """Return what `act` returns, and how long others waited meanwhile."""
    others = Others(site.port)
    try:
        result = act()  # type: ignore[operator]
    finally:
        waits = others.stop()
    return result, waits


def row(*cells: str) -> None:
    what, times, quiet, attacked, verdict = cells
    say(f"{what:<62} {times:>7} {quiet:>16} {attacked:>16}  {verdict}")


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
