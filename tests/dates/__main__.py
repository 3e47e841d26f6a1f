"""Run the test suite on other dates and in other time zones of the machine: `make test-dates`.

A preloaded library shifts the clock of every process of a run, PostgreSQL and Valkey among them. A run has servers of
its own.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

STARTS = (
    ("2026-07-04T15:00Z", "America/Los_Angeles"),  # a holiday on Saturday, before which Friday is a banking day
    ("2026-11-01T05:52Z", "America/New_York"),  # minutes before the hour that clocks repeat
    ("2026-11-27T23:05Z", "Pacific/Auckland"),  # after the close of the day after Thanksgiving
    ("2027-01-01T04:57Z", "UTC"),  # minutes before the year ends in New York
    ("2027-03-14T06:55Z", "America/New_York"),  # minutes before the hour that clocks leave out
    ("2028-02-29T04:57Z", "Pacific/Auckland"),  # minutes before 29 February in New York
)


def main(arguments: list[str]) -> int:
    """Run pytest with the arguments once for each start; return 1 if a run failed, else 0."""
    compiler = shutil.which("cc")
    if not sys.platform.startswith("linux") or not compiler:
        print("Skipped: shifting the clock needs Linux and a C compiler named cc.")  # noqa: T201
        return 0
    failed = []
    for start, zone in STARTS:
        with tempfile.TemporaryDirectory(prefix="peerloans-dates-") as folder:
            library = Path(folder, "clock.so")
            subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, Path(__file__).with_name("clock.c")], check=True)
            shift = int((datetime.fromisoformat(start) - datetime.now(UTC)).total_seconds())
            environment = {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(shift), "TZ": zone, "PEERLOANS_VAR": str(Path(folder, "var"))}
            print(f"\n=== {start}, the machine in {zone}", flush=True)  # noqa: T201
            if subprocess.run([sys.executable, "-m", "pytest", *arguments], env=os.environ | environment, check=False).returncode:
                failed.append(start)
    print("\nFailed: " + ", ".join(failed) if failed else "\nPassed on every date.")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
