"""`make bench`: our figures beside their baselines', each pair taken in turn in one run.

Prints each line of the table as it comes, and writes them as JSON and as Markdown (`var/bench.json` and `var/bench.md`).
Exit status 1 where a target is missed by more than the rounds' spread.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from tests.bench import crowding, imports, posting, reading, reserving, sweeping
from tests.bench.measuring import COLUMNS, Figure, cells, line, markdown
from tests.bench.servers import ROOT, staged

WORK = {
    "import": imports.figures,
    "zip": reading.zips,
    "service": reserving.figures,
    "post": posting.figures,
    "queues": posting.queues,
    "refusals": posting.refusals,
    "expire": sweeping.expiries,
    "settle": sweeping.settlements,
    "remaining": reading.remaining,
    "lists": reading.lists,
    "crowd": crowding.figures,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", nargs="*", metavar="work", help=f"only these: {', '.join(WORK)}")
    parser.add_argument("--to", type=Path, default=ROOT / "var" / "bench", help="files to write, without ending (default: var/bench)")
    asked = parser.parse_args()
    if unknown := set(asked.work) - set(WORK):
        parser.error(f"there is no {', '.join(sorted(unknown))}; choose among {', '.join(WORK)}")
    figures: list[Figure] = []
    begun = time.monotonic()
    with staged() as stage:
        say(f"{os.cpu_count()} cores; the rows were made in {time.monotonic() - begun:.0f} s")
        say(line(COLUMNS))
        for name in asked.work or WORK:
            for figure in WORK[name](stage):
                figures.append(figure)
                say(line(cells(figure)))
    say(f"The whole run took {time.monotonic() - begun:.0f} s.")
    asked.to.with_suffix(".json").write_text(json.dumps([figure.as_json() for figure in figures], indent=2) + "\n")
    asked.to.with_suffix(".md").write_text(markdown(figures))
    return int(any(figure.missed for figure in figures))


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
