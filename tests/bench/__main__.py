"""`make bench`: compare what each operation costs with a baseline, both in turn in one run.

Prints each line of the table when it is measured, and writes the table as JSON and as Markdown (`var/bench.json` and
`var/bench.md`). The exit status is 1 if a target is missed by more than the spread of the rounds.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

from peerloans.devserver import embedded
from tests.bench import crowd, imports, jobs, openings, posts, reads, reserve_service
from tests.bench.figures import COLUMNS, Figure, cells, line, markdown
from tests.bench.servers import ROOT, bench_databases

WORK = {
    "pages": reads.pages,
    "events": reads.events,
    "outlooks": reads.outlooks,
    "import": imports.figures,
    "zip": reads.zips,
    "service": reserve_service.figures,
    "waiting": reserve_service.waiting_lists,
    "post": posts.figures,
    "queues": posts.queues,
    "neighbours": posts.neighbours,
    "refusals": posts.refusals,
    "joining": posts.joining,
    "expire": jobs.expiries,
    "settle": jobs.settlements,
    "remaining": reads.remaining,
    "lists": reads.lists,
    "openings": openings.figures,
    "crowd": crowd.figures,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", nargs="*", metavar="work", help=f"measure only these: {', '.join(WORK)}")
    parser.add_argument(
        "--to", type=Path, default=ROOT / "var" / "bench", help="path of the files to write, without suffix (default: var/bench)"
    )
    options = parser.parse_args()
    if unknown := set(options.work) - set(WORK):
        parser.error(f"there is no {', '.join(sorted(unknown))}; choose among {', '.join(WORK)}")
    embedded.exit_on_signals(signal.SIGTERM, signal.SIGHUP)  # or the sites would outlive a bench that is stopped
    figures: list[Figure] = []
    started = time.monotonic()
    with bench_databases() as databases:
        say(f"{os.cpu_count()} cores; the rows were made in {time.monotonic() - started:.0f} s")
        say(line(COLUMNS))
        for name in options.work or WORK:
            part_started = time.monotonic()
            for figure in WORK[name](databases):
                figures.append(figure)
                say(line(cells(figure)))
            say(f"{name}: {time.monotonic() - part_started:.0f} s")
    say(f"The whole run took {time.monotonic() - started:.0f} s.")
    options.to.with_suffix(".json").write_text(json.dumps([figure.as_json() for figure in figures], indent=2) + "\n")
    options.to.with_suffix(".md").write_text(markdown(figures))
    return int(any(figure.missed for figure in figures))


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
