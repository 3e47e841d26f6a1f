"""Run each job once in a process whose clock is so many hours ahead. It must change nothing, because the database's clock decides."""

import sys
from datetime import UTC, datetime, timedelta

import django
import time_machine
from django.db import Error

django.setup()

from loans import tasks
from peerloans.errors import Problem

JOBS = (
    tasks.expire,
    tasks.settle,
    tasks.refresh_remaining,
    tasks.record_closing_values,
    tasks.record_fill_values,
    tasks.resolve_markets,
    tasks.chain_history,
    tasks.set_overbooking_by_evidence,
    tasks.notify_watchers,
    tasks.deliver,
    tasks.reconcile,
)


def main(hours: float) -> None:
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=hours)):
        for job in JOBS:
            try:
                job()
            except (Error, Problem) as error:  # an earlier fault may not be over yet
                print(job.name, error)  # noqa: T201


if __name__ == "__main__":
    main(float(sys.argv[1]))
