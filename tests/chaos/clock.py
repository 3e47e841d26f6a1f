"""What do the jobs do on a machine whose clock is off? They run once there, so many hours ahead: the database's clock decides."""

import sys
from datetime import UTC, datetime, timedelta

import django
import time_machine
from django.db import Error

django.setup()

from loans import tasks
from peerloans.errors import Problem

JOBS = (tasks.expire, tasks.settle, tasks.refresh_remaining, tasks.record_closing_values, tasks.deliver, tasks.reconcile)


def main(hours: float) -> None:
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=hours)):
        for job in JOBS:
            try:
                job()
            except (Error, Problem) as error:  # an earlier fault is not over yet
                print(job.name, error)  # noqa: T201


if __name__ == "__main__":
    main(float(sys.argv[1]))
