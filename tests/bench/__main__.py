"""`make bench`: our figures beside their baselines', each pair taken in turn in one run.

Prints a table and writes the same as JSON (`var/bench.json`, or the path given). Exit status 1 where a target is missed
by more than the rounds' spread.
"""

import json
import sys
from pathlib import Path

import django

from tests.bench import expiries, imports
from tests.bench.measuring import table
from tests.bench.servers import ROOT, bench_database


def main() -> int:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "var" / "bench.json"
    with bench_database() as url:
        django.setup()
        figures = [figure for work in (imports, expiries) for figure in work.figures(url)]
    sys.stdout.writelines(f"{line}\n" for line in table(figures))
    target.write_text(json.dumps([figure.as_json() for figure in figures], indent=2) + "\n")
    return int(any(figure.missed for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
